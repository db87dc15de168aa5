"""From recorded inputs to a verdict: what the stages call when they judge, and the replay when it checks them.

Each function is pure: the loop's terms, the state that the ledger's earlier entries give, the sums of the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from ratchet.certificate.contents import Sums
from ratchet.evaluation.gates import judge, reasons_of
from ratchet.experiment.holdback import judge_holdback_day
from ratchet.experiment.state import Verdict
from ratchet.experiment.verdict import judge_day
from ratchet.incidents.judge import judge_incidents
from ratchet.incidents.signals import Signal
from ratchet.ledger.chain import Entry
from ratchet.ledger.incident_entries import last_state, mutes_of
from ratchet.ledger.state import LoopState
from ratchet.ledger.trials import Holdback, Rollout
from ratchet.loop import Loop
from ratchet.monitoring.health import Health
from ratchet.triggers.policy import TriggerDecision, TriggerFacts, TriggerHistory, decide_retrain


class TermsUnreadable(ValueError):
    """Recorded terms are not what this version's loop files have; the message names the part."""


def loop_of(terms: Mapping[str, Any], name: str = "recorded") -> Loop:
    """A loop that has the recorded terms and nothing else: what reads another part of it fails.

    A key that this version asks for and the record does not have stays away too: a verdict that does not need it
    is still replayed.

    Raises:
        TermsUnreadable: a part is unknown or not valid.
    """
    parts: dict[str, Any] = {"loop": name}
    for part, value in terms.items():
        if part not in Loop.model_fields:
            raise TermsUnreadable(
                f"the record's terms have {part!r}, which this version's loop files have not"
            )
        if part == "features":
            value = {**value, "categorical": dict(value["categorical"])}  # kept as pairs, for their order
        parts[part] = _built(Loop.model_fields[part].annotation, value, part)
    return Loop.model_construct(set(parts), **parts)


def _built(declared: Any, value: Any, path: str) -> Any:
    try:
        return TypeAdapter(declared).validate_python(value)
    except ValidationError as error:
        wrong = [item for item in error.errors() if item["type"] != "missing"]
        if wrong:
            where = ".".join(map(str, (path, *wrong[0]["loc"])))
            raise TermsUnreadable(f"the record's {where}: {wrong[0]['msg']}") from None
    inner = get_args(declared)
    if get_origin(declared) is tuple and isinstance(value, list):
        return tuple(_built(inner[0], item, f"{path}.{i}") for i, item in enumerate(value))
    if not (isinstance(declared, type) and issubclass(declared, BaseModel)):
        raise TermsUnreadable(f"the record's {path} lacks a key that this version needs")
    fields = declared.model_fields
    known = {key: _built(fields[key].annotation, item, f"{path}.{key}") for key, item in value.items()}
    return declared.model_construct(set(known), **known)


def judge_look(loop: Loop, rollout: Rollout | Holdback, sums: Sums, day: date) -> Verdict:
    """The verdict of one day of a rollout, or of the holdback after one.

    While an earlier decision waits to be carried out, only harm is answered (to all, or to a cohort that is taken out).
    """
    frames = sums.frames(rollout.experiment_id)
    look = judge_day if isinstance(rollout, Rollout) else judge_holdback_day
    verdict = look(loop, rollout.trial, frames.pop("paired"), frames.pop("arms"), day, **frames)
    if rollout.undone is not None and verdict.action not in ("roll_back", "exclude"):
        reasons = ("an earlier decision waits to be carried out", *verdict.reasons)
        return Verdict("hold", reasons, verdict.evidence, verdict.looks)
    return verdict


def looks_of(verdict: Verdict) -> dict[str, list[Any]]:
    """A verdict's looks as its record keeps them: day, information fraction, z, whether it crossed."""
    return {t: [k.day.isoformat(), k.fraction, k.z, k.is_crossed] for t, k in verdict.looks.items()}


def look_record(rollout: Rollout | Holdback, verdict: Verdict, day: date) -> dict[str, Any]:
    """The part of a look's record that follows from its inputs."""
    return {
        "experiment_id": rollout.experiment_id,
        "day": day,
        "action": verdict.action,
        "to_apply": verdict.action != "hold",
        "stage": rollout.trial.stage_name,
        "stage_index": rollout.trial.stage_index,
        "reasons": list(verdict.reasons),
        "looks": looks_of(verdict),
        "evidence": verdict.evidence,
        "champion_version": rollout.champion_version,
        "challenger_version": rollout.challenger_version,
    }


def judge_trigger(
    loop: Loop,
    health: Mapping[str, Any],
    state: LoopState,
    as_of: datetime,
    facts: TriggerFacts | None = None,
) -> TriggerDecision:
    """Whether a retrain is due, from the health record, what the ledger says is open and running, and `facts`."""
    history = TriggerHistory(
        last_trained_as_of=state.last_trained_as_of,
        last_request_as_of=state.last_request_as_of,
        open_request=None if state.request is None else state.request.key,
        running_rollout=None if state.rollout is None else state.rollout.experiment_id,
    )
    return decide_retrain(loop, Health.from_json(health), history, as_of, facts)


def judge_evaluation(record: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's verdict, reasons, gates and metrics, judged again from its terms, sums and facts."""
    evaluation = judge(loop_of(record["terms"]), record["sums"], record["facts"])
    return {**evaluation.to_json(), "reasons": reasons_of(evaluation)}


def judge_again(
    loop: Loop, before: Sequence[Entry], record: Mapping[str, Any], as_of: datetime
) -> dict[str, Any]:
    """An incident entry's events and state, from the entries before it and the signals that it holds."""
    since, began = record["serving_since"], record.get("began")
    after, events = judge_incidents(
        loop,
        last_state(before),
        [Signal.from_json(item) for item in record["signals"]],
        as_of,
        mutes=mutes_of(before),
        serving_since=None if since is None else datetime.fromisoformat(since),
        began=None if began is None else datetime.fromisoformat(began),
        learns=record.get("learns", False),
    )
    return {"events": [event.to_json() for event in events], "state": after.to_json()}
