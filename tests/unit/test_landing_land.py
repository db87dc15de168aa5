"""Landing a range: what was read is landed, quarantined or duplicate, and a second time changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ratchet.landing.land import LandingError, land_range
from ratchet.landing.partition import Partition, Taken
from ratchet.landing.report import LandingReport
from ratchet.loop import Loop, load_loop
from ratchet.settings import Settings, load_settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

DAY = date(2013, 5, 14)
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"RATCHET_HOME": str(tmp_path)})


@pytest.fixture
def loop(settings: Settings) -> Loop:
    return load_loop(settings.loops_dir / "flights.yml")


@pytest.fixture
def wh(settings: Settings) -> Iterator[Warehouse]:
    with open_warehouse(settings, purpose="test") as warehouse:
        yield warehouse


def outcome(n: int, day: date = DAY, **changes: Any) -> dict[str, Any]:
    return {
        "outcome_id": f"o{n}",
        "unit_id": f"UA{n}-EWR-20130514-0515",
        "outcome_value": float(n % 300),
        "event_at": f"{day}T09:00:00Z",
        "received_at": f"{day}T10:00:{n % 60:02d}Z",
        **changes,
    }


def put(settings: Settings, source: str, day: date, name: str, content: bytes | list[Any]) -> Path:
    path = settings.landing_dir / "flights" / source / f"received_date={day}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in content).encode()
    path.write_bytes(content)
    return path


def snapshot(wh: Warehouse) -> dict[str, list[tuple[Any, ...]]]:
    tables = ["raw.outcomes", "raw.feedback", "raw.quarantine", "ops.landings", "ops.dirty_partitions"]
    return {t: sorted(map(str, wh.frame(f"select * from {t}").itertuples(index=False))) for t in tables}


def run(loop: Loop, settings: Settings, wh: Warehouse, start: date = DAY, end: date = DAY) -> LandingReport:
    return land_range(loop, settings, wh, start, end, lambda line: None)


def counts(report: LandingReport) -> tuple[int, int, int, int]:
    return report.rows_read, report.rows_landed, report.rows_quarantined, report.rows_duplicate


def test_rows_reconcile_and_landing_again_changes_nothing(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    rows = [outcome(n) for n in range(50)] + [outcome(3), "{broken", outcome(99, outcome_value="late")]
    put(settings, "outcomes", DAY, "a.jsonl", rows)
    report = run(loop, settings, wh)
    assert counts(report) == (53, 50, 2, 1)
    assert report.dirty == (("outcomes", DAY),)
    before = snapshot(wh)
    assert len(before["raw.outcomes"]) == 50
    again = run(loop, settings, wh)
    assert counts(again) == (53, 0, 0, 53)
    assert again.dirty == ()
    assert snapshot(wh) == before
    refused = wh.frame("select * from raw.quarantine order by source_line")
    assert refused["source_line"].tolist() == [52, 53]
    assert refused["reason"].tolist()[1] == "outcome_value: 'late' is not a number"
    assert refused["original"].tolist()[0] == "{broken"
    assert refused["source_file"].unique().tolist() == ["a.jsonl"]


def test_range_equals_day_by_day_in_any_order(loop: Loop, settings: Settings, tmp_path: Path) -> None:
    days = [DAY + timedelta(days=n) for n in range(3)]
    for day in days:
        put(
            settings,
            "outcomes",
            day,
            "a.jsonl",
            [outcome(n, day) for n in range(20)] + ["{", outcome(1, day)],
        )
    results = []
    for order in ([(days[0], days[-1])], [(d, d) for d in reversed(days)]):
        settings.warehouse_path.unlink(missing_ok=True)
        with open_warehouse(settings, purpose="test") as wh:
            for start, end in order:
                run(loop, settings, wh, start, end)
            results.append(snapshot(wh))
    assert results[0] == results[1]
    assert len(results[0]["raw.outcomes"]) == 60


def test_same_key_with_other_content_is_a_new_version(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    put(settings, "outcomes", DAY, "a.jsonl", [outcome(1), outcome(1, outcome_value=7.0), outcome(1)])
    put(settings, "outcomes", DAY, "b.jsonl", [outcome(1), outcome(2)])
    assert counts(run(loop, settings, wh)) == (5, 3, 0, 2)


def test_file_rewritten_with_more_rows_lands_the_difference(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    put(settings, "outcomes", DAY, "a.jsonl", ["{", outcome(1)])
    run(loop, settings, wh)
    put(settings, "outcomes", DAY, "a.jsonl", ["{", outcome(1), outcome(2), "}"])
    assert counts(run(loop, settings, wh)) == (4, 1, 1, 2)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", b"PAR1 cut", "not a readable Parquet file"),
        ("a.csv", b"outcome_id,value\n1,2\n", "columns differ from the contract of outcomes"),
        ("a.xml", b"<rows/>", "a file of type 'xml'"),
    ],
)
def test_unreadable_file_is_one_row_of_quarantine(
    loop: Loop, settings: Settings, wh: Warehouse, name: str, content: bytes, reason: str
) -> None:
    put(settings, "outcomes", DAY, name, content)
    assert counts(run(loop, settings, wh)) == (1, 0, 1, 0)
    found = wh.frame("select source_line, reason from raw.quarantine")
    assert found["source_line"].tolist() == [0]
    assert reason in found["reason"].iloc[0]
    assert counts(run(loop, settings, wh)) == (1, 0, 0, 1)


def test_empty_file_lands_nothing_and_is_on_record(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    put(settings, "feedback", DAY, "a.jsonl", b"")
    assert counts(run(loop, settings, wh)) == (0, 0, 0, 0)
    assert wh.scalar("select count(*) from ops.landings where source = 'feedback'") == 1


def test_nothing_there_is_no_error_and_all_raw_tables_exist(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    assert counts(run(loop, settings, wh)) == (0, 0, 0, 0)
    for source in loop.sources:
        assert wh.scalar(f"select count(*) from raw.{source}") == 0


def test_comments_are_redacted_in_the_table_and_in_quarantine(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    row = {
        "feedback_id": "f1",
        "prediction_id": "p1",
        "unit_id": "UA1-EWR-20130514-0515",
        "channel": "rating",
        "rating": 1,
        "comment": "call +1 212 555 0142, jo@example.com",
        "category": None,
        "is_simulated": True,
        "event_at": f"{DAY}T09:00:00Z",
        "received_at": f"{DAY}T10:00:00Z",
    }
    put(settings, "feedback", DAY, "a.jsonl", [row, {**row, "rating": 9}, json.dumps(row)[:-30]])
    assert counts(run(loop, settings, wh)) == (3, 1, 2, 0)
    assert wh.scalar("select comment from raw.feedback") == "call [PHONE], [EMAIL]"
    stored = wh.frame("select original from raw.quarantine")["original"].str.cat()
    assert "example.com" not in stored
    assert "0142" not in stored


def test_reference_lands_outside_the_range_once(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    home = date(2012, 12, 31)
    path = settings.landing_dir / "flights" / "planes" / f"received_date={home}" / "planes.parquet"
    path.parent.mkdir(parents=True)
    at = pd.Timestamp(home)
    pd.DataFrame(
        {
            "tail_number": ["N1", "N2"],
            "manufacture_year": pd.array([1999, None], dtype="Int64"),
            "seats": [100, 55],
            "engine": ["Turbo-fan", None],
            "manufacturer": ["BOEING", None],
            "event_at": [at, at],
            "received_at": [at, at],
        }
    ).to_parquet(path)
    assert counts(run(loop, settings, wh)) == (2, 2, 0, 0)
    assert counts(run(loop, settings, wh, NEXT, NEXT)) == (0, 0, 0, 0)
    assert counts(run(loop, settings, wh, home, home)) == (2, 0, 0, 2)
    years = wh.frame("select manufacture_year, received_date from raw.planes order by tail_number")
    assert years["manufacture_year"].isna().tolist() == [False, True]
    assert years["received_date"].iloc[0] == at


def test_new_rows_take_the_green_verdict_away(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    put(settings, "outcomes", DAY, "a.jsonl", [outcome(1)])
    run(loop, settings, wh)
    wh.execute(
        "insert into ops.partition_gates "
        "values ('flights', 'landing', 'outcomes', ?, 'pass', 1, null, 'x', ?)",
        (DAY, pd.Timestamp(NEXT)),
    )
    run(loop, settings, wh)
    assert wh.scalar("select count(*) from ops.partition_gates") == 1
    put(settings, "outcomes", DAY, "late.jsonl", [outcome(2)])
    run(loop, settings, wh)
    assert wh.scalar("select count(*) from ops.partition_gates") == 0


def test_a_crash_within_a_partition_leaves_it_untouched(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, "outcomes", DAY, "a.jsonl", [outcome(1)])
    put(settings, "outcomes", DAY, "b.jsonl", ["{", outcome(2)])
    real = type(wh).append

    def failing(self: Any, table: str, frame: pd.DataFrame) -> int:
        if table == "raw.quarantine":
            raise OSError("disk full")
        return real(self, table, frame)

    monkeypatch.setattr(type(wh), "append", failing)
    with pytest.raises(OSError, match="disk full"):
        run(loop, settings, wh)
    monkeypatch.undo()
    assert all(rows == [] for rows in snapshot(wh).values())
    assert counts(run(loop, settings, wh)) == (3, 2, 1, 0)


def test_counts_that_do_not_add_up_stop_the_partition(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(settings, "outcomes", DAY, "a.jsonl", [outcome(1), "{"])
    real = Partition.take
    monkeypatch.setattr(Partition, "take", lambda *args: real(*args) + Taken(read=1))
    with pytest.raises(LandingError, match="3 rows read, but 1 landed"):
        run(loop, settings, wh)
    assert wh.scalar("select count(*) from ops.landings") == 0
    assert wh.scalar("select count(*) from raw.outcomes") == 0


def test_empty_range_is_refused(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    with pytest.raises(LandingError, match="holds no day"):
        run(loop, settings, wh, NEXT, DAY)


def test_folders_that_are_no_partition_are_named_not_read(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    put(settings, "outcomes", DAY, "a.jsonl", [outcome(1)])
    folder = settings.landing_dir / "flights" / "outcomes"
    shutil.copytree(folder / f"received_date={DAY}", folder / "received_date=2013-13-45")
    (folder / "received_date='; drop table raw.outcomes; --").mkdir()
    put(settings, "outcomes", DAY, ".a.jsonl.tmp", [outcome(2)])
    lines: list[str] = []
    report = land_range(loop, settings, wh, DAY, DAY, lines.append)
    assert counts(report) == (1, 1, 0, 0)
    assert sum("left alone" in line for line in lines) == 3


def test_a_thousand_bad_rows_in_many_are_exactly_the_ones_refused(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    planted: list[Any] = []
    for n in range(20_000):
        row: Any = outcome(n)
        if n % 20 == 7:
            row = [
                {**row, "outcome_value": float("nan")},
                {**row, "received_at": None},
                {**row, "event_at": "1970-01-01T00:00:00Z"},
                {**row, "unit_id": "x" * 500},
                "\x00{",
            ][n // 20 % 5]
        planted.append(row)
    put(settings, "outcomes", DAY, "a.jsonl", planted)
    assert counts(run(loop, settings, wh)) == (20_000, 19_000, 1_000, 0)
    lines = wh.frame("select source_line from raw.quarantine")["source_line"]
    assert sorted(lines) == [n + 1 for n in range(20_000) if n % 20 == 7]
