"""After a run, each day since the last look was judged, and what the verdict changes is in force.

1. `decide_rollout` judges the running rollout, or the holdback after one, day by day, in date order, from the arms'
   sums: hold, advance, roll back, promote or inconclusive, each look one ledger entry. Without either it stops here.
2. `apply_rollout` carries out the last decision: aliases, routing file, ledger. It refuses without a decision, and
   skips one that waits for people or for a day on which releases are allowed.

Where the loop file wants approvals, `ask_approval_1` stands before the second step and waits for a person (silence is
a no), `read_answer_1` writes what they said to the ledger, and with two people there are two of each. Runs that come
meanwhile go on looking for harm.

A run by hand only says what it would decide, unless its parameter `apply` is set.

On failure nothing is half applied that a retry does not finish. On a second run the recorded looks stand.
"""

from __future__ import annotations

from airflow.sdk import chain, dag

from ratchet.airflow.approval import asking
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
        **defaults.of(loop, __doc__, minutes=20, active_runs=4 if loop.approvals.most_people else 1),
    )
    def run_rollout() -> None:
        """Decide, ask, apply."""
        decided = decide_rollout.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        asked = asking(loop, decided)
        applied = apply_rollout.override(
            pool=defaults.WAREHOUSE_POOL, outlets=[assets.routing], trigger_rule="none_failed"
        )(loop.loop, decided)

        chain(decided, *asked, applied)

    run_rollout()
