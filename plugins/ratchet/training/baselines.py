"""What a candidate must beat: a constant, and a logistic regression kept as JSON.

The logistic regression imputes medians, flags what was missing, standardises numbers and one-hot encodes
categories; medians, means and scales come from the training rows alone. scikit-learn fits it; prediction is
plain numpy on the stored coefficients.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ratchet.training.encode import Floats

if TYPE_CHECKING:
    from ratchet.loop import Loop

DIGITS = 10  # coefficients are rounded so that the stored text does not hang on the last bits of a solver


def constant_rate(labels: Floats) -> float:
    """The share of positive labels, the best constant score.

    Raises:
        ValueError: there is no label.
    """
    if not len(labels):
        raise ValueError("no training label: a constant needs at least one")
    return float(np.mean(labels))


@dataclass(frozen=True)
class LogisticModel:
    """Coefficients and the training rows' statistics; `to_json` and `from_json` keep every digit used."""

    features: tuple[str, ...]
    category_counts: tuple[int, ...]
    medians: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def to_json(self) -> str:
        """One JSON document, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> LogisticModel:
        """The model that `to_json` wrote.

        Raises:
            ValueError: not such a document, or its lengths disagree.
        """
        try:
            content = json.loads(text)
            model = cls(
                features=tuple(map(str, content["features"])),
                category_counts=tuple(map(int, content["category_counts"])),
                medians=tuple(map(float, content["medians"])),
                means=tuple(map(float, content["means"])),
                scales=tuple(map(float, content["scales"])),
                coefficients=tuple(map(float, content["coefficients"])),
                intercept=float(content["intercept"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not a logistic model's JSON: {error!r}") from None
        numbers = len(model.medians)
        width = 2 * numbers + sum(model.category_counts)
        if len(model.coefficients) != width or len(model.features) != numbers + len(model.category_counts):
            raise ValueError(
                f"logistic model has {len(model.coefficients)} coefficients; its inputs need {width}"
            )
        return model

    def predict(self, matrix: Floats) -> NDArray[np.float64]:
        """Scores in (0, 1), one per row of a matrix in the contract's column order.

        Raises:
            ValueError: the matrix has another width.
        """
        if matrix.ndim != 2 or matrix.shape[1] != len(self.features):
            raise ValueError(f"matrix is {matrix.shape}; the model has {len(self.features)} features")
        design = _design(
            matrix, np.array(self.medians), np.array(self.means), np.array(self.scales), self.category_counts
        )
        logit = design @ np.array(self.coefficients) + self.intercept
        return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logit, -40, 40))))


def fit_logistic(matrix: Floats, labels: Floats, loop: Loop) -> LogisticModel:
    """Logistic regression on the loop's features, L2 penalty with C = 1 (scikit-learn's default).

    Raises:
        ValueError: no rows, or labels of one class only.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        raise ValueError(f"{len(labels)} training rows of one class: no logistic regression")
    counts = tuple(len(values) for values in loop.features.categorical.values())
    numbers = matrix[:, : len(loop.features.numeric)]
    known = ~np.isnan(numbers)
    medians = np.array(
        [np.median(numbers[k, i]) if (k := known[:, i]).any() else 0.0 for i in range(numbers.shape[1])]
    )
    filled = np.where(known, numbers, medians)
    means, scales = filled.mean(axis=0), filled.std(axis=0)
    scales = np.where(scales > 0, scales, 1.0)
    medians, means, scales = (np.round(values, DIGITS) for values in (medians, means, scales))
    scales = np.where(scales > 0, scales, 1.0)
    fitted = LogisticRegression(solver="newton-cholesky").fit(
        _design(matrix, medians, means, scales, counts), labels
    )
    return LogisticModel(
        features=tuple(loop.features.columns),
        category_counts=counts,
        medians=tuple(medians.tolist()),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        coefficients=tuple(np.round(fitted.coef_[0], DIGITS).tolist()),
        intercept=float(np.round(fitted.intercept_[0], DIGITS)),
    )


def _design(
    matrix: Floats, medians: Floats, means: Floats, scales: Floats, counts: tuple[int, ...]
) -> Floats:
    """Standardised numbers, their missing flags, one column a category; an unknown category is all zeros."""
    width = len(medians)
    numbers = matrix[:, :width]
    known = ~np.isnan(numbers)
    parts = [(np.where(known, numbers, medians) - means) / scales, (~known).astype(np.float64)]
    for offset, count in enumerate(counts):
        parts.append((matrix[:, width + offset, None] == np.arange(count)).astype(np.float64))
    return np.hstack(parts)
