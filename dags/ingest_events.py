"""After a run, the received dates of its partition (or range) are landed, and each partition is judged.

1. `land_files` lands the files of every source with both clocks on each row; a malformed row goes to
   quarantine with its reason; read = landed + quarantined + duplicate, asserted.
2. `gate_landing` judges each partition with the landing suites and announces the raw events.
3. `hold_blocked` turns the run red when a partition was blocked; the green ones go on regardless.

A loop with tables or queues among its sources has `pull_sources` before the first step: it leaves their rows as
files in the landing folder, and what events missed is pulled here.

On failure nothing of the failed date is visible; retry the task. On a second run every row is a duplicate
and nothing changes. The logical date is the received date: backfill it in the UI, or give a range. A run for
one date lands the day before again, for files that came after that day's run.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.source_tasks import has_sources, pull_sources
from ratchet.airflow.tasks import gate_landing, hold_blocked, land_files
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults
from ratchet_dags.assets import assets_of

for loop in declared_loops():
    assets = assets_of(loop.loop)

    @dag(
        dag_id=f"{loop.loop}__ingest_events",
        schedule=SpanTimetable("0 0 * * *", loop.data_span.end),
        params=defaults.RANGE,
        **defaults.of(loop, __doc__, minutes=30),
    )
    def ingest_events() -> None:
        """Land, judge, hold what is blocked."""
        pulled = pull_sources(loop.loop) if has_sources(loop) else None
        landed = land_files.override(pool=defaults.WAREHOUSE_POOL)(loop.loop, pulled)
        judged = gate_landing.override(
            pool=defaults.WAREHOUSE_POOL, outlets=[assets.alias(assets.raw_events)]
        )(loop.loop, pulled)
        held = hold_blocked(judged)

        landed >> judged >> held

    ingest_events()
