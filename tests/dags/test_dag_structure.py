"""Every loop has every stage; the assets join them as the map says; nothing heavy happens at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STAGES = {
    "ingest_events": ["land_files", "gate_landing", "hold_blocked"],
    "build_warehouse": ["collect_dirty", "build_models", "gate_features", "publish_partitions"],
    "monitor_model": ["measure_health", "judge_incidents", "decide_retrain", "answer_urgent"],
    "watch_incidents": ["watch_silence"],
    "train_model": [
        "wait_for_request", "wait_for_labels", "wait_for_gates", "take_snapshot", "gate_training", "fit_candidate",
        "evaluate_candidate", "offer_challenger",
    ],
    "score_batch": ["score_units"],
    "run_rollout": ["decide_rollout", "apply_rollout"],
    "drill_gates": ["drill_gates"],
    "drill_rollback": ["drill_rollback"],
    "measure_staleness": ["measure_staleness"],
    "run_experiment": ["run_experiment"],
    "forget_users": ["forget_users"],
    "answer_feedback": ["write_receipts", "report_annotation"],
}  # fmt: skip


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(ROOT / "dags"))
    assert bag.import_errors == {}
    assert bag.dags, "no DAG was found: the tests below would look at nothing"
    return dict(bag.dags)


def loops() -> list[str]:
    return sorted(path.stem for path in (ROOT / "loops").glob("*.yml"))


def test_one_dag_a_loop_and_stage(dags: dict[str, Any]) -> None:
    assert set(dags) == {f"{loop}__{stage}" for loop in loops() for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES)
def test_tasks_run_in_the_docstrings_order(dags: dict[str, Any], stage: str) -> None:
    for loop in loops():
        dag = dags[f"{loop}__{stage}"]
        order = [task.task_id for task in dag.topological_sort()]
        assert order == STAGES[stage]
        for earlier, later in pairwise(order):
            assert later in dag.get_task(earlier).downstream_task_ids
        assert all(f"`{task}`" in dag.doc_md for task in order), "the docstring names every task"
        assert dag.catchup is False
        assert dag.max_active_runs == 1


def test_assets_join_the_dags_as_the_map_says(dags: dict[str, Any]) -> None:
    from ratchet_dags.assets import assets_of

    for loop in loops():
        assets = assets_of(loop)
        awaited = {
            "build_warehouse": assets.raw_events, "monitor_model": assets.judgeable, "run_rollout": assets.health,
            "train_model": assets.retrain_request,
        }  # fmt: skip
        for stage in STAGES:
            condition = dags[f"{loop}__{stage}"].timetable.asset_condition
            found = {asset.name for asset in condition.objects} if condition else set()
            assert found == ({awaited[stage].name} if stage in awaited else set()), stage
        made: set[str] = set()
        for stage in STAGES:
            for task in dags[f"{loop}__{stage}"].tasks:
                made |= {outlet.name.removesuffix("__when_any") for outlet in task.outlets}
        assert {asset.name for asset in awaited.values()} <= made, "someone makes what is awaited"
        scoring = dags[f"{loop}__score_batch"]
        assert not [outlet for task in scoring.tasks for outlet in task.outlets], "scoring announces nothing"


def test_tasks_that_open_the_warehouse_share_one_slot(dags: dict[str, Any]) -> None:
    without = {
        "hold_blocked", "judge_incidents", "decide_retrain", "answer_urgent", "watch_silence",
        "wait_for_request", "wait_for_labels", "wait_for_gates", "gate_training",
        "fit_candidate", "evaluate_candidate", "drill_rollback",
        "run_experiment",
    }  # fmt: skip
    looked_at = 0
    for dag in dags.values():
        for task in dag.tasks:
            looked_at += 1
            expected = "default_pool" if task.task_id in without else "warehouse"
            assert task.pool == expected, f"{dag.dag_id}.{task.task_id}"
    assert looked_at == len(loops()) * sum(map(len, STAGES.values()))


def test_no_timetable_makes_runs_for_today(dags: dict[str, Any]) -> None:
    """The flights' data end with 2013: a timetable that is not paused has nothing to start."""
    from airflow.timetables.base import TimeRestriction
    from pendulum import datetime as moment
    from pendulum import instance

    timed = [d for d in dags.values() if d.timetable.can_be_scheduled and not d.timetable.asset_condition]
    assert {dag.dag_id.partition("__")[2] for dag in timed} == {
        "ingest_events", "score_batch", "drill_gates", "drill_rollback", "watch_incidents",
        "measure_staleness",
        "forget_users", "answer_feedback",
    }  # fmt: skip
    for dag in timed:
        today = TimeRestriction(instance(dag.start_date), None, catchup=False)
        assert dag.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=today) is None
        # A backfill of the data's own days finds them, and a run by hand has its tasks: its logical date is today.
        past = TimeRestriction(moment(2013, 6, 3), moment(2013, 6, 30), catchup=True)
        first = dag.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=past)
        assert first is not None
        assert first.data_interval.start.year == 2013
        assert dag.end_date is None


def test_the_timetable_survives_its_serialisation(dags: dict[str, Any]) -> None:
    from airflow.serialization.decoders import decode_timetable
    from airflow.serialization.encoders import encode_timetable

    timetable = dags["flights__ingest_events"].timetable
    again = decode_timetable(encode_timetable(timetable))
    assert type(again).__name__ == "SpanTimetable"
    assert again.serialize() == timetable.serialize()


def python_files() -> list[Path]:
    return sorted((ROOT / "dags").glob("*.py"))


@pytest.mark.parametrize("path", python_files(), ids=lambda path: path.stem)
def test_dag_files_hold_wiring_only(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = ("__future__", "airflow", "ratchet_dags", "ratchet.airflow")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module and node.module.startswith(allowed), f"{path.name} imports {node.module}"
        if isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert not name.endswith(("Variable.get", "now", "utcnow", "today", "open", "read_text")), name
    source = path.read_text(encoding="utf-8")
    for word in ("shell=True", "bash_command", "pickle", "joblib", "PythonOperator("):
        assert word not in source


def test_the_heavy_libraries_are_not_imported_by_a_dag_file() -> None:
    code = (
        "import sys, glob, runpy\n"
        "for path in sorted(glob.glob('dags/*.py')): runpy.run_path(path)\n"
        "heavy = {'pandas','mlflow','xgboost','great_expectations','duckdb','sklearn','dbt.cli.main'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    import os

    paths = os.pathsep.join([str(ROOT / "plugins"), str(ROOT / "dags")])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "[]"
