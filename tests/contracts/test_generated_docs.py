"""Generated pages are what their source says."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.dag_pages import dags_page

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_dags_is_current() -> None:
    assert (ROOT / "docs" / "dags.md").read_text(encoding="utf-8") == dags_page(ROOT / "dags"), (
        "run make docs"
    )


def test_a_dag_file_without_a_docstring_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("a = 1\n")
    with pytest.raises(ValueError, match=r"x\.py has no docstring"):
        dags_page(tmp_path)
    (tmp_path / "x.py").unlink()
    with pytest.raises(ValueError, match="holds no DAG file"):
        dags_page(tmp_path)
