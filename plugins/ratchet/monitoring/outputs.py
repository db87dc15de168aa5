"""What the model says: its scores against those of the days before, near the decision threshold, by arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ratchet.experiment.paired import plain
from ratchet.loop_measures import Measures
from ratchet.monitoring.conditions import Condition, condition, of_level
from ratchet.monitoring.inputs import Histograms, judge_inputs
from ratchet.monitoring.profile import PROFILE_COLUMNS
from ratchet.monitoring.quality import BINS, ScoreDays
from ratchet.monitoring.wobble import judge_level

#: Bins of a score that are shown and compared: twentieths.
SHOWN = 20


def judge_outputs(
    terms: Measures, scores: ScoreDays, arms: pd.DataFrame, threshold: float, judged: Sequence[date]
) -> tuple[dict[str, Any], list[Condition]]:
    """The summary's part `outputs`, and its conditions; `arms` are the rows of mon_scores_daily of all versions."""
    edges = np.linspace(0, 1, BINS + 1)
    near = (edges[1:] > threshold - terms.quality.boundary_margin + 1e-9) & (
        edges[:-1] < threshold + terms.quality.boundary_margin - 1e-9
    )
    totals = scores.units.sum(axis=1)
    kept = [i for i, n in enumerate(totals) if n > 0]
    boundary = {scores.days[i]: float(scores.units[i][near].sum() / totals[i]) for i in kept}
    means = {scores.days[i]: float(scores.scores[i].sum() / totals[i]) for i in kept}
    bin_of = np.minimum(np.arange(BINS) * SHOWN // BINS, SHOWN - 1)
    counts = np.zeros((len(scores.days), SHOWN + 1))
    for position in range(BINS):
        counts[:, bin_of[position] + 1] += scores.units[:, position]
    reference = counts.sum(axis=0) / max(1.0, counts.sum())
    table = Histograms(
        "score",
        scores.days,
        tuple(range(SHOWN + 1)),
        counts,
        np.zeros(len(scores.days)),
        scores.scores.sum(axis=1),
    )
    bins = pd.DataFrame({"feature": "score", "bin": range(SHOWN + 1), "reference_share": reference})
    inputs = terms.inputs.model_copy(update={"reference": "trailing"})
    (shift,) = judge_inputs(inputs, [table], bins, pd.DataFrame(columns=list(PROFILE_COLUMNS)), judged)
    level = judge_level(
        boundary, judged, window_days=terms.levels.window_days, k=terms.levels.k_of_n_days[0],
        error=terms.levels.error, min_change=0.5,
    )  # fmt: skip
    found = [
        condition(
            "output:score", "output", shift.state, f"scores are {shift.js:.3f} from those of the days before",
            value=shift.js, limit=shift.limit,
        ),
        of_level("output:boundary", "output", level, f"share near the threshold {threshold:g}"),
    ]  # fmt: skip
    summary = {
        "bins": [
            {
                "label": f"{b / SHOWN:.2f}-{(b + 1) / SHOWN:.2f}",
                "reference_share": plain(float(shift.reference_share[b + 1])),
                "share": plain(float(shift.share[b + 1])),
            }
            for b in range(SHOWN)
        ],
        "state": shift.state,
        "near_boundary": [{"date": day.isoformat(), "share": plain(v)} for day, v in boundary.items()],
        "mean_score": [{"date": day.isoformat(), "mean": plain(v)} for day, v in means.items()],
        "classes_by_arm": _classes(arms, threshold, set(judged)),
    }
    return summary, found


def _classes(rows: pd.DataFrame, threshold: float, days: set[date]) -> list[dict[str, Any]]:
    """Share of served units at or above the threshold, by arm, over the judged days; whole bins are counted."""
    served = rows[rows["is_served"].astype(bool)]
    served = served[
        np.array([day in days for day in pd.to_datetime(served["departure_date"]).dt.date], dtype=bool)
    ]
    first = math.ceil(threshold * BINS - 1e-9)
    answers = []
    for arm, own in served.groupby("arm", sort=True):
        total = float(own["n_units"].sum())
        warned = float(own.loc[own["score_bin"] >= first, "n_units"].sum())
        answers.append(
            {"arm": str(arm), "n": int(total), "share_warned": plain(warned / total) if total else None}
        )
    return answers
