"""After a run, former champions were scored on recent days again: quality against a model's age is known.

1. `measure_staleness` takes a sample of labelled units of each of the last 28 days whose label windows are over, scores
   it with each champion of the past by its registered JSON, in a process of its own, and keeps day sums in
   `ops.staleness_daily`. Days that a version learnt from are left out. Nothing that serves is touched; a version that
   was withdrawn is measured and serves nobody. The next health record publishes the curve.

It fails when a former champion is there and can't be loaded by its hash or gives no scores; the others' sums are kept.
It skips when there is nothing to measure yet. A second run for the same as-of replaces the same rows.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import measure_staleness
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults

for loop in declared_loops():

    @dag(
        dag_id=f"{loop.loop}__measure_staleness",
        schedule=SpanTimetable("30 5 * * 3", loop.data_span.end),
        params={**defaults.RANGE, **defaults.AS_OF},
        **defaults.of(loop, __doc__, minutes=10),
    )
    def measure() -> None:
        """Measure."""
        measure_staleness.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)

    measure()
