"""Run one suite on one frame and say which partitions break which rule.

Great Expectations judges; this module hands each failure to the partitions that caused it. A rule that
raised, whose column is not there, or that found nothing to look at has failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ratchet.quality.partitions import number_of, partition_frame
from ratchet.quality.session import Session
from ratchet.quality.suites import Rule, Suite

# Index lists can be as long as the frame; what is kept for people is GX's partial lists of 20.
_BULKY = ("unexpected_index_list", "unexpected_list", "unexpected_index_query")


class GateError(RuntimeError):
    """Great Expectations answered in a way that can't be attributed; nothing may pass on it."""


@dataclass(frozen=True)
class Finding:
    """What one rule found: for each partition that broke it, why."""

    rule: Rule
    failures: Mapping[date, str]
    rows_looked_at: int


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
    """A finding for each rule of the suite, in order, and the GX result to keep.

    `frame` has one row an element, `days` each row's partition as datetime64; `judged` are the partitions
    that get a verdict, with rows or without. A partition without rows is judged by its numbers only.
    """
    frame = frame.reset_index(drop=True)
    days = days.reset_index(drop=True)
    numbers = [rule for rule in suite.rules if rule.grain == "partition"]
    others = [rule for rule in suite.rules if rule.grain != "partition"]
    table = partition_frame(frame, days, judged, quarantined, numbers)
    filled = [day for day, rows in zip(judged, table["n_rows"], strict=True) if rows]
    findings: dict[int, Finding] = {}
    kept = None
    if others and filled:
        result = session.validate(suite.name, frame, [_entry(rule) for rule in others], parameters)
        for rule, answer in zip(others, _in_order(result, len(others)), strict=True):
            found = _by_row(rule, answer, frame, days, filled)
            findings[id(rule)] = found
            _note(answer, found)
        kept = result
    if numbers:
        result = session.validate(suite.name, table, [_number_entry(rule) for rule in numbers], parameters)
        for rule, answer in zip(numbers, _in_order(result, len(numbers)), strict=True):
            found = _by_number(rule, answer, table)
            findings[id(rule)] = found
            _note(answer, found)
        kept = _joined(kept, result)
    return [findings[id(rule)] for rule in suite.rules if id(rule) in findings], kept


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


def _by_row(rule: Rule, answer: Any, frame: pd.DataFrame, days: pd.Series, filled: Sequence[date]) -> Finding:
    gone = [column for column in rule.columns if column not in frame.columns]
    raised = _raised(answer)
    if gone or raised is not None:
        why = f"no column {', '.join(gone)}" if gone else f"could not be evaluated: {str(raised)[:200]}"
        return Finding(rule, dict.fromkeys(filled, why), 0)
    if rule.grain == "table":
        why = _table_detail(answer)
        return Finding(rule, {} if answer.success else dict.fromkeys(filled, why), len(frame))
    rows = answer.result["unexpected_index_list"]
    if len(rows) != answer.result["unexpected_count"]:
        raise GateError(
            f"{rule.title}: {answer.result['unexpected_count']} failures, {len(rows)} of them named"
        )
    looked = np.ones(len(frame), dtype=bool)
    if "column" in rule.kwargs and rule.type != "expect_column_values_to_not_be_null":
        looked = frame[rule.kwargs["column"]].notna().to_numpy()
    day_of = days.to_numpy()
    broken = pd.Series(day_of[np.asarray(rows, dtype=np.int64)]).value_counts()
    seen = pd.Series(day_of[looked]).value_counts()
    allowed = 1.0 - float(rule.kwargs.get("mostly", 1.0))
    failures: dict[date, str] = {}
    for day in filled:
        at = pd.Timestamp(day)
        bad, total = int(broken.get(at, 0)), int(seen.get(at, 0))
        if total == 0:
            if not rule.may_be_empty:
                failures[day] = "no value to look at"
        elif bad > allowed * total + 1e-9:
            failures[day] = f"{bad} of {total} values"
    if not answer.success and not failures:
        raise GateError(f"{rule.title} failed, but no partition did")
    return Finding(rule, failures, int(looked.sum()))


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


def _note(answer: Any, finding: Finding) -> None:
    """Make the kept result say what the gate concluded, and no longer than people read."""
    answer.success = not finding.failures
    for key in _BULKY:
        answer.result.pop(key, None)
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
