"""A decision's certificate for a person: the verdict, why, and the evidence as tables of text.

Terminal and page show it. Everything comes from the ledger's entries. Evidence that a record does not have is left
out, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.certificate import credits, evidence
from ratchet.certificate.contents import LOOKS
from ratchet.certificate.evidence import Section, number
from ratchet.ledger.chain import Entry

GOOD = ("promote", "advance", "pass", "approve", "durable", "none")
#: Parts of a look's evidence that have a table of their own.
SHOWN_APART = (
    "primary", "tests", "guardrails", "cohorts", "integrity", "e_values", "stage_days", "stage_mature_days",
    "admission", "cohorts_left_out",
)  # fmt: skip
BAD = ("roll_back", "refuse", "reject", "timeout", "block", "failed")


@dataclass(frozen=True)
class Certificate:
    """What is shown of one entry. `tone` is good, bad or plain."""

    title: str
    verdict: str
    tone: str
    subject: str
    reasons: tuple[str, ...]
    sections: tuple[Section, ...]


class NoDecision(LookupError):
    """No entry, or more than one, goes by this name; the message says how to find one."""


def find(entries: Sequence[Entry], name: str) -> Entry:
    """The entry with this number, key, or beginning of its hash.

    Raises:
        NoDecision: none has, or several do.
    """
    if name.isdigit() and len(name) < 9:
        found = [entry for entry in entries if entry.seq == int(name)]
    else:
        found = [entry for entry in entries if entry.key == name]
    if not found and len(name) >= 4:
        found = [entry for entry in entries if entry.hash.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NoDecision(f"{len(found)} entries go by {name!r}: {', '.join(str(e.seq) for e in found[:5])}")
    raise NoDecision(
        f"no entry is number, key or hash {name!r}; there are {len(entries)}, see `ratchet decision list`"
    )


def verdict_of(entry: Entry) -> str:
    """What the entry answers, in a word."""
    data = entry.payload
    for name in ("action", "verdict", "answer"):
        if isinstance(data.get(name), str):
            return str(data[name])
    if entry.kind == "gate":
        return "block" if data["partitions"]["block"] else "pass"
    if entry.kind == "drill" and "failed" in data:
        return "failed" if data["failed"] else "pass"
    if entry.kind == "health":
        return str(data["status"])
    return entry.kind.replace("_", " ")


def reasons_of(entry: Entry) -> tuple[str, ...]:
    """Why, in the record's own words."""
    data = entry.payload
    if isinstance(data.get("reasons"), list):
        return tuple(map(str, data["reasons"]))
    if isinstance(data.get("reason"), str):
        return (data["reason"],)
    return tuple(map(str, data.get("blocked", [])))[:5]


def subject_of(entry: Entry) -> str:
    """What the decision is about."""
    data = entry.payload
    if entry.kind in LOOKS:
        versions = f"version {data['challenger_version']} against {data['champion_version']}"
        return f"{data['experiment_id']}, {versions}, {data['day']}, stage {data['stage']}"
    for name in ("experiment_id", "request", "subject", "decision"):
        if isinstance(data.get(name), str):
            return str(data[name])
    return entry.key


def certificate_of(entries: Sequence[Entry], entry: Entry) -> Certificate:
    """The certificate of `entry`; `entries` are its loop's, in order."""
    verdict = verdict_of(entry)
    tone = "good" if verdict in GOOD else "bad" if verdict in BAD else "plain"
    makers: dict[str, Callable[[Sequence[Entry], Entry], list[Section]]] = {
        **dict.fromkeys(LOOKS, _look),
        "evaluation": _evaluation,
        "trigger": _trigger,
    }
    sections = makers.get(entry.kind, _other)(entries, entry)
    sections += [*evidence.approvals(entries, entry), evidence.provenance(entries, entry), _chain(entry)]
    return Certificate(
        title=f"{entry.kind.replace('_', ' ').capitalize()} of loop {entry.loop}, entry {entry.seq}",
        verdict=verdict.replace("_", " "),
        tone=tone,
        subject=subject_of(entry),
        reasons=reasons_of(entry),
        sections=tuple(section for section in sections if section.rows),
    )


def looks_before(entries: Sequence[Entry], entry: Entry) -> list[Entry]:
    """The looks of the same experiment up to this one."""
    return [
        other
        for other in entries
        if other.kind == entry.kind
        and other.seq <= entry.seq
        and other.payload["experiment_id"] == entry.payload["experiment_id"]
    ]


def started(entries: Sequence[Entry], entry: Entry) -> Entry | None:
    """The entry that fixed the terms of a look."""
    return next((e for e in entries if e.hash == entry.payload.get("started")), None)


def evaluation_of(entries: Sequence[Entry], entry: Entry) -> Entry | None:
    """The evaluation that a decision rests on: its own entry, or its rollout's."""
    if entry.kind == "evaluation":
        return entry
    offer = started(entries, entry) if entry.kind in LOOKS else entry
    named = offer.payload.get("evaluation") if offer is not None else None
    return next((e for e in entries if e.kind == "evaluation" and e.hash == named), None)


def _look(entries: Sequence[Entry], entry: Entry) -> list[Section]:
    told = entry.payload["evidence"]
    offer = started(entries, entry)
    return [
        evidence.primary(told),
        evidence.looks(looks_before(entries, entry)),
        evidence.guardrails(told),
        evidence.e_values(told),
        evidence.cohorts(told),
        evidence.admission(told),
        evidence.exposure(told),
        evidence.rest(told, known=SHOWN_APART),
        credits.section(entries, entry),
        evidence.terms(offer),
        evidence.gates(evaluation_of(entries, entry)),
    ]


def _evaluation(entries: Sequence[Entry], entry: Entry) -> list[Section]:
    return [evidence.gates(entry), evidence.metrics(entry), evidence.facts(entry)]


def _trigger(_: Sequence[Entry], entry: Entry) -> list[Section]:
    return [evidence.rest(entry.payload.get("evidence", {}), known=(), title="Evidence")]


def _other(_: Sequence[Entry], entry: Entry) -> list[Section]:
    return [evidence.rest(entry.payload, known=("reasons", "reason", "terms", "made"), title="What it says")]


def _chain(entry: Entry) -> Section:
    rows: list[tuple[str, ...]] = [
        ("entry", f"{entry.seq}, {entry.key}"),
        ("as of", f"{entry.as_of} UTC"),
        ("recorded", f"{entry.recorded_at} by {entry.actor}"),
        ("hash", entry.hash),
        ("previous hash", entry.previous_hash),
    ]
    return Section("Chain", ("", ""), tuple(rows), "checked by `ratchet ledger verify`")


def listed(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """A line an entry: number, as of, kind, verdict, subject."""
    return [
        (str(e.seq), e.as_of[:10], e.kind.replace("_", " "), verdict_of(e).replace("_", " "), subject_of(e))
        for e in entries
    ]


def as_data(certificate: Certificate, entry: Entry, entries: Sequence[Entry]) -> Mapping[str, Any]:
    """The certificate for machines: the whole entry, and those it rests on by number."""
    evaluation = evaluation_of(entries, entry)
    return {
        "entry": entry.__dict__,
        "verdict": certificate.verdict,
        "reasons": list(certificate.reasons),
        "subject": certificate.subject,
        "evaluation": None if evaluation is None else evaluation.seq,
        "looks": [e.seq for e in looks_before(entries, entry)] if entry.kind in LOOKS else [],
        "size": number(len(str(entry.payload))),
    }
