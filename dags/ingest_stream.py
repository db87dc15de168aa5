"""After a run, every message that the loop's queues had is landed in its received day, and those days are judged.

1. `pull_stream` reads the queues and leaves the messages as files in the landing folder; only what is on disk is
   acknowledged. It stops the run here when nothing waits.
2. `land_pulled` lands those files like any other: quarantine, duplicates and counts are the same.
3. `gate_pulled` judges the days of the queues' sources and announces the raw events.
4. `hold_blocked` turns the run red when a partition was blocked; the green ones go on regardless.

A watcher starts it when messages come, at most once a gathering window; runs come one at a time, and events that
arrive meanwhile gather. On failure nothing is lost: what was not acknowledged is delivered again, what was is on disk.
On a second run there is nothing to pull. A queue that is down is tried again for five minutes; the daily run of
`ingest_events` pulls what no event started a run for. Only loops with a source of adapter `stream` have this DAG.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.source_tasks import gate_pulled, land_pulled, pull_stream
from ratchet.airflow.tasks import hold_blocked
from ratchet_dags import defaults
from ratchet_dags.assets import any_queue_of, assets_of

for loop in declared_loops():
    queues = any_queue_of(loop)
    if queues is None:
        continue
    assets = assets_of(loop.loop)

    @dag(
        dag_id=f"{loop.loop}__ingest_stream",
        schedule=queues,
        **defaults.of(loop, __doc__, minutes=30),
    )
    def ingest_stream() -> None:
        """Pull, land, judge, hold what is blocked."""
        days = pull_stream(loop.loop)
        landed = land_pulled.override(pool=defaults.WAREHOUSE_POOL)(loop.loop, days)
        judged = gate_pulled.override(
            pool=defaults.WAREHOUSE_POOL, outlets=[assets.alias(assets.raw_events)]
        )(loop.loop, days)
        held = hold_blocked(judged)

        days >> landed >> judged >> held

    ingest_stream()
