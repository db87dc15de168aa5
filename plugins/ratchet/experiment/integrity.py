"""Is the experiment's exposure what was planned? Checked before any effect is read.

Each finding is a sentence with numbers; one finding holds the rollout. What is checked: the sums exist, are
finite and plausible; each unit was served by its arm's model and has a score; the challenger is no constant;
both models scored the units served; the arms' sizes fit the plan, as do the arms' labels; and the served
scores of the arms agree with the paired ones, which swapped arms do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.experiment.assignment import WEIGHT_TOTAL, arm_weights
from ratchet.experiment.paired import arm_difference
from ratchet.experiment.sample_ratio import SampleRatio, sample_ratio
from ratchet.experiment.state import RolloutState

if TYPE_CHECKING:
    from ratchet.loop import Loop

PAIRED_COLUMNS = (
    "departure_date",
    "cohort_dimension",
    "cohort_value",
    "n_units",
    "n_labelled",
    "sum_log_loss_champion",
    "sum_log_loss_challenger",
    "sum_brier_champion",
    "sum_brier_challenger",
    "sum_label",
    "sum_score_champion",
    "sum_score_challenger",
)
ARM_COLUMNS = (
    "departure_date",
    "arm",
    "n_units",
    "n_labelled",
    "sum_label",
    "sum_score",
    "sum_log_loss",
    "sum_brier",
    "n_asked",
    "n_ratings",
    "sum_rating",
    "sum_rating_squared",
    "n_tickets",
    "sum_latency_ms",
    "max_latency_ms",
    "n_wrong_version",
    "n_null_score",
)
MIN_PAIRED_SHARE = 0.99  # of the units served, scored by both models
MIN_LABELLED_SHARE = 0.5  # of the mature units; below, outcomes are not arriving
SWAP_Z = 4.0  # served and paired score differences further apart than this are contradictory
MIN_SWAP_CLUSTERS = 5


@dataclass(frozen=True)
class Sums:
    """The two tables of one experiment up to the look's day, typed, with the mature days marked."""

    paired: pd.DataFrame
    arms: pd.DataFrame


def read_sums(
    state: RolloutState, paired: pd.DataFrame, arms: pd.DataFrame, day: date
) -> tuple[Sums | None, list[str]]:
    """The experiment's rows from its first day through `day`, or None and why they can't be used."""
    faults = [
        f"{table} lacks the column {column}: nothing can be judged"
        for table, frame, columns in (
            ("exp_paired_daily", paired, PAIRED_COLUMNS),
            ("exp_arm_daily", arms, ARM_COLUMNS),
        )
        for column in columns
        if column not in frame.columns
    ]
    if faults:
        return None, faults
    kept_paired = _of_experiment(paired, state, day, PAIRED_COLUMNS[3:])
    kept_arms = _of_experiment(arms, state, day, ARM_COLUMNS[2:])
    for table, frame, keys in (
        ("exp_paired_daily", kept_paired, list(PAIRED_COLUMNS[:3])),
        ("exp_arm_daily", kept_arms, list(ARM_COLUMNS[:2])),
    ):
        if frame.empty:
            faults.append(f"{table} has no row of {state.experiment_id} from {state.started_on} to {day}")
        elif frame.duplicated(keys).any():
            faults.append(
                f"{table} has {int(frame.duplicated(keys).sum())} rows twice (same {', '.join(keys)})"
            )
    return (None, faults) if faults else (Sums(kept_paired, kept_arms), [])


def is_mature(dates: pd.Series, maturity_hours: float, day: date) -> pd.Series:
    """Which departure dates have their outcome window closed at the end of `day`, both in local time."""
    latest = day - timedelta(days=math.ceil(maturity_hours / 24))
    return dates <= latest


def check_integrity(
    loop: Loop, state: RolloutState, sums: Sums, day: date
) -> tuple[list[str], dict[str, Any]]:
    """Findings (empty = exposure is as planned) and evidence in plain types."""
    everyone = sums.paired[sums.paired["cohort_dimension"] == "all"]
    if everyone.empty:
        return ["exp_paired_daily has no row of cohort 'all'"], {}
    mature = everyone[is_mature(everyone["departure_date"], loop.label.maturity_hours, day)]
    evidence: dict[str, Any] = {"days": int(everyone["departure_date"].nunique()), "mature_days": len(mature)}
    findings = _implausible("exp_paired_daily", sums.paired, PAIRED_COLUMNS[5:])
    findings += _implausible("exp_arm_daily", sums.arms, ("sum_label", "sum_log_loss", "sum_brier"))
    findings += _implausible("exp_arm_daily", sums.arms, ("sum_rating", "sum_rating_squared"), "n_ratings")
    findings += _implausible("exp_arm_daily", sums.arms, ("sum_score", "sum_latency_ms"), "n_units")
    findings += _wrong_serving(sums.arms)
    findings += _constant_challenger(sums.paired)
    if findings:
        return findings, evidence
    findings += _unpaired(everyone, sums.arms, evidence)
    findings += _unlabelled(mature, evidence)
    findings += _arms_present(loop, state, sums.arms, day)
    findings += _sample_ratios(loop, state, sums.arms, day, evidence)
    findings += _swapped(sums, evidence)
    return findings, evidence


def _of_experiment(
    frame: pd.DataFrame, state: RolloutState, day: date, numbers: tuple[str, ...]
) -> pd.DataFrame:
    rows = frame
    if "experiment_id" in rows.columns:
        rows = rows[rows["experiment_id"] == state.experiment_id]
    dates = pd.to_datetime(rows["departure_date"]).dt.date
    rows = rows.assign(departure_date=dates)
    inside = np.array([state.started_on <= value <= day for value in dates], dtype=bool)
    rows = rows[inside]
    return rows.astype(dict.fromkeys(numbers, "float64")).sort_values("departure_date", kind="stable")


def _implausible(
    table: str, rows: pd.DataFrame, columns: tuple[str, ...], count: str = "n_labelled"
) -> list[str]:
    found = []
    for name in ("n_units", count):
        bad = int((~np.isfinite(rows[name]) | (rows[name] < 0)).sum())
        if bad:
            found.append(f"{table}.{name} is missing or negative in {bad} of {len(rows)} rows")
    if (rows["n_labelled"] > rows["n_units"]).any():
        found.append(
            f"{table} counts more labelled units than units on "
            f"{int((rows['n_labelled'] > rows['n_units']).sum())} rows"
        )
    counted = rows[rows[count] > 0]
    for column in columns:
        bad = int((~np.isfinite(counted[column])).sum())
        if bad:
            found.append(f"{table}.{column} is missing or not finite in {bad} of {len(counted)} rows")
    return found


def _wrong_serving(arms: pd.DataFrame) -> list[str]:
    found = []
    for column, what in (
        ("n_wrong_version", "served by another model version than their arm's"),
        ("n_null_score", "served without a score"),
    ):
        count = arms[column].sum(skipna=False)
        if count != 0:  # also true of a missing count
            found.append(f"{count:.0f} units were {what}" if math.isfinite(count) else f"{column} is missing")
    return found


def _constant_challenger(paired: pd.DataFrame) -> list[str]:
    scored = paired[paired["n_units"] > 0]
    means = scored["sum_score_challenger"] / scored["n_units"]
    if len(means) >= 2 and float(means.max() - means.min()) < 1e-9:
        return [
            f"the challenger's mean score is {means.iloc[0]:.6f} in all {len(means)} days and cohorts: "
            "a constant"
        ]
    return []


def _unpaired(everyone: pd.DataFrame, arms: pd.DataFrame, evidence: dict[str, Any]) -> list[str]:
    served, paired = arms["n_units"].sum(), everyone["n_units"].sum()
    share = float(paired / served) if served else 0.0
    evidence["paired_share"] = share
    if not MIN_PAIRED_SHARE <= share <= 1 + 1e-9:
        return [
            f"{paired:.0f} units were scored by both models, {served:.0f} were served: share {share:.3f}, "
            f"expected {MIN_PAIRED_SHARE} to 1"
        ]
    return []


def _unlabelled(mature: pd.DataFrame, evidence: dict[str, Any]) -> list[str]:
    units = mature["n_units"].sum()
    if not units:
        return []
    share = float(mature["n_labelled"].sum() / units)
    evidence["labelled_share"] = share
    if share < MIN_LABELLED_SHARE:
        return [f"only {share:.1%} of {units:.0f} mature units have a label: outcomes are not arriving"]
    return []


def _plan(loop: Loop, state: RolloutState, departure: date) -> dict[str, float] | None:
    """The planned shares on a departure date; None on the day before a change, when both plans may apply."""
    if departure + timedelta(days=1) in state.stage_starts[1:]:
        return None
    index = max(i for i, start in enumerate(state.stage_starts) if start <= departure)
    return {arm: weight / WEIGHT_TOTAL for arm, weight in arm_weights(loop.rollout.stages[index].share)}


def _arms_present(loop: Loop, state: RolloutState, arms: pd.DataFrame, day: date) -> list[str]:
    if loop.rollout.stages[state.stage_index].share == 0 or day < state.stage_started_on:
        return []
    units = arms[arms["departure_date"] >= state.stage_started_on].groupby("arm")["n_units"].sum()
    return [
        f"arm {arm} has no unit since stage {state.stage_name} began on {state.stage_started_on}"
        for arm in ("challenger", "control")
        if not units.get(arm, 0) > 0
    ]


def _sample_ratios(
    loop: Loop, state: RolloutState, arms: pd.DataFrame, day: date, evidence: dict[str, Any]
) -> list[str]:
    found: list[str] = []
    alpha = loop.rollout.sample_ratio_alpha / 2  # two tests share the error: units and labels
    for column, what, maturity in (
        ("n_units", "units", 0),
        ("n_labelled", "labels", loop.label.maturity_hours),
    ):
        rows = arms[is_mature(arms["departure_date"], maturity, day)]
        periods = []
        wide = rows.pivot_table(
            index="departure_date", columns="arm", values=column, aggfunc="sum", fill_value=0.0
        )
        for departure, *values in wide.itertuples():
            plan = _plan(loop, state, departure)
            if plan is None:
                continue
            counts = {str(arm): int(n) for arm, n in zip(wide.columns, values, strict=True)}
            stray = sorted(arm for arm, n in counts.items() if n and arm not in plan)
            if stray:
                return [*found, f"units of {departure} are in arm {', '.join(stray)}, which no stage has"]
            periods.append((plan, counts))
        result: SampleRatio = sample_ratio(periods, alpha)
        evidence[f"sample_ratio_{what}"] = result.evidence()
        if result.is_alarm:
            found.append(
                f"sample ratio of {what}: observed {result.observed}, planned "
                f"{ {arm: round(n) for arm, n in result.expected.items()} }; log e-value "
                f"{min(result.largest_log_e_value, 1e9):.1f} is above {-math.log(alpha):.1f}"
            )
    return found


def _swapped(sums: Sums, evidence: dict[str, Any]) -> list[str]:
    """Challenger minus control of the served scores, held against challenger minus champion paired."""
    wide = sums.arms.pivot_table(
        index="departure_date", columns="arm", values=["n_units", "sum_score"], aggfunc="sum", fill_value=0.0
    )
    if not {("n_units", "challenger"), ("n_units", "control")} <= set(wide.columns):
        return []
    served = arm_difference(
        wide["sum_score", "challenger"],
        wide["n_units", "challenger"],
        wide["sum_score", "control"],
        wide["n_units", "control"],
    )
    everyone = sums.paired[sums.paired["cohort_dimension"] == "all"].set_index("departure_date")
    weights = wide["n_units", "challenger"].reindex(everyone.index, fill_value=0.0)
    per_unit = (everyone["sum_score_challenger"] - everyone["sum_score_champion"]) / everyone["n_units"]
    if served.clusters < MIN_SWAP_CLUSTERS or not weights.sum() > 0:
        return []
    expected = float((per_unit * weights).sum() / weights.sum())
    z = served.z_against(expected)
    evidence["served_score_difference"] = served.value
    evidence["paired_score_difference"] = expected
    if not abs(z) < SWAP_Z:
        return [
            f"served scores of challenger minus control differ by {served.value:+.4f}, the same models "
            f"paired by {expected:+.4f} (z = {z:.1f}): arms swapped or mixed"
        ]
    return []
