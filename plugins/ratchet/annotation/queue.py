"""Which answers people should label next: where the machine is unsure, where opinions differ, where it matters.

Active learning by uncertainty sampling and query by committee (Settles 2009, Active Learning Literature Survey), with
the weight of what is at stake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ratchet.loop_feedback import Annotation, Taxonomy


@dataclass(frozen=True)
class Item:
    """An enriched answer with what each voice says that it is about; None where a voice says nothing.

    `weak` are the labelling functions without the person's own choice, `said` is that choice, `given` what annotators
    said so far. Text is redacted.
    """

    feedback_id: str
    text: str
    language: str
    duplicate_key: str
    category: str
    confidence: float
    weak: str | None = None
    classifier: str | None = None
    said: str | None = None
    given: Mapping[str, str] | None = None
    is_simulated: bool = False

    @property
    def opinions(self) -> list[str]:
        """Every voice that said something."""
        voices = [self.weak, self.classifier, self.said, *(self.given or {}).values()]
        return [voice for voice in voices if voice is not None]


@dataclass(frozen=True)
class Queued:
    """An item with its place's reasons, each from 0 to 1; `score` is their weighted mean."""

    item: Item
    score: float
    uncertainty: float
    disagreement: float
    impact: float


def category_impact(taxonomy: Taxonomy, share_of_users: Mapping[str, float]) -> dict[str, float]:
    """Severity times the share of users who speak of a category; the largest is 1."""
    raw = {
        name: category.severity * share_of_users.get(name, 0.0)
        for name, category in taxonomy.categories.items()
    }
    top = max(raw.values())
    return {name: value / top if top > 0 else 0.0 for name, value in raw.items()}


def disagreement(opinions: Sequence[str]) -> float:
    """The share of pairs of opinions that differ; 0 with fewer than two."""
    pairs = list(combinations(opinions, 2))
    return sum(a != b for a, b in pairs) / len(pairs) if pairs else 0.0


def queue(items: Sequence[Item], impact: Mapping[str, float], terms: Annotation) -> list[Queued]:
    """The items that deserve a label most, at most `queue_size`; texts that say the same words once.

    Equal scores: the smaller id first, so that the same rows give the same queue.
    """
    weights = terms.weights
    total = weights.uncertainty + weights.disagreement + weights.impact
    found = []
    for item in items:
        unsure, differ = 1.0 - item.confidence, disagreement(item.opinions)
        stake = max((impact.get(name, 0.0) for name in (item.category, *item.opinions)), default=0.0)
        score = weights.uncertainty * unsure + weights.disagreement * differ + weights.impact * stake
        found.append(
            Queued(item, round(score / total, 6), round(unsure, 4), round(differ, 4), round(stake, 4))
        )
    found.sort(key=lambda one: (-one.score, one.item.feedback_id))
    seen: Counter[str] = Counter()
    kept = []
    for one in found:
        seen[one.item.duplicate_key] += 1
        if seen[one.item.duplicate_key] == 1:
            kept.append(one)
    return kept[: terms.queue_size]
