"""After a run, a rollback was rehearsed on a shadow, and the ledger says how many seconds it takes.

1. `drill_rollback` copies the decisions into a ledger of its own, rolls back there to the last champion that can
   serve, with aliases in memory and a routing file in a folder that goes away, loads that model by its hash, scores
   the newest units with it and compares alias, flag file and ledger. What serves is not touched.

It fails when a former champion is there and can't be loaded, does not fit today's features or gives no scores:
`docs/runbooks/rollback.md` says what to do. It skips when nothing was promoted before what serves. A second run is a
second measurement.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import drill_rollback
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults

for loop in declared_loops():

    @dag(
        dag_id=f"{loop.loop}__drill_rollback",
        schedule=SpanTimetable("0 5 * * 2", loop.data_span.end),
        params={**defaults.RANGE, **defaults.AS_OF},
        **defaults.of(loop, __doc__, minutes=10),
    )
    def drill() -> None:
        """Drill."""
        drill_rollback(loop.loop)

    drill()
