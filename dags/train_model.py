"""After a run, a candidate was trained for the open request and is on trial, or was refused with its reasons.

1. `wait_for_request`, `wait_for_labels` and `wait_for_gates` defer until a retrain request is open, the labels
   of its window are mature enough and the gates of its window are green; each says what it waits for.
2. `take_snapshot` freezes the training rows as known at the request's as-of: Parquet, manifest, hash.
3. `gate_training` judges the snapshot.
4. `fit_candidate` searches parameters, fits before each evaluation window and on all rows: byte-identical when
   repeated.
5. `evaluate_candidate` judges it on later rows against a constant, a logistic regression, the champion and itself
   without the new rows, cohort by cohort; the ledger keeps the sums that the verdict follows from.
6. `offer_challenger` registers the one that passed, checks that it can be served as it was judged, and puts it on
   trial; a refused one closes the request.

With mode `bootstrap` it makes the first champion of a loop, once. A run by hand stops before 6, unless its
parameter `apply` is set. On failure retry: a model that is
registered already is found again, not registered twice.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.sensors import ConditionSensor
from ratchet.airflow.tasks import (
    evaluate_candidate,
    fit_candidate,
    gate_training,
    offer_challenger,
    take_snapshot,
)
from ratchet_dags import defaults
from ratchet_dags.assets import assets_of

MODE = {
    "mode": Param("retrain", enum=["retrain", "bootstrap"], description="bootstrap: the first champion, once")
}

for loop in declared_loops():
    assets = assets_of(loop.loop)

    @dag(
        dag_id=f"{loop.loop}__train_model",
        schedule=[assets.retrain_request],
        params={**defaults.AS_OF, **defaults.APPLY, **MODE},
        **defaults.of(loop, __doc__, minutes=60),
    )
    def train_model() -> None:
        """Wait, snapshot, judge, fit, evaluate, offer."""
        waits = [
            ConditionSensor(task_id=f"wait_for_{condition}", loop=loop.loop, condition=condition)
            for condition in ("request", "labels", "gates")
        ]
        snapshot = take_snapshot.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        judged = gate_training(loop.loop)
        fitted = fit_candidate(loop.loop)
        evaluated = evaluate_candidate(loop.loop)
        offered = offer_challenger.override(
            pool=defaults.WAREHOUSE_POOL, outlets=[assets.alias(assets.challenger)]
        )(loop.loop)

        waits[0] >> waits[1] >> waits[2] >> snapshot >> judged >> fitted >> evaluated >> offered

    train_model()
