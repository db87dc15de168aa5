"""A linear classifier of texts, kept as plain JSON: hashed words and pairs, weighted by rarity, logistic regression.

It is fitted on weak labels, each text counted by how sure they are, and used without scikit-learn.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ratchet.feedback.language import without_placeholders
from ratchet.feedback.taxonomy import plain

#: Another number whenever the same text gets other features.
FEATURES_VERSION = 1
BUCKETS = 4_096
_MOST_WORDS = 400
_DIGITS = str.maketrans("123456789", "000000000")
_SMALLEST = 0.02


def features_of(text: str) -> dict[int, float]:
    """Bucket -> weight of a text: words and pairs of neighbours, hashed by CRC-32, counted as 1 + log n."""
    words = plain(without_placeholders(text)).translate(_DIGITS).split()[:_MOST_WORDS]
    grams = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
    counts = Counter(zlib.crc32(gram.encode()) % BUCKETS for gram in grams)
    return {bucket: 1.0 + math.log(n) for bucket, n in counts.items()}


@dataclass(frozen=True)
class Classifier:
    """`weights`: bucket -> one weight a category, times the bucket's rarity; `bias`: one a category."""

    categories: tuple[str, ...]
    bias: np.ndarray
    rarity: dict[int, float]
    weights: dict[int, np.ndarray]

    def probabilities(self, text: str) -> np.ndarray | None:
        """One probability a category; None when it knows no word of the text."""
        found = [(b, w * self.rarity[b]) for b, w in features_of(text).items() if b in self.rarity]
        known = [(b, w) for b, w in found if b in self.weights]
        if not known:
            return None
        norm = math.sqrt(sum(w * w for _, w in found))
        scores = self.bias.copy()
        for bucket, weight in known:
            scores += self.weights[bucket] * (weight / norm)
        odds = np.exp(scores - scores.max())
        return np.asarray(odds / odds.sum())

    def payload(self) -> dict[str, Any]:
        """The classifier as JSON may hold it."""
        return {
            "features_version": FEATURES_VERSION,
            "buckets": BUCKETS,
            "categories": list(self.categories),
            "bias": [round(float(b), 4) for b in self.bias],
            "rarity": {str(b): round(r, 4) for b, r in sorted(self.rarity.items())},
            "weights": {str(b): [round(float(x), 3) for x in w] for b, w in sorted(self.weights.items())},
        }

    @classmethod
    def read(cls, payload: dict[str, Any]) -> Classifier:
        """From `payload`.

        Raises:
            ValueError: it was made for other features than this version's.
        """
        if (payload["features_version"], payload["buckets"]) != (FEATURES_VERSION, BUCKETS):
            raise ValueError(
                "the text model is of another version of features: fit it again (`ratchet feedback fit`)"
            )
        return cls(
            tuple(payload["categories"]),
            np.asarray(payload["bias"], dtype=float),
            {int(b): float(r) for b, r in payload["rarity"].items()},
            {int(b): np.asarray(w, dtype=float) for b, w in payload["weights"].items()},
        )


def fit_classifier(
    texts: Sequence[str],
    soft: np.ndarray,
    categories: Sequence[str],
    seed: int,
    strength: float = 10.0,
    counts: np.ndarray | None = None,
) -> Classifier:
    """Multinomial logistic regression on `soft` labels (a row of probabilities a text), each text once a category.

    `counts` is how much each text counts, 1 without it: in the fit, and in how rare its words are.

    Raises:
        ValueError: fewer than two categories have a text.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    rows = [features_of(text) for text in texts]
    counts = np.ones(len(rows)) if counts is None else counts
    seen: dict[int, float] = {}
    for row, weight in zip(rows, counts.tolist(), strict=True):
        for bucket in row:
            seen[bucket] = seen.get(bucket, 0.0) + weight
    whole = float(counts.sum())
    rarity = {b: 1.0 + math.log((1 + whole) / (1 + n)) for b, n in seen.items()}
    data, at, columns = [], [0], []
    for row in rows:
        weighted = {b: w * rarity[b] for b, w in row.items()}
        norm = math.sqrt(sum(w * w for w in weighted.values())) or 1.0
        data += [w / norm for w in weighted.values()]
        columns += list(weighted)
        at.append(len(data))
    matrix = csr_matrix((data, columns, at), shape=(len(rows), BUCKETS))
    which, labels = np.nonzero(soft > 0.05)
    if len(set(labels.tolist())) < 2:
        raise ValueError("the texts are about one category only: there is nothing to learn")
    fitted = LogisticRegression(C=strength, max_iter=400, random_state=seed)
    fitted.fit(matrix[which], labels, sample_weight=soft[which, labels] * counts[which])
    coefficients, bias = _all_classes(fitted, len(categories))
    weights = {
        b: coefficients[:, b].copy() for b in sorted(seen) if np.abs(coefficients[:, b]).max() >= _SMALLEST
    }
    made = Classifier(tuple(categories), bias, {b: rarity[b] for b in sorted(seen)}, weights)
    return Classifier.read(made.payload())  # what is kept is rounded: so is what is used


def _all_classes(fitted: Any, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and bias for every category; one that no text was about is never chosen."""
    coefficients, bias = np.zeros((kinds, BUCKETS)), np.full(kinds, -20.0)
    if len(fitted.classes_) == 2:
        coefficients[fitted.classes_[1]], bias[fitted.classes_[1]] = fitted.coef_[0], fitted.intercept_[0]
        bias[fitted.classes_[0]] = 0.0
    else:
        coefficients[fitted.classes_], bias[fitted.classes_] = fitted.coef_, fitted.intercept_
    return coefficients, bias
