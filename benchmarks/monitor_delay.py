"""From the landing of the partition that crosses the line to the start of training: what the scheduler adds.

Read from Airflow's own metadata of a replay through the scheduler: for each training that a request
started, the chain of runs back to the landing, by the asset events that joined them. The tasks' own time is taken off.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.judge_tables import ROOT
from benchmarks.report import Figure

TARGET = 60.0
#: The tasks on the way, by stage; what else a run has beside them holds nothing up.
WAY = (
    ("ingest_events", ("gate_landing",)),
    ("build_warehouse", ("collect_dirty", "build_models", "gate_features", "publish_partitions")),
    ("monitor_model", ("measure_health", "judge_incidents", "decide_retrain", "answer_urgent")),
    ("train_model", ("wait_for_request", "wait_for_labels", "wait_for_gates")),
)
LANDED, TRAINS = "land_files", "take_snapshot"


class NoTraining(RuntimeError):
    """No training of this replay was started by a request; there is nothing to measure."""


@dataclass(frozen=True)
class Delay:
    """One training: seconds from landing to its start, and those in which a task of the way ran."""

    run: str
    seconds: float
    own: float

    @property
    def waited(self) -> float:
        """What the scheduler, the queue and the asset events took."""
        return self.seconds - self.own


def delays(database: Path) -> list[Delay]:
    """Every training of a replay that a request started, from Airflow's SQLite metadata.

    Raises:
        NoTraining: there is none.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        runs = connection.execute(
            "select id, dag_id, run_id from dag_run where dag_id like '%\\_\\_train\\_model' escape '\\' "
            "and run_type = 'asset_triggered' order by id"
        ).fetchall()
        found = [delay for run in runs if (delay := _delay(connection, *run)) is not None]
    if not found:
        raise NoTraining(f"{database} holds no training that a request started: replay at least three weeks")
    return found


def _delay(connection: sqlite3.Connection, number: int, dag: str, run: str) -> Delay | None:
    loop = dag.partition("__")[0]
    chain = [(number, dag, run)]
    for _ in range(3):
        before = connection.execute(
            "select r.id, e.source_dag_id, e.source_run_id from dagrun_asset_event d "
            "join asset_event e on e.id = d.event_id "
            "join dag_run r on r.dag_id = e.source_dag_id and r.run_id = e.source_run_id where d.dag_run_id = ? "
            "order by e.timestamp desc limit 1",
            (chain[-1][0],),
        ).fetchone()
        if before is None:
            return None
        chain.append(before)
    by_stage = {dag_id.removeprefix(f"{loop}__"): run_id for _, dag_id, run_id in chain}
    if set(by_stage) != {stage for stage, _ in WAY}:
        return None
    landed = _times(connection, f"{loop}__ingest_events", by_stage["ingest_events"], LANDED)
    trains = _times(connection, f"{loop}__train_model", by_stage["train_model"], TRAINS)
    if landed is None or trains is None:
        return None
    own = 0.0
    for stage, tasks in WAY:
        for task in tasks:
            ran = _times(connection, f"{loop}__{stage}", by_stage[stage], task)
            own += 0.0 if ran is None else (ran[1] - ran[0]).total_seconds()
    return Delay(run, (trains[0] - landed[1]).total_seconds(), own)


def _times(connection: sqlite3.Connection, dag: str, run: str, task: str) -> tuple[datetime, datetime] | None:
    row = connection.execute(
        "select start_date, end_date from task_instance where dag_id = ? and run_id = ? and task_id = ? "
        "and start_date is not null and end_date is not null",
        (dag, run, task),
    ).fetchone()
    return None if row is None else (datetime.fromisoformat(row[0]), datetime.fromisoformat(row[1]))


def longest(database: Path) -> list[Figure]:
    """The longest wait of a replay's trainings, against its target.

    Raises:
        NoTraining: there is none.
    """
    found = delays(database)
    worst = max(found, key=lambda one: one.waited)
    note = f"longest of {len(found)}; {worst.seconds:.0f} s in all, of which its tasks ran {worst.own:.0f} s"
    return [
        Figure("from landing to training, beyond the tasks' own time", worst.waited, "s", TARGET, note=note)
    ]


def delay(home: Path) -> list[Figure]:
    """Replay four weeks through the scheduler with its state in `home`; the longest wait of the trainings in it.

    Raises:
        RuntimeError: the replay failed; with the end of what it said.
        NoTraining: no request started a training.
    """
    shutil.rmtree(home, ignore_errors=True)
    own = {"RATCHET_HOME": str(home), "AIRFLOW_HOME": str(home / "airflow")}
    replay = ["replay", "--start", "2013-05-28", "--seed", "1", "--weeks", "4", "--smoke"]
    for command in (["setup"], replay):
        done = subprocess.run(
            [sys.executable, "-m", "ratchet.cli", *command],
            env={**os.environ, **own}, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    figures = longest(home / "airflow" / "airflow.db")
    shutil.rmtree(home)
    return figures
