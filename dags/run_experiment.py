"""After a run, the recipes of its parameter were trained and judged side by side, and nothing that serves changed.

1. `run_experiment` takes the parameter `experiment` (a snapshot and candidates, as docs/sandbox.md says), fits and
   judges each candidate and the loop file's own recipe on that snapshot, and compares them with the champion and
   with each other. The results lie under `sandbox/` of the state folder and in the MLflow experiment
   `<loop>-sandbox`.

Start it by hand. It opens no warehouse and can move no alias, no routing file and no decision. An experiment that
asks for what there is not fails with what to correct; the same experiment again gives the same answer.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

from ratchet.airflow.loops import declared_loops
from ratchet.airflow.sandbox_tasks import run_experiment
from ratchet_dags import defaults

EXPERIMENT = {
    "experiment": Param(
        {"snapshot": "latest", "candidates": [{"name": "deeper", "params": {"max_depth": 7}}]},
        type="object",
        title="Experiment",
        description="snapshot: latest or an id; candidates: name, and params, features, drop, seed or search_trials.",
        required=["candidates"],
        additionalProperties=False,
        properties={
            "snapshot": {"type": "string", "pattern": "^(latest|[0-9a-f]{4,64})$"},
            "candidates": {"type": "array", "minItems": 1, "maxItems": 40, "items": {"type": "object"}},
        },
    ),
}

for loop in declared_loops():

    @dag(
        dag_id=f"{loop.loop}__run_experiment",
        schedule=None,
        params=EXPERIMENT,
        **defaults.of(loop, __doc__, minutes=120),
    )
    def experiment() -> None:
        """Try recipes side by side."""
        run_experiment(loop.loop)

    experiment()
