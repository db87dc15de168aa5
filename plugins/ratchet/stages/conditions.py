"""The three conditions that a training waits for, judged on published summaries and the ledger.

Never opens the warehouse: a sensor that looks every second must not hold a build back.
"""

from __future__ import annotations

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.jobs import NoJob, job_for, training_window
from ratchet.stages.records import ledger_of, state_of
from ratchet.triggers.readiness import Readiness, gates_green, labels_ready, request_open

CONDITIONS = ("request", "labels", "gates")


def check(settings: Settings, loop: Loop, condition: str, mode: str) -> Readiness:
    """Whether `condition` holds for the loop's next training, and the reason either way.

    Labels and gates are judged at the as-of of the newest published build: time is data.

    Raises:
        ValueError: there is no such condition.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"there is no condition {condition!r}; there are {', '.join(CONDITIONS)}")
    state = state_of(settings, loop)
    if condition == "request":
        if mode == "bootstrap":
            known = ledger_of(settings).entries(loop.loop, ["bootstrap"])
            return request_open(None if known else {"id": "bootstrap", "tier": "the first champion"})
        open_ = state.request
        return request_open(None if open_ is None else {"id": open_.key, "tier": open_.tier})
    published = read(settings, loop.loop, "partitions")
    if published is None:
        return Readiness(False, "no build was published yet")
    built = pd.Timestamp(published["as_of"]).to_pydatetime()
    if mode == "bootstrap":
        as_of = built
    else:
        try:
            as_of = job_for(settings, loop, mode, None, None).as_of
        except NoJob as missing:
            return Readiness(False, str(missing))
    start, end = training_window(loop, as_of)
    if condition == "labels":
        maturity = (read(settings, loop.loop, "label_maturity") or {"days": []})["days"]
        if not maturity:
            return Readiness(False, "no build has published the labels' maturity yet")
        return labels_ready(loop, pd.DataFrame(maturity), start, end, built)
    judged = [
        {"border": "features", "table_name": loop.features.table, "partition_date": day, "verdict": verdict}
        for day, verdict in published["features"]["verdicts"].items()
    ]
    if not judged:
        return Readiness(False, "no feature partition was judged yet")
    return gates_green(pd.DataFrame(judged), start, end)
