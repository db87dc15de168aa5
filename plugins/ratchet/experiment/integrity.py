"""Is the experiment's exposure what was planned? Checked before any effect is read.

Each finding is a sentence with numbers; one finding holds the rollout. What is checked: the sums are finite and
plausible; each unit was served by its arm's model and has a score; the challenger is no constant; both models
scored the units served; outcomes arrive; the served scores of the arms agree with the paired ones, which swapped
arms do not. Arm sizes, returning units and the champion's calibration by arm are in `ratchet.experiment.exposure`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ratchet.experiment.admission import EXCLUDED
from ratchet.experiment.exposure import check_exposure
from ratchet.experiment.paired import arm_difference
from ratchet.experiment.state import RolloutState
from ratchet.experiment.sums import EVERYONE, PAIRED_COLUMNS, Cells, Sums

if TYPE_CHECKING:
    from ratchet.loop import Loop

MIN_PAIRED_SHARE = 0.99  # of the units served, scored by both models
MIN_LABELLED_SHARE = 0.5  # of the mature units; below, outcomes are not arriving
SWAP_Z = 4.0  # served and paired score differences further apart than this are contradictory
MIN_SWAP_CLUSTERS = 5
ROUNDING = 1e-8  # sums are kept to nine decimals: a difference this small is none

Evidence = dict[str, Any]
#: The challenger's share planned on each day since the first; None where no plan is binding.
Shares = tuple[float | None, ...]


def check_integrity(
    loop: Loop, state: RolloutState, sums: Sums, shares: Shares, *, are_paired: bool = True
) -> tuple[list[str], Evidence]:
    """Findings (empty = exposure is as planned) and evidence in plain types.

    `shares` has the challenger's planned share of each day. `are_paired` says that both models were to score
    every unit.
    """
    if EVERYONE not in sums.paired.keys and are_paired:
        return ["exp_paired_daily has no row of cohort 'all'"], {}
    present = sums.paired.has(*EVERYONE)
    mature = sums.mature(loop.label.maturity_hours)
    evidence: Evidence = {"days": int(present.sum()), "mature_days": int(present[:mature].sum())}
    findings = _implausible("exp_arm_daily", sums.arms, ("sum_label", "sum_log_loss", "sum_brier"))
    rated = ("sum_rating", "sum_rating_squared", "sum_champion_score_rated")
    findings += _implausible("exp_arm_daily", sums.arms, rated, "n_ratings")
    findings += _implausible("exp_arm_daily", sums.arms, ("sum_score", "sum_latency_ms"), "n_units")
    findings += _implausible("exp_arm_daily", sums.arms, ("sum_champion_gap",), "n_champion_labelled")
    findings += _implausible("exp_exposure_daily", sums.exposure, (), "n_in_other_arm")
    findings += _wrong_serving(sums.arms)
    if are_paired:
        findings += _implausible("exp_paired_daily", sums.paired, PAIRED_COLUMNS[5:])
        findings += _constant_challenger(sums.paired)
    if findings:
        return findings, evidence
    if are_paired:
        findings += _unpaired(sums, evidence)
        findings += _unlabelled(sums, mature, evidence)
        findings += _swapped(sums, evidence)
    findings += check_exposure(loop, state, sums, shares, evidence)
    return findings, evidence


def _implausible(table: str, cells: Cells, columns: tuple[str, ...], count: str = "n_labelled") -> list[str]:
    found = []
    rows = cells.has_row
    for name in ("n_units", count):
        values = cells.columns[name]
        bad = int((rows & ~(np.isfinite(values) & (values >= 0))).sum())
        if bad:
            found.append(f"{table}.{name} is missing or negative in {bad} of {int(rows.sum())} rows")
    if "n_labelled" in cells.columns:
        more = int((rows & (cells.columns["n_labelled"] > cells.columns["n_units"])).sum())
        if more:
            found.append(f"{table} counts more labelled units than units on {more} rows")
    counted = rows & (cells.columns[count] > 0)
    for column in columns:
        bad = int((counted & ~np.isfinite(cells.columns[column])).sum())
        if bad:
            found.append(f"{table}.{column} is missing or not finite in {bad} of {int(counted.sum())} rows")
    return found


def _wrong_serving(arms: Cells) -> list[str]:
    found = []
    for column, what in (
        ("n_wrong_version", "served by another model version than their arm's"),
        ("n_null_score", "served without a score"),
    ):
        count = float(arms.columns[column].sum())
        if count != 0:  # also true of a missing count
            found.append(f"{count:.0f} units were {what}" if math.isfinite(count) else f"{column} is missing")
    return found


def _constant_challenger(paired: Cells) -> list[str]:
    units = paired.columns["n_units"]
    scored = paired.has_row & (units > 0)
    means = paired.columns["sum_score_challenger"][scored] / units[scored]
    if len(means) >= 2 and float(means.max() - means.min()) < 1e-9:
        return [
            f"the challenger's mean score is {means[0]:.6f} in all {len(means)} days and cohorts: a constant"
        ]
    return []


def _unpaired(sums: Sums, evidence: Evidence) -> list[str]:
    # Units that the champion keeps for their cohort's sake are in no arm, and in no pair of the whole.
    served = float(sums.arms.columns["n_units"].sum() - sums.arms.of("n_units", EXCLUDED).sum())
    paired = float(sums.paired.of("n_units", *EVERYONE).sum())
    share = paired / served if served else 0.0
    evidence["paired_share"] = share
    if not MIN_PAIRED_SHARE <= share <= 1 + 1e-9:
        return [
            f"{paired:.0f} units were scored by both models, {served:.0f} were served: share {share:.3f}, "
            f"expected {MIN_PAIRED_SHARE} to 1"
        ]
    return []


def _unlabelled(sums: Sums, mature: int, evidence: Evidence) -> list[str]:
    units = float(sums.paired.of("n_units", *EVERYONE)[:mature].sum())
    if not units:
        return []
    share = float(sums.paired.of("n_labelled", *EVERYONE)[:mature].sum()) / units
    evidence["labelled_share"] = share
    if share < MIN_LABELLED_SHARE:
        return [f"only {share:.1%} of {units:.0f} mature units have a label: outcomes are not arriving"]
    return []


def _swapped(sums: Sums, evidence: Evidence) -> list[str]:
    """Challenger minus control of the served scores, held against challenger minus champion paired."""
    challengers = sums.arms.of("n_units", "challenger")
    served = arm_difference(
        sums.arms.of("sum_score", "challenger"),
        challengers,
        sums.arms.of("sum_score", "control"),
        sums.arms.of("n_units", "control"),
    )
    units = sums.paired.of("n_units", *EVERYONE)
    used = (units > 0) & (challengers > 0)
    weights = challengers[used]
    if served.clusters < MIN_SWAP_CLUSTERS or not weights.sum() > 0:
        return []
    change = sums.paired.of("sum_score_challenger", *EVERYONE) - sums.paired.of(
        "sum_score_champion", *EVERYONE
    )
    expected = float((change[used] / units[used] * weights).sum() / weights.sum())
    z = served.z_against(expected)
    evidence["served_score_difference"] = served.value
    evidence["paired_score_difference"] = expected
    if not abs(z) < SWAP_Z and not abs(served.value - expected) <= ROUNDING:
        return [
            f"served scores of challenger minus control differ by {served.value:+.4f}, the same models "
            f"paired by {expected:+.4f} (z = {z:.1f}): arms swapped or mixed"
        ]
    return []
