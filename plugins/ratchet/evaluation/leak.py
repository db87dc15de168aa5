"""What no honest feature does: tell the label almost alone, be the label, or be dated after the prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.evaluation.facts import GateResult, gate
from ratchet.evaluation.intervals import Floats, auc

if TYPE_CHECKING:
    from ratchet.loop import Loop

MIN_OF_EACH_CLASS = 20  # fewer known rows rank well by chance
MAX_ROWS = 100_000  # of a larger window so many rows, evenly spaced: a leak shows in them as well
SAME = 0.999  # of the known rows equal to the label: the label itself, with a few corrections
PREDICTED, LABELLED = "predict_at", "label_received_at"
KNOWN_AT = "_known_at"  # a column of this ending says when a feature was known


def leak_evidence(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    """What `leak_gates` judges, plain: strengths, features that are the label, times after the prediction.

    `frame` has label, the feature columns, predict_at and label_received_at. What is missing is named under
    `faults`.
    """
    faults = [
        f"the frame lacks {name}"
        for name in ("label", PREDICTED, LABELLED, *columns)
        if name not in frame.columns
    ]
    content: dict[str, Any] = {"rows": len(frame), "faults": faults}
    if faults or frame.empty:
        return content
    step = -(-len(frame) // MAX_ROWS)
    sample = frame.iloc[::step]
    labels = sample["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(labels).any():
        return content | {"faults": ["labels are missing"]}
    strengths = single_feature_aucs(sample, labels, columns)
    predicted = pd.to_datetime(frame[PREDICTED])
    received = pd.to_datetime(frame[LABELLED])
    return content | {
        "single_feature_auc": {
            name: round(value, 6) if math.isfinite(value) else None for name, value in strengths.items()
        },
        "same_as_label": [name for name in columns if is_label(sample[name], labels)],
        "known_later": known_later(frame, columns, predicted),
        "labels_known_before": int((~(received > predicted)).sum()),
    }


def leak_gates(loop: Loop, sums: Mapping[str, Any]) -> list[GateResult]:
    """The answers on strength, on the target among the features, and on columns of the future."""
    names = ("leak_single_feature", "leak_target", "leak_future_column")
    found = sums.get("leak") or {"rows": 0, "faults": ["nothing was looked at"]}
    faults = list(found["faults"])
    if faults or not found["rows"]:
        reason = "; ".join(faults) or "there are no rows"
        return [gate(name, False, f"not judged: {reason}") for name in names]
    same, later = list(found["same_as_label"]), dict(found["known_later"])
    before = int(found["labels_known_before"])
    untold = [name for name in loop.features.columns if name not in found["single_feature_auc"]]
    if untold:
        raise ValueError(f"nothing is told of the feature {', '.join(untold)}")
    limit = loop.gates.evaluation.single_feature_auc
    told = {name: value for name, value in found["single_feature_auc"].items() if value is not None}
    leaks = sorted(name for name, value in told.items() if value > limit)
    strongest = max(told, key=lambda name: (told[name], name)) if told else None
    reason = f"{', '.join(leaks)} alone tells the label" if leaks else "no feature alone tells the label"
    results = [
        gate(
            names[0],
            bool(told) and not leaks,
            f"{reason}: strongest is {strongest}, AUC {told[strongest]:.3f}, limit {limit:g}"
            if strongest
            else "no feature could be judged",
            strongest=strongest,
            auc=told[strongest] if strongest else None,
            limit=limit,
            leaks=leaks,
        ),
        gate(
            names[1],
            not same,
            f"{', '.join(same)} is the label or its opposite"
            if same
            else f"none of {len(told)} features is the label",
            features=same,
        ),
    ]
    dated = [f"{name} in {count} rows" for name, count in sorted(later.items())]
    dated += [f"the label itself in {before} rows, before the prediction"] if before else []
    results.append(
        gate(
            names[2],
            not dated,
            f"dated on the wrong side of predict_at: {'; '.join(dated)}"
            if dated
            else f"no column is dated after predict_at, no label before it, in {found['rows']} rows",
            columns=later,
            labels_known_before=before,
        )
    )
    return results


def known_later(frame: pd.DataFrame, columns: Sequence[str], predicted: pd.Series) -> dict[str, int]:
    """Features that are times, and columns `<name>_known_at`, with the rows in which they are after the prediction."""
    found: dict[str, int] = {}
    for name in map(str, frame.columns):
        is_time = name in columns and pd.api.types.is_datetime64_any_dtype(frame[name])
        if is_time or name.endswith(KNOWN_AT):
            later = int((pd.to_datetime(frame[name]) > predicted).sum())
            if later:
                found[name] = later
    return found


def is_label(values: pd.Series, labels: Floats) -> bool:
    """Whether a feature takes two values and they are the label, or its opposite, where it is known."""
    known = values.notna().to_numpy()
    if min(labels[known].sum(), (1 - labels[known]).sum()) < MIN_OF_EACH_CLASS:
        return False
    codes, uniques = pd.factorize(values[known])
    if len(uniques) != 2:
        return False
    equal = float((codes == labels[known]).mean())
    return max(equal, 1 - equal) >= SAME


def single_feature_aucs(frame: pd.DataFrame, labels: Floats, columns: Sequence[str]) -> dict[str, float]:
    """The AUC of each feature alone, the better of both directions, at least 0.5; nan when it can't be told.

    A number is ranked as it is, missing ones apart: whether a value is missing may leak too. A category is
    ranked by its share of positives.

    Raises:
        ValueError: a column is absent.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"the frame lacks the feature {', '.join(missing)}")
    return {name: _strength(frame[name], labels) for name in columns}


def _strength(values: pd.Series, labels: Floats) -> float:
    if not pd.api.types.is_numeric_dtype(values):
        text = values.astype("object").where(values.notna(), "(missing)").astype(str).to_numpy()
        rate = pd.Series(labels).groupby(text).transform("mean").to_numpy(dtype=np.float64)
        return _either(auc(labels, rate))
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    known = ~np.isnan(numbers)
    found = [_either(auc(labels, known.astype(np.float64)))]
    if min(labels[known].sum(), (1 - labels[known]).sum()) >= MIN_OF_EACH_CLASS:
        found.append(_either(auc(labels[known], numbers[known])))
    finite = [value for value in found if math.isfinite(value)]
    return max(finite) if finite else math.nan


def _either(value: float) -> float:
    return max(value, 1 - value)
