"""The delay of a trigger is read along the asset events that joined the runs; without a training there is no figure."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from benchmarks.monitor_delay import LANDED, TRAINS, WAY, NoTraining, delays, longest

START = datetime(2013, 6, 18, 12)


def metadata(path: Path, gap: float, *, joined: bool = True) -> Path:
    """Airflow's tables of one chain of runs: each task takes 2 s, and starts `gap` s after the one before."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "create table dag_run (id integer, dag_id text, run_id text, run_type text);"
        "create table asset_event (id integer, source_dag_id text, source_run_id text, timestamp text);"
        "create table dagrun_asset_event (dag_run_id integer, event_id integer);"
        "create table task_instance (dag_id text, run_id text, task_id text, start_date text, end_date text);"
    )
    now = START
    for number, (stage, tasks) in enumerate(WAY):
        kind = "asset_triggered" if number else "manual"
        connection.execute("insert into dag_run values (?, ?, 'r', ?)", (number, f"flights__{stage}", kind))
        if number and joined:
            before = f"flights__{WAY[number - 1][0]}"
            connection.execute(
                "insert into asset_event values (?, ?, 'r', ?)", (number, before, now.isoformat())
            )
            connection.execute("insert into dagrun_asset_event values (?, ?)", (number, number))
        ran = [
            *([LANDED] if stage == "ingest_events" else []),
            *tasks,
            *([TRAINS] if stage == "train_model" else []),
        ]
        for task in ran:
            end = now + timedelta(seconds=2)
            row = (f"flights__{stage}", "r", task, now.isoformat(), end.isoformat())
            connection.execute("insert into task_instance values (?, ?, ?, ?, ?)", row)
            now = end + timedelta(seconds=gap)
    connection.commit()
    connection.close()
    return path


def test_the_tasks_own_time_is_taken_off(tmp_path: Path) -> None:
    (found,) = delays(metadata(tmp_path / "a.db", gap=1.0))
    tasks = sum(len(tasks) for _, tasks in WAY)
    assert (found.own, found.waited) == (2.0 * tasks, 1.0 * (tasks + 1))
    (figure,) = longest(tmp_path / "a.db")
    assert figure.met


def test_a_slow_scheduler_misses_the_target(tmp_path: Path) -> None:
    (figure,) = longest(metadata(tmp_path / "a.db", gap=10.0))
    assert figure.met is False


def test_no_training_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(NoTraining, match="replay at least three weeks"):
        longest(metadata(tmp_path / "a.db", gap=1.0, joined=False))
