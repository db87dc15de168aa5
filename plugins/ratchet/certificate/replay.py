"""Compute recorded verdicts again from the ledger's entries alone, and compare them to the bit.

No warehouse, no registry, no clock, no loop file: the terms, the sums and the state come from the entries. A verdict
that its record can't give again is named with the reason, never counted as equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

from ratchet.certificate import checks
from ratchet.certificate.contents import LOOKS, Sums, SumsUnreadable, after
from ratchet.certificate.judges import (
    TermsUnreadable,
    judge_again,
    judge_evaluation,
    judge_look,
    judge_trigger,
    look_record,
    loop_of,
)
from ratchet.feedback.forgetting import Flagged, retrain_after
from ratchet.ledger.chain import Entry, canonical, plain
from ratchet.ledger.state import LoopState, fold
from ratchet.triggers.policy import TriggerFacts

Outcome = Literal["equal", "different", "not replayable", "fact"]
SHOWN = 3  # differing places that are named
LONGEST = 300  # characters of a reason


class NotReplayable(ValueError):
    """The record does not hold what its verdict was computed from; the message says what is missing."""


@dataclass(frozen=True)
class Replayed:
    """One entry's replay. A `fact` is no verdict: someone's answer, a measurement, a fit."""

    entry: Entry
    outcome: Outcome
    detail: str = ""


@dataclass
class _Loop:
    """What the replay knows of one loop while it walks its entries."""

    entries: list[Entry] = field(default_factory=list)
    sums: dict[str, Sums] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def upto(self, entry: Entry) -> Sequence[Entry]:
        """The entries that were there when `entry` was judged."""
        seen = entry.payload.get("after")
        if seen is None:
            return self.entries
        for index in range(len(self.entries) - 1, -1, -1):
            if self.entries[index].hash == seen:
                return self.entries[: index + 1]
        raise NotReplayable(f"it was judged after entry {str(seen)[:12]}…, which is not before it")

    def named(self, sha256: Any, kind: str) -> Entry:
        found = next((e for e in self.entries if e.hash == sha256 and e.kind == kind), None)
        if found is None:
            raise NotReplayable(f"no earlier {kind} entry has the hash {str(sha256)[:12]}… that it names")
        return found


def replay(
    entries: Sequence[Entry],
    *,
    code: Mapping[str, Any] | None = None,
    only: Callable[[Entry], bool] | None = None,
) -> Iterator[Replayed]:
    """Replay each entry (or those that `only` picks), in order. `entries` is the whole ledger, or one loop's part.

    `code` is the running version, as `ratchet.stages.provenance.judging` tells it: a difference names both.
    """
    loops: dict[str, _Loop] = {}
    for entry in entries:
        known = loops.setdefault(entry.loop, _Loop())
        before = known.sums.get(str(entry.payload.get("experiment_id")), Sums())
        if entry.kind in LOOKS:
            _remember(known, entry)
        if only is None or only(entry):
            yield _one(known, entry, before, code)
        known.entries.append(entry)


def _remember(known: _Loop, entry: Entry) -> None:
    experiment = str(entry.payload.get("experiment_id"))
    try:
        if "sums" not in entry.payload:
            raise SumsUnreadable("it was recorded without its sums")
        known.sums[experiment] = after(known.sums.get(experiment, Sums()), entry.payload["sums"])
    except SumsUnreadable as error:
        known.unreadable.setdefault(experiment, f"entry {entry.seq}: {error}")


def _one(known: _Loop, entry: Entry, before: Sums, code: Mapping[str, Any] | None) -> Replayed:
    kinds: dict[str, Callable[[_Loop, Entry], Any]] = {
        "rollout_decision": _look,
        "holdback_decision": _look,
        "trigger": _trigger,
        "evaluation": _evaluation,
        "incident": _incident,
    }
    try:
        if entry.kind in kinds:
            again = plain(kinds[entry.kind](known, entry))
            found = differences({name: entry.payload.get(name) for name in again}, again)
        elif entry.kind in checks.CHECKS:
            found = checks.CHECKS[entry.kind](known.entries, entry)
        else:
            return Replayed(entry, "fact")
    except (NotReplayable, TermsUnreadable, SumsUnreadable) as error:
        return Replayed(entry, "not replayable", str(error)[:LONGEST])
    except AttributeError as error:
        # A loop of recorded terms has no other part, and a record of an earlier version not every key.
        return Replayed(
            entry, "not replayable", f"the record lacks what this version reads: {error}"[:LONGEST]
        )
    except (ArithmeticError, KeyError, LookupError, TypeError, ValueError) as error:
        # A record that makes the judge fail is not the one that it answered.
        detail = f"the judge can't answer it: {type(error).__name__}: {error}{_versions(entry, code)}"
        return Replayed(entry, "different", detail)
    if not found:
        return Replayed(entry, "equal")
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return Replayed(entry, "different", "; ".join(found[:SHOWN]) + more + _versions(entry, code))


def _versions(entry: Entry, code: Mapping[str, Any] | None) -> str:
    made = entry.payload.get("made")
    if not made or not code:
        return ""
    old, new = made["code"]["commit"], code["code"]["commit"]
    said = []
    if old != new:
        said.append(f"recorded by commit {str(old)[:12]}, replayed by {str(new)[:12]}")
    packages = made["environment"]["packages"]
    said += [
        f"{name} {version}, now {code['environment']['packages'].get(name)}"
        for name, version in packages.items()
        if code["environment"]["packages"].get(name) != version
    ]
    if made["environment"]["machine"] != code["environment"]["machine"]:
        said.append(f"on {made['environment']['machine']}, now {code['environment']['machine']}")
    return f" ({'; '.join(said)})" if said else ""


def _look(known: _Loop, entry: Entry) -> dict[str, Any]:
    data = entry.payload
    experiment = str(data["experiment_id"])
    if experiment in known.unreadable:
        raise NotReplayable(known.unreadable[experiment])
    state = fold(known.upto(entry))
    running = state.rollout if entry.kind == "rollout_decision" else state.holdback
    if running is None or running.experiment_id != experiment:
        raise NotReplayable(f"by the entries before it {experiment} was not running")
    started = known.named(data.get("started"), "rollout_started")
    loop = loop_of(started.payload["terms"], entry.loop)
    verdict = judge_look(loop, running, known.sums[experiment], date.fromisoformat(data["day"]))
    return look_record(running, verdict, date.fromisoformat(data["day"]))


def _trigger(known: _Loop, entry: Entry) -> dict[str, Any]:
    data = entry.payload
    if data.get("asked_by") == "forget":
        before = fold(known.upto(entry))
        busy = before.request is not None or before.rollout is not None
        models = [Flagged(**model) for model in data["models"]]
        asked = retrain_after(data["policy"], models, before.champion_version, is_busy=busy)
        return {"action": asked.action, "reason": asked.reason}
    if "terms" not in data or "health" not in data:
        raise NotReplayable("it was recorded without its terms")
    health = known.named(data["health"], "health")
    state: LoopState = fold(known.upto(entry))
    loop = loop_of(data["terms"], entry.loop)
    facts = TriggerFacts.from_json(data["facts"]) if "facts" in data else None
    decision = judge_trigger(loop, health.payload, state, datetime.fromisoformat(entry.as_of), facts)
    names = ("tier", "action", "reason", "evidence", *(("first",) if facts else ()))
    return {name: getattr(decision, name) for name in names}


def _incident(known: _Loop, entry: Entry) -> dict[str, Any]:
    data = entry.payload
    before = known.upto(entry)
    if data["health"] is not None:
        known.named(data["health"], "health")
    return judge_again(loop_of(data["terms"], entry.loop), before, data, datetime.fromisoformat(entry.as_of))


def _evaluation(known: _Loop, entry: Entry) -> dict[str, Any]:
    data = entry.payload
    if not data.get("gates"):
        raise NotReplayable("it was refused before there was a score: " + "; ".join(data["reasons"])[:120])
    if "sums" not in data or "terms" not in data:
        raise NotReplayable("it was recorded without its sums")
    return judge_evaluation(data)


def differences(recorded: Any, again: Any, path: str = "") -> list[str]:
    """Where two plain values differ, as text; bit for bit (1 and 1.0 differ, and so do 0.0 and -0.0)."""
    if isinstance(recorded, dict) and isinstance(again, dict):
        names = sorted(set(recorded) | set(again))
        missing = object()
        return [
            line
            for name in names
            for line in differences(
                recorded.get(name, missing), again.get(name, missing), f"{path}.{name}" if path else name
            )
        ]
    if isinstance(recorded, list) and isinstance(again, list) and len(recorded) == len(again):
        pairs = zip(recorded, again, strict=True)
        return [line for i, (a, b) in enumerate(pairs) for line in differences(a, b, f"{path}[{i}]")]
    one, other = (_shown(value) for value in (recorded, again))
    return [] if one == other else [f"{path}: recorded {one}, replayed {other}"]


def _shown(value: Any) -> str:
    try:
        return canonical(value)
    except TypeError:
        return "nothing"
