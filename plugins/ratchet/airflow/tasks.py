"""The tasks of every DAG: each reads its window or as-of, calls one stage and returns a small summary.

What must stay out of here: rules, SQL, frames. A task's summary goes to XCom, so it holds counts, keys and
dates only.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ratchet.airflow import windows
from ratchet.airflow.connections import with_connections
from ratchet.airflow.events import announce as _announce
from ratchet.airflow.events import stamp as _stamp
from ratchet.airflow.loops import loop_named
from ratchet.settings import load_settings

_log = logging.getLogger("ratchet.task")


@task
def land_files(loop_name: str, pulled: dict[str, Any] | None = None) -> dict[str, Any]:
    """Land the window's files of every source, and what was pulled for other days."""
    from ratchet.stages.ingest import land
    from ratchet.stages.pull import beside, compare, land_days

    loop = loop_named(loop_name)
    settings = with_connections(load_settings(), loop)
    window = windows.window_of(get_current_context(), loop, days_before=1)
    landed = land(settings, loop, window.start, window.end, _log.info)
    if pulled is not None:
        days = beside(pulled["days"], window.start, window.end)
        landed["other_days"] = land_days(settings, loop, days, _log.info)
        landed["compared"] = compare(settings, loop, _log.info)
    return landed


@task
def gate_landing(loop_name: str, pulled: dict[str, Any] | None = None) -> dict[str, Any]:
    """Judge the window's raw partitions; announce them when at least one is green."""
    from ratchet.stages.ingest import judge_landing
    from ratchet.stages.pull import beside, judge_days

    loop = loop_named(loop_name)
    window = windows.window_of(get_current_context(), loop, days_before=1)
    judged = judge_landing(load_settings(), loop, window.start, window.end, window.as_of, _log.info)
    if pulled is not None:
        others = judge_days(
            load_settings(), loop, beside(pulled["days"], window.start, window.end), _log.info
        )
        judged["green"] += others["green"]
        judged["blocked"] += others["blocked"]
    if judged["green"]:
        extra = windows.passed_on(get_current_context(), {"as_of": judged["as_of"]})
        _announce(f"{loop_name}__raw_events", extra)
    return judged


@task(retries=0)
def hold_blocked(judged: dict[str, Any]) -> str:
    """Fail when a partition was blocked: it stays out of the warehouse until it is landed again or released."""
    if judged["blocked"]:
        raise AirflowFailException(
            f"{len(judged['blocked'])} partitions are held: {'; '.join(judged['blocked'][:5])}"
        )
    return f"{judged['green']} partitions are green"


@task.short_circuit
def collect_dirty(loop_name: str) -> dict[str, Any] | None:
    """Take the dirty list; stop the run here when there is nothing to build."""
    from ratchet.stages.build import collect

    as_of = windows.as_of(get_current_context())
    return collect(load_settings(), loop_named(loop_name), as_of, _log.info)


@task
def gate_features(loop_name: str) -> dict[str, Any]:
    """Judge the feature partitions that were built."""
    from ratchet.stages.build import judge_features

    as_of = windows.as_of(get_current_context())
    return judge_features(load_settings(), loop_named(loop_name), as_of, _log.info)


@task
def publish_partitions(loop_name: str) -> dict[str, Any]:
    """Let consumers see the green partitions; announce facts when predictions or answers were among them."""
    from ratchet.stages.build import publish

    context = get_current_context()
    published = publish(load_settings(), loop_named(loop_name), windows.as_of(context), _log.info)
    extra = windows.passed_on(context, {"as_of": published["as_of"]})
    _stamp(f"{loop_name}__features", extra)
    if published["judgeable"]:
        _announce(f"{loop_name}__judgeable", extra)
    return published


@task
def measure_health(loop_name: str) -> dict[str, Any]:
    """Write the health record of the served model."""
    from ratchet.stages.monitor import measure

    return measure(load_settings(), loop_named(loop_name), windows.as_of(get_current_context()), _log.info)


@task
def measure_staleness(loop_name: str) -> dict[str, Any]:
    """Score former champions on recent days again; fail when one is there and can't be loaded or scored."""
    from ratchet.stages.staleness import NothingToScore
    from ratchet.stages.staleness import measure_staleness as stage

    context, loop = get_current_context(), loop_named(loop_name)
    given = context["params"].get("as_of")
    as_of = windows.as_of(context) if given else windows.window_of(context, loop).as_of
    try:
        measured = stage(load_settings(), loop, as_of, _log.info)
    except NothingToScore as nothing:
        raise AirflowSkipException(str(nothing)) from None
    if measured["refused"]:
        raise AirflowFailException("; ".join(measured["refused"]))
    return measured


@task
def judge_incidents(loop_name: str) -> dict[str, Any]:
    """Open, update and close incidents."""
    from ratchet.stages.incidents import judge

    context = get_current_context()
    if (refusal := windows.why_dry(context)) is not None:
        raise AirflowSkipException(refusal)
    return judge(load_settings(), loop_named(loop_name), windows.as_of(context), _log.info)


@task
def decide_retrain(loop_name: str) -> dict[str, Any]:
    """Apply the trigger policy; the entry says what has to be done first, and whether a retrain is asked for."""
    from ratchet.stages.triggering import decide

    context = get_current_context()
    as_of = windows.as_of(context)
    refusal = windows.why_dry(context)
    if refusal is not None:
        raise AirflowSkipException(refusal)
    return decide(load_settings(), loop_named(loop_name), as_of, _log.info)


@task
def answer_urgent(loop_name: str, decided: dict[str, Any]) -> dict[str, Any]:
    """Do what the decision says comes first; then announce the request that it opened."""
    from ratchet.stages.triggering import fall_back

    as_of = windows.as_of(get_current_context())
    done = fall_back(load_settings(), loop_named(loop_name), as_of, _log.info)
    _stamp(f"{loop_name}__health", {"as_of": as_of.isoformat()})
    if decided["request"]:
        _announce(
            f"{loop_name}__retrain_request", {"as_of": as_of.isoformat(), "request": decided["request"]}
        )
    return done


@task
def watch_silence(loop_name: str) -> dict[str, Any]:
    """Open an incident when health was not measured for too long."""
    from ratchet.stages.incidents import watch

    context, loop = get_current_context(), loop_named(loop_name)
    given = context["params"].get("as_of")
    as_of = windows.as_of(context) if given else windows.window_of(context, loop).as_of
    return watch(load_settings(), loop, as_of, _log.info)


@task(retries=3, retry_delay=timedelta(minutes=1), trigger_rule="all_done")
def send_notices(loop_name: str) -> dict[str, int]:
    """Tell the loop file's channels what happened to incidents, each once."""
    from ratchet.airflow.notify import deliver
    from ratchet.stages.notices import plan, send

    settings, loop = load_settings(), loop_named(loop_name)
    plan(settings, loop, _log.info)
    return send(settings, loop, deliver, _log.info)


def _job(loop_name: str) -> Any:
    from ratchet.stages.jobs import job_for

    return job_for(
        load_settings(), loop_named(loop_name), windows.wanted_from(windows.wanted(get_current_context()))
    )


@task
def take_snapshot(loop_name: str) -> dict[str, Any]:
    """Freeze the training rows of the open request."""
    from ratchet.stages.train import take_snapshot as stage

    return stage(load_settings(), loop_named(loop_name), _job(loop_name), _log.info)


@task(retries=0)
def gate_training(loop_name: str) -> dict[str, Any]:
    """Judge the snapshot; a blocked one ends the run and closes the request with the reason."""
    from ratchet.stages.train import judge_snapshot

    judged = judge_snapshot(load_settings(), loop_named(loop_name), _job(loop_name), _log.info)
    if judged["verdict"] == "block":
        raise AirflowFailException(f"the snapshot is blocked: {'; '.join(judged['reasons'][:5])}")
    return judged


@task
def fit_candidate(loop_name: str) -> dict[str, Any]:
    """Fit the candidate: on the rows before the holdout for the judge, on all rows for serving."""
    from ratchet.stages.train import fit

    return fit(load_settings(), loop_named(loop_name), _job(loop_name), _log.info)


@task
def evaluate_candidate(loop_name: str) -> dict[str, Any]:
    """Judge the candidate on later rows; the verdict is a ledger entry."""
    from ratchet.stages.train import evaluate

    return evaluate(load_settings(), loop_named(loop_name), _job(loop_name), _log.info)


@task
def offer_challenger(loop_name: str) -> dict[str, Any]:
    """Register the candidate that passed and put it on trial; skip a refused one."""
    from ratchet.stages.train import offer

    if windows.is_dry(get_current_context()):
        raise AirflowSkipException(
            "a run by hand offers nothing; set the parameter apply to put the candidate on trial"
        )
    offered = offer(load_settings(), loop_named(loop_name), _job(loop_name), _log.info)
    if not offered["offered"]:
        raise AirflowSkipException(offered["reason"])
    _announce(f"{loop_name}__challenger", {"as_of": offered["as_of"], "version": offered["version"]})
    return offered


@task(retries=36, retry_delay=timedelta(minutes=10))
def score_units(loop_name: str) -> dict[str, Any]:
    """Score the window's units with the arm's model and, silently, with the other."""
    from ratchet.stages.score import NotBuilt, score

    loop = loop_named(loop_name)
    window = windows.window_of(get_current_context(), loop)
    try:
        return score(load_settings(), loop, window.start, window.end, _log.info)
    except NotBuilt:
        raise  # the only failure that a later try mends
    except Exception as failed:
        raise AirflowFailException(f"{type(failed).__name__}: {failed}") from failed


@task.short_circuit
def decide_rollout(loop_name: str) -> dict[str, Any] | None:
    """Judge each day since the last look; stop the run here when no rollout runs."""
    from ratchet.stages.rollout import decide

    context = get_current_context()
    as_of, is_dry = windows.as_of(context), windows.is_dry(context)
    return decide(load_settings(), loop_named(loop_name), as_of, _log.info, is_dry=is_dry)


@task
def apply_rollout(loop_name: str, decided: dict[str, Any]) -> dict[str, Any]:
    """Carry out the decision that `decide_rollout` recorded; skip one that waits for people or for a release day."""
    from ratchet.stages.applying import Waits, apply

    as_of = datetime.fromisoformat(decided["as_of"])
    try:
        applied = apply(load_settings(), loop_named(loop_name), decided["decision"], as_of, _log.info)
    except Waits as waits:
        raise AirflowSkipException(str(waits)) from None
    _stamp(f"{loop_name}__routing", {"as_of": applied["as_of"]})
    return applied


@task(retries=0)
def drill_gates(loop_name: str) -> dict[str, Any]:
    """Send planted bad candidates to the judge; fail when one is not refused for its fault."""
    from ratchet.stages.drill import drill

    context = get_current_context()
    as_of = (
        windows.as_of(context)
        if context["params"].get("as_of")
        else windows.window_of(context, loop_named(loop_name)).as_of
    )
    drilled = drill(load_settings(), loop_named(loop_name), as_of, _log.info)
    if drilled["failed"]:
        raise AirflowFailException(f"the gates let through or misnamed: {', '.join(drilled['failed'])}")
    return drilled


@task(retries=0)
def drill_rollback(loop_name: str) -> dict[str, Any]:
    """Rehearse a rollback on a shadow; fail when a former champion is there and can't serve."""
    from ratchet.stages.drill_rollback import drill

    context = get_current_context()
    loop = loop_named(loop_name)
    as_of = (
        windows.as_of(context) if context["params"].get("as_of") else windows.window_of(context, loop).as_of
    )
    drilled = drill(load_settings(), loop, as_of, _log.info)
    if drilled["outcome"] == "failed":
        raise AirflowFailException("; ".join(drilled["problems"]))
    if drilled["outcome"] == "no target":
        raise AirflowSkipException("; ".join(drilled["problems"]))
    return {"to": drilled["to"], "seconds": drilled["seconds"], "scored": drilled["scored"]}
