"""What can be checked of an entry that is no verdict of its own: that it agrees with itself and those before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.experiment.admission import first_admission
from ratchet.ledger.approvals import standing
from ratchet.ledger.chain import Entry, canonical

LISTED = 50  # partitions that a gate's entry names at most


def gate(_: Sequence[Entry], entry: Entry) -> list[str]:
    """A gate's key holds a digest of what it says, and its counts fit its lists."""
    data, found = entry.payload, []
    digest = hashlib.sha256(canonical(data).encode()).hexdigest()[:12]
    if entry.key != f"gate:{data['subject']}:{digest}":
        found.append(f"its key does not fit what it says: expected …:{digest}")
    counts: Mapping[str, int] = data["partitions"]
    if sorted(counts) != ["block", "pass", "warn"] or any(count < 0 for count in counts.values()):
        found.append(f"partitions: {dict(counts)}")
        return found
    for word, listed in (("block", data["blocked"]), ("warn", data["warned"])):
        if len(listed) != min(counts[word], LISTED):
            found.append(f"{len(listed)} partitions are listed for {counts[word]} with verdict {word}")
    if data["rows"] < 0 or data["expectations_run"] < 0:
        found.append(f"{data['expectations_run']} expectations over {data['rows']} rows")
    if not data["expectations_run"] and counts["pass"] + counts["warn"]:
        found.append("partitions passed and no expectation was run")
    return found


def applied(before: Sequence[Entry], entry: Entry) -> list[str]:
    """What was carried out is what a decision said, and what people said to it, with the same versions."""
    data = entry.payload
    decision = next((e for e in before if e.key == data["decision"]), None)
    if decision is None:
        return [f"no decision {data['decision']} is before it"]
    told, found = decision.payload, []
    if decision.kind not in ("rollout_decision", "holdback_decision") or not told["to_apply"]:
        found.append(f"{decision.key} asked for nothing to be carried out")
    stands = standing(before, decision)
    if stands.outcome == "waiting":
        found.append(f"it was carried out while it {stands.told()}")
    if stands.outcome in ("rejected", "timeout"):
        told = {**told, "action": "reject"}
    for name in ("action", "experiment_id", "champion_version", "challenger_version"):
        if name in data and name in told and data[name] != told[name]:
            found.append(f"{name}: {data[name]} was carried out, {told[name]} was decided")
    judged = decision.payload.get("evidence", {}).get("admission")
    if data["action"] in ("promote", "exclude") and data.get("admission") != judged:
        found.append("the cohorts that it admits are not the decision's")
    if data["action"] == "advance" and data["stage_index"] != told["stage_index"] + 1:
        found.append(f"stage {data['stage_index']} does not follow stage {told['stage_index']}")
    return found


def offered(before: Sequence[Entry], entry: Entry) -> list[str]:
    """What is offered passed its evaluation, and is the model that was fitted from the named snapshot."""
    data, found = entry.payload, []
    request = data["request"]
    evaluation = next((e for e in before if e.hash == data.get("evaluation")), None)
    if evaluation is None or evaluation.kind != "evaluation":
        return ["the evaluation that it names is not before it"]
    if evaluation.payload["verdict"] != "pass" or evaluation.payload["request"] != request:
        found.append(
            f"its evaluation says {evaluation.payload['verdict']} of {evaluation.payload['request']}"
        )
    fitted = next((e for e in before if e.kind == "training" and e.payload["request"] == request), None)
    if fitted is None:
        found.append("no training of its request is before it")
    else:
        for name in ("model_sha256", "snapshot_sha256"):
            if name in fitted.payload and fitted.payload[name] != data[name]:
                found.append(f"{name} is not the training's")
    if entry.kind == "rollout_started" and not data["terms"].get("guardrails"):
        found.append("its terms have no guardrail")
    if data.get("admission") is not None and evaluation.payload.get("terms"):
        terms = evaluation.payload["terms"]
        admission = first_admission(
            evaluation.payload["gates"],
            terms["cohorts"]["dimensions"],
            dict(terms["features"]["categorical"]),
        )
        if admission.to_json() != data["admission"]:
            found.append("the cohorts that it admits are not those that its evaluation judged")
    return found


CHECKS: dict[str, Callable[[Sequence[Entry], Entry], list[str]]] = {
    "gate": gate,
    "rollout_applied": applied,
    "holdback_applied": applied,
    "bootstrap": offered,
    "rollout_started": offered,
}


def counted(replayed: Sequence[Any]) -> list[dict[str, Any]]:
    """By kind of entry: how many there are, were replayed, were equal; why the others could not be."""
    rows: dict[str, dict[str, Any]] = {}
    for one in replayed:
        row = rows.setdefault(
            one.entry.kind,
            {
                "kind": one.entry.kind,
                "entries": 0,
                "replayed": 0,
                "equal": 0,
                "different": [],
                "not_replayable": {},
            },
        )
        row["entries"] += 1
        row["replayed"] += one.outcome in ("equal", "different")
        row["equal"] += one.outcome == "equal"
        if one.outcome == "different":
            row["different"].append(f"{one.entry.seq} {one.entry.key}: {one.detail}")
        if one.outcome == "not replayable":
            row["not_replayable"][one.detail] = row["not_replayable"].get(one.detail, 0) + 1
    return [rows[kind] for kind in sorted(rows)]
