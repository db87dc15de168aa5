"""The page of what people complain of: ranked, with its trend, whether it fell, and what does not count."""

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
    Plot,
    as_of,
    limits,
    not_measured,
    of_1000,
    percent,
    short_days,
    table,
    told,
)
from ratchet.pages.source import Source
from ratchet.pages.svg import Colour

SUMMARY = "feedback_themes"
_TONES: Mapping[str, Colour] = {"fell": "good", "rose": "bad"}
DRAWN = 6  # themes with a drawing of their own


def themes(source: Source, links: Links) -> Page:
    """Themes, effects by experiment, campaigns."""
    found = source.summary(SUMMARY)
    if found is None:
        return Page("themes", "Themes", (not_measured("Themes", SUMMARY, MONITOR),))
    k = max(source.min_group, int(found.get("suppressed_below_k") or 0))
    is_simulated, titles = bool(found.get("simulated")), source.category_titles
    panels = [
        _ranked(found, k, is_simulated),
        *(
            panel
            for one in found.get("experiments") or []
            for panel in (
                _effects(one, k, is_simulated, titles),
                *_by_cohort(one, k, int(found.get("suppressed_below_k") or 0), is_simulated, titles),
            )
        ),
        _campaigns(found.get("campaigns") or {}, k, is_simulated),
    ]
    who = " The travellers are simulated: these are not opinions of people." if is_simulated else ""
    return Page("themes", "Themes", tuple(panels), f"{as_of(found)}{who}".strip())


def _is_hidden(theme: Mapping[str, Any], k: int) -> bool:
    return (
        bool(theme.get("is_hidden"))
        or min(int(theme.get("people") or 0), int(theme.get("n_answers") or 0)) < k
    )


def _ranked(found: Mapping[str, Any], k: int, is_simulated: bool) -> Panel:
    body: list[tuple[Any, ...]] = []
    drawn: list[Plot] = []
    worth: list[tuple[str, Any, Any, Any, Colour, str]] = []
    for one in found.get("themes") or []:
        title, severity = told(one.get("title")), told(one.get("severity"))
        done = [f"{str(item.get('as_of'))[:10]} {item.get('what')}" for item in one.get("done") or []]
        last = Cell(done[-1] if done else "nothing", "plain" if done else "faint")
        if _is_hidden(one, k):
            body.append((title, severity, f"fewer than {k}", "", "", "", "", last))
            continue
        gap = {
            key: one.get(f"rating_gap{end}")
            for key, end in (("value", ""), ("low", "_low"), ("high", "_high"))
        }
        body.append(
            (
                title, severity, told(round(float(one.get("volume") or 0))), percent(one.get("people_share")),
                of_1000(one.get("rate")), _trend(one), limits(gap, 2), last,
            )
        )  # fmt: skip
        worth.append((title, gap["value"], gap["low"], gap["high"], _colour(gap), "an association"))
        weeks = one.get("weeks") or []
        values = [None if week.get("rate") is None else 1000 * week["rate"] for week in weeks]
        if len(drawn) < DRAWN and any(value is not None for value in values):
            days = short_days([str(week.get("until")) for week in weeks])
            drawn.append(
                plots.lines(title, days, [plots.Series(title, values)], from_zero=True, first="week until",
                            note="of 1,000 people asked, a week")
            )  # fmt: skip
    if any(row[1] is not None and row[2] is not None for row in worth):
        note = "Mean rating of answers about it less that of the others: an association, by days."
        drawn.append(plots.forest("How much less happy", worth, note=note))
    columns = (
        "theme",
        "severity",
        "answers",
        "share of people",
        "of 1,000 asked",
        "trend",
        "rating gap",
        "last done",
    )
    return Panel(
        "What people complain of",
        about=f"Ranked by severity times frequency, of {told(found.get('window_days'))} days until "
        f"{told(found.get('complete_until'))}.",
        plots=tuple(drawn),
        tables=(table(columns, body),) if body else (),
        notes=() if body else ("Nobody has written yet.",),
        is_simulated=is_simulated,
    )


def _colour(gap: Mapping[str, Any]) -> Colour:
    if gap["high"] is not None and gap["high"] < 0:
        return "bad"
    return "good" if gap["low"] is not None and gap["low"] > 0 else "main"


def _trend(theme: Mapping[str, Any]) -> Cell:
    state, value = str(theme.get("trend") or "unknown"), theme.get("trend_value")
    tone = {"rising": "bad", "falling": "good"}.get(state, "faint")
    text = (
        state if value is None or state == "not enough evidence" else f"{state} ({1000 * float(value):+.2f})"
    )
    return Cell(text, tone)  # type: ignore[arg-type]


def _of_1000(effect: Mapping[str, Any]) -> dict[str, float | None]:
    """A difference a person asked and its limits, as one of 1,000 people."""
    return {
        name: None if effect.get(name) is None else 1000 * float(effect[name])
        for name in ("value", "low", "high")
    }


def _effects(experiment: Mapping[str, Any], k: int, is_simulated: bool, titles: Mapping[str, str]) -> Panel:
    body: list[tuple[Any, ...]] = []
    rows = []
    for one in experiment.get("effects") or []:
        name, state = told(one.get("category")), str(one.get("state"))
        name, found = titles.get(name, name), _of_1000(one)
        expected = f"{told(one.get('expected'))}: {told(one.get('verdict'))}"
        if state == "fewer than k" or int(one.get("n_answers") or 0) < k:
            body.append(
                (name, told(one.get("days")), f"fewer than {k}", Cell("too small to show", "faint"), expected)
            )
            continue
        tone = (
            "bad"
            if one.get("verdict") == "against what was expected"
            else "good"
            if state == "fell"
            else "plain"
        )
        body.append((name, told(one.get("days")), limits(found, 2), Cell(state, tone), expected))  # type: ignore[arg-type]
        rows.append((name, found["value"], found["low"], found["high"], _TONES.get(state, "main"), state))
    is_drawn = any(row[1] is not None and row[2] is not None and row[3] is not None for row in rows)
    note = (
        "Complaints of 1,000 people asked, new less old; the intervals hold on all days, for all categories."
    )
    return Panel(
        f"Did it fall? {experiment.get('kind')} {experiment.get('experiment_id')}",
        plots=(plots.forest("Change of complaints", rows, note=note),) if is_drawn else (),
        tables=(table(("category", "days", "of 1,000 asked", "state", "expected"), body),) if body else (),
        notes=() if is_drawn else ("Too few closed days for an interval.",),
        is_simulated=is_simulated,
    )


def _by_cohort(
    experiment: Mapping[str, Any], k: int, hidden_below: int, is_simulated: bool, titles: Mapping[str, str]
) -> list[Panel]:
    """For whom it fell or rose; nothing where the summary was made before cohorts were judged."""
    found = experiment.get("cohorts")
    if not isinstance(found, Mapping):
        return []
    title = f"For whom? {experiment.get('kind')} {experiment.get('experiment_id')}"
    if not found.get("judged"):
        days = f"{told(found.get('days'))} of {told(found.get('days_needed'))} days"
        note = f"No cohort is judged yet: {days} are closed, or fewer than {k} people of each were asked."
        return [Panel(title, notes=(note,), is_simulated=is_simulated)]
    if hidden_below < k:
        note = f"Measured for groups of {hidden_below} or more: shown once it is measured for groups of {k}."
        return [Panel(title, notes=(note,), is_simulated=is_simulated)]
    shown = [one for one in found.get("effects") or [] if one.get("state") != "fewer than k"]
    changed = [one for one in shown if one.get("state") in _TONES]
    body, rows = [], []
    for one in changed:
        name, state = f"{one.get('dimension')} {one.get('cohort')}", str(one.get("state"))
        tone = "bad" if one.get("verdict") == "against what was expected" else _TONES[state]
        expected = f"{told(one.get('expected'))}: {told(one.get('verdict'))}"
        category, change = told(one.get("category")), _of_1000(one)
        category = titles.get(category, category)
        body.append((name, category, limits(change, 2), Cell(state, tone), expected))  # type: ignore[arg-type]
        rows.append((f"{name}: {category}", change["value"], change["low"], change["high"], tone, state))
    notes = [
        f"{told(found.get('judged'))} cohorts judged, {told(found.get('left_out'))} left out: too few people were "
        f"asked, or they came later. {len(shown)} effects have {k} answers or more, {len(changed)} of them a direction."
    ]
    note = "Complaints of 1,000 people asked, new less old; the intervals hold on all days, for all of them together."
    return [
        Panel(
            title,
            plots=(plots.forest("Change of complaints by cohort", rows, note=note),) if rows else (),
            tables=(table(("cohort", "category", "of 1,000 asked", "state", "expected"), body),)
            if body
            else (),
            notes=tuple(notes),
            is_simulated=is_simulated,
        )
    ]


def _campaigns(found: Mapping[str, Any], k: int, is_simulated: bool) -> Panel:
    if not found.get("is_known"):
        days = told(found.get("days_before"))
        return Panel(
            "Campaigns", notes=(f"Not judged: {days} days before are too few to know what is usual.",)
        )
    body = []
    for one in found.get("found") or []:
        counts = [one.get("answers"), one.get("sources")]
        shown = [told(n) if n == 0 or (n is not None and int(n) >= k) else f"fewer than {k}" for n in counts]
        body.append((told(one.get("reason")), *shown))
    return Panel(
        "Campaigns",
        about=f"Of the last days' answers {percent(found.get('lost'))} does not count.",
        tables=(table(("what", "answers that count less", "accounts or texts"), body),),
        is_half=True,
        is_simulated=is_simulated,
    )
