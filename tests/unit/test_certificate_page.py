"""A certificate's text and page: everything is told, nothing of a record is taken for markup, no network is needed."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from tests.unit.test_certificate_replay import AGAIN, append, rollout
from typer.testing import CliRunner

from ratchet.certificate.page import page
from ratchet.certificate.summary import NoDecision, certificate_of, find
from ratchet.certificate.text import rendered
from ratchet.cli import app
from ratchet.ledger.chain import Entry
from ratchet.ledger.export import to_lines

TOLD = (
    "Primary metric", "Boundary at each look", "Guardrails", "Cohorts", "Exposure checks", "Terms", "Chain",
    "Where it came from",
)  # fmt: skip


def text_of(entries: tuple[Entry, ...] | list[Entry], entry: Entry) -> str:
    console = Console(file=io.StringIO(), width=200)
    for part in rendered(certificate_of(entries, entry)):
        console.print(part)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def promoted(entries: tuple[Entry, ...]) -> Entry:
    return next(e for e in entries if e.kind == "rollout_decision" and e.payload["action"] == "promote")


def test_verdict_reasons_and_evidence_are_told() -> None:
    entries = rollout()
    last = promoted(entries)
    text = text_of(entries, last)
    assert text.index("PROMOTE") < text.index(last.payload["reasons"][0][:60]) < text.index("Primary metric")
    for title in TOLD:
        assert title in text, title
    looks = [e for e in entries if e.kind == "rollout_decision"]
    assert sum(e.payload["day"] in text for e in looks) == len(looks) > 15
    assert last.hash in text
    assert "carried out" in text


def test_the_page_stands_alone_and_has_its_plots() -> None:
    entries = rollout()
    html = page(entries, promoted(entries))
    assert html.count("<svg") == 3
    assert html == page(entries, promoted(entries)), "the same record gives the same page"
    for title in TOLD:
        assert title in html, title
    assert "prefers-color-scheme: dark" in html
    outside = re.findall(r"""(?:src|href)=["'](?!#)([^"']+)|url\((?!#)([^)]+)""", html)
    assert not [found for found in outside if any(found)], outside
    assert "<script" not in html
    assert not re.search(r"#0[1-9a-f]0[1-9a-f]0[1-9a-f]", html), "a marker colour was left in a drawing"


@pytest.mark.parametrize(
    "planted", ["<script>alert(1)</script>", "[bold red]x[/]", "$\\frac{1}{0}$ & <b>", "{{ 7*7 }}"]
)
def test_what_a_record_says_is_only_text(planted: str) -> None:
    entries = list(rollout(0.0, AGAIN))
    data = next(dict(e.payload) for e in reversed(entries) if e.kind == "rollout_decision")
    cohort = {
        "value": 0.1,
        "low": 0.0,
        "high": 0.2,
        "judged": True,
        "pooled": [],
        "units": 1,
        "clusters": 2,
        "z": 1.0,
    }
    evidence = {**data["evidence"], "cohorts": {planted: cohort}}
    entry = append(
        entries, "rollout_decision", "look:planted", "2013-06-01T00:00:00",
        {**data, "reasons": [planted], "evidence": evidence},
    )  # fmt: skip
    html = page(entries, entry)
    assert "<script>alert" not in html
    assert "<b>" not in html
    assert ">49<" not in html
    assert planted in text_of(entries, entry)


def test_every_kind_of_entry_has_a_certificate() -> None:
    entries = list(rollout(0.0, AGAIN))
    for kind, payload in {
        "gate": {"partitions": {"pass": 1, "warn": 0, "block": 1}, "blocked": ["a: b"], "subject": "s"},
        "health": {"status": "healthy", "reasons": ["fine"]},
        "trigger": {"action": "none", "reason": "nothing is due", "evidence": {"a": 1}},
        "approval": {"decision": "x", "answer": "approve", "by": "Dana", "reason": "looks good"},
        "evaluation": {
            "verdict": "refuse",
            "reasons": ["too little"],
            "gates": [],
            "metrics": {},
            "facts": None,
        },
        "drill": {"plants": [], "failed": []},
        "whatever": {"a": {"b": [1, 2]}, "c": None},
    }.items():
        entry = append(entries, kind, kind, "2013-06-01T00:00:00", payload)
        assert kind.replace("_", " ") in text_of(entries, entry).lower()
        assert "<h1>" in page(entries, entry)


def test_an_entry_is_found_by_number_key_and_hash() -> None:
    entries = rollout(0.0, AGAIN)
    for name in (str(entries[2].seq), entries[2].key, entries[2].hash[:12]):
        assert find(entries, name) == entries[2]
    with pytest.raises(NoDecision, match="see `ratchet decision list`"):
        find(entries, "nothing")
    with pytest.raises(NoDecision):
        find(entries, "")


def test_the_commands_on_an_exported_file(tmp_path: Path) -> None:
    """Without any installation: the file is enough to read, to verify and to replay."""
    file, entries = tmp_path / "ledger.jsonl", rollout(0.0, AGAIN)
    file.write_text(to_lines(entries))
    run = lambda *words: CliRunner().invoke(app, [*words, "--from", str(file)])  # noqa: E731
    assert run("ledger", "verify").exit_code == 0
    assert run("ledger", "verify", "--contains", f"3:{entries[2].hash[:16]}").exit_code == 0
    assert run("ledger", "verify", "--contains", f"3:{entries[1].hash}").exit_code == 1
    assert f"{len(entries) - 1}" in run("decision", "list").output
    assert run("decision", "show", "3", "--html", str(tmp_path / "page.html")).exit_code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert run("decision", "show", "99").exit_code == 1
    assert run("decision", "replay", "4").exit_code == 0
    assert run("decision", "replay").exit_code == 1
    # The rollout's start names an evaluation that this short ledger does not have.
    found = run("decision", "replay", "--all", "--json")
    assert found.exit_code == 1
    assert f'"replayed": {AGAIN + 1 + sum(e.kind == "rollout_applied" for e in entries)}' in found.output
    file.write_bytes(file.read_bytes().replace(b"hold", b"hole", 1))
    for words in (("ledger", "verify"), ("decision", "replay", "--all"), ("decision", "show", "3")):
        assert run(*words).exit_code == 1
    file.write_text("")
    assert run("decision", "replay", "--all").exit_code == 1
