"""Put a former champion back, and take a version out of service for good. By hand, or by an urgent rule.

The entry is written first; aliases and routing file follow from it (`ratchet.stages.serving`), so that a run that
died in between is finished by `ratchet rollback` again, or by the next scoring; asked for again before it was
finished, it is finished and goes no further. The warehouse is not opened: a
build that runs holds nothing up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.registry.models import Registry, RegistryError
from ratchet.scoring.child import ScoringFailed, score_in_child
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import Aliases, categories_moved, effective_as_of, project, sha256_of

Log = Callable[[str], None]
#: A model that has not scored one row by then is no way out of an emergency.
LOAD_SECONDS = 60.0


class NoTarget(RuntimeError):
    """There is no version to go back to, or not the one that was asked for; nothing was changed."""


class CannotWithdraw(RuntimeError):
    """The version serves, or was never offered; nothing was changed."""


@dataclass(frozen=True)
class PassedOver:
    """A former champion that can't serve today, and why."""

    version: int
    reason: str


@dataclass(frozen=True)
class Target:
    """Where a rollback goes, and which newer versions it passed over."""

    version: int
    sha256: str
    passed_over: tuple[PassedOver, ...]


def why_unfit(models: Registry, loop: Loop, entries: list[Entry], version: int) -> str | None:
    """Why `version` can't serve today, or None: its bytes are the ledger's, take today's features, and score.

    The inputs are read from the model itself, whose hash was compared with the ledger.
    """
    moved = categories_moved(loop, entries, version)
    if moved is not None:
        return f"it does not fit today's feature contract: {moved}"
    try:
        content = models.model_bytes(loop.loop, version, sha256_of(entries, version))
    except RegistryError as error:
        return str(error)
    try:
        inputs = tuple(json.loads(content)["learner"]["feature_names"])
    except (ValueError, KeyError, TypeError):
        return "its model.json names no features"
    if inputs != loop.features.columns:
        told = [
            _named("it wants", [name for name in inputs if name not in loop.features.columns]),
            _named("it does not know", [name for name in loop.features.columns if name not in inputs]),
        ]
        return "it does not fit today's feature contract: " + (
            "; ".join(filter(None, told)) or "the order differs"
        )
    try:
        one = np.full((1, len(inputs)), np.nan)
        score_in_child({"target": content}, one, time_limit_seconds=LOAD_SECONDS)
    except ScoringFailed as failed:
        return str(failed)
    return None


def _named(verb: str, names: list[str]) -> str:
    return f"{verb} {', '.join(names)}" if names else ""


def find_target(
    models: Registry, loop: Loop, entries: list[Entry], state: LoopState, wanted: int | None = None
) -> Target:
    """The last version that was promoted, was not withdrawn, does not serve now and can serve today.

    Raises:
        NoTarget: none, or `wanted` is not one; says of each why.
    """
    if state.champion_version is None:
        raise NoTarget(f"loop {loop.loop} has no champion: there is nothing to roll back")
    candidates = state.targets()
    if wanted is not None:
        if wanted not in candidates:
            raise NoTarget(f"version {wanted} is no target: {_why_no_target(state, wanted)}")
        candidates = (wanted,)
    passed: list[PassedOver] = []
    for version in candidates:
        unfit = why_unfit(models, loop, entries, version)
        if unfit is None:
            return Target(version, sha256_of(entries, version), tuple(passed))
        passed.append(PassedOver(version, unfit))
    told = "; ".join(f"version {item.version}: {item.reason}" for item in passed)
    raise NoTarget(
        f"no former champion of loop {loop.loop} can serve: {told or 'none was promoted before this one'}. "
        "Stop serving by pausing score_batch, and call the owner"
    )


def _why_no_target(state: LoopState, version: int) -> str:
    if version == state.champion_version:
        return "it serves now"
    if version in state.withdrawn_versions:
        return "it was withdrawn"
    return f"it was never promoted (there are: {', '.join(map(str, state.targets())) or 'none'})"


def roll_back(
    settings: Settings,
    loop: Loop,
    *,
    reason: str,
    actor: str,
    log: Log,
    to: int | None = None,
    leaving: int | None = None,
    is_dry: bool = False,
    models: Registry | None = None,
    aliases: Aliases | None = None,
) -> dict[str, Any]:
    """Let a former champion serve again from the next scoring run; what happened, with measured seconds.

    The version that served is withdrawn; a rollout or holdback that runs ends. Two of these at once, or one that
    died and is asked for again, move the loop back by one version, not by two: `again` in the answer says that a
    recorded one was finished. A rehearsal reads `models` and moves `aliases` of its own.

    Raises:
        NoTarget: nothing can serve instead, or another version than `leaving` serves; nothing was changed.
    """
    started = time.perf_counter()
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state = fold(entries)
    undone = unfinished(settings, loop, entries, state) if models is None else None
    if undone is not None:
        log(f"{undone.key} by {undone.actor} was recorded and not finished: it goes no further than that")
        return _finished(settings, loop, undone, aliases, started, is_dry=is_dry)
    if leaving is not None and leaving != state.champion_version:
        raise NoTarget(f"version {leaving} does not serve, version {state.champion_version} does")
    target = find_target(models or Registry(settings), loop, entries, state, to)
    for item in target.passed_over:
        log(f"passed over version {item.version}: {item.reason}")
    ended = [trial.experiment_id for trial in (state.rollout, state.holdback) if trial is not None]
    found = {
        "from": state.champion_version,
        "to": target.version,
        "model_sha256": target.sha256,
        "reason": reason,
        "by": actor,
        "ended": ended,
        "passed_over": [[item.version, item.reason] for item in target.passed_over],
    }
    if is_dry:
        return {**found, "dry": True, "again": False, "seconds": time.perf_counter() - started}
    # The key names the state that it leaves: whoever acts on the same state gets this entry.
    entry = ledger.append(
        loop=loop.loop, kind="rollback", key=f"rollback:{state.serving_seq}", as_of=takes_effect(settings, loop, state),
        payload=found, actor=actor,
    )  # fmt: skip
    if entry.payload["to"] != target.version:
        log(f"{entry.actor} rolled back at the same moment, to version {entry.payload['to']}: that stands")
    for experiment in entry.payload["ended"]:
        log(f"{experiment} has ended")
    done = _finished(settings, loop, entry, aliases, started)
    if done["serves"] != entry.payload["to"]:
        log(f"another decision came in between: version {done['serves']} serves")
    return {**done, "again": False}


def unfinished(settings: Settings, loop: Loop, entries: list[Entry], state: LoopState) -> Entry | None:
    """The rollback that is the newest change of what serves, if whoever asked for it never heard of its end.

    A build since then ends the doubt: its scoring has brought everything in line.
    """
    entry = next((e for e in entries if e.key == state.serving_decision and e.kind == "rollback"), None)
    if entry is None or (read(settings, loop.loop, "rollback") or {}).get("finished") == entry.key:
        return None
    built = read(settings, loop.loop, "partitions")
    return None if built is not None and built["as_of"] > entry.as_of else entry


def _finished(
    settings: Settings,
    loop: Loop,
    entry: Entry,
    aliases: Aliases | None,
    started: float,
    *,
    is_dry: bool = False,
) -> dict[str, Any]:
    """Bring what serves in line with a rollback, and note that it is."""
    found = {**entry.payload, "dry": is_dry, "again": True, "key": entry.key, "as_of": entry.as_of}
    decided = time.perf_counter()
    if is_dry:
        return {**found, "seconds": decided - started}
    routing = project(settings, loop, aliases)
    projected = time.perf_counter()
    publish(settings, loop.loop, "rollback", {"finished": entry.key})
    return {
        **found,
        "serves": routing.champion_version,
        "seconds": projected - started,
        "seconds_to_decide": decided - started,
        "seconds_to_project": projected - decided,
    }


def takes_effect(settings: Settings, loop: Loop, state: LoopState) -> datetime:
    """When a change that nobody scheduled holds from: the newest build, which the next scoring run follows.

    Raises:
        NoTarget: nothing serves.
    """
    if state.serving_as_of is None:
        raise NoTarget(f"loop {loop.loop} has no champion: nothing serves")
    return effective_as_of(read(settings, loop.loop, "partitions"), state.serving_as_of)


def withdraw(
    settings: Settings, loop: Loop, version: int, *, reason: str, actor: str, log: Log
) -> dict[str, Any]:
    """Record that `version` may never serve again; its trial or holdback ends.

    Raises:
        CannotWithdraw: it serves (roll back instead), or was never offered.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state = fold(entries)
    if version == state.champion_version:
        raise CannotWithdraw(
            f"version {version} serves: `ratchet rollback` puts a former champion in its place"
        )
    if version in [kept.version for kept in state.kept]:
        raise CannotWithdraw(
            f"version {version} serves cohorts that a promotion excluded: `ratchet cohort release` lets them go first"
        )
    known = {
        int(e.payload.get("model_version") or e.payload["challenger_version"])
        for e in entries
        if e.kind in ("bootstrap", "rollout_started")
    }
    if version not in known:
        raise CannotWithdraw(f"the ledger never offered version {version}; it offered {sorted(known)}")
    if version in state.withdrawn_versions:
        log(f"version {version} was withdrawn before")
        return {"version": version, "again": True}
    ended = [
        trial.experiment_id
        for trial in (state.rollout, state.holdback)
        if trial is not None and version in (trial.champion_version, trial.challenger_version)
    ]
    entry = ledger.append(
        loop=loop.loop, kind="withdrawn", key=f"withdrawn:{version}:{state.serving_seq}",
        as_of=takes_effect(settings, loop, state),
        payload={"version": version, "reason": reason, "by": actor, "ended": ended}, actor=actor,
    )  # fmt: skip
    project(settings, loop)
    if version not in fold(ledger.entries(loop.loop)).withdrawn_versions:
        raise CannotWithdraw(f"version {version} began to serve in between; roll back instead")
    log(f"version {version} is withdrawn{': ' + ', '.join(ended) + ' has ended' if ended else ''}")
    return {**entry.payload, "again": False}
