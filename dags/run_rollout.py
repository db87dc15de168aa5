"""After a run, each day since the last look was judged, and what the verdict changes is in force.

1. `decide_rollout` judges the running rollout day by day, in date order, from the arms' sums: hold, advance,
   roll back, promote or inconclusive, each look one ledger entry. Without a rollout it stops here.
2. `apply_rollout` carries out the last decision: aliases, routing file, ledger. It refuses without a decision.

A run by hand only says what it would decide, unless its parameter `apply` is set.

On failure nothing is half applied that a retry does not finish. On a second run the recorded looks stand.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import apply_rollout, decide_rollout
from ratchet_dags import defaults
from ratchet_dags.assets import assets_of

for loop in declared_loops():
    assets = assets_of(loop.loop)

    @dag(
        dag_id=f"{loop.loop}__run_rollout",
        schedule=[assets.health],
        params={**defaults.AS_OF, **defaults.APPLY},
        **defaults.of(loop, __doc__, minutes=20),
    )
    def run_rollout() -> None:
        """Decide, apply."""
        decided = decide_rollout.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        applied = apply_rollout.override(pool=defaults.WAREHOUSE_POOL, outlets=[assets.routing])(
            loop.loop, decided
        )

        decided >> applied

    run_rollout()
