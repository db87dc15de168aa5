"""What the replay's end tells: read from the ledger and the published summaries, computed from nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from ratchet.ledger.chain import Entry
from ratchet.ledger.store import Ledger
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings

PLANTED = (
    "shuffled",
    "stale",
    "leaking",
    "cohort_harm",
    "overlapping",
    "backwards",
    "gappy",
    "future_column",
)


@dataclass(frozen=True)
class Outcome:
    """Whether the replay showed what it is for. `problems` are broken invariants: never acceptable."""

    promoted: int
    drill_refused: int
    problems: tuple[str, ...]

    @property
    def is_closed(self) -> bool:
        """A challenger that a trigger asked for was promoted, and every planted one was refused."""
        return self.promoted > 0 and self.drill_refused == len(PLANTED) and not self.problems


def outcome_of(settings: Settings, loop: Loop, weeks: int) -> Outcome:
    """The outcome of the replay so far; invariants are checked here, not assumed."""
    ledger = Ledger(settings.ledger_url)
    entries = ledger.entries(loop.loop)
    problems: list[str] = []
    chain = ledger.verify()
    if not chain.ok:
        problems.append(f"the ledger's chain is broken: {chain.problem or 'it is empty'}")
    kinds = {entry.kind for entry in entries}
    for kind in ("bootstrap", "gate", "health", "trigger", "training", "evaluation"):
        if kind not in kinds:
            problems.append(f"no {kind} entry: that stage never ran")
    partitions = read(settings, loop.loop, "partitions")
    if partitions is None or partitions["features"]["green"] == 0:
        problems.append("no feature partition is visible")
    else:
        if partitions["dirty"]:
            problems.append(f"{partitions['dirty']} partitions were left dirty")
        for source, counts in partitions["landed"].items():
            if counts["read"] != counts["landed"] + counts["quarantined"] + counts["duplicate"]:
                problems.append(f"{source}: rows read are not landed + quarantined + duplicate")
            if not counts["read"]:
                problems.append(f"{source}: nothing was read")
    health = [e for e in entries if e.kind == "health"]
    if len(health) < weeks:
        problems.append(f"{len(health)} health records for {weeks} weeks")
    return Outcome(len(promotions(entries)), len(drill_refusals(entries)), tuple(problems))


def promotions(entries: list[Entry]) -> list[Entry]:
    """Promotions of challengers whose whole path is in the ledger: request, training, evaluation, rollout."""
    found = []
    for entry in entries:
        if entry.kind != "rollout_applied" or entry.payload["action"] != "promote":
            continue
        started = next(
            e
            for e in entries
            if e.kind == "rollout_started" and e.payload["experiment_id"] == entry.payload["experiment_id"]
        )
        request = started.payload["request"]
        asked = [
            e
            for e in entries
            if e.key == request and e.kind == "trigger" and e.payload["action"] == "request"
        ]
        passed = [e for e in entries if e.kind == "evaluation" and e.payload["request"] == request]
        if asked and passed and passed[-1].payload["verdict"] == "pass":
            found.append(entry)
    return found


def drill_refusals(entries: list[Entry]) -> set[str]:
    """The planted faults that were refused by the gate that is there for them."""
    return {
        plant["kind"]
        for entry in entries
        if entry.kind == "drill"
        for plant in entry.payload.get("plants", [])
        if plant["verdict"] == "refuse" and plant["expected_gate"] in plant["refused_by"]
    }


def show(console: Console, settings: Settings, loop: Loop, outcome: Outcome) -> None:
    """Print the summary."""
    entries = Ledger(settings.ledger_url).entries(loop.loop)
    _show_data(console, settings, loop, entries)
    _show_decisions(console, entries)
    _show_comparisons(console, settings, loop)
    _show_drill(console, entries)
    _show_time(console, settings, loop)
    console.print(
        "Look: [bold]make up[/] serves the Airflow UI on this state, [bold]make mlflow[/] the models, "
        f"{settings.gx_dir / 'data_docs' / 'index.html'} the gates' Data Docs.",
        soft_wrap=True,
    )
    console.print("Ratings, tickets and telemetry are simulated; flights, weather and outcomes are real.")
    for problem in outcome.problems:
        console.print(f"BROKEN: {problem}", style="bold red", markup=False)


def _show_data(console: Console, settings: Settings, loop: Loop, entries: list[Entry]) -> None:
    partitions: dict[str, Any] = read(settings, loop.loop, "partitions") or {
        "landed": {},
        "features": {"green": 0},
    }
    table = Table(title="Landed rows", title_justify="left")
    for heading in ("source", "read", "landed", "quarantined", "duplicate"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for source, counts in partitions["landed"].items():
        simulated = " (simulated)" if source in ("feedback", "telemetry") else ""
        numbers = [f"{counts[name]:,}" for name in ("read", "landed", "quarantined", "duplicate")]
        table.add_row(source + simulated, *numbers)
    console.print(table)
    gates = [e for e in entries if e.kind == "gate"]
    count = {v: sum(e.payload["partitions"][v] for e in gates) for v in ("pass", "warn", "block")}
    expectations = sum(e.payload["expectations_run"] for e in gates)
    console.print(
        f"{partitions['features']['green']} feature partitions built and visible. Gate verdicts on partitions: "
        f"{count['pass']} passed, {count['warn']} passed with a note, {count['block']} blocked "
        f"({expectations:,} expectations run)."
    )


def _show_decisions(console: Console, entries: list[Entry]) -> None:
    table = Table(title="Decisions", title_justify="left")
    for heading in ("as of", "what", "verdict", "why"):
        table.add_column(heading, overflow="fold")
    refused: dict[str, int] = {}
    for entry in entries:
        data = entry.payload
        if entry.kind == "bootstrap":
            row = ("first champion", f"version {data['model_version']}", f"owner {data['owner']}")
        elif entry.kind == "trigger":
            if data["action"] != "request":
                told = f"{data['tier']} refused" if data["action"] == "refuse" else "nothing due"
                refused[told] = refused.get(told, 0) + 1
                continue
            row = ("retrain request", data["tier"], data["reason"])
        elif entry.kind == "evaluation":
            row = (f"evaluation for {data['request']}", data["verdict"], "; ".join(data["reasons"][:3]))
        elif entry.kind == "rollout_started":
            row = (
                "rollout",
                "started",
                f"version {data['challenger_version']} against {data['champion_version']}",
            )
        elif entry.kind == "rollout_decision" and data["to_apply"]:
            row = (f"look in {data['stage']}", data["action"], data["reasons"][0])
        elif entry.kind == "rollout_applied":
            row = ("in force", data["action"], f"experiment {data['experiment_id']}")
        elif entry.kind == "holdback_decision" and data["to_apply"]:
            row = ("look at the holdback", data["action"], data["reasons"][0])
        elif entry.kind == "rollback":
            row = ("rollback by hand", f"version {data['to']} for {data['from']}", data["reason"])
        else:
            continue
        table.add_row(entry.as_of[:10], *row)
    console.print(table)
    count = {kind: sum(e.kind == kind for e in entries) for kind in ("training", "rollout_decision")}
    not_opened = ", ".join(f"{n} {told}" for told, n in refused.items()) or "none"
    console.print(
        f"{count['training']} models trained; {count['rollout_decision']} daily looks of rollouts. "
        f"Looks at the policy that opened no request: {not_opened}."
    )


def _cell(shown: dict[str, Any] | None, digits: int) -> str:
    if shown is None or shown["value"] is None:
        return "not known"
    if shown["low"] is None or shown["high"] is None:
        return f"{shown['value']:.{digits}f} (too few days for an interval)"
    return f"{shown['value']:.{digits}f} [{shown['low']:.{digits}f}, {shown['high']:.{digits}f}]"


def _show_comparisons(console: Console, settings: Settings, loop: Loop) -> None:
    for experiment, shown in (read(settings, loop.loop, "comparisons") or {}).items():
        table = Table(
            title=f"{experiment}: {shown['units']:,} flights scored by both, {shown['days']} mature days"
            " (95 % intervals over days)",
            title_justify="left",
        )
        for heading in (
            "metric",
            f"champion v{shown['champion_version']}",
            f"challenger v{shown['challenger_version']}",
            "difference",
        ):
            table.add_column(heading)
        for metric, title in (("log_loss", "log loss"), ("brier", "Brier score")):
            table.add_row(
                title, *[_cell(shown[metric][side], 4) for side in ("champion", "challenger", "difference")]
            )
        rating = shown["rating"]
        table.add_row(
            "rating, 1-5 (simulated)",
            _cell(rating.get("control"), 3),
            _cell(rating.get("challenger"), 3),
            "control arm against challenger arm",
        )
        console.print(table)


def _show_drill(console: Console, entries: list[Entry]) -> None:
    drills = [e for e in entries if e.kind == "drill" and "plants" in e.payload]
    if not drills:
        console.print("The gate drill did not run: it comes with week 3.")
        return
    table = Table(title="Planted bad models (gate drill)", title_justify="left")
    for heading in ("planted", "verdict", "by gate", "why"):
        table.add_column(heading, overflow="fold")
    for plant in drills[-1].payload["plants"]:
        table.add_row(plant["kind"], plant["verdict"], plant["expected_gate"], plant["reason"])
    console.print(table)


def _show_time(console: Console, settings: Settings, loop: Loop) -> None:
    seconds = (read(settings, loop.loop, "replay") or {"seconds": {}})["seconds"]
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    console.print(f"Time: {parts}")
