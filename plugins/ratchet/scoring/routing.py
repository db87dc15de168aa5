"""The routing file: which model serves whom, in flagd's format, written atomically.

Any serving system with an OpenFeature SDK reads the same file; batch scoring uses `Routing` and the same
hash (`ratchet.experiment.assignment`). The flag key is the experiment's id, so each rollout draws anew, and
the variants stand in the order challenger, rest, control: a growing share never moves a unit from one
experimental arm to the other. In a holdback the previous champion serves control, the new one both others. Units
of cohorts that a loop excludes are drawn into no arm: conditions on their attributes come before the draw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.experiment.admission import EXCLUDED, Admission
from ratchet.experiment.assignment import arm_weights, assign
from ratchet.published import write_atomically
from ratchet.settings import Settings

#: Shares are given to flagd as whole numbers of this total.
TOTAL = 1000


class RoutingError(RuntimeError):
    """The routing file is missing or does not say what it must; the message says what to do."""


@dataclass(frozen=True)
class KeptVersion:
    """A version that goes on serving the units which a promotion did not admit."""

    version: int
    sha256: str
    admission: Admission

    @property
    def variant(self) -> str:
        """Its name in the flag."""
        return f"kept_{self.version}"


@dataclass(frozen=True)
class Routing:
    """What serves. `champion_version` serves the rest; a challenger during a rollout, or a held-back version after
    a promotion, serves its own arm. Without an experiment neither is there and the share is 0. `kept` versions serve
    what they keep, the first that applies, before anything is drawn; what `admission` does not admit has the champion.
    """

    loop: str
    champion_version: int
    champion_sha256: str
    decided_as_of: datetime
    decision: str
    experiment_id: str | None = None
    challenger_version: int | None = None
    challenger_sha256: str | None = None
    stage: str | None = None
    share: float = 0.0
    holdback_version: int | None = None
    holdback_sha256: str | None = None
    admission: Admission | None = None
    kept: tuple[KeptVersion, ...] = ()

    def arms(self, unit_ids: Sequence[str], attributes: Mapping[str, Sequence[Any]]) -> NDArray[np.object_]:
        """The variant of each unit, from its id and its cohort values by dimension.

        Raises:
            KeyError: a dimension that cohorts are excluded by is not among the attributes.
            ValueError: an id is empty or no text.
        """
        arms = assign(unit_ids, self.flag_key(), self.variants())
        if self.admission is not None:
            arms[~self.admission.admits(attributes)] = EXCLUDED
        for kept in reversed(self.kept):
            arms[~kept.admission.admits(attributes)] = kept.variant
        return arms

    def version_of(self, arm: str) -> int:
        """The version that serves an arm."""
        for kept in self.kept:
            if arm == kept.variant:
                return kept.version
        if arm == "challenger" and self.challenger_version is not None:
            return self.challenger_version
        if arm == "control" and self.holdback_version is not None:
            return self.holdback_version
        return self.champion_version

    def other(self) -> tuple[int, str] | None:
        """Version and hash of the model that scores beside the champion, if one does."""
        for version, sha256 in (
            (self.challenger_version, self.challenger_sha256),
            (self.holdback_version, self.holdback_sha256),
        ):
            if version is not None and sha256 is not None:
                return version, sha256
        return None

    def variants(self) -> tuple[tuple[str, int], ...]:
        """(arm, weight) in assignment order; control is as large as challenger, rest is what remains."""
        if self.experiment_id is None or self.share == 0:
            return (("rest", TOTAL),)
        return tuple((arm, weight) for arm, weight in arm_weights(self.share, TOTAL) if weight > 0)

    def flag_key(self) -> str:
        """The experiment's id; the loop's name when no experiment runs."""
        return self.experiment_id or self.loop

    def document(self) -> dict[str, Any]:
        """The flagd document: one flag, its variants' values are model versions."""
        drawn = [arm for arm, _ in self.variants()]
        apart = [(kept.variant, kept.admission) for kept in self.kept]
        apart += [] if self.admission is None else [(EXCLUDED, self.admission)]
        values = {arm: self.version_of(arm) for arm in [*drawn, *(name for name, _ in apart)]}
        flag: dict[str, Any] = {
            "state": "ENABLED",
            "variants": values,
            "defaultVariant": "rest" if "rest" in values else "control",
            "metadata": {
                "loop": self.loop,
                "decision": self.decision,
                "decided_as_of": self.decided_as_of.isoformat(),
                "champion_version": self.champion_version,
                "champion_sha256": self.champion_sha256,
                "experiment_id": self.experiment_id or "",
                "challenger_version": self.challenger_version or 0,
                "challenger_sha256": self.challenger_sha256 or "",
                "holdback_version": self.holdback_version or 0,
                "holdback_sha256": self.holdback_sha256 or "",
                "stage": self.stage or "",
                "share": self.share,
                # Metadata of a flag are plain values.
                "admission": "" if self.admission is None else json.dumps(self.admission.to_json()),
                "kept": json.dumps(
                    [[kept.version, kept.sha256, kept.admission.to_json()] for kept in self.kept]
                ),
            },
        }
        draw: Any = drawn[0]
        if len(drawn) > 1:
            draw = {
                "fractional": [
                    {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]},
                    *[[arm, weight] for arm, weight in self.variants()],
                ]
            }
        if apart:
            steps = [part for name, admission in apart for part in ({"!": [admission.rule()]}, name)]
            flag["targeting"] = {"if": [*steps, draw]}
        elif len(drawn) > 1:
            flag["targeting"] = draw
        return {"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": {self.flag_key(): flag}}


def write_routing(settings: Settings, routing: Routing) -> None:
    """Publish `routing`; it takes effect at the next scoring run."""
    text = json.dumps(routing.document(), indent=2, sort_keys=True)
    write_atomically(settings.routing_dir / f"{routing.loop}.flagd.json", text.encode())


def read_routing(settings: Settings, loop: str) -> Routing:
    """The routing in force.

    Raises:
        RoutingError: no file (no champion yet), or a file that Ratchet did not write.
    """
    path = settings.routing_dir / f"{loop}.flagd.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        (flag,) = document["flags"].values()
        data = flag["metadata"]
        return Routing(
            loop=data["loop"],
            champion_version=int(data["champion_version"]),
            champion_sha256=data["champion_sha256"],
            decided_as_of=datetime.fromisoformat(data["decided_as_of"]),
            decision=data["decision"],
            experiment_id=data["experiment_id"] or None,
            challenger_version=int(data["challenger_version"]) or None,
            challenger_sha256=data["challenger_sha256"] or None,
            stage=data["stage"] or None,
            share=float(data["share"]),
            # A file written before a promotion could hold a share back has neither.
            holdback_version=int(data.get("holdback_version", 0)) or None,
            holdback_sha256=data.get("holdback_sha256") or None,
            admission=_admission(data.get("admission")),
            kept=tuple(
                KeptVersion(int(version), sha256, Admission.from_json(told))
                for version, sha256, told in json.loads(data.get("kept") or "[]")
            ),
        )
    except FileNotFoundError:
        raise RoutingError(
            f"{path} does not exist: loop {loop} has no champion; train one with mode bootstrap"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise RoutingError(
            f"{path} is not a routing file of Ratchet ({error}); restore it from the ledger"
        ) from None


def _admission(text: str | None) -> Admission | None:
    return Admission.from_json(json.loads(text)) if text else None
