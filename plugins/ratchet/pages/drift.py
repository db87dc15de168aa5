"""The page of drift: features against the reference, all of them together, and what the model says."""

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
    Table,
    Tone,
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

#: Features that are drawn; the rest stand in the table.
DRAWN = 12


def drift(source: Source, links: Links) -> Page:
    """Features, most important first; the scores; all of them together."""
    found = source.summary("monitor_drift")
    if found is None:
        return Page("drift", "Drift", (not_measured("Drift", "monitor_drift", MONITOR),))
    features = list(found.get("features") or [])
    lead = (
        f"{as_of(found)} Model version {told(found.get('model_version'))} against the reference "
        f"{told(found.get('reference'))}. "
        "Most important features first."
    )
    panels = [
        _causes(features),
        _multivariate(found.get("multivariate")),
        _features(features),
        _feature_table(features),
    ]
    panels += _outputs(found.get("outputs") or {}, source.min_group)
    return Page("drift", "Drift", tuple(p for p in panels if p is not None), lead.strip())


def _causes(features: Rows) -> Panel:
    drifting = [f for f in features if f.get("is_drifting")]
    first = [f for f in drifting if f.get("first_cause")]
    facts: list[tuple[str, Cell]] = [
        ("drifting", Cell(f"{len(drifting)} of {len(features)} features", "warn" if drifting else "good"))
    ]
    if first:
        facts.append(("first cause", Cell(", ".join(str(f.get("feature")) for f in first), "bad")))
    known = [float(f["importance"]) for f in drifting if f.get("importance") is not None]
    if any(f.get("importance") is not None for f in features):
        facts.append(("their share of the model's gain", Cell(percent(sum(known), 0))))
    elif features:
        facts.append(("the model's gain", Cell("not known by feature: in the order of their names", "warn")))
    notes = () if features else ("No feature was measured.",)
    return Panel("In short", is_half=True, facts=tuple(facts), notes=notes)


def _multivariate(found: Mapping[str, Any] | None) -> Panel | None:
    if found is None:
        return Panel("All features together", is_half=True, notes=("Not measured for these days.",))
    facts = [("method", Cell(told(found.get("method")))), ("state", state_cell(found.get("state")))]
    auc = {"value": found.get("auc"), "low": found.get("low"), "high": found.get("high")}
    if auc["value"] is not None:
        facts.insert(1, ("AUC of reference against now", Cell(f"{limits(auc, 3)}; 0.5: they look alike")))
    facts.append(("days", Cell(told(found.get("days")))))
    return Panel("All features together", is_half=True, facts=tuple(facts))


def _features(features: Rows) -> Panel:
    drawn = tuple(plot for plot in map(_histogram, features[:DRAWN]) if plot is not None)
    more = f" The other {len(features) - DRAWN} are in the table below." if len(features) > DRAWN else ""
    return Panel(
        "Reference against now", about=f"Shares by bin: reference pale, now in colour.{more}", plots=drawn,
        is_small=True,
        notes=() if drawn else ("No feature has bins.",),
    )  # fmt: skip


def _histogram(one: Mapping[str, Any]) -> Plot | None:
    bins = one.get("bins") or []
    if not bins:
        return None
    tone: Tone = "bad" if one.get("first_cause") else "warn" if one.get("is_drifting") else "plain"
    colour: plots.Colour = "bad" if tone == "bad" else "warn" if tone == "warn" else "main"
    js, wobble = one.get("js"), one.get("wobble")
    weight = (
        "share of the gain unknown"
        if one.get("importance") is None
        else f"{percent(one['importance'], 0)} of the gain"
    )
    note = f"{weight}; distance {told(js)}, its wobble {told(wobble)}"
    if tone != "plain":
        note += "; first cause" if tone == "bad" else "; drifting"
    return plots.columns(
        str(one.get("feature")), [str(b.get("label")) for b in bins],
        [
            plots.Series("reference", [b.get("reference_share") for b in bins], "faint"),
            plots.Series("now", [b.get("share") for b in bins], colour),
        ],
        size=plots.SMALL, note=note, tone=tone, first="bin",
    )  # fmt: skip


def _feature_table(features: Rows) -> Panel:
    rows = []
    for one in features:
        days = one.get("days") or []
        last: Mapping[str, Any] = days[-1] if days else {}
        state = Cell("drifting", "warn") if one.get("is_drifting") else Cell("ok", "good")
        if one.get("state") not in (None, "ok", "drifting"):
            state = state_cell(one.get("state"))
        alerts = sum(bool(day.get("alert")) for day in days)
        rows.append(
            (one.get("feature"), percent(one.get("importance"), 0), state, one.get("js"), one.get("wobble"),
             one.get("ks"),             one.get("psi"), one.get("q_value"), percent(last.get("missing_share")),
             percent(last.get("out_of_range_share")),
             f"{alerts} of {len(days)}")
        )  # fmt: skip
    return Panel(
        "Every feature",
        about="JS: Jensen-Shannon; wobble: what the reference's days differ by; q: corrected for all features.",
        tables=(
            table(
                (
                    "feature",
                    "gain",
                    "state",
                    "JS",
                    "wobble",
                    "KS",
                    "PSI",
                    "q",
                    "missing",
                    "out of range",
                    "days alerted",
                ),
                rows,
            ),
        ),
    )


def _outputs(found: Mapping[str, Any], k: int) -> list[Panel]:
    drawn: list[Plot] = []
    bins = found.get("bins") or []
    if bins:
        drawn.append(
            plots.columns(
                "Scores", [str(b.get("label")) for b in bins],
                [
                    plots.Series("reference", [b.get("reference_share") for b in bins], "faint"),
                    plots.Series("now", [b.get("share") for b in bins], "main"),
                ],
                first="score",
            )
        )  # fmt: skip
    for name, key, value in (
        ("Mean score", "mean_score", "mean"),
        ("Share near the decision boundary", "near_boundary", "share"),
    ):
        rows = found.get(key) or []
        if rows:
            drawn.append(
                plots.lines(
                    name,
                    short_days([str(r.get("date")) for r in rows]),
                    [plots.Series(name, [r.get(value) for r in rows])],
                )
            )
    tables: tuple[Table, ...] = ()
    classes = found.get("classes_by_arm") or []
    if classes:
        names = [name for name in classes[0] if name != "n"]
        body = [
            [*(one.get(name) for name in names), one.get("n")]
            if one.get("n") is None or int(one["n"]) >= k
            else [one.get(names[0]), *("" for _ in names[1:]), f"fewer than {k}"]
            for one in classes
        ]
        tables = (table([name.replace("_", " ") for name in [*names, "n"]], body, "Classes by arm"),)
    notes = () if drawn or tables else ("Not measured for these days.",)
    return [Panel("What the model says", plots=tuple(drawn), tables=tables, notes=notes)]
