"""The published summaries of what is on trial or held back: pages and `ratchet status` read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd

from ratchet.ledger.chain import Entry
from ratchet.ledger.state import fold
from ratchet.ledger.trials import Holdback, Rollout
from ratchet.loop import Loop
from ratchet.loop_days import last_mature_day
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.comparison import compare
from ratchet.stages.serving import stage_of


def publish_running(settings: Settings, loop: Loop, entries: list[Entry], as_of: datetime) -> None:
    """Who serves as of `as_of`, what is on trial in which stage, what is held back."""
    state = fold(entries)
    running: dict[str, Any] | None = None
    if state.rollout is not None:
        stage = stage_of(entries, state.rollout)
        running = {
            "experiment_id": state.rollout.experiment_id,
            "champion_version": state.rollout.champion_version,
            "challenger_version": state.rollout.challenger_version,
            "stage": stage.name,
            "share": stage.share,
            "since": state.rollout.trial.stage_started_on,
            "last_day": state.rollout.last_day,
            "excluded": []
            if state.rollout.trial.admission is None
            else state.rollout.trial.admission.excluded,
        }
    held: dict[str, Any] | None = None
    if state.holdback is not None:
        held = {
            "experiment_id": state.holdback.experiment_id,
            "previous_version": state.holdback.previous_version,
            "promoted_version": state.holdback.promoted_version,
            "share": state.holdback.share,
            "since": state.holdback.trial.started_on,
            "days": state.holdback.days,
            "last_day": state.holdback.last_day,
        }
    publish(
        settings,
        loop.loop,
        "rollout",
        {
            "as_of": as_of,
            "champion_version": state.champion_version,
            "running": running,
            "holdback": held,
            "kept": [{"version": kept.version, "cohorts": kept.admission.excluded} for kept in state.kept],
        },
    )


def publish_comparison(
    settings: Settings,
    loop: Loop,
    trial: Rollout | Holdback,
    paired: pd.DataFrame,
    arms: pd.DataFrame,
    as_of: datetime,
) -> None:
    """Both models side by side, for each experiment that was ever judged."""
    mature = last_mature_day(loop, as_of)
    known = read(settings, loop.loop, "comparisons") or {}
    shown = compare(loop, paired, arms, trial.trial.started_on, mature)
    versions = {"champion_version": trial.champion_version, "challenger_version": trial.challenger_version}
    publish(settings, loop.loop, "comparisons", {**known, trial.experiment_id: {**versions, **shown}})
