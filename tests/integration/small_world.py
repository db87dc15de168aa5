"""Two weeks of real flights with a champion that scored the last days: a home that a test may copy and change."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from ratchet.ledger.store import Ledger, migrate
from ratchet.loop import Loop, load_loop
from ratchet.registry.models import Registry
from ratchet.replay.world import World
from ratchet.settings import Settings, load_settings
from ratchet.stages.build import collect, judge_features, publish
from ratchet.stages.dbt_environment import build
from ratchet.stages.ingest import judge_landing, land
from ratchet.stages.score import score
from ratchet.stages.snapshots import write_snapshot
from ratchet.training.fit import fit_model
from ratchet.warehouse.connect import open_warehouse

LAST = date(2013, 1, 12)


def unwrapped(output: str) -> str:
    """What a command said, on one line: where it breaks lines hangs on the terminal's width."""
    return " ".join(output.split())


SERVED = (date(2013, 1, 11), LAST)
BOOTSTRAP = datetime(2013, 1, 10)
#: Held back until a test lets them come: observations of some hours of the first day that is served.
LATE_DAY, LATE_HOURS = SERVED[0], ("T14:", "T15:", "T16:", "T17:")


def quiet(_: str) -> None:
    return None


@dataclass(frozen=True)
class SmallWorld:
    settings: Settings
    loop: Loop

    def day_of(self, source: str, day: date) -> Path:
        """The folder of one partition."""
        return self.settings.landing_dir / "flights" / source / f"received_date={day}"

    def hold_back(self) -> None:
        """Take the late observations out of their day's file."""
        (path,) = self.day_of("weather", LATE_DAY).glob("*.csv")
        head, *lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        late = [line for line in lines if any(hour in line.split(",")[1] for hour in LATE_HOURS)]
        assert len(late) == 3 * len(LATE_HOURS), (
            "no observation is held back: the tests would look at nothing"
        )
        path.write_text(head + "".join(line for line in lines if line not in late), encoding="utf-8")
        (self.settings.home / "late.csv").write_text(head + "".join(late), encoding="utf-8")

    def deliver_late(self) -> None:
        """Let the late observations come, as a file of their day."""
        shutil.copy(self.settings.home / "late.csv", self.day_of("weather", LATE_DAY) / "late.csv")

    def land_and_build(self, start: date, end: date, log: Callable[[str], None] = quiet) -> bool:
        """Land a range and build what it reaches; False when nothing was built."""
        as_of = datetime.combine(end + timedelta(days=1), datetime.min.time())
        land(self.settings, self.loop, start, end, log)
        judge_landing(self.settings, self.loop, start, end, as_of, log)
        if collect(self.settings, self.loop, as_of, log) is None:
            return False
        build(self.settings, self.loop)
        judge_features(self.settings, self.loop, as_of, log)
        publish(self.settings, self.loop, as_of, log)
        return True

    def copied(self, home: Path) -> SmallWorld:
        """The same world in a home of its own."""
        shutil.copytree(self.settings.home, home, dirs_exist_ok=True)
        return SmallWorld(load_settings({"RATCHET_HOME": str(home)}), self.loop)


def make(home: Path) -> SmallWorld:
    """Land, build, offer a champion, serve two days, land what was served."""
    settings = load_settings({"RATCHET_HOME": str(home)})
    loop = load_loop(settings.loops_dir / "flights.yml")
    migrate(settings.ledger_url)
    world = SmallWorld(settings, loop)
    written = World(settings, loop, 1)
    first = written.first_received_date()
    written.write_inputs(first, LAST, quiet)
    world.hold_back()
    assert world.land_and_build(first, LAST)
    _champion(world)
    done = score(settings, loop, *SERVED, quiet)
    assert done["units"] > 1000, "nothing was served: the tests would look at nothing"
    assert world.land_and_build(*SERVED)
    return world


def _champion(world: SmallWorld) -> None:
    """A model on noise: nothing here asks whether it is good."""
    settings, loop, key = world.settings, world.loop, f"bootstrap:{BOOTSTRAP.isoformat()}"
    with open_warehouse(settings, purpose="test", read_only=True) as warehouse:
        window = (date(2013, 1, 1), date(2013, 1, 6))
        manifest = write_snapshot(settings, loop, warehouse, as_of=BOOTSTRAP, window=window)
    assert manifest["rows"] > 3000
    random = np.random.default_rng(1)
    matrix = random.normal(size=(400, len(loop.features.columns)))
    model = fit_model(
        matrix,
        (matrix[:, 0] > 0).astype(np.float64),
        {"max_depth": 2, "num_boost_round": 3},
        seed=1,
        feature_names=loop.features.columns,
        nthread=1,
    )
    registered = Registry(settings).register(
        loop="flights", request=key, model_json=model, inputs=loop.features.columns,
        documents={"manifest": manifest}, params={}, metrics={},
    )  # fmt: skip
    ledger = Ledger(settings.ledger_url)
    found = {"request": key, "snapshot_sha256": manifest["sha256"]}
    ledger.append(
        loop="flights", kind="training", key=f"training:{key}", as_of=BOOTSTRAP,
        payload={**found, "snapshot_id": manifest["id"], "train_end": "2013-01-03"},
    )  # fmt: skip
    ledger.append(
        loop="flights", kind="evaluation", key=f"evaluation:{key}", as_of=BOOTSTRAP,
        payload={"request": key, "verdict": "pass", "reasons": []},
    )  # fmt: skip
    ledger.append(
        loop="flights", kind="bootstrap", key=key, as_of=BOOTSTRAP,
        payload={**found, "model_version": registered.version, "model_sha256": registered.sha256},
    )  # fmt: skip
