"""What the ledger says is true now: who serves, what is on trial, which request is open.

Pure: a fold over a loop's entries in order. The kinds of entry and what each does to the state:

- `bootstrap`          the first champion serves; refused by its writer once a champion ever existed
- `trigger`            a retrain was requested or refused
- `training`           a candidate was fitted from a snapshot
- `evaluation`         the candidate passed (then it is offered) or was refused (then the request is closed)
- `rollout_started`    a challenger is on trial
- `rollout_decision`   one daily look: hold, advance, promote, roll_back or inconclusive
- `rollout_applied`    the decision that ended a step took effect
- `request_closed`     someone closed the open request by hand, with a reason
- `gate`, `health`, `drill`   evidence; they change nothing here
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from ratchet.experiment.state import Look, RolloutState, Verdict
from ratchet.ledger.chain import Entry


@dataclass(frozen=True)
class Request:
    """An open retrain request."""

    key: str
    tier: str
    reason: str
    as_of: datetime


@dataclass(frozen=True)
class Rollout:
    """A running rollout, as its entries left it. `trial` is what the next look is judged with."""

    champion_version: int
    challenger_version: int
    started_as_of: datetime
    trial: RolloutState
    last_day: date | None = None
    undone: str | None = None
    """Key of a decision that is not carried out yet; nothing further is judged before it is."""

    @property
    def experiment_id(self) -> str:
        return self.trial.experiment_id


@dataclass(frozen=True)
class LoopState:
    """Everything that a decision may depend on besides the day's sums."""

    champion_version: int | None = None
    champion_since: datetime | None = None
    last_trained_as_of: datetime | None = None
    last_request_as_of: datetime | None = None
    request: Request | None = None
    rollout: Rollout | None = None
    serving_decision: str | None = None
    """Key of the entry that last changed what serves, and the time from which it holds."""
    serving_as_of: datetime | None = None
    retired_versions: tuple[int, ...] = ()
    promoted_versions: tuple[int, ...] = ()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def fold(entries: Iterable[Entry]) -> LoopState:
    """The state after `entries` (one loop's, in order)."""
    state = LoopState()
    for entry in entries:
        state = _apply(state, entry)
        if entry.kind in ("bootstrap", "rollout_started", "rollout_applied"):
            state = replace(state, serving_decision=entry.key, serving_as_of=_time(entry.as_of))
    return state


def _apply(state: LoopState, entry: Entry) -> LoopState:
    data, as_of = entry.payload, _time(entry.as_of)
    match entry.kind:
        case "bootstrap":
            version = int(data["model_version"])
            return replace(
                state,
                champion_version=version,
                champion_since=as_of,
                last_trained_as_of=as_of,
                promoted_versions=(version,),
                request=None,
            )
        case "trigger" if data["action"] == "request":
            request = Request(entry.key, data["tier"], data["reason"], as_of)
            return replace(state, request=request, last_request_as_of=as_of)
        case "request_closed" if state.request and data["request"] == state.request.key:
            return replace(state, request=None)
        case "evaluation" if (
            data["verdict"] != "pass" and state.request and data["request"] == state.request.key
        ):
            return replace(state, request=None)
        case "rollout_started":
            trial = RolloutState.begin(data["experiment_id"], as_of.date(), data["stage"])
            rollout = Rollout(int(data["champion_version"]), int(data["challenger_version"]), as_of, trial)
            # A refused candidate did not refresh the model; one on trial counts as trained.
            return replace(state, rollout=rollout, request=None, last_trained_as_of=as_of)
        case "rollout_decision" if state.rollout and state.rollout.experiment_id == data["experiment_id"]:
            looks = {
                test: Look(date.fromisoformat(day), float(fraction), float(z), bool(crossed))
                for test, (day, fraction, z, crossed) in data["looks"].items()
            }
            verdict = Verdict(data["action"], (), {}, looks)
            rollout = replace(
                state.rollout,
                trial=state.rollout.trial.after(verdict),
                last_day=date.fromisoformat(data["day"]),
                undone=entry.key if data["to_apply"] else state.rollout.undone,
            )
            return replace(state, rollout=rollout)
        case "rollout_applied" if state.rollout and state.rollout.experiment_id == data["experiment_id"]:
            return _applied(state, replace(state.rollout, undone=None), data, as_of)
        case _:
            return state


def _applied(state: LoopState, rollout: Rollout, data: dict[str, Any], as_of: datetime) -> LoopState:
    match data["action"]:
        case "promote":
            return replace(
                state,
                champion_version=rollout.challenger_version,
                champion_since=as_of,
                rollout=None,
                promoted_versions=(*state.promoted_versions, rollout.challenger_version),
            )
        case "roll_back" | "inconclusive":
            return replace(
                state, rollout=None, retired_versions=(*state.retired_versions, rollout.challenger_version)
            )
        case "advance":
            trial = rollout.trial.in_stage(int(data["stage_index"]), data["stage"], as_of.date())
            return replace(state, rollout=replace(rollout, trial=trial))
        case _:
            return replace(state, rollout=rollout)
