"""`ratchet triggers backtest`: what a trigger policy would have done, when, why, and against what was lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, day_of, loop_named, stop
from ratchet.settings import load_settings

if TYPE_CHECKING:
    from ratchet.triggers.backtest import Backtest

app = typer.Typer(no_args_is_help=True, help="The policy that asks for retrains.")
SHOWN = (
    ("days", "days replayed"), ("recorded_days", "of them with a health record"),
    ("days_without_drift", "of them without a drift that was known"), ("urgent", "urgent requests"),
    ("event", "event requests"), ("routine", "routine requests"), ("went_back_first", "times it went back first"),
    ("refused_days", "days on which something was due and refused"), ("noted_days", "days with a note"),
    ("limit_days", "days on which a category of feedback was over its limit"),
    ("cost", "cost of the trainings"), ("episodes", "episodes above the reference"), ("answered", "of them answered"),
    ("median_delay_days", "days to the request (median; 0: one was on trial)"),
    ("lost", "log loss lost in episodes (sum)"),
    ("lost_before_answer", "of it before a retrain could serve"),
    ("requests_outside_episodes", "requests outside of an episode"),
)  # fmt: skip


@app.command()
def backtest(
    start: Annotated[str, typer.Option("--from", help="First day (YYYY-MM-DD).")],
    end: Annotated[str, typer.Option("--to", help="Last day.")],
    loop: LoopName = "flights",
    policy: Annotated[Path | None, typer.Option(help="A policy file; the loop file's if left out.")] = None,
    compare: Annotated[
        list[Path] | None, typer.Option(help="Another policy file, beside it; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a plot to this .png or .svg.")] = None,
) -> None:
    """Replay history day by day through one policy, or several; nothing is written, nothing is asked for."""
    from ratchet.stages.backtesting import NothingToReplay, history_of, policy_of, replayed
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    first, last = day_of(start, "--from"), day_of(end, "--to")
    if first > last:
        raise stop(f"--from {first} is after --to {last}: swap them")
    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise stop(f"--plot {plot}: give a name that ends in .png or .svg")
    found: dict[str, Backtest] = {}
    try:
        chosen = {policy.stem: policy_of(described, policy)} if policy else {f"{loop}.yml": described}
        chosen |= {path.stem: policy_of(described, path) for path in compare or ()}
        history = history_of(settings, described, first, last)
        with Progress(console=console, transient=True, disable=as_json) as progress:
            for name, one in chosen.items():
                bar = progress.add_task(name, total=2 * len(history.as_ofs))
                beside = next(iter(found.values()), None)
                found[name] = replayed(one, history, lambda bar=bar: progress.advance(bar), beside)  # type: ignore[misc]
    except (NothingToReplay, WarehouseError, ValueError) as error:
        raise stop(str(error)) from None
    if plot is not None:
        from ratchet.commands.trigger_plot import draw

        draw(found, plot)
    if as_json:
        sys.stdout.write(
            json.dumps({n: as_data(one) for n, one in found.items()}, indent=2, sort_keys=True) + "\n"
        )
        return
    _show(found)
    if plot is not None:
        console.print(f"plot: {plot}", markup=False)


def as_data(one: Backtest) -> dict[str, Any]:
    """A backtest as plain data: summary, what fired, what was refused, episodes."""
    return {
        "summary": one.summary(),
        "over_limit": {name: [day.isoformat() for day in days] for name, days in one.over_limit().items()},
        "assumed": {"trial_days": one.assumed.trial_days, "cost": one.assumed.cost},
        "decisions": [
            {"as_of": d.as_of.isoformat(), "tier": m.tier, "action": m.action, "first": m.first, "reason": m.reason}
            for d, m in one.decisions
            if m.action != "none"
        ],
        "episodes": [
            {"first": e.first.isoformat(), "last": e.last.isoformat(), "lost": e.lost,
             "asked": None if e.asked is None else e.asked.isoformat(), "lost_before_answer": e.lost_before_answer}
            for e in one.episodes
        ],
    }  # fmt: skip


def _show(found: dict[str, Backtest]) -> None:
    told = Table(title="what would have fired", title_justify="left")
    for name in ("policy", "day", "tier", "first", "why"):
        told.add_column(name)
    for name, one in found.items():
        for day, made in one.fired():
            told.add_row(name, f"{day.as_of:%Y-%m-%d}", made.tier, made.first, made.reason)
    console.print(told)
    numbers = Table(title="in numbers", title_justify="left")
    numbers.add_column("")
    for name in found:
        numbers.add_column(name, justify="right")
    summaries = [one.summary() for one in found.values()]
    for key, text in SHOWN:
        numbers.add_row(text, *(_number(summary[key]) for summary in summaries))
    console.print(numbers)
    assumed = next(iter(found.values())).assumed
    console.print(
        "The reference of a model is its log loss at its own evaluation. Lost is what the model that served had above "
        "it, summed over the labelled units of the departure days of an episode: days on which the window's mean is "
        "above the reference beyond chance. Assumed: a candidate passes unless history knows better, is on trial for "
        f"{assumed.trial_days} days (the median on record), and costs {assumed.cost:.1f} s (the mean on record). What "
        "a retrain would have gained is not assumed.",
        markup=False,
    )


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
