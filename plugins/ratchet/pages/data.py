"""The page of what came in: volume, quarantine, gates, label maturity, freshness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.pages import plots
from ratchet.pages.links import Links
from ratchet.pages.parts import (
    MONITOR,
    Cell,
    Page,
    Panel,
    Rows,
    Table,
    as_of,
    joined,
    not_measured,
    percent,
    short_days,
    state_cell,
    table,
    told,
)
from ratchet.pages.source import Source

#: What a gate's verdict looks like.
VERDICTS: Mapping[str, plots.Colour] = {"pass": "good", "warn": "warn", "block": "bad"}


def data(source: Source, links: Links) -> Page:
    """Volume, quarantine, gates, maturity, freshness."""
    found = source.summary("monitor_data")
    panels: list[Panel] = [_partitions(source, links)]
    if found is None:
        panels.append(not_measured("What came in", "monitor_data", MONITOR))
    else:
        panels += [
            _freshness(found),
            _volume(found, source.is_simulated),
            _put_aside(found),
            _maturity(found),
            _gates(found),
        ]
    return Page("data", "Data", tuple(panels), as_of(found))


def _partitions(source: Source, links: Links) -> Panel:
    built, landing = source.summary("partitions"), source.summary("landing")
    if built is None:
        return Panel("Partitions", is_half=True, notes=("Nothing was built yet.",), tone="warn")
    features = built.get("features") or {}
    blocked = [b for b in built.get("blocked") or [] if b.get("border") == "features"] + list(
        (landing or {}).get("blocked") or []
    )
    facts: list[tuple[str, Cell]] = [
        (
            "visible",
            Cell(
                f"{told(features.get('green'))} partitions, {told(features.get('first'))} to "
                f"{told(features.get('last'))}"
            ),
        ),
        ("waiting for a build", Cell(told(built.get("dirty")))),
        ("blocked", Cell(str(len(blocked)), "bad" if blocked else "good")),
    ]
    held = (landing or {}).get("held") or {}
    if held:
        facts.append(
            ("in quarantine", Cell(", ".join(f"{name} {told(n)}" for name, n in held.items()), "warn"))
        )
    docs = links.data_docs()
    if docs:
        facts.append(("gate results", Cell("Data Docs", link=docs)))
    tables: tuple[Table, ...] = ()
    if blocked:
        rows = [
            (b.get("border"), b.get("table_name"), b.get("partition_date"), b.get("reason"))
            for b in blocked[:30]
        ]
        tables = (table(("border", "table", "date", "why"), rows),)
    return Panel(
        "Partitions", is_half=True, facts=tuple(facts), tables=tables, tone="bad" if blocked else "plain"
    )


def _freshness(found: Mapping[str, Any]) -> Panel:
    rows = [
        (
            one.get("source"),
            str(one.get("last_received"))[:16].replace("T", " "),
            one.get("hours_late"),
            state_cell(one.get("state")),
        )
        for one in found.get("freshness") or []
    ]
    return Panel(
        "Freshness",
        is_half=True,
        tables=(table(("source", "last received (UTC)", "hours late", "state"), rows),),
    )


def _by_source(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    sources: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        sources.setdefault(str(row.get("source")), []).append(row)
    return sources


def _volume(found: Mapping[str, Any], is_simulated: bool) -> Panel:
    drawn = []
    for name, rows in sorted(_by_source(found.get("volume") or []).items()):
        days = [str(row.get("date")) for row in rows]
        drawn.append(
            plots.lines(
                name, short_days(days), [plots.Series("rows", [row.get("rows") for row in rows])], from_zero=True,
                size=plots.SMALL, note=f"last day {told(rows[-1].get('rows'))} rows",
            )
        )  # fmt: skip
    notes = () if drawn else ("No source delivered anything in these days.",)
    if drawn and is_simulated:
        notes = ("What travellers say and do (feedback, telemetry) is simulated.",)
    return Panel("Rows received, by source", plots=tuple(drawn), notes=notes, is_small=True)


def _put_aside(found: Mapping[str, Any]) -> Panel:
    rows = []
    for name, days in sorted(_by_source(found.get("volume") or []).items()):
        total, held, doubled = (
            sum(int(d.get(key) or 0) for d in days) for key in ("rows", "quarantined", "duplicates")
        )
        share = held / (total + held) if total + held else None
        rows.append(
            (
                name,
                total,
                Cell(told(held), "warn" if held else "plain"),
                percent(share, 2),
                doubled,
                len(days),
            )
        )
    return Panel(
        "Quarantine and duplicates",
        is_half=True,
        tables=(table(("source", "landed", "in quarantine", "share", "duplicates", "days"), rows),),
    )


def _gates(found: Mapping[str, Any]) -> Panel:
    gates = found.get("gates") or []
    if not gates:
        return Panel("Gates", notes=("No gate was run in these days.",), tone="warn")
    days = sorted({str(g.get("date")) for g in gates})
    subjects = sorted({(str(g.get("border")), str(g.get("table"))) for g in gates})
    by_key = {
        (str(g.get("border")), str(g.get("table")), str(g.get("date"))): str(g.get("verdict")) for g in gates
    }
    rows = []
    for border, name in subjects:
        verdicts = [by_key.get((border, name, day)) for day in days]
        rows.append((name, [None if v is None else (v, VERDICTS.get(v, "ink")) for v in verdicts]))
    bad = [g for g in gates if g.get("verdict") != "pass"]
    newest = sorted(bad, key=lambda g: str(g.get("date")), reverse=True)
    shown_first = sorted(newest, key=lambda g: g.get("verdict") != "block")
    shown = table(
        ("border", "table", "date", "verdict", "why"),
        [
            (
                g.get("border"),
                g.get("table"),
                g.get("date"),
                state_cell(g.get("verdict")),
                joined(g.get("reasons")),
            )
            for g in shown_first[:20]
        ],
    )
    passed = len(gates) - len(bad)
    return Panel(
        "Gates", about=f"{passed} of {len(gates)} verdicts passed without a note.",
        plots=(plots.strip("Verdicts by day", short_days(days), rows, note="× blocked, ! passed with a note"),),
        tables=(shown,) if bad else (),
        tone="bad" if any(g.get("verdict") == "block" for g in newest[:20]) else "plain",
    )  # fmt: skip


def _maturity(found: Mapping[str, Any]) -> Panel:
    rows = found.get("maturity") or []
    if not rows:
        return Panel("Label maturity", is_half=True, notes=("No outcome was received yet.",), tone="warn")
    plot = plots.lines(
        "Outcomes received by age", [_age(row.get("age_days")) for row in rows],
        [plots.Series("share received", [row.get("share_received") for row in rows], has_points=len(rows) < 40)],
        from_zero=True, note="Labels younger than maturity are counted, not used.", first="age",
    )  # fmt: skip
    last = rows[-1]
    facts = (
        (
            "at the end",
            Cell(
                f"{percent(last.get('share_received'))} after {told(last.get('age_days'))} days, of "
                f"{told(last.get('n'))} units"
            ),
        ),
    )
    return Panel("Label maturity", is_half=True, facts=facts, plots=(plot,))


def _age(days: Any) -> str:
    if days is None:
        return "unknown"
    return f"{float(days) * 24:.0f} h" if float(days) < 1 else f"{float(days):g} d"
