"""The warehouse's tables beside the reference's: every row, every column, every difference named."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tests.reference.facts import Reference
from tests.reference.flights import Row, Table
from tests.reference.play import Player
from tests.reference.sums import calibration_daily, label_windows, quality_daily

#: table: its key columns and what the reference says it holds.
TABLES: dict[str, tuple[tuple[str, ...], Callable[[Reference], Table]]] = {
    "features.ftr_flights__pre_departure": (("unit_id",), lambda r: r.features()),
    "marts.fct_labels": (("unit_id",), lambda r: r.labels),
    "marts.fct_predictions": (("prediction_id", "unit_id"), lambda r: r.predictions),
    "marts.fct_feedback": (("feedback_id", "prediction_id", "unit_id"), lambda r: r.feedback),
    "marts.fct_reactions": (("prediction_id", "unit_id"), lambda r: r.reactions),
    "monitoring.mon_quality_daily": (("departure_date", "model_version", "is_served"), quality_daily),
    "monitoring.mon_calibration_daily": (("departure_date", "model_version", "score_bin"), calibration_daily),
    "monitoring.mon_predictions_doubled": (("prediction_id", "unit_id"), lambda r: r.doubled),
    "monitoring.mon_label_windows": (("departure_date",), label_windows),
}


def reference_of(player: Player) -> Reference:
    """What the tables must hold, given what has landed."""
    return Reference(player.raw(), player.landed_until())


def differences(player: Player, reference: Reference) -> tuple[list[str], int]:
    """Every cell that is not the reference's, in words, and how many cells were compared."""
    found: list[str] = []
    compared = 0
    for table, (keys, expected_of) in TABLES.items():
        expected = expected_of(reference)
        rows = player.rows(table)
        actual = {tuple(row[key] for key in keys): row for row in rows}
        if len(actual) != len(rows):
            found.append(f"{table}: {len(rows)} rows, {len(actual)} keys")
        found += [f"{table} {key}: row is missing" for key in expected if key not in actual]
        found += [f"{table} {key}: row should not be there" for key in actual if key not in expected]
        exact = table.startswith("features.")
        for key, row in expected.items():
            if key in actual:
                compared += len(row)
                found += _cells(table, key, row, actual[key], exact)
    return found, compared


def _cells(table: str, key: tuple[Any, ...], expected: Row, actual: Row, exact: bool) -> list[str]:
    return [
        f"{table} {key} {name}: {actual[name]!r}, the reference has {value!r}"
        for name, value in expected.items()
        if not _equal(value, actual[name], exact)
    ]


def _equal(expected: Any, actual: Any, exact: bool) -> bool:
    if expected is None or actual is None:
        return expected is actual
    if exact or not isinstance(expected, float):
        return bool(expected == actual)
    # A logarithm's last bit is the library's own, and sums are kept to nine decimals.
    return math.isclose(expected, actual, rel_tol=1e-12, abs_tol=1e-7)
