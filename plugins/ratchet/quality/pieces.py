"""Partitions as pieces of bounded size, so that a gate's memory does not grow with what it judges.

A piece holds whole partitions. Only a partition that is larger than a piece by itself comes in several, and then
its numbers are taken from the table, not from its pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd

from ratchet.quality.partitions import number_of, partition_frame
from ratchet.quality.suites import AGGREGATE_TYPES, Rule, Suite
from ratchet.warehouse.protocol import Warehouse, WarehouseError, checked_column, checked_table

#: Rows that are judged at once. With the columns of the widest suite about 100 MB.
PIECE_ROWS = 200_000
#: A partition that is too large is cut by this many digits of a hash.
_DIGITS = 4
_IN_DAYS = "loop = ? and {0} between ? and ? and {0} in (select unnest(?::date[]))"


@dataclass(frozen=True)
class Piece:
    """Rows of some partitions: `days` is each row's partition as datetime64, `numbers` (see partition_frame) are
    those of the partitions that end with this piece."""

    frame: pd.DataFrame
    days: pd.Series
    numbers: pd.DataFrame | None


@dataclass(frozen=True)
class Reader:
    """Reads the partitions of one table for one suite: the columns that its rules look at."""

    wh: Warehouse
    suite: Suite
    table: str
    loop: str
    quarantined: Mapping[date, int]

    def columns(self) -> list[str]:
        """The columns that are read, as far as the table has them."""
        has = list(self.wh.frame(f"select * from {checked_table(self.table)} limit 0").columns)  # noqa: S608
        wanted = {self._partition, *(column for rule in self.suite.rules for column in rule.columns)}
        if any(rule.type == "expect_table_columns_to_match_set" for rule in self.suite.rules):
            wanted = set(has)
        return [checked_column(name) for name in has if name in wanted]

    def pieces(self, judged: Sequence[date], limit: int | None = None) -> Iterator[Piece]:
        """Every row of the partitions `judged`, about `limit` at most at once; partitions without rows are in
        `numbers`.

        Raises:
            WarehouseError: rows came or went while they were read, so that a verdict would be about neither state.
        """
        limit = limit or PIECE_ROWS
        names = self.columns()
        counts = self._counts(judged)
        for days in _runs(judged, counts, limit):
            expected, seen = sum(counts.get(day, 0) for day in days), 0
            cuts = -(-expected // limit) if len(days) == 1 else 1
            for n in range(max(1, cuts)):
                frame = self._rows(names, days, n, cuts)
                seen += len(frame)
                stamps = pd.to_datetime(frame[self._partition])
                if n == max(1, cuts) - 1 and seen != expected:
                    raise WarehouseError(
                        f"{self.table}, {days[0]} to {days[-1]}: {expected} rows when the gate began, {seen} when it "
                        "read them: something writes there; run the gate again"
                    )
                numbers = None
                if cuts <= 1:
                    numbers = partition_frame(frame, stamps, days, self.quarantined, self._rules)
                elif n == cuts - 1:
                    numbers = self._numbers(names, days[0], seen)
                yield Piece(frame, stamps, numbers)

    @property
    def _partition(self) -> str:
        return checked_column(str(self.suite.partition_column))

    @property
    def _rules(self) -> list[Rule]:
        return [rule for rule in self.suite.rules if rule.grain == "partition"]

    def _counts(self, judged: Sequence[date]) -> dict[date, int]:
        found = self.wh.frame(
            f"select {self._partition} as day, count(*) as n from {checked_table(self.table)} "  # noqa: S608
            f"where {_IN_DAYS.format(self._partition)} group by {self._partition}",
            self._key(judged),
        )
        return {pd.Timestamp(day).date(): int(n) for day, n in found.itertuples(index=False)}

    def _key(self, days: Sequence[date]) -> tuple[object, ...]:
        return (self.loop, min(days), max(days), list(days))

    def _rows(self, names: Sequence[str], days: Sequence[date], n: int, cuts: int) -> pd.DataFrame:
        columns, where, key = _listed(names), _IN_DAYS.format(self._partition), self._key(days)
        if cuts > 1:
            size = 16**_DIGITS
            edges = [f"{size * k // cuts:0{_DIGITS}x}" for k in range(cuts)]
            where += f" and {self._cut(names)} >= ?"
            key = (*key, edges[n])
            if n + 1 < cuts:
                where += f" and {self._cut(names)} < ?"
                key = (*key, edges[n + 1])
        return self.wh.frame(f"select {columns} from {checked_table(self.table)} where {where}", key)  # noqa: S608

    def _cut(self, names: Sequence[str]) -> str:
        """Which piece of a large partition a row is in: rows that a rule compares with each other lie in one.

        Raises:
            WarehouseError: two rules compare rows by columns that have nothing in common.
        """
        compared = [
            {name for name in rule.kwargs["column_list"] if name != self._partition}
            for rule in self.suite.rules
            if rule.type == "expect_compound_columns_to_be_unique"
        ]
        by = sorted(set.intersection(*compared) & set(names)) if compared else list(names)
        if not by:
            raise WarehouseError(
                f"{self.table} has a partition of more than {PIECE_ROWS:,} rows, and the rules on unique columns of "
                f"suite {self.suite.name} share no column to cut it by: land it in smaller partitions"
            )
        texts = ", ".join(f'cast("{checked_column(name)}" as varchar)' for name in by)
        return f"substr(md5(concat_ws('|', {texts})), 1, {_DIGITS})"

    def _numbers(self, names: Sequence[str], day: date, rows: int) -> pd.DataFrame:
        """The numbers of one large partition, column by column: counts from the engine, moments from the column."""
        where, key = _IN_DAYS.format(self._partition), self._key([day])
        stamps = pd.Series(pd.Timestamp(day), index=range(rows))
        # Without a column there is a row count and the share in quarantine.
        table = partition_frame(pd.DataFrame(index=range(rows)), stamps, [day], self.quarantined, [])
        for rule in self._rules:
            column, kind = str(rule.kwargs.get("column")), AGGREGATE_TYPES.get(rule.type)
            if column not in names or kind is None:
                continue
            if kind in ("mean", "stdev"):
                frame = self.wh.frame(
                    f"select {_listed([column])} from {checked_table(self.table)} where {where}",  # noqa: S608
                    key,
                )
                own = partition_frame(frame, stamps, [day], self.quarantined, [rule])
                table[number_of(rule)] = own[number_of(rule)]
                continue
            # A NaN is a missing value of a frame, and a value of SQL.
            value = f'"{column}"'
            if self._is_float(column):
                value = f"nullif({value}, cast('NaN' as double precision))"
            counted = self.wh.frame(
                f"select count({value}) as present, count(distinct {value}) as different "  # noqa: S608
                f"from {checked_table(self.table)} where {where}",
                key,
            ).astype("float64")
            present, different = counted.iloc[0]
            share = different / present if present else float("nan")
            found = {"unique_count": different, "unique_share": share, "non_null_share": present / rows}
            table[number_of(rule)] = found[kind]
        return table

    def _is_float(self, column: str) -> bool:
        schema, name = self.table.split(".")
        kind = self.wh.scalar(
            "select data_type from information_schema.columns "
            "where table_schema = ? and table_name = ? and column_name = ?",
            (schema, name, column),
        )
        return str(kind).lower() in ("double", "double precision", "float", "real")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{checked_column(name)}"' for name in names)


def _runs(judged: Sequence[date], counts: Mapping[date, int], limit: int) -> Iterator[list[date]]:
    """The partitions in order, in runs of at most `limit` rows; a larger one is a run by itself."""
    run: list[date] = []
    rows = 0
    for day in judged:
        here = counts.get(day, 0)
        if run and rows + here > limit:
            yield run
            run, rows = [], 0
        run.append(day)
        rows += here
    if run:
        yield run
