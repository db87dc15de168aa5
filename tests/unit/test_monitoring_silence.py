"""Silence is told: a day of which nothing is known is unknown in every part, and no part breaks."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path

import pandas as pd

from ratchet.experiment.paired import Estimate
from ratchet.loop import load_loop
from ratchet.monitoring.health import Health
from ratchet.monitoring.measures import Facts, assess
from ratchet.monitoring.profile import PROFILE_COLUMNS

LOOP = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
NOTHING = Estimate(math.nan, math.nan, 0, 0)
COLUMNS = {
    "histograms": "departure_date feature bin n n_out_of_range sum_value",
    "bins": "feature bin lower_bound upper_bound reference_share",
    "profiles": " ".join(PROFILE_COLUMNS),
    "scores": "departure_date model_version is_served arm score_bin n_units sum_score n_labelled sum_score_labelled "
    "sum_label",
    "cohorts": "departure_date model_version is_served cohort_dimension cohort_value n_units n_open n_warned "
    "n_labelled sum_log_loss sum_brier sum_score sum_label n_late_not_warned n_punctual_warned n_asked n_ratings "
    "sum_rating n_tickets n_errors",
    "latency": "departure_date model_version latency_bin n_units",
    "answers": "departure_date model_version channel answer_category n_answers n_ratings sum_rating n_simulated",
    "landings": "source received_date rows quarantined duplicates",
    "extra": "source received_date column_name",
    "curve": "source age_hours n_units n_received",
    "gates": "border table_name partition_date verdict reason",
    "sample": " ".join(("departure_date", "unit_id", *LOOP.features.columns)),
    "staleness": "model_version departure_date trained_until n_labelled sum_log_loss sum_brier",
}


def test_nothing_measured_is_unknown_and_never_ok() -> None:
    facts = Facts(**{name: pd.DataFrame(columns=columns.split()) for name, columns in COLUMNS.items()})
    health = Health(
        as_of=datetime(2013, 6, 1), model_version=1, status="unknown", reasons=("no mature day",), log_loss=NOTHING,
        above_reference=NOTHING, over_constant=NOTHING, calibration_error=math.nan, calibration_error_low=math.nan,
        drift=(), maturity={}, opinions={}, urgent_days=0,
    )  # fmt: skip
    measured = assess(LOOP, facts, health)
    states = {item["name"]: item["state"] for item in measured.conditions}
    parts = ("inputs", "output", "quality", "serving")
    assert {states[f"not-measured:{part}"] for part in parts} == {"unknown"}
    assert "ok" not in {state for name, state in states.items() if not name.startswith("not-measured:users")}
    assert set(measured.summaries) == {
        f"monitor_{part}" for part in ("data", "drift", "quality", "users", "operations")
    }
    json.dumps([measured.summaries, measured.conditions], allow_nan=False)
