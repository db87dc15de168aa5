"""Plots as SVG text: small, without a library, coloured by the page's style sheet, with a table beside each."""

from __future__ import annotations

from collections.abc import Sequence

from ratchet.pages.parts import Plot, Tone, table, told
from ratchet.pages.svg import (
    HEIGHT,
    SMALL,
    WIDTH,
    Colour,
    Frame,
    Series,
    Value,
    axis_names,
    drawn_band,
    drawn_path,
    is_number,
    known,
    line,
    listed,
    nothing,
    short,
    svg,
    text,
    ticks,
    value_at,
    value_range,
    y_axis,
)

#: Characters of a name beside a forest's line.
LONGEST = 26
#: What a drawing of days says where none of them has a value.
NO_VALUE = "no value yet on any of these days"

__all__ = ["SMALL", "Colour", "Series", "columns", "curve", "forest", "lines", "strip"]


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
    values = [n for s in series for part in (s.values, s.low, s.high) for n in known(part)]
    drawn = bool(values)
    if limit is not None:
        values.append(limit[1])
    low, high = value_range(values, from_zero)
    frame = Frame(*size, (0, max(len(points) - 1, 1)), (low, high))
    body = [*y_axis(frame), *axis_names(frame, points)] if drawn else [nothing(frame, NO_VALUE)]
    if limit is not None:
        y = frame.at_y(limit[1])
        body.append(line(frame.left, y, frame.width - frame.right, y, "bad", dashed=True))
    for one in series:
        body.append(drawn_band(frame, one))
        body += drawn_path(frame, one)
    # The legend is text beside the drawing: in it, it would hide what is drawn.
    legend = [(s.name, s.colour, s.is_dashed) for s in series if len(series) > 1 or s.low]
    if limit is not None:
        legend.append((f"{limit[0]} {told(float(limit[1]))}", "bad", True))
    columns = [first] + [name for s in series for name in ([s.name, "low", "high"] if s.low else [s.name])]
    rows = [
        [name]
        + [value_at(part, i) for s in series for part in ([s.values, s.low, s.high] if s.low else [s.values])]
        for i, name in enumerate(points)
    ]
    told_range = (
        f"{len(points)} points, {told(float(min(values)))} to {told(float(max(values)))}"
        if values
        else "no value"
    )
    return Plot(
        title, svg(frame, title, f"{told_range}{', ' + unit if unit else ''}", body, legend),
        listed(columns, rows), note, tone,
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
    values = [n for s in series for n in known(s.values)]
    frame = Frame(*size, (0, max(len(names), 1)), (0, max([*values, 0.0]) * 1.05 or 1.0))
    body = [*y_axis(frame), *axis_names(frame, names, centred=True)] if values else [nothing(frame, NO_VALUE)]
    wide = (frame.at_x(1) - frame.at_x(0)) * 0.8 / max(len(series), 1)
    for at, one in enumerate(series):
        for i, value in enumerate(one.values):
            if not is_number(value):
                continue
            x, y = frame.at_x(i + 0.1) + at * wide, frame.at_y(float(value or 0))
            tall = round(frame.at_y(0) - y, 1)
            body.append(
                f'<rect class="f-{one.colour} mark" x="{x:.1f}" y="{y}" '
                f'width="{max(wide - 0.5, 0.6):.1f}" height="{tall}"/>'
            )
    legend = [(s.name, s.colour, False) for s in series if len(series) > 1]
    rows = [[name, *(value_at(s.values, i) for s in series)] for i, name in enumerate(names)]
    desc = f"{len(names)} groups of columns, largest {told(float(max(values)))}" if values else "no value"
    return Plot(
        title,
        svg(frame, title, desc, body, legend),
        listed([first, *(s.name for s in series)], rows),
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
    drawn = [row for row in rows if all(is_number(v) for v in row[1:4])]
    values = [float(v) for row in drawn for v in row[1:4] if v is not None] + ([] if zero is None else [zero])
    low, high = value_range(values, False)
    # A name gets half of the drawing at most; the table has it in full.
    shown_names = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…" for name, *_ in drawn]
    left = 14 + 7.1 * max(map(len, shown_names), default=4)
    frame = Frame(WIDTH, 34 + 17 * max(len(drawn), 1), (low, high), (0, max(len(drawn), 1)), left=left, top=6)
    body = [] if drawn else [nothing(frame, "none has limits yet")]
    for tick in ticks(low, high, 4) if drawn else ():
        x = frame.at_x(tick)
        body += [
            line(x, frame.top, x, frame.height - frame.bottom, "grid"),
            text(x, frame.height - frame.bottom + 15, short(tick), "middle"),
        ]
    if zero is not None:
        body.append(line(frame.at_x(zero), frame.top, frame.at_x(zero), frame.height - frame.bottom, "faint"))
    for at, (_, value, lower, upper, colour, _) in enumerate(drawn):
        y = frame.top + 17 * at + 10
        body += [
            text(frame.left - 8, y + 4, shown_names[at], "end"),
            line(frame.at_x(float(lower or 0)), y, frame.at_x(float(upper or 0)), y, colour, thick=True),
            f'<circle class="f-{colour} mark" cx="{frame.at_x(float(value or 0))}" cy="{y}" r="3.5"/>',
        ]
    heads = ("name", "estimate", "low", "high", "told")
    shown = table(heads, [(r[0], r[1], r[2], r[3], r[5]) for r in rows])
    return Plot(
        title, svg(frame, title, f"{len(drawn)} estimates with their intervals", body, []), shown, note
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
    """Lines over a numeric axis: (name, points, colour, dashed). `whiskers` are (x, low, high); square: shares."""
    if is_square:
        whiskers = [(x, min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)) for x, low, high in whiskers]
    xs = [p[0] for _, path, _, _ in parts for p in path] + ([] if x_from is None else [x_from])
    ys = [p[1] for _, path, _, _ in parts for p in path] + [v for w in whiskers for v in w[1:]]
    if is_square:
        top = min(max([*xs, *ys, 0.01]) * 1.05, 1.02)
        x_range, y_range = (0.0, top), (0.0, top)
    else:
        x_range, y_range = value_range(xs, False, 0.0), value_range(ys, False)
    height = 330 if is_square else HEIGHT + 14
    frame = Frame(WIDTH, height, x_range, y_range, top=22, bottom=40)
    body = [*y_axis(frame), text(frame.left, 12, y_name, "start")]
    for tick in ticks(*x_range, 5):
        body.append(text(frame.at_x(tick), frame.height - frame.bottom + 15, short(tick), "middle"))
    body.append(text((frame.left + frame.width - frame.right) / 2, frame.height - 8, x_name, "middle"))
    if is_square:
        body.append(
            line(
                frame.at_x(0),
                frame.at_y(0),
                frame.at_x(x_range[1]),
                frame.at_y(y_range[1]),
                "faint",
                dashed=True,
            )
        )
    elif y_range[0] < 0 < y_range[1]:
        body.append(line(frame.left, frame.at_y(0), frame.width - frame.right, frame.at_y(0), "faint"))
    for x, low, high in whiskers:
        body.append(line(frame.at_x(x), frame.at_y(low), frame.at_x(x), frame.at_y(high), "main"))
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
    return Plot(title, svg(frame, title, desc, body, legend), table(("line", x_name, y_name), rows), note)


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
    body = axis_names(frame, names, centred=True)
    letters = {"bad": "×", "warn": "!"}
    for at, (subject, states) in enumerate(rows):
        y = frame.top + 18 * at
        shown = subject if len(subject) < 23 else f"{subject[:21]}…"
        body.append(text(frame.left - 8, y + 12, shown, "end"))
        for i, state in enumerate(states):
            if state is None:
                continue
            x = frame.left + i * wide
            body.append(
                f'<rect class="f-{state[1]} mark" x="{x:.1f}" y="{y}" width="{max(wide - 0.6, 1):.1f}" height="15"/>'
            )
            if state[1] in letters:
                body.append(text(x + wide / 2, y + 12, letters[state[1]], "middle", "on"))
    told_rows = [
        (name, subject, states[i][0])  # type: ignore[index]
        for i, name in enumerate(names)
        for subject, states in rows
        if states[i] is not None
    ]
    desc = f"{len(rows)} subjects over {len(names)} days"
    return Plot(title, svg(frame, title, desc, body, []), listed(("day", "what", "state"), told_rows), note)
