"""The three gates. Each says how much it looked at, and fails when that is nothing.

A verdict is one partition's: `block` if a critical rule failed or nothing could be judged, `warn` if only
warnings did, else `pass`. Verdicts do not depend on which other partitions were judged in the same run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.quality.deliveries import deliveries
from ratchet.quality.judge import Finding, judge_pieces
from ratchet.quality.partitions import partition_frame
from ratchet.quality.pieces import Piece, Reader
from ratchet.quality.report import GateReport, PartitionVerdict, Verdict
from ratchet.quality.session import Session
from ratchet.quality.suites import Suite, load_suites, suite_for
from ratchet.settings import Settings
from ratchet.warehouse import ops
from ratchet.warehouse.protocol import Warehouse

_IDENTITY = (
    "loop",
    "unit_id",
    "departure_date",
    "scheduled_departure_at",
    "predict_at",
    "label_received_at",
    "label_source",
)
_NEEDED = ("unit_id", "departure_date", "predict_at", "label_received_at", "label")


def gate_landing(
    loop: Loop, settings: Settings, wh: Warehouse, start: date, end: date, as_of: datetime
) -> GateReport:
    """Judge what landed for the received dates in [start, end], source by source, and write the verdicts.

    A source that is due every day blocks on a day without rows. A source that exists only where the model
    serves is not judged on a day on which no file came. A reference is judged when its partition is in the
    range or has no green verdict yet; one that never landed blocks.
    """
    ops.ensure(wh)
    suites = load_suites(settings)
    session = Session(settings.gx_dir)
    verdicts: list[PartitionVerdict] = []
    expectations = 0
    for source in sorted(loop.sources):
        suite = suite_for(suites, "landing", source)
        delivered = deliveries(wh, loop.loop, source)
        judged = _due(wh, loop.loop, source, suite, delivered.came, start, end)
        found: list[PartitionVerdict] = []
        with ExitStack() as landings:
            # A verdict is about the rows that were looked at: nothing lands in the partition meanwhile.
            for day in judged:
                landings.enter_context(wh.lock(f"land:{loop.loop}:{source}:{day}"))
            if suite is None:
                found = [
                    _unjudged(source, day, "no suite: nobody said what this source must look like")
                    for day in judged
                ]
            elif judged:
                delivered = deliveries(wh, loop.loop, source)
                rows = Reader(wh, suite, f"raw.{source}", loop.loop, dict(delivered.quarantined))
                found, ran = _judge(session, loop, suite, rows.pieces(judged), judged, as_of)
                expectations += ran
            found = [delivered.judge(verdict) for verdict in found]
            _write(wh, loop.loop, "landing", source, found, suite, as_of, (start, end))
        verdicts += found
    return GateReport("landing", as_of, tuple(verdicts), expectations)


def gate_features(
    loop: Loop, settings: Settings, wh: Warehouse, dates: Iterable[date], as_of: datetime
) -> GateReport:
    """Judge the staged feature partitions of `dates` (departure dates) before they are published; a date
    without rows blocks. No date at all gives a report that did not pass. The verdicts are staged too: publishing
    makes them the partitions' own."""
    ops.ensure(wh)
    judged = sorted(set(dates))
    table = loop.features.table
    suite = suite_for(load_suites(settings), "features", table)
    found: list[PartitionVerdict] = []
    expectations = 0
    if suite is None:
        found = [
            _unjudged(table, day, "no suite: nobody said what these features must look like")
            for day in judged
        ]
    elif judged:
        rows = Reader(wh, suite, f"build_features.{table}", loop.loop, {})
        session = Session(settings.gx_dir)
        found, expectations = _judge(session, loop, suite, rows.pieces(judged), judged, as_of)
    _stage(wh, loop.loop, table, found, suite, as_of)
    return GateReport("features", as_of, tuple(found), expectations)


def gate_training(loop: Loop, settings: Settings, frame: pd.DataFrame, as_of: datetime) -> GateReport:
    """Judge a training snapshot as a whole: one verdict, dated by `as_of`.

    The frame must have the loop's features, `label`, `unit_id`, `departure_date`, `predict_at` and
    `label_received_at`, may have the other identifying columns of trn_<loop>, and nothing else.
    """
    table = f"trn_{loop.loop}"
    day = as_of.date()
    suite = suite_for(load_suites(settings), "training", table)
    if suite is None:
        verdict = _unjudged(table, day, "no suite: nobody said what training data must look like")
        return GateReport("training", as_of, (verdict,), 0)
    if frame.empty:
        verdict = _unjudged(table, day, "no rows: there is nothing to train on")
        return GateReport("training", as_of, (verdict,), 0)
    leaks = sorted(set(frame.columns) & set(loop.features.never))
    stamps = pd.Series(pd.Timestamp(day), index=range(len(frame)), dtype="datetime64[us]")
    numbers = [rule for rule in suite.rules if rule.grain == "partition"]
    frame = frame.reset_index(drop=True)
    whole = Piece(frame, stamps, partition_frame(frame, stamps, [day], {}, numbers))
    found, ran = _judge(
        Session(settings.gx_dir), loop, suite, [whole], [day], as_of, tuple(frame.columns), tuple(leaks)
    )
    return GateReport("training", as_of, tuple(found), ran)


def suite_parameters(loop: Loop, columns: Iterable[str], as_of: datetime) -> dict[str, Any]:
    """What a suite may name as {$PARAMETER: ...}: <categorical feature>_levels, training_columns (what a
    snapshot must have, and what else it may have as far as it is in `columns`), training_min_rows, as_of."""
    has = set(columns)
    optional = [name for name in _IDENTITY if name in has]
    levels = {f"{name}_levels": list(values) for name, values in loop.features.categorical.items()}
    return {
        **levels,
        "training_columns": sorted({*loop.features.columns, *_NEEDED, *optional}),
        "training_min_rows": loop.training.min_rows,
        "as_of": as_of,
    }


def _due(
    wh: Warehouse,
    loop: str,
    source: str,
    suite: Suite | None,
    delivered: frozenset[date],
    start: date,
    end: date,
) -> list[date]:
    """The received dates of the source that get a verdict in this run."""
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    here = {day for day in days if day in delivered}
    if suite is None:
        return sorted(here) or [start]
    if suite.volume.required_daily:
        first = suite.volume.starts or start
        here |= {day for day in days if day >= first}
    if suite.volume.reference:
        green = wh.frame(
            "select partition_date from ops.partition_gates where loop = ? and border = 'landing' "
            "and table_name = ? and verdict <> 'block' and suite_sha256 = ?",
            (loop, source, suite.sha256),
        )
        here |= delivered - {pd.Timestamp(day).date() for day in green["partition_date"]}
        if not delivered:
            here.add(start)
    return sorted(here)


def _judge(
    session: Session,
    loop: Loop,
    suite: Suite,
    pieces: Iterable[Piece],
    judged: Sequence[date],
    as_of: datetime,
    columns: Sequence[str] = (),
    leaks: tuple[str, ...] = (),
) -> tuple[list[PartitionVerdict], int]:
    findings, result, rows = judge_pieces(
        session, suite, pieces, judged=judged, parameters=suite_parameters(loop, columns, as_of)
    )
    if result is not None:
        session.keep(
            result,
            suite=suite.name,
            run=f"{loop.loop}-{suite.border}",
            as_of=as_of,
            batch=f"{judged[0]}_{judged[-1]}",
        )
    verdicts = [_verdict(suite.table, day, rows[day], findings, leaks) for day in judged]
    return verdicts, len(findings)


def _verdict(
    table: str, day: date, rows: int, findings: Sequence[Finding], leaks: tuple[str, ...]
) -> PartitionVerdict:
    failed = [f for f in findings if day in f.failures]
    failed.sort(key=lambda f: f.rule.severity != "critical")
    reasons = [f"{f.rule.severity}: {f.rule.title}: {f.failures[day]} ({f.rule.reason})" for f in failed]
    blocks = any(f.rule.severity == "critical" for f in failed)
    if leaks:
        reasons.insert(0, f"critical: known only after the prediction was made: {', '.join(leaks)}")
        blocks = True
    if not findings:
        return _unjudged(table, day, "no expectation was evaluated")
    if rows == 0 and not blocks:
        return _unjudged(table, day, "no rows")
    verdict: Verdict = "block" if blocks else "warn" if failed else "pass"
    return PartitionVerdict(table, day, verdict, rows, tuple(reasons))


def _unjudged(table: str, day: date, why: str) -> PartitionVerdict:
    return PartitionVerdict(table, day, "block", 0, (f"critical: {why}",))


def _rows_of(
    loop: str, table: str, verdicts: Sequence[PartitionVerdict], suite: Suite | None, as_of: datetime
) -> pd.DataFrame:
    """Verdicts as rows of ops.partition_gates and ops.staged_gates."""
    return pd.DataFrame(
        {
            "loop": loop,
            "table_name": table,
            "partition_date": pd.to_datetime([v.partition_date for v in verdicts]),
            "verdict": [v.verdict for v in verdicts],
            "rows": [v.rows for v in verdicts],
            "reason": ["; ".join(v.reasons) or None for v in verdicts],
            "suite_sha256": suite.sha256 if suite else "",
            "as_of": pd.Timestamp(as_of),
        }
    )


def _stage(
    wh: Warehouse,
    loop: str,
    table: str,
    verdicts: Sequence[PartitionVerdict],
    suite: Suite | None,
    as_of: datetime,
) -> None:
    """Keep the verdicts beside the staged rows, in place of earlier ones."""
    with wh.transaction():
        wh.execute("delete from ops.staged_gates where loop = ? and table_name = ?", (loop, table))
        if verdicts:
            wh.append("ops.staged_gates", _rows_of(loop, table, verdicts, suite, as_of))


def _write(
    wh: Warehouse,
    loop: str,
    border: str,
    table: str,
    verdicts: Sequence[PartitionVerdict],
    suite: Suite | None,
    as_of: datetime,
    span: tuple[date, date],
) -> None:
    """Replace the verdicts of the partitions; a changed landing verdict makes the partition dirty."""
    # A build that runs sees what was green when it started: new verdicts wait until it has ended.
    with (
        wh.transaction(),
        wh.lock(f"build:{loop}", shared=True),
        wh.lock(f"verdicts:{loop}:{border}:{table}"),
    ):
        before = wh.frame(
            "select partition_date, verdict from ops.partition_gates "
            "where loop = ? and border = ? and table_name = ?",
            (loop, border, table),
        )
        old = {pd.Timestamp(day).date(): str(said) for day, said in before.itertuples(index=False)}
        now = {verdict.partition_date: verdict for verdict in verdicts}
        for day in old:
            if day in now or span[0] <= day <= span[1]:
                wh.execute(
                    "delete from ops.partition_gates "
                    "where loop = ? and border = ? and table_name = ? and partition_date = ?",
                    (loop, border, table, day),
                )
        if not now:
            return
        wh.append("ops.partition_gates", _rows_of(loop, table, verdicts, suite, as_of).assign(border=border))
        if border == "landing":
            # What staging may read has changed, whether or not a row did.
            for day, verdict in now.items():
                if day in old and (old[day] == "block") != (verdict.verdict == "block"):
                    wh.execute(
                        "insert into ops.dirty_partitions (loop, source, received_date) values (?, ?, ?) "
                        "on conflict do nothing",
                        (loop, table, day),
                    )
