"""Carry out a backfill in this process: land, judge, build, judge, publish. It decides nothing.

Each step is the one that the DAGs call, takes the same locks and may be repeated: what a backfill that died had
landed is known to the next one, and what it had not built is still dirty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from ratchet.landing.report import Progress
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.build import collect, judge_features, publish
from ratchet.stages.dbt_environment import build, warehouse_for_dbt
from ratchet.stages.ingest import judge_landing, land
from ratchet.stages.skew import skew_between, told
from ratchet.warehouse.lock import acquire, holder, release
from ratchet.warehouse.protocol import WarehouseLocked

Log = Callable[[str], None]
STEPS = ("land", "judge what landed", "collect what is dirty", "build", "judge features", "publish")


@dataclass(frozen=True)
class Told:
    """How a backfill says what it does: a line, a step that begins, and how far landing is."""

    log: Log
    step: Callable[[str], None]
    landing: Callable[[Progress], None] | None = None


def run_backfill(settings: Settings, loop: Loop, start: date, end: date, tell: Told) -> dict[str, Any]:
    """Land the received dates `start` to `end` and build what they reach; counts, what is blocked, what changed.

    Raises:
        LandingError: a partition can't vouch for its counts; what came before it is kept. Run it again.
        BuildFailed: a model or a test failed; nothing was published. Run it again.
        WarehouseLocked: another process kept the warehouse for longer than the settings wait.
    """
    as_of = datetime.combine(end + timedelta(days=1), datetime.min.time())
    tell.step(STEPS[0])
    _say_who_holds(settings, tell.log)
    _pull(settings, loop, start, end, tell.log)
    landed = land(settings, loop, start, end, tell.log, tell.landing)
    tell.step(STEPS[1])
    judged = judge_landing(settings, loop, start, end, as_of, tell.log)
    tell.step(STEPS[2])
    _say_who_holds(settings, tell.log)
    done: dict[str, Any] = {
        "start": start.isoformat(),
        "end": end.isoformat(),
        "sources": landed["sources"],
        "landing_blocked": judged["blocked"],
        "built": None,
    }
    # From the list of what is dirty to its publication: another build in between would take it over half-way.
    with warehouse_for_dbt(settings, ["build", "--selector", loop.loop]):
        taken = collect(settings, loop, as_of, tell.log)
        if taken is None:
            return done
        tell.step(STEPS[3])
        build(settings, loop)
        tell.step(STEPS[4])
        features = judge_features(settings, loop, as_of, tell.log)
        tell.step(STEPS[5])
        published = publish(settings, loop, as_of, tell.log)
    skew = skew_between(settings, loop, date.fromisoformat(taken["from"]), date.fromisoformat(taken["to"]))
    return {
        **done,
        "built": taken,
        "features_blocked": features["blocked"],
        "visible": published["visible"],
        "dirty": published["dirty"],
        "as_of": published["as_of"],
        "skew": skew,
        "skew_told": told(skew),
    }


def monitor_after(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Measure health as of the newest build and apply the trigger policy: only for who asked for it.

    Raises:
        NotMeasured: there is no champion, or health was measured later already.
    """
    from ratchet.stages.monitor import measure
    from ratchet.stages.triggering import decide

    measure(settings, loop, as_of, log)
    return decide(settings, loop, as_of, log)


def _pull(settings: Settings, loop: Loop, start: date, end: date, log: Log) -> None:
    if any(source.adapter != "files" for source in loop.sources.values()):
        from ratchet.stages.pull import pull

        pull(settings, loop, start, end, log, whole=True)


def _say_who_holds(settings: Settings, log: Log) -> None:
    """Say so when the next step will have to wait, and for whom."""
    if settings.engine != "duckdb":
        return
    try:
        acquire(settings.warehouse_lock_path, "a look whether the warehouse is free", 0.0)
    except WarehouseLocked:
        log(
            f"waiting for the warehouse, which {holder(settings.warehouse_lock_path)} has; "
            f"at most {settings.lock_wait_seconds:g} s"
        )
    else:
        release(settings.warehouse_lock_path)
