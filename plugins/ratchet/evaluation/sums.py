"""The sums that a candidate is judged from: by departure day, cohort and scorer, plain and rounded.

Rows end here. What is judged is what a record holds: every number is rounded before the judge sees it, so the
verdict can be judged again from the record, to the bit. One pass of counting a dimension and scorer, however
many cohorts it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.evaluation.intervals import Floats, auc, losses
from ratchet.experiment.calibration import BINS
from ratchet.experiment.paired import plain

if TYPE_CHECKING:
    from ratchet.loop import Loop

CANDIDATE, CHAMPION, CONSTANT, LOGISTIC = "candidate", "champion", "constant", "logistic"
OLD_ROWS = "without_new_rows"  # the candidate's recipe, fitted on the rows that the champion knew
ALL = "all"  # the dimension whose one cohort is everything
MISSING = "missing"
DIGITS = 9  # of a sum of losses
GAP_DIGITS = 5  # of a sum of scores minus labels in one bin


@dataclass(frozen=True)
class Window:
    """The rows of one evaluation window, the scores on them, and what was trained for it. Dates are inclusive.

    `frame` has departure_date and label and, for the newest window, one column a cohort dimension. `scores` has
    one entry a scorer, row for row. `overlapping_units` counts its units that are among the training units.
    """

    train_start: date
    train_end: date
    start: date
    end: date
    train_rows: int
    overlapping_units: int
    frame: pd.DataFrame
    scores: Mapping[str, Floats | None] = field(default_factory=dict)


def summarise(
    loop: Loop, windows: Sequence[Window], probes: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The sums of `windows`, oldest first; the last one is also summed by cohort. Plain types, no NaN.

    `probes` are the answers that need other rows than the windows' (`leak`, `mutations`, `ablation`). Nothing is
    raised for bad data: a window that can't be summed has `faults` in words instead of numbers.
    """
    summed = [_window(loop, window) for window in windows]
    newest = windows[-1] if windows else None
    content: dict[str, Any] = {"windows": summed, "cohorts": {}, "auc": {}, **dict(probes or {})}
    if newest is None or summed[-1]["faults"]:
        return content
    missing = [name for name in loop.cohorts.dimensions if name not in newest.frame.columns]
    if missing:
        content["cohort_faults"] = [
            f"no cohort column {', '.join(missing)}; the loop file declares it as a dimension"
        ]
    else:
        content["cohorts"] = _cohorts(loop, newest)
    labels = newest.frame["label"].to_numpy(dtype=np.float64)
    for name, scores in newest.scores.items():
        if scores is not None and name != CONSTANT:
            content["auc"][name] = plain(round(auc(labels, np.asarray(scores, dtype=np.float64)), DIGITS))
    content["reliability"] = {
        name: _by_bin(labels, np.asarray(newest.scores[name], dtype=np.float64))
        for name in (CANDIDATE, CHAMPION)
        if newest.scores.get(name) is not None
    }
    return content


def _by_bin(labels: Floats, scores: Floats) -> dict[str, list[float]]:
    """Rows, scores and labels summed by score bin: what a reliability curve is drawn from."""
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    return {
        "rows": [float(count) for count in np.bincount(bins, minlength=BINS)],
        "scores": _sums(bins, scores, BINS, GAP_DIGITS),
        "labels": _sums(bins, labels, BINS, 0),
    }


def _window(loop: Loop, window: Window) -> dict[str, Any]:
    content: dict[str, Any] = {
        "train_start": window.train_start.isoformat(),
        "train_end": window.train_end.isoformat(),
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "train_rows": int(window.train_rows),
        "overlapping_units": int(window.overlapping_units),
        "faults": _faults(window),
        "days": [],
        "rows": [],
        "labels": [],
        "scorers": {},
    }
    if content["faults"]:
        return content
    codes, days = _days(window.frame)
    labels = window.frame["label"].to_numpy(dtype=np.float64)
    content["days"] = days
    content["rows"] = _counts(codes, len(days))
    content["labels"] = _sums(codes, labels, len(days), 0)
    metrics = dict.fromkeys((loop.metrics.primary, "log_loss", "brier"))
    for name, given in sorted(window.scores.items()):
        if given is None:
            continue
        scores = np.asarray(given, dtype=np.float64)
        content["scorers"][name] = {
            metric: _sums(codes, losses(metric, labels, scores), len(days)) for metric in metrics
        } | {"scores": _sums(codes, scores, len(days))}
    return content


def _faults(window: Window) -> list[str]:
    """What makes the window's rows or scores unusable, in words."""
    frame, faults = window.frame, []
    if frame.empty or not {"departure_date", "label"} <= set(frame.columns):
        return [f"{len(frame)} evaluation rows, with departure_date and label expected"]
    labels = frame["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    if wrong := int((~np.isin(labels, (0.0, 1.0))).sum()):
        faults.append(f"{wrong} labels are neither 0 nor 1")
    if undated := int(frame["departure_date"].isna().sum()):
        faults.append(f"{undated} rows have no departure_date")
    faults += [
        f"no scores of the {name}" for name in (CANDIDATE, CONSTANT) if window.scores.get(name) is None
    ]
    for name, value in sorted(window.scores.items()):
        if value is None:
            continue
        array = np.asarray(value, dtype=np.float64)
        if array.shape != (len(frame),):
            faults.append(f"{name} has scores of shape {array.shape} for {len(frame)} rows")
        elif bad := int((~(np.isfinite(array) & (array >= 0) & (array <= 1))).sum()):
            faults.append(f"{bad} of {len(array)} {name} scores are not numbers in [0, 1]")
        elif name == CANDIDATE and np.ptp(array) == 0:
            faults.append(f"the candidate gives {array[0]:.4f} to every row")
    return faults


def _cohorts(loop: Loop, window: Window) -> dict[str, dict[str, dict[str, Any]]]:
    """By dimension and value: by day the rows, labels and each compared scorer's sums."""
    codes, days = _days(window.frame)
    labels = window.frame["label"].to_numpy(dtype=np.float64)
    threshold = loop.gates.evaluation.decision_threshold
    compared = (CANDIDATE, CHAMPION) if window.scores.get(CHAMPION) is not None else (CANDIDATE, CONSTANT)
    rows: dict[str, dict[str, Any]] = {}
    for name in compared:
        scores = np.asarray(window.scores[name], dtype=np.float64)
        rows[name] = {
            "loss": losses(loop.metrics.primary, labels, scores),
            "missed": ((labels == 1) & (scores < threshold)).astype(np.float64),
            "alarms": ((labels == 0) & (scores >= threshold)).astype(np.float64),
            "gap": scores - labels,
            "bin": np.minimum((scores * BINS).astype(np.int64), BINS - 1),
        }
    content: dict[str, dict[str, dict[str, Any]]] = {}
    for dimension in (ALL, *loop.cohorts.dimensions):
        if dimension == ALL:
            values, named = np.zeros(len(codes), dtype=np.int64), [ALL]
        else:
            values, named = _values(window.frame[dimension])
        width = len(days)
        cells = values * width + codes
        size = len(named) * width
        table = {"rows": _table(cells, None, size, width, 0), "labels": _table(cells, labels, size, width, 0)}
        scored = {
            name: {
                "loss": _table(cells, part["loss"], size, width, DIGITS),
                "missed": _table(cells, part["missed"], size, width, 0),
                "alarms": _table(cells, part["alarms"], size, width, 0),
                "gaps": _table(
                    cells * BINS + part["bin"], part["gap"], size * BINS, width * BINS, GAP_DIGITS
                ),
            }
            for name, part in rows.items()
        }
        content[dimension] = {
            value: {
                "rows": [int(v) for v in table["rows"][i]],
                "labels": [int(v) for v in table["labels"][i]],
                **{
                    name: {
                        "loss": part["loss"][i].tolist(),
                        "missed": [int(v) for v in part["missed"][i]],
                        "alarms": [int(v) for v in part["alarms"][i]],
                        "gaps": part["gaps"][i].reshape(width, BINS).tolist(),
                    }
                    for name, part in scored.items()
                },
            }
            for i, value in enumerate(named)
        }
    return content


def day_sums(frame: pd.DataFrame, values: Floats) -> list[float]:
    """The sum of `values` by departure day, days ascending, rounded as a record keeps it."""
    codes, days = _days(frame)
    return _sums(codes, values, len(days))


def _days(frame: pd.DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    codes, days = pd.factorize(frame["departure_date"].to_numpy(), sort=True)
    return codes.astype(np.int64), [pd.Timestamp(day).date().isoformat() for day in days]


def _values(column: pd.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Codes and names of a dimension's values, names ascending; rows without a value are "missing"."""
    codes, names = pd.factorize(column)
    told = [str(name) for name in names]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(told), codes)
        told.append(MISSING)
    order = sorted(set(told))
    place = np.array([order.index(name) for name in told], dtype=np.int64)
    return place[codes], order


def _table(
    cells: NDArray[np.int64], weights: Floats | None, size: int, width: int, digits: int
) -> NDArray[np.float64]:
    counted = np.bincount(cells, weights=weights, minlength=size).astype(np.float64)
    # A negative zero is another text than zero: a record has one of them only.
    return np.round(counted, digits).reshape(-1, width) + 0.0


def _sums(codes: NDArray[np.int64], values: Floats, days: int, digits: int = DIGITS) -> list[float]:
    summed = np.round(np.bincount(codes, weights=values, minlength=days), digits) + 0.0
    return [float(value) for value in summed]


def _counts(codes: NDArray[np.int64], days: int) -> list[int]:
    return [int(count) for count in np.bincount(codes, minlength=days)]
