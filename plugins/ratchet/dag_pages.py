"""docs/dags.md from the docstrings of dags/: one section a file, so the page can't say anything else."""

from __future__ import annotations

import ast
from pathlib import Path

HEAD = """# The DAGs

One section a file of `dags/`, taken from its docstring by `make docs`; a test compares both. Each loop has its own
copy, named `<loop>__<stage>`.
"""


def dags_page(folder: Path) -> str:
    """The page for the DAG files of `folder`.

    Raises:
        ValueError: a file has no docstring, or the folder holds no DAG file.
    """
    sections = []
    for path in sorted(folder.glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if not doc:
            raise ValueError(
                f"{path} has no docstring; its first line says what exists after the DAG has run"
            )
        sections.append(f"## `<loop>__{path.stem}`\n\n{doc}\n")
    if not sections:
        raise ValueError(f"{folder} holds no DAG file")
    return HEAD + "\n" + "\n".join(sections)
