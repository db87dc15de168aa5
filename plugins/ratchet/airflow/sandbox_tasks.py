"""The task of the sandbox's DAG."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from ratchet.airflow.loops import loop_named
from ratchet.settings import load_settings

_log = logging.getLogger("ratchet.task")


@task(retries=0)
def run_experiment(loop_name: str) -> dict[str, Any]:
    """Train and judge the candidates of the parameter `experiment` side by side; nothing that serves changes."""
    from ratchet.sandbox.spec import SpecError, spec_of
    from ratchet.stages.sandbox import run

    loop = loop_named(loop_name)
    try:
        spec = spec_of(get_current_context()["params"]["experiment"], loop, "parameter experiment")
        found = run(load_settings(), loop, spec, _log.info)
    except SpecError as error:
        raise AirflowFailException(str(error)) from None
    return {
        "name": found["name"],
        "snapshot": found["snapshot"],
        "candidates": {one["name"]: one["verdict"] for one in found["candidates"]},
    }
