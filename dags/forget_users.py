"""After a run, nothing is left of the people whose requests lay in the landing folder, and nothing brings them back.

1. `forget_users` reads the files in `<landing>/<loop>/forget_requests/`, an id a line. For each person it writes the
   request to the ledger, makes landing drop their rows, takes them out of tables, quarantine, files and snapshots,
   builds anew what they were part of, rewrites the disk, flags the models that learned from them, and deletes the files
   of requests. A retrain is asked for if the loop file says so.

On failure retry: each step of each person is written down when it is done. A second run finds no request and skips.
`docs/runbooks/forget.md` says what to check.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.people_tasks import forget_users
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults
from ratchet_dags.assets import assets_of

for loop in declared_loops():
    assets = assets_of(loop.loop)

    @dag(
        dag_id=f"{loop.loop}__forget_users",
        schedule=SpanTimetable("0 2 * * *", loop.data_span.end),
        params={**defaults.RANGE, **defaults.AS_OF},
        **defaults.of(loop, __doc__, minutes=240),
    )
    def forget() -> None:
        """Forget."""
        forget_users.override(pool=defaults.WAREHOUSE_POOL, outlets=[assets.alias(assets.retrain_request)])(
            loop.loop
        )

    forget()
