"""Votes of labelling functions -> how likely each category is, with the functions' accuracies learnt from agreement.

Dawid and Skene (1979), Maximum likelihood estimation of observer error-rates using the EM algorithm, in the form with
one accuracy a function; the use of it for programmed labels is Ratner et al. (2017), Snorkel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ratchet.feedback.taxonomy import ABSTAIN

_ROUNDS = 50
# A function is right 8 times in 10 before anything is seen, and that weighs as much as 500 votes: where functions
# seldom meet on one text, agreement alone could call the right one wrong.
_PRIOR_RIGHT, _PRIOR_WRONG = 400.0, 100.0
_LEAST, _MOST = 0.3, 0.98


@dataclass(frozen=True)
class LabelModel:
    """`accuracy` of each labelling function, `prior` share of each category."""

    accuracy: tuple[float, ...]
    prior: tuple[float, ...]

    def posterior(self, votes: np.ndarray) -> np.ndarray:
        """The probabilities of the categories, a row a text; a text without a vote gets the prior."""
        kinds = len(self.prior)
        logs = np.tile(np.log(np.asarray(self.prior)), (len(votes), 1))
        for function, right in enumerate(self.accuracy):
            given = votes[:, function] != ABSTAIN
            logs[given] += np.log((1.0 - right) / (kinds - 1))
            logs[given, votes[given, function]] += np.log(right) - np.log((1.0 - right) / (kinds - 1))
        odds = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def uninformed(functions: int, kinds: int) -> LabelModel:
    """The model before anything was seen: a plain majority."""
    right = _PRIOR_RIGHT / (_PRIOR_RIGHT + _PRIOR_WRONG)
    return LabelModel((right,) * functions, (1.0 / kinds,) * kinds)


def fit_label_model(votes: np.ndarray, kinds: int, counts: np.ndarray | None = None) -> LabelModel:
    """Accuracies and shares by expectation maximisation; texts without a vote say nothing.

    `counts` is how much each text counts, 1 without it.

    Raises:
        ValueError: no text has a vote.
    """
    has_vote = (votes != ABSTAIN).any(axis=1)
    voted = votes[has_vote]
    if not len(voted):
        raise ValueError("no labelling function said anything about any text: add keywords to the taxonomy")
    counted = (np.ones(len(votes)) if counts is None else counts)[has_vote]
    model = uninformed(votes.shape[1], kinds)
    for _ in range(_ROUNDS):
        odds = model.posterior(voted) * counted[:, np.newaxis]
        prior = odds.sum(axis=0) + 1.0
        accuracy = []
        for function in range(votes.shape[1]):
            given = voted[:, function] != ABSTAIN
            right = float(odds[given, voted[given, function]].sum())
            accuracy.append(
                (right + _PRIOR_RIGHT) / (float(counted[given].sum()) + _PRIOR_RIGHT + _PRIOR_WRONG)
            )
        clipped = np.clip(accuracy, _LEAST, _MOST)
        model = LabelModel(tuple(map(float, clipped)), tuple(map(float, prior / prior.sum())))
    return model


def named(model: LabelModel, names: Sequence[str]) -> dict[str, float]:
    """The accuracy of each function by its name."""
    return {name: round(value, 4) for name, value in zip(names, model.accuracy, strict=True)}
