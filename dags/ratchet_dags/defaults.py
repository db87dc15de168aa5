"""Defaults of every DAG: owner, retries, time limits, tags. What must stay out of here: DAGs and rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from ratchet.airflow.notify import tell_of_failure

if TYPE_CHECKING:
    from ratchet.loop import Loop

#: One slot on DuckDB: a file has one writing process, and a reader keeps the writer out. Four on Postgres, where
#: landings run side by side and builds of a loop wait for each other.
WAREHOUSE_POOL = "warehouse"

_DATE = r"^\d{4}-\d{2}-\d{2}$"

#: A range of received dates; empty means the run's own partition.
RANGE = {
    "start": Param(
        None,
        type=["null", "string"],
        pattern=_DATE,
        title="First received date",
        description="Lands a range in one task. Leave empty for the run's own partition.",
    ),
    "end": Param(None, type=["null", "string"], pattern=_DATE, title="Last received date (inclusive)"),
}

#: The time that a hand-started run is judged at; asset-started runs take it from the event.
AS_OF = {
    "as_of": Param(
        None,
        type=["null", "string"],
        pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}$",
        title="As-of (UTC)",
        description="Judge as of this time. Leave empty to take it from the event.",
    ),
}

#: A run by hand that would change what users get reports only, unless this is set.
APPLY = {
    "apply": Param(
        False,
        type="boolean",
        title="Apply",
        description="Only for runs by hand: without it the run says what it would do and changes nothing that serves.",
    ),
}


def of(loop: Loop, doc: str | None, *, minutes: int, active_runs: int = 1) -> dict[str, Any]:
    """Keyword arguments of `@dag` for a stage of `loop`; a task may take `minutes` at most."""
    start = datetime.combine(loop.data_span.start, datetime.min.time(), tzinfo=UTC)
    told = {"on_failure_callback": tell_of_failure(loop.loop)} if loop.monitoring.notify else {}
    return {
        "start_date": start,
        "catchup": False,
        "max_active_runs": active_runs,
        "tags": ["ratchet", loop.loop],
        "owner_links": {loop.owner.team: f"mailto:{loop.owner.contact}"},
        "doc_md": doc,
        "default_args": {
            "owner": loop.owner.team,
            "retries": 1,
            "retry_delay": timedelta(seconds=5),
            "execution_timeout": timedelta(minutes=minutes),
            **told,
        },
    }
