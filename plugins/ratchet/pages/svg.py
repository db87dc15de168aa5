"""The pieces of a drawing: frame, axes, lines, words. `ratchet.pages.plots` puts them together.

Whatever text stands in a drawing is escaped. No attribute `style`: the pages' policy allows none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from ratchet.pages.parts import Table, table

Colour = Literal["main", "good", "bad", "warn", "faint", "ink"]
Value = float | int | None

WIDTH, HEIGHT = 400, 210
#: Rows of the table beside a drawing: the newest.
LISTED = 90
SMALL = (260, 130)


@dataclass(frozen=True)
class Series:
    """A line: one value a point, None where there is none; `low` and `high` are drawn as a band."""

    name: str
    values: Sequence[Value]
    colour: Colour = "main"
    low: Sequence[Value] = ()
    high: Sequence[Value] = ()
    is_dashed: bool = False
    has_points: bool = False


@dataclass(frozen=True)
class Frame:
    """Where the data lie inside a drawing, and what its axes mean."""

    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    left: float = 46
    right: float = 10
    top: float = 10
    bottom: float = 26

    def at_x(self, value: float) -> float:
        share = (value - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        return round(self.left + share * (self.width - self.left - self.right), 1)

    def at_y(self, value: float) -> float:
        share = (value - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return round(self.height - self.bottom - share * (self.height - self.top - self.bottom), 1)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round values between two limits."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(size * scale for size in (1, 2, 2.5, 5, 10) if size * scale >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def is_number(value: Value) -> bool:
    """Whether there is a value to draw."""
    return value is not None and math.isfinite(value)


def listed(names: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """The table beside a drawing."""
    caption = "" if len(rows) <= LISTED else f"The last {LISTED} of {len(rows)} rows"
    return table(names, rows[-LISTED:], caption)


def known(values: Sequence[Value]) -> list[float]:
    """The values that are there."""
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def value_at(values: Sequence[Value], index: int) -> Value:
    """The value at a place, None beyond the end."""
    return values[index] if index < len(values) else None


def value_range(values: Sequence[Value], from_zero: bool, room: float = 0.06) -> tuple[float, float]:
    """The limits of an axis."""
    found = known(values)
    if not found:
        return 0.0, 1.0
    low, high = min(found), max(found)
    if from_zero:
        low = min(low, 0.0)
    if high <= low:
        spread = abs(high) * 0.1 or 1.0
        return (low if from_zero else low - spread), high + spread
    spread = (high - low) * room
    return (low if from_zero and low == 0 else low - spread), high + spread


def short(value: float) -> str:
    """A number for an axis."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.4g}"


def y_axis(frame: Frame) -> list[str]:
    """Lines and numbers of the vertical axis."""
    body = []
    for tick in ticks(*frame.y, 4 if frame.height > 150 else 2):
        y = frame.at_y(tick)
        body += [
            line(frame.left, y, frame.width - frame.right, y, "grid"),
            text(frame.left - 5, y + 4, short(tick), "end"),
        ]
    return body


def axis_names(frame: Frame, names: Sequence[str], *, centred: bool = False) -> list[str]:
    """As many names below the axis as have room."""
    if not names:
        return []
    longest = max(len(name) for name in names)
    room = max(1, int((frame.width - frame.left) // (7 * min(longest, 16) + 12)))
    step = math.ceil(len(names) / room)
    body, y = [], frame.height - frame.bottom + 16
    for i in range(0, len(names), step):
        x = frame.at_x(i + 0.5 if centred else i)
        anchor = "middle"
        half = 3.4 * min(len(names[i]), 16)
        if x + half > frame.width:
            x, anchor = frame.width - 1, "end"
        body.append(text(x, y, names[i][:16], anchor))
    return body


def drawn_path(frame: Frame, one: Series) -> list[str]:
    """A line that is broken where there is no value; a value between two gaps is a point."""
    runs: list[list[tuple[float, float]]] = [[]]
    for i, value in enumerate(one.values):
        if is_number(value):
            runs[-1].append((frame.at_x(i), frame.at_y(float(value or 0))))
        elif runs[-1]:
            runs.append([])
    dash, body = " dashed" if one.is_dashed else "", []
    for run in runs:
        if len(run) > 1:
            points = " ".join(f"{x},{y}" for x, y in run)
            body.append(f'<polyline class="s-{one.colour}{dash} mark" points="{points}"/>')
        if run and (one.has_points or len(run) == 1):
            body += [f'<circle class="f-{one.colour} mark" cx="{x}" cy="{y}" r="2.4"/>' for x, y in run]
    return body


def drawn_band(frame: Frame, one: Series) -> str:
    """What lies between the low and high values of a series."""
    points = [
        (frame.at_x(i), frame.at_y(float(low)), frame.at_y(float(high)))
        for i, (low, high) in enumerate(zip(one.low, one.high, strict=False))
        if low is not None and high is not None
    ]
    if len(points) < 2:
        return ""
    edge = [f"{x},{top}" for x, _, top in points] + [f"{x},{bottom}" for x, bottom, _ in reversed(points)]
    return f'<polygon class="band f-{one.colour}" points="{" ".join(edge)}"/>'


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False, thick: bool = False
) -> str:
    """A straight line."""
    extra = (" dashed" if dashed else "") + (" thick" if thick else "")
    return f'<line class="s-{colour}{extra}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def text(x: float, y: float, said: str, anchor: str, kind: str = "") -> str:
    """Words at a place."""
    css = f' class="{kind}"' if kind else ""
    return f'<text{css} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def nothing(frame: Frame, why: str) -> str:
    """What stands in a drawing that has nothing to draw."""
    return text(
        (frame.left + frame.width - frame.right) / 2,
        (frame.top + frame.height - frame.bottom) / 2,
        why,
        "middle",
    )


def svg(
    frame: Frame, title: str, desc: str, body: Sequence[str], legend: Sequence[tuple[str, Colour, bool]]
) -> Markup:
    """The whole drawing with its name, what it shows in words, and its legend."""
    drawn = "".join(body)
    name = "p" + hashlib.sha256(f"{title}{desc}{drawn}".encode()).hexdigest()[:12]
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 18 8" aria-hidden="true">'
        f'<line class="s-{colour} thick{" dashed" if dashed else ""}" x1="0" y1="4" x2="18" y2="4"/></svg>'
        f"{escape(text)}</li>"
        for text, colour, dashed in legend
    )
    beside = f'<ul class="legend">{keys}</ul>' if keys else ""
    return Markup(  # noqa: S704  (every text in it was escaped above)
        f'<svg class="plot" viewBox="0 0 {frame.width:g} {frame.height:g}" role="img" aria-labelledby="{name}t" '
        f'aria-describedby="{name}d"><title id="{name}t">{escape(title)}</title>'
        f'<desc id="{name}d">{escape(desc)}</desc>'
        f"{drawn}</svg>{beside}"
    )
