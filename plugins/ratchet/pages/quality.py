"""The page of quality: metrics with intervals and the maturity of their labels, cohorts, calibration, age."""

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
    Rows,
    as_of,
    limits,
    not_measured,
    percent,
    short_days,
    state_cell,
    table,
    told,
)
from ratchet.pages.source import Source

NAMES = {
    "log_loss": "Log loss", "brier": "Brier score", "auc": "AUC", "calibration_error": "Calibration error",
    "false_reassurance": "Not warned of", "false_alarm": "Warned of in vain",
}  # fmt: skip


def quality(source: Source, links: Links) -> Page:
    """Metrics with intervals and the maturity of their labels, by cohort, calibration, age, detectors."""
    found = source.summary("monitor_quality")
    if found is None:
        return Page("quality", "Quality", (not_measured("Quality", "monitor_quality", MONITOR),))
    windows = found.get("windows") or []
    panels = [
        _latest(found, windows), _over_time(found, windows), _cohorts(found, source.min_group),
        _reliability(found, source.min_group),
        _staleness(found, source.min_group), _detectors(found),
    ]  # fmt: skip
    lead = f"{as_of(found)} Model version {told(found.get('model_version'))}."
    return Page("quality", "Quality and calibration", tuple(panels), lead.strip())


def _latest(found: Mapping[str, Any], windows: Rows) -> Panel:
    if not windows:
        return Panel("Now", notes=("No window has mature labels yet.",), tone="warn")
    mature = [w for w in windows if (w.get("n_labelled") or 0) > 0]
    last = mature[-1] if mature else windows[-1]
    facts: list[tuple[str, Cell]] = [
        ("window", Cell(f"{told(last.get('days'))} mature days until {told(last.get('until'))}")),
        (
            "labels",
            Cell(
                f"{told(last.get('n_labelled'))} are there, {told(last.get('n_open'))} open "
                f"({percent(last.get('open_share'))})"
            ),
        ),
    ]
    names = found.get("metric_names")
    shown = (
        [name for name in NAMES if name in last] if not names else [str(n) for n in names if str(n) in last]
    )
    facts += [(NAMES.get(name, name), Cell(limits(last[name]))) for name in shown]
    estimated = windows[-1].get("estimated") or {}
    if estimated:
        parts = [
            f"{NAMES.get(name, name)} {limits(estimated.get(name))}"
            for name in ("auc", "log_loss", "brier")
            if estimated.get(name) is not None
        ]
        said = f"{', '.join(parts)} until {told(windows[-1].get('until'))}"
        facts.append(("estimated before labels", Cell(said, "warn" if estimated.get("warning") else "plain")))
        if estimated.get("warning"):
            facts.append(("warning", Cell(str(estimated["warning"]), "warn")))
    concept = found.get("concept_drift") or {}
    if concept:
        is_suspected = bool(concept.get("suspected"))
        said = f"{'suspected' if is_suspected else 'not suspected'}: {told(concept.get('reason') or 'no reason given')}"
        facts.append(("concept drift", Cell(said, "bad" if is_suspected else "good")))
    return Panel("Now", facts=tuple(facts))


def _over_time(found: Mapping[str, Any], windows: Rows) -> Panel:
    days = short_days([str(w.get("until")) for w in windows])
    drawn: list[Plot] = []
    for name, title in NAMES.items():
        told_ = [w.get(name) for w in windows]
        if not any(isinstance(one, Mapping) and one.get("value") is not None for one in told_):
            continue
        parts: list[Mapping[str, Any]] = [one if isinstance(one, Mapping) else {} for one in told_]
        series = [
            plots.Series(
                "measured, with its interval", [p.get("value") for p in parts], low=[p.get("low") for p in parts],
                high=[p.get("high") for p in parts],
            )
        ]  # fmt: skip
        guessed = [_value((w.get("estimated") or {}).get(name)) for w in windows]
        if any(value is not None for value in guessed):
            series.append(plots.Series("estimated before labels", guessed, "warn", is_dashed=True))
        drawn.append(plots.lines(title, days, series, first="until"))
    if windows:
        drawn.append(
            plots.lines(
                "Labels still open", days,
                [plots.Series("share open", [w.get("open_share") for w in windows], "faint")],
                from_zero=True, note="Beside each number: how much of its window has no label yet.", first="until",
            )
        )  # fmt: skip
    return Panel(
        "Rolling windows", plots=tuple(drawn), notes=() if drawn else ("No window was measured yet.",)
    )


def _value(found: Any) -> Any:
    return found.get("value") if isinstance(found, Mapping) else found


def _reliability(found: Mapping[str, Any], k: int) -> Panel:
    known = [
        r
        for r in found.get("reliability") or []
        if r.get("rate") is not None and r.get("mean_score") is not None
    ]
    rows = [r for r in known if int(r.get("n") or 0) >= k]
    if not rows:
        return Panel("Calibration", is_half=True, notes=("Not measured yet: no mature labels.",), tone="warn")
    total = sum(int(r.get("n") or 0) for r in rows) or 1
    plot = plots.curve(
        "Reliability", [("served model", [(r["mean_score"], r["rate"]) for r in rows], "main", False)],
        x_name="mean score", y_name="share of positives", is_square=True,
        whiskers=[(r["mean_score"], r["low"], r["high"]) for r in rows if None not in (r.get("low"), r.get("high"))],
        sizes=[2 + 9 * (int(r.get("n") or 0) / total) ** 0.5 for r in rows],
        note="On the dashed line a score is as often right as it says. Larger points: more units.",
    )  # fmt: skip
    shown = table(
        ("mean score", "share of positives", "interval", "units"),
        [
            (r["mean_score"], r["rate"], f"{told(r.get('low'))} to {told(r.get('high'))}", r.get("n"))
            for r in rows
        ],
    )
    less = len(known) - len(rows)
    notes = (f"Left out: {less} ranges of scores with fewer than {k} units.",) if less else ()
    return Panel("Calibration", is_half=True, plots=(plot,), tables=(shown,), notes=notes)


def _cohorts(found: Mapping[str, Any], k: int) -> Panel:
    rows = found.get("by_cohort") or []
    if not rows:
        return Panel("By cohort", notes=("Not measured yet.",), tone="warn")
    metric = next((name for name in NAMES if any(name in row for row in rows)), None)
    drawn: list[Any] = []
    body: list[tuple[Any, ...]] = []
    for row in rows:
        name = f"{row.get('dimension')}={row.get('cohort')}"
        n = int(row.get("n_labelled") or 0)
        if n < k:
            body.append((name, f"fewer than {k}", "", "", "", "", "", Cell("too small to show", "faint")))
            continue
        one = row.get(metric) if metric else None
        shift = row.get("label_shift")
        state = state_cell(row.get("state"))
        if shift == "alert":
            state = Cell(f"{state.text}; labels shifted", "bad")
        gap = limits(row["rate_gap"]) if isinstance(row.get("rate_gap"), Mapping) else "unknown"
        body.append(
            (name, n, _unlabelled(row), row.get("days"), limits(one), _ranked(row.get("auc")), gap, state)
        )
        if isinstance(one, Mapping):
            is_worse = row.get("state") == "worse"
            colour: plots.Colour = (
                "bad" if is_worse else "faint" if row.get("state") == "not enough evidence" else "main"
            )
            drawn.append(
                (name, one.get("value"), one.get("low"), one.get("high"), colour, str(row.get("state")))
            )
    figure = NAMES.get(metric or "", "value")
    plot = (plots.forest(f"{figure} by cohort", drawn, zero=None),) if drawn else ()
    heads = ("cohort", "labels", "without a label", "days", figure, "AUC", "rate minus score", "state")
    until = next((str(row["until"]) for row in rows if row.get("until")), None)
    notes = (
        ()
        if until is None
        else (f"Departures until {until}: their label windows are over. Limits over days.",)
    )
    worse = any(row.get("state") == "worse" or row.get("label_shift") == "alert" for row in rows)
    return Panel(
        "By cohort", plots=plot, tables=(table(heads, body),), notes=notes, tone="bad" if worse else "plain",
    )  # fmt: skip


def _unlabelled(row: Mapping[str, Any]) -> str:
    """The share of the window's units that have no label, as text."""
    units = int(row.get("n_units") or 0)
    return percent((units - int(row.get("n_labelled") or 0)) / units) if units else "unknown"


def _ranked(auc: Any) -> Cell:
    """An AUC with its limits, or why there is none."""
    if not isinstance(auc, Mapping) or auc.get("value") is None:
        return Cell(
            str(auc["state"]) if isinstance(auc, Mapping) and auc.get("state") else "not measured", "faint"
        )
    return Cell(limits(auc))


def _staleness(found: Mapping[str, Any], k: int) -> Panel:
    rows = [r for r in found.get("staleness") or [] if isinstance(r.get("log_loss"), Mapping)]
    if not rows:
        return Panel(
            "Quality against the model's age",
            is_half=True,
            notes=("Not measured yet: old champions were not scored anew.",),
        )
    plot = plots.forest(
        "Log loss by age",
        [
            (_aged(r), r["log_loss"].get("value"), r["log_loss"].get("low"), r["log_loss"].get("high"), "main", "")
            for r in sorted(rows, key=lambda one: int(one.get("age_days") or 0))
        ],
        zero=None, note="Each former champion scored on the same new days: what waiting costs.",
    )  # fmt: skip
    return Panel("Quality against the model's age", is_half=True, plots=(plot,))


def _aged(row: Mapping[str, Any]) -> str:
    withdrawn = ", withdrawn" if row.get("is_withdrawn") else ""
    return f"v{row.get('model_version')}, {row.get('age_days')} d{withdrawn}"


def _detectors(found: Mapping[str, Any]) -> Panel:
    rows = [
        (d.get("name"), d.get("stream"), state_cell(d.get("state")), str(d.get("at") or "never")[:16])
        for d in found.get("detectors") or []
    ]
    if not rows:
        return Panel("Sequential detectors", is_half=True, notes=("None watches a stream.",))
    return Panel(
        "Sequential detectors",
        is_half=True,
        tables=(table(("detector", "stream", "state", "last change"), rows),),
    )
