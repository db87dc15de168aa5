"""Score former champions on recent days again: how quality falls with a model's age.

A measurement beside what serves: it writes day sums into ops.staleness_daily and nothing else. It makes no
prediction that lands, moves no alias and no routing, and writes no decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from ratchet.evaluation.intervals import losses
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.loop_days import last_mature_day
from ratchet.monitoring.staleness import by_age, curve, day_sums
from ratchet.published import read
from ratchet.registry.models import Registry, RegistryError
from ratchet.scoring.child import Scored, ScoringFailed, score_in_child
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import categories_moved, offered, sha256_of
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import model_features
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]
#: Mature days that are scored again: a week that was missed is made up for.
DAYS = 28
#: The last so many champions.
VERSIONS = 20


class NothingToScore(RuntimeError):
    """No champion yet, or no labelled unit; the message says which."""


class NotBuilt(RuntimeError):
    """The newest build ends before the as-of; a later try finds it."""


@dataclass(frozen=True)
class Former:
    """A champion, then or now: its model and the last day that it learnt from."""

    version: int
    model: bytes
    trained_until: date


def measure_staleness(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Score the champions that the ledger had at `as_of` on days whose label windows were over then.

    The last `DAYS` such days, a sample of equal size of each; of them only days after the last that a version learnt
    from. Measuring the same `as_of` again replaces the same rows. A version that was withdrawn is measured too: it
    serves nobody by that.

    Returns:
        `versions` with their days and units, `withdrawn` among them, `passed_over` (other features or categories
        than today's, or no day since its training), and `refused`: what could not be loaded by its hash, or gave no
        scores.

    Raises:
        NothingToScore: there is nothing to measure.
        NotBuilt: the newest build is not of `as_of`.
    """
    entries = [e for e in ledger_of(settings).entries(loop.loop) if e.as_of <= as_of.isoformat()]
    state = fold(entries)
    champions = state.promoted_versions[-VERSIONS:]
    if not champions:
        raise NothingToScore(f"loop {loop.loop} had no champion as of {as_of}: there is nothing to measure")
    built = read(settings, loop.loop, "partitions")
    if built is None or as_of.isoformat() > built["as_of"]:
        raise NotBuilt(f"nothing was built as of {as_of}: build the warehouse first")
    sample = _sample(settings, loop, as_of)
    formers, passed_over, refused = _formers(settings, loop, entries, dict.fromkeys(champions))
    dates = pd.to_datetime(sample["departure_date"]).dt.date.to_numpy()
    newest = max(dates)
    for former in [f for f in formers if f.trained_until >= newest]:
        passed_over.append(f"version {former.version} learnt from days until {former.trained_until}")
        formers.remove(former)
    matrix = feature_matrix(sample, loop)
    scored, unusable = _scored(formers, matrix)
    refused += unusable
    rows = _rows(loop, formers, scored, sample, dates)
    measured = [f.version for f in formers if f.version in scored]
    _replace(settings, loop, rows, measured, (min(dates), newest))
    for told in (*passed_over, *refused):
        log(f"not measured: {told}")
    withdrawn = sorted(set(measured) & set(state.withdrawn_versions))
    log(
        f"{len(measured)} champions scored again on {len(set(dates))} days until {newest}, {len(sample)} units; "
        f"withdrawn among them: {', '.join(map(str, withdrawn)) or 'none'}"
    )
    counts = rows.groupby("model_version")["n_labelled"].agg(["size", "sum"]) if len(rows) else None
    return {
        "as_of": as_of.isoformat(),
        "versions": [
            {"version": v, "days": int(counts.loc[v, "size"]), "units": int(counts.loc[v, "sum"])}  # type: ignore[union-attr, arg-type]
            for v in measured
        ],
        "withdrawn": withdrawn,
        "passed_over": passed_over,
        "refused": refused,
    }


def _sample(settings: Settings, loop: Loop, as_of: datetime) -> pd.DataFrame:
    """The labelled sample of the last mature days, in one order.

    Raises:
        NothingToScore: no unit has a label.
    """
    last = last_mature_day(loop, as_of)
    with open_warehouse(settings, purpose=f"staleness of {loop.loop}", read_only=True) as warehouse:
        rows = warehouse.frame(
            "select * from monitoring.mon_labelled_sample where loop = ? and departure_date > ? "
            "and departure_date <= ? order by departure_date, unit_id",
            (loop.loop, last - timedelta(days=DAYS), last),
        )
    if rows.empty:
        raise NothingToScore(
            f"no unit of the {DAYS} days until {last} has a label: land and build them first"
        )
    return rows


def _formers(
    settings: Settings, loop: Loop, entries: list[Entry], champions: Mapping[int, object]
) -> tuple[list[Former], list[str], list[str]]:
    """The champions that can be scored with today's features, who can't be, and who was refused."""
    registry, found = Registry(settings), list[Former]()
    passed_over, refused = list[str](), list[str]()
    for version in champions:
        until = offered(entries, version).payload.get("serving_train_end")
        if until is None:
            passed_over.append(f"version {version} was offered without the last day that it learnt from")
            continue
        moved = categories_moved(loop, entries, version)
        if moved is not None:
            passed_over.append(moved)
            continue
        try:
            content = registry.model_bytes(loop.loop, version, sha256_of(entries, version))
        except RegistryError as error:
            refused.append(f"version {version}: {error}")
            continue
        if model_features(content) != tuple(loop.features.columns):
            passed_over.append(f"version {version} takes other features than the loop file's")
            continue
        found.append(Former(version, content, date.fromisoformat(until)))
    return found, passed_over, refused


def _scored(formers: list[Former], matrix: Any) -> tuple[dict[int, Scored], list[str]]:
    """Scores by version, all in one child; one by one when that fails, so that a crash is one version's."""
    models = {f"v{former.version}": former.model for former in formers}
    if not models:
        return {}, []
    try:
        return {int(name[1:]): scored for name, scored in score_in_child(models, matrix).items()}, []
    except ScoringFailed:
        found: dict[int, Scored] = {}
        failures = []
    for name, model in models.items():
        try:
            found[int(name[1:])] = score_in_child({name: model}, matrix)[name]
        except ScoringFailed as failed:
            failures.append(f"version {name[1:]}: {failed}")
    return found, failures


def _rows(
    loop: Loop, formers: list[Former], scored: Mapping[int, Scored], sample: pd.DataFrame, dates: Any
) -> pd.DataFrame:
    labels = label_vector(sample)
    low, high = loop.policy.score_bounds
    parts = []
    for former in formers:
        if former.version not in scored:
            continue
        # A day that it learnt from says nothing of its age.
        new = np.array([day > former.trained_until for day in dates], dtype=bool)
        scores = np.clip(scored[former.version].scores[new], low, high)
        own = labels[new]
        sums = day_sums(dates[new], own, losses("log_loss", own, scores), losses("brier", own, scores))
        parts.append(
            sums.assign(
                loop=loop.loop, model_version=former.version, trained_until=former.trained_until
            ).astype({"n_labelled": "int64"})
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _replace(
    settings: Settings, loop: Loop, rows: pd.DataFrame, versions: list[int], span: tuple[date, date]
) -> None:
    if not versions:
        return
    with (
        open_warehouse(settings, purpose=f"staleness of {loop.loop}") as warehouse,
        warehouse.transaction(),
        warehouse.lock(f"staleness:{loop.loop}"),
    ):
        for version in versions:
            warehouse.execute(
                "delete from ops.staleness_daily where loop = ? and model_version = ? "
                "and departure_date between ? and ?",
                (loop.loop, version, *span),
            )
        warehouse.append("ops.staleness_daily", rows)


def curves(
    settings: Settings, loop: Loop, as_of: datetime
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Log loss against age by version and by step of age (`ratchet.monitoring.staleness`), of days before `as_of`."""
    withdrawn = fold(ledger_of(settings).entries(loop.loop)).withdrawn_versions
    with open_warehouse(settings, purpose=f"staleness of {loop.loop}", read_only=True) as warehouse:
        rows = warehouse.frame(
            "select * from ops.staleness_daily where loop = ? and departure_date < ? "
            "order by departure_date, model_version",
            (loop.loop, as_of.date()),
        )
    return curve(rows, withdrawn), by_age(rows, withdrawn)
