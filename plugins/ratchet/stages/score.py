"""Score a window of units with the routing in force; leave features and predictions as files for the next landing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from datetime import date, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.experiment.admission import EXCLUDED
from ratchet.loop import Loop
from ratchet.published import read, write_atomically
from ratchet.registry.models import ArtifactRefused, Registry
from ratchet.scoring.child import Scored, ScoringFailed, score_in_child
from ratchet.scoring.routing import Routing
from ratchet.settings import Settings
from ratchet.stages.provenance import landed_partitions
from ratchet.stages.records import ledger_of
from ratchet.stages.served_log import remember_known, with_log
from ratchet.stages.serving import CategoriesMoved, categories_moved, project
from ratchet.training.encode import feature_matrix
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]
#: A prediction is received this long after it was made.
DELIVERY = timedelta(seconds=1)


class NotBuilt(RuntimeError):
    """The window's features are not there yet; a later try finds them."""


def score(settings: Settings, loop: Loop, start: date, end: date, log: Log) -> dict[str, Any]:
    """Score every unit whose prediction is due from `start` to `end` (UTC days, both inclusive).

    Reads visible features only; units of a partition whose gate is not green are counted and not scored. A
    prediction that was made stands: on a second run only units without one are scored, and none whose
    prediction was due before the present routing came into force. The features of a sample are logged first.

    Raises:
        NothingServes: there is no champion yet.
        NotBuilt: the newest build ends before the window does.
        ArtifactRefused: the champion is not the one that the ledger recorded.
        ScoringFailed: the champion crashed, hung, or gave scores that are not numbers in [0, 1].
        CategoriesMoved: the loop file lists a category where a version learnt another.
    """
    routing = project(settings, loop)
    _check_categories(settings, loop, routing)
    built = read(settings, loop.loop, "partitions")
    # Features of the window's last hours may need rows received in them.
    if built is None or built["as_of"] < datetime.combine(end + timedelta(days=1), clock.min).isoformat():
        raise NotBuilt(f"features are not built up to the end of {end}: scoring waits for the build")
    window = (datetime.combine(start, clock.min), datetime.combine(end + timedelta(days=1), clock.min))
    with open_warehouse(settings, purpose=f"scoring {loop.loop} {start}..{end}", read_only=True) as warehouse:
        columns = ", ".join(loop.features.columns)
        # The columns are identifiers of the validated loop file; the values are bound.
        units = warehouse.frame(
            f"select unit_id, departure_date, predict_at, {columns} from features.ftr_flights__published "  # noqa: S608
            "where loop = ? and predict_at >= ? and predict_at < ? order by predict_at, unit_id",
            (loop.loop, *window),
        )
        due = warehouse.scalar(
            "select count(*) from build_features.ftr_flights__pre_departure "
            "where loop = ? and predict_at >= ? and predict_at < ?",
            (loop.loop, *window),
        )
        landed = landed_partitions(warehouse, loop)
    hidden = int(due) - len(units)
    known = _already_scored(settings, loop, start, end)
    fresh = units[~units["unit_id"].isin(known)]
    # A score made after the fact, by a model that may have learnt from it, would count as a prediction.
    is_late = pd.to_datetime(fresh["predict_at"]) < routing.decided_as_of
    late, fresh = int(is_late.sum()), fresh[~is_late].reset_index(drop=True)
    log(
        f"{len(units)} units are due, {len(known)} have their prediction, {hidden} wait for a green gate, {late} were "
        f"due before {routing.decided_as_of}, when the present routing came into force, and get none"
    )
    fresh = fresh.assign(received_at=pd.to_datetime(fresh["predict_at"]) + DELIVERY)
    remember_known(settings, loop, fresh, landed)
    rows = _score_units(settings, loop, routing, with_log(settings, loop, fresh), log)
    files = _write(settings, loop, rows)
    arms = rows.loc[rows["is_served"], "arm"].value_counts().to_dict() if len(rows) else {}
    log(f"scored {len(fresh)} units into {files} files; served by arm: {arms}")
    return {
        "units": len(fresh),
        "hidden": hidden,
        "late": late,
        "files": files,
        "arms": {str(k): int(v) for k, v in arms.items()},
        "champion": routing.champion_version,
        "challenger": routing.challenger_version,
        "held_back": routing.holdback_version,
        "kept": [kept.version for kept in routing.kept],
        "stage": routing.stage,
    }


def _check_categories(settings: Settings, loop: Loop, routing: Routing) -> None:
    """Every version that is to score reads the categories as it learnt them.

    Raises:
        CategoriesMoved: one does not.
    """
    entries, other = ledger_of(settings).entries(loop.loop), routing.other()
    versions = [routing.champion_version, *(kept.version for kept in routing.kept)]
    for version in [*versions, *([] if other is None else [other[0]])]:
        moved = categories_moved(loop, entries, version)
        if moved is not None:
            raise CategoriesMoved(moved)


def _score_units(
    settings: Settings, loop: Loop, routing: Routing, units: pd.DataFrame, log: Log
) -> pd.DataFrame:
    """Prediction rows: the served one of each unit and, during an experiment, the silent one of the other model."""
    if units.empty:
        return pd.DataFrame(columns=["is_served", "arm"])
    registry = Registry(settings)
    models = {"champion": registry.model_bytes(loop.loop, routing.champion_version, routing.champion_sha256)}
    matrix = feature_matrix(units, loop)
    scored = score_in_child(models, matrix)
    other = routing.other()
    if other is not None:
        # A model on trial (or held back) that can't score must not take the champion down: everyone gets the
        # champion, and the experiment, which then lacks its silent scores, holds.
        try:
            content = registry.model_bytes(loop.loop, *other)
            scored |= score_in_child({"other": content}, matrix)
        except (ArtifactRefused, ScoringFailed) as failed:
            log(f"version {other[0]} gives no scores, the champion serves all: {failed}")
    ids = units["unit_id"].astype(str).tolist()
    arms = routing.arms(ids, {name: units[name].tolist() for name in loop.cohorts.dimensions})
    served = np.array([routing.version_of(arm) for arm in arms], dtype=np.int64)
    if other is None or "other" not in scored:
        served[:] = routing.champion_version
    kept = _score_kept(registry, loop, routing, matrix, arms)
    for variant in kept:
        served[arms == variant] = routing.version_of(variant)
    names = np.where([arm in kept for arm in arms], EXCLUDED, arms)
    if routing.experiment_id is None:
        names[names != EXCLUDED] = "champion"
    versions = {"champion": routing.champion_version} | ({"other": other[0]} if other is not None else {})
    parts = [
        _rows(loop, routing, units, names, scored[name], version, served == version)
        for name, version in versions.items()
        if name in scored
    ]
    for variant, answer in kept.items():
        version, own = routing.version_of(variant), arms == variant
        # In a holdback it has scored all units already.
        if version not in {versions[name] for name in versions if name in scored}:
            parts.append(
                _rows(loop, routing, units[own], names[own], answer, version, np.ones(own.sum(), dtype=bool))
            )
    return pd.concat(parts, ignore_index=True)


def _score_kept(
    registry: Registry, loop: Loop, routing: Routing, matrix: Any, arms: NDArray[np.object_]
) -> dict[str, Scored]:
    """Scores of the units that former champions keep, by variant; they have nobody to stand in for them.

    Raises:
        ArtifactRefused, ScoringFailed: a version that keeps units can't score them.
    """
    found = {}
    for kept in routing.kept:
        own = arms == kept.variant
        if own.any():
            content = registry.model_bytes(loop.loop, kept.version, kept.sha256)
            found[kept.variant] = score_in_child({"kept": content}, matrix[own])["kept"]
    return found


def _rows(
    loop: Loop, routing: Routing, units: pd.DataFrame, arms: Any, scored: Scored, version: int, served: Any
) -> pd.DataFrame:
    low, high = loop.policy.score_bounds
    ids = [
        hashlib.sha256(f"{loop.loop}|{unit}|{version}".encode()).hexdigest()[:32] for unit in units["unit_id"]
    ]
    return pd.DataFrame(
        {
            "prediction_id": ids,
            "unit_id": units["unit_id"],
            "experiment_id": routing.experiment_id,
            "arm": arms,
            "model_version": version,
            "is_served": served,
            "score": np.clip(scored.scores, low, high),
            "latency_ms": 1000.0 * scored.seconds / len(units),
            "event_at": pd.to_datetime(units["predict_at"]),
            "received_at": units["received_at"],
        }
    )


def _folder(settings: Settings, loop: Loop, day: date) -> Path:
    return settings.landing_dir / loop.loop / "predictions" / f"received_date={day}"


def _already_scored(settings: Settings, loop: Loop, start: date, end: date) -> set[str]:
    known: set[str] = set()
    for offset in range((end - start).days + 1):
        for path in sorted(_folder(settings, loop, start + timedelta(days=offset)).glob("*.parquet")):
            known |= set(pd.read_parquet(path, columns=["unit_id"])["unit_id"])
    return known


def _write(settings: Settings, loop: Loop, rows: pd.DataFrame) -> int:
    if rows.empty:
        return 0
    days = rows["received_at"].dt.date
    for day in sorted(days.unique()):
        folder = _folder(settings, loop, day)
        part = len(list(folder.glob("part-*.parquet"))) + 1
        content = io.BytesIO()
        rows[days == day].sort_values(["unit_id", "model_version"]).to_parquet(content, index=False)
        write_atomically(folder / f"part-{part:04d}.parquet", content.getvalue())
    return int(days.nunique())
