"""The loop's feature contract as a matrix: one column a feature, in the contract's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ratchet.loop import Loop

Floats = NDArray[np.float64]
#: Trees compare in single precision: a matrix that only they read may be of that, at half the memory.
Matrix = Floats | NDArray[np.float32]
_BLOCK = 16_384  # rows, so that what is being filled stays in the processor's cache


def feature_matrix(frame: pd.DataFrame, loop: Loop) -> Floats:
    """Rows x features as float64, columns as `loop.features.columns`; missing is NaN.

    A category is its position in the loop file's ordered list; one that the list does not have is NaN, never
    a new number. Nothing is fitted here: a row's encoding depends on the row and the loop file alone.

    Raises:
        ValueError: a feature column is absent, or a numeric one holds text or an infinite value.
    """
    matrix: Floats = _filled(frame, loop, np.float64)
    return matrix


def tree_matrix(frame: pd.DataFrame, loop: Loop) -> NDArray[np.float32]:
    """`feature_matrix` in single precision, for fitting trees: they give the same bytes from either.

    Raises:
        ValueError: as `feature_matrix`, or a value is too large for single precision.
    """
    matrix: NDArray[np.float32] = _filled(frame, loop, np.float32)
    return matrix


def feature_column(frame: pd.DataFrame, name: str, loop: Loop) -> Floats:
    """One feature as float64, as it is in `feature_matrix`; it may be read only.

    Raises:
        ValueError: the column is absent, or numeric and holds text.
    """
    if name not in frame.columns:
        raise ValueError(f"the frame lacks the feature {name}; the loop file lists it")
    if name in loop.features.categorical:
        return _codes(frame[name], loop.features.categorical[name])
    try:
        return frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"numeric feature {name} holds something that is no number: {error}") from None


def _codes(column: pd.Series, values: tuple[str, ...]) -> Floats:
    if column.dtype == "str":
        found = pc.index_in(pa.array(column), value_set=pa.array(values, type=pa.large_string()))
        codes: Floats = found.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return codes
    positions = pd.Categorical(column, categories=list(values)).codes.astype(np.float64)
    return np.where(positions < 0, np.nan, positions)


def _filled(frame: pd.DataFrame, loop: Loop, kind: type) -> Any:
    names = loop.features.columns
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"the frame lacks the feature {', '.join(missing)}; the loop file lists it")
    columns = [feature_column(frame, name, loop) for name in names]
    matrix: Any = np.empty((len(frame), len(names)), dtype=kind)
    infinite = np.zeros(len(names), dtype=bool)
    with np.errstate(over="ignore"):
        for start in range(0, len(frame), _BLOCK):
            block = matrix[start : start + _BLOCK]
            for position, column in enumerate(columns):
                block[:, position] = column[start : start + _BLOCK]
            infinite |= np.isinf(block).any(axis=0)
    if infinite.any():
        found = ", ".join(name for name, is_infinite in zip(names, infinite, strict=True) if is_infinite)
        raise ValueError(f"feature {found} holds an infinite value")
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
