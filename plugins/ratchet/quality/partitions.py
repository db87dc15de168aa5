"""One row a partition: the numbers that aggregate expectations judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pandas as pd

from ratchet.quality.suites import AGGREGATE_TYPES, PARTITION_COLUMNS, Rule


def number_of(rule: Rule) -> str:
    """The column of the partition frame that holds the number `rule` is about."""
    if rule.type not in AGGREGATE_TYPES:
        return str(rule.kwargs["column"])
    number = AGGREGATE_TYPES[rule.type]
    return number if number in PARTITION_COLUMNS else f"{rule.kwargs['column']}.{number}"


def partition_frame(
    frame: pd.DataFrame,
    days: pd.Series,
    expected: Sequence[date],
    quarantined: Mapping[date, int],
    rules: Sequence[Rule],
) -> pd.DataFrame:
    """A row for each day of `expected`, in that order, indexed 0..n-1.

    Columns: `partition`, `n_rows`, `n_quarantined`, `quarantined_share` (of rows read and not duplicate),
    and for each aggregate rule its number, named by `number_of`; NaN where there is nothing to take it of.
    `days` holds each row's partition as datetime64. A column that the frame lacks gives no number.
    """
    index = pd.DatetimeIndex(pd.to_datetime(list(expected)))
    rows = frame.groupby(days.to_numpy(), sort=True)
    counts = rows.size().reindex(index, fill_value=0)
    gone = pd.Series([quarantined.get(day, 0) for day in expected], index=index, dtype="int64")
    found = pd.DataFrame({"n_rows": counts.astype("int64"), "n_quarantined": gone})
    total = found["n_rows"] + found["n_quarantined"]
    found["quarantined_share"] = found["n_quarantined"].astype("float64") / total.where(total > 0)
    for rule in rules:
        name = number_of(rule)
        if name in found.columns or "column" not in rule.kwargs:
            continue
        column = str(rule.kwargs["column"])
        if column not in frame.columns:
            continue
        found[name] = _aggregate(rows[column], AGGREGATE_TYPES[rule.type]).reindex(index).astype("float64")
    found.insert(0, "partition", index)
    return found.reset_index(drop=True)


def _aggregate(groups: pd.api.typing.SeriesGroupBy, number: str) -> pd.Series:
    if number == "mean":
        return groups.mean()
    if number == "stdev":
        return groups.std(ddof=1)
    if number == "unique_count":
        return groups.nunique()
    if number == "unique_share":
        present = groups.count()
        return groups.nunique() / present.where(present > 0)
    return groups.count() / groups.size()
