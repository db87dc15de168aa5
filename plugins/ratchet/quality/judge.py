"""Run one suite on one frame and say which partitions break which rule.

Great Expectations judges; this module hands each failure to the partitions that caused it. A rule that
raised, whose column is not there, or that found nothing to look at has failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ratchet.quality.partitions import number_of, partition_frame
from ratchet.quality.pieces import Piece
from ratchet.quality.session import Session
from ratchet.quality.suites import Rule, Suite

# Index lists can be as long as the frame; what is kept for people is GX's partial lists of 20.
_BULKY = ("unexpected_index_list", "unexpected_list", "unexpected_index_query")
#: GX's shares, and of which rows: all, or those with a value.
_PERCENT = {
    "unexpected_percent": "present",
    "unexpected_percent_nonmissing": "present",
    "unexpected_percent_total": "all",
    "missing_percent": "all",
}


class GateError(RuntimeError):
    """Great Expectations answered in a way that can't be attributed; nothing may pass on it."""


@dataclass(frozen=True)
class Finding:
    """What one rule found: for each partition that broke it, why."""

    rule: Rule
    failures: Mapping[date, str]
    rows_looked_at: int


class _Tally:
    """What one rule about rows, or about the table, found so far."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.looked = 0
        self._why: str | None = None
        self._broken: Counter[date] = Counter()
        self._seen: Counter[date] = Counter()

    def add(self, answer: Any, frame: pd.DataFrame, days: pd.Series) -> None:
        rule = self.rule
        gone = [column for column in rule.columns if column not in frame.columns]
        raised = _raised(answer)
        if gone or raised is not None:
            why = f"no column {', '.join(gone)}" if gone else f"could not be evaluated: {str(raised)[:200]}"
            self._why = self._why or why
            return
        if rule.grain == "table":
            self.looked += len(frame)
            if not answer.success:
                self._why = self._why or _table_detail(answer)
            return
        rows = answer.result["unexpected_index_list"]
        if len(rows) != answer.result["unexpected_count"]:
            raise GateError(
                f"{rule.title}: {answer.result['unexpected_count']} failures, {len(rows)} of them named"
            )
        if not answer.success and not len(rows):
            raise GateError(f"{rule.title} failed, but no row did")
        looked = np.ones(len(frame), dtype=bool)
        if "column" in rule.kwargs and rule.type != "expect_column_values_to_not_be_null":
            looked = frame[rule.kwargs["column"]].notna().to_numpy()
        day_of = days.to_numpy()
        self._broken.update(_by_day(day_of[np.asarray(rows, dtype=np.int64)]))
        self._seen.update(_by_day(day_of[looked]))
        self.looked += int(looked.sum())

    def finding(self, filled: Sequence[date]) -> Finding:
        rule = self.rule
        if self._why is not None:
            return Finding(
                rule, dict.fromkeys(filled, self._why), self.looked if rule.grain == "table" else 0
            )
        if rule.grain == "table":
            return Finding(rule, {}, self.looked)
        allowed = 1.0 - float(rule.kwargs.get("mostly", 1.0))
        failures: dict[date, str] = {}
        for day in filled:
            bad, total = self._broken[day], self._seen[day]
            if total == 0:
                if not rule.may_be_empty:
                    failures[day] = "no value to look at"
            elif bad > allowed * total + 1e-9:
                failures[day] = f"{bad} of {total} values"
        if self._broken.total() > allowed * self._seen.total() + 1e-9 and not failures:
            raise GateError(f"{rule.title} failed, but no partition did")
        return Finding(rule, failures, self.looked)


def _by_day(stamps: np.ndarray[Any, Any]) -> dict[date, int]:
    days, counts = np.unique(stamps, return_counts=True)
    return {pd.Timestamp(day).date(): int(n) for day, n in zip(days, counts, strict=True)}


def judge(
    session: Session,
    suite: Suite,
    frame: pd.DataFrame,
    *,
    days: pd.Series,
    judged: Sequence[date],
    quarantined: Mapping[date, int],
    parameters: Mapping[str, Any],
) -> tuple[list[Finding], Any]:
    """As `judge_pieces`, of rows that are all in `frame`.

    `frame` has one row an element, `days` each row's partition as datetime64; `judged` are the partitions
    that get a verdict, with rows or without.
    """
    frame, days = frame.reset_index(drop=True), days.reset_index(drop=True)
    numbers = [rule for rule in suite.rules if rule.grain == "partition"]
    piece = Piece(frame, days, partition_frame(frame, days, judged, quarantined, numbers))
    found, result, _ = judge_pieces(session, suite, [piece], judged=judged, parameters=parameters)
    return found, result


def judge_pieces(
    session: Session,
    suite: Suite,
    pieces: Iterable[Piece],
    *,
    judged: Sequence[date],
    parameters: Mapping[str, Any],
) -> tuple[list[Finding], Any, dict[date, int]]:
    """A finding for each rule of the suite, in order, the GX result to keep, and how many rows each partition has.

    What is found does not depend on how the rows are cut into pieces. A partition without rows is judged by its
    numbers only.

    Raises:
        GateError: an answer that cannot be attributed, or pieces that are not the partitions `judged`.
    """
    numbers = [rule for rule in suite.rules if rule.grain == "partition"]
    tallies = [_Tally(rule) for rule in suite.rules if rule.grain != "partition"]
    tables: list[pd.DataFrame] = []
    kept: list[Any] = []
    kept_result = None
    for piece in pieces:
        if piece.numbers is not None:
            tables.append(piece.numbers)
        if not tallies or piece.frame.empty:
            continue
        result = session.validate(
            suite.name, piece.frame, [_entry(tally.rule) for tally in tallies], parameters
        )
        answers = _in_order(result, len(tallies))
        for tally, answer in zip(tallies, answers, strict=True):
            tally.add(answer, piece.frame, piece.days)
            _shorten(answer)
        if kept_result is None:
            kept, kept_result = answers, result
        else:
            for first, answer in zip(kept, answers, strict=True):
                _add_up(first, answer)
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"partition": []})
    if [stamp.date() for stamp in table["partition"]] != list(judged):
        raise GateError(f"{suite.name}: {len(table)} partitions were read, {len(judged)} are to be judged")
    rows = dict(zip(judged, (int(n) for n in table["n_rows"]), strict=True))
    findings: dict[int, Finding] = {}
    for tally, answer in zip(tallies, kept, strict=False):
        found = tally.finding([day for day in judged if rows[day]])
        findings[id(tally.rule)] = found
        _note(answer, found)
    if numbers:
        result = session.validate(suite.name, table, [_number_entry(rule) for rule in numbers], parameters)
        for rule, answer in zip(numbers, _in_order(result, len(numbers)), strict=True):
            found = _by_number(rule, answer, table)
            findings[id(rule)] = found
            _note(answer, found)
        kept_result = _joined(kept_result, result)
    return [findings[id(rule)] for rule in suite.rules if id(rule) in findings], kept_result, rows


def _entry(rule: Rule) -> dict[str, Any]:
    meta = {"reason": rule.reason}
    return {"type": rule.type, "kwargs": rule.kwargs, "severity": rule.severity, "meta": meta}


def _number_entry(rule: Rule) -> dict[str, Any]:
    """An aggregate rule as bounds on its number in the partition frame."""
    bounds = {key: value for key, value in rule.kwargs.items() if key != "column"}
    return {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": number_of(rule), **bounds},
        "severity": rule.severity,
        "meta": {"reason": rule.reason, "declared_as": rule.title, "one_row": "a partition"},
    }


def _in_order(result: Any, count: int) -> list[Any]:
    answers = sorted(result.results, key=lambda answer: answer.expectation_config.meta["position"])
    if [a.expectation_config.meta["position"] for a in answers] != list(range(count)):
        raise GateError(f"{result.suite_name}: {len(answers)} of {count} expectations answered")
    return answers


def _raised(answer: Any) -> str | None:
    """The message of the exception inside a result; None when the expectation was evaluated."""
    info = answer.exception_info or {}
    if info.get("raised_exception"):
        return str(info.get("exception_message"))
    for nested in info.values():
        if isinstance(nested, dict) and nested.get("raised_exception"):
            return str(nested.get("exception_message"))
    return None


def _table_detail(answer: Any) -> str:
    mismatched = (answer.result.get("details") or {}).get("mismatched") or {}
    parts = [f"{kind} {', '.join(map(str, names))}" for kind, names in sorted(mismatched.items()) if names]
    if parts:
        return f"columns: {'; '.join(parts)}"
    return f"observed {answer.result.get('observed_value', 'nothing')}"


def _by_number(rule: Rule, answer: Any, table: pd.DataFrame) -> Finding:
    name = number_of(rule)
    days = [stamp.date() for stamp in table["partition"]]
    if name not in table.columns:
        return Finding(rule, {day: f"no column {rule.kwargs.get('column')}" for day in days}, 0)
    raised = _raised(answer)
    if raised is not None:
        return Finding(rule, dict.fromkeys(days, f"could not be evaluated: {raised[:200]}"), 0)
    unexpected = set(answer.result["unexpected_index_list"])
    counted = name == "n_rows"
    failures: dict[date, str] = {}
    for i, (day, value, rows) in enumerate(zip(days, table[name], table["n_rows"], strict=True)):
        if i in unexpected:
            failures[day] = f"{value:,.0f} rows" if counted else f"{value:,.6g}"
        elif pd.isna(value) and rows and not rule.may_be_empty:
            failures[day] = "no value to look at"
    return Finding(rule, failures, int(table["n_rows"].sum()) if not counted else len(table))


def _shorten(answer: Any) -> None:
    """No longer than people read."""
    for key in _BULKY:
        answer.result.pop(key, None)


def _add_up(first: Any, answer: Any) -> None:
    """Let the kept answer say what it and that of another piece counted together."""
    kept, more = first.result, answer.result
    for key in ("element_count", "unexpected_count", "missing_count"):
        if isinstance(kept.get(key), int) and isinstance(more.get(key), int):
            kept[key] += more[key]
    for key, whole in _PERCENT.items():
        of = kept.get("element_count", 0) - (kept.get("missing_count", 0) if whole == "present" else 0)
        if key in kept:
            part = kept.get("missing_count" if key == "missing_percent" else "unexpected_count", 0)
            kept[key] = 100.0 * part / of if of else None
    if not kept.get("partial_unexpected_list"):
        kept.update({key: value for key, value in more.items() if key.startswith("partial_")})


def _note(answer: Any, finding: Finding) -> None:
    """Make the kept result say what the gate concluded, and no longer than people read."""
    answer.success = not finding.failures
    _shorten(answer)
    if finding.failures:
        days = sorted(finding.failures)
        answer.meta = {
            **(answer.meta or {}),
            "partitions_failed": len(days),
            "first": [f"{day}: {finding.failures[day]}" for day in days[:20]],
        }


def _joined(first: Any, second: Any) -> Any:
    if first is None:
        return second
    first.results.extend(second.results)
    evaluated = len(first.results)
    good = sum(bool(answer.success) for answer in first.results)
    first.success = good == evaluated
    first.statistics.update(
        evaluated_expectations=evaluated,
        successful_expectations=good,
        unsuccessful_expectations=evaluated - good,
        success_percent=100.0 * good / evaluated,
    )
    return first
