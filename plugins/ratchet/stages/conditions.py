"""The three conditions that a training waits for, judged on published summaries and the ledger.

Never opens the warehouse: a sensor that looks every second must not hold a build back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.jobs import Job, JobClosed, NoJob, Wanted, job_for, training_window
from ratchet.stages.records import ledger_of, state_of
from ratchet.triggers.readiness import Readiness, gates_green, labels_ready, request_open

CONDITIONS = ("request", "labels", "gates")
#: Without these sources a window has no labels, however green its features are.
LABEL_SOURCES = ("schedule", "outcomes")


def check(settings: Settings, loop: Loop, condition: str, wanted: Wanted) -> Readiness:
    """Whether `condition` holds for the job that the run was started for, and the reason either way.

    Labels and gates are judged at the as-of of the newest published build: time is data.

    Raises:
        ValueError: there is no such condition.
        JobClosed: the job is answered already, or can't ever be done: waiting would not help.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"there is no condition {condition!r}; there are {', '.join(CONDITIONS)}")
    try:
        job = job_for(settings, loop, wanted)
    except JobClosed:
        raise
    except NoJob as missing:
        return Readiness(False, str(missing))
    requested = _request(settings, loop, wanted, job)
    if condition == "request":
        return requested
    published = read(settings, loop.loop, "partitions")
    if published is None:
        return Readiness(False, "no build was published yet")
    start, end = training_window(loop, job.as_of)
    if condition == "labels":
        maturity = (read(settings, loop.loop, "label_maturity") or {"days": []})["days"]
        if not maturity:
            return Readiness(False, "no build has published the labels' maturity yet")
        built = datetime.fromisoformat(published["as_of"])
        return labels_ready(loop, pd.DataFrame(maturity), start, end, built)
    # The holdout's labels must be complete, those received last included; older holes were accepted before.
    since = end - timedelta(days=loop.training.holdout_days)
    held = [
        f"{item['table_name']} {item['partition_date']}"
        for item in published.get("blocked", ())
        if item["border"] == "landing" and item["table_name"] in LABEL_SOURCES
        and since.isoformat() <= item["partition_date"] < job.as_of.date().isoformat()
    ]  # fmt: skip
    if held:
        return Readiness(False, f"the landing gate holds {', '.join(held[:5])}")
    judged = [
        {"border": "features", "table_name": loop.features.table, "partition_date": day, "verdict": verdict}
        for day, verdict in published["features"]["verdicts"].items()
    ]
    if not judged:
        return Readiness(False, "no feature partition was judged yet")
    return gates_green(pd.DataFrame(judged), start, end)


def _request(settings: Settings, loop: Loop, wanted: Wanted, job: Job) -> Readiness:
    if wanted.is_dry:
        return request_open({"id": job.request, "tier": "by hand, dry"})
    if wanted.mode == "bootstrap":
        return request_open({"id": job.request, "tier": "the first champion"})
    open_ = state_of(settings, loop).request
    if open_ is None or open_.key != job.request:
        offered = ledger_of(settings).find(loop.loop, f"evaluation:{job.request}")
        raise JobClosed(
            f"request {job.request} is closed"
            + ("" if offered is None else f": {offered.payload['verdict']}")
        )
    return request_open({"id": open_.key, "tier": open_.tier})
