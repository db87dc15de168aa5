"""Candidates compared with a reference and with each other: paired by day, corrected for how many were tried.

Differences are of the same rows, errors over departure days. Trying many and reporting the best would find a
"better" one among equals; Holm's correction is over all candidates of the experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr

from ratchet.experiment.paired import Estimate, holm, plain, ratio_estimate

Told = Literal["better", "worse", "not told apart", "not comparable"]
#: Loss sums by day of a scorer, by the first day of each window that it was judged on.
Losses = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Compared:
    """The gain of `name` over `reference` per row, positive is better."""

    name: str
    reference: str
    gain: Estimate
    told: Told

    def to_json(self, alpha: float) -> dict[str, Any]:
        """Plain types for a record."""
        return {
            "name": self.name,
            "reference": self.reference,
            "told": self.told,
            "p_better": plain(float(ndtr(-self.gain.z))),
            **self.gain.evidence(alpha),
        }


def compared(
    rows: Mapping[str, Sequence[int]],
    candidates: Mapping[str, Losses],
    references: Mapping[str, Losses],
    alpha: float,
) -> list[Compared]:
    """Each candidate against each reference, and the candidates against each other.

    `rows` are the rows by day of each window. A pair is compared on the windows that both have; within a
    reference, and among the candidates, Holm's procedure keeps the error at `alpha` for each direction.
    """
    found: list[Compared] = []
    for reference, losses in references.items():
        others = {name: own for name, own in candidates.items() if name != reference}
        found += _family([(name, reference, own, losses) for name, own in others.items()], rows, alpha)
    pairs = [
        (one, other, candidates[one], candidates[other])
        for one, other in combinations(candidates, 2)
        if one not in references and other not in references
    ]
    return found + _family(pairs, rows, alpha)


def _family(
    pairs: Sequence[tuple[str, str, Losses, Losses]], rows: Mapping[str, Sequence[int]], alpha: float
) -> list[Compared]:
    gains = [_gain(rows, own, reference) for _, _, own, reference in pairs]
    better = holm([float(ndtr(-gain.z)) for gain in gains], alpha)
    worse = holm([float(ndtr(gain.z)) for gain in gains], alpha)
    answers: list[Compared] = []
    for (name, reference, *_), gain, is_better, is_worse in zip(pairs, gains, better, worse, strict=True):
        told: Told = "better" if is_better else "worse" if is_worse else "not told apart"
        answers.append(Compared(name, reference, gain, told if gain.is_usable else "not comparable"))
    return answers


def _gain(rows: Mapping[str, Sequence[int]], own: Losses, reference: Losses) -> Estimate:
    windows = [start for start in rows if start in own and start in reference]
    if not windows:
        return ratio_estimate([], [])
    differences = [np.subtract(reference[start], own[start]) for start in windows]
    return ratio_estimate(np.concatenate(differences), np.concatenate([rows[start] for start in windows]))
