"""`ratchet annotate`: what people should label, the labels that they gave, and how far those agree."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ratchet.annotation.formats import KINDS, Kind, LabelFileError, queue_csv, queue_label_studio
from ratchet.commands.terminal import console, loop_named, stop
from ratchet.published import write_atomically
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="What people say that feedback is about.")

Loop_ = Annotated[str, typer.Argument(metavar="LOOP", help="A loop with a feedback.taxonomy.")]
AsOf = Annotated[
    str, typer.Option("--as-of", help="What was received before (UTC); without it, the newest build.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
KindOf = Annotated[str, typer.Option("--format", help="csv or labelstudio.")]


def _moment(text: str, option: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise stop(f"{option} {text!r} is no time; write 2013-05-14T09:00:00Z") from None
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if text == kind:
            return kind
    raise stop(f"--format {text!r} is none of {', '.join(KINDS)}")


@app.command("queue")
def show_queue(loop_name: Loop_, as_of: AsOf = "", as_json: AsJson = False) -> None:
    """The answers that deserve a label most, and why."""
    from ratchet.stages.annotating import as_of_or_newest, next_to_label
    from ratchet.stages.annotation_inbox import LabelRefused

    settings = load_settings()
    loop = loop_named(settings, loop_name)
    try:
        found = next_to_label(settings, loop, as_of_or_newest(settings, loop, _moment(as_of, "--as-of")))
    except LabelRefused as error:
        raise stop(str(error)) from None
    rows = [
        {"feedback_id": one.item.feedback_id, "score": one.score, "uncertainty": one.uncertainty,
         "disagreement": one.disagreement, "impact": one.impact, "language": one.item.language,
         "text": one.item.text}
        for one in found
    ]  # fmt: skip
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        return
    table = Table(*(rows[0] if rows else ("the queue is empty",)))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table, markup=False)


@app.command("export")
def export(
    loop_name: Loop_,
    out: Annotated[
        Path, typer.Option("--out", help="The file to write; it has people's redacted words in it.")
    ],
    kind: KindOf = "csv",
    as_of: AsOf = "",
) -> None:
    """Write the queue for annotators, as CSV to fill in or as tasks of Label Studio."""
    from ratchet.stages.annotating import as_of_or_newest, next_to_label
    from ratchet.stages.annotation_inbox import LabelRefused

    settings, wanted = load_settings(), _kind(kind)
    loop = loop_named(settings, loop_name)
    try:
        found = next_to_label(settings, loop, as_of_or_newest(settings, loop, _moment(as_of, "--as-of")))
    except LabelRefused as error:
        raise stop(str(error)) from None
    make = queue_csv if wanted == "csv" else queue_label_studio
    write_atomically(out, make(found, loop.feedback.rubric() or "").encode())
    typer.echo(f"{out}: {len(found)} answers to label")


@app.command("import")
def import_(
    loop_name: Loop_,
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Labels that people gave.")],
    received: Annotated[str, typer.Option(help="When they came in (UTC): from then on they are known.")],
    kind: KindOf = "csv",
    as_json: AsJson = False,
) -> None:
    """Take labels in; a row that can't be taken is named with its line and the reason, and the command ends with 1.

    Running it again takes nothing.
    """
    from ratchet.stages.annotation_inbox import LabelRefused
    from ratchet.stages.annotation_labels import import_labels

    settings, wanted = load_settings(), _kind(kind)
    at = _moment(received, "--received")
    if at is None:
        raise stop("--received is empty; write 2013-05-14T09:00:00Z")
    try:
        found = import_labels(settings, loop_named(settings, loop_name), path, wanted, at, lambda line: None)
    except (LabelRefused, LabelFileError) as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
    else:
        counts = ", ".join(f"{found[name]} {name}" for name in ("read", "taken", "refused", "duplicate"))
        typer.echo(counts)
        for one in found["refusals"]:
            typer.echo(f"{one['file']}:{one['line']}: {one['reason']}")
    if found["refused"]:
        raise typer.Exit(1)


@app.command("report")
def show_report(loop_name: Loop_, as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Take the page's labels, measure agreement, drift and probable errors, and publish them for the page."""
    from ratchet.stages.annotating import as_of_or_newest, report
    from ratchet.stages.annotation_inbox import LabelRefused

    settings = load_settings()
    loop = loop_named(settings, loop_name)
    try:
        found = report(
            settings, loop, as_of_or_newest(settings, loop, _moment(as_of, "--as-of")), lambda line: None
        )
    except LabelRefused as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
        return
    table = Table(
        title=f"labels of {loop_name} as of {found['as_of']}", show_header=False, title_justify="left"
    )
    for name, value in report_lines(found):
        table.add_row(name, value)
    console.print(table, markup=False)


def report_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The report in words, a line a subject."""
    states = ", ".join(f"{n} {state}" for state, n in found["states"].items())
    suspects = found["suspects"]
    lines = [
        ("labels", f"{found['labels']} on {found['items']} answers ({states or 'none'})"),
        ("alpha", _measured(found["alpha"])),
        ("used", "yes" if found["is_usable"] else f"no: {found['reason']}"),
        ("in force", found["in_force"] or "no label set"),
        ("probably wrong", suspects["reason"] or f"{len(suspects['found'])} of {suspects['judged']} judged"),
        ("queue", f"{len(found['queue'])} answers"),
    ]
    for one in found["annotators"]:
        drift = " DRIFTS" if one["is_drifting"] else ""
        said = f"{one['labels']} labels; with others {_measured(one['agreement'])}; later half less earlier "
        lines.append((one["name"], f"{said}{_measured(one['drift'])}{drift}"))
    return lines


def _measured(one: dict[str, Any]) -> str:
    if one["value"] is None:
        return f"not enough evidence ({one['reason']})"
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}] over {one['items']} items"


@app.command("apply")
def apply_labels(loop_name: Loop_, as_of: AsOf = "") -> None:
    """Put the settled labels in force: the next build says them of their answers, as another enrichment version."""
    from ratchet.stages.annotating import apply, as_of_or_newest
    from ratchet.stages.annotation_inbox import LabelRefused

    settings = load_settings()
    loop = loop_named(settings, loop_name)
    try:
        apply(settings, loop, as_of_or_newest(settings, loop, _moment(as_of, "--as-of")), typer.echo)
    except LabelRefused as error:
        raise stop(str(error)) from None
