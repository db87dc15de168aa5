"""`ratchet incident`: what is open and why, and who need not hear of it for a while."""

from __future__ import annotations

import getpass
import json
import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, day_of, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Open incidents: list, show, mute.")
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


def _found(loop: str) -> dict[str, Any]:
    from ratchet.stages.incidents import listed
    from ratchet.stages.records import ledger_of

    settings = load_settings()
    return listed(ledger_of(settings).entries(loop_named(settings, loop).loop))


@app.command("list")
def list_incidents(
    loop: LoopName = "flights",
    closed: Annotated[bool, typer.Option("--closed", help="Also the last ones that were closed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open incidents, most pressing first; muted ones below them."""
    found = _found(loop)
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    table = Table(
        title=f"incidents of {loop} as of {found['as_of'] or 'never: nothing was judged'}",
        title_justify="left",
    )
    for name in ("id", "severity", "rank", "since", "first cause", "state"):
        table.add_column(name)
    rows = [(item, "open") for item in found["open"]]
    rows += [(item, f"muted until {item['muted_until']}: {item['mute_reason']}") for item in found["muted"]]
    rows += [(item, f"closed {item['closed_on']}") for item in reversed(found["closed"]) if closed]
    for item, state in rows:
        table.add_row(
            item["id"], item["severity"], f"{item['rank']:.3f}", item["opened_on"], item["title"], state
        )
    console.print(table)


@app.command()
def show(incident: str, loop: LoopName = "flights", as_json: AsJson = False) -> None:
    """One incident: its causes in order, the evidence, who mends it, and how."""
    found = _found(loop)
    item = next((i for i in (*found["open"], *found["muted"], *found["closed"]) if i["id"] == incident), None)
    if item is None:
        raise stop(f"there is no incident {incident!r}; see `ratchet incident list --closed`")
    if as_json:
        sys.stdout.write(json.dumps(item, indent=2, sort_keys=True) + "\n")
        return
    table = Table(show_header=False, title=item["id"], title_justify="left")
    table.add_row("what", item["title"])
    table.add_row("severity", f"{item['severity']}: impact {item['impact']:.2f} x risk {item['risk']:.2f} x "
                  f"{item['hours_to_fix']:g} h to mend; rank {item['rank']:.3f}")  # fmt: skip
    table.add_row("open", f"since {item['opened_on']}, last alert {item['updated_on']}"
                  + (f", closed {item['closed_on']}" if item["closed_on"] else ""))  # fmt: skip
    for n, cause in enumerate(item["causes"], 1):
        table.add_row(f"cause {n}", f"{cause['name']} ({cause['score']:.2f}): {cause['evidence']}")
    for seen in item["evidence"]:
        limit = "" if seen["limit"] is None else f", limit {seen['limit']:g}"
        value = "" if seen["value"] is None else f" {seen['value']:g}{limit}"
        table.add_row("signal", f"{seen['name']} {seen['state']}{value}")
    table.add_row("owner", f"{item['owner']}, then {item['escalation']}")
    table.add_row("runbook", item["runbook"])
    table.add_row("told", item["last_notified"] or "nobody")
    if item["muted_until"]:
        table.add_row("muted", f"until {item['muted_until']}: {item['mute_reason']}")
    console.print(table)


@app.command()
def mute(
    incident: str,
    until: Annotated[str, typer.Option(help="Last day of the mute (YYYY-MM-DD).")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")],
    loop: LoopName = "flights",
    by: Annotated[
        str | None, typer.Option("--by", help="Who decides this; the user of this machine if left out.")
    ] = None,
) -> None:
    """Tell nobody of an incident until a day; it stays visible, and is told again if it is still open then."""
    from ratchet.stages.incidents import CannotMute
    from ratchet.stages.incidents import mute as stage

    settings = load_settings()
    try:
        entry = stage(
            settings,
            loop_named(settings, loop),
            incident,
            day_of(until, "--until"),
            reason,
            by or getpass.getuser(),
        )
    except CannotMute as error:
        raise stop(str(error)) from None
    console.print(f"{incident} is muted until {entry.payload['until']}", markup=False)
