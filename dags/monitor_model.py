"""After a run, the served model has a health record, and the policy has asked for a retrain or said why not.

1. `measure_health` compares the served model's inputs, quality and calibration with its training profile.
2. `decide_retrain` applies the loop file's trigger policy: routine, event or urgent; it opens one request
   at most, and writes each request and refusal to the ledger with its evidence.

A run by hand, or one that only backfills started, measures only, unless its parameter `apply` is set.

On failure nothing is decided; retry. On a second run for the same as-of the first decision stands.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import decide_retrain, measure_health
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
        """Measure, decide."""
        measured = measure_health.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        decided = decide_retrain.override(outlets=[assets.health, assets.alias(assets.retrain_request)])(
            loop.loop
        )

        measured >> decided

    monitor_model()
