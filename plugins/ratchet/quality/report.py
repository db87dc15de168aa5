"""What a gate says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

Verdict = Literal["pass", "warn", "block"]


@dataclass(frozen=True)
class PartitionVerdict:
    """What the gate says of one partition; `reasons` name severity, rule, finding, and why it matters."""

    table: str
    partition_date: date
    verdict: Verdict
    rows: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class GateReport:
    """What a gate looked at and said. `expectations_run` counts rules, `rows` the rows they saw."""

    border: str
    as_of: datetime
    verdicts: tuple[PartitionVerdict, ...]
    expectations_run: int

    @property
    def rows(self) -> int:
        return sum(verdict.rows for verdict in self.verdicts)

    @property
    def blocked(self) -> tuple[PartitionVerdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.verdict == "block")

    @property
    def warned(self) -> tuple[PartitionVerdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.verdict == "warn")

    @property
    def passed(self) -> bool:
        """Something was judged, by at least one expectation, and nothing of it blocks."""
        return bool(self.verdicts) and self.expectations_run > 0 and not self.blocked
