"""Decisions, their certificates, and those that wait for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.certificate.summary import Certificate, certificate_of, find
from ratchet.ledger.chain import Entry
from ratchet.pages import trials
from ratchet.pages.links import Links
from ratchet.pages.overview import decision_table
from ratchet.pages.parts import Cell, Form, Page, Panel, ReleaseForm, Table, cells, state_cell, table
from ratchet.pages.source import Source
from ratchet.stages.accounts import approvers
from ratchet.stages.admitting import LeftOut, left_out
from ratchet.stages.approvals import waiting

#: What answers a question; measurements, gates and fits are evidence.
LISTED = (
    "approval", "bootstrap", "drill", "evaluation", "holdback_applied", "holdback_decision", "rollback",
    "rollout_applied",
    "rollout_decision", "rollout_started", "trigger", "withdrawn",
)  # fmt: skip
A_PAGE = 100
#: Parts of a certificate that rest on what users say and do.
FROM_USERS = ("Guardrails", "Rests on contributions")
SIMULATED = "The travellers are simulated: their ratings, tickets and telemetry are not those of people."
#: Columns of a certificate's tables whose words have colours.
STATES = ("verdict", "state", "what")


def decisions(source: Source, links: Links, before: int | None = None) -> Page:
    """The newest decisions, or those before entry `before`."""
    found = [e for e in source.entries if e.kind in LISTED and (before is None or e.seq < before)]
    if not found:
        return Page("decisions", "Decisions", (Panel("Decisions", notes=("None was made yet.",)),))
    shown = found[: -A_PAGE - 1 : -1]
    notes = (f"{len(shown)} of {len(found)} decisions, the newest first. The ledger's chain checked out.",)
    facts: tuple[tuple[str, Cell], ...] = ()
    base = links.page("decisions")
    if len(found) > len(shown) and links.own is not None:
        facts = (("older", Cell("the 100 before", link=f"{base}?before={shown[-1].seq}")),)
    panel = Panel("Decisions", facts=facts, tables=(decision_table(shown, links),), notes=notes)
    return Page("decisions", "Decisions", (panel,))


def decision(source: Source, links: Links, name: str) -> Page:
    """The certificate of one decision.

    Raises:
        NoDecision: none goes by this number, key or hash.
    """
    return certificate_page(source, links, find(source.entries, name))


def certificate_page(source: Source, links: Links, entry: Entry) -> Page:
    """The certificate of `entry`."""
    k = source.min_group
    kept = [trials.without_small_groups(e, k) for e in source.entries]
    told = certificate_of(kept, next(e for e in kept if e.seq == entry.seq))
    tone = {"good": "good", "bad": "bad"}.get(told.tone, "plain")
    head = Panel(
        told.verdict[:1].upper() + told.verdict[1:], about=told.subject, notes=told.reasons, tone=tone,  # type: ignore[arg-type]
        facts=_where(source, entry, links),
    )  # fmt: skip
    drawn = trials.drawings(source.entries, entry, k)
    pictures = (Panel("Pictures", plots=drawn),) if drawn else ()
    sections = _sections(told)
    lead = SIMULATED if source.is_simulated and any(p.title in FROM_USERS for p in sections) else ""
    return Page(f"decision-{entry.seq}", told.title, (head, *pictures, *sections), lead)


def _where(source: Source, entry: Entry, links: Links) -> tuple[tuple[str, Cell], ...]:
    found = []
    for title, name in (
        ("decision", "decision"), ("asked by", "request"), ("rests on", "evaluation"), ("began with", "started"),
    ):  # fmt: skip
        other = _named(source, entry, entry.payload.get(name))
        if other is not None:
            found.append((title, links.decision(other.seq, f"{other.key}, entry {other.seq}")))
    run = entry.payload.get("run")
    if isinstance(run, str):
        found.append(("Airflow run", links.run(run)))
    if isinstance(entry.payload.get("run_id"), str):
        found.append(("MLflow run", links.model_run(entry.payload["run_id"])))
    return tuple(found)


def _named(source: Source, entry: Entry, name: object) -> Entry | None:
    """The earlier entry that goes by this key or hash."""
    if not isinstance(name, str) or not name:
        return None
    return next((e for e in source.entries if e.seq < entry.seq and name in (e.key, e.hash)), None)


def _sections(told: Certificate) -> Sequence[Panel]:
    panels = []
    for section in told.sections:
        if any(section.columns):
            is_state = [name in STATES for name in section.columns]
            shown = Table(
                section.columns,
                tuple(
                    cells(*(state_cell(v) if s and v else v for v, s in zip(row, is_state, strict=True)))
                    for row in section.rows
                ),
            )
            panels.append(Panel(section.title, about=section.note, tables=(shown,)))
        else:
            facts = tuple((row[0], Cell(": ".join(row[1:]))) for row in section.rows)
            panels.append(Panel(section.title, about=section.note, facts=facts))
    return panels


def _left_out(source: Source, reader: Sequence[str], why_not: str) -> list[Panel]:
    """Cohorts that do not have what serves the others, each with the form that lets it go."""
    cohorts: dict[str, list[LeftOut]] = {}
    for item in left_out(source.entries):
        cohorts.setdefault(item.cohort, []).append(item)
    people = approvers(source.loop)
    if not why_not and not set(reader) & set(people):
        why_not = f"You are {reader[0] if reader else 'nobody'}; the loop file names {', '.join(people)}."
    panels = []
    for name, items in cohorts.items():
        facts = [
            ("served by", Cell(", ".join(f"version {one.served_by} instead of {one.instead_of}" for one in items))),
            ("why", Cell("; ".join(dict.fromkeys(one.why for one in items)))),
            ("known by now", Cell(_known(items[0].known, source.min_group))),
        ]  # fmt: skip
        form = ReleaseForm(name, ",".join(str(one.instead_of) for one in items), why_not)
        panels.append(Panel(f"Left out: {name}", facts=tuple(facts), form=form, is_half=True))
    return panels


def _known(told: Mapping[str, Any] | None, k: int) -> str:
    if told is None or told.get("value") is None:
        return "nothing"
    if int(told.get("units") or 0) < k:
        return f"fewer than {k} units"
    enough = "enough evidence" if told.get("is_enough") else "not enough evidence"
    return f"gain {told['value']:+.4f} on {told['units']} units: {enough}"


def approvals(source: Source, links: Links, reader: Sequence[str] = (), why_not: str = "") -> Page:
    """What waits for people, with the forms for those who may answer; `reader` are the names that who looks goes by."""
    found = waiting(source.entries)
    left = _left_out(source, reader, why_not)
    panels = []
    if found is None:
        panels.append(Panel("Waiting", notes=("No decision waits for anybody.",), tone="good"))
    else:
        entry, stands = found
        data = entry.payload
        if not why_not and not any(name in stands.people for name in reader):
            who = reader[0] if reader else "nobody"
            why_not = f"You are {who}; the loop file names {', '.join(stands.people)}."
        elif not why_not and any(name in stands.approved_by for name in reader):
            why_not = "You approved it already; somebody else has to as well."
        facts: tuple[tuple[str, Cell], ...] = (
            ("decision", links.decision(entry.seq, entry.key)),
            (
                "what",
                Cell(
                    f"{data['action'].replace('_', ' ')} version {data['challenger_version']} over "
                    f"{data['champion_version']}"
                ),
            ),
            ("until", Cell(f"{stands.until} UTC; then it is a no", "warn")),
            ("needs", Cell(f"{stands.needed} of {', '.join(stands.people)}")),
            ("so far", Cell(", ".join(stands.approved_by) or "nobody")),
        )
        asked = [
            e for e in source.entries if e.kind == "approval_asked" and e.payload.get("decision") == entry.key
        ]
        if asked:
            facts += (("asked by", links.run(str(asked[-1].payload.get("run")))),)
        plot = trials.boundary(source.entries, entry)
        panels.append(
            Panel(
                "Waiting", facts=facts, notes=tuple(map(str, data.get("reasons", []))), tone="warn",
                plots=() if plot is None else (plot,), form=Form(entry.key, why_not),
            )
        )  # fmt: skip
    panels += left
    past = [e for e in source.entries if e.kind == "approval"]
    rows = [
        (e.as_of[:10], state_cell(e.payload.get("answer")), str(e.payload.get("by") or "nobody"),
         str(e.payload.get("reason")), str(e.payload.get("decision")))
        for e in past[:-51:-1]
    ]  # fmt: skip
    answered = (table(("as of", "answer", "by", "why", "decision"), rows),) if rows else ()
    panels.append(Panel("Answers so far", tables=answered, notes=() if rows else ("None was given yet.",)))
    return Page(
        "approvals", "Approvals", tuple(panels), "Silence is a no; going back never waits for anybody."
    )
