"""People asked in Airflow, with its own operator and its own events: the answer counts, never the task's state."""

from __future__ import annotations

import logging
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration import served_world
from tests.integration.served_world import FIRST, ServedWorld
from tests.integration.test_approvals import AS_OF, DAY, governed

from ratchet.ledger.approvals import standing
from ratchet.stages.applying import Waits
from ratchet.stages.approvals import needed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("served")
    served_world.make(home)
    return home


@pytest.fixture(params=[1])
def world(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> ServedWorld:
    found = served_world.copied(template, tmp_path / "home", governed(request.param))
    found.bootstrap()
    found.start(2, FIRST + timedelta(days=1))
    monkeypatch.setenv("RATCHET_HOME", str(found.settings.home))
    monkeypatch.setattr("ratchet.airflow.approval.loop_named", lambda _: found.loop)
    return found


def rollout_dag(loop: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("ratchet.airflow.loops.declared_loops", lambda: (loop,))
    from airflow.sdk import DAG

    made: list[Any] = []
    real = DAG.__exit__
    monkeypatch.setattr(DAG, "__exit__", lambda self, *a: (made.append(self), real(self, *a))[1])
    runpy.run_path(str(ROOT / "dags" / "run_rollout.py"))
    (dag,) = made
    return dag


def decide(world: ServedWorld) -> dict[str, Any]:
    key = world.decide("promote", DAY, approval=needed(world.loop, "promote", AS_OF))
    return {"decision": key, "as_of": AS_OF.isoformat(), "waits": "people"}


def parked(
    world: ServedWorld, decided: dict[str, Any], monkeypatch: pytest.MonkeyPatch, turn: int = 1
) -> Any:
    """The operator after it has asked and gone to wait, and what it told Airflow."""
    from airflow.providers.standard.operators import hitl
    from airflow.sdk.exceptions import TaskAwaitingInput

    from ratchet.airflow.approval import FORM, ApprovalRequest

    told: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **named: told.update(named))
    asked = ApprovalRequest(
        task_id=f"ask_approval_{turn}",
        loop="flights",
        decided=decided,
        turn=turn,
        timeout_hours=48,
        params=FORM,
    )
    context = {
        "task_instance": SimpleNamespace(id="ti"), "dag": SimpleNamespace(dag_id="flights__run_rollout"), "run_id": "r"
    }  # fmt: skip
    with pytest.raises(TaskAwaitingInput) as waiting:
        asked.execute(context)
    assert waiting.value.timeout == timedelta(hours=48)
    assert told["defaults"] == ["Reject"]
    return asked, told


def event(chosen: str, by: str | None) -> dict[str, Any]:
    """What Airflow resumes the task with, made by Airflow's own model of the answer."""
    from airflow.models.hitl import HITLDetail

    detail = HITLDetail(
        options=["Approve", "Reject"], chosen_options=[chosen], params_input={"reason": "seen the cohorts"},
        responded_at=datetime(2013, 6, 8, tzinfo=UTC), responded_by=None if by is None else {"id": by, "name": by},
    )  # fmt: skip
    return dict(detail.as_resume_event_payload(timedout=by is None))


@pytest.mark.parametrize(
    ("chosen", "by", "outcome", "action", "serves"),
    [
        ("Approve", "ana", "approved", "promote", 2),
        ("Reject", "bo", "rejected", "reject", 1),
        ("Reject", None, "timeout", "reject", 1),
    ],
)
def test_the_three_answers(
    world: ServedWorld, monkeypatch: pytest.MonkeyPatch, chosen: str, by: str | None, outcome: str, action: str,
    serves: int,
) -> None:  # fmt: skip
    from ratchet.airflow.approval import read_answer

    decided = decide(world)
    asked, told = parked(world, decided, monkeypatch)
    assert [user["id"] for user in told["assigned_users"]] == ["Dana Reyes", "ana", "bo"]
    assert "promote version 2" in told["subject"]
    assert "for the test" in told["body"]
    with pytest.raises(Waits):
        world.apply(decided["decision"], AS_OF)
    # The task succeeds in all three cases: it returns instead of raising.
    answered = asked.execute_complete({}, event(chosen, by))
    read_answer.function("flights", decided, answered)
    entries = world.ledger.entries("flights")
    decision = next(e for e in entries if e.key == decided["decision"])
    assert standing(entries, decision).outcome == outcome
    assert world.apply(decided["decision"], AS_OF)["action"] == action
    assert world.routing().champion_version == serves


def test_somebody_else_is_refused(world: ServedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from ratchet.airflow.approval import read_answer

    decided = decide(world)
    asked, _ = parked(world, decided, monkeypatch)
    answered = asked.execute_complete({}, event("Approve", "eve"))
    with pytest.raises(AirflowFailException, match="'eve' may not answer"):
        read_answer.function("flights", decided, answered)
    with pytest.raises(Waits):
        world.apply(decided["decision"], AS_OF)


@pytest.mark.parametrize("world", [2], indirect=True)
def test_the_second_question_is_not_for_the_first_person(
    world: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.airflow.approval import read_answer

    decided = decide(world)
    asked, _ = parked(world, decided, monkeypatch)
    read_answer.function("flights", decided, asked.execute_complete({}, event("Approve", "ana")))
    second, told = parked(world, decided, monkeypatch, turn=2)
    assert [user["id"] for user in told["assigned_users"]] == ["Dana Reyes", "bo"]
    read_answer.function("flights", decided, second.execute_complete({}, event("Approve", "ana")))
    with pytest.raises(Waits):
        world.apply(decided["decision"], AS_OF)


def test_nobody_is_asked_when_nothing_waits(world: ServedWorld) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    from ratchet.airflow.approval import ApprovalRequest

    asked = ApprovalRequest(
        task_id="a", loop="flights", decided={"decision": "look:x"}, turn=1, timeout_hours=48
    )
    with pytest.raises(AirflowSkipException):
        asked.execute({"dag": SimpleNamespace(dag_id="d"), "run_id": "r"})


def test_the_questions_stand_between_deciding_and_applying(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    dag = rollout_dag(governed(2), monkeypatch)
    assert [task.task_id for task in dag.topological_sort()] == [
        "decide_rollout", "ask_approval_1", "read_answer_1", "ask_approval_2", "read_answer_2", "apply_rollout",
    ]  # fmt: skip
    assert dag.max_active_runs > 1, "looks for harm go on while people think"
    assert dag.get_task("apply_rollout").trigger_rule.value == "none_failed"
    assert dag.get_task("ask_approval_1").execution_timeout is None
    assert dag.get_task("ask_approval_1").defaults == ["Reject"]
    assert list(dag.get_task("ask_approval_1").serialized_params) == ["reason"], (
        "the run's own parameters are not asked"
    )
    stored = DagSerialization.to_dict(dag)
    assert len(stored["dag"]["tasks"]) == 6, "the scheduler reads the stored form"
    automatic = rollout_dag(governed().model_copy(update={"approvals": _automatic()}), monkeypatch)
    assert [task.task_id for task in automatic.topological_sort()] == ["decide_rollout", "apply_rollout"]


def _automatic() -> Any:
    from ratchet.loop_governance import Approvals

    return Approvals(promote="automatic", roll_back="automatic", bootstrap="owner")


def waiting_since(hours: float, asked: Any, told: dict[str, Any]) -> Any:
    """The parked task in Airflow's own database, asked so long ago; its id."""
    from airflow.models.dagrun import DagRun
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import create_scheduler_operator
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunType

    with DAG("flights__run_rollout", schedule=None):
        from airflow.providers.standard.operators.empty import EmptyOperator

        task = EmptyOperator(task_id=asked.task_id)
    now = datetime.now(UTC)
    with create_session() as session:
        run = DagRun(
            dag_id="flights__run_rollout", run_id="r", run_type=DagRunType.MANUAL, state=DagRunState.RUNNING,
            run_after=now, start_date=now, logical_date=now,
        )  # fmt: skip
        session.add(run)
        session.flush()
        ti = TaskInstance(task=create_scheduler_operator(task), run_id="r", dag_version_id=None)
        ti.dag_id = "flights__run_rollout"  # a task on its own is of no DAG
        ti.state = TaskInstanceState.AWAITING_INPUT
        ti.next_method, ti.next_kwargs = "execute_complete", {}
        ti.trigger_timeout = now + timedelta(hours=48 - hours)
        session.add(ti)
        session.flush()
        session.add(HITLDetail(ti_id=ti.id, options=told["options"], subject=told["subject"], body=told["body"],
                               defaults=told["defaults"], multiple=False, params={}))  # fmt: skip
        return ti.id


@pytest.mark.parametrize("hours", [47, 49])
def test_silence_beyond_the_limit_is_a_no_by_airflows_own_scheduler(
    world: ServedWorld, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """The sweep that the scheduler makes: it answers, the task resumes, the ledger says no."""
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.serde import deserialize
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    from ratchet.airflow.approval import read_answer

    decided = decide(world)
    asked, told = parked(world, decided, monkeypatch)
    waiting = waiting_since(hours, asked, told)
    try:
        sweep = SchedulerJobRunner.check_awaiting_input_timeouts
        with create_session() as session:
            sweep(SimpleNamespace(log=logging.getLogger("test")), session=session)  # type: ignore[arg-type]
        with create_session() as session:
            ti = session.get(TaskInstance, waiting)
            assert ti is not None
            state, resumed = ti.state, ti.next_kwargs
        if hours < 48:
            assert state == TaskInstanceState.AWAITING_INPUT
            return
        assert state == TaskInstanceState.SCHEDULED
        event = deserialize(resumed)["event"]
        assert (event["chosen_options"], event["responded_by_user"], event["timedout"]) == (
            ["Reject"],
            None,
            True,
        )
        read_answer.function("flights", decided, asked.execute_complete({}, event))
    finally:
        with create_session() as session:
            session.execute(sa.text("delete from dag_run where run_id = 'r'"))
    assert world.apply(decided["decision"], AS_OF)["action"] == "reject"
    assert world.routing().champion_version == 1
    (entry,) = world.ledger.entries("flights", ["approval"])
    assert entry.payload["answer"] == "timeout"
