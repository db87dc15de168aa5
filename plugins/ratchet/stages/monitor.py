"""The health record of the served model. `ratchet.stages.triggering` applies the trigger policy to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.loop import Loop
from ratchet.monitoring.health import ReferenceQuality, assess_health
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.effects import (
    conditions_of,
    keep_weights,
    publish_themes,
    read_feedback,
    summary_of,
    weigh_feedback,
)
from ratchet.stages.measures import measures_of, publish_measures, read_facts, told
from ratchet.stages.profiles import keep_profile
from ratchet.stages.records import ledger_of
from ratchet.stages.skew import measure_skew
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]
#: A health record looks this far back; its cost does not grow with history.
HISTORY = timedelta(days=35)


class NotMeasured(RuntimeError):
    """There is no health record for this as-of; run measure_health first."""


def measure(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Assess the served model from the day sums and write one ledger entry for `as_of`."""
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state = fold(entries)
    if state.champion_version is None:
        raise NotMeasured(f"loop {loop.loop} has no champion: there is nothing to monitor")
    built = read(settings, loop.loop, "partitions")
    if built is None or as_of.isoformat() > built["as_of"]:
        raise NotMeasured(f"nothing was built as of {as_of}: build the warehouse first")
    newest = max((e.as_of for e in entries if e.kind == "health"), default="")
    if as_of.isoformat() < newest:
        raise NotMeasured(f"health was measured as of {newest}: the past is not judged with today's champion")
    keep_profile(settings, loop, entries, state.champion_version, log)
    with open_warehouse(settings, purpose=f"feedback of {loop.loop}", read_only=True) as warehouse:
        said = read_feedback(warehouse, loop, as_of)
    weighed = None if said is None else weigh_feedback(loop, said)
    # Before the sums are read: what was found to be a campaign asks for nothing in the same measurement.
    if said is not None and weighed is not None and (changed := keep_weights(settings, loop, said, weighed)):
        log(f"the weights of {changed} answers changed")
    frames = {}
    since = as_of.date() - HISTORY
    with open_warehouse(settings, purpose=f"health of {loop.loop}", read_only=True) as warehouse:
        for name in ("mon_quality_daily", "mon_calibration_daily"):
            # Names of our own models; the values are bound.
            sql = f"select * from monitoring.{name} where loop = ? and departure_date >= ?"  # noqa: S608
            frames[name] = _in_order(warehouse.frame(sql, (loop.loop, since)))
        bins = _in_order(warehouse.frame("select * from ops.feature_bins where loop = ?", (loop.loop,)))
        skew = (read(settings, loop.loop, "skew") or {}).get("state")
        facts = read_facts(settings, warehouse, loop, entries, as_of, skew)
    if set(bins["model_version"]) != {state.champion_version}:
        raise NotMeasured(
            f"the feature bins are not of version {state.champion_version}, whose training profile is gone: restore "
            f"{settings.candidates_dir / loop.loop} from the backup"
        )
    recent = pd.to_datetime(facts.histograms["departure_date"]).dt.date >= since
    health = assess_health(
        loop,
        frames["mon_quality_daily"],
        frames["mon_calibration_daily"],
        facts.histograms[recent],
        bins,
        reference_of(loop, entries, state),
        as_of,
    )
    measured, kept = measures_of(facts, loop, health)
    if weighed is not None:
        kept["signals"] += conditions_of(weighed, loop.monitoring.min_group)
    entry = ledger.append(
        loop=loop.loop,
        kind="health",
        key=f"health:{as_of.isoformat()}",
        as_of=as_of,
        payload={**health.to_json(), "model_version": state.champion_version, **kept},
    )
    record = entry.payload
    publish(settings, loop.loop, "health", record)
    publish_measures(settings, loop, measured)
    if said is not None and weighed is not None:
        publish_themes(settings, loop, summary_of(loop, said, weighed, entries))
    log(told(measured.conditions))
    measure_skew(settings, loop, as_of, log)
    log(f"health of version {state.champion_version}: {record['status']}: {'; '.join(record['reasons'])}")
    return {"status": record["status"], "reasons": record["reasons"]}


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in one order, whatever the engine and the text order of its database."""
    return rows.sort_values(list(rows.columns), ignore_index=True)


def reference_of(loop: Loop, entries: list[Entry], state: LoopState) -> ReferenceQuality:
    """What the champion's own evaluation said of it: the quality that it is held to.

    Raises:
        NotMeasured: the ledger has no evaluation of the champion.
    """
    version = state.champion_version
    offered = next(
        (
            e
            for e in reversed(entries)
            if (e.kind in ("bootstrap", "baseline") and e.payload["model_version"] == version)
            or (e.kind == "rollout_started" and e.payload["challenger_version"] == version)
        ),
        None,
    )
    if offered is None or version is None:
        raise NotMeasured(f"the ledger never offered version {version} of loop {loop.loop}")
    evaluation = next(
        e for e in entries if e.kind == "evaluation" and e.payload["request"] == offered.payload["request"]
    )
    promise = evaluation.payload["promise"]
    return ReferenceQuality(
        model_version=version,
        log_loss=float(promise["log_loss"]),
        log_loss_standard_error=float(promise["standard_error"]),
        training_rate=float(promise["training_rate"]),
        evaluated_until=date.fromisoformat(promise["until"]),
    )
