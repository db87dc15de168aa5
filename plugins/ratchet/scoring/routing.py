"""The routing file: which model serves whom, in flagd's format, written atomically.

Any serving system with an OpenFeature SDK reads the same file; batch scoring uses `Routing` and the same
hash (`ratchet.experiment.assignment`). The flag key is the experiment's id, so each rollout draws anew, and
the variants stand in the order challenger, rest, control: a growing share never moves a unit from one
experimental arm to the other. In a holdback the previous champion serves control, the new one both others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ratchet.experiment.assignment import arm_weights
from ratchet.published import write_atomically
from ratchet.settings import Settings

#: Shares are given to flagd as whole numbers of this total.
TOTAL = 1000


class RoutingError(RuntimeError):
    """The routing file is missing or does not say what it must; the message says what to do."""


@dataclass(frozen=True)
class Routing:
    """What serves. `champion_version` serves the rest; a challenger during a rollout, or a held-back version after
    a promotion, serves its own arm. Without an experiment neither is there and the share is 0.
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

    def version_of(self, arm: str) -> int:
        """The version that serves an arm."""
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
        values = {arm: self.version_of(arm) for arm, _ in self.variants()}
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
            },
        }
        if len(values) > 1:
            flag["targeting"] = {
                "fractional": [
                    {"cat": [{"var": "$flagd.flagKey"}, {"var": "targetingKey"}]},
                    *[[arm, weight] for arm, weight in self.variants()],
                ]
            }
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
        )
    except FileNotFoundError:
        raise RoutingError(
            f"{path} does not exist: loop {loop} has no champion; train one with mode bootstrap"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise RoutingError(
            f"{path} is not a routing file of Ratchet ({error}); restore it from the ledger"
        ) from None
