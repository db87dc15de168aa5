"""`ratchet backfill`: say what a range would do, then do it, with progress."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, day_of, loop_named, stop
from ratchet.ledger.chain import plain
from ratchet.loop import Loop
from ratchet.settings import Settings, load_settings


def backfill(
    first: Annotated[str, typer.Option("--from", help="First received date (YYYY-MM-DD).")],
    last: Annotated[str, typer.Option("--to", help="Last received date, included.")],
    loop: LoopName = "flights",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    then_monitor: Annotated[
        bool,
        typer.Option("--then-monitor", help="Afterwards measure health and apply the trigger policy."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Machine-readable; with --yes or --dry-run.")
    ] = False,
) -> None:
    """Land a range of received dates, in any order, and rebuild what it reaches. It trains and decides nothing."""
    from ratchet.connections import ConnectionMissing
    from ratchet.landing.files import LocationError
    from ratchet.stages.backfill_plan import BackfillRefused, plan_backfill
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    start, end = day_of(first, "--from"), day_of(last, "--to")
    if as_json and not (yes or dry_run):
        raise stop("--json can't ask: give --yes or --dry-run with it")
    try:
        plan = plan_backfill(settings, described, start, end)
    except (BackfillRefused, LocationError, ConnectionMissing, WarehouseError) as error:
        raise stop(str(error)) from None
    if as_json and dry_run:
        sys.stdout.write(json.dumps(plain(plan.to_json()), indent=2, sort_keys=True) + "\n")
        return
    if not as_json:
        _print_plan(described, plan)
    if dry_run:
        return
    if plan.does_nothing and not then_monitor:
        if not plan.files:
            raise stop(f"no file of {start} to {end} is there, and nothing waits for a build")
        _finish(described, {"start": start, "end": end, "built": None, "sources": {}}, as_json)
        return
    if not yes and not typer.confirm("Go on?"):
        raise stop("nothing was changed")
    done = _run(settings, described, start, end, quiet=as_json)
    if then_monitor and done["built"] is not None:
        done["monitor"] = _monitor(settings, described, datetime.fromisoformat(done["as_of"]))
    _finish(described, done, as_json)
    if done["landing_blocked"] or done.get("features_blocked"):
        raise stop("some partitions are blocked: docs/runbooks/gate-blocked.md says what to do")


def _run(settings: Settings, loop: Loop, start: date, end: date, *, quiet: bool) -> dict[str, Any]:
    from ratchet.landing.partition import LandingError
    from ratchet.landing.report import Progress as Landing
    from ratchet.stages.backfill import STEPS, Told, run_backfill
    from ratchet.stages.dbt_environment import BuildFailed
    from ratchet.warehouse.protocol import WarehouseError

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet) as bar:
        task = bar.add_task("starting", total=len(STEPS))

        def step(name: str) -> None:
            bar.update(task, description=name, completed=STEPS.index(name))

        def landing(at: Landing) -> None:
            share = at.partitions_done / max(at.partitions, 1)
            text = f"land {at.source} {at.received_date} ({at.partitions_done + 1} of {at.partitions})"
            bar.update(task, description=text, completed=share)

        def log(line: str) -> None:
            if not quiet:
                bar.console.print(line, markup=False, highlight=False)

        try:
            return run_backfill(settings, loop, start, end, Told(log, step, landing))
        except (BuildFailed, LandingError, WarehouseError) as error:
            raise stop(f"{error}\nWhat had landed is kept; run the same command again.") from None


def _monitor(settings: Settings, loop: Loop, as_of: datetime) -> dict[str, Any]:
    from ratchet.stages.backfill import monitor_after
    from ratchet.stages.monitor import NotMeasured

    try:
        return monitor_after(settings, loop, as_of, lambda line: console.print(line, markup=False))
    except NotMeasured as error:
        return {"action": "none", "reason": str(error)}


def _print_plan(loop: Loop, plan: Any) -> None:
    table = Table(title=f"Backfill of {loop.loop}, received {plan.start} to {plan.end}", title_justify="left")
    for heading in ("source", "partitions", "landed", "new", "changed", "rows", "no file"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for source in sorted(loop.sources):
        own = [file for file in plan.files if file.source == source]
        count = {state: sum(file.state == state for file in own) for state in ("landed", "new", "changed")}
        rows = sum(file.rows or 0 for file in own if file.state != "landed")
        pulled = " (asked when it runs)" if source in plan.pulled else ""
        table.add_row(
            source + pulled, str(len({file.received_date for file in own})), str(count["landed"]),
            str(count["new"]), str(count["changed"]), f"{rows:,}", str(len(plan.missing.get(source, []))),
        )  # fmt: skip
    console.print(table)
    for line in plan_lines(plan):
        console.print(f"- {line}", markup=False, highlight=False)


def plan_lines(plan: Any) -> list[str]:
    """What the plan reaches and touches, a sentence each."""
    lines = []
    if plan.dirty_before:
        lines.append(f"{plan.dirty_before} partitions wait for a build already; this one takes them too")
    unread = [file for file in plan.to_land if file.rows is None]
    if unread:
        lines.append(
            f"{len(unread)} files can't be counted and may go to quarantine whole, {unread[0].name} the first"
        )
    if plan.reach is None:
        lines.append("nothing new lands" if not plan.to_land else "no departure of the loop is reached")
    else:
        days = (plan.reach[1] - plan.reach[0]).days + 1
        what = "facts and features" if plan.changes_features else "facts only, no feature"
        lines.append(f"reaches at most {days} departure dates, {plan.reach[0]} to {plan.reach[1]}: {what}")
        ids = ", ".join(snapshot[:12] for snapshot in plan.snapshots[:5])
        more = f" and {len(plan.snapshots) - 5} more" if len(plan.snapshots) > 5 else ""
        lines.append(
            f"snapshots whose window it reaches: {ids}{more}; they stay as they are (`ratchet snapshot diff <id> now` "
            "afterwards says what differs)"
            if ids
            else "no snapshot's window is reached"
        )
        lines.append(
            f"open rollout: {plan.rollout}; its recorded looks stand, later looks see the new rows"
            if plan.rollout
            else "no open rollout is touched"
        )
        if plan.request:
            lines.append(f"an open retrain request, {plan.request}: its training would see the new rows")
        if plan.served:
            lines.append(
                f"up to {plan.served:,} served predictions were made without these rows: where a row was received "
                "before its prediction, the difference is reported as skew"
            )
    known = [seconds for seconds in plan.seconds.values() if seconds is not None]
    if None in plan.seconds.values():
        lines.append("how long it takes is not known: no past run is remembered")
    else:
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in plan.seconds.items())
        lines.append(f"about {sum(known):.0f} s by past runs ({parts})")
    return lines


def _finish(loop: Loop, done: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(plain(done), indent=2, sort_keys=True) + "\n")
        return
    counts = {
        name: sum(c[name] for c in done["sources"].values())
        for name in ("read", "landed", "quarantined", "duplicate")
    }
    console.print(
        f"read {counts['read']:,} = landed {counts['landed']:,} + quarantined {counts['quarantined']:,} "
        f"+ known before {counts['duplicate']:,}",
        highlight=False,
    )
    for line in done.get("landing_blocked", [])[:10]:
        console.print(f"blocked: {line}", style="bold red", markup=False)
    if done["built"] is None:
        console.print("nothing had to be built; nothing changed")
        return
    built = done["built"]
    console.print(
        f"built {built['dates']} departure dates, {built['from']} to {built['to']}, features of {built['features']}; "
        f"{done['visible']} feature partitions are visible, {done['dirty']} partitions wait for a build",
        highlight=False,
    )
    for line in done["features_blocked"][:10]:
        console.print(f"blocked: {line}", style="bold red", markup=False)
    console.print(f"skew: {done['skew_told']}", markup=False, highlight=False)
    if "monitor" in done:
        told = done["monitor"]
        console.print(f"monitor: {told['action']} {told.get('reason', '') or ''}".rstrip(), markup=False)
    else:
        console.print("No trigger was fired, no model trained, nothing that serves was changed.")
