"""Is what a retrain needs there? Each answer says what is missing, for the sensor that waits for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.monitoring.health import last_mature_day

if TYPE_CHECKING:
    from ratchet.loop import Loop

GREEN = ("pass", "warn")
SHOWN = 5  # dates named in a reason; the rest are counted


@dataclass(frozen=True)
class Readiness:
    """Whether to go on, and the reason with its numbers either way."""

    ready: bool
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


def request_open(request: Mapping[str, Any] | None) -> Readiness:
    """Ready when a retrain request is open; `request` is its record (id, tier, as_of), None without one."""
    if not request:
        return Readiness(False, "no retrain request is open")
    named = request.get("request_id") or request.get("id")
    if not named:
        return Readiness(False, "the retrain request has no id: it can't be answered")
    return Readiness(
        True, f"request {named} ({request.get('tier', 'unknown tier')}) is open", {"request": str(named)}
    )


def labels_ready(
    loop: Loop, maturity: pd.DataFrame, window_start: date, window_end: date, as_of: datetime
) -> Readiness:
    """Ready when the labels of the departure dates window_start to window_end (inclusive) are mature enough.

    `maturity` is mon_label_maturity. Of the window's units, the share whose outcome is known or whose outcome
    window is closed at `as_of` must reach triggers.labels.min_mature_share, the labels in window
    triggers.labels.min_rows, and no date may be missing. Of the last `training.holdout_days`, the share of
    units with an outcome must reach triggers.labels.min_labelled_share: a closed window without outcomes is
    settled, but nothing can be judged on it.

    Raises:
        ValueError: the window is reversed, or a column is missing.
    """
    columns = ("departure_date", "n_units", "n_in_window", "n_late_report", "n_without_outcome")
    missing_columns = [column for column in columns if column not in maturity.columns]
    if missing_columns:
        raise ValueError(f"mon_label_maturity lacks {', '.join(missing_columns)}")
    if window_end < window_start:
        raise ValueError(f"the window ends on {window_end}, before its start {window_start}")
    needs = loop.triggers.labels
    rows = maturity.assign(departure_date=pd.to_datetime(maturity["departure_date"]).dt.date)
    rows = rows[_inside(rows["departure_date"], window_start, window_end)]
    absent = sorted(set(_days(window_start, window_end)) - set(rows["departure_date"]))
    if absent:
        return Readiness(False, f"no flights are known for {_dates(absent)}", {"absent_days": len(absent)})
    closed_until = last_mature_day(loop, as_of)
    units = float(rows["n_units"].sum())
    is_closed = pd.Series([day <= closed_until for day in rows["departure_date"]], index=rows.index)
    settled = float(rows.loc[is_closed, "n_units"].sum() + rows.loc[~is_closed, "n_in_window"].sum())
    labels = float(rows["n_in_window"].sum())
    share = settled / units if units else 0.0
    evidence = {
        "units": round(units),
        "settled_share": share,
        "labels": round(labels),
        "days": len(rows),
        "open_days": int((~is_closed).sum()),
    }
    if not (math.isfinite(share) and share >= needs.min_mature_share):
        return Readiness(
            False,
            f"{share:.1%} of {units:.0f} units of {window_start} to {window_end} are settled; "
            f"{needs.min_mature_share:.0%} are needed",
            evidence,
        )
    recent = rows[rows["departure_date"] > window_end - timedelta(days=loop.training.holdout_days)]
    due = float(recent["n_units"].sum())
    known = float(recent["n_in_window"].sum()) / due if due else 0.0
    evidence["labelled_share_of_holdout"] = known
    if not known >= needs.min_labelled_share:
        return Readiness(
            False,
            f"{known:.1%} of the holdout's {due:.0f} units have an outcome; {needs.min_labelled_share:.0%} are needed: "
            "is the feed of outcomes complete?",
            evidence,
        )
    if not labels >= needs.min_rows:
        return Readiness(
            False,
            f"{labels:.0f} labels from {window_start} to {window_end}; {needs.min_rows} are needed",
            evidence,
        )
    return Readiness(
        True,
        f"{labels:.0f} labels from {window_start} to {window_end}, {share:.1%} of the units settled",
        evidence,
    )


def gates_green(
    verdicts: pd.DataFrame, window_start: date, window_end: date, *, border: str = "features"
) -> Readiness:
    """Ready when each date of the window has a verdict at `border` and none blocks.

    `verdicts` has border, table_name, partition_date, verdict (ops.partition_gates of the loop).

    Raises:
        ValueError: the window is reversed, or a column is missing.
    """
    missing = [
        name for name in ("border", "table_name", "partition_date", "verdict") if name not in verdicts.columns
    ]
    if missing:
        raise ValueError(f"partition_gates lacks {', '.join(missing)}")
    if window_end < window_start:
        raise ValueError(f"the window ends on {window_end}, before its start {window_start}")
    rows = verdicts[verdicts["border"] == border]
    rows = rows.assign(partition_date=pd.to_datetime(rows["partition_date"]).dt.date)
    rows = rows[_inside(rows["partition_date"], window_start, window_end)]
    absent = sorted(set(_days(window_start, window_end)) - set(rows["partition_date"]))
    not_green = sorted(set(rows.loc[~rows["verdict"].isin(GREEN), "partition_date"]))
    evidence = {
        "border": border,
        "verdicts": len(rows),
        "absent_days": len(absent),
        "blocked_days": len(not_green),
    }
    if absent:
        return Readiness(False, f"the {border} gate has not judged {_dates(absent)}", evidence)
    if not_green:
        return Readiness(False, f"the {border} gate blocks {_dates(not_green)}", evidence)
    return Readiness(
        True,
        f"the {border} gate is green on {len(rows)} partitions of {window_start} to {window_end}",
        evidence,
    )


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=offset) for offset in range((end - start).days + 1)]


def _inside(days: pd.Series, start: date, end: date) -> NDArray[np.bool_]:
    return np.array([start <= day <= end for day in days], dtype=bool)


def _dates(days: list[date]) -> str:
    shown = ", ".join(day.isoformat() for day in days[:SHOWN])
    return shown if len(days) <= SHOWN else f"{shown} and {len(days) - SHOWN} more days"
