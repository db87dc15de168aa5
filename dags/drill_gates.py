"""After a run, the planted bad candidates were each refused, and the ledger says by which gate.

1. `drill_gates` takes the newest training snapshot, plants a fault in it and sends each candidate to the same
   gates and judge as a real one: labels shuffled, stale rows, a feature that tells the outcome, one cohort
   harmed, known rows among those judged, a feature against its direction, gaps scored as certain, a column known
   only after departure. None is ever registered.

It fails when a planted candidate passes, or is refused for another reason than its fault: then the gates
can't be trusted, and `docs/runbooks/gate-blocked.md` says what to do. Start it by hand or on a calendar.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import drill_gates
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults

for loop in declared_loops():

    @dag(
        dag_id=f"{loop.loop}__drill_gates",
        schedule=SpanTimetable("0 6 * * 1", loop.data_span.end),
        params={**defaults.RANGE, **defaults.AS_OF},
        **defaults.of(loop, __doc__, minutes=30),
    )
    def drill() -> None:
        """Drill."""
        drill_gates.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)

    drill()
