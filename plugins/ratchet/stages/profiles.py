"""The champion's training profile in the warehouse: the bins that monitoring counts features in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.monitoring.profile import PROFILE_COLUMNS
from ratchet.settings import Settings
from ratchet.stages.jobs import Job
from ratchet.stages.serving import offered
from ratchet.warehouse.connect import open_warehouse


def adopt_bins(
    settings: Settings,
    loop: Loop,
    version: int,
    bins: list[dict[str, Any]],
    profiles: list[dict[str, Any]] | None = None,
) -> None:
    """Replace the loop's bins and profiles by those of the model that serves now.

    A model of before profiles were kept has none: nothing is then said of its ranges, nor of its days' wobble.
    """
    with (
        open_warehouse(settings, purpose=f"profile of version {version}") as warehouse,
        warehouse.transaction(),
    ):
        warehouse.execute("delete from ops.feature_bins where loop = ?", (loop.loop,))
        rows = pd.DataFrame(bins).assign(loop=loop.loop, model_version=version)
        bounds = {"lower_bound": "float64", "upper_bound": "float64"}
        warehouse.append("ops.feature_bins", rows.astype(bounds))
        warehouse.execute("delete from ops.feature_profiles where loop = ?", (loop.loop,))
        if profiles:
            kept = pd.DataFrame(profiles).assign(loop=loop.loop, model_version=version)
            numbers = [
                name for name in PROFILE_COLUMNS if name not in ("loop", "feature", "model_version", "days")
            ]
            warehouse.append("ops.feature_profiles", kept.astype(dict.fromkeys(numbers, "float64")))


def adopt_profile(settings: Settings, loop: Loop, entries: list[Entry], version: int) -> None:
    """Adopt the profile that was kept when `version` was trained."""
    offer = offered(entries, version)
    job = Job(loop.loop, "retrain", offer.payload["request"], pd.Timestamp(offer.as_of).to_pydatetime())
    document = json.loads((job.folder(settings) / "profile.json").read_text(encoding="utf-8"))
    adopt_bins(settings, loop, version, document["bins"], document.get("profiles"))


def keep_profile(
    settings: Settings, loop: Loop, entries: list[Entry], version: int, log: Callable[[str], None]
) -> None:
    """Adopt the profile of `version`, which serves, unless it is there: a rollback by hand opens no warehouse."""
    with open_warehouse(settings, purpose=f"profile of {loop.loop}", read_only=True) as warehouse:
        there = warehouse.frame(
            "select distinct model_version from ops.feature_bins where loop = ?", (loop.loop,)
        )
    if set(there["model_version"]) != {version}:
        try:
            adopt_profile(settings, loop, entries, version)
        except FileNotFoundError as missing:
            log(f"version {version} has no training profile: {missing}")
            return
        log(f"features are compared with the training profile of version {version} from now on")
