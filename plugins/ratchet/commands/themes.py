"""`ratchet themes LOOP`: what people complain of, whether it fell, and what does not count."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime, time
from typing import Annotated, Any

import typer
from rich.table import Table

from ratchet.commands.terminal import console, day_of, loop_named, stop
from ratchet.settings import load_settings


def themes(
    loop_name: Annotated[str, typer.Argument(metavar="LOOP")] = "flights",
    as_of: Annotated[
        str,
        typer.Option(
            help="YYYY-MM-DD: as it was known then (UTC), read from the warehouse. Else as last published."
        ),
    ] = "",
    cohorts: Annotated[bool, typer.Option("--cohorts", help="Whether it fell, also by cohort.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """What people complain of, ranked; whether it fell where the new model served; what counts less and why."""
    settings = load_settings()
    loop = loop_named(settings, loop_name)
    if as_of:
        found = _as_of(settings, loop, datetime.combine(day_of(as_of, "--as-of"), time.min))
    else:
        from ratchet.published import read
        from ratchet.stages.effects import SUMMARY

        found = read(settings, loop.loop, SUMMARY)
    if found is None:
        raise stop(
            f"nothing is known of feedback of {loop.loop}: monitor_model publishes it once feedback has landed"
        )
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    if found["simulated"]:
        console.print("The travellers are simulated: these are not opinions of people.", style="yellow")
    console.print(_ranked(found))
    for experiment in found["experiments"]:
        console.print(_effects(experiment, found["suppressed_below_k"]))
        if cohorts:
            console.print(by_cohort(experiment, found["suppressed_below_k"]), markup=False, highlight=False)
    console.print(campaigns_told(found), markup=False, highlight=False)


def _as_of(settings: Any, loop: Any, moment: datetime) -> dict[str, Any] | None:
    from ratchet.stages.effects import themes_as_of
    from ratchet.warehouse.protocol import WarehouseError

    try:
        return themes_as_of(settings, loop, moment)
    except WarehouseError as error:
        raise stop(str(error)) from None


def _number(value: float | None, form: str, unknown: str = "unknown") -> str:
    return unknown if value is None else format(value, form)


def _ranked(found: Mapping[str, Any]) -> Table:
    k = found["suppressed_below_k"]
    shown = Table(
        title=f"themes until {found['complete_until']}, {found['window_days']} days; the rating gap is an association",
        title_justify="left",
    )
    for column in ("theme", "severity", "answers", "people", "a person asked", "trend", "rating gap", "done"):
        shown.add_column(column)
    for one in found["themes"]:
        done = one["done"][-1]["what"] if one["done"] else ""
        if one["is_hidden"]:
            shown.add_row(one["title"], str(one["severity"]), f"fewer than {k}", "", "", "", "", done)
            continue
        shown.add_row(
            one["title"], str(one["severity"]), _number(one["volume"], ".0f"), _number(one["people_share"], ".1%"),
            _number(one["rate"], ".2%"), one["trend"], _number(one["rating_gap"], "+.2f"), done,
        )  # fmt: skip
    return shown


def _effects(experiment: Mapping[str, Any], k: int) -> Table:
    shown = Table(
        title=f"{experiment['kind']} {experiment['experiment_id']}: new model minus old", title_justify="left"
    )
    for column in ("category", "days", "complaints a person asked", "low", "high", "", "expected"):
        shown.add_column(column)
    for one in experiment["effects"]:
        value = f"fewer than {k}" if one["state"] == "fewer than k" else _number(one["value"], "+.3%")
        shown.add_row(
            one["category"], str(one["days"]), value, _number(one["low"], "+.3%", ""),
            _number(one["high"], "+.3%", ""), one["state"], f"{one['expected']}: {one['verdict']}",
        )  # fmt: skip
    return shown


def by_cohort(experiment: Mapping[str, Any], k: int) -> Table | str:
    """The effects of an experiment by cohort, those with a direction first; or why there are none."""
    found = experiment.get("cohorts")
    if found is None:
        return "by cohort: not measured yet"
    if not found["judged"]:
        return (
            f"by cohort: not judged, {found['days']} of {found['days_needed']} days are closed, or fewer than {k} "
            "people of each cohort were asked"
        )
    shown = Table(
        title=f"by cohort: {found['judged']} judged, {found['left_out']} left out (few asked, or later); "
        f"all intervals hold together, each at {found['error']:.5f}",
        title_justify="left",
    )
    for column in ("cohort", "category", "complaints a person asked", "low", "high", "", "expected"):
        shown.add_column(column)
    for one in sorted(found["effects"], key=lambda one: one["state"] not in ("fell", "rose")):
        is_few = one["state"] == "fewer than k"
        shown.add_row(
            f"{one['dimension']} {one['cohort']}", one["category"],
            f"fewer than {k}" if is_few else _number(one["value"], "+.3%"), _number(one["low"], "+.3%", ""),
            _number(one["high"], "+.3%", ""), "" if is_few else one["state"], f"{one['expected']}: {one['verdict']}",
        )  # fmt: skip
    return shown


def campaigns_told(found: Mapping[str, Any]) -> str:
    """What does not count, in one line."""
    campaigns, k = found["campaigns"], found["suppressed_below_k"]
    if not campaigns["is_known"]:
        return (
            f"campaigns: not judged, {campaigns['days_before']} days before are too few to tell what is usual"
        )
    parts = [
        f"{one['reason']} {one['answers'] if one['answers'] is not None else f'fewer than {k}'}"
        for one in campaigns["found"]
    ]
    judged = campaigns["judged"] if campaigns["judged"] is not None else f"fewer than {k}"
    lost = _number(campaigns["lost"], ".1%")
    return f"campaigns: {judged} answers of the last days judged, {lost} does not count; {', '.join(parts)}"
