"""A long history for the warehouse: the year 2013 over and over, each copy 364 days before the next.

364 days keep the weekdays. A copy has the flights, outcomes and weather of the real year; predictions (one a flight),
answers (to three in ten) and telemetry are made from hashes. There are more days in a longer history, not fatter
ones, so a day costs the same to look at in both. Rows go straight into the raw tables, with green landing gates.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pandas as pd

from ratchet.landing.contract import load_contract
from ratchet.ledger.store import migrate
from ratchet.loop import Loop
from ratchet.replay.flights import load_flights, load_planes, load_weather, outcome_rows, schedule_rows
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

Log = Callable[[str], None]

COPY_DAYS = 364
FLIGHTS_A_COPY = 335_000
#: As many are filled in; those about the new days come with them.
PREDICTIONS_A_COPY = 335_796
#: Rows of a row group, DuckDB's unit of compression.
BLOCK_ROWS = 122_880
#: Rows received before this day are history; the days from it on come one by one.
FIRST_NEW_DAY = date(2013, 12, 26)
LAST_NEW_DAY = date(2013, 12, 31)


#: By source: the table of the year that it is made from, and its columns as SQL over a row of that. {shift} moves a
#: time, {mark} tells the copies' ids apart.
_SQL: dict[str, tuple[str, dict[str, str]]] = {
    "schedule": (
        "base.schedule",
        {
            "flight_id": "flight_id || '{mark}'",
            "departure_date": "cast(departure_date + {shift} as date)",
            "scheduled_departure_at": "scheduled_departure_at + {shift}",
            "scheduled_arrival_at": "scheduled_arrival_at + {shift}",
        },
    ),
    "outcomes": (
        "base.outcomes",
        {"outcome_id": "outcome_id || '{mark}'", "unit_id": "unit_id || '{mark}'"},
    ),
    "weather": ("base.weather", {}),
    "predictions": (
        "base.predictions",
        {"prediction_id": "prediction_id || '{mark}'", "unit_id": "unit_id || '{mark}'"},
    ),
    "feedback": (
        "base.feedback",
        {
            "feedback_id": "feedback_id || '{mark}'",
            "prediction_id": "prediction_id || '{mark}'",
            "unit_id": "unit_id || '{mark}'",
        },
    ),
    "telemetry": (
        "base.telemetry",
        {
            "telemetry_id": "telemetry_id || '{mark}'",
            "prediction_id": "prediction_id || '{mark}'",
            "unit_id": "unit_id || '{mark}'",
        },
    ),
}
_KEYS = {
    "schedule": "flight_id",
    "outcomes": "outcome_id",
    "weather": "origin || cast(event_at as varchar)",
    "predictions": "prediction_id",
    "feedback": "feedback_id",
    "telemetry": "telemetry_id",
}
#: What a day brings about earlier ones: source, days, and columns that differ.
_LATE: tuple[tuple[str, int, dict[str, str]], ...] = (
    ("outcomes", 2, {"outcome_value": "outcome_value + 20"}),
    ("feedback", 5, {"feedback_id": "'late-' || feedback_id || '{mark}'"}),
)


def copies_for(rows: int) -> int:
    """Copies of the year that hold about `rows` predictions."""
    return max(1, round(rows / FLIGHTS_A_COPY))


def copies_as_full(rows: int, like: int) -> int:
    """Copies of the year that hold `rows` predictions or more, DuckDB's last block as full as with `like` copies.

    Whatever a day replaces lies in the last block of a table, which is then written anew up to all of its rows: how
    full that happens to be has nothing to do with how long the history is.
    """
    copies = copies_for(rows)
    while (
        BLOCK_ROWS // 20 < (copies - like) * PREDICTIONS_A_COPY % BLOCK_ROWS < BLOCK_ROWS - BLOCK_ROWS // 20
    ):
        copies += 1
    return copies


def _year() -> dict[str, pd.DataFrame]:
    """The rows of one year by source."""
    flights = load_flights()
    due = flights["scheduled_departure_at"] - pd.Timedelta(hours=2)
    predictions = pd.DataFrame(
        {
            "prediction_id": flights["flight_id"] + "-v1",
            "unit_id": flights["flight_id"],
            "experiment_id": None,
            "arm": "champion",
            "model_version": 1,
            "is_served": True,
            "score": 0.02 + (flights.index.to_numpy() * 7919 % 900) / 1000.0,
            "latency_ms": 1.0,
            "event_at": due,
            "received_at": due + pd.Timedelta(seconds=1),
        }
    )
    told = predictions[predictions.index % 10 < 3].reset_index(drop=True)
    at = told["event_at"] + pd.Timedelta(hours=20)
    answers = pd.DataFrame(
        {
            "feedback_id": "a-" + told["prediction_id"],
            "prediction_id": told["prediction_id"],
            "unit_id": told["unit_id"],
            "channel": "rating",
            "rating": 1 + told.index % 5,
            "comment": None,
            "category": None,
            "is_simulated": True,
            "event_at": at,
            "received_at": at,
        }
    )
    events = pd.DataFrame(
        {
            "telemetry_id": "t-" + told["prediction_id"],
            "prediction_id": told["prediction_id"],
            "unit_id": told["unit_id"],
            "event_type": "rating_asked",
            "event_count": 3,
            "is_simulated": True,
            "event_at": at,
            "received_at": at,
        }
    )
    return {
        "schedule": schedule_rows(flights),
        "outcomes": outcome_rows(flights),
        "weather": load_weather(),
        "predictions": predictions,
        "feedback": answers,
        "telemetry": events,
    }


def fill(settings: Settings, loop: Loop, copies: int, log: Log) -> int:
    """Fill an empty warehouse with `copies` of the year up to FIRST_NEW_DAY; the number of predictions.

    The days from FIRST_NEW_DAY on stand ready in the schema `base`: `arrive` lets one of them arrive.
    """
    migrate(settings.ledger_url)  # gates write their verdicts there
    with open_warehouse(settings, purpose="history") as wh:
        ops.ensure(wh)
        for source in loop.sources:
            contract = load_contract(settings.dbt_dir, source)
            wh.execute(contract.ddl())
            for columns in contract.indexes:
                wh.index(contract.table, columns)
        wh.execute("create schema base")
        for source, frame in _year().items():
            _store(wh, settings, source, frame)
        for k in range(copies):
            days = -k * COPY_DAYS
            with wh.transaction():
                for source in _SQL:
                    # The 365th day of an earlier copy is the first of the next one.
                    last = FIRST_NEW_DAY if k == 0 else date(2013, 12, 31)
                    date_of = "departure_date" if source == "schedule" else "event_at"
                    edge = "" if k == 0 else f" and {date_of} < date '2013-12-31'"
                    _insert(wh, settings, source, days, k, f"received_at < date '{last}'{edge}")
            log(f"{k + 1} of {copies} copies of the year")
        planes = load_planes()
        planes = planes.assign(
            extra_fields=None, loop="flights", received_date=pd.Timestamp("2012-12-31"),
            row_hash=[f"{n:032x}" for n in range(len(planes))], source_file="history", source_line=1,
        )  # fmt: skip
        wh.append("raw.planes", planes)
        for source in (*_SQL, "planes"):
            _landed(wh, source, "true")
            wh.analyze(f"raw.{source}")
        # One partition is enough: before the first build each reaches every date.
        wh.execute("insert into ops.dirty_partitions values ('flights', 'planes', date '2012-12-31')")
        return int(wh.scalar("select count(*) from raw.predictions"))


def arrive(settings: Settings, day: date) -> int:
    """Let the rows received on `day` land, judged and dirty; how many.

    With them come corrections of one in a hundred of the outcomes of two days before, and answers, as many again,
    about flights of five days before.
    """
    rows = 0
    with open_warehouse(settings, purpose="a new day") as wh, wh.transaction():
        for source in _SQL:
            of_day = f"cast(received_at as date) = date '{day}'"
            rows += _insert(wh, settings, source, 0, 0, of_day)
        for source, days, own in _LATE:
            of_day = f"cast(received_at as date) = date '{day}' - {days} and md5({_KEYS[source]}) < '028f5c'"
            rows += _insert(wh, settings, source, 0, 0, of_day, late_by=days, own=own)
        for source in _SQL:
            _landed(wh, source, f"received_date = date '{day}'")
            wh.execute("insert into ops.dirty_partitions values ('flights', ?, ?)", (source, day))
    return rows


def make_dirty(settings: Settings, start: date, end: date) -> int:
    """Mark every landed partition received from `start` to `end` as dirty; how many."""
    with open_warehouse(settings, purpose="a backfill") as wh, wh.transaction():
        wh.execute(
            "insert into ops.dirty_partitions select distinct loop, source, received_date from ops.landings "
            "where received_date between ? and ? and source <> 'planes'",
            (start, end),
        )
        return int(wh.scalar("select count(*) from ops.dirty_partitions"))


def pass_features(settings: Settings, loop: Loop) -> int:
    """Give every staged feature partition of the scope a green verdict, without judging it; how many."""
    with open_warehouse(settings, purpose="verdicts") as wh, wh.transaction():
        wh.execute(
            "insert into ops.staged_gates select s.loop, ?, s.departure_date, 'pass', count(f.unit_id), null, 'bench', "
            f"max(s.as_of) from ops.build_scope s left join build_features.{loop.features.table} f "
            "on f.loop = s.loop and f.departure_date = s.departure_date where s.includes_features "
            "group by s.loop, s.departure_date",
            (loop.features.table,),
        )
        return int(wh.scalar("select count(*) from ops.staged_gates"))


def _store(wh: Warehouse, settings: Settings, source: str, frame: pd.DataFrame) -> None:
    types = {column.name: column.data_type for column in load_contract(settings.dbt_dir, source).columns}
    columns = ", ".join(
        f'"{name}" {"double precision" if types[name] == "double" else types[name]}' for name in frame.columns
    )
    wh.execute(f"create table base.{source} ({columns})")
    wh.append(f"base.{source}", frame)


def _insert(
    wh: Warehouse,
    settings: Settings,
    source: str,
    days: int,
    k: int,
    where: str,
    late_by: int = 0,
    own: dict[str, str] | None = None,
) -> int:
    """Insert copy `k` of the year's rows that `where` names, moved by `days`; how many. `late_by`: received so many
    days after, with the columns `own`."""
    table, columns = _SQL[source]
    columns = {**columns, **(own or {})}
    shift, mark = f"interval '{days} days'", f"~{k}"
    received = f"received_at + {shift} + interval '{late_by} days'"
    names = [column.name for column in load_contract(settings.dbt_dir, source).columns]
    has = set(wh.frame(f"select * from {table} limit 0").columns)
    values = []
    for name in names:
        if name in columns:
            values.append(columns[name].format(shift=shift, mark=mark))
        elif name == "received_at":
            values.append(received)
        elif name == "event_at":
            values.append(f"event_at + {shift}")
        else:
            values.append(name if name in has else "null")
    hashed = f"md5({_KEYS[source]} || '{mark}~{late_by}')"
    added = f"null, 'flights', cast({received} as date), {hashed}, 'history', 1"
    target = ", ".join(
        [*names, "extra_fields", "loop", "received_date", "row_hash", "source_file", "source_line"]
    )
    wh.execute(
        f"insert into raw.{source} ({target}) select {', '.join(values)}, {added} from {table} where {where} "
        "order by received_at"
    )
    return int(wh.scalar(f"select count(*) from {table} where {where}"))


def _landed(wh: Warehouse, source: str, where: str) -> None:
    counted = f"from raw.{source} where {where} group by received_date"
    wh.execute(
        "insert into ops.landings (loop, source, received_date, file_name, file_sha256, rows_read, rows_landed, "
        f"rows_quarantined, rows_duplicate) select 'flights', '{source}', received_date, 'history', 'x', count(*), "
        f"count(*), 0, 0 {counted}"
    )
    wh.execute(
        "insert into ops.partition_gates (loop, border, table_name, partition_date, verdict, rows, reason, "
        f"suite_sha256, as_of) select 'flights', 'landing', '{source}', received_date, 'pass', count(*), null, 'x', "
        f"cast(received_date as timestamp) {counted}"
    )
