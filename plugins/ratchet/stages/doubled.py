"""Predictions that count nowhere because another one of the same unit and model version was received first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import publish as publish_summary
from ratchet.settings import Settings
from ratchet.warehouse.protocol import Warehouse

#: Those received last are named; the others are counted.
NAMED = 3


def publish_doubled(
    settings: Settings, loop: Loop, warehouse: Warehouse, log: Callable[[str], None]
) -> dict[str, Any]:
    """Publish how many there are, and name the newest with what counts instead; the summary."""
    total = warehouse.frame(
        "select count(*) as n, min(departure_date) as first_day, max(departure_date) as last_day "
        "from monitoring.mon_predictions_doubled where loop = ?",
        (loop.loop,),
    )
    newest = warehouse.frame(
        "select prediction_id, unit_id, model_version, standing_prediction_id "
        "from monitoring.mon_predictions_doubled where loop = ? "
        "order by received_at desc, prediction_id, unit_id limit ?",
        (loop.loop, NAMED),
    )
    count = int(total["n"].iloc[0])
    days = [pd.Timestamp(total[name].iloc[0]).date() for name in ("first_day", "last_day")] if count else []
    summary = {
        "predictions": count,
        "departures": [day.isoformat() for day in days],
        "newest": newest.astype({"model_version": "int64"}).to_dict("records"),
    }
    publish_summary(settings, loop.loop, "doubled", summary)
    if count:
        log(doubled_told(summary))
    return summary


def doubled_told(summary: dict[str, Any]) -> str:
    """The summary in one sentence; empty when every prediction counts. Pure."""
    if not summary["predictions"]:
        return ""
    first, last = summary["departures"]
    named = "; ".join(
        f"{row['prediction_id']} of {row['unit_id']} by version {row['model_version']}, "
        f"{row['standing_prediction_id']} counts"
        for row in summary["newest"]
    )
    return (
        f"{summary['predictions']} {'prediction does' if summary['predictions'] == 1 else 'predictions do'} not "
        f"count, departures {first} to {last}: another one of the same unit and model version was received first "
        f"({named})"
    )
