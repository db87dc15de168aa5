"""After a run, a model that nobody measured for too long has an incident, and whoever has to know was told.

1. `watch_silence` compares the newest health record with the end of the run's day; older than the loop file's
   `monitoring.alerts.silent_after_hours`, it opens an incident: silence is no good news.

Where the loop file names channels (`monitoring.notify`), `send_notices` tells them what happened, and sends again what
an earlier run could not.

On failure retry: a notice that was sent is not sent again. On a second run nothing changes.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import send_notices, watch_silence
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults

for loop in declared_loops():

    @dag(
        dag_id=f"{loop.loop}__watch_incidents",
        schedule=SpanTimetable("0 7 * * *", loop.data_span.end),
        params={**defaults.RANGE, **defaults.AS_OF},
        **defaults.of(loop, __doc__, minutes=10),
    )
    def watch_incidents() -> None:
        """Watch, tell."""
        watched = watch_silence(loop.loop)
        if loop.monitoring.notify:
            watched >> send_notices(loop.loop)

    watch_incidents()
