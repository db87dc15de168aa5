"""A gate's verdicts do not depend on the pieces in which it reads, and no piece is larger than allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ratchet.landing.contract import load_contract
from ratchet.loop import Loop
from ratchet.quality import pieces
from ratchet.quality.gates import GateReport, gate_features, gate_landing
from ratchet.quality.pieces import Reader
from ratchet.quality.suites import Suite, load_suites
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, WarehouseError

DAYS = [date(2013, 5, 14) + timedelta(days=n) for n in range(4)]
#: All partitions in one piece; one or two to a piece; each cut into several.
SIZES = (1_000_000, 1_000, 100)
FEATURES = "ftr_flights__pre_departure"
Builders = dict[str, Callable[..., pd.DataFrame]]


@pytest.fixture
def wh(settings: Settings, loop: Loop, builders: Builders) -> Iterator[Warehouse]:
    with open_warehouse(settings, purpose="test") as warehouse:
        ops.ensure(warehouse)
        for source in loop.sources:
            warehouse.execute(load_contract(settings.dbt_dir, source).ddl())
        for number, day in enumerate(DAYS[:3]):
            for source, frame in broken(builders, day, number).items():
                put(warehouse, source, frame)
        warehouse.execute("create schema build_features")
        rows = pd.concat([builders[FEATURES](day=day) for day in DAYS[:3]])
        # The last day holds half of its flights twice; the second lacks the weather of most.
        rows.loc[rows["departure_date"] == pd.Timestamp(DAYS[1]), "temperature_f"] = np.nan
        rows = pd.concat([rows, builders[FEATURES](day=DAYS[2])[:450]], ignore_index=True)
        store(warehouse, f"build_features.{FEATURES}", rows)
        yield warehouse


def broken(builders: Builders, day: date, number: int) -> dict[str, pd.DataFrame]:
    """Frames of a day that break rules about rows, about numbers, and about none."""
    outcomes, weather = builders["outcomes"](day=day), builders["weather"](day=day)
    predictions = builders["predictions"](day=day)
    if number == 1:
        outcomes = outcomes.assign(outcome_value=0.0)
        weather = weather.assign(wind_speed_mph=[1000.0] + [5.0] * 71, temperature_f=np.nan)
        predictions = predictions.assign(score=np.nan, latency_ms=9999.0)
    if number == 2:
        weather = pd.concat([weather, weather[:7]], ignore_index=True)
        predictions = predictions.assign(
            prediction_id=[f"p{i % 400}" for i in range(900)], model_version=[i % 5 for i in range(900)]
        )
        predictions.loc[::2, "score"] = np.nan
    return {"outcomes": outcomes, "weather": weather, "predictions": predictions}


def put(wh: Warehouse, source: str, frame: pd.DataFrame) -> None:
    day = pd.Timestamp(frame["received_date"].iloc[0]).date()
    has = wh.frame(f"select * from raw.{source} limit 0").columns
    rows = frame[[c for c in frame.columns if c in has]].assign(
        loop="flights", row_hash=[f"{day}-{i}" for i in range(len(frame))], source_file="a", source_line=1
    )
    wh.append(f"raw.{source}", rows)
    wh.execute(
        "insert into ops.landings values ('flights', ?, ?, 'a', 'x', ?, ?, 0, 0, 0)",
        (source, day, len(frame), len(frame)),
    )


def store(wh: Warehouse, table: str, frame: pd.DataFrame) -> None:
    kinds = {"O": "varchar", "M": "timestamp", "f": "double precision", "i": "bigint"}
    columns = ", ".join(
        f'"{name}" {"date" if name == "departure_date" else kinds.get(frame[name].dtype.kind, "varchar")}'
        for name in frame.columns
    )
    wh.execute(f"create table {table} ({columns})")
    wh.append(table, frame)


def said(report: GateReport) -> list[tuple[str, date, str, int, tuple[str, ...]]]:
    return [(v.table, v.partition_date, v.verdict, v.rows, v.reasons) for v in report.verdicts]


def test_verdicts_are_the_same_whatever_the_size_of_a_piece(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_of = datetime(2013, 5, 20)
    found = []
    for size in SIZES:
        monkeypatch.setattr(pieces, "PIECE_ROWS", size)
        landing = gate_landing(loop, settings, wh, DAYS[0], DAYS[-1], as_of)
        features = gate_features(loop, settings, wh, DAYS, as_of)
        found.append((said(landing) + said(features), landing.expectations_run, features.expectations_run))
    verdicts = [verdict for _, _, verdict, rows, _ in found[0][0] if rows]
    assert len(verdicts) == 12, "three days of three sources and of the features have rows"
    assert {"pass", "warn", "block"} == set(verdicts)
    assert min(found[0][1:]) > 15
    assert found[1] == found[0], "a partition or two to a piece"
    assert found[2] == found[0], "partitions in several pieces"


def reader(wh: Warehouse, settings: Settings, suite: str = FEATURES) -> Reader:
    of: Suite = load_suites(settings)[suite]
    table = f"build_features.{suite}" if suite == FEATURES else f"raw.{suite}"
    return Reader(wh, of, table, "flights", {})


def test_a_piece_is_bounded_and_none_of_the_rows_is_left_out(settings: Settings, wh: Warehouse) -> None:
    for suite, rows in ((FEATURES, 3150), ("predictions", 2700)):
        for size in (2000, 1000, 100):
            made = list(reader(wh, settings, suite).pieces(DAYS, size))
            sizes = [len(piece.frame) for piece in made]
            assert sum(sizes) == rows, (suite, size)
            # A large partition is cut by a hash: evenly, but for luck.
            assert max(sizes) <= size * (1 if size >= 1350 else 1.6), (suite, size, sizes)
            numbered = [piece.numbers for piece in made if piece.numbers is not None]
            assert [stamp.date() for table in numbered for stamp in table["partition"]] == DAYS


def test_rows_that_are_compared_with_each_other_lie_in_one_piece(settings: Settings, wh: Warehouse) -> None:
    made = list(reader(wh, settings).pieces([DAYS[2]], 200))
    assert len(made) == 7
    twice = [int(piece.frame["unit_id"].duplicated(keep=False).sum()) for piece in made]
    assert sum(twice) == 900


def test_a_table_that_changes_while_it_is_judged_gets_no_verdict(settings: Settings, wh: Warehouse) -> None:
    read = reader(wh, settings).pieces(DAYS, 1000)
    next(read)
    wh.execute(f"delete from build_features.{FEATURES} where departure_date = ?", (DAYS[2],))
    with pytest.raises(WarehouseError, match="1350 rows when the gate began, 0 when it read them"):
        list(read)
