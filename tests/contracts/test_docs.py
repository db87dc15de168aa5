"""Docs held against the code: loop file keys, the demo's constants, gates, commands, links, paths."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel
from typer.main import get_command

from ratchet.cli import app
from ratchet.loop import Loop
from ratchet.replay import comments, faults, flights, travellers

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
#: Mappings whose keys the file's writer chooses.
FREE_KEYS = {
    "sources": "<source>",
    "categorical": "<feature>",
    "params": "<name>",
    "roles": "<role>",
    "space": "<parameter>",
    "invariant": "<feature>",
    "monotone": "<feature>",
    "groups": "<group>",
    "feeds": "<source>",
    "categories": "<category>",
    "keywords": "<language>",
    "hints": "<language>",
    "hours_to_fix": "<kind>",
    "owners": "<kind>",
    "gate_limits": "<gate>",
    "must": "<measure>",
    "utility": "<measure>",
}


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _keys(model: type[BaseModel], before: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        path = f"{before}{field.alias or name}"
        if name in FREE_KEYS:
            path = f"{path}.{FREE_KEYS[name]}"
        inner = _models(field.annotation)
        if get_origin(field.annotation) is tuple and inner:
            path = f"{path}[]"
        found |= set().union(*(_keys(part, f"{path}.") for part in inner)) if inner else {path}
        is_word = any(get_origin(part) is Literal for part in get_args(field.annotation))
        if inner and is_word and get_origin(field.annotation) is not dict:
            found.add(path)  # a word in place of the mapping
    return found


def test_every_key_of_a_loop_file_is_explained_and_no_other() -> None:
    text = (ROOT / "docs" / "loop-file.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)
    assert len(explained) == len(set(explained)) > 50
    assert set(explained) == _keys(Loop)


def test_the_demo_worlds_constants_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "demo-world.md").read_text(encoding="utf-8")
    modules = {"flights": flights, "travellers": travellers, "comments": comments, "faults": faults}
    stated = re.findall(r"`(\w+)\.([A-Z_]+)` \| (.+?) \|$", text, flags=re.MULTILINE)
    assert len(stated) >= 20
    for module, name, value in stated:
        assert getattr(modules[module], name) == ast.literal_eval(value), name
    assert f"`faults.ROWS_PER_FAULT` ({faults.ROWS_PER_FAULT})" in text
    for _, rating in travellers.RATING_BY_LATENESS:
        assert str(rating) in text


def test_every_gate_that_the_rules_name_is_in_the_code() -> None:
    text = (ROOT / "docs" / "decision-rules.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+) \| ", text, flags=re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    folder = ROOT / "plugins" / "ratchet" / "evaluation"
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    assert len(named) >= 10
    assert [name for name in named if f'"{name}"' not in source] == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT / "docs")))
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ") or text.startswith("<!--"), "a page begins with its title"
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (path.parent / target).exists(), f"{path}: {target} leads nowhere"


def test_commands_and_paths_that_the_docs_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCS)
    verbs = set(re.findall(r"`make ([a-z-]+)", text))
    assert len(verbs) >= 3
    assert all(re.search(rf"^{verb}:", makefile, flags=re.MULTILINE) for verb in verbs), verbs
    commands = set(re.findall(r"`(?:\.venv/bin/)?ratchet ([a-z-]+)(?: ([a-z-]+))?", text))
    assert len(commands) >= 3
    known: dict[str, Any] = dict(get_command(app).commands)  # type: ignore[attr-defined]
    for command, below in commands:
        assert command in known, f"ratchet {command}"
        assert not below or below in getattr(known[command], "commands", {below}), (
            f"ratchet {command} {below}"
        )
    named = set(re.findall(r"`((?:plugins|dags|dbt|expectations|loops)/[\w./-]+)`", text))
    assert len(named) >= 5
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
