"""The part of a loop file that says what users' words are about. docs/feedback.md explains the keys."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ratchet.loop_terms import Part, Share

Language = Literal["en", "de", "fr", "es"]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
ANNOTATOR = re.compile(r"\w[\w .@+-]{0,59}")


class Category(Part):
    """One thing that feedback may be about.

    `maps_to`: `output` (what the model said was wrong), `feature` (an input of it was) or `not_the_model`; with
    `names`, which outputs or features. `keywords` are plain phrases by language, found at the start of a word without
    regard to case and accents; a `*` stands for up to five words. `hints` are weaker ones. `expects` is what a better
    model should do to it (without one: `down` where it is about an output), `claims` the outcome that it asserts.
    """

    title: str = Field(min_length=3)
    maps_to: Literal["output", "feature", "not_the_model"]
    names: tuple[str, ...] = ()
    severity: int = Field(ge=1, le=5)
    expects: Literal["down", "none"] | None = None
    claims: Literal["positive", "negative"] | None = None
    keywords: dict[Language, tuple[str, ...]] = Field(default={})
    hints: dict[Language, tuple[str, ...]] = Field(default={})

    @property
    def expected(self) -> Literal["down", "none"]:
        return self.expects or ("down" if self.maps_to == "output" else "none")


class Taxonomy(Part):
    """The categories; `version` is the rubric's, and changes whenever a label would mean something else."""

    version: str = Field(min_length=1, max_length=20)
    categories: dict[str, Category] = Field(min_length=2)

    @field_validator("categories")
    @classmethod
    def _names(cls, value: dict[str, Category]) -> dict[str, Category]:
        wrong = sorted(name for name in value if not _NAME.fullmatch(name))
        if wrong:
            raise ValueError(f"category {', '.join(wrong)}: use lower-case letters, digits and underscores")
        return value

    @model_validator(mode="after")
    def _has_other(self) -> Taxonomy:
        if "other" not in self.categories:
            raise ValueError("categories lacks other: what fits nowhere needs a place")
        return self


class TextModel(Part):
    """A classifier of texts: a file beside the loop file, and what its content must hash to."""

    file: str = Field(pattern=r"^[a-z0-9_.-]+\.json$")
    sha256: str

    @field_validator("sha256")
    @classmethod
    def _hash(cls, value: str) -> str:
        if not _SHA256.fullmatch(value):
            raise ValueError("give the 64 hex digits that `ratchet feedback fit` prints")
        return value


class QueueWeights(Part):
    """What makes an answer worth a label: the machine's doubt, voices that differ, what is at stake."""

    uncertainty: float = Field(default=1.0, ge=0)
    disagreement: float = Field(default=1.0, ge=0)
    impact: float = Field(default=0.5, ge=0)

    @model_validator(mode="after")
    def _some(self) -> QueueWeights:
        if not self.uncertainty + self.disagreement + self.impact > 0:
            raise ValueError("weights are all 0: give at least one of uncertainty, disagreement, impact")
        return self


class Annotation(Part):
    """How people label feedback and what their labels amount to (docs/annotation.md).

    `rubric_version`: left out, the taxonomy's. `annotators`: who may label on the page; none named, whoever may answer
    approvals. `min_alpha`: labels are used only if the lower limit of Krippendorff's alpha reaches it.
    """

    rubric_version: str | None = Field(default=None, min_length=1, max_length=20)
    labels_per_item: int = Field(default=2, ge=1, le=10)
    conflict: Literal["majority", "priority", "adjudicate"] = "majority"
    priority: tuple[str, ...] = ()
    adjudicators: tuple[str, ...] = ()
    annotators: tuple[str, ...] = ()
    queue_size: int = Field(default=50, ge=1, le=1000)
    queue_days: int = Field(default=28, ge=1, le=366)
    weights: QueueWeights = QueueWeights()
    min_alpha: float = Field(default=0.667, ge=0, lt=1)
    min_items: int = Field(default=30, ge=10)

    @model_validator(mode="after")
    def _settles(self) -> Annotation:
        if self.conflict == "priority" and not self.priority:
            raise ValueError(
                "conflict is priority, but priority names nobody: list annotators, first word first"
            )
        if self.conflict == "adjudicate" and not self.adjudicators:
            raise ValueError("conflict is adjudicate, but adjudicators names nobody")
        for people in (self.priority, self.adjudicators, self.annotators):
            if len(set(people)) < len(people) or any(not ANNOTATOR.fullmatch(name) for name in people):
                raise ValueError(
                    "name each annotator once, in 1 to 60 letters, digits and . _ @ + - or blanks"
                )
        return self


class RowWeights(Part):
    """What weighs more in training: a row weighs 1 + `boost` x its `feature`, at most `at_most`; 1 where it is missing.

    A feature is known before the outcome, so that scores stay calibrated: weighing rows by complaints about
    themselves would favour one outcome.
    """

    feature: str
    boost: float = Field(gt=0, le=10)
    at_most: float = Field(default=3.0, gt=1, le=10)


class ClaimedLabels(Part):
    """Labels from what users assert of units that nobody reported (categories with `claims`): learnt, never judged by.

    The weight of their answers must be `min_answers`, of which one side has the share `min_agreement`; such a row
    weighs `weight` in training.
    """

    min_answers: int = Field(default=3, ge=2)
    min_agreement: Share = Field(default=0.8, gt=0.5, le=1)
    weight: Share = Field(default=0.5, gt=0, le=1)


class Learn(Part):
    """What the model takes from feedback; each is judged with and without it (docs/feedback.md).

    `complaints`: categories that features count, over answers of the last `days` about units that are alike in the
    columns `by` (of the loop's intermediate table of scheduled units); over fewer than `min_answers` there is no share.
    """

    complaints: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    days: int = Field(default=28, ge=1)
    min_answers: int = Field(default=10, ge=1)
    weights: RowWeights | None = None
    labels: ClaimedLabels | None = None


class Feedback(Part):
    taxonomy: Taxonomy | None = None
    model: TextModel | None = None
    annotation: Annotation = Annotation()
    learn: Learn = Learn()
    min_confidence: Share = Field(default=0.5, ge=0, le=1)  # below it a text has no category

    @model_validator(mode="after")
    def _learns_what_there_is(self) -> Feedback:
        known = {} if self.taxonomy is None else self.taxonomy.categories
        if strange := sorted(set(self.learn.complaints) - set(known)):
            raise ValueError(
                f"learn.complaints names {', '.join(strange)}: name categories of taxonomy.categories"
            )
        if self.learn.complaints and not self.learn.by:
            raise ValueError(
                "learn.by names no column: say what units must have in common for an answer to count"
            )
        sides = {category.claims for category in known.values()} - {None}
        if self.learn.labels is not None and len(sides) < 2:
            raise ValueError(
                "learn.labels needs categories with claims: positive and with claims: negative: people who say that it "
                "did not happen must be heard too"
            )
        return self

    def rubric(self) -> str | None:
        """The version of the rubric that labels are given under; None without a taxonomy."""
        return self.annotation.rubric_version or (None if self.taxonomy is None else self.taxonomy.version)
