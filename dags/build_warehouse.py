"""After a run, every dirty partition is in the facts and features, judged, and visible if its gate is green.

1. `collect_dirty` takes the list of dirty partitions and writes down the dates that they reach.
2. `build_models` builds all of those dates in one dbt invocation, tests included.
3. `gate_features` judges each feature partition.
4. `publish_partitions` lets consumers see the green ones, and says what is still dirty.

Runs one at a time: events that arrive meanwhile gather into the next run. On failure the list stays dirty
and the last published state stays visible; retry. On a second run there is nothing dirty and it stops at 1.
"""

from __future__ import annotations

from airflow.sdk import dag

from ratchet.airflow.dbt import DbtBuild
from ratchet.airflow.loops import declared_loops
from ratchet.airflow.tasks import collect_dirty, gate_features, publish_partitions
from ratchet_dags import defaults
from ratchet_dags.assets import assets_of

for loop in declared_loops():
    assets = assets_of(loop.loop)

    @dag(
        dag_id=f"{loop.loop}__build_warehouse",
        schedule=[assets.raw_events],
        params=defaults.AS_OF,
        **defaults.of(loop, __doc__, minutes=60),
    )
    def build_warehouse() -> None:
        """Collect, build, judge, publish."""
        dirty = collect_dirty.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        built = DbtBuild.of(task_id="build_models", loop=loop.loop, pool=defaults.WAREHOUSE_POOL)
        judged = gate_features.override(pool=defaults.WAREHOUSE_POOL)(loop.loop)
        published = publish_partitions.override(
            pool=defaults.WAREHOUSE_POOL, outlets=[assets.features, assets.alias(assets.judgeable)]
        )(loop.loop)

        dirty >> built >> judged >> published

    build_warehouse()
