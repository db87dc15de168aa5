"""`ratchet`: what on-call types. Reads published summaries and the ledger; opens the warehouse only to prepare it."""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ratchet.commands import (
    annotate,
    cohort,
    decision,
    drill,
    experiment,
    explain,
    feedback,
    incident,
    ledger,
    monitor,
    quarantine,
    receipts,
    snapshot,
    trace,
    triggers,
)
from ratchet.commands.approve import approve, reject
from ratchet.commands.backfill import backfill
from ratchet.commands.forget import forget
from ratchet.commands.report import report
from ratchet.commands.rollback import rollback, withdraw
from ratchet.commands.story import story
from ratchet.commands.themes import themes
from ratchet.commands.users import show as show_users
from ratchet.commands.users import users
from ratchet.loop import Loop, LoopFileError, load_loop, load_loops
from ratchet.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The continuous-improvement loop, from the command line.",
)
loops_app = typer.Typer(no_args_is_help=True, help="The loop files.")
app.add_typer(ledger.app, name="ledger")
app.add_typer(decision.app, name="decision")
app.add_typer(experiment.app, name="experiment")
app.add_typer(cohort.app, name="cohort")
app.add_typer(loops_app, name="loops")
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(explain.app, name="explain")
app.add_typer(feedback.app, name="feedback")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(drill.app, name="drill")
app.add_typer(incident.app, name="incident")
app.add_typer(monitor.app, name="monitor")
app.add_typer(receipts.app, name="receipts")
app.add_typer(annotate.app, name="annotate")
app.add_typer(trace.app, name="trace")
app.add_typer(triggers.app, name="triggers")
app.command()(backfill)
app.command()(approve)
app.command()(reject)
app.command()(forget)
app.command()(report)
app.command()(story)
app.command()(themes)
app.command()(users)
app.command()(rollback)
app.command()(withdraw)
console = Console()

LoopName = Annotated[str, typer.Option("--loop", help="Which loop.")]


def _stop(message: str) -> typer.Exit:
    Console(stderr=True).print(message, style="bold red", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(1)


def _prepared(settings: Settings) -> Settings:
    """`settings`, if `ratchet setup` has run for them."""
    if not (settings.home / "setup.json").exists():
        raise _stop(f"nothing is set up in {settings.home}; run `make setup` or `make demo` first")
    return settings


def _loop(settings: Settings, name: str) -> Loop:
    known = sorted(path.stem for path in settings.loops_dir.glob("*.yml"))
    if name not in known:
        raise _stop(f"there is no loop {name!r}; loops/ has: {', '.join(known)}")
    try:
        return load_loop(settings.loops_dir / f"{name}.yml")
    except LoopFileError as error:
        raise _stop(str(error)) from None


@app.command()
def setup(
    airflow: Annotated[
        bool,
        typer.Option("--airflow/--without-airflow", help="Also make the embedded Airflow's own database."),
    ] = True,
) -> None:
    """Prepare databases, the warehouse pool and dbt; skips what is done."""
    from ratchet.replay.setup import prepare

    try:
        prepare(load_settings(), lambda line: console.print(line, markup=False), with_airflow=airflow)
    except (LoopFileError, RuntimeError) as error:
        raise _stop(str(error)) from None


@app.command()
def status(
    loop: LoopName = "flights",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """What serves, what is on trial, what is waiting and for what. Never opens the warehouse."""
    from ratchet.stages.status import status_of

    settings = load_settings()
    found = status_of(settings, _loop(settings, loop))
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    table = Table(title=f"loop {loop}", show_header=False, title_justify="left")
    for name, value in found["lines"]:
        table.add_row(name, value)
    console.print(table)


@loops_app.command("check")
def loops_check() -> None:
    """Validate every loop file."""
    try:
        loops = load_loops(load_settings().loops_dir)
    except LoopFileError as error:
        raise _stop(str(error)) from None
    console.print(f"{len(loops)} loop file(s) valid: {', '.join(loops)}")


@app.command()
def docs() -> None:
    """Write docs/dags.md from the DAG files' docstrings."""
    from ratchet.dag_pages import dags_page

    root = load_settings().root
    (root / "docs" / "dags.md").write_text(dags_page(root / "dags"), encoding="utf-8")
    console.print("docs/dags.md written")


@app.command()
def rebuild(
    loop: LoopName = "flights",
    take_over: Annotated[
        bool,
        typer.Option(help="Also what a build took that failed and can't end; it must not be running."),
    ] = False,
) -> None:
    """After a change of a dbt model: build every date anew, judge it and publish it."""
    from ratchet.stages.build import rebuild as stage
    from ratchet.stages.dbt_environment import BuildFailed
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    try:
        done = stage(
            settings,
            _loop(settings, loop),
            lambda line: console.print(line, markup=False),
            take_over=take_over,
        )
    except (BuildFailed, WarehouseError) as error:
        raise _stop(str(error)) from None
    console.print(f"{done['visible']} feature partitions are visible")


@app.command("close-request")
def close_request(
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")], loop: LoopName = "flights"
) -> None:
    """Close the open retrain request, e.g. one whose training can't succeed; the policy may open another."""
    from ratchet.stages.requests import NoOpenRequest, close

    settings = load_settings()
    try:
        console.print(close(settings, _loop(settings, loop), reason), markup=False)
    except NoOpenRequest as error:
        raise _stop(str(error)) from None


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def dbt(context: typer.Context) -> None:
    """Run dbt by hand on the warehouse, e.g. `ratchet dbt test --selector flights`; waits for a DuckDB file."""
    from ratchet.stages.dbt_environment import WRITING, BuildFailed, run_dbt

    # What writes is left to the build, which judges what it wrote.
    written = [argument for argument in context.args if argument in WRITING]
    if written:
        raise _stop(
            f"dbt {written[0]} by hand would change tables that were judged; use `ratchet rebuild`, which builds, "
            "judges and publishes"
        )
    try:
        run_dbt(load_settings(), context.args or ["--help"])
    except BuildFailed as error:
        raise _stop(str(error)) from None


@app.command()
def replay(
    loop: LoopName = "flights",
    start: Annotated[str, typer.Option(help="First replayed week's first day (YYYY-MM-DD).")] = "2013-05-28",
    weeks: Annotated[int, typer.Option(min=1, help="Weeks to have replayed when it ends.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Which travellers (simulated).")] = 1,
    smoke: Annotated[
        bool, typer.Option(help="Do not ask that the loop closes, only that every stage ran.")
    ] = False,
    direct: Annotated[
        bool, typer.Option(help="Run the stages in this process, without a scheduler (for trials).")
    ] = False,
) -> None:
    """Replay flights of 2013 through the scheduler, week by week, and say what the loop did."""
    from ratchet.replay.show import run_replay

    settings = load_settings()
    described = _loop(settings, loop)
    try:
        first = date.fromisoformat(start)
    except ValueError:
        raise _stop(f"START={start!r} is no date; give YYYY-MM-DD, like 2013-05-28") from None
    raise typer.Exit(
        run_replay(settings, described, first, weeks, seed, smoke=smoke, direct=direct, console=console)
    )


@app.command()
def trials(
    loop: LoopName = "flights",
    starts: Annotated[str, typer.Option(help="Starts, comma-separated.")] = "2013-05-28",
    seeds: Annotated[str, typer.Option(help="Traveller seeds, comma-separated.")] = "1",
    weeks: Annotated[int, typer.Option(min=1, help="Weeks of each replay.")] = 10,
    jobs: Annotated[int, typer.Option(min=1, help="Replays at a time.")] = 2,
) -> None:
    """Replay many starts and travellers in one process each, without a scheduler, and print the table."""
    from ratchet.replay.trials import run_trials, table

    settings = load_settings()
    described = _loop(settings, loop)
    try:
        days = [date.fromisoformat(day) for day in starts.split(",")]
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise _stop(f"starts are dates and seeds whole numbers, comma-separated: {error}") from None
    found = run_trials(settings, described, days, numbers, weeks, jobs, console)
    sys.stdout.write(table(found) + "\n")
    if any(trial.problem for trial in found):
        raise typer.Exit(1)


@app.command()
def up(port: Annotated[int, typer.Option(help="Port of the Airflow UI.")] = 8080) -> None:
    """Serve Airflow on the present state until interrupted; no DAG starts by itself."""
    import time

    from ratchet.replay.services import ServiceFailed, free_port, running_airflow
    from ratchet.stages.accounts import AccountsUnusable, login, passwords

    settings = _prepared(load_settings())
    try:
        found = login(settings, load_loops(settings.loops_dir).values(), {})
        kept = passwords(found.passwords_path, list(found.users))
    except (AccountsUnusable, LoopFileError, OSError) as error:
        raise _stop(str(error)) from None
    try:
        with running_airflow(settings, free_port(port), signing_in=found.environment) as url:
            show_users(settings, found, kept)
            console.print(f"Airflow is at {url} (this machine only). Ctrl-C ends it.")
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        console.print("stopped")
    except ServiceFailed as error:
        raise _stop(str(error)) from None


@app.command()
def mlflow(port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000) -> None:
    """Serve the MLflow UI on the present state until interrupted."""
    from ratchet.replay.services import airflow_environment, free_port

    settings = _prepared(load_settings())
    chosen = free_port(port)
    console.print(f"MLflow is at http://127.0.0.1:{chosen} (this machine only). Ctrl-C ends it.")
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        settings.mlflow_uri,
        "--default-artifact-root",
        settings.artifacts_dir.as_uri(),
        "--host",
        "127.0.0.1",
        "--port",
        str(chosen),
    ]
    os.execve(Path(sys.executable), command, airflow_environment(settings, 8080))  # noqa: S606


if __name__ == "__main__":
    app()
