"""The tasks of sources that are no files: pull what a table or a queue has, then land and judge the days it is of.

What must stay out of here: rules, SQL, frames, and any address: a task's summary goes to XCom.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from ratchet.airflow import windows
from ratchet.airflow.connections import with_connections
from ratchet.airflow.events import announce
from ratchet.airflow.loops import loop_named
from ratchet.connections import ConnectionMissing
from ratchet.loop import Loop
from ratchet.settings import Settings, load_settings

_log = logging.getLogger("ratchet.task")


def has_sources(loop: Loop) -> bool:
    """Whether a source of the loop has to be pulled before its files can land."""
    return any(source.adapter != "files" for source in loop.sources.values())


def _settings(loop_name: str) -> Settings:
    try:
        return with_connections(load_settings(), loop_named(loop_name))
    except ConnectionMissing as missing:
        raise AirflowFailException(str(missing)) from None


# A source that is down comes back: the task waits for it longer than for anything of our own. It takes no slot of
# the warehouse's pool: the warehouse is asked for a watermark before and after, and nobody waits for a slow source.
@task(retries=5, retry_delay=timedelta(minutes=1))
def pull_sources(loop_name: str) -> dict[str, Any]:
    """Put what tables have for the window, and all that queues have, into the landing folder."""
    from ratchet.stages.pull import pull

    context, loop = get_current_context(), loop_named(loop_name)
    window = windows.window_of(context, loop, days_before=1)
    kind = context["dag_run"].run_type
    whole = bool(context["params"].get("start")) or getattr(kind, "value", kind) == "backfill"
    try:
        return pull(_settings(loop_name), loop, window.start, window.end, _log.info, whole=whole)
    except ConnectionMissing as missing:
        raise AirflowFailException(str(missing)) from None


@task.short_circuit(retries=5, retry_delay=timedelta(minutes=1))
def pull_stream(loop_name: str) -> dict[str, list[str]] | None:
    """Put what the queues have into the landing folder; stop the run here when nothing is there to land."""
    from ratchet.stages.pull import drain

    try:
        return drain(_settings(loop_name), loop_named(loop_name), _log.info)["days"] or None
    except ConnectionMissing as missing:
        raise AirflowFailException(str(missing)) from None


@task
def land_pulled(loop_name: str, days: dict[str, list[str]]) -> dict[str, dict[str, int]]:
    """Land the pulled days of their sources."""
    from ratchet.stages.pull import land_days

    return land_days(load_settings(), loop_named(loop_name), days, _log.info)


@task
def gate_pulled(loop_name: str, days: dict[str, list[str]]) -> dict[str, Any]:
    """Judge the pulled days of their sources; announce them when at least one is green."""
    from ratchet.stages.pull import judge_days

    judged = judge_days(load_settings(), loop_named(loop_name), days, _log.info)
    if judged["green"]:
        announce(f"{loop_name}__raw_events", {"as_of": judged["as_of"]})
    return judged
