"""The rollback drill: roll back on a shadow, with the real models, and measure how long it takes.

The shadow is a folder that goes away: a ledger with the real one's decisions, aliases in memory, a routing file of
its own. What serves is neither read from nor written to it. The real ledger gets one entry: what was measured.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.ledger.chain import Entry, canonical, plain
from ratchet.ledger.state import STATE_KINDS, LoopState, fold
from ratchet.ledger.store import migrate
from ratchet.loop import Loop
from ratchet.registry.models import Alias, Registry, RegistryError
from ratchet.scoring.child import ScoringFailed, score_in_child
from ratchet.scoring.routing import read_routing
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.stages.rollback import NoTarget, roll_back
from ratchet.stages.served_log import SOURCE
from ratchet.training.encode import feature_matrix

Log = Callable[[str], None]
SAMPLE = 500
SUBJECT = "rollback"


class MemoryAliases:
    """Aliases of a model that nobody else sees."""

    def __init__(self, start: dict[str, int]) -> None:
        self._known = dict(start)

    def aliases(self, loop: str) -> dict[str, int]:
        """Alias -> version."""
        return dict(self._known)

    def set_alias(self, loop: str, alias: Alias, version: int) -> None:
        """Let `alias` name `version`."""
        self._known[alias] = version

    def drop_alias(self, loop: str, alias: Alias) -> None:
        """Let `alias` name nothing."""
        self._known.pop(alias, None)


def drill(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Rehearse a rollback; what was found, as the ledger has it.

    `outcome` is `passed`, `failed` (a former champion is there and can't serve; `problems` says why), or `no target`
    (nothing was promoted before what serves: there is nothing to rehearse).
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state = fold(entries)
    found = _rehearse(settings, loop, entries, state, log)
    payload = {"subject": SUBJECT, "from": state.champion_version, **found}
    digest = hashlib.sha256(canonical(plain(payload)).encode()).hexdigest()[:12]
    ledger.append(
        loop=loop.loop, kind="drill", key=f"drill:{SUBJECT}:{as_of.isoformat()}:{digest}", as_of=as_of, payload=payload
    )  # fmt: skip
    log(
        f"rollback drill: {found['outcome']}{': ' + '; '.join(found['problems']) if found['problems'] else ''}"
    )
    return payload


def _rehearse(
    settings: Settings, loop: Loop, entries: list[Entry], state: LoopState, log: Log
) -> dict[str, Any]:
    nothing: dict[str, Any] = {"to": None, "problems": [], "seconds": {}, "scored": 0}
    if not state.targets():
        return {**nothing, "outcome": "no target", "problems": ["no former champion is left to go back to"]}
    with tempfile.TemporaryDirectory(prefix="ratchet-drill-") as folder:
        shadow = _shadow(settings, Path(folder), entries)
        models, aliases = Registry(settings), MemoryAliases({"champion": state.champion_version or 0})
        try:
            done = roll_back(
                shadow, loop, reason="rehearsal", actor="drill", log=log, models=models, aliases=aliases
            )
        except NoTarget as none:
            return {**nothing, "outcome": "failed", "problems": [str(none)]}
        problems = [f"version {version} was passed over: {why}" for version, why in done["passed_over"]]
        problems += _differences(shadow, loop, aliases, int(done["to"]))
        started = time.perf_counter()
        units = last_scored(settings, loop)
        try:
            content = models.model_bytes(loop.loop, int(done["to"]), str(done["model_sha256"]))
            scored = (
                score_in_child({"target": content}, feature_matrix(units, loop))["target"]
                if len(units)
                else None
            )
        except (RegistryError, ScoringFailed) as failed:
            problems.append(str(failed))
            scored = None
        seconds = {
            "decide": done["seconds_to_decide"],
            "project": done["seconds_to_project"],
            "first_score": time.perf_counter() - started,
        }
        if scored is not None and len(scored.scores) > 1 and float(np.ptp(scored.scores)) == 0.0:
            problems.append(f"version {done['to']} gives all {len(units)} units the same score")
        return {
            "to": int(done["to"]),
            "model_sha256": done["model_sha256"],
            "problems": problems,
            "seconds": {**seconds, "all": sum(seconds.values())},
            "scored": 0 if scored is None else len(scored.scores),
            "outcome": "failed" if problems else "passed",
        }


def _shadow(settings: Settings, folder: Path, entries: list[Entry]) -> Settings:
    """Settings whose ledger, routing and summaries lie in `folder`; the ledger has the decisions of `entries`."""
    url = f"sqlite:///{folder / 'ledger' / 'ledger.db'}"
    shadow = replace(
        settings, home=folder, landing_dir=folder / "landing", ledger_url=url,
        warehouse_path=folder / "no-warehouse.duckdb", warehouse_url="",
    )  # fmt: skip
    migrate(shadow.ledger_url)
    ledger = ledger_of(shadow)
    for entry in entries:
        if entry.kind in STATE_KINDS:
            ledger.append(
                loop=entry.loop, kind=entry.kind, key=entry.key, as_of=datetime.fromisoformat(entry.as_of),
                payload=entry.payload, actor=entry.actor,
            )  # fmt: skip
    return shadow


def _differences(shadow: Settings, loop: Loop, aliases: MemoryAliases, target: int) -> list[str]:
    """Where alias, flag file and state of the shadow do not all name `target`."""
    flag = read_routing(shadow, loop.loop)
    told = {
        "the alias champion": {aliases.aliases(loop.loop).get("champion")},
        "the flag file": set(flag.document()["flags"][flag.flag_key()]["variants"].values()),
        "the ledger": {fold(ledger_of(shadow).entries(loop.loop)).champion_version},
    }
    return [
        f"{what} names {sorted(map(str, found))}, not {target}"
        for what, found in told.items()
        if found != {target}
    ]


def last_scored(settings: Settings, loop: Loop) -> pd.DataFrame:
    """The features of the newest units that were scored, at most SAMPLE, as they were logged."""
    folder = settings.landing_dir / loop.loop / SOURCE
    parts: list[pd.DataFrame] = []
    for path in sorted(folder.glob("received_date=*/*.parquet"), reverse=True):
        parts.append(pd.read_parquet(path))
        if sum(map(len, parts)) >= SAMPLE:
            break
    if not parts:
        return pd.DataFrame(columns=["unit_id", *loop.features.columns])
    units = pd.concat(parts, ignore_index=True).sort_values(["received_at", "unit_id"])
    return units.tail(SAMPLE).reset_index(drop=True)
