"""Plots of a certificate as SVG text: the page they are put into gives colours and font.

Lines and letters are drawn in marker colours that become the page's CSS variables, so one drawing fits a light
and a dark page. The same record gives the same text.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.ledger.chain import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that matplotlib draws with, and what the page has in their place.
INK, FAINT, MAIN, GOOD, BAD = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
VARIABLES = {INK: "--ink", FAINT: "--faint", MAIN: "--main", GOOD: "--good", BAD: "--bad"}
WIDTH = 4.4  # inches; scaled to the page


def boundary_path(looks: Sequence[Entry], terms: Mapping[str, Any]) -> str | None:
    """z by information fraction at each look, with the boundaries that were recorded; None without two looks.

    The planned boundary is that of ten equal looks: the recorded one depends on when it was looked.
    """
    path = [
        (told["primary"]["information_fraction"], told["primary"]["z"])
        for told in (entry.payload["evidence"] for entry in looks)
        if told.get("primary", {}).get("z") is not None
    ]
    if len(path) < 2:
        return None
    figure, axes = _axes(3.0)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for name, sign, colour, label in (("promotion", 1, GOOD, "promote"), ("harm", -1, BAD, "roll back")):
        found = [
            (told["tests"][name]["information_fraction"], sign * told["tests"][name]["bound"])
            for told in (entry.payload["evidence"] for entry in looks)
            if told.get("tests", {}).get(name, {}).get("bound") is not None
        ]
        if found:
            marker = "_" if len(found) > 1 else "D"
            axes.plot(
                *zip(*found, strict=True),
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.2,
                label=label,
            )
    planned = _planned(looks[-1], terms)
    if planned:
        axes.plot(
            *zip(*planned, strict=True), color=GOOD, linestyle=":", linewidth=1.2, label="promote, planned"
        )
    axes.plot(*zip(*path, strict=True), color=MAIN, marker="o", markersize=3, linewidth=1.2, label="z")
    axes.set_xlim(0, max(1.0, max(fraction for fraction, _ in path)))
    axes.set_xlabel("information fraction", color=INK)
    axes.set_ylabel("z of the primary gain", color=INK)
    _legend(axes)
    return _svg(figure, "z of the primary metric at each look, and the boundaries")


def _planned(look: Entry, terms: Mapping[str, Any]) -> list[tuple[float, float]]:
    rule = terms.get("rollout", {})
    if look.kind != "rollout_decision" or not {"alpha", "spending_power"} <= set(rule):
        return []
    fractions = [part / 10 for part in range(1, 11)]
    bounds = critical_values(fractions, power_spending(float(rule["alpha"]), float(rule["spending_power"])))
    return [(at, bound) for at, bound in zip(fractions, bounds, strict=True) if bound < 5]


def cohort_forest(told: Mapping[str, Any]) -> str | None:
    """Each cohort's gain with its limits; None without a cohort that has one."""
    rows = [
        (name, found, bool(found.get("judged")))
        for name, found in sorted(told.get("cohorts", {}).items())
        if isinstance(found, Mapping)
    ]
    return forest(rows, "gain per unit (right of 0: the challenger is better)")


def forest(rows: Sequence[tuple[str, Mapping[str, Any], bool]], axis: str) -> str | None:
    """A line a row: name, estimate with limits, whether it was judged; None when no estimate has limits."""
    drawn = [
        row for row in reversed(rows) if None not in [row[1].get(name) for name in ("value", "low", "high")]
    ]
    if not drawn:
        return None
    figure, axes = _axes(0.9 + 0.21 * len(drawn))
    axes.axvline(0, color=FAINT, linewidth=0.8)
    for at, (_, found, is_judged) in enumerate(drawn):
        low, high = found["low"], found["high"]
        colour = FAINT if not is_judged else GOOD if low > 0 else BAD if high < 0 else MAIN
        axes.plot([low, high], [at, at], color=colour, linewidth=1.4)
        axes.plot([found["value"]], [at], color=colour, marker="o", markersize=4)
    axes.set_yticks(range(len(drawn)), [name for name, *_ in drawn], parse_math=False)
    axes.set_ylim(-0.6, len(drawn) - 0.4)
    axes.set_xlabel(axis, color=INK)
    return _svg(figure, axis)


def reliability(evaluation: Entry | None) -> str | None:
    """Share of positives against mean score by bin, of champion and candidate; None when it was not recorded."""
    sums = (evaluation.payload.get("sums") or {}) if evaluation is not None else {}
    curves = sums.get("reliability") or {}
    if not curves:
        return None
    figure, axes = _axes(3.4)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8)
    top = 0.0
    for name, colour in (("champion", MAIN), ("candidate", GOOD)):
        part = curves.get(name)
        if not part:
            continue
        points = [
            (score / rows, labels / rows, rows)
            for rows, score, labels in zip(part["rows"], part["scores"], part["labels"], strict=True)
            if rows
        ]
        total = sum(rows for *_, rows in points)
        axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, linewidth=1.2, label=name)
        sizes = [8 + 90 * rows / total for *_, rows in points]
        axes.scatter(
            [p[0] for p in points], [p[1] for p in points], s=sizes, color=colour, clip_on=False, zorder=3
        )
        top = max([top, *(value for p in points for value in p[:2])])
    top = min(1.0, top * 1.1 + 0.02)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_xlabel("mean score (larger points: more rows)", color=INK)
    axes.set_ylabel("share of positives", color=INK)
    _legend(axes)
    return _svg(figure, "reliability of champion and candidate on the evaluation rows")


def evidence_path(looks: Sequence[Entry]) -> str | None:
    """log e-values of the harm processes at each look, as shares of their limits; None when none was recorded."""
    paths: dict[str, list[tuple[float, float]]] = {}
    for at, entry in enumerate(looks, start=1):
        for name, found in entry.payload["evidence"].get("e_values", {}).items():
            if found.get("clusters") and found.get("alarm_above"):
                paths.setdefault(name, []).append((at, found["log_e"] / found["alarm_above"]))
    if not paths or max(map(len, paths.values())) < 2:
        return None
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes(3.0)
    axes.axhline(1, color=BAD, linewidth=1.0, linestyle="--", label="roll back")
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for at, (name, path) in enumerate(sorted(paths.items())[:8]):
        shown = name.removesuffix("_e").replace("guardrail_harm:", "").replace("harm", "primary metric")
        style = ("-", "--", ":")[at // 3 % 3]
        axes.plot(
            *zip(*path, strict=True),
            color=(MAIN, GOOD, INK)[at % 3],
            linestyle=style,
            linewidth=1.2,
            label=shown,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("look", color=INK)
    axes.set_ylabel("log e-value of harm, share of limit", color=INK)
    _legend(axes)
    return _svg(
        figure, "log e-values of harm at each look, as shares of the limit at which it is rolled back"
    )


def _axes(height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    axes.tick_params(colors=FAINT, labelcolor=INK, labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    return figure, axes


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="best")


def _svg(figure: Figure, title: str) -> str:
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ratchet"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    for colour, name in VARIABLES.items():
        drawn = drawn.replace(colour, f"var({name})")
    # The page says how wide it is, and a reader that sees nothing what it shows.
    head, _, tail = drawn.partition(">")
    head = " ".join(part for part in head.split(" ") if not part.startswith(("width=", "height=")))
    return f'{head} role="img" aria-label="{title}">{tail}'
