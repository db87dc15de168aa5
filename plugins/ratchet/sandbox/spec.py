"""What an experiment in the sandbox asks: a snapshot, and candidates that differ from the loop file's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ratchet.loop import Loop
from ratchet.training.fit import TUNABLE

#: Name of the loop file's own recipe, which every experiment tries as well: the others are compared with it.
DECLARED = "declared"
MOST = 40  # candidates of one experiment


class SpecError(ValueError):
    """The experiment asks for something that there is not; the message names file, key and remedy."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CandidateSpec(_Part):
    """One recipe: what differs from the loop file's."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    params: dict[str, float | int] = {}
    features: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    seed: int | None = Field(default=None, ge=0)
    search_trials: int = Field(default=0, ge=0, le=100)

    @model_validator(mode="after")
    def _one_way(self) -> CandidateSpec:
        if self.features and self.drop:
            raise ValueError("give features (all it has) or drop (what it has not), not both")
        if self.name == DECLARED:
            raise ValueError(f"{DECLARED} is the loop file's own recipe, which is always tried")
        unknown = sorted(set(self.params) - TUNABLE)
        if unknown:
            raise ValueError(f"params: {', '.join(unknown)}; known are {', '.join(sorted(TUNABLE))}")
        return self


class Spec(_Part):
    """An experiment: `snapshot` is `latest`, or the beginning of an id."""

    snapshot: str = Field(default="latest", pattern=r"^(latest|[0-9a-f]{4,64})$")
    candidates: tuple[CandidateSpec, ...] = Field(min_length=1, max_length=MOST)

    @field_validator("candidates")
    @classmethod
    def _distinct(cls, value: tuple[CandidateSpec, ...]) -> tuple[CandidateSpec, ...]:
        names = [candidate.name for candidate in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is there twice: give each candidate a name of its own")
        return value


def spec_of(content: Any, loop: Loop, where: str = "experiment") -> Spec:
    """The experiment that plain data ask for, its features compared with the loop's.

    Raises:
        SpecError: an unknown key, parameter or feature, a name twice, or no candidate.
    """
    if not isinstance(content, Mapping):
        raise SpecError(f"{where}: an experiment is a mapping of keys; this is {type(content).__name__}")
    try:
        spec = Spec.model_validate(content)
    except ValidationError as error:
        lines = [f"{where}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SpecError("\n".join(lines)) from None
    for candidate in spec.candidates:
        unknown = sorted(set(candidate.features + candidate.drop) - set(loop.features.columns))
        if unknown:
            raise SpecError(
                f"{where}: candidate {candidate.name}: {', '.join(unknown)} is no feature of loop {loop.loop}: "
                f"it has {', '.join(loop.features.columns)}"
            )
        if not _kept(candidate, loop):
            raise SpecError(f"{where}: candidate {candidate.name} drops every feature")
    return spec


def load_spec(path: Path, loop: Loop) -> Spec:
    """The experiment of a YAML file.

    Raises:
        SpecError: no such file, not YAML, or as `spec_of`.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: not YAML: {getattr(error, 'problem', error)}") from None
    return spec_of(content, loop, str(path))


def _kept(candidate: CandidateSpec, loop: Loop) -> list[str]:
    wanted = set(candidate.features) or set(loop.features.columns) - set(candidate.drop)
    return [name for name in loop.features.columns if name in wanted]


def has_all_features(candidate: CandidateSpec, loop: Loop) -> bool:
    """Whether it has the loop's features: only then may it be scored beside the champion on one matrix."""
    return _kept(candidate, loop) == list(loop.features.columns)


def variant(loop: Loop, candidate: CandidateSpec) -> Loop:
    """`loop` with the candidate's recipe. Rules about features that it lacks go with them."""
    kept = set(_kept(candidate, loop))
    training, gates = loop.training, loop.gates.evaluation
    search = training.search.model_copy(update={"trials": candidate.search_trials})
    changed: dict[str, Any] = {"params": {**training.params, **candidate.params}, "search": search}
    if candidate.seed is not None:
        changed["seed"] = candidate.seed
    features = {
        "numeric": type(loop.features.numeric)(name for name in loop.features.numeric if name in kept),
        "categorical": {name: known for name, known in loop.features.categorical.items() if name in kept},
    }
    mutations = {
        part: {name: rule for name, rule in getattr(gates.mutations, part).items() if name in kept}
        for part in ("invariant", "monotone")
    }
    groups = {
        group: tuple(name for name in names if name in kept) for group, names in gates.ablation.groups.items()
    }
    ablation = gates.ablation.model_copy(
        update={"groups": {g: names for g, names in groups.items() if names}}
    )
    evaluation = gates.model_copy(
        update={"mutations": gates.mutations.model_copy(update=mutations), "ablation": ablation}
    )
    return loop.model_copy(
        update={
            "training": training.model_copy(update=changed),
            "features": loop.features.model_copy(update=features),
            "gates": loop.gates.model_copy(update={"evaluation": evaluation}),
        }
    )
