"""After a run, every flight to be predicted in its window has a score from the model that serves it.

1. `score_units` reads the routing in force and the visible features, assigns units to arms by flagd's
   fractional hashing, scores with the arm's model and, silently, with the other, and leaves prediction files
   for `ingest_events`.

It waits, by retrying, until the window's features are built. On a second run only units without a prediction
are scored: one that was made stands. It is never scheduled on an asset that it feeds.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import score_units
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults

for loop in declared_loops():

    @dag(
        dag_id=f"{loop.loop}__score_batch",
        schedule=SpanTimetable("0 0 * * *", loop.data_span.end),
        params=defaults.RANGE,
        **defaults.of(loop, __doc__, minutes=20),
    )
    def score_batch() -> None:
        """Score."""
        score_units.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)

    score_batch()
