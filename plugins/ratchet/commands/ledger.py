"""`ratchet ledger verify|show|export|anchor`: the append-only record of every decision."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="The append-only record of every decision.")


def _prepared() -> Settings:
    settings = load_settings()
    if not (settings.home / "setup.json").exists():
        raise stop(f"nothing is set up in {settings.home}; run `make setup` or `make demo` first")
    return settings


@app.command()
def verify(
    contains: Annotated[
        str | None,
        typer.Option(help="SEQ:HASH of an entry that was noted elsewhere; it has to be in the chain."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--from", help="An exported file in place of this installation's ledger.")
    ] = None,
) -> None:
    """Walk the hash chain; fails when an entry was changed, removed, reordered or cut off, or when there is none."""
    from ratchet.ledger.anchor import AnchorUnreadable
    from ratchet.ledger.export import ExportBroken, from_bytes
    from ratchet.stages.decisions import not_in_ledger
    from ratchet.stages.records import ledger_of

    problems: list[str] = []
    try:
        if file is not None:
            entries, result = from_bytes(_bytes(file))
        else:
            settings = _prepared()
            result, entries = ledger_of(settings).verify(), []
            if result.ok:
                entries = ledger_of(settings).entries()
                problems = not_in_ledger(settings, entries)
    except (AnchorUnreadable, ExportBroken) as error:
        raise stop(str(error)) from None
    if not result.ok:
        raise stop(f"the ledger is broken: {result.problem or 'it holds no entry'}")
    if contains is not None:
        seq, _, noted = contains.partition(":")
        known = {f"{entry.seq}": entry.hash for entry in entries}
        if not noted or not known.get(seq, "").startswith(noted):
            problems.append(f"entry {seq} is {known.get(seq, 'not there')}, {noted or 'nothing'} was noted")
    if problems:
        raise stop(f"the ledger is broken: {'; '.join(problems)}")
    console.print(
        f"{result.entries} entries, chain intact, head {result.entries}:{result.head}", soft_wrap=True
    )


@app.command()
def show(
    loop: LoopName = "flights",
    kind: Annotated[str | None, typer.Option(help="Only this kind.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    full: Annotated[bool, typer.Option(help="With the whole payload.")] = False,
) -> None:
    """The newest entries."""
    from ratchet.stages.records import ledger_of

    settings = _prepared()
    loop_named(settings, loop)
    entries = ledger_of(settings).entries(loop)
    known = {entry.kind for entry in entries}
    if kind is not None and kind not in known:
        raise stop(f"no entry is of kind {kind!r}; there are: {', '.join(sorted(known)) or 'none'}")
    for entry in [e for e in entries if kind in (None, e.kind)][-last:]:
        told = entry.payload if full else entry.payload.get("reason") or entry.payload.get("reasons") or ""
        line = f"{entry.seq:>5} {entry.as_of[:10]} {entry.kind:<17} {entry.key}"
        console.print(line, markup=False, highlight=False)
        if told:
            text = told if isinstance(told, str) else json.dumps(told)
            console.print(f"      {text}", markup=False, highlight=False)


@app.command()
def export(file: Annotated[Path, typer.Argument(help="Where to write it (JSON lines).")]) -> None:
    """Write the whole ledger to a file that anyone can verify and replay."""
    from ratchet.ledger.export import to_lines
    from ratchet.published import write_atomically
    from ratchet.stages.records import ledger_of

    ledger = ledger_of(_prepared())
    result = ledger.verify()
    if not result.ok:
        raise stop(f"the ledger is broken: {result.problem or 'it holds no entry'}; nothing was written")
    entries = ledger.entries()
    write_atomically(file, to_lines(entries).encode())
    console.print(
        f"{len(entries)} entries, {file.stat().st_size:,} bytes, head {entries[-1].seq}:{entries[-1].hash}",
        soft_wrap=True,
    )


@app.command()
def anchor(
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")], loop: LoopName = "flights"
) -> None:
    """Go on with the ledger as it is, after its anchor or its last entries were lost; that is recorded."""
    from ratchet.ledger.anchor import AnchorUnreadable, read_anchor
    from ratchet.stages.records import ledger_of

    ledger = ledger_of(_prepared())
    walked = type(ledger)(ledger.url).verify()
    if walked.problem is not None:
        raise stop(f"the ledger is broken: {walked.problem}; an anchor does not mend that: restore it")
    try:
        known = None if ledger.anchor is None else read_anchor(ledger.anchor)
    except AnchorUnreadable:
        known = None
    now = datetime.now(UTC).replace(tzinfo=None)
    entry = ledger.append(
        loop=loop, kind="ledger_anchored", key=f"anchored:{walked.entries}:{now.isoformat()}", as_of=now,
        payload={
            "reason": reason,
            "entries": walked.entries,
            "head": walked.head,
            "anchored": None if known is None else {"seq": known.seq, "hash": known.hash},
        },
        actor="on-call", accepting_loss=True,
    )  # fmt: skip
    console.print(f"entry {entry.seq} says so; the anchor names it")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise stop(f"{file}: {error.strerror}") from None
