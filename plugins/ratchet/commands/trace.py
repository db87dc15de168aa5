"""`ratchet trace`: from an answer to what it changed, and from a model back to the answers behind it."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(
    no_args_is_help=True, help="What became of an answer; what a model learned from. Reads only."
)

SHOWN = (
    "channel", "rating", "comment", "category", "unit_id", "prediction_id", "received_at", "consent", "user_id",
)  # fmt: skip
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


@app.command()
def feedback(
    feedback_id: Annotated[str, typer.Argument(help="The answer, as in marts.fct_feedback.")],
    loop: LoopName = "flights",
    as_json: AsJson = False,
) -> None:
    """An answer: as stored, as understood, its label, snapshots, models, decisions, and whom those served."""
    from ratchet.stages.trace import NothingToTrace, trace_feedback
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    try:
        found = trace_feedback(settings, loop_named(settings, loop), feedback_id)
    except (NothingToTrace, WarehouseError) as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    said = found["versions"][-1]
    rows = [(name, said[name]) for name in SHOWN if said.get(name) is not None]
    _pairs(f"{feedback_id} ({len(found['versions'])} version(s))", rows)
    for one in found["understood"]:
        _pairs("understood as", [(k, v) for k, v in one.items() if v is not None and k != "loop"])
    fact, label = found["fact"], found["label"]
    _pairs(
        "in the tables",
        [
            ("answer", "about no served prediction, or out of reach" if fact is None else _fact(fact)),
            ("label", "none" if label is None else str(label.get("label"))),
        ],
    )
    table = _titled(
        "snapshots that it is in",
        ("snapshot", "as of", "answer was known", "its unit", "rows that count it", "versions"),
    )
    for held in found["snapshots"]:
        versions = ", ".join(str(t["version"]) for t in held["trainings"] if t["version"]) or "none"
        table.add_row(
            held["snapshot"][:12], held["as_of"], "yes" if held["was_known"] else "no",
            "yes" if held["has_unit"] else "no", str(held["rows_counting"]), versions,
        )  # fmt: skip
    console.print(table)
    for model in found["models"]:
        _decided(model["version"], model)
    _uses(found)


@app.command()
def model(
    version: Annotated[int, typer.Argument(min=1, help="The version in the registry.")],
    loop: LoopName = "flights",
    limit: Annotated[int, typer.Option(min=0, help="How many answers are listed, the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """A model: its snapshot, labels, and the answers about its training units that were known by then."""
    from ratchet.stages.trace import NothingToTrace, trace_model
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    try:
        found = trace_model(settings, loop_named(settings, loop), version, limit)
    except (NothingToTrace, WarehouseError) as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    taken, answers = found["snapshot"], found["feedback"]
    _pairs(
        f"version {version}",
        [
            ("snapshot", f"{taken['id'][:12]}, as of {taken['as_of']}" + (", deleted" if taken["is_gone"] else "")),
            ("labels", f"{found['labels']['rows']} of {found['labels']['of']}, {taken['positives']} positive, "
             f"{found['labels']['from_feedback'] or 0} from feedback"),
            ("units left out", str(taken["units_left_out"])),
            ("answers about its units", "not known: its rows were deleted" if answers["answers"] is None
             else str(answers["answers"])),
            ("by channel", _listed(answers["by_channel"])),
            ("by category", _listed(answers["by_category"])),
        ],
    )  # fmt: skip
    if answers["listed"]:
        table = _titled(f"the last {len(answers['listed'])} answers", ("answer", "unit"))
        for row in answers["listed"]:
            table.add_row(row["feedback_id"], row["unit_id"])
        console.print(table)
    _decided(version, found)
    _uses(found)


def _uses(found: dict[str, Any]) -> None:
    names = ", ".join(found["feedback_features"])
    console.print(
        f"features made of feedback: {names}"
        if names
        else "no feature is made of feedback: answers steer triggers and rollouts, labels come from outcomes",
        markup=False,
    )


def _decided(version: int, found: dict[str, Any]) -> None:
    table = _titled(f"decisions on version {version}", ("as of", "kind", "action"))
    for one in found["decisions"]:
        table.add_row(one["as_of"], one["kind"], one["action"] or "")
    console.print(table)
    served = found["served"]
    told = "nobody" if served is None else f"{served['units']} units, {served['first']} to {served['last']}"
    console.print(f"version {version} served {told}", markup=False)


def _fact(fact: dict[str, Any]) -> str:
    window = "in its window" if fact["is_in_window"] else "after its window: counted, not used"
    return f"{window}; served by version {fact['model_version']}, arm {fact['arm']}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"


def _titled(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name)
    return table


def _pairs(title: str, rows: list[tuple[str, Any]]) -> None:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        # What people wrote is text, never markup.
        table.add_row(name, str(value).replace("[", "\\["))
    console.print(table)
