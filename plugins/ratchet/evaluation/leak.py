"""One feature that tells the label almost alone is a leak, whatever its name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ratchet.evaluation.intervals import Floats, auc

MIN_OF_EACH_CLASS = 20  # fewer known rows rank well by chance


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
