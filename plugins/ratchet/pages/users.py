"""The page of what users say; groups smaller than k are never shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.pages import plots
from ratchet.pages.links import Links
from ratchet.pages.parts import (
    MONITOR,
    Cell,
    Page,
    Panel,
    as_of,
    limits,
    not_measured,
    of_1000,
    percent,
    short_days,
    state_cell,
    table,
    told,
)
from ratchet.pages.source import Source


def users(source: Source, links: Links) -> Page:
    """What users say: ratings, complaints, categories, fairness as perceived."""
    found = source.summary("monitor_users")
    if found is None:
        return Page("users", "Users", (not_measured("Users", "monitor_users", MONITOR),))
    k = max(source.min_group, int(found.get("suppressed_below_k") or 0))
    is_simulated = bool(found.get("simulated"))
    panels = [
        _said(found, k, is_simulated),
        _categories(found, k, is_simulated, source.category_titles),
        _fairness(found, k, is_simulated),
        _weighted(found, k, is_simulated),
    ]
    who = " The travellers are simulated: these are not opinions of people." if is_simulated else ""
    return Page("users", "Users", tuple(panels), f"{as_of(found)}{who}".strip())


def _said(found: Mapping[str, Any], k: int, is_simulated: bool) -> Panel:
    rows = found.get("days") or []
    days = short_days([str(r.get("date")) for r in rows])
    until = str(found.get("complete_until") or "")
    # Of days after it people may still answer: what came by now says less than it seems to.
    still = sum(str(r.get("date")) > until for r in rows) if until else 0
    hidden = [int(r.get("n_answers") or 0) < k for r in rows]
    drawn = []
    for title, key in (
        ("Mean rating", "rating_mean"),
        ("Tickets of 1,000 people asked", "complaint_rate"),
        ("Share that answers", "response_rate"),
    ):
        scale = 1000 if key == "complaint_rate" else 1
        values = [
            None if less or r.get(key) is None else scale * r[key]
            for r, less in zip(rows, hidden, strict=True)
        ]
        if any(value is not None for value in values):
            drawn.append(
                plots.lines(title, days, _closed(title, values, still), from_zero=key != "rating_mean")
            )
    tickets = [None if int(r.get("n_tickets") or 0) < k else r.get("n_tickets") for r in rows]
    if any(value is not None for value in tickets):
        drawn.append(plots.columns("Tickets", days, [plots.Series("tickets", tickets)]))
    notes: tuple[str, ...] = (
        (f"On {sum(hidden)} of {len(rows)} days fewer than {k} answered: left out.",) if any(hidden) else ()
    )
    if still:
        notes += (f"About departures after {until} people may still answer: dashed is what came by now.",)
    if not rows:
        notes = ("Nobody was asked yet.",)
    return Panel("What users say", plots=tuple(drawn), notes=notes, is_simulated=is_simulated)


def _closed(title: str, values: list[Any], still: int) -> list[plots.Series]:
    """The closed days as a line, and the `still` last ones, which go on from it, as a dashed one."""
    if not still:
        return [plots.Series(title, values)]
    closed = len(values) - still
    later = [None] * max(closed - 1, 0) + values[max(closed - 1, 0) :]
    return [
        plots.Series("closed days", [*values[:closed], *([None] * still)]),
        plots.Series("still coming in", later, "ink", is_dashed=True),
    ]


def _categories(found: Mapping[str, Any], k: int, is_simulated: bool, titles: Mapping[str, str]) -> Panel:
    body: list[tuple[Any, ...]] = []
    for one in found.get("by_category") or []:
        n, name = int(one.get("n") or 0), told(one.get("category"))
        title = titles.get(name, name)
        if n < k:
            body.append((title, f"fewer than {k}", "", ""))
        else:
            body.append((title, told(n), of_1000(one.get("rate")), _trend(one.get("trend"))))
    notes = () if body else ("No ticket was sorted yet.",)
    tables = (table(("category", "tickets", "of 1,000 asked", "trend"), body),) if body else ()
    return Panel("Tickets by category", is_half=True, tables=tables, notes=notes, is_simulated=is_simulated)


def _trend(value: Any) -> Cell:
    return Cell(f"{value:+.4g}") if isinstance(value, float) else state_cell(value)


def _fairness(found: Mapping[str, Any], k: int, is_simulated: bool) -> Panel:
    body: list[tuple[Any, ...]] = []
    for one in found.get("by_cohort") or []:
        name, n = f"{one.get('dimension')}={one.get('cohort')}", int(one.get("n") or 0)
        if n < k:
            body.append((name, f"fewer than {k}", "", Cell("too small to show", "faint")))
        else:
            rating = {"value": one.get("rating_mean"), "low": one.get("low"), "high": one.get("high")}
            body.append((name, told(n), limits(rating, 2), state_cell(one.get("state"))))
    notes = () if body else ("Not measured yet.",)
    tables = (table(("cohort", "answers", "mean rating", "state"), body),) if body else ()
    return Panel(
        "Fairness as users see it", is_half=True, tables=tables, notes=notes, is_simulated=is_simulated
    )


def _weighted(found: Mapping[str, Any], k: int, is_simulated: bool) -> Panel:
    body: list[tuple[Any, ...]] = []
    for one in found.get("satisfaction") or []:
        n = int(one.get("n") or 0)
        if n < k or one.get("weighted") is None:
            body.append((told(one.get("dimension")), "", "", "", "", Cell(told(one.get("state")), "faint")))
            continue
        weight = one.get("largest_weight")
        body.append(
            (
                told(one.get("dimension")), told(n), limits(one.get("raw"), 2), limits(one["weighted"], 2),
                percent(one.get("covered")), f"{weight:.0f}" if isinstance(weight, int | float) else "unknown",
            )
        )  # fmt: skip
    notes = (
        ("Each cohort counts by how many were asked there, not by how many answered. It takes out what cohorts "
         "explain; within a cohort the unhappy still answer more.",)
        if body else ("Not measured yet.",)
    )  # fmt: skip
    heads = (
        "by",
        "answers",
        "mean of answers",
        "mean of those asked",
        "spoken for",
        "people an answer, at most",
    )
    tables = (table(heads, body),) if body else ()
    return Panel(
        "Satisfaction of everybody who was asked", tables=tables, notes=notes, is_simulated=is_simulated
    )
