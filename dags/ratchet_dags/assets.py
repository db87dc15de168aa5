"""The map of the pipeline: every asset in flow order, and which DAG makes and which DAG awaits it.

    ingest_events   -> raw_events
    ingest_stream   <- a queue's watcher -> raw_events (loops with a stream source)
    build_warehouse <- raw_events       -> features, judgeable
    monitor_model   <- judgeable        -> health, retrain_request
    run_rollout     <- health           -> routing
    train_model     <- retrain_request  -> challenger

score_batch reads features and routing and leaves prediction files for ingest_events; it is scheduled by
time, never on an asset that it feeds. What must stay out of here: DAGs, tasks, rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetAlias, AssetAny, AssetWatcher

if TYPE_CHECKING:
    from ratchet.loop import Loop


@dataclass(frozen=True)
class LoopAssets:
    """The assets of one loop."""

    raw_events: Asset
    """Partitions of source rows landed and their landing gate judged; at least one is green."""
    features: Asset
    """Feature partitions built; those whose gate is green are visible."""
    judgeable: Asset
    """Facts that monitoring and rollouts judge (predictions, outcomes, feedback) were rebuilt."""
    health: Asset
    """A health record of the served model was written."""
    retrain_request: Asset
    """The policy opened a retrain request."""
    challenger: Asset
    """A candidate passed evaluation and is on trial (or is the first champion)."""
    routing: Asset
    """What serves changed; it holds from the next scoring run."""

    def alias(self, asset: Asset) -> AssetAlias:
        """The name under which a task may announce `asset`, or leave it be."""
        return AssetAlias(name=f"{asset.name}__when_any")


def assets_of(loop: str) -> LoopAssets:
    """The assets of `loop`, named <loop>__<asset>."""

    def asset(name: str) -> Asset:
        return Asset(name=f"{loop}__{name}", uri=f"ratchet://{loop}/{name}")

    return LoopAssets(
        raw_events=asset("raw_events"),
        features=asset("features"),
        judgeable=asset("judgeable"),
        health=asset("health"),
        retrain_request=asset("retrain_request"),
        challenger=asset("challenger"),
        routing=asset("routing"),
    )


def any_queue_of(loop: Loop) -> AssetAny | None:
    """Messages wait in one of the loop's queues; None when no source of the loop is one."""
    if not any(source.adapter == "stream" for source in loop.sources.values()):
        return None
    from ratchet.airflow.watchers import StreamTrigger

    queues = [
        Asset(
            name=f"{loop.loop}__queue_{name}",
            uri=f"ratchet://{loop.loop}/queue/{name}",
            watchers=[
                AssetWatcher(
                    name=f"{loop.loop}__queue_{name}",
                    trigger=StreamTrigger(str(source.connection), str(source.stream), source.group),
                )
            ],
        )
        for name, source in sorted(loop.sources.items())
        if source.adapter == "stream"
    ]
    return AssetAny(*queues)
