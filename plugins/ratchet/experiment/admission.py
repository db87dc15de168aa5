"""Which cohorts a challenger may serve: those that were judged and found not worse, named one by one.

A unit is admitted when each of its cohort values is named; a value that nobody judged, that is new, or that is
missing is not. Only a recorded decision ever adds a value. The same rule is given to flagd as targeting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
#: Arm of the units that the champion (or the version before it) keeps because of their cohort.
EXCLUDED = "excluded"


@dataclass(frozen=True)
class Admission:
    """Admitted values by dimension, and why each value that is known and not admitted is left out.

    `since` is the first departure date on which all units are served by it.
    """

    by_dimension: tuple[tuple[str, tuple[str, ...]], ...]
    excluded: tuple[tuple[str, str], ...] = ()
    since: date | None = None

    @classmethod
    def of(
        cls,
        values: Mapping[str, Iterable[str]],
        excluded: Mapping[str, str] | None = None,
        since: date | None = None,
    ) -> Admission:
        """From mappings; values are put in order."""
        return cls(
            tuple((dimension, tuple(sorted(set(own)))) for dimension, own in values.items()),
            tuple(sorted((excluded or {}).items())),
            since,
        )

    @property
    def is_possible(self) -> bool:
        """Whether a unit can be admitted at all: every dimension has a value."""
        return bool(self.by_dimension) and all(own for _, own in self.by_dimension)

    def allows(self, dimension: str, value: str) -> bool:
        """Whether this value is admitted; a dimension that is not judged admits everything."""
        return next((value in own for name, own in self.by_dimension if name == dimension), True)

    def admits(self, attributes: Mapping[str, Sequence[Any]]) -> Mask:
        """Which units are admitted, from their values by dimension.

        Raises:
            KeyError: a judged dimension is not among the attributes.
        """
        masks = [
            np.array([isinstance(value, str) and value in set(own) for value in attributes[name]], dtype=bool)
            for name, own in self.by_dimension
        ]
        return np.logical_and.reduce(masks)

    def rule(self) -> dict[str, Any]:
        """The same as a JsonLogic condition on the evaluation context's attributes."""
        return {"and": [{"in": [{"var": name}, list(own)]} for name, own in self.by_dimension]}

    def without(self, names: Mapping[str, str]) -> Admission:
        """Narrowed by cohorts, `dimension=value` -> why."""
        values = {
            name: [value for value in own if f"{name}={value}" not in names]
            for name, own in self.by_dimension
        }
        return Admission.of(values, {**dict(self.excluded), **names}, self.since)

    def released(self, cohort: str, since: date) -> Admission:
        """With one excluded cohort admitted again; itself when the cohort is not excluded."""
        left = dict(self.excluded)
        if left.pop(cohort, None) is None:
            return self
        dimension, _, value = cohort.partition("=")
        values = {name: [*own, value] if name == dimension else own for name, own in self.by_dimension}
        return Admission.of(values, left, since)

    def to_json(self) -> dict[str, Any]:
        """Plain types; `from_json` gives an equal one."""
        return {
            "admitted": {name: list(own) for name, own in self.by_dimension},
            "excluded": dict(self.excluded),
            "since": None if self.since is None else self.since.isoformat(),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Admission:
        """The admission that `to_json` wrote.

        Raises:
            KeyError, ValueError: a key is missing, or the date is malformed.
        """
        since = content.get("since")
        return cls.of(
            content["admitted"], content["excluded"], None if since is None else date.fromisoformat(since)
        )


def first_admission(
    gates: Iterable[Mapping[str, Any]], dimensions: Sequence[str], declared: Mapping[str, Sequence[str]]
) -> Admission:
    """What a candidate's evaluation lets it serve: the cohorts that its gates judged, alone or in a judged pool.

    `declared` are the values that the loop file knows; each that was not judged is left out with the reason.
    """
    judged: dict[str, list[str]] = {dimension: [] for dimension in dimensions}
    why: dict[str, str] = {}
    for gate in gates:
        dimension, _, value = str(gate["name"]).removeprefix("cohort:").partition("=")
        if not str(gate["name"]).startswith("cohort:") or dimension not in judged or not value:
            continue
        told = gate["evidence"]
        names = told.get("pooled") or [value]
        if told.get("state") == "not worse":
            judged[dimension] += names
            continue
        for name in names:
            why[f"{dimension}={name}"] = (
                f"{told.get('state')} offline: {told.get('units')} units, {told.get('clusters')} clusters"
            )
    for dimension in dimensions:
        for value in declared.get(dimension, ()):
            if value not in judged[dimension]:
                why.setdefault(f"{dimension}={value}", "not enough evidence offline: no unit")
    return Admission.of(judged, why)
