"""Drawings of a trial from its looks: boundary, harm, cohorts, reliability. Groups below k are never drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ratchet.certificate.contents import LOOKS
from ratchet.certificate.summary import evaluation_of, looks_before, started
from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.ledger.chain import Entry
from ratchet.pages import plots
from ratchet.pages.parts import Plot, short_days

Point = tuple[float, float]
Part = tuple[str, list[Point], plots.Colour, bool]


def boundary(entries: Sequence[Entry], look: Entry) -> Plot | None:
    """z of the primary gain by information, with the boundaries as recorded; None before the second look."""
    looks = looks_before(entries, look)
    offer = started(entries, look)
    path = [
        (told["primary"]["information_fraction"], told["primary"]["z"])
        for told in (e.payload["evidence"] for e in looks)
        if (told.get("primary") or {}).get("z") is not None
    ]
    if len(path) < 2:
        return None
    parts: list[Part] = [("z", path, "main", False)]
    for name, sign, colour, label in (
        ("promotion", 1, "good", "promote above"),
        ("harm", -1, "bad", "roll back below"),
    ):
        found = [
            (test["information_fraction"], sign * test["bound"])
            for test in ((e.payload["evidence"].get("tests") or {}).get(name) or {} for e in looks)
            if test.get("bound") is not None
        ]
        if found:
            parts.append((label, found, colour, len(found) > 1))  # type: ignore[arg-type]
    rule = {} if offer is None else offer.payload.get("terms", {}).get("rollout", {})
    if look.kind == "rollout_decision" and {"alpha", "spending_power"} <= set(rule):
        shares = [part / 10 for part in range(1, 11)]
        bounds = critical_values(shares, power_spending(float(rule["alpha"]), float(rule["spending_power"])))
        planned = [(at, b) for at, b in zip(shares, bounds, strict=True) if b < 5]
        parts.append(("promote above, as planned", planned, "faint", True))
    # A holdback is watched for harm by e-values alone: it has no boundary to draw.
    title = "Sequential boundary" if len(parts) > 1 else "Gain at each look"
    return plots.curve(
        title, parts, x_name="share of the planned information", y_name="z", x_from=0.0,
        note="z of the primary metric's gain, a point a look: above 0 the challenger is better.",
    )  # fmt: skip


def harm(entries: Sequence[Entry], look: Entry) -> Plot | None:
    """log e-values of harm at each look, as shares of the limits at which it is rolled back."""
    looks = looks_before(entries, look)
    paths: dict[str, list[float | None]] = {}
    for at, entry in enumerate(looks):
        for name, found in (entry.payload["evidence"].get("e_values") or {}).items():
            if found.get("clusters") and found.get("alarm_above"):
                path = paths.setdefault(name, [None] * len(looks))
                path[at] = found["log_e"] / found["alarm_above"]
    if len(looks) < 2 or not paths:
        return None
    colours: tuple[plots.Colour, ...] = ("main", "good", "ink", "warn")
    series = [
        plots.Series(
            name.removesuffix("_e").replace("guardrail_harm:", "").replace("harm", "primary metric"),
            path, colours[at % 4], is_dashed=at >= 4,
        )
        for at, (name, path) in enumerate(sorted(paths.items())[:8])
    ]  # fmt: skip
    return plots.lines(
        "Evidence of harm", short_days([e.payload["day"] for e in looks]), series, limit=("roll back at", 1.0),
        note="log e-values as shares of the limit at which the challenger is rolled back.",
    )  # fmt: skip


def cohorts(look: Entry, k: int) -> Plot | None:
    """Each cohort's gain with its interval."""
    rows = [
        _cohort(name, found)
        for name, found in sorted((look.payload["evidence"].get("cohorts") or {}).items())
        if isinstance(found, Mapping) and (found.get("units") or 0) >= k
    ]
    rows = [row for row in rows if row[1] is not None]
    if not rows:
        return None
    return plots.forest(
        "Gain by cohort", rows, note="Gain per unit with its interval: right of 0 the challenger is better."
    )


def _cohort(name: str, found: Mapping[str, Any]) -> tuple[str, Any, Any, Any, plots.Colour, str]:
    low, high = found.get("low"), found.get("high")
    is_judged = bool(found.get("judged")) and low is not None and high is not None
    if not is_judged:
        return name, found.get("value"), low, high, "faint", str(found.get("state") or "not enough evidence")
    colour: plots.Colour = "good" if low > 0 else "bad" if high < 0 else "main"  # type: ignore[operator]
    return name, found.get("value"), low, high, colour, f"{found.get('units')} units"


def reliability(evaluation: Entry | None, k: int) -> Plot | None:
    """Share of positives against mean score, of champion and candidate, where `k` rows or more have such a score."""
    curves = ((evaluation.payload.get("sums") or {}) if evaluation is not None else {}).get("reliability")
    parts: list[Part] = []
    for name, colour in (("candidate", "good"), ("champion", "main")):
        part = (curves or {}).get(name)
        if part:
            points = [
                (s / n, y / n)
                for n, s, y in zip(part["rows"], part["scores"], part["labels"], strict=True)
                if n and n >= k
            ]
            if points:
                parts.append((name, points, colour, False))  # type: ignore[arg-type]
    if not parts:
        return None
    return plots.curve(
        "Reliability before the rollout", parts, x_name="mean score", y_name="share of positives", is_square=True,
        note="On the dashed line a score is as often right as it says.",
    )  # fmt: skip


def drawings(entries: Sequence[Entry], entry: Entry, k: int) -> tuple[Plot, ...]:
    """What is drawn of a decision."""
    found: list[Plot | None] = []
    if entry.kind in LOOKS:
        found = [boundary(entries, entry), cohorts(entry, k), harm(entries, entry)]
    found.append(reliability(evaluation_of(entries, entry), k))
    return tuple(plot for plot in found if plot is not None)


def without_small_groups(entry: Entry, k: int) -> Entry:
    """The entry for showing: of cohorts with fewer than `k` units no number is left."""
    told = entry.payload.get("evidence")
    groups = told.get("cohorts") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(groups, Mapping):
        return entry
    kept = {
        name: found
        if not isinstance(found, Mapping) or (found.get("units") or 0) >= k
        else {"value": None, "units": f"fewer than {k}", "clusters": None, "state": "too small to show"}
        for name, found in groups.items()
    }
    return replace(entry, payload={**entry.payload, "evidence": {**told, "cohorts": kept}})
