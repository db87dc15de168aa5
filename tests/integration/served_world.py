"""A loop with real models in a real registry, whose ledger a test writes as it likes: made once, then copied."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ratchet.ledger.state import LoopState, fold
from ratchet.ledger.store import migrate
from ratchet.loop import Loop, load_loop
from ratchet.registry.models import Registry
from ratchet.scoring.routing import Routing, read_routing
from ratchet.settings import Settings, load_settings
from ratchet.stages import applying
from ratchet.stages.jobs import Job
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import project, terms_of
from ratchet.training.fit import fit_model
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.ops import ensure

FIRST = datetime(2013, 5, 28)
#: Takes inputs that the loop file no longer has.
FOREIGN = 4


def quiet(_: str) -> None:
    return None


class ServedWorld:
    """Versions 1 to 3 fit today's features, 4 does not. Nothing serves before `bootstrap`."""

    def __init__(self, home: Path, loop: Loop | None = None) -> None:
        self.settings: Settings = load_settings({"RATCHET_HOME": str(home)})
        self.loop = loop or load_loop(self.settings.loops_dir / "flights.yml")
        self.ledger = ledger_of(self.settings)
        known = home / "models.txt"
        lines = known.read_text().splitlines() if known.exists() else []
        self.sha256 = {int(version): sha256 for version, sha256 in (line.split() for line in lines)}

    def append(self, kind: str, key: str, as_of: datetime, **payload: Any) -> None:
        self.ledger.append(loop="flights", kind=kind, key=key, as_of=as_of, payload=payload)

    def state(self) -> LoopState:
        return fold(self.ledger.entries("flights"))

    def routing(self) -> Routing:
        return read_routing(self.settings, "flights")

    def aliases(self) -> dict[str, int]:
        return Registry(self.settings).aliases("flights")

    def bootstrap(self, version: int = 1, as_of: datetime = FIRST) -> None:
        self.append("bootstrap", f"bootstrap:{version}", as_of, model_version=version, request=f"request:{version}",
                    model_sha256=self.sha256[version])  # fmt: skip
        project(self.settings, self.loop)

    def start(self, version: int, as_of: datetime) -> str:
        """Put `version` on trial; the experiment's id."""
        experiment = f"flights-v{version}-{as_of:%Y%m%d}"
        self.append(
            "rollout_started", f"rollout:{experiment}", as_of, experiment_id=experiment,
            champion_version=self.state().champion_version, challenger_version=version, stage="shadow",
            request=f"request:{version}", model_sha256=self.sha256[version], terms=terms_of(self.loop),
        )  # fmt: skip
        project(self.settings, self.loop)
        return experiment

    def decide(self, action: str, day: datetime, **more: Any) -> str:
        """A look of the running rollout with this action, as if it had been judged; the decision's key."""
        rollout = self.state().rollout
        assert rollout is not None
        key = f"look:{rollout.experiment_id}:{day:%Y-%m-%d}"
        self.append(
            "rollout_decision", key, day + timedelta(days=1), experiment_id=rollout.experiment_id,
            day=f"{day:%Y-%m-%d}", action=action, to_apply=action != "hold", stage=rollout.trial.stage_name,
            stage_index=rollout.trial.stage_index, reasons=["for the test"], looks={},
            champion_version=rollout.champion_version, challenger_version=rollout.challenger_version, **more,
        )  # fmt: skip
        return key

    def apply(self, decision: str, as_of: datetime) -> dict[str, Any]:
        return applying.apply(self.settings, self.loop, decision, as_of, quiet)

    def promote(self, version: int, as_of: datetime) -> str:
        """Start and promote `version`; the experiment's id."""
        experiment = self.start(version, as_of)
        self.apply(self.decide("promote", as_of + timedelta(days=5)), as_of + timedelta(days=7))
        return experiment


def make(home: Path) -> None:
    """Register the versions: what takes seconds, and is copied."""
    world = ServedWorld(home)
    migrate(world.settings.ledger_url)
    with open_warehouse(world.settings, purpose="test") as warehouse:
        ensure(warehouse)
    registry, lines = Registry(world.settings), []
    for version in (1, 2, 3, FOREIGN):
        names = ("a", "b") if version == FOREIGN else world.loop.features.columns
        rng = np.random.default_rng(version)
        x, y = rng.normal(size=(200, len(names))), (rng.random(200) < 0.3).astype(float)
        model = fit_model(x, y, {"num_boost_round": 2}, seed=version, feature_names=names)
        registered = registry.register(
            loop="flights", request=f"request:{version}", model_json=model, inputs=names, documents={}, params={},
            metrics={},
        )  # fmt: skip
        assert registered.version == version
        lines.append(f"{version} {registered.sha256}")
        bins = [{"feature": "distance_miles", "bin": b, "lower_bound": None, "upper_bound": None,
                 "reference_share": 0.5} for b in (0, 1)]  # fmt: skip
        Job("flights", "retrain", f"request:{version}", FIRST).write(
            world.settings, "profile", {"bins": bins}
        )
    (home / "models.txt").write_text("\n".join(lines))


def copied(template: Path, home: Path, loop: Loop | None = None) -> ServedWorld:
    """The same world in a home of its own."""
    shutil.copytree(template, home, dirs_exist_ok=True)
    return ServedWorld(home, loop)


def killed(action: Callable[[], object], holder: object, name: str, when: str, call: int = 1) -> bool:
    """Run `action` in a process that is killed (SIGKILL) before or after the `call`-th call of `holder.name`.

    Whether it was: an action that calls it less often ends by itself.
    """
    child = os.fork()
    if child == 0:
        real, calls = getattr(holder, name), [0]

        def deadly(*arguments: object, **named: object) -> object:
            calls[0] += 1
            if calls[0] == call and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            answer = real(*arguments, **named)
            if calls[0] == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        setattr(holder, name, deadly)
        try:
            action()
        except BaseException:
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"the process ended with {code}"
    return code == -signal.SIGKILL
