"""`ratchet decision list|show|replay`: what was decided, why, and whether its record gives the same answer again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ratchet.commands.terminal import LoopName, console, stop
from ratchet.ledger.chain import Entry, plain
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Decisions: their certificates, and their replay. Reads only.")

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
From = Annotated[
    Path | None,
    typer.Option("--from", help="An exported file (`ratchet ledger export`) in place of the ledger."),
]
#: What answers a question; the other kinds of entry are listed with --all.
DECISIONS = (
    "approval", "bootstrap", "evaluation", "holdback_decision", "rollback", "rollout_decision", "rollout_started",
    "trigger", "withdrawn",
)  # fmt: skip


def _entries(file: Path | None) -> list[Entry]:
    """Every entry, after the chain was walked: nothing is told of a ledger that was changed."""
    from ratchet.ledger.anchor import AnchorUnreadable
    from ratchet.ledger.export import ExportBroken, from_bytes
    from ratchet.stages.records import ledger_of

    try:
        if file is not None:
            entries, found = from_bytes(file.read_bytes())
        else:
            ledger = ledger_of(load_settings())
            found = ledger.verify()
            entries = ledger.entries() if found.ok else []
    except OSError as error:
        raise stop(f"{file}: {error.strerror}") from None
    except (AnchorUnreadable, ExportBroken) as error:
        raise stop(str(error)) from None
    if not found.ok:
        raise stop(f"the ledger is broken: {found.problem or 'it holds no entry'}")
    return entries


def _of_loop(entries: Sequence[Entry], loop: str) -> list[Entry]:
    own = [entry for entry in entries if entry.loop == loop]
    if not own:
        raise stop(f"no entry is of loop {loop!r}; there are: {', '.join(sorted({e.loop for e in entries}))}")
    return own


@app.command("list")
def list_(
    loop: LoopName = "flights",
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
    everything: Annotated[bool, typer.Option("--all", help="With measurements, gates and fits.")] = False,
    file: From = None,
    as_json: AsJson = False,
) -> None:
    """The newest decisions, a line each."""
    from ratchet.certificate.summary import listed

    entries = _of_loop(_entries(file), loop)
    shown = [e for e in entries if (e.kind == kind if kind else everything or e.kind in DECISIONS)][-last:]
    if not shown:
        raise stop(
            f"no decision is of kind {kind!r}; there are: {', '.join(sorted({e.kind for e in entries}))}"
        )
    rows = listed(shown)
    if as_json:
        names = ("entry", "as_of", "kind", "verdict", "subject")
        sys.stdout.write(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2) + "\n")
        return
    table = Table(title=f"decisions of loop {loop}", title_justify="left")
    for heading in ("entry", "as of", "kind", "verdict", "about"):
        table.add_column(heading, justify="right" if heading == "entry" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


@app.command()
def show(
    decision: Annotated[str, typer.Argument(help="An entry's number, key, or the beginning of its hash.")],
    loop: LoopName = "flights",
    html: Annotated[Path | None, typer.Option(help="Write the page with plots to this file.")] = None,
    file: From = None,
    as_json: AsJson = False,
) -> None:
    """One decision's certificate: the verdict, why, the evidence, and where it came from."""
    from ratchet.certificate.page import page
    from ratchet.certificate.summary import NoDecision, as_data, certificate_of, find
    from ratchet.certificate.text import rendered
    from ratchet.published import write_atomically

    entries = _of_loop(_entries(file), loop)
    try:
        entry = find(entries, decision)
    except NoDecision as error:
        raise stop(str(error)) from None
    if html is not None:
        write_atomically(html, page(entries, entry).encode())
        console.print(f"{html} written", markup=False, soft_wrap=True)
        return
    certificate = certificate_of(entries, entry)
    if as_json:
        told = plain(dict(as_data(certificate, entry, entries)))
        sys.stdout.write(json.dumps(told, indent=2, sort_keys=True) + "\n")
        return
    for part in rendered(certificate):
        console.print(part)


@app.command()
def replay(
    decision: Annotated[
        str | None, typer.Argument(help="An entry's number, key, or the beginning of its hash; or --all.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every entry.")] = False,
    loop: Annotated[str | None, typer.Option("--loop", help="Only this loop (default: every loop).")] = None,
    strict: Annotated[bool, typer.Option(help="Fail also when a verdict can't be replayed.")] = False,
    file: From = None,
    as_json: AsJson = False,
) -> None:
    """Compute verdicts again from the ledger alone; fails when one differs in a bit, or nothing was replayed."""
    from ratchet.certificate.checks import counted
    from ratchet.certificate.replay import Replayed
    from ratchet.certificate.replay import replay as again
    from ratchet.certificate.summary import NoDecision, find
    from ratchet.stages.provenance import code_version, environment

    if (decision is None) == (not everything):
        raise stop("give one decision, or --all")
    entries = _entries(file)
    if loop is not None:
        entries = _of_loop(entries, loop)
    only = None
    if decision is not None:
        try:
            wanted = find(entries, decision)
        except NoDecision as error:
            raise stop(str(error)) from None
        only = wanted.hash
    root = load_settings().root
    code = {"code": code_version(root), "environment": environment(root)}
    started = time.perf_counter()
    picked = None if only is None else (lambda entry: entry.hash == only)
    found: list[Replayed] = list(again(entries, code=code, only=picked))
    seconds = time.perf_counter() - started
    rows = counted(found)
    different = [line for row in rows for line in row["different"]]
    replayed = sum(row["replayed"] for row in rows)
    missed = sum(sum(row["not_replayable"].values()) for row in rows)
    if as_json:
        told = {"kinds": rows, "replayed": replayed, "different": different, "not_replayable": missed}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        _print(rows)
        for line in different:
            console.print(line, style="bold red", markup=False, highlight=False, soft_wrap=True)
        console.print(
            f"{replayed} replayed in {seconds:.1f} s, {len(different)} differ, {missed} can't be replayed"
        )
    if not replayed:
        raise stop("nothing was replayed: there is no verdict to compare")
    if different or (strict and missed):
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="replay of the ledger", title_justify="left")
    for heading in ("kind", "entries", "replayed", "equal", "not replayed because"):
        table.add_column(heading, justify="right" if heading in ("entries", "replayed", "equal") else "left")
    for row in rows:
        why = [f"{reason} ({count})" for reason, count in row["not_replayable"].items()]
        facts = row["entries"] - row["replayed"] - sum(row["not_replayable"].values())
        if facts:
            why.insert(0, "it records a fact, not a verdict")
        counts = (str(row[name]) for name in ("entries", "replayed", "equal"))
        table.add_row(row["kind"].replace("_", " "), *counts, Text("; ".join(why)))
    console.print(table)
