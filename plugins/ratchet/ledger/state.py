"""What the ledger says is true now: who serves, what is on trial, which request is open.

Pure: a fold over a loop's entries in order. An entry that does not fit the state it meets (a second rollout while
one runs, a rollback from a version that serves no more) changes nothing: of two writers that race, one wins. The
kinds of entry and what each does to the state:

- `bootstrap`          the first champion serves, if none ever did
- `trigger`            a retrain was requested or refused
- `training`           a candidate was fitted from a snapshot
- `evaluation`         the candidate passed (then it is offered) or was refused (then the request is closed)
- `rollout_started`    a challenger is on trial; a holdback ends
- `rollout_decision`   one daily look: hold, advance, promote, roll_back or inconclusive
- `rollout_applied`    the decision that ended a step took effect; a promotion may begin a holdback
- `holdback_decision`  one daily look at a holdback: hold, roll_back or end
- `holdback_applied`   that decision took effect
- `rollback`           someone put a former champion back; the version that served is withdrawn, a trial ends
- `withdrawn`          a version may never serve again; its trial or holdback ends
- `request_closed`     someone closed the open request by hand, with a reason
- `approval`, `approval_asked`   answers to a decision, and who was asked (`ratchet.ledger.approvals`)
- `gate`, `health`, `drill`      evidence; they change nothing here
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, TypeVar

from ratchet.experiment.state import Look, RolloutState, Verdict
from ratchet.ledger.chain import Entry

#: What a state follows from; the other kinds are evidence.
STATE_KINDS = (
    "bootstrap", "trigger", "evaluation", "rollout_started", "rollout_decision", "rollout_applied", "holdback_decision",
    "holdback_applied", "rollback", "withdrawn", "request_closed", "approval",
)  # fmt: skip


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
class Holdback:
    """The share that the previous champion keeps after a promotion, beside an equally large arm of the new one.

    The experiment's roles: the previous champion is its champion (arm control), the promoted version its challenger.
    """

    previous_version: int
    promoted_version: int
    share: float
    days: int
    started_as_of: datetime
    trial: RolloutState
    last_day: date | None = None
    undone: str | None = None

    @property
    def experiment_id(self) -> str:
        return self.trial.experiment_id

    @property
    def champion_version(self) -> int:
        return self.previous_version

    @property
    def challenger_version(self) -> int:
        return self.promoted_version


@dataclass(frozen=True)
class LoopState:
    """Everything that a decision may depend on besides the day's sums."""

    champion_version: int | None = None
    champion_since: datetime | None = None
    last_trained_as_of: datetime | None = None
    last_request_as_of: datetime | None = None
    request: Request | None = None
    rollout: Rollout | None = None
    holdback: Holdback | None = None
    serving_decision: str | None = None
    """Key of the entry that last changed what serves, its place, and the time from which it holds."""
    serving_seq: int = 0
    serving_as_of: datetime | None = None
    retired_versions: tuple[int, ...] = ()
    promoted_versions: tuple[int, ...] = ()
    withdrawn_versions: tuple[int, ...] = ()
    """Never a baseline, never a target, never offered again."""

    def targets(self) -> tuple[int, ...]:
        """Versions that a rollback may go to, the last promoted first."""
        out = {self.champion_version, *self.withdrawn_versions}
        return tuple(v for v in dict.fromkeys(reversed(self.promoted_versions)) if v not in out)


_Trial = TypeVar("_Trial", Rollout, Holdback)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def fold(entries: Iterable[Entry]) -> LoopState:
    """The state after `entries` (one loop's, in order)."""
    state = LoopState()
    for entry in entries:
        before, state = state, _apply(state, entry)
        if _serving(before) != _serving(state):
            state = replace(
                state, serving_decision=entry.key, serving_seq=entry.seq, serving_as_of=_time(entry.as_of)
            )
    return state


def _serving(state: LoopState) -> tuple[Any, ...]:
    """What decides who is served by which version."""
    rollout, holdback = state.rollout, state.holdback
    return (
        state.champion_version,
        rollout and (rollout.experiment_id, rollout.trial.stage_index),
        holdback and holdback.experiment_id,
    )


def _apply(state: LoopState, entry: Entry) -> LoopState:
    data, as_of = entry.payload, _time(entry.as_of)
    match entry.kind:
        case "bootstrap" if state.champion_version is None:
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
        case "rollout_started" if (
            state.rollout is None and int(data["challenger_version"]) not in state.withdrawn_versions
        ):
            trial = RolloutState.begin(data["experiment_id"], as_of.date(), data["stage"])
            rollout = Rollout(int(data["champion_version"]), int(data["challenger_version"]), as_of, trial)
            # A refused candidate did not refresh the model; one on trial counts as trained.
            return replace(state, rollout=rollout, holdback=None, request=None, last_trained_as_of=as_of)
        case "rollout_decision" if state.rollout and state.rollout.experiment_id == data["experiment_id"]:
            return replace(state, rollout=_looked(state.rollout, entry))
        case "rollout_applied" if state.rollout and state.rollout.experiment_id == data["experiment_id"]:
            return _applied(state, replace(state.rollout, undone=None), data, as_of)
        case "holdback_decision" if state.holdback and state.holdback.experiment_id == data["experiment_id"]:
            return replace(state, holdback=_looked(state.holdback, entry))
        case "holdback_applied" if state.holdback and state.holdback.experiment_id == data["experiment_id"]:
            if data["action"] != "roll_back":
                return replace(state, holdback=None)
            return _returned(state, int(data["to"]), as_of) if data["to"] in state.targets() else state
        case "rollback" if data["from"] == state.champion_version and data["to"] in state.targets():
            return _returned(state, int(data["to"]), as_of)
        case "withdrawn" if data["version"] != state.champion_version:
            return _withdrawn(state, int(data["version"]))
        case _:
            return state


def _looked(trial: _Trial, entry: Entry) -> _Trial:
    """The trial after one more look."""
    data = entry.payload
    looks = {
        test: Look(date.fromisoformat(day), float(fraction), float(z), bool(crossed))
        for test, (day, fraction, z, crossed) in data["looks"].items()
    }
    return replace(
        trial,
        trial=trial.trial.after(Verdict("hold", (), {}, looks)),
        last_day=date.fromisoformat(data["day"]),
        undone=entry.key if data["to_apply"] else trial.undone,
    )


def _applied(state: LoopState, rollout: Rollout, data: dict[str, Any], as_of: datetime) -> LoopState:
    match data["action"]:
        case "promote":
            return replace(
                state,
                champion_version=rollout.challenger_version,
                champion_since=as_of,
                rollout=None,
                holdback=_begun(rollout, data.get("holdback"), as_of),
                promoted_versions=(*state.promoted_versions, rollout.challenger_version),
            )
        case "roll_back" | "inconclusive" | "reject":
            return replace(
                state, rollout=None, retired_versions=(*state.retired_versions, rollout.challenger_version)
            )
        case "advance":
            trial = rollout.trial.in_stage(int(data["stage_index"]), data["stage"], as_of.date())
            return replace(state, rollout=replace(rollout, trial=trial))
        case _:
            return replace(state, rollout=rollout)


def _begun(rollout: Rollout, terms: dict[str, Any] | None, as_of: datetime) -> Holdback | None:
    if terms is None:
        return None
    return Holdback(
        rollout.champion_version, rollout.challenger_version, float(terms["share"]), int(terms["days"]), as_of,
        RolloutState.begin(terms["experiment_id"], as_of.date(), "holdback"),
    )  # fmt: skip


def _returned(state: LoopState, version: int, as_of: datetime) -> LoopState:
    """A former champion serves again; the version that served is withdrawn, and nothing is on trial."""
    retired = state.retired_versions
    if state.rollout is not None:
        retired = (*retired, state.rollout.challenger_version)
    withdrawn = (*state.withdrawn_versions, *([state.champion_version] if state.champion_version else []))
    return replace(
        state, champion_version=version, champion_since=as_of, rollout=None, holdback=None,
        retired_versions=retired, withdrawn_versions=withdrawn,
    )  # fmt: skip


def _withdrawn(state: LoopState, version: int) -> LoopState:
    rollout, holdback, retired = state.rollout, state.holdback, state.retired_versions
    if rollout is not None and rollout.challenger_version == version:
        rollout, retired = None, (*retired, version)
    if holdback is not None and holdback.previous_version == version:
        holdback = None
    withdrawn = tuple(dict.fromkeys((*state.withdrawn_versions, version)))
    return replace(
        state, rollout=rollout, holdback=holdback, retired_versions=retired, withdrawn_versions=withdrawn
    )
