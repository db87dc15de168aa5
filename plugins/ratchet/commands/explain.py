"""`ratchet explain prediction ID`: one prediction end to end."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Why something is as it is. Reads only.")


@app.callback()
def explain() -> None:
    """Why something is as it is. Reads only."""


@app.command()
def prediction(
    prediction_id: Annotated[str, typer.Argument(help="The prediction, as in marts.fct_predictions.")],
    loop: LoopName = "flights",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """What was known, what the model was given and said, what happened, and where it all came from."""
    from ratchet.stages.explain import NoPrediction, explain_prediction
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    try:
        found = explain_prediction(settings, described, prediction_id)
    except (NoPrediction, WarehouseError) as error:
        raise stop(str(error)) from None
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    _decision(found)
    _known(found)
    _features(found)
    _after(found)
    _lineage(found)


def _pairs(title: str, rows: list[tuple[str, str]]) -> None:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, text)
    console.print(table)


def _time(text: Any) -> str:
    return "never" if text is None else str(text).replace("T", " ")[:16]


def _number(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _decision(found: dict[str, Any]) -> None:
    made = found["prediction"]
    served = "told to travellers" if made["is_served"] else "silent, for comparison only"
    rows = [
        ("unit", made["unit_id"]),
        ("made", f"{_time(made['predicted_at'])} UTC, received {_time(made['received_at'])}"),
        ("score", f"{_number(made['score'])}, {served}"),
        ("model", f"version {made['model_version']}, arm {made['arm']}"),
        ("experiment", made["experiment_id"] or "none was running"),
    ]
    for other in found["siblings"]:
        kind = "served" if other["is_served"] else "silent"
        rows.append(
            (
                "beside it",
                f"version {other['model_version']}, {kind}: {_number(other['score'])} ({other['prediction_id']})",
            )
        )
    _pairs(f"Prediction {made['prediction_id']}", rows)


def _flight(row: dict[str, Any]) -> str:
    return (
        f"{row['carrier']} {row['origin']}-{row['dest']}, plane {row['tail_number'] or 'not known'}, departs "
        f"{_time(row['scheduled_departure_at'])}; received {_time(row['received_at'])}"
    )


def _plane(row: dict[str, Any]) -> str:
    built, seats = _number(row["manufacture_year"]), _number(row["seats"])
    return f"built {built}, {seats} seats; received {_time(row['received_at'])}"


def _observation(row: dict[str, Any]) -> str:
    wind, visibility = _number(row["wind_speed_mph"]), _number(row["visibility_miles"])
    return (
        f"of {_time(row['observed_at'])}: {_number(row['temperature_f'])} F, wind {wind} mph, visibility "
        f"{visibility} mi; received {_time(row['received_at'])}"
    )


def _report(row: dict[str, Any]) -> str:
    return f"{row['unit_id']}: {_number(row['outcome_value'])} min late, received {_time(row['received_at'])}"


def _known(found: dict[str, Any]) -> None:
    known: list[tuple[str, str]] = []
    later: list[tuple[str, str]] = []
    for name, told in (("schedule", _flight), ("plane", _plane), ("weather", _observation)):
        part = found[name]
        known.append((name, told(part["chosen"]) if part["chosen"] else "nothing was known"))
        if part.get("replaced"):
            known.append((name, f"{len(part['replaced'])} earlier versions, replaced by then"))
        later += [(name, told(row)) for row in part["later"]]
    outcomes = found["outcomes"]
    for window, counts in outcomes["windows"].items():
        key, _, length = window.rpartition("_")
        known.append(
            (f"{key.replace('_', '+')} {length}", f"{counts['late']} late of {counts['n']} outcomes")
        )
    known += [("latest outcome", _report(row)) for row in outcomes["latest_known"]]
    later += [("outcome", _report(row)) for row in outcomes["later"]]
    more = outcomes["n_later"] - len(outcomes["later"])
    if more > 0:
        later.append(("outcome", f"and {more} more of this origin within two days"))
    _pairs("Known then", known)
    if later:
        _pairs("Not known then: received at or after the prediction", later)
    else:
        console.print("Nothing about it came later.")


def _features(found: dict[str, Any]) -> None:
    features = found["features"]
    if not features["is_logged"]:
        title = "Features: what was served was not logged (outside the sample, or not landed yet)"
    elif not features["is_there_today"]:
        title = "Features: the build has no row of this unit today"
    elif features["n_different"]:
        title = f"Features: {features['n_different']} differ today from what was served (skew)"
    else:
        title = "Features: today's equal what was served"
    table = Table(title=title, title_justify="left")
    for heading in ("feature", "served", "today", ""):
        table.add_column(heading, justify="right" if heading in ("served", "today") else "left")
    for value in features["values"]:
        same = value["same"]
        mark = "?" if same is None else "equal" if same else "[bold red]different[/]"
        served = _number(value["served"]) if features["is_logged"] else "?"
        today = _number(value["today"]) if features["is_there_today"] else "?"
        if same is False and served == today:
            served, today = repr(value["served"]), repr(value["today"])
        table.add_row(value["feature"], served, today, mark)
    console.print(table)


def _after(found: dict[str, Any]) -> None:
    fact, instead = found["outcome"]["fact"], found["outcome"]["counts_instead"]
    unmade = (
        f"does not count: {instead}, of the same version, was received first" if instead else "not built yet"
    )
    rows = [("state", unmade if fact is None else fact["outcome_state"])]
    rows += [
        ("outcome", f"{_number(row['outcome_value'])} min late, received {_time(row['received_at'])}")
        for row in found["outcome"]["reported"]
    ]
    if fact is not None and fact["label"] is not None:
        rows.append(
            (
                "label",
                f"{fact['label']}, log loss {_number(fact['log_loss'])}, Brier {_number(fact['brier'])}",
            )
        )
    for answer in found["feedback"]:
        rating = f"rating {answer['rating']}" if answer["rating"] is not None else answer["channel"]
        rows.append(
            (
                "feedback",
                f"{rating}, {_time(answer['received_at'])}{', with a comment' if answer['has_comment'] else ''}",
            )
        )
    if not found["feedback"]:
        rows.append(("feedback", "none"))
    _pairs("What happened", rows)


def _lineage(found: dict[str, Any]) -> None:
    rows = [
        (
            gate["verdict"],
            f"{gate['border']} {gate['table']} {gate['partition']}"
            + (f": {gate['reason']}" if gate["reason"] else ""),
        )
        for gate in found["gates"]
    ]
    _pairs("Gates of its partitions", rows)
    model = found["model"]
    offered, training = model["offered"], model["training"] or {}
    rows = [("model", f"version {model['version']}")]
    if offered is None:
        rows.append(("ledger", "never offered this version"))
    else:
        rows.append(
            (
                "offered",
                f"{offered['kind'].replace('_', ' ')} as of {_time(offered['as_of'])}, {offered['request']}",
            )
        )
    rows += [(name.replace("_", " "), str(value)) for name, value in training.items()]
    rows += [
        ("snapshot", f"{snapshot} (`ratchet snapshot show {snapshot[:12]}`)")
        for snapshot in model["snapshots"]
    ]
    _pairs("The model", rows)
