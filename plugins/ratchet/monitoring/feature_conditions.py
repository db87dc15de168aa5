"""Features as a summary shows them and as conditions: moved, missing, out of range, a category gone or new."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ratchet.experiment.paired import plain
from ratchet.monitoring.conditions import Condition, condition
from ratchet.monitoring.inputs import FeatureShift
from ratchet.monitoring.wobble import State

#: A category of at least this share has gone when less than a tenth of it is left.
PRESENT, LEFT = 0.01, 0.1


def with_causes(shifts: Sequence[FeatureShift], groups: Mapping[str, str]) -> tuple[FeatureShift, ...]:
    """The shifts, of each group of features (of one source) that drifts the most distant one as its first cause."""
    first: set[str] = set()
    answers = []
    for shift in shifts:
        group = groups.get(shift.feature, shift.feature)
        answers.append(replace(shift, first_cause=shift.is_drifting and group not in first))
        if shift.is_drifting:
            first.add(group)
    return tuple(answers)


def conditions_of(
    shifts: Sequence[FeatureShift],
    importance: Mapping[str, float],
    categories: Mapping[str, Sequence[str]],
    groups: Mapping[str, str],
    min_distance: float,
) -> list[Condition]:
    """A condition for each feature and kind of change; that a category went or came is told only when it did."""
    found = []
    for shift in shifts:
        about: dict[str, Any] = {
            "importance": importance.get(shift.feature, 0.0),
            "feature": shift.feature,
            "source": groups.get(shift.feature),
        }
        found.append(
            condition(
                f"drift:{shift.feature}", "drift", shift.state,
                f"Jensen-Shannon distance {shift.js:.3f} from the {shift.reference}, whose own days lie "
                f"{shift.wobble:.3f} apart; {sum(day['alert'] for day in shift.days)} of {len(shift.days)} days alert",
                value=shift.js, limit=max(min_distance, shift.limit) if math.isfinite(shift.limit) else min_distance,
                **about,
            )
        )  # fmt: skip
        for what, name in (("missing", "missing"), ("out_of_range", "range")):
            state, value, usual = shift.shares[what]
            if what == "out_of_range" and shift.feature in categories:
                if state == "alert":
                    told = f"{value:.1%} of a kind that the loop file does not list, usually {usual:.1%}"
                    new = f"category:{shift.feature}=unlisted"
                    found.append(condition(new, "data", "alert", told, value=value, limit=usual, **about))
                continue
            if state == "unknown" and shift.state == "unknown":
                continue
            told = f"{value:.1%} {'missing' if what == 'missing' else 'outside what the model has seen'}"
            found.append(
                condition(
                    f"{name}:{shift.feature}", "data", state, f"{told}, usually {usual:.1%}", value=value, limit=usual,
                    **about,
                )
            )  # fmt: skip
        found += [
            condition(
                f"category:{shift.feature}={name}", "data", "alert",
                f"{name} was {before:.1%} of the rows and is {now:.1%}", value=now, limit=before * LEFT, **about,
            )
            for name, before, now in _gone(shift, categories.get(shift.feature, ()))
        ]  # fmt: skip
    return found


def _gone(shift: FeatureShift, names: Sequence[str]) -> list[tuple[str, float, float]]:
    if not np.isfinite(shift.share).all():
        return []
    at = {number: position for position, number in enumerate(shift.bins)}
    return [
        (name, float(shift.reference_share[at[i]]), float(shift.share[at[i]]))
        for i, name in enumerate(names, start=1)
        if i in at
        and shift.reference_share[at[i]] >= PRESENT
        and shift.share[at[i]] < LEFT * shift.reference_share[at[i]]
    ]


def summary_of(
    shifts: Sequence[FeatureShift],
    bins: pd.DataFrame,
    importance: Mapping[str, float],
    categories: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Features for pages, most important first."""
    answers = []
    for shift in shifts:
        labels = _labels(bins[bins["feature"] == shift.feature], categories.get(shift.feature))
        answers.append(
            {
                **shift.evidence(),
                "importance": plain(importance.get(shift.feature, math.nan)),
                "kind": "categorical" if shift.feature in categories else "numeric",
                "shares": {
                    what: {"state": state, "value": plain(value), "usual": plain(usual)}
                    for what, (state, value, usual) in shift.shares.items()
                },
                "bins": [
                    {"label": labels.get(number, str(number)), "reference_share": plain(r), "share": plain(s)}
                    for number, r, s in zip(
                        shift.bins, shift.reference_share.tolist(), shift.share.tolist(), strict=True
                    )
                ],
            }
        )
    return sorted(answers, key=lambda a: (-(a["importance"] or 0.0), a["feature"]))


def _labels(rows: pd.DataFrame, names: Sequence[str] | None) -> dict[int, str]:
    found = {0: "missing"}
    for row in rows[rows["bin"] > 0].to_dict("records"):
        number = int(row["bin"])
        if names is not None:
            found[number] = names[number - 1] if number <= len(names) else str(number)
            continue
        low, high = row["lower_bound"], row["upper_bound"]
        if pd.isna(low):
            found[number] = "all" if pd.isna(high) else f"< {high:.4g}"
        else:
            found[number] = f">= {low:.4g}" if pd.isna(high) else f"{low:.4g} to {high:.4g}"
    return found


def worst(states: Sequence[State]) -> State:
    """alert before warn before unknown before ok."""
    order: tuple[State, ...] = ("alert", "warn", "unknown", "ok")
    return min(states, key=order.index, default="unknown")
