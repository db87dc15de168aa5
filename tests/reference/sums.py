"""The sums that health is judged by, added up row by row from the reference's facts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from tests.reference.facts import Reference
from tests.reference.flights import Key, Row, Table


def grouped(
    rows: Iterable[Row], by: tuple[str, ...], columns: dict[str, Callable[[Row], float | int | None]]
) -> Table:
    """One row per value of `by`, with the sum of each column; a None adds nothing."""
    table: Table = {}
    for row in rows:
        key: Key = tuple(row[name] for name in by)
        sums: dict[str, Any] = table.setdefault(key, dict.fromkeys(columns, 0))
        for name, value in columns.items():
            sums[name] += value(row) or 0
    return table


def quality_daily(reference: Reference) -> Table:
    """mon_quality_daily, by departure date, model version and whether served."""

    def judged(column: str) -> Callable[[Row], Any]:
        return lambda row: row[column] if row["log_loss"] is not None else None

    def reacted(column: str) -> Callable[[Row], Any]:
        return lambda row: reference.reactions.get((row["prediction_id"], row["unit_id"]), {}).get(column)

    return grouped(
        reference.predictions.values(),
        ("departure_date", "model_version", "is_served"),
        {
            "n_units": lambda row: 1,
            "n_labelled": lambda row: row["log_loss"] is not None,
            "n_unresolved": lambda row: row["outcome_state"] == "unresolved",
            "n_open": lambda row: row["outcome_state"] == "open",
            "sum_log_loss": judged("log_loss"),
            "sum_brier": judged("brier"),
            "sum_score": judged("score"),
            "sum_label": judged("label"),
            "n_ratings": reacted("n_ratings"),
            "sum_rating": reacted("sum_rating"),
            "n_tickets": reacted("n_tickets"),
            "n_asked": reacted("n_asked"),
        },
    )


def calibration_daily(reference: Reference) -> Table:
    """mon_calibration_daily, by departure date, model version and tenth of the score."""
    served = [
        {**row, "score_bin": min(math.floor(row["score"] * 10), 9)}
        for row in reference.predictions.values()
        if row["is_served"] and row["log_loss"] is not None
    ]
    return grouped(
        served,
        ("departure_date", "model_version", "score_bin"),
        {
            "n_labelled": lambda row: 1,
            "sum_score": lambda row: row["score"],
            "sum_label": lambda row: row["label"],
        },
    )


def label_windows(reference: Reference) -> Table:
    """mon_label_windows, by departure date."""
    flights = [
        {"departure_date": flight["departure_date"], "fact": reference.labels.get((unit,))}
        for unit, flight in reference.flights.items()
    ]
    return grouped(
        flights,
        ("departure_date",),
        {
            "n_units": lambda row: 1,
            "n_in_window": lambda row: row["fact"] is not None and row["fact"]["is_in_window"],
            "n_late_report": lambda row: row["fact"] is not None and not row["fact"]["is_in_window"],
            "n_without_outcome": lambda row: row["fact"] is None,
        },
    )
