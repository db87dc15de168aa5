"""After a run, everybody who gave feedback in the last period has one receipt, and those who want it were sent theirs.

1. `write_receipts` writes, once a person and period, what was received, as what it was understood, what it was used for
   or why not, and whether the problem went down, to `ops.receipts_outbox`.
2. `report_annotation` takes the labels of the page *Annotation* and publishes how far labels agree, who drifts and
   which answers wait for a label. The report of a later day stays.
3. `send_receipts` sends what waits through the loop file's `receipts.channel`, at most `receipts.per_run`. Without a
   channel nothing is ever sent.

On failure retry: a receipt that is there is not written again, one that was sent is not sent again. On a second run
nothing changes.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.people_tasks import report_annotation, send_receipts, write_receipts
from ratchet.airflow.timetable import SpanTimetable
from ratchet_dags import defaults

for loop in declared_loops():

    @dag(
        dag_id=f"{loop.loop}__answer_feedback",
        schedule=SpanTimetable("0 8 * * *", loop.data_span.end),
        params={**defaults.RANGE, **defaults.AS_OF},
        **defaults.of(loop, __doc__, minutes=60),
    )
    def answer_feedback() -> None:
        """Write, report, send."""
        written = write_receipts.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        reported = report_annotation.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)

        written >> reported
        if loop.receipts.channel is not None:
            reported >> send_receipts.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)

    answer_feedback()
