"""The evidence of recorded decisions as tables of text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.ledger.approvals import standing
from ratchet.ledger.chain import Entry

Rows = tuple[tuple[str, ...], ...]
ESTIMATE = ("value", "low", "high", "z", "clusters", "units")
MANY = 40  # rows of a table of whatever else a record holds


@dataclass(frozen=True)
class Section:
    """A table with its title; two columns without names are pairs."""

    title: str
    columns: tuple[str, ...]
    rows: Rows
    note: str = ""


def number(value: Any) -> str:
    """A value in few characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "unknown"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(number, value)) or "none"
    return str(value)


def interval(told: Mapping[str, Any]) -> str:
    """An estimate with its limits."""
    value, low, high = (told.get(name) for name in ("value", "low", "high"))
    if value is None:
        return "unknown"
    limits = "no limits yet" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
    return f"{value:+.4f} ({limits})"


def primary(told: Mapping[str, Any]) -> Section:
    """The primary metric's gain."""
    found = told.get("primary")
    if not found:
        return Section("Primary metric", ("", ""), ())
    error = found.get("one_sided_error")
    rows = [
        ("metric", f"{found.get('metric', 'gain')}: positive means the challenger is better"),
        ("gain per unit", interval(found) + (f", each limit wrong with {error:g}" if error else "")),
        ("z", number(found.get("z"))),
        ("rests on", f"{number(found.get('clusters'))} clusters, {number(found.get('units'))} units"),
        ("information fraction", number(found.get("information_fraction"))),
    ]
    rows += [
        (name.replace("_", " "), number(told[name]))
        for name in ("stage_days", "stage_mature_days")
        if name in told
    ]
    return Section("Primary metric", ("", ""), tuple(rows))


def looks(entries: Sequence[Entry]) -> Section:
    """z and boundary at each look of the tests that decide."""
    rows = []
    for entry in entries:
        told = entry.payload["evidence"]
        tests = told.get("tests", {})
        gain = told.get("primary", {})
        row = [
            entry.payload["day"],
            entry.payload["stage"],
            number(gain.get("information_fraction")),
            number(gain.get("z")),
        ]
        for name in ("promotion", "harm"):
            test = tests.get(name)
            # Harm is tested the other way round: its boundary lies below zero on the same axis.
            bound = None if test is None else test.get("bound")
            sign = -1 if name == "harm" and bound is not None else 1
            mark = " crossed" if test and test.get("crossed") else ""
            row.append("not tested" if bound is None else f"{number(sign * bound)}{mark}")
        rows.append((*row, entry.payload["action"].replace("_", " ")))
    columns = ("day", "stage", "information", "z", "promote at", "roll back at", "verdict")
    return Section("Boundary at each look", columns, tuple(rows))


def guardrails(told: Mapping[str, Any]) -> Section:
    """Each guardrail's effect, margin and tests."""
    tests, rows = told.get("tests", {}), []
    for name, found in sorted(told.get("guardrails", {}).items()):
        test = tests.get(f"guardrail:{name}") or {}
        proof = "not tested yet"
        if test.get("bound") is not None:
            proof = f"z {number(test['z'])}, boundary {number(test['bound'])}"
            proof += ": not worse" if test.get("crossed") else ": open"
        elif test:
            proof = "not worse" if test.get("crossed") else "open"
        rows.append(
            (name, str(found.get("kind", "")).replace("_", " "), interval(found), number(found.get("margin")),
             number(found.get("clusters")), proof)
        )  # fmt: skip
    columns = ("guardrail", "kind", "effect (positive is better)", "margin", "clusters", "proof of not worse")
    return Section("Guardrails", columns, tuple(rows))


def cohorts(told: Mapping[str, Any]) -> Section:
    """Each cohort's gain."""
    rows = []
    for name, found in sorted(told.get("cohorts", {}).items()):
        if not isinstance(found, Mapping):
            continue
        shown = name + (f" ({', '.join(found['pooled'])})" if found.get("pooled") else "")
        state = "judged" if found.get("judged") else "not enough evidence"
        if found.get("state"):
            state = str(found["state"])
        rows.append(
            (shown, interval(found), number(found.get("units")), number(found.get("clusters")), state)
        )
    return Section("Cohorts", ("cohort", "gain per unit", "units", "clusters", "state"), tuple(rows))


def admission(told: Mapping[str, Any]) -> Section:
    """Cohorts that the challenger does not serve: why, and what is known of each by now."""
    known = told.get("cohorts_left_out", {})
    out = dict.fromkeys(known, "") | dict((told.get("admission") or {}).get("excluded", {}))
    rows = [
        (name, why, interval(known.get(name, {})), number(known.get(name, {}).get("units")),
         "enough evidence by now" if known.get(name, {}).get("is_enough") else "not enough evidence")
        for name, why in sorted(out.items())
    ]  # fmt: skip
    return Section("Cohorts left out", ("cohort", "why", "gain per unit", "units", "state"), tuple(rows))


def e_values(told: Mapping[str, Any]) -> Section:
    """The harm processes: the evidence that it is worse, and from where on it is rolled back."""
    rows = [
        (name.removesuffix("_e").replace("_", " "), number(found.get("log_e")), number(found.get("largest_log_e")),
         number(found.get("alarm_above")), number(found.get("clusters")),
         "crossed" if found.get("crossed") else "not crossed")
        for name, found in sorted(told.get("e_values", {}).items())
    ]  # fmt: skip
    columns = ("harm", "log e-value", "largest so far", "roll back at", "clusters", "state")
    return Section("Harm, as e-values", columns, tuple(rows))


def exposure(told: Mapping[str, Any]) -> Section:
    """What was checked of the exposure."""
    rows = [(path, text) for path, text in _flat(told.get("integrity", {}))]
    return Section("Exposure checks", ("", ""), tuple(rows[:MANY]))


def terms(offer: Entry | None) -> Section:
    """The terms that were fixed when the rollout started."""
    if offer is None:
        return Section("Terms", ("", ""), ())
    found = offer.payload.get("terms", {})
    rows = list(_flat(found.get("rollout", {}))) + [
        (
            f"guardrail {rail['metric']}",
            f"{rail['kind'].replace('_', ' ')}, {rail['better']} is better, margin {rail['margin']:g}",
        )
        for rail in found.get("guardrails", [])
    ]
    return Section(
        "Terms", ("", ""), tuple(rows[:MANY]), f"fixed by entry {offer.seq} when the rollout started"
    )


def gates(evaluation: Entry | None) -> Section:
    """The gates that let the candidate on trial."""
    if evaluation is None:
        return Section("Gates", ("", "", ""), ())
    rows = [(g["name"], g["verdict"], g["reason"]) for g in evaluation.payload.get("gates", [])]
    passed = sum(row[1] == "pass" for row in rows)
    note = f"entry {evaluation.seq}: {passed} of {len(rows)} passed"
    return Section("Gates before any user saw it", ("gate", "verdict", "why"), tuple(rows), note)


def metrics(evaluation: Entry) -> Section:
    """Each scorer's metrics."""
    found = evaluation.payload.get("metrics", {})
    names = sorted({name for values in found.values() for name in values})
    rows = [
        (scorer, *(number(values.get(name)) for name in names)) for scorer, values in sorted(found.items())
    ]
    return Section("On the newest window", ("scorer", *names), tuple(rows))


def facts(evaluation: Entry) -> Section:
    """What is known of the candidate beside its scores."""
    rows = [(path, text) for path, text in _flat(evaluation.payload.get("facts", {}))]
    return Section("Facts", ("", ""), tuple(rows[:MANY]))


def approvals(entries: Sequence[Entry], entry: Entry) -> list[Section]:
    """Who answered, and what came of the decision."""
    rows: list[tuple[str, ...]] = []
    # A bootstrap names who has to approve in a word; a look has a rule.
    if isinstance(entry.payload.get("approval"), Mapping):
        rule = entry.payload["approval"]
        login = ", by Airflow's login only" if rule.get("authenticated") else ""
        rows.append(("", "needs", f"{rule['count']} of {', '.join(rule['by'])} until {rule['until']}{login}"))
        rows.append(("", "stands", standing(entries, entry).told()))
    for other in entries:
        data = other.payload
        if data.get("decision") != entry.key:
            continue
        if other.kind == "approval":
            who, why = data.get("by") or other.actor, data.get("reason") or "no reason given"
            known = f", known by: {data['identity']}" if data.get("identity") else ""
            rows.append((other.as_of[:16], str(data.get("answer")), f"{who}: {why}{known}"))
        elif other.kind.endswith("_applied"):
            rows.append(
                (other.as_of[:16], "carried out", f"{data['action'].replace('_', ' ')}, entry {other.seq}")
            )
        elif other.kind != entry.kind:
            rows.append((other.as_of[:16], other.kind.replace("_", " "), f"entry {other.seq}"))
    if not rows and entry.payload.get("to_apply"):
        rows.append(("", "waiting", "it was not carried out yet"))
    return [Section("Approvals, and what came of it", ("when", "what", "who and why"), tuple(rows))]


def provenance(entries: Sequence[Entry], entry: Entry) -> Section:
    """Snapshot, models, builds, code and environment."""
    rows: list[tuple[str, ...]] = []
    offer = next((e for e in entries if e.hash == entry.payload.get("started")), entry)
    if entry.kind == "evaluation":
        offer = next(
            (e for e in entries if e.kind == "training" and e.payload["request"] == entry.payload["request"]),
            entry,
        )
    for source in dict.fromkeys((offer.hash, entry.hash)):
        data = next(e.payload for e in (offer, entry) if e.hash == source)
        rows += [
            (name.replace("_", " "), str(data[name]))
            for name in ("request", "snapshot_id", "snapshot_sha256", "model_sha256", "run_id")
            if name in data
        ]
    made = entry.payload.get("made")
    if made:
        code, dbt, environment = made["code"], made["dbt"], made["environment"]
        clean = "" if code.get("is_clean") else f" ({code.get('note') or 'not known whether clean'})"
        rows += [
            ("code", f"commit {code.get('commit') or 'not known'}{clean}"),
            ("dbt build", f"invocation {dbt.get('invocation_id') or 'not known'}"),
            ("dbt models", str(dbt.get("models_sha256") or "not known")),
            ("lock file", str(environment.get("lock_sha256") or "not known")),
            ("python", f"{environment.get('python')} on {environment.get('machine')}"),
            ("packages", ", ".join(f"{k} {v}" for k, v in sorted(environment.get("packages", {}).items()))),
        ]
    # What both entries say the same of stands once.
    return Section("Where it came from", ("", ""), tuple(dict.fromkeys(rows)))


def rest(told: Mapping[str, Any], known: Sequence[str], title: str = "Further evidence") -> Section:
    """Whatever else a record holds, a line a value."""
    own = {name: value for name, value in told.items() if name not in known}
    rows = [row for row in _flat(own) if row[0] not in ("experiment id", "day", "stage", "stage index")]
    note = f"and {len(rows) - MANY} more values" if len(rows) > MANY else ""
    return Section(title, ("", ""), tuple(rows[:MANY]), note)


def _flat(told: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(told, Mapping):
        if (
            told
            and all(not isinstance(v, (Mapping, list)) for v in told.values())
            and path
            and len(told) <= 6
        ):
            yield path, ", ".join(f"{str(k).replace('_', ' ')} {number(v)}" for k, v in told.items())
            return
        for name, value in told.items():
            yield from _flat(value, f"{path} {name}".strip().replace("_", " "))
    elif isinstance(told, list) and any(isinstance(item, (Mapping, list)) for item in told):
        for index, item in enumerate(told[:MANY], start=1):
            yield from _flat(item, f"{path} {index}")
    else:
        text = number(told)
        yield path, text if len(text) <= 400 else f"{text[:400]} …"
