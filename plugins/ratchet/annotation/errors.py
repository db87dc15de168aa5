"""Labels that are probably wrong, by confident learning (Northcutt et al. 2021), with the library cleanlab.

Each text is judged by a classifier that was fitted on earlier labels only: blocks in the order of time, none judged by
what came after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ratchet.feedback.classifier import fit_classifier

_BLOCKS = 4
LEAST_JUDGED = 40


@dataclass(frozen=True)
class Labelled:
    """A settled text; `at` orders texts in time."""

    feedback_id: str
    text: str
    category: str
    at: str


@dataclass(frozen=True)
class Suspect:
    """A label that the texts before it speak against, and what they speak for."""

    feedback_id: str
    category: str
    rather: str
    quality: float


@dataclass(frozen=True)
class Suspects:
    """The suspects, worst first, among `judged` of `items` labels; none with a `reason` where too few were judged."""

    found: tuple[Suspect, ...]
    items: int
    judged: int
    reason: str = ""


def suspects(items: Sequence[Labelled], seed: int) -> Suspects:
    """Labels that are probably wrong. The earliest block and categories that no earlier text has are not judged."""
    ordered = sorted(items, key=lambda one: (one.at, one.feedback_id))
    kinds = sorted({one.category for one in ordered})
    place = {kind: n for n, kind in enumerate(kinds)}
    judged: list[Labelled] = []
    rows: list[np.ndarray] = []
    blocks = [block for block in np.array_split(np.arange(len(ordered)), _BLOCKS) if len(block)]
    for block in blocks[1:]:
        before = ordered[: int(block[0])]
        known = {one.category for one in before}
        if len(known) < 2:
            continue
        exact = np.zeros((len(before), len(kinds)))
        exact[np.arange(len(before)), [place[one.category] for one in before]] = 1.0
        model = fit_classifier([one.text for one in before], exact, kinds, seed)
        for one in (ordered[int(n)] for n in block):
            odds = model.probabilities(one.text)
            if odds is not None and one.category in known:
                judged.append(one)
                rows.append(odds)
    if len(judged) < LEAST_JUDGED:
        return Suspects(
            (), len(ordered), len(judged), f"{len(judged)} labels could be judged; {LEAST_JUDGED} needed"
        )
    return Suspects(_found(judged, np.array(rows), kinds), len(ordered), len(judged))


def _found(judged: Sequence[Labelled], odds: np.ndarray, kinds: Sequence[str]) -> tuple[Suspect, ...]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    # cleanlab wants every class among the labels.
    used = [n for n, kind in enumerate(kinds) if any(one.category == kind for one in judged)]
    if len(used) < 2:
        return ()
    odds = odds[:, used] / odds[:, used].sum(axis=1, keepdims=True)
    names = [kinds[n] for n in used]
    labels = np.array([names.index(one.category) for one in judged])
    is_issue = find_label_issues(labels, odds, n_jobs=1)
    quality = [float(score) for score in get_label_quality_scores(labels, odds)]
    wrong = [n for n in range(len(judged)) if is_issue[n]]
    return tuple(
        Suspect(judged[n].feedback_id, judged[n].category, names[int(odds[n].argmax())], round(quality[n], 4))
        for n in sorted(wrong, key=lambda n: (quality[n], judged[n].feedback_id))
    )
