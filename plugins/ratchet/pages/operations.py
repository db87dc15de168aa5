"""The page of operations: latency, errors, volume, runs and what they cost."""

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
    Plot,
    Rows,
    as_of,
    not_measured,
    short_days,
    state_cell,
    table,
    told,
)
from ratchet.pages.source import Source


def operations(source: Source, links: Links) -> Page:
    """Latency, errors, volume, runs and what they cost."""
    found = source.summary("monitor_operations")
    if found is None:
        return Page("operations", "Operations", (not_measured("Operations", "monitor_operations", MONITOR),))
    panels = [_serving(found), _trends(found), _runs(found), _stages(source.summary("timings") or {})]
    return Page("operations", "Operations and cost", tuple(panels), as_of(found))


def _trends(found: Mapping[str, Any]) -> Panel:
    rows = [(t.get("name"), state_cell(t.get("state")), t.get("reason")) for t in found.get("trends") or []]
    if not rows:
        return Panel("Jumps and leaks", notes=("None was looked for yet.",))
    return Panel("Jumps and leaks", tables=(table(("what", "state", "why"), rows),))


def _serving(found: Mapping[str, Any]) -> Panel:
    rows = found.get("days") or []
    days = short_days([str(r.get("date")) for r in rows])
    drawn: list[Plot] = []
    simulated = " (simulated)" if found.get("simulated") else ""

    def series(key: str, name: str, colour: plots.Colour = "main") -> plots.Series:
        return plots.Series(name, [r.get(key) for r in rows], colour)

    if rows:
        drawn = [
            plots.lines("Predictions", days, [series("volume", "predictions")], from_zero=True),
            plots.lines(
                "Latency, ms",
                days,
                [series("latency_p95", "95 of 100", "warn"), series("latency_p50", "half")],
                from_zero=True,
            ),
            plots.lines(
                "App errors of 1,000 people asked" + simulated,
                days,
                [series("errors_per_1000_asked", "errors", "bad")],
                from_zero=True,
                note=_errors_told(rows),
            ),
        ]
    versions = rows[-1].get("served_versions") if rows else None
    facts: tuple[tuple[str, Cell], ...] = ()
    if isinstance(versions, Mapping):
        facts = (
            (
                "served on the last day",
                Cell(", ".join(f"version {v}: {told(n)}" for v, n in versions.items())),
            ),
        )
    elif versions:
        facts = (("served on the last day", Cell(", ".join(f"version {v}" for v in versions))),)
    notes = () if rows else ("No day was served yet.",)
    return Panel("Serving", facts=facts, plots=tuple(drawn), notes=notes)


def _errors_told(rows: Rows) -> str:
    last = rows[-1].get("errors_per_prediction")
    seen = "unknown" if last is None else f"{float(last):.2f}"
    return (
        f"Many may see one prediction: {seen} errors a prediction on the last day, which is what `error:app` watches. "
        "A day whose people are not all asked yet has no point; on cancelled flights nobody is asked."
    )


def _runs(found: Mapping[str, Any]) -> Panel:
    runs = found.get("runs") or []
    if not runs:
        return Panel("Trainings and their cost", notes=("No training was measured yet.",))
    total = sum(float(r.get("cost") or 0) for r in runs)
    unit = "CPU seconds" if all(r.get("cpu_seconds") is not None for r in runs) else "seconds by the clock"
    # A column that no run has a number for says nothing.
    columns = [
        (name, key)
        for name, key in (
            ("run", "run"), ("seconds", "seconds"), ("CPU seconds", "cpu_seconds"), ("MB", "megabytes"),
            ("rows", "rows"), (f"cost, {unit}", "cost"),
        )
        if any(r.get(key) is not None for r in runs)
    ]  # fmt: skip
    body = [[r.get(key) for _, key in columns] for r in runs[-25:][::-1]]
    shown = table([name for name, _ in columns], body)
    return Panel(
        "Trainings and their cost",
        facts=(("together", Cell(f"{told(total)} {unit}, {len(runs)} trainings")),),
        tables=(shown,),
    )


def _stages(found: Mapping[str, Any]) -> Panel:
    """How long landings and builds took, the newest last; they carry no date."""
    drawn = []
    for name, title, unit in (
        ("landing", "Landing, seconds", "rows"),
        ("build", "Build, seconds", "partitions"),
    ):
        runs = found.get(name) or []
        if not runs:
            continue
        names = [f"-{back}" if back else "last" for back in range(len(runs) - 1, -1, -1)]
        seconds = plots.Series("seconds", [run.get("seconds") for run in runs], has_points=len(runs) < 40)
        note = f"{told(runs[-1].get('units'))} {unit} in the last run"
        drawn.append(plots.lines(title, names, [seconds], from_zero=True, note=note, first="run"))
    notes = () if drawn else ("None ran yet.",)
    return Panel("Landings and builds", plots=tuple(drawn), notes=notes)
