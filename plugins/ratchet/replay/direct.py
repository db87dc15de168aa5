"""The stages in one process, in the order in which the assets would start them: for trials of many seasons.

It answers the calls that the replay makes of Airflow. What a trial finds, `make demo` repeats through the
scheduler: both call the same stages.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from datetime import time as clock
from typing import Any

from ratchet.loop import Loop
from ratchet.replay.airflow_api import Run
from ratchet.settings import Settings


def _quiet(_: str) -> None:
    return None


class DirectApi:
    """Runs each stage when it is asked to start it; nothing is ever left active."""

    def __init__(self, settings: Settings, loop: Loop) -> None:
        self._settings, self._loop = settings, loop
        self._runs = 0

    def count(self, state: str) -> int:
        """How many stages were started; each succeeded."""
        return self._runs if state == "success" else 0

    def runs(self, states: tuple[str, ...]) -> list[Run]:
        """No run is active or failed: a failure is an exception here."""
        return []

    def state(self, run: Run) -> str:
        """Every started run succeeded."""
        return "success"

    def tasks(self, run: Run) -> dict[str, str]:
        """Nothing waits."""
        return {}

    def log_tail(self, run: Run, task_id: str, lines: int = 12) -> str:
        """There is no log."""
        return ""

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> Run:
        """Run the stage and everything that follows from it."""
        stage = dag_id.partition("__")[2]
        self._runs += 1
        if stage == "ingest_events":
            self._ingest(date.fromisoformat(conf["start"]), date.fromisoformat(conf["end"]))
        elif stage == "score_batch":
            from ratchet.stages.score import score

            score(
                self._settings,
                self._loop,
                date.fromisoformat(conf["start"]),
                date.fromisoformat(conf["end"]),
                _quiet,
            )
        elif stage == "train_model":
            self._train(conf["mode"], datetime.fromisoformat(conf["as_of"]))
        elif stage == "drill_gates":
            from ratchet.stages.drill import drill

            drill(self._settings, self._loop, datetime.fromisoformat(conf["as_of"]), _quiet)
        return Run(dag_id, run_id, "success")

    def _ingest(self, start: date, end: date) -> None:
        from ratchet.stages.build import collect, judge_features, publish
        from ratchet.stages.dbt_environment import build
        from ratchet.stages.ingest import judge_landing, land

        settings, loop = self._settings, self._loop
        as_of = datetime.combine(end + timedelta(days=1), clock.min)
        land(settings, loop, start, end, _quiet)
        judge_landing(settings, loop, start, end, as_of, _quiet)
        if collect(settings, loop, as_of, _quiet) is None:
            return
        build(settings, loop)
        judge_features(settings, loop, as_of, _quiet)
        if publish(settings, loop, as_of, _quiet)["judgeable"]:
            self._judge(as_of)

    def _judge(self, as_of: datetime) -> None:
        from ratchet.stages.applying import apply
        from ratchet.stages.incidents import judge as judge_incidents
        from ratchet.stages.monitor import measure
        from ratchet.stages.rollout import decide
        from ratchet.stages.triggering import decide as decide_retrain
        from ratchet.stages.triggering import fall_back

        settings, loop = self._settings, self._loop
        measure(settings, loop, as_of, _quiet)
        judge_incidents(settings, loop, as_of, _quiet)
        request = decide_retrain(settings, loop, as_of, _quiet)["request"]
        fall_back(settings, loop, as_of, _quiet)
        decided = decide(settings, loop, as_of, _quiet)
        if decided is not None and "waits" not in decided:
            apply(settings, loop, decided["decision"], datetime.fromisoformat(decided["as_of"]), _quiet)
        if request:
            self._train("retrain", None)

    def _train(self, mode: str, as_of: datetime | None) -> None:
        from ratchet.stages.conditions import CONDITIONS, check
        from ratchet.stages.jobs import Wanted, job_for
        from ratchet.stages.train import evaluate, fit, judge_snapshot, offer, take_snapshot

        settings, loop = self._settings, self._loop
        wanted = Wanted("bootstrap" if mode == "bootstrap" else "retrain", as_of)
        for condition in CONDITIONS:
            readiness = check(settings, loop, condition, wanted)
            if not readiness.ready:
                raise RuntimeError(f"training would wait for {condition}: {readiness.reason}")
        job = job_for(settings, loop, wanted)
        take_snapshot(settings, loop, job, _quiet)
        if judge_snapshot(settings, loop, job, _quiet)["verdict"] == "block":
            return
        fit(settings, loop, job, _quiet)
        evaluate(settings, loop, job, _quiet)
        offer(settings, loop, job, _quiet)
