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
- `cohort_released`    someone let an excluded cohort have what serves the others
- `baseline`           an urgent rule let a constant serve; the version that served is withdrawn, a trial ends
- `withdrawn`          a version may never serve again; its trial or holdback ends
- `request_closed`     someone closed the open request by hand, with a reason
- `approval`, `approval_asked`   answers to a decision, and who was asked (`ratchet.ledger.approvals`)
- `forget_requested`, `forgotten`, `model_flagged`   somebody asked to be forgotten; what went, and who learned from it
- `gate`, `health`, `drill`, `incident`, `incident_muted`, `notice`, `notice_sent`, `urgent_held`   change nothing here
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, TypeVar

from ratchet.experiment.admission import Admission
from ratchet.experiment.state import Look, RolloutState, Verdict
from ratchet.ledger.chain import Entry
from ratchet.ledger.trials import Holdback, Kept, Request, Rollout

#: What a state follows from; the other kinds are evidence.
STATE_KINDS = (
    "bootstrap", "trigger", "evaluation", "rollout_started", "rollout_decision", "rollout_applied", "holdback_decision",
    "holdback_applied", "rollback", "withdrawn", "request_closed", "approval", "cohort_released",
    "baseline",
)  # fmt: skip


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
    kept: tuple[Kept, ...] = ()
    """Versions that still serve cohorts which a promotion excluded, the oldest first: the first that applies serves."""

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
        rollout and (rollout.experiment_id, rollout.trial.stage_index, rollout.trial.admission),
        holdback and holdback.experiment_id,
        state.kept,
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
            trial = RolloutState.begin(
                data["experiment_id"], as_of.date(), data["stage"], _admission(data, as_of.date())
            )
            rollout = Rollout(
                champion_version=int(data["champion_version"]),
                challenger_version=int(data["challenger_version"]),
                started_as_of=as_of,
                trial=trial,
            )
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
        case "baseline" if data["from"] == state.champion_version:
            return _returned(state, int(data["model_version"]), as_of)
        case "cohort_released":
            return _released(state, str(data["cohort"]), as_of.date())
        case "withdrawn" if data["version"] != state.champion_version and data["version"] not in [
            k.version for k in state.kept
        ]:
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
                holdback=_begun(rollout, data, as_of),
                kept=(*state.kept, *_kept(rollout, data, as_of.date())),
                promoted_versions=(*state.promoted_versions, rollout.challenger_version),
            )
        case "roll_back" | "inconclusive" | "reject":
            return replace(
                state, rollout=None, retired_versions=(*state.retired_versions, rollout.challenger_version)
            )
        case "exclude":
            trial = replace(rollout.trial, admission=_admission(data, as_of.date()))
            return replace(state, rollout=replace(rollout, trial=trial))
        case "advance":
            trial = rollout.trial.in_stage(int(data["stage_index"]), data["stage"], as_of.date())
            return replace(state, rollout=replace(rollout, trial=trial))
        case _:
            return replace(state, rollout=rollout)


def _admission(data: dict[str, Any], since: date) -> Admission | None:
    """What the entry says that a challenger may serve, from `since` on."""
    told = data.get("admission")
    return None if told is None else replace(Admission.from_json(told), since=since)


def _kept(rollout: Rollout, data: dict[str, Any], since: date) -> tuple[Kept, ...]:
    admission = _admission(data, since)
    if admission is None or not admission.excluded:
        return ()
    return (Kept(rollout.champion_version, rollout.challenger_version, admission),)


def _released(state: LoopState, cohort: str, since: date) -> LoopState:
    """The cohort is admitted wherever it was excluded; who excludes nothing more keeps nothing."""

    def again(trial: RolloutState) -> RolloutState:
        admission = trial.admission
        return trial if admission is None else replace(trial, admission=admission.released(cohort, since))

    kept = tuple(replace(own, admission=own.admission.released(cohort, since)) for own in state.kept)
    rollout, holdback = state.rollout, state.holdback
    return replace(
        state,
        kept=tuple(own for own in kept if own.admission.excluded),
        rollout=None if rollout is None else replace(rollout, trial=again(rollout.trial)),
        holdback=None if holdback is None else replace(holdback, trial=again(holdback.trial)),
    )


def _begun(rollout: Rollout, data: dict[str, Any], as_of: datetime) -> Holdback | None:
    terms = data.get("holdback")
    if terms is None:
        return None
    return Holdback(
        previous_version=rollout.champion_version,
        promoted_version=rollout.challenger_version,
        share=float(terms["share"]),
        days=int(terms["days"]),
        started_as_of=as_of,
        trial=RolloutState.begin(
            terms["experiment_id"], as_of.date(), "holdback", _admission(data, as_of.date())
        ),
    )


def _returned(state: LoopState, version: int, as_of: datetime) -> LoopState:
    """A former champion, or a constant, serves; the version that served is withdrawn, and nothing is on trial."""
    retired = state.retired_versions
    if state.rollout is not None:
        retired = (*retired, state.rollout.challenger_version)
    withdrawn = (*state.withdrawn_versions, *([state.champion_version] if state.champion_version else []))
    # What promotions up to that version kept stays kept; what later ones excluded has that version, like the rest.
    # A constant was never promoted: it serves everyone.
    place = state.promoted_versions.index(version) + 1 if version in state.promoted_versions else 0
    known = state.promoted_versions[:place]
    kept = tuple(own for own in state.kept if own.promoted in known)
    return replace(
        state, kept=kept, champion_version=version, champion_since=as_of, rollout=None, holdback=None,
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
