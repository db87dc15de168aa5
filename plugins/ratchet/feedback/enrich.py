"""What a redacted text is about: language, sentiment, category, each with its source and the version that said so.

A pure function of the text, what came beside it, and an enricher. An enricher has a version; the version changes with
anything that could make it say something else, and never otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ratchet.feedback.classifier import FEATURES_VERSION, Classifier, fit_classifier
from ratchet.feedback.language import CANDIDATES, MIN_CONFIDENCE, language_of, without_placeholders
from ratchet.feedback.redact import REDACTION_VERSION
from ratchet.feedback.sentiment import LEXICON_VERSION, sentiment_of
from ratchet.feedback.taxonomy import ABSTAIN, Labellers, Spoken, plain
from ratchet.feedback.weak import LabelModel, fit_label_model, named, uninformed
from ratchet.loop_feedback import Feedback, Taxonomy

#: Another number whenever the code here, or in what it calls, says something else about any text.
CODE_VERSION = 1
UNSURE = "unsure"
#: What a category declares beyond which texts are about it: it changes no label, and so no version.
NOT_UNDERSTANDING = {"expects", "claims"}
#: A text that counts less teaches nothing: one copy of a campaign would already say what a new sentence is about.
LEAST_COUNT = 0.5
_LEAST_SHARE = 1e-6
_DIGITS = str.maketrans("0123456789", "          ")


@dataclass(frozen=True)
class Enriched:
    """What is known about a text. `category` is `unsure` below the loop file's confidence.

    `source`: `weak` (labelling functions), `classifier`, both as `weak+classifier`, `annotation` (people), or `none`.
    `duplicate_key` is equal for texts that differ in case, punctuation, numbers and redacted pieces only.
    """

    language: str
    sentiment: float | None
    category: str
    confidence: float
    source: str
    duplicate_key: str
    rubric_version: str
    enrichment_version: str


@dataclass(frozen=True)
class Enricher:
    """A taxonomy's labelling functions with their learnt accuracies, and a classifier if there is one."""

    taxonomy: Taxonomy
    labellers: Labellers
    label_model: LabelModel
    classifier: Classifier | None
    min_confidence: float
    version: str

    def enrich(self, text: str, rating: int | None = None, said: str | None = None) -> Enriched:
        """What `text`, already redacted, is about."""
        return next(self.enrich_all([text], [rating], [said]))

    def enrich_all(
        self, texts: Sequence[str], ratings: Sequence[int | None], said: Sequence[str | None]
    ) -> Iterator[Enriched]:
        """The same for many, in order."""
        spoken = []
        for text, rating, word in zip(texts, ratings, said, strict=True):
            language, _ = language_of(text)
            spoken.append(Spoken(text, language, sentiment_of(text, language), rating, word))
        votes = self.labellers.table(spoken)
        weak = self.label_model.posterior(votes)
        for one, vote, odds in zip(spoken, votes, weak, strict=True):
            yield self._one(one, bool((vote != ABSTAIN).any()), odds)

    def voices(
        self, texts: Sequence[str], ratings: Sequence[int | None]
    ) -> list[tuple[str | None, str | None]]:
        """What the labelling functions, without the person's own choice, and the classifier each say; None: nothing."""
        found = []
        for text, rating in zip(texts, ratings, strict=True):
            spoken = Spoken(text, language_of(text)[0], None, rating)
            votes = self.labellers.table([spoken])
            odds = self.label_model.posterior(votes)[0] if (votes != ABSTAIN).any() else None
            learnt = self.classifier.probabilities(text) if self.classifier is not None else None
            weak, clear = (
                None if one is None else self.labellers.categories[int(one.argmax())]
                for one in (odds, learnt)
            )
            found.append((weak, clear))
        return found

    def with_labels(self, label_set: str) -> Enricher:
        """The same as another version: the one whose rows say what people said where they did."""
        return replace(self, version=_digest([self.version, label_set])[:12])

    def _one(self, spoken: Spoken, has_vote: bool, odds: np.ndarray) -> Enriched:
        learnt = self.classifier.probabilities(spoken.text) if self.classifier is not None else None
        parts = [*([odds] if has_vote else []), *([learnt] if learnt is not None else [])]
        sources = [*(["weak"] if has_vote else []), *(["classifier"] if learnt is not None else [])]
        category, confidence = UNSURE, 0.0
        if parts:
            pooled = _pooled(parts)
            confidence = round(float(pooled.max()), 4)
            if confidence >= self.min_confidence:
                category = self.labellers.categories[int(pooled.argmax())]
        return Enriched(
            language=spoken.language,
            sentiment=spoken.sentiment,
            category=category,
            confidence=confidence,
            source="+".join(sources) or "none",
            duplicate_key=duplicate_key(spoken.text),
            rubric_version=self.taxonomy.version,
            enrichment_version=self.version,
        )


def _pooled(parts: list[np.ndarray]) -> np.ndarray:
    """Votes and classifier as one: a logarithmic pool in which the classifier, which learnt from votes, counts half."""
    logs = np.log(np.maximum(parts[0], _LEAST_SHARE))
    for learnt in parts[1:]:
        logs = logs + 0.5 * np.log(np.maximum(learnt, _LEAST_SHARE))
    odds = np.exp(logs - logs.max())
    return np.asarray(odds / odds.sum())


def duplicate_key(text: str) -> str:
    """16 hex digits, equal for texts that say the same words."""
    words = plain(without_placeholders(text)).translate(_DIGITS).split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def make_enricher(terms: Feedback, model: dict[str, Any] | None) -> Enricher:
    """The enricher of a loop file's terms; `model` is the content of the text model that they name, or None.

    Raises:
        ValueError: there is no taxonomy, or the model was made for another one or for other features.
    """
    if terms.taxonomy is None:
        raise ValueError("the loop file has no feedback.taxonomy: declare the categories first")
    labellers = Labellers(terms.taxonomy)
    label_model, classifier = uninformed(len(labellers.names), len(labellers.categories)), None
    if model is not None:
        kinds = tuple(model["classifier"]["categories"])
        if set(model["functions"]) != set(labellers.names) or kinds != labellers.categories:
            raise ValueError(
                f"the text model knows taxonomy {model['rubric_version']}, the loop file declares "
                f"{terms.taxonomy.version} with other categories or languages: fit it again (`ratchet feedback fit`)"
            )
        label_model = LabelModel(
            tuple(model["functions"][name] for name in labellers.names),
            tuple(model["prior"][name] for name in labellers.categories),
        )
        classifier = Classifier.read(model["classifier"])
    version = _digest(
        {
            "code": [CODE_VERSION, REDACTION_VERSION, LEXICON_VERSION, FEATURES_VERSION],
            "languages": [CANDIDATES, MIN_CONFIDENCE],
            "taxonomy": terms.taxonomy.model_dump(
                mode="json", exclude={"categories": {"__all__": NOT_UNDERSTANDING}}
            ),
            "min_confidence": terms.min_confidence,
            "model": model_sha256(model) if model is not None else None,
        }
    )[:12]
    return Enricher(terms.taxonomy, labellers, label_model, classifier, terms.min_confidence, version)


def model_sha256(model: dict[str, Any]) -> str:
    """What a loop file names a text model by."""
    return _digest(model)


def fit_text_model(
    taxonomy: Taxonomy,
    spoken: Sequence[Spoken],
    seed: int,
    about: dict[str, Any],
    gold: Sequence[str | None] = (),
    counts: Sequence[float] = (),
) -> dict[str, Any]:
    """A text model for `taxonomy` from texts: accuracies of the functions, then the classifier.

    `about` says what the texts were, for whoever reads the file. `gold` is what people settled on, a place a text,
    None where nobody did: there the classifier learns from it, elsewhere from the functions' votes. The functions'
    accuracies are learnt from agreement alone; the person's own choice counts as one vote among others. `counts` is how
    much each text counts (`ratchet.feedback.poisoning`), 1 without it; below `LEAST_COUNT` it is left out.

    Raises:
        ValueError: the texts do not suffice.
    """
    counted = np.asarray(counts if len(counts) else np.ones(len(spoken)), dtype=float)
    if counted.shape != (len(spoken),) or not ((counted >= 0) & (counted <= 1)).all():
        raise ValueError(f"{len(counted)} weights from 0 to 1 are needed for {len(spoken)} texts")
    kept = np.flatnonzero(counted >= LEAST_COUNT).tolist()
    spoken, counted = [spoken[at] for at in kept], counted[kept]
    gold = [gold[at] for at in kept] if gold else gold
    labellers = Labellers(taxonomy)
    votes = labellers.table(spoken)
    label_model = fit_label_model(votes, len(labellers.categories), counted)
    voted = (votes != ABSTAIN).any(axis=1)
    soft = label_model.posterior(votes)
    settled = 0
    for at, kind in enumerate(gold):
        if kind is not None:
            soft[at] = np.eye(len(labellers.categories))[labellers.categories.index(kind)]
            settled += 1
    learns = voted | np.array([kind is not None for kind in gold] or [False] * len(spoken), dtype=bool)
    soft, texts = soft[learns], [one.text for one, has in zip(spoken, learns, strict=True) if has]
    classifier = fit_classifier(texts, soft, labellers.categories, seed, counts=counted[learns])
    return {
        "format": 1,
        "rubric_version": taxonomy.version,
        "about": {
            **about,
            "texts": len(spoken),
            "texts_with_a_vote": int(voted.sum()),
            **({"texts_labelled_by_people": settled} if settled else {}),
        },
        "functions": named(label_model, labellers.names),
        "prior": {
            name: round(share, 4) for name, share in zip(labellers.categories, label_model.prior, strict=True)
        },
        "classifier": classifier.payload(),
    }
