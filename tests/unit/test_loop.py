"""A loop file is refused with file, line, key and remedy; the shipped one is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.loop import LoopFileError, load_loop, load_loops

SHIPPED = Path(__file__).parents[2] / "loops" / "flights.yml"


def broken(tmp_path: Path, old: str, new: str) -> Path:
    text = SHIPPED.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"the shipped loop file no longer has {old!r}"
    path = tmp_path / "flights.yml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path


def test_the_shipped_loops_are_valid() -> None:
    loops = load_loops(SHIPPED.parent)
    assert loops["flights"].owner.name
    assert loops["flights"].features.columns[:2] == ("departure_hour", "departure_weekday")


@pytest.mark.parametrize(
    ("old", "new", "key", "remedy"),
    [
        ("  team: travel-disruption", "  teem: travel-disruption", "owner.teem", "unknown key"),
        ("  team: travel-disruption\n", "", "owner.team", "missing key"),
        ("  maturity_hours: 72", "  maturity_hours: soon", "label.maturity_hours", "valid integer"),
        ("loop: flights", "loop: Flights-2", "loop", "lower-case"),
        ("loop: flights", "loop: trains", "loop", "make them equal"),
        ("share: 0.0, ", "share: 0.1, ", "rollout.stages", "shadow"),
        ("  max_challenger_share: 0.5", "  max_challenger_share: 0.1", "(file)", "max_challenger_share"),
        ("    - departure_hour", "    - dep_delay", "features", "only after the prediction"),
        ("    - departure_hour", "    - departure_weekday", "features", "listed twice"),
        ("dimensions: [origin, carrier]", "dimensions: [origin, dest]", "(file)", "no categorical feature"),
        ("origin: [EWR, JFK, LGA]", "origin: [EWR, JFK, LGA, EWR]", "features", "lists a value twice"),
        ("influences_outcome: false", "influences_outcome: true", "(file)", "paired guardrail"),
        ("  redact_comments: true", "  redact_comments: false", "policy.privacy", ""),
    ],
)
def test_a_fault_is_named(tmp_path: Path, old: str, new: str, key: str, remedy: str) -> None:
    if "privacy" in key:
        old, new = "{redact_comments: true", "{redact_comments: false"
    with pytest.raises(LoopFileError) as caught:
        load_loop(broken(tmp_path, old, new))
    message = str(caught.value)
    assert str(tmp_path / "flights.yml") in message
    assert key in message
    assert remedy in message


def test_the_line_is_the_keys_own(tmp_path: Path) -> None:
    path = broken(tmp_path, "  maturity_hours: 72", "  maturity_hours: soon")
    line = 1 + next(n for n, text in enumerate(path.read_text().splitlines()) if "soon" in text)
    with pytest.raises(LoopFileError, match=rf"flights\.yml:{line}: label\.maturity_hours"):
        load_loop(path)


def test_a_rollout_without_guardrails_is_refused(tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    start, end = text.index("guardrails:"), text.index("\ntriggers:")
    path = tmp_path / "flights.yml"
    path.write_text(text[:start] + "guardrails: []\n" + text[end:], encoding="utf-8")
    with pytest.raises(LoopFileError, match="needs at least one guardrail"):
        load_loop(path)


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "loop: [unclosed", "\x00"])
def test_no_mapping_is_an_error_not_a_crash(tmp_path: Path, content: str) -> None:
    path = tmp_path / "flights.yml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(LoopFileError, match=r"flights\.yml:\d+"):
        load_loop(path)


def test_no_loop_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoopFileError, match="holds no loop file"):
        load_loops(tmp_path)
    with pytest.raises(LoopFileError, match="no such loop file"):
        load_loop(tmp_path / "none.yml")
