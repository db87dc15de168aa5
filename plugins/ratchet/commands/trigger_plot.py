"""The plot of a trigger backtest: quality against its reference, and when each policy would have asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ratchet.monitoring.health import ERROR
from ratchet.triggers.backtest import Backtest

COLOURS = {"urgent": "#c0392b", "event": "#d68910", "routine": "#2471a3"}


def draw(found: Mapping[str, Backtest], path: Path) -> None:
    """Write the plot of the backtests to `path` (.png or .svg)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    first = next(iter(found.values()))
    figure, (top, below) = pyplot.subplots(
        2, 1, sharex=True, figsize=(11, 5 + 0.4 * len(found)), height_ratios=[3, 0.6 + 0.5 * len(found)]
    )
    shown = [
        (d.as_of, d.health.above_reference) for d, _ in first.decisions if d.health.above_reference.is_usable
    ]
    days = [as_of for as_of, _ in shown]
    bounds = [estimate.bound(ERROR) for _, estimate in shown]
    top.fill_between(days, [b[0] for b in bounds], [b[1] for b in bounds], color="#7f8c8d", alpha=0.3, lw=0)
    top.plot(days, [e.value for _, e in shown], color="#2c3e50", lw=1.2, label="log loss above the reference")
    top.axhline(0, color="black", lw=0.8)
    for episode in first.episodes:
        top.axvspan(episode.first, episode.last, color="#c0392b", alpha=0.08, lw=0)
    top.set_ylabel("log loss above reference")
    top.set_title(
        "served model, mean of the event window with its limits; shaded: above beyond chance", fontsize=9
    )
    for row, one in enumerate(found.values()):
        for tier, colour in COLOURS.items():
            asked = [d.as_of for d, _ in one.fired(tier)]
            refused = [d.as_of for d, _ in one.fired(tier, "refuse")]
            below.plot(refused, [row] * len(refused), "|", color=colour, alpha=0.35, ms=9)
            label = tier if row == 0 else None
            below.plot(asked, [row] * len(asked), "o", color=colour, ms=7, label=label)
    below.set_yticks(range(len(found)), list(found))
    below.set_ylim(-0.6, len(found) - 0.4)
    handles, labels = below.get_legend_handles_labels()
    title = "dot: requested; bar: due and refused"
    top.legend(
        handles, labels, loc="lower left", ncols=3, fontsize=8, title=title, title_fontsize=8, framealpha=0.6
    )
    figure.autofmt_xdate()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
