"""`ratchet quarantine list|show|release|dismiss`: what did not land, why, and how to land it after all."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, day_of, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Rows and files that did not land, and what to do with them.")

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
SourceName = Annotated[str | None, typer.Option("--source", help="Only this source.")]
Reason = Annotated[str | None, typer.Option(help="Only reasons with this text in them.")]


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", errors="backslashreplace")
    if isinstance(value, pd.Timestamp):
        return value.date().isoformat() if value == value.normalize() else value.isoformat()
    return value.item() if hasattr(value, "item") else value


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): _plain(v) for k, v in row.items()} for row in frame.to_dict("records")]


@app.command("list")
def list_(
    loop: LoopName = "flights",
    source: SourceName = None,
    start: Annotated[str | None, typer.Option("--from", help="First received date.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last received date.")] = None,
    reason: Reason = None,
    state: Annotated[str, typer.Option(help="held, released, superseded or dismissed.")] = "held",
    rows: Annotated[bool, typer.Option("--rows", help="Each row with its id, not counts by reason.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --rows: how many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Counts by source and reason; with --rows each row."""
    from ratchet.landing import held
    from ratchet.warehouse import ops
    from ratchet.warehouse.connect import open_warehouse
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    if state not in held.STATES:
        raise stop(f"--state {state!r}; give one of {', '.join(held.STATES)}")
    asked = held.Asked(
        described.loop,
        source,
        None if start is None else day_of(start, "--from"),
        None if end is None else day_of(end, "--to"),
        reason,
        state,
    )
    try:
        with open_warehouse(settings, purpose="quarantine list") as warehouse:
            ops.ensure(warehouse)
            found = held.rows(warehouse, asked, limit) if rows else held.groups(warehouse, asked)
    except WarehouseError as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(_records(found), indent=2) + "\n")
        return
    if found.empty:
        _say(f"nothing of loop {loop} is {state} that fits")
        return
    table = Table(title=f"{state} rows of loop {loop}", title_justify="left")
    if rows:
        for heading in ("id", "source", "received", "file", "line", "reason"):
            table.add_column(heading, overflow="fold")
        for item in _records(found):
            place = (item["source"], item["received_date"], item["source_file"], str(item["source_line"]))
            table.add_row((item["quarantine_id"] or "none")[:12], *map(_text, (*place, item["reason"])))
    else:
        for heading in ("rows", "source", "reason", "from", "to", "an id"):
            table.add_column(heading, justify="right" if heading == "rows" else "left", overflow="fold")
        for item in _records(found):
            span = (item["first_date"], item["last_date"], (item["example_id"] or "none")[:12])
            table.add_row(*map(_text, (f"{item['n_rows']:,}", item["source"], item["kind"], *span)))
    console.print(table)


def _text(value: Any) -> Any:
    """As written: what a file held is no markup."""
    from rich.text import Text

    return Text(str(value))


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="ID", help="The row's id, or its first digits.")],
    loop: LoopName = "flights",
    as_json: AsJson = False,
) -> None:
    """Everything about one row."""
    from ratchet.landing import held
    from ratchet.warehouse import ops
    from ratchet.warehouse.connect import open_warehouse
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    loop_named(settings, loop)
    try:
        with open_warehouse(settings, purpose="quarantine show") as warehouse:
            ops.ensure(warehouse)
            found = {key: _plain(value) for key, value in held.row(warehouse, loop, name).items()}
    except (held.NoSuchRow, WarehouseError) as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    table = Table(show_header=False, title=f"quarantine {name}", title_justify="left")
    for key, value in found.items():
        if value is not None:
            table.add_row(key.replace("_", " "), _text(value))
    console.print(table)


@app.command()
def release(
    source: Annotated[str, typer.Option("--source", help="Which source.")],
    day: Annotated[str, typer.Option("--date", help="Which received date.")],
    loop: LoopName = "flights",
    reason: Reason = None,
    corrected: Annotated[
        Path | None,
        typer.Option(help="JSON lines: the rows as they should be, each with its quarantine_id."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would land; change nothing.")] = False,
) -> None:
    """Read held rows again with today's contract; those that pass land, and their day is judged again."""
    from ratchet.connections import ConnectionMissing
    from ratchet.landing.contract import ContractError
    from ratchet.landing.files import LocationError
    from ratchet.landing.originals import CorrectionError
    from ratchet.landing.partition import LandingError
    from ratchet.stages.quarantine import release_held
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    if source not in described.sources:
        raise stop(f"loop {loop} has no source {source!r}; it has: {', '.join(sorted(described.sources))}")
    expected = (
        CorrectionError,
        LandingError,
        ContractError,
        LocationError,
        ConnectionMissing,
        WarehouseError,
    )
    try:
        done, judged = release_held(
            settings,
            described,
            source,
            day_of(day, "--date"),
            _say,
            reason=reason,
            corrected=corrected,
            dry_run=dry_run,
        )
    except expected as error:
        raise stop(str(error)) from None
    would = "would be " if dry_run else ""
    _say(
        f"{source} {day}: {done.tried} tried, {done.landed} {would}landed, {done.duplicate} {would}known already, "
        f"{done.still_held} {would}held still, {done.without_original} without their original"
    )
    for file in done.files:
        _say(f"  file {file.file_name}: {file.rows_read} rows read, {file.rows_landed} landed")
    for why, count in done.reasons.most_common(10):
        _say(f"  {count} held: {why}")
    if done.without_original:
        _say("  the file of those is gone or has changed: give the rows with --corrected, or dismiss them")
    if judged is not None:
        _say(f"the build takes it with the next landing, or now: ratchet backfill --from {day} --to {day}")
        if judged["block"]:
            raise stop(f"{judged['block']} partitions of {day} are blocked; `ratchet status` says why")


@app.command()
def dismiss(
    names: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids, or their first digits.")],
    why: Annotated[str, typer.Option(help="Why nobody wants them; it is kept.")],
    loop: LoopName = "flights",
) -> None:
    """Settle rows or files that will not be released; their days are judged again without them."""
    from ratchet.landing.held import NoSuchRow
    from ratchet.stages.quarantine import dismiss_held
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    try:
        days = dismiss_held(settings, described, names, why, _say)
    except (NoSuchRow, WarehouseError) as error:
        raise stop(str(error)) from None
    _say(f"{len(names)} dismissed; judged again: {', '.join(day.isoformat() for day in days)}")
