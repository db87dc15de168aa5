"""Which parts of a loop file judge a candidate: what a record keeps so that the verdict can be judged again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from ratchet.loop import Loop

PARTS = ("metrics", "cohorts", "gates", "training", "features")


def terms_of_evaluation(loop: Loop) -> dict[str, Any]:
    """The parts that `judge` reads, as plain types.

    Categories are kept as pairs: their order is the contract's, and a record sorts the keys of a mapping.
    """
    terms = loop.model_dump(mode="json", include=set(PARTS))
    terms["features"]["categorical"] = [list(pair) for pair in terms["features"]["categorical"].items()]
    return terms


def loop_with(terms: Mapping[str, Any]) -> Loop:
    """A loop that has these parts and nothing else: what reads another part of it fails.

    Raises:
        ValueError: a part is missing, or not valid.
    """
    parts: dict[str, Any] = {}
    for name in PARTS:
        if name not in terms:
            raise ValueError(f"the terms have no {name}")
        value = terms[name]
        if name == "features":
            value = {**value, "categorical": dict(value["categorical"])}
        declared: Any = Loop.model_fields[name].annotation
        parts[name] = TypeAdapter(declared).validate_python(value)
    return Loop.model_construct(set(parts), **parts)
