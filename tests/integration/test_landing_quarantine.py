"""Held rows: listed, shown, released after a fix, corrected, dismissed; counts reconcile all the way."""

from __future__ import annotations

import gzip
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.landing import held
from ratchet.landing import release as releasing
from ratchet.landing.contract import Column, SourceContract, load_contract
from ratchet.landing.land import land_range
from ratchet.landing.originals import CorrectionError
from ratchet.landing.partition import LandingError
from ratchet.landing.release import Released, release
from ratchet.ledger.store import migrate
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

DAY = date(2013, 5, 14)
NOW = datetime(2013, 5, 16, 8)


def answer(n: int, **changes: Any) -> dict[str, Any]:
    return {
        "feedback_id": f"f{n}",
        "prediction_id": f"p{n}",
        "unit_id": f"UA{n}",
        "channel": "rating",
        "rating": n % 5 + 1,
        "comment": None,
        "category": None,
        "is_simulated": True,
        "event_at": f"{DAY}T09:00:00Z",
        "received_at": f"{DAY}T10:00:00Z",
        **changes,
    }


def put(settings: Settings, source: str, name: str, data: bytes) -> Path:
    path = settings.landing_dir / "flights" / source / f"received_date={DAY}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def lines_of(*rows: dict[str, Any] | bytes) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def widened(monkeypatch: pytest.MonkeyPatch, source: str, column: str, **changes: Any) -> None:
    """Today's contract allows more than the one that the rows were refused by."""
    import dataclasses

    def today(folder: Path, name: str) -> SourceContract:
        found = load_contract(folder, name)
        columns: tuple[Column, ...] = tuple(
            dataclasses.replace(c, **changes) if name == source and c.name == column else c
            for c in found.columns
        )
        return SourceContract(name, columns)

    monkeypatch.setattr(releasing, "load_contract", today)


def try_again(
    loop: Loop, settings: Settings, wh: Warehouse, source: str = "feedback", **keys: Any
) -> Released:
    return release(loop, settings, wh, source, DAY, now=NOW, **keys)


def reconciled(wh: Warehouse, source: str) -> None:
    """Per partition: read = in the table + held or otherwise settled + duplicate, and no count is negative."""
    read, landed, refused, twice = wh.frame(
        "select sum(rows_read) as a, sum(rows_landed) as b, sum(rows_quarantined) as c, sum(rows_duplicate) as d, "
        "min(rows_quarantined) as low from ops.landings where source = ?",
        (source,),
    ).iloc[0][:4]
    assert read == landed + refused + twice
    assert landed == wh.scalar(f"select count(*) from raw.{source}")
    assert refused == wh.scalar(
        "select count(*) from raw.quarantine where source = ? and state <> 'released'", (source,)
    )
    n, digest = wh.frame("select n_rows, digest from ops.partition_digests where source = ?", (source,)).iloc[
        0
    ]
    hashes = wh.frame(f"select row_hash from raw.{source}")["row_hash"]
    assert (n, digest) == (len(hashes), f"{sum(int(h[:16], 16) for h in hashes) % 2**64:016x}")


def test_rows_that_pass_todays_contract_land_and_the_others_stay(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ratings of six and seven are allowed by now; the bytes come from quarantine, or where the comment was
    personal from the file."""
    rows = [
        *(answer(n) for n in range(5)),
        answer(10, rating=6),
        answer(11, rating=7, comment="call +1 212 555 0142"),
        answer(12, rating=99),
        answer(1, rating=6),
        b"{broken",
    ]
    put(settings, "feedback", "a.jsonl", lines_of(*rows))
    put(settings, "feedback", "b.jsonl", lines_of(answer(10, rating=6)))
    land_range(loop, settings, wh, DAY, DAY, lambda line: None)
    wh.execute("delete from ops.dirty_partitions")
    assert wh.scalar("select count(*) from raw.quarantine where is_redacted") == 1
    reconciled(wh, "feedback")
    widened(monkeypatch, "feedback", "rating", maximum=9)
    before = wh.frame("select * from raw.quarantine order by quarantine_id").astype(str).values.tolist()

    dry = try_again(loop, settings, wh, dry_run=True)
    assert (dry.tried, dry.landed, dry.duplicate, dry.still_held) == (6, 3, 1, 2)
    assert (
        wh.frame("select * from raw.quarantine order by quarantine_id").astype(str).values.tolist() == before
    )
    assert wh.scalar("select count(*) from raw.feedback") == 5

    done = try_again(loop, settings, wh)
    assert (done.tried, done.landed, done.duplicate, done.still_held) == (6, 3, 1, 2)
    assert set(done.reasons) == {"rating: above 9", *(r for r in done.reasons if r.startswith("broken JSON"))}
    found = wh.frame(
        "select feedback_id, rating, comment, source_file, source_line from raw.feedback order by 1, 2"
    )
    assert found.loc[found["feedback_id"] == "f11"].values.tolist() == [
        ["f11", 7, "call [PHONE]", "a.jsonl", 7]
    ]
    reconciled(wh, "feedback")
    assert wh.scalar("select count(*) from ops.dirty_partitions") == 1
    states = wh.frame(
        "select state, settled_as, count(*) as n from raw.quarantine group by state, settled_as"
    )
    told = sorted(map(str, states.astype(object).where(states.notna(), None).values.tolist()))
    assert told == ["['held', None, 2]", "['released', 'duplicate', 1]", "['released', 'landed', 3]"]
    again = try_again(loop, settings, wh)
    assert (again.tried, again.changed) == (2, False)


def test_by_reason_csv_and_bytes_that_are_gone(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = load_contract(settings.dbt_dir, "weather").names
    row = {
        "origin": "EWR",
        "event_at": f"{DAY}T01:00:00Z",
        "received_at": f"{DAY}T01:20:00Z",
        "humidity_pct": "120",
    }
    lines = [",".join(names), ",".join(row.get(n, "") for n in names), "EWR,2013"]
    put(settings, "weather", "a.csv.gz", gzip.compress("\n".join(lines).encode()))
    data = lines_of(answer(1, rating=6, comment="jo@example.com"), answer(2, channel="smoke"))
    path = put(settings, "feedback", "a.jsonl", data)
    land_range(loop, settings, wh, DAY, DAY, lambda line: None)
    assert wh.scalar("select count(*) from raw.quarantine where state = 'held'") == 4

    widened(monkeypatch, "weather", "humidity_pct", maximum=200)
    assert try_again(loop, settings, wh, "weather", reason="humidity_pct").landed == 1
    assert wh.scalar("select source_line from raw.weather") == 2
    reconciled(wh, "weather")

    widened(monkeypatch, "feedback", "rating", maximum=9)
    path.write_bytes(data.replace(b"jo@", b"me@"))
    gone = try_again(loop, settings, wh)
    assert (gone.tried, gone.without_original, gone.still_held, gone.landed) == (2, 1, 1, 0)
    with pytest.raises(LandingError, match="nothing of outcomes 2013-05-14 is held"):
        try_again(loop, settings, wh, "outcomes")


def test_a_whole_file_is_read_after_all(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    """Its columns were missing by a contract of then; the copy that was kept serves when the file is gone."""
    from ratchet.landing import land

    real = land.read_chunks

    def refusing(*args: Any, **keys: Any) -> Any:
        raise land.UnreadableFile("columns differ from the contract of outcomes: missing gate")

    outcome = {"unit_id": "u", "event_at": f"{DAY}T09:00:00Z", "received_at": f"{DAY}T10:00:00Z"}
    rows = [{"outcome_id": f"o{n}", "outcome_value": float(n), **outcome} for n in range(40)]
    path = put(settings, "outcomes", "a.jsonl", lines_of(*rows, b"{"))
    land.read_chunks = refusing
    try:
        land_range(loop, settings, wh, DAY, DAY, lambda line: None)
    finally:
        land.read_chunks = real
    assert wh.scalar("select rows_quarantined from ops.landings") == 1
    path.unlink()
    done = try_again(loop, settings, wh, "outcomes")
    assert [(f.rows_read, f.rows_landed, f.rows_quarantined) for f in done.files] == [(41, 40, 1)]
    reconciled(wh, "outcomes")
    path.write_bytes(lines_of(*rows, b"{"))
    report = land_range(loop, settings, wh, DAY, DAY, lambda line: None)
    assert (report.rows_landed, report.rows_quarantined, report.rows_duplicate) == (0, 0, 41)


def test_corrected_rows_land_in_place_of_those_that_they_stand_for(
    loop: Loop, settings: Settings, wh: Warehouse, tmp_path: Path
) -> None:
    put(
        settings, "feedback", "a.jsonl", lines_of(answer(1), answer(2, rating=9), answer(3, rating="x"), b"{")
    )
    land_range(loop, settings, wh, DAY, DAY, lambda line: None)
    ids = wh.frame("select quarantine_id, source_line from raw.quarantine order by source_line")[
        "quarantine_id"
    ]
    path = tmp_path / "fixed.jsonl"
    fixed = answer(2, rating=5, comment="mail jo@example.com")
    path.write_bytes(
        lines_of({**fixed, "quarantine_id": ids[0]}, {**answer(3, rating=7), "quarantine_id": ids[1]})
    )
    done = try_again(loop, settings, wh, corrected=path)
    assert (done.tried, done.landed, done.still_held) == (2, 1, 1)
    found = wh.frame("select comment, source_file, source_line from raw.feedback where feedback_id = 'f2'")
    assert found.values.tolist() == [["mail [EMAIL]", "a.jsonl", 2]]
    reconciled(wh, "feedback")
    for content, words in (
        (lines_of({**fixed, "quarantine_id": ids[0]}), ":1: quarantine_id .* is no row held"),
        (lines_of(fixed), "quarantine_id null is no row held"),
        (lines_of({**fixed, "quarantine_id": ids[1]}) * 2, "comes twice"),
        (b"[1]\n", "not an object but list"),
        (b"", "holds no row"),
    ):
        path.write_bytes(content)
        with pytest.raises(CorrectionError, match=words):
            try_again(loop, settings, wh, corrected=path)
    reconciled(wh, "feedback")


def test_counts_by_kind_of_reason_put_like_with_like(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    rows = [answer(n, rating=f"n{n}") for n in range(30)] + [answer(n, channel=f"c{n}") for n in range(20)]
    put(settings, "feedback", "a.jsonl", lines_of(*rows, b"{", b"{x"))
    land_range(loop, settings, wh, DAY, DAY, lambda line: None)
    found = held.groups(wh, held.Asked("flights"))
    assert found[["kind", "n_rows"]].values.tolist() == [
        ["rating: ... is not a whole number", 30],
        ["channel: unknown value", 20],
        ["broken JSON: Expecting property name enclosed in double quotes", 2],
    ]
    assert held.groups(wh, held.Asked("flights", source="outcomes")).empty
    assert len(held.rows(wh, held.Asked("flights", reason="unknown"), 100)) == 20
    assert len(held.rows(wh, held.Asked("flights", start=DAY, end=DAY), 7)) == 7


def test_the_commands(
    settings: Settings, loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """From a list to a release, a dismissal and clear errors, as on-call types them."""
    monkeypatch.setenv("RATCHET_HOME", str(settings.home))
    if settings.warehouse_url:
        monkeypatch.setenv("RATCHET_WAREHOUSE_URL", settings.warehouse_url)
    put(
        settings,
        "feedback",
        "a.jsonl",
        lines_of(*(answer(n) for n in range(300)), answer(900, rating=9), b"[red]x["),
    )
    with open_warehouse(settings, purpose="test") as wh:
        land_range(loop, settings, wh, DAY, DAY, lambda line: None)

    migrate(settings.ledger_url)

    def said(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["quarantine", *words])
        text = result.output + (result.stderr if "stderr" in dir(result) else "")
        assert result.exit_code == code, text
        return text

    assert "rating: above 5" in said("list")
    (one, two) = json.loads(said("list", "--rows", "--json"))
    assert {one["source_line"], two["source_line"]} == {301, 302}
    assert "[red]x[" in said("show", two["quarantine_id"][:12])
    assert json.loads(said("show", one["quarantine_id"], "--json"))["reason"] == "rating: above 5"
    assert "no row has an id" in said("show", "abcdef012345", code=1)
    assert "is no id" in said("show", "zz'; drop", code=1)
    assert "has no source 'nope'" in said("release", "--source", "nope", "--date", str(DAY), code=1)
    assert "is no date" in said("release", "--source", "feedback", "--date", "2013-02-30", code=1)
    fixed = tmp_path / "fixed.jsonl"
    fixed.write_bytes(lines_of({**answer(900), "quarantine_id": one["quarantine_id"]}))
    told = said("release", "--source", "feedback", "--date", str(DAY), "--corrected", str(fixed), "--dry-run")
    assert "1 would be landed" in told
    result = CliRunner().invoke(
        app, ["quarantine", "release", "--source", "feedback", "--date", str(DAY), "--corrected", str(fixed)]
    )
    assert "1 tried, 1 landed" in result.output and "landing gate:" in result.output
    assert "judged again: 2013-05-14" in said(
        "dismiss", two["quarantine_id"][:10], "--why", "a test of the sender"
    )
    assert "dismissed already" in said("dismiss", two["quarantine_id"][:10], "--why", "again", code=1)
    assert "nothing of loop flights is held" in said("list")
    with open_warehouse(settings, purpose="test") as wh:
        reconciled(wh, "feedback")
        assert wh.scalar("select count(*) from ops.partition_gates where table_name = 'feedback'") == 1
