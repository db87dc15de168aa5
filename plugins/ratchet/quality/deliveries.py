"""What landing says of a source's deliveries, for the gate: rows and files set aside, columns nobody declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd

from ratchet.quality.report import PartitionVerdict, Verdict
from ratchet.warehouse.protocol import Warehouse

_NAMED = 5


@dataclass(frozen=True)
class Deliveries:
    """By received date: rows held in quarantine, files refused as a whole (name and why), undeclared columns
    (name and rows); and the dates on which a file came."""

    quarantined: Mapping[date, int]
    refused: Mapping[date, tuple[str, ...]]
    undeclared: Mapping[date, tuple[str, ...]]
    came: frozenset[date]

    def judge(self, verdict: PartitionVerdict) -> PartitionVerdict:
        """The verdict with what the delivery adds: a file that could not be read blocks its partition, for
        nobody knows what it held; an undeclared column is worth a look."""
        day = verdict.partition_date
        files, columns = self.refused.get(day, ()), self.undeclared.get(day, ())
        blocking = tuple(f"critical: file refused as a whole: {told}" for told in files)
        noted = (f"warning: columns that the contract does not name: {_listed(columns)}",) if columns else ()
        said: Verdict = verdict.verdict
        if files:
            said = "block"
        elif columns and said == "pass":
            said = "warn"
        return replace(verdict, verdict=said, reasons=(*blocking, *verdict.reasons, *noted))


def _listed(items: tuple[str, ...]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{', '.join(items[:_NAMED])}{more}"


def deliveries(wh: Warehouse, loop: str, source: str) -> Deliveries:
    """What the book-keeping of landing has on the source."""
    held = wh.frame(
        "select received_date, count(*) as n from raw.quarantine "
        "where loop = ? and source = ? and state = 'held' group by received_date",
        (loop, source),
    )
    files = wh.frame(
        "select received_date, source_file, reason from raw.quarantine "
        "where loop = ? and source = ? and state = 'held' and source_line = 0 "
        "order by received_date, source_file, quarantine_id",
        (loop, source),
    )
    extra = wh.frame(
        'select received_date, column_name, cast(sum("rows") as bigint) as n from ops.extra_columns '
        "where loop = ? and source = ? group by received_date, column_name order by received_date, column_name",
        (loop, source),
    )
    came = wh.frame(
        "select distinct received_date from ops.landings where loop = ? and source = ?", (loop, source)
    )
    refused: dict[date, tuple[str, ...]] = {}
    for day, name, why in files.itertuples(index=False):
        at = pd.Timestamp(day).date()
        refused[at] = (*refused.get(at, ()), f"{name}: {why}")
    undeclared: dict[date, tuple[str, ...]] = {}
    for day, name, rows in extra.itertuples(index=False):
        at = pd.Timestamp(day).date()
        undeclared[at] = (*undeclared.get(at, ()), f"{name} ({int(rows)} rows)")
    return Deliveries(
        {pd.Timestamp(day).date(): int(n) for day, n in held.itertuples(index=False)},
        refused,
        undeclared,
        frozenset(pd.Timestamp(day).date() for day in came["received_date"]),
    )
