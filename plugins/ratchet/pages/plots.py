"""Plots as SVG text: small, without a library, coloured by the page's style sheet, with a table beside each.

Whatever text stands in a drawing is escaped. No attribute `style`: the pages' policy allows none.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

from ratchet.pages.parts import Plot, Tone, table, told

Colour = Literal["main", "good", "bad", "warn", "faint", "ink"]
Value = float | int | None

WIDTH, HEIGHT = 400, 210
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


def lines(
    title: str,
    points: Sequence[str],
    series: Sequence[Series],
    *,
    unit: str = "",
    from_zero: bool = False,
    limit: tuple[str, float] | None = None,
    size: tuple[float, float] = (WIDTH, HEIGHT),
    note: str = "",
    tone: Tone = "plain",
    first: str = "day",
) -> Plot:
    """Lines over equally spaced points, which are named `points`."""
    values = [n for s in series for part in (s.values, s.low, s.high) for n in _known(part)]
    if limit is not None:
        values.append(limit[1])
    low, high = _range(values, from_zero)
    frame = Frame(*size, (0, max(len(points) - 1, 1)), (low, high))
    body = [*_y_axis(frame), *_names(frame, points)]
    if limit is not None:
        y = frame.at_y(limit[1])
        body.append(_line(frame.left, y, frame.width - frame.right, y, "bad", dashed=True))
    for one in series:
        body.append(_band(frame, one))
        body += _path(frame, one)
    # The legend is text beside the drawing: in it, it would hide what is drawn.
    legend = [(s.name, s.colour, s.is_dashed) for s in series if len(series) > 1 or s.low]
    if limit is not None:
        legend.append((f"{limit[0]} {told(float(limit[1]))}", "bad", True))
    columns = [first] + [name for s in series for name in ([s.name, "low", "high"] if s.low else [s.name])]
    rows = [
        [name]
        + [_at(part, i) for s in series for part in ([s.values, s.low, s.high] if s.low else [s.values])]
        for i, name in enumerate(points)
    ]
    told_range = (
        f"{len(points)} points, {told(float(min(values)))} to {told(float(max(values)))}"
        if values
        else "no value"
    )
    return Plot(
        title, _svg(frame, title, f"{told_range}{', ' + unit if unit else ''}", body, legend),
        table(columns, rows), note, tone,
    )  # fmt: skip


def columns(
    title: str,
    names: Sequence[str],
    series: Sequence[Series],
    *,
    size: tuple[float, float] = (WIDTH, HEIGHT),
    note: str = "",
    tone: Tone = "plain",
    first: str = "day",
) -> Plot:
    """Columns beside each other, a group a name; all from zero."""
    values = [n for s in series for n in _known(s.values)]
    frame = Frame(*size, (0, max(len(names), 1)), (0, max([*values, 0.0]) * 1.05 or 1.0))
    body = [*_y_axis(frame), *_names(frame, names, centred=True)]
    wide = (frame.at_x(1) - frame.at_x(0)) * 0.8 / max(len(series), 1)
    for at, one in enumerate(series):
        for i, value in enumerate(one.values):
            if not _is_number(value):
                continue
            x, y = frame.at_x(i + 0.1) + at * wide, frame.at_y(float(value or 0))
            tall = round(frame.at_y(0) - y, 1)
            body.append(
                f'<rect class="f-{one.colour} mark" x="{x:.1f}" y="{y}" '
                f'width="{max(wide - 0.5, 0.6):.1f}" height="{tall}"/>'
            )
    legend = [(s.name, s.colour, False) for s in series if len(series) > 1]
    rows = [[name, *(_at(s.values, i) for s in series)] for i, name in enumerate(names)]
    desc = f"{len(names)} groups of columns, largest {told(float(max(values)))}" if values else "no value"
    return Plot(
        title,
        _svg(frame, title, desc, body, legend),
        table([first, *(s.name for s in series)], rows),
        note,
        tone,
    )


def forest(
    title: str,
    rows: Sequence[tuple[str, Value, Value, Value, Colour, str]],
    *,
    zero: float | None = 0.0,
    note: str = "",
) -> Plot:
    """A line a row: name, estimate, low, high, colour and what is said of it."""
    drawn = [row for row in rows if all(_is_number(v) for v in row[1:4])]
    values = [float(v) for row in drawn for v in row[1:4] if v is not None] + ([] if zero is None else [zero])
    low, high = _range(values, False)
    longest = max((len(row[0]) for row in drawn), default=4)
    left = min(170.0, 14 + 6.6 * longest)
    frame = Frame(WIDTH, 34 + 17 * max(len(drawn), 1), (low, high), (0, max(len(drawn), 1)), left=left, top=6)
    body = []
    for tick in ticks(low, high, 4):
        x = frame.at_x(tick)
        body += [
            _line(x, frame.top, x, frame.height - frame.bottom, "grid"),
            _text(x, frame.height - frame.bottom + 15, _short(tick), "middle"),
        ]
    if zero is not None:
        body.append(
            _line(frame.at_x(zero), frame.top, frame.at_x(zero), frame.height - frame.bottom, "faint")
        )
    for at, (name, value, lower, upper, colour, _) in enumerate(drawn):
        y = frame.top + 17 * at + 10
        body += [
            _text(frame.left - 8, y + 4, name, "end"),
            _line(frame.at_x(float(lower or 0)), y, frame.at_x(float(upper or 0)), y, colour, thick=True),
            f'<circle class="f-{colour} mark" cx="{frame.at_x(float(value or 0))}" cy="{y}" r="3.5"/>',
        ]
    shown = table(("", "estimate", "low", "high", ""), [(r[0], r[1], r[2], r[3], r[5]) for r in rows])
    return Plot(
        title, _svg(frame, title, f"{len(drawn)} estimates with their intervals", body, []), shown, note
    )


def curve(
    title: str,
    parts: Sequence[tuple[str, Sequence[tuple[float, float]], Colour, bool]],
    *,
    x_name: str,
    y_name: str,
    is_square: bool = False,
    whiskers: Sequence[tuple[float, float, float]] = (),
    x_from: float | None = None,
    sizes: Sequence[float] = (),
    note: str = "",
) -> Plot:
    """Lines over a numeric axis: (name, points, colour, dashed). `whiskers` are (x, low, high)."""
    xs = [p[0] for _, path, _, _ in parts for p in path] + ([] if x_from is None else [x_from])
    ys = [p[1] for _, path, _, _ in parts for p in path] + [v for w in whiskers for v in w[1:]]
    if is_square:
        top = max([*xs, *ys, 0.01]) * 1.05
        x_range, y_range = (0.0, top), (0.0, top)
    else:
        x_range, y_range = _range(xs, False, 0.0), _range(ys, False)
    height = 330 if is_square else HEIGHT + 14
    frame = Frame(WIDTH, height, x_range, y_range, bottom=40)
    body = _y_axis(frame)
    for tick in ticks(*x_range, 5):
        body.append(_text(frame.at_x(tick), frame.height - frame.bottom + 15, _short(tick), "middle"))
    body.append(_text((frame.left + frame.width - frame.right) / 2, frame.height - 8, x_name, "middle"))
    if is_square:
        body.append(
            _line(
                frame.at_x(0),
                frame.at_y(0),
                frame.at_x(x_range[1]),
                frame.at_y(y_range[1]),
                "faint",
                dashed=True,
            )
        )
    elif y_range[0] < 0 < y_range[1]:
        body.append(_line(frame.left, frame.at_y(0), frame.width - frame.right, frame.at_y(0), "faint"))
    for x, low, high in whiskers:
        body.append(_line(frame.at_x(x), frame.at_y(low), frame.at_x(x), frame.at_y(high), "main"))
    for at, (_, path, colour, is_dashed) in enumerate(parts):
        where = [(frame.at_x(x), frame.at_y(y)) for x, y in path]
        dash = " dashed" if is_dashed else ""
        body.append(f'<polyline class="s-{colour}{dash}" points="{" ".join(f"{x},{y}" for x, y in where)}"/>')
        if not is_dashed:
            radii = sizes if at == 0 and sizes else [2.6 if len(where) > 1 else 4.5] * len(where)
            body += [
                f'<circle class="f-{colour} mark" cx="{x}" cy="{y}" r="{r:.1f}"/>'
                for (x, y), r in zip(where, radii, strict=True)
            ]
    rows = [(name, x, y) for name, path, _, _ in parts for x, y in path]
    legend = [(name, colour, dashed) for name, _, colour, dashed in parts]
    desc = f"{y_name} against {x_name}, {len(rows)} points"
    return Plot(title, _svg(frame, title, desc, body, legend), table(("", x_name, y_name), rows), note)


def strip(
    title: str,
    names: Sequence[str],
    rows: Sequence[tuple[str, Sequence[tuple[str, Colour] | None]]],
    note: str = "",
) -> Plot:
    """A row of squares a subject, one a day: a state and its colour, None where nothing was judged."""
    longest = max((min(len(row[0]), 22) for row in rows), default=4)
    left = min(150.0, 14 + 6.4 * longest)
    frame = Frame(WIDTH, 32 + 18 * max(len(rows), 1), (0, max(len(names), 1)), (0, 1), left=left, top=4)
    wide = (frame.width - frame.left - frame.right) / max(len(names), 1)
    body = _names(frame, names, centred=True)
    letters = {"bad": "×", "warn": "!"}
    for at, (subject, states) in enumerate(rows):
        y = frame.top + 18 * at
        shown = subject if len(subject) < 23 else f"{subject[:21]}…"
        body.append(_text(frame.left - 8, y + 12, shown, "end"))
        for i, state in enumerate(states):
            if state is None:
                continue
            x = frame.left + i * wide
            body.append(
                f'<rect class="f-{state[1]} mark" x="{x:.1f}" y="{y}" width="{max(wide - 0.6, 1):.1f}" height="15"/>'
            )
            if state[1] in letters:
                body.append(_text(x + wide / 2, y + 12, letters[state[1]], "middle", "on"))
    told_rows = [
        (name, subject, states[i][0])  # type: ignore[index]
        for i, name in enumerate(names)
        for subject, states in rows
        if states[i] is not None
    ]
    desc = f"{len(rows)} subjects over {len(names)} days"
    return Plot(title, _svg(frame, title, desc, body, []), table(("day", "", "state"), told_rows), note)


def _is_number(value: Value) -> bool:
    return value is not None and math.isfinite(value)


def _known(values: Sequence[Value]) -> list[float]:
    return [float(v) for v in values if v is not None and math.isfinite(v)]


def _at(values: Sequence[Value], index: int) -> Value:
    return values[index] if index < len(values) else None


def _range(values: Sequence[Value], from_zero: bool, room: float = 0.06) -> tuple[float, float]:
    known = _known(values)
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    if from_zero:
        low = min(low, 0.0)
    if high <= low:
        spread = abs(high) * 0.1 or 1.0
        return (low if from_zero else low - spread), high + spread
    spread = (high - low) * room
    return (low if from_zero and low == 0 else low - spread), high + spread


def _short(value: float) -> str:
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:g}M"
    if size >= 1e4:
        return f"{value / 1e3:g}k"
    return f"{value:.4g}"


def _y_axis(frame: Frame) -> list[str]:
    body = []
    for tick in ticks(*frame.y, 4 if frame.height > 150 else 2):
        y = frame.at_y(tick)
        body += [
            _line(frame.left, y, frame.width - frame.right, y, "grid"),
            _text(frame.left - 5, y + 4, _short(tick), "end"),
        ]
    return body


def _names(frame: Frame, names: Sequence[str], *, centred: bool = False) -> list[str]:
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
        body.append(_text(x, y, names[i][:16], anchor))
    return body


def _path(frame: Frame, one: Series) -> list[str]:
    """A line that is broken where there is no value; a value between two gaps is a point."""
    runs: list[list[tuple[float, float]]] = [[]]
    for i, value in enumerate(one.values):
        if _is_number(value):
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


def _band(frame: Frame, one: Series) -> str:
    points = [
        (frame.at_x(i), frame.at_y(float(low)), frame.at_y(float(high)))
        for i, (low, high) in enumerate(zip(one.low, one.high, strict=False))
        if low is not None and high is not None
    ]
    if len(points) < 2:
        return ""
    edge = [f"{x},{top}" for x, _, top in points] + [f"{x},{bottom}" for x, bottom, _ in reversed(points)]
    return f'<polygon class="band f-{one.colour}" points="{" ".join(edge)}"/>'


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, dashed: bool = False, thick: bool = False
) -> str:
    extra = (" dashed" if dashed else "") + (" thick" if thick else "")
    return f'<line class="s-{colour}{extra}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    return f'<text{css} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(
    frame: Frame, title: str, desc: str, body: Sequence[str], legend: Sequence[tuple[str, Colour, bool]]
) -> Markup:
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
