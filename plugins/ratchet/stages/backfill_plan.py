"""What a backfill would do: its files, how far they reach, what they touch, how long it may take. Changes nothing."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from typing import Any, Literal

import pandas as pd
import pyarrow.parquet as parquet

from ratchet.landing.files import DeliveredFile, delivered, location_of, partitions
from ratchet.landing.readers import format_of
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.records import state_of
from ratchet.stages.skew import FACTS_ONLY
from ratchet.stages.snapshots import snapshots
from ratchet.stages.timings import estimate
from ratchet.warehouse.connect import open_warehouse

#: Schedules are received some days before the data's first departure, answers some weeks after its last.
MARGIN = timedelta(days=31)
State = Literal["landed", "new", "changed"]


class BackfillRefused(ValueError):
    """The range can't be backfilled; the message says what to give."""


@dataclass(frozen=True)
class PlannedFile:
    """One file of a partition. `rows` are counted from the file, or known from its landing; None: not readable."""

    source: str
    received_date: date
    name: str
    state: State
    rows: int | None


@dataclass(frozen=True)
class Plan:
    """What landing the received dates `start` to `end` would do, at most."""

    start: date
    end: date
    files: tuple[PlannedFile, ...] = ()
    missing: dict[str, list[date]] = field(default_factory=dict)
    """By daily source, the days without a file that never landed either."""
    pulled: tuple[str, ...] = ()
    """Sources that are asked for their rows when the backfill runs: tables and queues."""
    dirty_before: int = 0
    """Partitions that wait for a build already; this one takes them too."""
    reach: tuple[date, date] | None = None
    """First and last departure date that may change."""
    changes_features: bool = False
    snapshots: tuple[str, ...] = ()
    rollout: str | None = None
    request: str | None = None
    served: int = 0
    """Served predictions that were made without rows which they should have known, at most: skew."""
    seconds: dict[str, float | None] = field(default_factory=dict)

    @property
    def to_land(self) -> tuple[PlannedFile, ...]:
        """Files that are new or were changed."""
        return tuple(file for file in self.files if file.state != "landed")

    @property
    def rows(self) -> int:
        """Rows to land, as far as they could be counted."""
        return sum(file.rows or 0 for file in self.to_land)

    @property
    def does_nothing(self) -> bool:
        """Whether all has landed and nothing waits for a build."""
        return not (self.to_land or self.dirty_before or self.pulled)

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "files_to_land": len(self.to_land), "rows_to_land": self.rows}


def checked_range(loop: Loop, start: date, end: date) -> None:
    """Let a range of received dates pass that lies within the loop's data.

    Raises:
        BackfillRefused: it is reversed or lies outside.
    """
    if start > end:
        raise BackfillRefused(f"--from {start} is after --to {end}; swap them")
    span = loop.data_span
    first, last = span.start - MARGIN, date.max if span.end is None else span.end + MARGIN
    if start < first or end > last:
        raise BackfillRefused(
            f"{start} to {end} lies outside the data of loop {loop.loop}: received dates are {first} to {last}"
        )


def plan_backfill(settings: Settings, loop: Loop, start: date, end: date) -> Plan:
    """The plan for the received dates `start` to `end`, both included.

    Raises:
        BackfillRefused: the range is no range of the loop's data.
        LocationError, ConnectionMissing: a source's location can't be used.
    """
    checked_range(loop, start, end)
    landed, departures, dirty, served_by_day = _known(settings, loop)
    files: list[PlannedFile] = []
    missing: dict[str, list[date]] = {}
    for source, entry in sorted(loop.sources.items()):
        location = location_of(settings, loop.loop, source, entry)
        present: set[date] = set()
        for day, folder in partitions(location, lambda _: None):
            if not (start <= day <= end or (entry.reference and (source, day) not in landed)):
                continue
            before = landed.get((source, day), {})
            for file in delivered(location, folder, lambda _: None):
                files.append(_planned(source, day, file, before))
                present.add(day)
        days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
        absent = [day for day in days if day not in present and (source, day) not in landed]
        if absent and not entry.reference and entry.adapter == "files":
            missing[source] = absent
    plan = Plan(
        start, end, tuple(files), missing,
        pulled=tuple(sorted(n for n, entry in loop.sources.items() if entry.adapter != "files")),
        dirty_before=dirty,
    )  # fmt: skip
    return _reaching(settings, loop, plan, departures, served_by_day)


def _known(
    settings: Settings, loop: Loop
) -> tuple[dict[tuple[str, date], dict[str, dict[str, int]]], tuple[date, date] | None, int, dict[date, int]]:
    """What has landed (by partition: file name -> hash -> rows), first and last known departure, dirty
    partitions, and served predictions by departure date."""
    if settings.engine == "duckdb" and not settings.warehouse_path.exists():
        return {}, None, 0, {}
    purpose = f"planning a backfill of {loop.loop}"
    with open_warehouse(settings, purpose=purpose, read_only=True) as warehouse:
        tables = warehouse.frame("select table_schema, table_name from information_schema.tables")
        there = {f"{schema}.{table}" for schema, table in tables.itertuples(index=False)}
        if not {"ops.landings", "raw.schedule"} <= there:
            return {}, None, 0, {}
        files = warehouse.frame(
            "select source, received_date, file_name, file_sha256, rows_read from ops.landings where loop = ?",
            (loop.loop,),
        )
        known = warehouse.frame(
            "select min(departure_date) as first, max(departure_date) as last from raw.schedule where loop = ?",
            (loop.loop,),
        )
        dirty = warehouse.scalar(
            "select (select count(*) from ops.dirty_partitions where loop = ?) + "
            "(select count(*) from ops.building_partitions where loop = ?)",
            (loop.loop, loop.loop),
        )
        served = pd.DataFrame(columns=["departure_date", "n"])
        if "marts.fct_predictions" in there:
            served = warehouse.frame(
                "select departure_date, count(*) as n from marts.fct_predictions where loop = ? and is_served "
                "group by 1",
                (loop.loop,),
            )
    landed: dict[tuple[str, date], dict[str, dict[str, int]]] = {}
    for source, day, name, sha256, rows in files.itertuples(index=False):
        partition = landed.setdefault((str(source), pd.Timestamp(day).date()), {})
        partition.setdefault(str(name), {})[str(sha256)] = int(rows)
    departures = None
    if len(known) and not known["first"].isna().all():
        departures = (pd.Timestamp(known["first"].iloc[0]).date(), pd.Timestamp(known["last"].iloc[0]).date())
    by_day = zip(pd.to_datetime(served["departure_date"]).dt.date, served["n"], strict=True)
    return landed, departures, int(dirty), {day: int(n) for day, n in by_day}


def _planned(source: str, day: date, file: DeliveredFile, before: dict[str, dict[str, int]]) -> PlannedFile:
    hashes = before.get(file.name, {})
    sha256 = file.sha256()
    if sha256 in hashes:
        return PlannedFile(source, day, file.name, "landed", hashes[sha256])
    return PlannedFile(source, day, file.name, "changed" if hashes else "new", _rows(file))


def _rows(file: DeliveredFile) -> int | None:
    """Rows of a file: from Parquet's own count, else its lines. None for one that can't be read."""
    try:
        form, is_packed = format_of(file.name)
        with file.open() as stream:
            if form == "parquet":
                return int(parquet.ParquetFile(stream).metadata.num_rows)
            opened: Any = gzip.GzipFile(fileobj=stream) if is_packed else stream
            lines = sum(chunk.count(b"\n") for chunk in iter(lambda: opened.read(1 << 20), b""))
            return max(lines - (form == "csv"), 0)
    except (OSError, ValueError, EOFError):
        return None


def _reaching(
    settings: Settings, loop: Loop, plan: Plan, departures: tuple[date, date] | None, served: dict[date, int]
) -> Plan:
    """`plan` with what its files can reach, by the loop file's `reach`: the build itself finds it exactly."""
    seconds: dict[str, float | None] = {"landing": estimate(settings, loop, "landing", plan.rows)}
    days = sorted({file.received_date for file in plan.to_land})
    looked_at = [f for f in plan.to_land if f.source not in FACTS_ONLY]
    if days:
        reach = _span(loop, days, bool(looked_at))
        if any(loop.sources[file.source].reference for file in looked_at) and departures is not None:
            reach = (min(reach[0], departures[0]), max(reach[1], departures[1]))
        first = max(reach[0], loop.data_span.start)
        last = reach[1] if loop.data_span.end is None else min(reach[1], loop.data_span.end)
        if first <= last:
            plan = replace(plan, reach=(first, last), changes_features=bool(looked_at))
    if plan.reach is None:
        return replace(plan, seconds={**seconds, "build": 0.0 if plan.does_nothing else None})
    first, last = plan.reach
    state = state_of(settings, loop)
    feature_days = _span(loop, [f.received_date for f in looked_at], True) if looked_at else None
    rollout = None
    if state.rollout is not None and last >= state.rollout.started_as_of.date():
        rollout = f"{state.rollout.experiment_id}, stage {state.rollout.trial.stage_name}"
    return replace(
        plan,
        snapshots=tuple(
            manifest["id"]
            for manifest in snapshots(settings, loop)
            if manifest["window"][0] <= last.isoformat() and manifest["window"][1] >= first.isoformat()
        ),
        rollout=rollout,
        request=None if state.request is None else state.request.key,
        # A row counts for a prediction that was made after its receipt.
        served=0
        if feature_days is None
        else sum(
            n
            for day, n in served.items()
            if min(f.received_date for f in looked_at) <= day <= feature_days[1]
        ),
        seconds={**seconds, "build": estimate(settings, loop, "build", (last - first).days + 1)},
    )


def _span(loop: Loop, days: Iterable[date], are_features: bool) -> tuple[date, date]:
    listed = list(days)
    ahead = loop.reach.lookback_days if are_features else loop.reach.ahead_days
    return min(listed) - timedelta(days=loop.reach.amend_days), max(listed) + timedelta(days=ahead)
