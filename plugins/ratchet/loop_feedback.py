"""The part of a loop file that says what users' words are about. docs/feedback.md explains the keys."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ratchet.loop_terms import Part, Share

Language = Literal["en", "de", "fr", "es"]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Category(Part):
    """One thing that feedback may be about.

    `maps_to`: `output` (what the model said was wrong), `feature` (an input of it was) or `not_the_model`; with
    `names`, which outputs or features. `keywords` are plain phrases by language, found at the start of a word without
    regard to case and accents; a `*` stands for up to five words. `hints` are weaker ones.
    """

    title: str = Field(min_length=3)
    maps_to: Literal["output", "feature", "not_the_model"]
    names: tuple[str, ...] = ()
    severity: int = Field(ge=1, le=5)
    keywords: dict[Language, tuple[str, ...]] = Field(default={})
    hints: dict[Language, tuple[str, ...]] = Field(default={})


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


class Feedback(Part):
    taxonomy: Taxonomy | None = None
    model: TextModel | None = None
    min_confidence: Share = Field(default=0.5, ge=0, le=1)  # below it a text has no category
