"""The first page: what serves, what is on trial, what is wrong, what comes next, what was decided."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ratchet.certificate.contents import LOOKS
from ratchet.certificate.summary import subject_of, verdict_of
from ratchet.ledger.chain import Entry
from ratchet.pages import trials
from ratchet.pages.links import Links
from ratchet.pages.parts import Cell, Page, Panel, Table, percent, state_cell, table, told
from ratchet.pages.source import Source
from ratchet.stages.approvals import waiting
from ratchet.stages.serving import stage_of
from ratchet.triggers.releases import release_block

#: Kinds of entry that changed what serves, or decided that it may.
DECISIVE = (
    "bootstrap", "evaluation", "rollout_started", "rollout_applied", "holdback_applied", "rollback", "withdrawn",
    "approval", "trigger",
)  # fmt: skip
HORIZON_DAYS = 400


def overview(source: Source, links: Links) -> Page:
    """The page."""
    panels = [
        _asked(source, links), _serves(source, links), _releases(source), _trial(source, links), _incidents(source),
        _triggers(source), _decisions(source, links), Panel("Look further", facts=links.beside()),
    ]  # fmt: skip
    return Page("overview", "Overview", tuple(p for p in panels if p is not None), source.loop.goal)


def _serves(source: Source, links: Links) -> Panel:
    state, owner = source.state, source.loop.owner
    who = ("owner", Cell(f"{owner.name}, {owner.team} ({owner.contact}); then {owner.escalation}"))
    if state.champion_version is None:
        return Panel(
            "Serves", is_half=True, facts=(who,), tone="warn",
            notes=("Nothing: no champion was ever made (run train_model with mode bootstrap).",),
        )  # fmt: skip
    since = "unknown" if state.champion_since is None else f"{state.champion_since:%Y-%m-%d}"
    facts: list[tuple[str, Cell]] = [("version", Cell(f"{state.champion_version}, since {since}", "good"))]
    if state.serving_seq:
        facts.append(("by the decision", links.decision(state.serving_seq, state.serving_decision)))
    made = next(
        (
            e
            for e in source.entries
            if e.kind in ("bootstrap", "rollout_started")
            and state.champion_version
            in (e.payload.get("model_version"), e.payload.get("challenger_version"))
        ),
        None,
    )
    if made is not None and made.payload.get("run_id"):
        facts.append(("MLflow run", links.model_run(str(made.payload["run_id"]))))
    if source.as_of is not None:
        facts.append(("judged up to", Cell(f"{source.as_of:%Y-%m-%d %H:%M} UTC")))
    health = source.last("health")
    if health is not None:
        said = str(health.payload.get("status"))
        facts.append(
            (
                "health",
                Cell(
                    f"{said} on {health.as_of[:10]}", state_cell(said).tone, links.decision(health.seq).link
                ),
            )
        )
    if state.withdrawn_versions:
        facts.append(("withdrawn", Cell(", ".join(map(str, state.withdrawn_versions)), "bad")))
    request = state.request
    facts.append(
        (
            "retrain",
            Cell(
                "none is requested"
                if request is None
                else f"{request.tier}, {request.as_of:%Y-%m-%d}: {request.reason}"
            ),
        )
    )
    return Panel("Serves", is_half=True, facts=(*facts, who))


def _trial(source: Source, links: Links) -> Panel:
    state = source.state
    look = source.last(*LOOKS)
    rollout, holdback = state.rollout, state.holdback
    facts: list[tuple[str, Cell]] = []
    if rollout is not None:
        stage = stage_of(source.entries, rollout)
        facts += [
            ("challenger", Cell(f"version {rollout.challenger_version} against {rollout.champion_version}")),
            (
                "stage",
                Cell(
                    f"{stage.name}, {percent(stage.share, 0)} of units, since {rollout.trial.stage_started_on}"
                ),
            ),
        ]
        look = _last_look(source, rollout.experiment_id)
    elif holdback is not None:
        facts.append(
            ("held back",
             Cell(f"version {holdback.previous_version} keeps {percent(holdback.share, 0)} for {holdback.days} days"))
        )  # fmt: skip
        look = _last_look(source, holdback.experiment_id)
    title = "On trial" if rollout is not None or holdback is not None else "Last trial"
    if look is None:
        said = "Nothing is on trial, and nothing ever was." if not facts else "No look was made yet."
        return Panel("On trial", facts=tuple(facts), notes=(said,))
    data = look.payload
    facts += [
        ("last look", links.decision(look.seq, f"{data['day']}, entry {look.seq}")),
        ("verdict", state_cell(data["action"])),
    ]
    notes = [str(reason) for reason in data.get("reasons", [])[:4]]
    if title == "Last trial":
        notes.insert(0, f"Nothing is on trial now; this was version {data['challenger_version']}.")
    plot = trials.boundary(source.entries, look)
    return Panel(title, facts=tuple(facts), plots=() if plot is None else (plot,), notes=tuple(notes))


def _last_look(source: Source, experiment_id: str) -> Entry | None:
    return next(
        (
            e
            for e in reversed(source.entries)
            if e.kind in LOOKS and e.payload["experiment_id"] == experiment_id
        ),
        None,
    )


def _asked(source: Source, links: Links) -> Panel | None:
    found = waiting(source.entries)
    if found is None:
        return None
    decision, stands = found
    facts = (
        ("decision", links.decision(decision.seq, decision.key)),
        ("what", Cell(f"{decision.payload['action']} version {decision.payload['challenger_version']}")),
        ("waits", Cell(stands.told(), "warn", links.page("approvals"))),
    )
    return Panel("Waits for people", facts=facts, tone="warn")


def _incidents(source: Source) -> Panel:
    found = source.summary("incidents")
    if found is None:
        return Panel(
            "Open incidents", notes=("Not measured yet: monitor_model has not judged a day.",), tone="warn"
        )
    opened = sorted(found.get("open") or [], key=lambda one: (one.get("rank") is None, one.get("rank") or 0))
    muted = found.get("muted") or []
    tables = []
    if opened:
        tables.append(incident_table(opened))
    notes = [] if opened else [f"None is open, as of {str(found.get('as_of'))[:10]}."]
    if muted:
        tables.append(
            table(
                ("muted", "until", "why"),
                [
                    (one.get("title"), str(one.get("muted_until"))[:10], one.get("mute_reason"))
                    for one in muted
                ],
            )
        )
    closed = (found.get("closed") or [])[-5:][::-1]
    if closed:
        tables.append(
            table(
                ("closed", "opened", "incident", "first cause"),
                [
                    (
                        str(one.get("closed_on"))[:10],
                        str(one.get("opened_on"))[:10],
                        one.get("title"),
                        one.get("cause"),
                    )
                    for one in closed
                ],
            )
        )
    worst = any(one.get("severity") in ("critical", "urgent", "alert", "high") for one in opened)
    return Panel(
        "Open incidents", about="Worst first: customer impact, risk, time to fix.", tables=tuple(tables),
        notes=tuple(notes), tone="bad" if worst else "warn" if opened else "good",
    )  # fmt: skip


def incident_table(opened: list[dict[str, Any]]) -> Table:
    """Incidents, a row each: what, first cause, since when, who, what to do."""
    rows = []
    for one in opened:
        causes = one.get("causes") or []
        first = causes[0] if causes else {}
        why = ": ".join(str(first[name]) for name in ("name", "evidence") if first.get(name)) or told(
            one.get("cause")
        )
        rows.append(
            (told(one.get("id")), Cell(told(one.get("title")), state_cell(one.get("severity")).tone),
             state_cell(one.get("severity")), why, str(one.get("opened_on"))[:10], told(one.get("owner")),
             told(one.get("hours_to_fix")), told(one.get("runbook")))
        )  # fmt: skip
    return table(
        ("id", "incident", "severity", "first cause", "since", "owner", "hours to fix", "runbook"), rows
    )


def _releases(source: Source) -> Panel:
    if source.as_of is None:
        return Panel(
            "Next release window", is_half=True, notes=("Nothing was judged yet, so no day is the next one.",)
        )
    closed = release_block(source.loop, "start", source.as_of)
    if closed is None:
        return Panel(
            "Next release window",
            is_half=True,
            facts=(("open", Cell(f"on {source.as_of:%Y-%m-%d}", "good")),),
        )
    day = next(
        (
            later
            for later in (source.as_of + timedelta(days=n) for n in range(1, HORIZON_DAYS))
            if release_block(source.loop, "start", later) is None
        ),
        None,
    )
    then = f"none within {HORIZON_DAYS} days" if day is None else f"{day:%A, %Y-%m-%d}"
    return Panel(
        "Next release window", is_half=True, facts=(("opens", Cell(then, "warn")), ("closed now", Cell(closed)))
    )  # fmt: skip


def _triggers(source: Source) -> Panel:
    found = source.summary("triggers")
    if found is None:
        last = source.last("trigger")
        if last is None:
            return Panel("Retrain policy", notes=("Not measured yet: no day was judged.",), tone="warn")
        return Panel("Retrain policy", facts=((last.as_of[:10], Cell(str(last.payload.get("reason")))),))
    rows = [
        (
            str(one.get("as_of"))[:10],
            told(one.get("tier") or "none"),
            state_cell(one.get("action")),
            told(one.get("reason")),
        )
        for one in (found.get("decisions") or [])[-5:][::-1]
    ]
    spent = found.get("spent") or {}
    facts: tuple[tuple[str, Cell], ...] = ()
    if spent:
        limit = "no budget is set" if spent.get("budget") is None else f"of {told(spent['budget'])}"
        unit = str(spent.get("unit") or "").replace("_", " ")
        facts = (("spent", Cell(f"{told(spent.get('cost'))} {unit} in {told(spent.get('month'))}, {limit}")),)
    return Panel("Retrain policy", facts=facts, tables=(table(("as of", "tier", "action", "why"), rows),))


def _decisions(source: Source, links: Links) -> Panel:
    found = [
        e
        for e in source.entries
        if e.kind in DECISIVE and not (e.kind == "trigger" and e.payload.get("action") == "none")
    ]
    if not found:
        return Panel("Last decisions", notes=("None was made yet.",))
    return Panel("Last decisions", tables=(decision_table(found[:-9:-1], links),))


def decision_table(entries: list[Entry], links: Links) -> Table:
    """Decisions, a row each."""
    rows = [
        (
            links.decision(e.seq, str(e.seq)),
            e.as_of[:10],
            state_cell(verdict_of(e)),
            e.kind.replace("_", " "),
            subject_of(e),
        )
        for e in entries
    ]
    return table(("entry", "as of", "verdict", "kind", "about"), rows)
