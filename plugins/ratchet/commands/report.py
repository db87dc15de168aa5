"""`ratchet report --html`: the pages of a loop as one file to send around."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings


def report(
    html: Annotated[Path, typer.Option("--html", help="Write the report to this file.")],
    loop: LoopName = "flights",
) -> None:
    """What the pages in Airflow show, as one file without network or script. Never opens the warehouse."""
    from ratchet.pages.render import report_html
    from ratchet.pages.source import LedgerBroken, Source
    from ratchet.published import write_atomically

    settings = load_settings()
    try:
        source = Source.of(settings, loop_named(settings, loop))
    except LedgerBroken as error:
        raise stop(str(error)) from None
    write_atomically(html, report_html(source).encode())
    console.print(f"{html} written", markup=False, soft_wrap=True)
