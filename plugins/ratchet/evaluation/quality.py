"""Better than nothing, than something simple, than what serves, than itself without the new rows; and durably so.

Differences are of rows later than the training rows, paired by row, with errors over clusters (departure days).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ratchet.evaluation.facts import CandidateFacts, GateResult, gate
from ratchet.evaluation.intervals import Floats
from ratchet.evaluation.sums import ALL, CANDIDATE, CHAMPION, CONSTANT, LOGISTIC, OLD_ROWS
from ratchet.experiment.calibration import calibration_error
from ratchet.experiment.paired import Estimate, plain, ratio_estimate

if TYPE_CHECKING:
    from ratchet.loop import Loop

MIN_CLUSTERS = 5  # an interval over fewer days says little about the next one
Windows = Sequence[Mapping[str, Any]]


def usable_sums(loop: Loop, sums: Mapping[str, Any], facts: CandidateFacts) -> GateResult:
    """Whether there are rows, labels of both classes, enough days, and finite scores of all who are compared."""
    name, windows = "finite_scores", sums["windows"]
    faults = [f"{w['start']} to {w['end']}: {fault}" for w in windows for fault in w["faults"]]
    if not windows:
        faults.append("no evaluation window was summed")
    needed = [CANDIDATE, CONSTANT]
    for i, window in enumerate(windows):
        is_newest = i == len(windows) - 1
        wanted = needed + ([LOGISTIC] if is_newest else [])
        wanted += [CHAMPION] if is_compared(window, facts) else []
        faults += _window_faults(window, wanted, loop.metrics.primary) if not window["faults"] else []
        if facts.champion_train_end is None and CHAMPION in window["scorers"]:
            faults.append("the champion has scores but no training window")
    rows = sum(sum(window["rows"]) for window in windows)
    return gate(
        name,
        not faults,
        "; ".join(faults) or f"{rows} rows in {len(windows)} windows",
        rows=rows,
        windows=len(windows),
    )


def is_compared(window: Mapping[str, Any], facts: CandidateFacts) -> bool:
    """Whether the champion may be compared on the window: it starts after all rows that the champion knows."""
    if facts.champion_train_end is None:
        return False
    known = facts.champion_rows_end or facts.champion_train_end
    return bool(window["start"] > known.isoformat())


def _window_faults(window: Mapping[str, Any], wanted: Sequence[str], metric: str) -> list[str]:
    days, rows, labels = len(window["days"]), np.array(window["rows"]), np.array(window["labels"])
    where = f"the window from {window['start']}"
    if days < MIN_CLUSTERS:
        return [f"{where} has {days} evaluation days; at least {MIN_CLUSTERS} are needed"]
    if len(rows) != days or len(labels) != days or not (rows > 0).all():
        return [f"{where} has {len(rows)} counts for {days} days"]
    if not 0 < labels.sum() < rows.sum():
        return [f"all labels of {where} are equal"]
    faults = []
    for name in wanted:
        if name not in window["scorers"]:
            faults.append(f"no scores of the {name} in {where}")
            continue
        for part in (metric, "scores"):
            values = np.asarray(window["scorers"][name][part], dtype=np.float64)
            if values.shape != (days,) or not np.isfinite(values).all():
                faults.append(f"{name}'s {part} in {where} is not {days} numbers")
    return faults


def gain_over(windows: Windows, reference: str, metric: str) -> Estimate:
    """Mean loss of `reference` minus the candidate's over the windows that have both; clusters pooled.

    Raises:
        ValueError: no window has both.
    """
    parts: list[Floats] = []
    rows: list[Floats] = []
    for window in windows:
        if reference not in window["scorers"]:
            continue
        given = window["scorers"]
        parts.append(np.asarray(given[reference][metric]) - np.asarray(given[CANDIDATE][metric]))
        rows.append(np.asarray(window["rows"], dtype=np.float64))
    if not parts:
        raise ValueError(f"no window has scores of the {reference}")
    return ratio_estimate(np.concatenate(parts), np.concatenate(rows))


def beats_constant(loop: Loop, sums: Mapping[str, Any]) -> GateResult:
    """Better than the best constant by more than the margin, with confidence, over all windows together."""
    return _ruled_out(
        loop, sums["windows"], "beats_constant", CONSTANT, loop.gates.evaluation.baseline_margin
    )


def no_simpler(loop: Loop, sums: Mapping[str, Any]) -> GateResult:
    """A logistic regression that is better by more than the margin is ruled out."""
    limit = -loop.gates.evaluation.simpler_margin
    return _ruled_out(loop, sums["windows"], "no_simpler_model_is_better", LOGISTIC, limit)


def _ruled_out(loop: Loop, windows: Windows, name: str, reference: str, needed: float) -> GateResult:
    alpha, metric = loop.gates.evaluation.alpha, loop.metrics.primary
    gain = gain_over(windows, reference, metric)
    low = gain.bound(alpha)[0]
    return gate(
        name,
        low > needed,
        f"{metric} gain over the {reference} {gain.value:+.4f}, at least {low:+.4f} over {gain.clusters} "
        f"days; more than {needed:+g} is required",
        **gain.evidence(alpha),
    )


def durable(loop: Loop, sums: Mapping[str, Any], facts: CandidateFacts) -> GateResult:
    """Better than the constant in each window, and enough windows to call a gain more than one lucky week."""
    metric, limits, windows = loop.metrics.primary, loop.gates.evaluation, sums["windows"]
    table, lost = [], []
    for window in windows:
        gain = gain_over([window], CONSTANT, metric)
        row: dict[str, Any] = {
            "start": window["start"],
            "end": window["end"],
            "train_end": window["train_end"],
            "train_rows": window["train_rows"],
            "over_constant": plain(gain.value),
        }
        if is_compared(window, facts):
            row["over_champion"] = plain(gain_over([window], CHAMPION, metric).value)
        table.append(row)
        if not gain.value > limits.baseline_margin:
            lost.append(f"{window['start']} to {window['end']} ({gain.value:+.4f})")
    least = loop.training.min_windows
    if len(table) < least:
        reason = (
            f"{len(table)} windows have enough rows before them; {least} are needed to call a gain durable"
        )
    elif lost:
        reason = f"no gain over the constant in {', '.join(lost)}, of {len(table)} windows"
    else:
        told = ", ".join(f"{row['over_constant']:+.4f}" for row in table)
        reason = f"{metric} gain over the constant in each of {len(table)} windows: {told}"
    return gate("durable_gain", len(table) >= least and not lost, reason, windows=table)


def not_worse_than_champion(loop: Loop, sums: Mapping[str, Any], facts: CandidateFacts) -> GateResult:
    """Worse than the champion by the margin or more is ruled out, over all windows it may be compared on."""
    name, limits, metric = "not_worse_than_champion", loop.gates.evaluation, loop.metrics.primary
    if facts.champion_train_end is None:
        return gate(name, True, "no champion yet: constant and logistic stand for it")
    windows = [window for window in sums["windows"] if is_compared(window, facts)]
    gain = gain_over(windows, CHAMPION, metric)
    worst = -gain.bound(limits.alpha)[0]
    return gate(
        name,
        worst < limits.champion_margin,
        f"{metric} is {-gain.value:+.4f} against the champion's, at most {worst:+.4f} over "
        f"{gain.clusters} days of {len(windows)} windows; less than {limits.champion_margin:g} is required",
        windows=[window["start"] for window in windows],
        **gain.evidence(limits.alpha),
    )


def gain_from_new_rows(loop: Loop, sums: Mapping[str, Any], facts: CandidateFacts) -> GateResult:
    """What the rows that the champion did not know changed; refused when they did harm beyond the margin."""
    name, limits, metric = "gain_comes_from_new_data", loop.gates.evaluation, loop.metrics.primary
    known = facts.champion_rows_end
    if facts.champion_train_end is None:
        return gate(name, True, "no champion yet: all rows are new")
    if known is None:
        return gate(name, False, "not judged: it is not known which rows the champion was fitted on")
    if facts.train_end <= known:
        return gate(
            name,
            True,
            f"no row before the window is newer than {known}, the champion's last: nothing new was learnt from",
        )
    gain = gain_over(sums["windows"][-1:], OLD_ROWS, metric)
    low, high = gain.bound(limits.alpha)
    harms = -gain.value > limits.new_data_margin and high < 0
    told = "improve it" if low > 0 else "make it worse" if high < 0 else "are not shown to change it"
    return gate(
        name,
        gain.is_usable and not harms,
        f"rows after {known} {told}: the same recipe without them loses {gain.value:+.4f} more {metric} "
        f"[{low:+.4f}, {high:+.4f}] over {gain.clusters} days; worse by more than "
        f"{limits.new_data_margin:g} is refused",
        rows_known_to_champion_end=known.isoformat(),
        **gain.evidence(limits.alpha),
    )


def calibration(loop: Loop, sums: Mapping[str, Any]) -> GateResult:
    """Score and frequency are not further apart than the limit, beyond chance."""
    limits, cell = loop.gates.evaluation, sums["cohorts"][ALL][ALL]
    value, low = calibration_error(
        np.asarray(cell[CANDIDATE]["gaps"], dtype=np.float64),
        np.asarray(cell["rows"], dtype=np.float64),
        limits.alpha,
    )
    return gate(
        "calibration",
        low <= limits.calibration_error,
        f"calibration error {value:.4f}, at least {low:.4f} over the days seen; "
        f"limit {limits.calibration_error:g}",
        value=plain(value),
        low=plain(low),
        limit=limits.calibration_error,
    )
