"""How far annotators agree, whom they confuse with whom, and whether one of them changes over time.

Krippendorff (2019), Content Analysis, chapter 12: nominal alpha, with an interval that leaves out one item at a time.
Everything says how many labels it rests on, and is absent where they are too few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ratchet.annotation.labels import Label, Resolved, by_item

_RESAMPLES = 500
#: Items on which somebody said another category than the commonest, or alpha has no interval.
_LEAST_OTHERS = 3
#: Labels of one annotator in each half of their time.
LEAST_IN_HALF = 20


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval over `items`; None with a `reason` where it can't be told."""

    value: float | None
    low: float | None
    high: float | None
    items: int
    reason: str = ""


@dataclass(frozen=True)
class Annotator:
    """One annotator's labels: how often others said the same, and what they said where the item is settled.

    `agreement`: mean share of the others' labels on an item that equal theirs. `confusion`: (settled category, their
    label) -> items; their own label took part in settling. `drift`: agreement in the later half of their labels less
    the earlier half; `is_drifting` when its interval, widened for the number of annotators, leaves out 0.
    """

    name: str
    labels: int
    agreement: Measured
    confusion: Mapping[tuple[str, str], int]
    drift: Measured
    is_drifting: bool


def independent(labels: Sequence[Label], adjudicators: Sequence[str]) -> list[Label]:
    """The labels of those who did not see what others said: an adjudicator's word is no second opinion."""
    return [label for label in labels if label.annotator not in adjudicators]


def alpha(labels: Sequence[Label], min_items: int) -> Measured:
    """Krippendorff's alpha of `labels` (one an item and annotator); 1 is agreement, 0 what chance gives."""
    pairable = [given for given in by_item(labels).values() if len(given) > 1]
    kinds = sorted({label.category for given in pairable for label in given})
    counts = np.array([[sum(x.category == k for x in given) for k in kinds] for given in pairable])
    if len(pairable) < min_items:
        return Measured(
            None,
            None,
            None,
            len(pairable),
            f"{len(pairable)} items have two labels or more; {min_items} needed",
        )
    value = _alpha(counts)
    if value is None:
        return Measured(
            None, None, None, len(pairable), "every label is of one category: agreement means nothing"
        )
    commonest = counts[:, int(counts.sum(axis=0).argmax())]
    if int((commonest < counts.sum(axis=1)).sum()) < _LEAST_OTHERS:
        return Measured(
            None, None, None, len(pairable), "nearly every label is of one category: no interval can be told"
        )
    low, high = _interval(counts)
    return Measured(value, low, high, len(pairable))


def _alpha(counts: np.ndarray) -> float | None:
    import krippendorff

    used = counts[:, counts.sum(axis=0) > 0]
    if used.shape[1] < 2:
        return None
    return float(krippendorff.alpha(value_counts=used, level_of_measurement="nominal"))


def _interval(counts: np.ndarray) -> tuple[float, float]:
    """95 %, with Student's t, from alpha without each item in turn (jackknife; Efron and Stein 1981, Annals of
    Statistics 9:586-596).

    One item more is put in, on which two differ, as Agresti and Coull (1998, American Statistician 52:119-126) do for a
    proportion: where nobody differed yet, nothing varies, and resampling would call that certain. `make bench-feedback`
    measures how often it covers.
    """
    from scipy.stats import t

    odd = np.zeros((1, counts.shape[1]), dtype=counts.dtype)
    odd[0, np.argsort(-counts.sum(axis=0), kind="stable")[:2]] = 1
    limits = []
    for table in (counts, np.vstack([counts, odd])):
        without, n = _alpha_without_each(table), len(table)
        error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
        reach = float(t.ppf(0.975, n - 1)) * error
        whole = _alpha(table)
        limits.append((float(whole or 0.0) - reach, float(whole or 0.0) + reach))
    return limits[1][0], min(1.0, max(high for _, high in limits))


def _alpha_without_each(counts: np.ndarray) -> np.ndarray:
    """Nominal alpha without the first item, without the second, ...: one less disagreement by what chance gives."""
    labels, of_kind = counts.sum(axis=1), counts.sum(axis=0)
    same = (counts * (counts - 1)).sum(axis=1) / (labels - 1)
    left, left_of_kind = labels.sum() - labels, of_kind - counts
    by_chance = 1 - (left_of_kind * (left_of_kind - 1)).sum(axis=1) / (left * (left - 1))
    return np.asarray(1 - (1 - (same.sum() - same) / left) / by_chance)


def annotators(
    labels: Sequence[Label], resolved: Sequence[Resolved], adjudicators: Sequence[str], seed: int
) -> list[Annotator]:
    """What can be said of each annotator, by name."""
    settled = {one.feedback_id: one.category for one in resolved if one.category is not None}
    peers = by_item(independent(labels, adjudicators))
    names = sorted({label.annotator for label in labels})
    plain = [name for name in names if name not in adjudicators]
    found = []
    for name in names:
        own = sorted(
            (label for label in labels if label.annotator == name),
            key=lambda one: (one.event_at, one.feedback_id),
        )
        shares = [
            sum(o.category == label.category for o in others) / len(others)
            for label in own
            if name not in adjudicators
            and (others := [o for o in peers.get(label.feedback_id, []) if o.annotator != name])
        ]
        confusion = Counter(
            (settled[label.feedback_id], label.category) for label in own if label.feedback_id in settled
        )
        drift = _drift(np.array(shares), seed, max(len(plain), 1))
        found.append(
            Annotator(
                name,
                len(own),
                _mean(np.array(shares), seed),
                dict(sorted(confusion.items())),
                drift,
                drift.low is not None and drift.high is not None and not drift.low <= 0 <= drift.high,
            )
        )
    return found


def _mean(shares: np.ndarray, seed: int) -> Measured:
    if len(shares) < LEAST_IN_HALF:
        return Measured(
            None, None, None, len(shares), f"{len(shares)} items that others labelled; {LEAST_IN_HALF} needed"
        )
    low, high = np.quantile(_resampled(shares, np.random.default_rng(seed)), [0.025, 0.975])
    return Measured(float(shares.mean()), float(low), float(high), len(shares))


def _drift(shares: np.ndarray, seed: int, comparisons: int) -> Measured:
    early, late = np.array_split(shares, 2)
    if len(late) < LEAST_IN_HALF:
        return Measured(
            None,
            None,
            None,
            len(shares),
            f"{len(late)} items in the later half; {LEAST_IN_HALF} needed in each",
        )
    rng = np.random.default_rng(seed)
    drawn = _resampled(late, rng) - _resampled(early, rng)
    tail = 0.025 / comparisons
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Measured(float(late.mean() - early.mean()), float(low), float(high), len(shares))


def _resampled(shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    # Yes or no: the posterior under Jeffreys' prior, which has a width also where all agree.
    a = shares.sum() + 0.5
    b = len(shares) - shares.sum() + 0.5
    if np.isin(shares, (0.0, 1.0)).all():
        return np.asarray(rng.beta(a, b, 4 * _RESAMPLES))
    at = rng.integers(0, len(shares), (4 * _RESAMPLES, len(shares)))
    return np.asarray(shares[at].mean(axis=1))


def is_usable(found: Measured, min_alpha: float) -> bool:
    """Whether labels that agree so far may be used: the lower limit counts, and what can't be told is a no."""
    return found.low is not None and found.low >= min_alpha
