"""Each gate in four cases (success, failure, empty, null), and what a verdict does not depend on."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.landing.contract import load_contract
from ratchet.loop import Loop
from ratchet.quality import gates
from ratchet.quality.docs import DocsError, build_data_docs
from ratchet.quality.gates import GateReport, PartitionVerdict, gate_features, gate_landing, gate_training
from ratchet.quality.judge import GateError
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

DAY = date(2013, 5, 14)
NEXT = DAY + timedelta(days=1)
AS_OF = datetime(2013, 5, 16)
DAILY = ("schedule", "weather", "outcomes")
Builders = dict[str, Callable[..., pd.DataFrame]]


@pytest.fixture
def wh(settings: Settings, loop: Loop) -> Iterator[Warehouse]:
    with open_warehouse(settings, purpose="test") as warehouse:
        ops.ensure(warehouse)
        for source in loop.sources:
            warehouse.execute(load_contract(settings.dbt_dir, source).ddl())
        warehouse.execute("create schema features")
        yield warehouse


def put(wh: Warehouse, source: str, frame: pd.DataFrame) -> None:
    """The frame's rows in raw.<source>, as landing would have left them."""
    has = set(wh.frame(f"select * from raw.{source} limit 0").columns)
    day = pd.Timestamp(frame["received_date"].iloc[0]).date()
    rows = frame[[c for c in frame.columns if c in has]].assign(
        loop="flights",
        row_hash=[f"{source}-{day}-{i}" for i in range(len(frame))],
        source_file="a.jsonl",
        source_line=range(len(frame)),
    )
    wh.append(f"raw.{source}", rows)
    deliver(wh, source, day, len(frame))


def deliver(wh: Warehouse, source: str, day: date, rows: int) -> None:
    wh.execute(
        "insert into ops.landings values ('flights', ?, ?, 'a.jsonl', 'x', ?, ?, 0, 0, 0) on conflict do nothing",
        (source, day, rows, rows),
    )


def fill(wh: Warehouse, builders: Builders, days: list[date]) -> None:
    for day in days:
        for source in DAILY:
            put(wh, source, builders[source](day=day))
    for source in ("planes", "airports"):
        put(wh, source, builders[source](day=date(2012, 12, 31)))


def verdicts(report: GateReport) -> dict[tuple[str, date], PartitionVerdict]:
    return {(v.table, v.partition_date): v for v in report.verdicts}


def land(loop: Loop, settings: Settings, wh: Warehouse, start: date = DAY, end: date = DAY) -> GateReport:
    return gate_landing(loop, settings, wh, start, end, AS_OF)


def stored(wh: Warehouse) -> pd.DataFrame:
    return wh.frame("select * from ops.partition_gates order by border, table_name, partition_date")


# landing


def test_landing_success(loop: Loop, settings: Settings, wh: Warehouse, builders: Builders) -> None:
    fill(wh, builders, [DAY, NEXT])
    put(wh, "feedback", builders["feedback"]())
    report = land(loop, settings, wh, DAY, NEXT)
    assert report.passed
    assert {v.verdict for v in report.verdicts} == {"pass"}
    assert len(report.verdicts) == 2 * len(DAILY) + 2 + 1
    assert report.rows == 2 * (900 + 72 + 900) + 1200 + 600 + 600
    assert report.expectations_run >= 50
    kept = stored(wh)
    assert kept["verdict"].tolist() == ["pass"] * len(report.verdicts)
    assert kept["rows"].sum() == report.rows
    assert (kept["as_of"] == pd.Timestamp(AS_OF)).all()
    assert kept["suite_sha256"].str.len().eq(64).all()


def test_landing_failure_blocks_the_day_that_caused_it(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    fill(wh, builders, [DAY])
    broken = builders["outcomes"](day=NEXT).assign(outcome_value=0.0)
    put(wh, "outcomes", broken)
    put(wh, "schedule", builders["schedule"](day=NEXT))
    put(wh, "weather", builders["weather"](day=NEXT).assign(wind_speed_mph=[1000.0] + [5.0] * 71))
    found = verdicts(land(loop, settings, wh, DAY, NEXT))
    assert found["outcomes", DAY].verdict == "pass"
    blocked = found["outcomes", NEXT]
    assert blocked.verdict == "block"
    assert blocked.rows == 900
    assert any("expect_column_stdev_to_be_between(outcome_value): 0" in reason for reason in blocked.reasons)
    warned = found["weather", NEXT]
    assert warned.verdict == "warn"
    assert warned.reasons[0].startswith(
        "warning: expect_column_values_to_be_between(wind_speed_mph): 1 of 72"
    )
    assert found["weather", DAY].verdict == "pass"


def test_landing_empty_blocks_what_is_due_and_judges_nothing_else(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    report = land(loop, settings, wh)
    assert not report.passed
    found = verdicts(report)
    assert {table for table, _ in found} == {*DAILY, "planes", "airports"}
    assert all(v.verdict == "block" and v.rows == 0 and v.reasons for v in report.verdicts)
    assert len(stored(wh)) == 5


def test_landing_null_blocks(loop: Loop, settings: Settings, wh: Warehouse, builders: Builders) -> None:
    fill(wh, builders, [DAY])
    wh.execute("update raw.weather set temperature_f = null, wind_speed_mph = null, pressure_mb = null")
    wh.execute("update raw.schedule set tail_number = null")
    found = verdicts(land(loop, settings, wh))
    assert found["weather", DAY].verdict == "block"
    assert found["schedule", DAY].verdict == "block"
    assert any("no value to look at" in reason for reason in found["weather", DAY].reasons)
    assert found["outcomes", DAY].verdict == "pass"


def test_missing_day_inside_a_range_blocks(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    fill(wh, builders, [DAY, NEXT + timedelta(days=1)])
    found = verdicts(land(loop, settings, wh, DAY, NEXT + timedelta(days=1)))
    assert {key for key, v in found.items() if v.verdict == "block"} == {(source, NEXT) for source in DAILY}


def test_days_before_a_source_begins_are_not_due(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    found = verdicts(land(loop, settings, wh, date(2012, 12, 28), date(2013, 1, 1)))
    assert min(day for table, day in found if table == "schedule") == date(2012, 12, 29)
    assert min(day for table, day in found if table == "outcomes") == date(2013, 1, 1)


def test_file_without_a_row_blocks_where_no_file_is_not_judged(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    fill(wh, builders, [DAY])
    deliver(wh, "predictions", DAY, 0)
    found = verdicts(land(loop, settings, wh))
    assert found["predictions", DAY].verdict == "block"
    assert ("telemetry", DAY) not in found


def test_quarantined_share_blocks(loop: Loop, settings: Settings, wh: Warehouse, builders: Builders) -> None:
    fill(wh, builders, [DAY])
    bad = pd.DataFrame({"source_line": range(1, 61)}).assign(
        loop="flights",
        source="outcomes",
        received_date=pd.Timestamp(DAY),
        source_file="a.jsonl",
        reason="r",
        original="o",
    )
    wh.append("raw.quarantine", bad)
    blocked = verdicts(land(loop, settings, wh))["outcomes", DAY]
    assert blocked.verdict == "block"
    assert "expect_column_values_to_be_between(quarantined_share): 0.0625" in blocked.reasons[0]


def test_verdicts_do_not_depend_on_the_range(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    days = [DAY + timedelta(days=n) for n in range(4)]
    fill(wh, builders, days)
    wh.execute(
        "update raw.weather set temperature_f = null where received_date = ? and origin = 'EWR'", (days[1],)
    )
    wh.execute("update raw.outcomes set outcome_value = 2000 where received_date = ?", (days[2],))
    whole = verdicts(land(loop, settings, wh, days[0], days[-1]))
    columns = ["table_name", "partition_date", "verdict", "rows", "reason"]
    first = stored(wh)[columns]
    single: dict[tuple[str, date], PartitionVerdict] = {}
    for day in reversed(days):
        single |= verdicts(land(loop, settings, wh, day, day))
    assert {k: v for k, v in whole.items() if k[0] in DAILY} == {
        k: v for k, v in single.items() if k[0] in DAILY
    }
    assert {v.verdict for v in whole.values()} == {"pass", "block"}
    pd.testing.assert_frame_equal(first, stored(wh)[columns])


def test_reference_is_judged_once_and_again_when_it_was_blocked(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    fill(wh, builders, [DAY])
    home = date(2012, 12, 31)
    wh.execute("update raw.planes set seats = 5000")
    assert verdicts(land(loop, settings, wh))["planes", home].verdict == "block"
    wh.execute("update raw.planes set seats = 120")
    assert verdicts(land(loop, settings, wh))["planes", home].verdict == "pass"
    assert ("planes", home) not in verdicts(land(loop, settings, wh))


def test_a_verdict_that_turns_makes_the_partition_dirty(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    fill(wh, builders, [DAY])
    wh.execute("update raw.outcomes set outcome_value = 0")
    land(loop, settings, wh)
    assert wh.scalar("select count(*) from ops.dirty_partitions") == 0
    wh.execute("update raw.outcomes set outcome_value = source_line % 100")
    land(loop, settings, wh)
    assert wh.frame("select source, received_date from ops.dirty_partitions").values.tolist() == [
        ["outcomes", pd.Timestamp(DAY)]
    ]


def test_another_loops_rows_are_not_looked_at(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    fill(wh, builders, [DAY])
    wh.execute("update raw.outcomes set loop = 'other'")
    assert verdicts(land(loop, settings, wh))["outcomes", DAY].verdict == "block"


# features


def publishable(wh: Warehouse, loop: Loop, frame: pd.DataFrame) -> None:
    wh.execute("create schema if not exists build_features")
    wh.execute(f"drop table if exists build_features.{loop.features.table}")
    kinds = {"O": "varchar", "M": "timestamp", "f": "double precision", "i": "bigint"}
    declared = {c: kinds.get(frame[c].dtype.kind, "varchar") for c in frame.columns} | {
        "departure_date": "date"
    }
    columns = ", ".join(f'"{c}" {kind}' for c, kind in declared.items())
    wh.execute(f"create table build_features.{loop.features.table} ({columns})")
    wh.append(f"build_features.{loop.features.table}", frame)


def test_features_success(loop: Loop, settings: Settings, wh: Warehouse, builders: Builders) -> None:
    build = builders["ftr_flights__pre_departure"]
    publishable(wh, loop, pd.concat([build(), build(day=NEXT)]))
    report = gate_features(loop, settings, wh, [DAY, NEXT], AS_OF)
    assert report.passed
    assert [(v.partition_date, v.verdict, v.rows) for v in report.verdicts] == [
        (DAY, "pass", 900),
        (NEXT, "pass", 900),
    ]
    staged = wh.frame("select * from ops.staged_gates order by partition_date")
    assert staged["verdict"].tolist() == ["pass", "pass"]
    assert staged["table_name"].unique().tolist() == [loop.features.table]
    assert stored(wh).empty, "nobody may read a partition that was judged and not published"


def test_features_failure(loop: Loop, settings: Settings, wh: Warehouse, builders: Builders) -> None:
    build = builders["ftr_flights__pre_departure"]
    publishable(wh, loop, pd.concat([build(), build(day=NEXT).assign(origin_late_share_6h=1.5)]))
    found = verdicts(gate_features(loop, settings, wh, [DAY, NEXT], AS_OF))
    assert found[loop.features.table, DAY].verdict == "pass"
    assert found[loop.features.table, NEXT].verdict == "block"
    assert "900 of 900 values" in found[loop.features.table, NEXT].reasons[0]


def test_features_empty(loop: Loop, settings: Settings, wh: Warehouse, builders: Builders) -> None:
    publishable(wh, loop, builders["ftr_flights__pre_departure"]())
    found = verdicts(gate_features(loop, settings, wh, [DAY, NEXT], AS_OF))
    assert found[loop.features.table, NEXT].verdict == "block"
    nothing = gate_features(loop, settings, wh, [], AS_OF)
    assert not nothing.passed
    assert nothing.expectations_run == 0


def test_features_null(loop: Loop, settings: Settings, wh: Warehouse, builders: Builders) -> None:
    frame = builders["ftr_flights__pre_departure"]()
    publishable(wh, loop, frame.assign(departure_hour=np.nan, temperature_f=np.nan))
    report = gate_features(loop, settings, wh, [DAY], AS_OF)
    assert [v.verdict for v in report.verdicts] == ["block"]
    assert sum("departure_hour" in reason for reason in report.verdicts[0].reasons) == 2


# training


def test_training_success(loop: Loop, settings: Settings, builders: Builders) -> None:
    frame = builders["trn_flights"]()
    report = gate_training(loop, settings, frame, AS_OF)
    assert report.passed, report.verdicts
    assert report.verdicts == (PartitionVerdict("trn_flights", AS_OF.date(), "pass", len(frame)),)
    assert report.expectations_run >= 10


@pytest.mark.parametrize("name", ["arr_delay", "dep_delay", "outcome_value", "air_time"])
def test_training_failure_a_column_known_only_after_departure(
    loop: Loop, settings: Settings, builders: Builders, name: str
) -> None:
    assert name in loop.features.never
    report = gate_training(loop, settings, builders["trn_flights"]().assign(**{name: 1.0}), AS_OF)
    assert not report.passed
    assert report.blocked[0].reasons[0] == f"critical: known only after the prediction was made: {name}"
    assert any("unexpected " + name in reason for reason in report.blocked[0].reasons)


def test_training_failure_a_label_from_the_future(loop: Loop, settings: Settings, builders: Builders) -> None:
    frame = builders["trn_flights"]()
    frame.loc[17, "label_received_at"] = pd.Timestamp(AS_OF) + pd.Timedelta(microseconds=1)
    report = gate_training(loop, settings, frame, AS_OF)
    assert [r.split(":")[1].strip() for r in report.blocked[0].reasons] == [
        "expect_column_values_to_be_between(label_received_at)"
    ]


def test_training_empty(loop: Loop, settings: Settings, builders: Builders) -> None:
    report = gate_training(loop, settings, builders["trn_flights"]().iloc[:0], AS_OF)
    assert not report.passed
    assert "no rows" in report.verdicts[0].reasons[0]


def test_training_null(loop: Loop, settings: Settings, builders: Builders) -> None:
    frame = builders["trn_flights"]()
    frame["label"] = frame["label"].astype("Int64")
    frame.loc[:5, "label"] = pd.NA
    report = gate_training(loop, settings, frame, AS_OF)
    assert not report.passed
    assert any(
        "expect_column_values_to_not_be_null(label): 6 of" in reason for reason in report.blocked[0].reasons
    )


# closed by default


def without_suite(settings: Settings, tmp_path: Path, name: str) -> Settings:
    root = tmp_path / "checkout"
    for folder in ("loops", "expectations", "dbt"):
        shutil.copytree(
            settings.root / folder, root / folder, ignore=shutil.ignore_patterns("target", "logs")
        )
    (root / "expectations" / "suites" / f"{name}.yml").unlink()
    return dataclasses.replace(settings, root=root)


def test_a_source_without_a_suite_blocks(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders, tmp_path: Path
) -> None:
    fill(wh, builders, [DAY])
    report = land(loop, without_suite(settings, tmp_path, "outcomes"), wh)
    assert not report.passed
    assert "no suite" in verdicts(report)["outcomes", DAY].reasons[0]


def test_features_and_training_without_a_suite_block(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders, tmp_path: Path
) -> None:
    publishable(wh, loop, builders["ftr_flights__pre_departure"]())
    bare = without_suite(settings, tmp_path, loop.features.table)
    (bare.suites_dir / "trn_flights.yml").unlink()
    assert not gate_features(loop, bare, wh, [DAY], AS_OF).passed
    assert not gate_training(loop, bare, builders["trn_flights"](), AS_OF).passed


def test_report_of_nothing_did_not_pass() -> None:
    assert not GateReport("landing", AS_OF, (), 0).passed
    assert not GateReport("landing", AS_OF, (), 5).passed
    assert not GateReport("landing", AS_OF, (PartitionVerdict("t", DAY, "pass", 1),), 0).passed
    assert GateReport("landing", AS_OF, (PartitionVerdict("t", DAY, "warn", 1),), 1).passed


def test_an_expectation_that_does_not_answer_stops_the_gate(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(wh, builders, [DAY])
    real = gates.Session.validate

    def forgetful(self: gates.Session, *args: object) -> object:
        result = real(self, *args)  # type: ignore[arg-type]
        result.results.pop()
        return result

    monkeypatch.setattr(gates.Session, "validate", forgetful)
    with pytest.raises(GateError, match="answered"):
        land(loop, settings, wh)


# results are kept


def test_results_are_kept_and_data_docs_are_built_from_them(
    loop: Loop, settings: Settings, wh: Warehouse, builders: Builders
) -> None:
    with pytest.raises(DocsError, match="run a gate first"):
        build_data_docs(settings)
    fill(wh, builders, [DAY])
    wh.execute("update raw.weather set origin = 'EWR'")
    land(loop, settings, wh)
    land(loop, settings, wh)
    files = sorted((settings.gx_dir / "validations").glob("*/*/*/*.json"))
    assert [path.parts[-4] for path in files] == ["airports", "outcomes", "planes", "schedule", "weather"]
    kept = json.loads(files[-1].read_text())
    assert kept["success"] is False
    failed = [r for r in kept["results"] if not r["success"]]
    assert any(
        r["expectation_config"]["meta"].get("declared_as", "").startswith("expect_column_unique")
        for r in failed
    )
    assert all(path.stat().st_size < 60_000 for path in files)
    index = build_data_docs(settings)
    assert index.exists()
    pages = list((settings.gx_dir / "data_docs").rglob("validations/**/*.html"))
    assert len(pages) == len(files)
    links = re.findall(r'href="([^"]+)"', index.read_text(encoding="utf-8"))
    assert sorted((index.parent / link).resolve() for link in links) == sorted(
        page.resolve() for page in pages
    )
    assert "http" not in index.read_text(encoding="utf-8"), "the index needs no network"
    assert any("distinct stations" in p.read_text() or "unique_count" in p.read_text() for p in pages)


def test_nothing_is_sent_and_no_bar_is_drawn(settings: Settings) -> None:
    from ratchet.quality.session import open_context

    context = open_context(settings.gx_dir)
    assert context.config.analytics_enabled is False
    assert context.progress_bars["globally"] is False
