"""The tasks about the people behind feedback: forgetting them, telling them what became of what they said, and what
others say that it is about."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from ratchet.airflow import windows
from ratchet.airflow.events import announce as _announce
from ratchet.airflow.loops import loop_named
from ratchet.settings import load_settings

_log = logging.getLogger("ratchet.task")


@task
def forget_users(loop_name: str) -> dict[str, Any]:
    """Forget everybody whom the files of requests name; a retrain that is asked for is announced."""
    from ratchet.stages.forget_requests import forget_requested
    from ratchet.stages.records import ledger_of

    settings = load_settings()
    done = forget_requested(settings, loop_named(loop_name), _log.info)
    if not done["files"]:
        raise AirflowSkipException("no request lies in the landing folder")
    if done["retrain"]:
        entry = ledger_of(settings).find(loop_name, done["retrain"])
        if entry is not None:
            _announce(f"{loop_name}__retrain_request", {"as_of": entry.as_of, "request": entry.key})
    return done


@task
def write_receipts(loop_name: str) -> dict[str, Any]:
    """Write the receipts of the last period that is over."""
    from ratchet.stages.receipts import write

    loop = loop_named(loop_name)
    context = get_current_context()
    window = windows.window_of(context, loop, days_before=1)
    as_of = datetime.combine(window.end + timedelta(days=1), datetime.min.time())
    return write(load_settings(), loop, as_of, _log.info)


@task
def send_receipts(loop_name: str) -> dict[str, int]:
    """Send what waits in the outbox, at most as many as the loop file allows."""
    from ratchet.airflow.receipt_sender import deliver
    from ratchet.stages.receipts import send

    return send(load_settings(), loop_named(loop_name), deliver, _log.info)


@task
def report_annotation(loop_name: str) -> dict[str, Any]:
    """Take the page's labels and publish how far people's labels agree and which answers wait for one."""
    from ratchet.stages.annotating import report_of_day

    loop = loop_named(loop_name)
    window = windows.window_of(get_current_context(), loop, days_before=1)
    return report_of_day(load_settings(), loop, window.as_of, _log.info)
