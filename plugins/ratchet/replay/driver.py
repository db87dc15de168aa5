"""The replay's clock: week by week it lets the world write files and starts the DAGs that would be due.

Each step: land what became known, build, score with the routing frozen, land predictions and reactions,
build, monitor, rollout. Only ingest, scoring, the first training and the gate drill are started from here;
the rest follows by assets. Nothing is decided here: what the loop did is read from the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import Any, Protocol

from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.replay.airflow_api import ACTIVE, Run
from ratchet.replay.world import World
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of, state_of

#: A step that takes longer has hung; a week takes seconds.
STEP_LIMIT_SECONDS = 900.0
#: The drill comes with this week: by then the champion's training rows lie before the drill's holdout.
DRILL_WEEK = 3


class ReplayStopped(RuntimeError):
    """The replay can't go on; the message names the task, the condition and where to look."""


class Orchestrator(Protocol):
    """What the replay asks of Airflow; `ratchet.replay.direct` answers the same in one process."""

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> Run:
        """Start a run; one of this id that exists is left as it is."""

    def runs(self, states: tuple[str, ...]) -> list[Run]:
        """All runs in one of `states`."""

    def state(self, run: Run) -> str:
        """The state of a run now."""

    def count(self, state: str) -> int:
        """How many runs are in `state`."""

    def tasks(self, run: Run) -> dict[str, str]:
        """Task id -> state."""

    def log_tail(self, run: Run, task_id: str, lines: int = 12) -> str:
        """The end of a task's log."""


class Teller(Protocol):
    """Shows what is happening now."""

    def stage(self, week: int, text: str, runs: int) -> None:
        """A stage began; `runs` DAG runs have succeeded so far."""

    def note(self, text: str) -> None:
        """Something worth a line."""


@dataclass
class Timing:
    """Seconds by stage, over all weeks."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.monotonic() - start


def midnight(day: date) -> datetime:
    """00:00 UTC of `day`."""
    return datetime.combine(day, clock.min)


class Replay:
    """Replays `loop` from `start` for some weeks, after the history before it."""

    def __init__(
        self,
        settings: Settings,
        loop: Loop,
        start: date,
        seed: int,
        api: Orchestrator,
        teller: Teller,
        world: World | None = None,
    ) -> None:
        self.settings, self.loop, self.start, self.seed = settings, loop, start, seed
        self.api, self.teller = api, teller
        self.world = world or World(settings, loop, seed)
        self.timing = Timing()
        self._failed_before = {run.run_id for run in api.runs(("failed",))}

    def run(self, weeks: int) -> None:
        """Replay until `weeks` weeks are done; the ones that are done already are not repeated.

        Raises:
            ReplayStopped: the state holds another replay, a run failed, or a step exceeded its limit.
        """
        known = read(self.settings, self.loop.loop, "replay")
        mine = {"start": self.start.isoformat(), "seed": self.seed}
        if known is not None and {k: known[k] for k in mine} != mine:
            raise ReplayStopped(
                f"the state holds a replay from {known['start']} with seed {known['seed']}; go on with it "
                f"(START={known['start']} SEED={known['seed']}), or remove it with make clean-demo"
            )
        done = int(known["weeks_done"]) if known else -1
        self.timing.seconds.update(known["seconds"] if known else {})
        for week in range(done + 1, weeks + 1):
            with self.timing.of("all weeks" if week else "history"):
                if week == 0:
                    self._history()
                else:
                    self._week(week)
            publish(
                self.settings,
                self.loop.loop,
                "replay",
                {**mine, "weeks_done": week, "seconds": self.timing.seconds},
            )

    def _history(self) -> None:
        first, last = self.world.first_received_date(), self.start - timedelta(days=1)
        self._say(0, f"history {first} to {last}: writing files")
        with self.timing.of("world"):
            self.world.write_inputs(first, last, self.teller.note)
        self._land(0, "history", first, last)
        self._say(0, "first champion: train, judge, serve")
        with self.timing.of("bootstrap"):
            self.api.start(
                self._dag("train_model"),
                f"replay__bootstrap__{self.start}",
                {"mode": "bootstrap", "as_of": midnight(self.start).isoformat(), "apply": True},
            )
            self._wait("the first champion serves", self._first_champion)

    def _first_champion(self) -> bool:
        key = f"evaluation:bootstrap:{midnight(self.start).isoformat()}"
        evaluation = ledger_of(self.settings).find(self.loop.loop, key)
        if evaluation is not None and evaluation.payload["verdict"] != "pass":
            reasons = "; ".join(evaluation.payload["reasons"])
            raise ReplayStopped(
                f"no first champion: the gates refused it: {reasons}. Replay another season (START=)"
            )
        return state_of(self.settings, self.loop).champion_version is not None

    def _week(self, week: int) -> None:
        first = self.start + timedelta(days=7 * (week - 1))
        last = first + timedelta(days=6)
        as_of = midnight(last + timedelta(days=1))
        self._say(week, f"{first}: writing schedule, weather, outcomes")
        with self.timing.of("world"):
            self.world.write_inputs(first, last, self.teller.note)
        self._land(week, "inputs", first, last)
        self._say(week, f"{first}: scoring")
        with self.timing.of("score"):
            run = self.api.start(self._dag("score_batch"), f"replay__score__{first}", _range(first, last))
            self._wait("the window is scored", lambda: self._succeeded(run))
        self._say(week, f"{first}: travellers react (simulated)")
        with self.timing.of("world"):
            self.world.write_reactions(first, last, self.teller.note)
        self._land(week, "reactions", first, last)
        self._say(week, f"{first}: monitor, triggers, rollout, training")
        with self.timing.of("monitor and rollout"):
            self._wait("the week was judged", lambda: self._judged(as_of))
        if week == DRILL_WEEK:
            self._say(week, f"{first}: gate drill with planted bad models")
            with self.timing.of("gate drill"):
                run = self.api.start(
                    self._dag("drill_gates"), f"replay__drill__{first}", {"as_of": as_of.isoformat()}
                )
                self._wait("the drill ended", lambda: self._succeeded(run))

    def _say(self, week: int, text: str) -> None:
        self.teller.stage(week, text, self.api.count("success"))

    def _dag(self, stage: str) -> str:
        return f"{self.loop.loop}__{stage}"

    def _land(self, week: int, what: str, first: date, last: date) -> None:
        self._say(week, f"{first}: landing {what}")
        before = (read(self.settings, self.loop.loop, "partitions") or {"builds": 0})["builds"]
        with self.timing.of(f"land {what}"):
            run = self.api.start(self._dag("ingest_events"), f"replay__{what}__{first}", _range(first, last))
            self._wait(f"{what} are landed", lambda: self._succeeded(run), only={self._dag("ingest_events")})
        self._say(week, f"{first}: building the warehouse")
        as_of = midnight(last + timedelta(days=1)).isoformat()

        def built() -> bool:
            seen = read(self.settings, self.loop.loop, "partitions")
            return (
                seen is not None
                and seen["as_of"] >= as_of
                and seen["dirty"] == 0
                and (seen["builds"] > before or run.state == "success")
            )

        with self.timing.of(f"build {what}"):
            self._wait(f"{what} are visible", built, only={self._dag("build_warehouse")})

    def _succeeded(self, run: Run) -> bool:
        return self.api.state(run) == "success"

    def _judged(self, as_of: datetime) -> bool:
        rollout = read(self.settings, self.loop.loop, "rollout")
        if rollout is None or rollout["as_of"] < as_of.isoformat():
            return False
        return state_of(self.settings, self.loop).request is None or bool(self._deferred())

    def _deferred(self) -> list[str]:
        """Waiting sensors of training runs: they are not waited for."""
        return [
            task
            for run in self.api.runs(ACTIVE)
            if run.dag_id == self._dag("train_model")
            for task, state in self.api.tasks(run).items()
            if state == "deferred"
        ]

    def _busy(self, only: set[str] | None) -> list[Run]:
        """Runs that are active, but for a training that waits deferred."""
        busy = []
        for run in self.api.runs(ACTIVE):
            if only is not None and run.dag_id not in only:
                continue
            if run.dag_id == self._dag("train_model") and "deferred" in self.api.tasks(run).values():
                continue
            busy.append(run)
        return busy

    def _wait(self, condition: str, holds: Callable[[], Any], only: set[str] | None = None) -> None:
        """Until `holds` is true and no run of `only` (of any DAG, if None) is at work."""
        deadline = time.monotonic() + STEP_LIMIT_SECONDS
        while True:
            self._raise_on_failure()
            if holds() and not self._busy(only):
                return
            if time.monotonic() > deadline:
                at_work = [
                    f"{run.dag_id}.{task} ({state})"
                    for run in self._busy(only)
                    for task, state in self.api.tasks(run).items()
                    if state not in ("success", "skipped", "none")
                ]
                raise ReplayStopped(
                    f"waited {STEP_LIMIT_SECONDS:.0f} s for: {condition}. At work: {', '.join(at_work) or 'nothing'}; "
                    f"logs under {self.settings.home / 'logs'}"
                )
            time.sleep(0.25)

    def _raise_on_failure(self) -> None:
        failed_runs = self.api.runs(("failed",))
        # A run that failed before this replay and was repeated counts again once it fails again.
        self._failed_before &= {run.run_id for run in failed_runs}
        for run in failed_runs:
            if run.run_id in self._failed_before:
                continue
            failed = [task for task, state in self.api.tasks(run).items() if state == "failed"]
            tail = self.api.log_tail(run, failed[0]) if failed else ""
            raise ReplayStopped(f"{run.dag_id}.{', '.join(failed)} failed in run {run.run_id}:\n{tail}")


def _range(first: date, last: date) -> dict[str, str]:
    return {"start": first.isoformat(), "end": last.isoformat()}
