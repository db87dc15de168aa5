"""After a run, the served model has a health record and its incidents, and the policy has asked for a retrain or not.

1. `measure_health` compares the served model's inputs, quality and calibration with its training profile.
2. `judge_incidents` opens, updates and closes incidents from the record's signals: one for a cause.
3. `decide_retrain` applies the loop file's trigger policy: routine, event or urgent; it opens one request
   at most, and writes each request and refusal to the ledger with its evidence.
4. `answer_urgent` does what an urgent decision says comes first: roll back, or let a constant serve. Only then is the
   request announced. Without an urgent decision it changes nothing.

Where the loop file names channels (`monitoring.notify`), `send_notices` then tells them of incidents that were opened,
got worse or closed, each once.

A run by hand, or one that only backfills started, measures only, unless its parameter `apply` is set.

On failure nothing is decided; retry. On a second run for the same as-of the first decision stands.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import (
    answer_urgent,
    decide_retrain,
    judge_incidents,
    measure_health,
    send_notices,
)
from ratchet_dags import defaults
from ratchet_dags.assets import assets_of

for loop in declared_loops():
    assets = assets_of(loop.loop)

    @dag(
        dag_id=f"{loop.loop}__monitor_model",
        schedule=[assets.judgeable],
        params={**defaults.AS_OF, **defaults.APPLY},
        **defaults.of(loop, __doc__, minutes=20),
    )
    def monitor_model() -> None:
        """Measure, judge, decide, answer."""
        measured = measure_health.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        judged = judge_incidents(loop.loop)
        decided = decide_retrain(loop.loop)
        answered = answer_urgent.override(outlets=[assets.health, assets.alias(assets.retrain_request)])(
            loop.loop, decided
        )

        measured >> judged >> decided >> answered
        if loop.monitoring.notify:
            answered >> send_notices(loop.loop)

    monitor_model()
