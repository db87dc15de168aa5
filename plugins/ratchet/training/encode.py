"""The loop's feature contract as a matrix: one column a feature, in the contract's order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ratchet.loop import Loop

Floats = NDArray[np.float64]


def feature_matrix(frame: pd.DataFrame, loop: Loop) -> Floats:
    """Rows x features as float64, columns as `loop.features.columns`; missing is NaN.

    A category is its position in the loop file's ordered list; one that the list does not have is NaN, never
    a new number. Nothing is fitted here: a row's encoding depends on the row and the loop file alone.

    Raises:
        ValueError: a feature column is absent, or a numeric one holds text or an infinite value.
    """
    missing = [name for name in loop.features.columns if name not in frame.columns]
    if missing:
        raise ValueError(f"the frame lacks the feature {', '.join(missing)}; the loop file lists it")
    matrix = np.empty((len(frame), len(loop.features.columns)), dtype=np.float64)
    for position, name in enumerate(loop.features.numeric):
        try:
            matrix[:, position] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise ValueError(f"numeric feature {name} holds something that is no number: {error}") from None
    for position, (name, values) in enumerate(loop.features.categorical.items(), len(loop.features.numeric)):
        codes = pd.Categorical(frame[name], categories=list(values)).codes.astype(np.float64)
        matrix[:, position] = np.where(codes < 0, np.nan, codes)
    infinite = [loop.features.columns[i] for i in np.flatnonzero(np.isinf(matrix).any(axis=0))]
    if infinite:
        raise ValueError(f"feature {', '.join(infinite)} holds an infinite value")
    return matrix


def label_vector(frame: pd.DataFrame) -> Floats:
    """The labels as 0.0 and 1.0.

    Raises:
        ValueError: there is no column `label`, or a label is missing or neither 0 nor 1.
    """
    if "label" not in frame.columns:
        raise ValueError("the frame has no column label")
    labels = frame["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = int((~np.isin(labels, (0.0, 1.0))).sum())
    if wrong:
        raise ValueError(f"{wrong} of {len(labels)} labels are neither 0 nor 1")
    return labels
