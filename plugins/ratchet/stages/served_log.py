"""The log of what was scored: features as the model was given them, on disk before its predictions are.

A run that died between the two leaves a log without predictions. The run that finishes it scores the logged
features, so that what is in the log is what was scored, whatever was rebuilt in between.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.loop import Loop
from ratchet.published import write_atomically
from ratchet.settings import Settings
from ratchet.stages.snapshots import keep_partitions, partitions_of

SOURCE = "served_features"


def is_sampled(loop: Loop, unit_ids: Iterable[str]) -> np.ndarray:
    """Which units the loop file's sample takes: by a hash of the unit, the same in every run."""
    share = loop.monitoring.served_features_sample
    drawn = [
        int.from_bytes(hashlib.sha256(f"{loop.loop}|{SOURCE}|{unit}".encode()).digest()[:8], "big") / 2**64
        for unit in unit_ids
    ]
    return np.asarray(drawn, dtype=np.float64) < share


def folder_of(settings: Settings, loop: Loop, day: date) -> Path:
    """Where the log of predictions received on `day` lies."""
    return settings.landing_dir / loop.loop / SOURCE / f"received_date={day}"


def with_log(settings: Settings, loop: Loop, units: pd.DataFrame) -> pd.DataFrame:
    """`units` with the features of their log where they have one; what has none is logged now.

    `units` are about to be scored: unit_id, predict_at, received_at and the loop's features. The answer is
    what has to be scored, in the same order.
    """
    if units.empty:
        return units
    logged = _logged(settings, loop, sorted(set(units["received_at"].dt.date)))
    known = units["unit_id"].isin(logged["unit_id"]).to_numpy()
    fresh = units[~known & is_sampled(loop, units["unit_id"].astype(str))]
    _write(settings, loop, fresh)
    if not known.any():
        return units
    found = logged.set_index("unit_id").loc[units.loc[known, "unit_id"]]
    scored = units.copy()
    for name in loop.features.numeric:
        values = units[name].to_numpy(dtype=np.float64, na_value=np.nan).copy()
        values[known] = found[name].to_numpy(dtype=np.float64, na_value=np.nan)
        scored[name] = values
    for name in loop.features.categorical:
        texts = units[name].to_numpy(dtype=object).copy()
        texts[known] = found[name].to_numpy(dtype=object)
        scored[name] = texts
    return scored


def _logged(settings: Settings, loop: Loop, days: list[date]) -> pd.DataFrame:
    parts = [
        pd.read_parquet(path)
        for day in days
        for path in sorted(folder_of(settings, loop, day).glob("*.parquet"))
    ]
    if not parts:
        return pd.DataFrame(columns=["unit_id", *loop.features.columns])
    return pd.concat(parts, ignore_index=True).drop_duplicates("unit_id", keep="last")


def _write(settings: Settings, loop: Loop, units: pd.DataFrame) -> None:
    days = units["received_at"].dt.date
    for day in sorted(days.unique()):
        part = units[days == day].sort_values("unit_id")
        columns: dict[str, object] = {"unit_id": part["unit_id"].astype(str).to_numpy(dtype=object)}
        for name in loop.features.numeric:
            # Parquet has a null of its own: a NaN in a file is refused by landing.
            columns[name] = pd.array(part[name].to_numpy(dtype=np.float64, na_value=np.nan), dtype="Float64")
        for name in loop.features.categorical:
            columns[name] = part[name].to_numpy(dtype=object)
        columns["event_at"] = part["predict_at"].to_numpy()
        columns["received_at"] = part["received_at"].to_numpy()
        folder = folder_of(settings, loop, day)
        number = len(list(folder.glob("part-*.parquet"))) + 1
        content = io.BytesIO()
        pd.DataFrame(columns).to_parquet(content, index=False)
        write_atomically(folder / f"part-{number:04d}.parquet", content.getvalue())


def remember_known(
    settings: Settings, loop: Loop, units: pd.DataFrame, partitions: list[dict[str, Any]]
) -> None:
    """Keep what had landed when `units` were scored, by the day their predictions are received on."""
    if units.empty:
        return
    sha256 = keep_partitions(settings, loop, partitions)
    for day in sorted(set(units["received_at"].dt.date)):
        path = _known_path(settings, loop, day)
        known = json.loads(path.read_text(encoding="utf-8"))["known"] if path.exists() else []
        if sha256 not in known:
            write_atomically(path, json.dumps({"known": [*known, sha256]}).encode())


def known_when_served(
    settings: Settings, loop: Loop, departures: Iterable[date]
) -> dict[date, list[dict[str, Any]]]:
    """By received date of predictions about `departures`: the partitions that had landed when they were made.

    A day that was scored in several runs knows what the first of them knew.
    """
    days = {day + timedelta(days=n) for day in departures for n in (-1, 0, 1)}
    found = {}
    for day in sorted(days):
        path = _known_path(settings, loop, day)
        if path.exists():
            first = json.loads(path.read_text(encoding="utf-8"))["known"][0]
            found[day] = partitions_of(settings, loop, first)
    return found


def _known_path(settings: Settings, loop: Loop, day: date) -> Path:
    return settings.home / "served" / loop.loop / f"received_date={day}.json"
