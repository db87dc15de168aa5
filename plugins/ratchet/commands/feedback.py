"""`ratchet feedback`: fit the text model of a loop, enrich what has landed, take exports of other tools in."""

from __future__ import annotations

import dataclasses
import json
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ratchet.loop import load_loop
from ratchet.published import write_atomically
from ratchet.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, help="What users wrote: the text model, enrichment, exports of other tools."
)


@app.command("fit")
def fit(
    loop_name: Annotated[str, typer.Argument(metavar="LOOP", help="A loop with a feedback.taxonomy.")],
    simulated: Annotated[int, typer.Option(help="Add so many simulated texts in four languages.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the simulated texts and of the fit.")] = 1,
    labels_as_of: Annotated[
        datetime | None, typer.Option(help="People's labels received before (UTC); without it, all.")
    ] = None,
) -> None:
    """Fit the text model on weak labels, and on people's where they agree; write it beside the loop file.

    Prints its hash.

    Nothing changes until the loop file names the hash: then everything is enriched anew, as another version.
    """
    from ratchet.replay.complaints import SAID, topic_texts
    from ratchet.stages.enriching import fit_model

    settings = load_settings()
    loop = load_loop(settings.loops_dir / f"{loop_name}.yml")
    texts = [text for text, _, _ in topic_texts(SAID, simulated, seed)]
    model, digest = fit_model(settings, loop, texts, seed, typer.echo, labels_as_of)
    path = settings.loops_dir / f"{loop_name}.feedback.json"
    write_atomically(path, (json.dumps(model, indent=None, sort_keys=True) + "\n").encode())
    typer.echo(f"{path}: {model['about']}")
    typer.echo(f"in {loop_name}.yml: feedback: model: {{file: {path.name}, sha256: {digest}}}")


@app.command("enrich")
def enrich_now(
    loop_name: Annotated[str, typer.Argument(metavar="LOOP")],
) -> None:
    """Enrich the texts that have landed and that the current version has not seen."""
    from ratchet.stages.enriching import enrich

    settings = load_settings()
    found = enrich(settings, load_loop(settings.loops_dir / f"{loop_name}.yml"), typer.echo)
    typer.echo(json.dumps(found))


@app.command("worth")
def worth(
    loop_name: Annotated[str, typer.Argument(metavar="LOOP")] = "flights",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """What feedback was worth to the model, by evaluation: with it and without, on the days that judged."""
    from ratchet.commands.terminal import console, loop_named, stop
    from ratchet.stages.feedback_worth import feedback_worth, told_of
    from ratchet.stages.records import ledger_of

    settings = load_settings()
    loop = loop_named(settings, loop_name)
    found = feedback_worth(loop, ledger_of(settings).entries(loop.loop))
    if not found:
        raise stop(f"no evaluation of {loop.loop} has left feedback out; train a model first (train_model)")
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
        return
    table = Table("as of", "without", "log loss changes by", "at least", "at most", "so feedback")
    for one in found:
        numbers = ["-" if n is None else f"{n:+.4f}" for n in (one.worth, one.low, one.high)]
        table.add_row(one.as_of[:10], one.part, *numbers, one.state)
    console.print(table)
    console.print(told_of(found), markup=False, highlight=False)


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8090,
    per_second: Annotated[float, typer.Option(min=0.01, help="Requests of one client, on average.")] = 10.0,
    burst: Annotated[int, typer.Option(min=1, help="Requests of one client at once.")] = 50,
    rotate_seconds: Annotated[float, typer.Option(min=0.1, help="How long a file stays open.")] = 60.0,
) -> None:
    """Take feedback over HTTP into the landing folder: POST /v1/loops/LOOP/feedback (docs/feedback.md)."""
    import uvicorn

    from ratchet.capture.api import make_app
    from ratchet.loop import load_loops

    settings = load_settings()
    loops = tuple(load_loops(settings.loops_dir))
    app_ = make_app(settings, loops, per_second, burst, rotate_seconds=rotate_seconds)
    # An access log would keep who wrote when from where.
    uvicorn.run(
        app_, host=host, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=10
    )


@app.command("import")
def import_export(
    kind: Annotated[str, typer.Argument(help="zendesk (JSON of tickets) or reviews (CSV of an app store).")],
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The export.")],
    loop_name: Annotated[str, typer.Option("--loop", help="Whose feedback it is.")],
    received: Annotated[str, typer.Option(help="The day that it counts as received (UTC), YYYY-MM-DD.")],
) -> None:
    """Turn an export of another tool into files of the landing contract, one a received day.

    A row that names no prediction is left out and counted. Running it again writes the same files.
    """
    from ratchet.stages.exports import import_feedback

    settings = load_settings()
    loop = load_loop(settings.loops_dir / f"{loop_name}.yml")
    report = import_feedback(settings, loop, kind, path, date.fromisoformat(received))
    typer.echo(json.dumps(report))
