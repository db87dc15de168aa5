"""All measures of a day from its facts: what pages show, and the conditions that incidents and triggers read.

Pure: the facts are sums that dbt made, the ledger's runs, and the loop file; the same facts give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.monitoring import feeds, operations, satisfaction, stale, staleness, users
from ratchet.monitoring.classifier import Multivariate, tell_apart
from ratchet.monitoring.conditions import Condition, condition
from ratchet.monitoring.detectors import detect
from ratchet.monitoring.feature_conditions import conditions_of, summary_of, with_causes
from ratchet.monitoring.health import ERROR, MIN_DAYS, Health, last_mature_day
from ratchet.monitoring.inputs import judge_inputs, table_of
from ratchet.monitoring.opinions import CHANGES, counted, judge_opinions
from ratchet.monitoring.outputs import judge_outputs
from ratchet.monitoring.quality import (
    METRICS,
    ScoreDays,
    by_cohort,
    by_day,
    concept_drift,
    reliability,
    rolling,
    score_days,
)

if TYPE_CHECKING:
    from ratchet.loop import Loop

#: So many windows and days a summary shows.
SHOWN_DAYS = 60
#: A day without published features for longer than this: inputs were not measured.
STALE_DAYS = 3


@dataclass(frozen=True)
class Facts:
    """What the day is judged from; frames are rows of the models of their names (see docs/monitoring.md)."""

    histograms: pd.DataFrame
    bins: pd.DataFrame
    profiles: pd.DataFrame
    scores: pd.DataFrame
    cohorts: pd.DataFrame
    latency: pd.DataFrame
    answers: pd.DataFrame
    landings: pd.DataFrame
    extra: pd.DataFrame
    curve: pd.DataFrame
    gates: pd.DataFrame
    sample: pd.DataFrame
    staleness: pd.DataFrame
    cohort_scores: pd.DataFrame | None = None
    weight_changes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CHANGES)))
    ages: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(stale.COLUMNS)))
    runs: Sequence[Mapping[str, Any]] = ()
    versions: frozenset[int] = frozenset()
    withdrawn: frozenset[int] = frozenset()
    lock: tuple[str | None, str | None] = (None, None)
    skew: str | None = None


@dataclass(frozen=True)
class Measured:
    """Summaries by name, and conditions by name, each once."""

    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()


def assess(loop: Loop, facts: Facts, health: Health) -> Measured:
    """What the facts say at `health.as_of` of the model that `health` is about."""
    as_of = health.as_of
    importance = _importance(facts.profiles)
    groups = _groups(loop)
    drift, found = _inputs(loop, facts, importance, groups, as_of)
    scores = score_days(_own(loop, facts.scores), health.model_version)
    cohorts = _own(loop, facts.cohorts)
    cohorts = cohorts[cohorts["model_version"] == health.model_version]
    outputs, output_conditions = _outputs(loop, facts, scores, as_of)
    quality, quality_conditions = _quality(loop, facts, health, scores, cohorts)
    opinions, user_conditions = _users(loop, facts, as_of)
    service, service_conditions = _operations(loop, facts, as_of)
    daily = [
        name
        for name, source in loop.sources.items()
        if not source.reference and name in set(facts.landings["source"])
    ]
    volume, freshness, feed_conditions = feeds.judge_feeds(
        loop.monitoring.measures.levels, facts.landings, daily, as_of
    )
    conditions = [
        *feed_conditions,
        *stale.judge_stale(loop.monitoring.measures.levels, facts.ages, as_of),
        *feeds.judge_schemas(facts.extra, as_of, loop.monitoring.measures.levels.k_of_n_days[1]),
        feeds.judge_lock(*facts.lock),
        *found,
        *output_conditions,
        *_skew(facts),
        *quality_conditions,
        *user_conditions,
        *service_conditions,
    ]
    model = {"as_of": as_of.isoformat(), "model_version": health.model_version}
    return Measured(
        {
            "monitor_data": {
                "as_of": as_of.isoformat(),
                "volume": volume,
                "freshness": freshness,
                "gates": feeds.gates(facts.gates, as_of),
                "maturity": feeds.maturity(facts.curve),
            },
            "monitor_drift": {**model, **drift, "outputs": outputs},
            "monitor_quality": {**model, **quality},
            "monitor_users": {"as_of": as_of.isoformat(), **opinions},
            "monitor_operations": {"as_of": as_of.isoformat(), **service},
        },
        tuple({item["name"]: item for item in conditions}.values()),
    )


def _own(loop: Loop, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that count for quality: silent ones too, unless a prediction changes what happens."""
    return rows[rows["is_served"].astype(bool)] if loop.prediction.influences_outcome else rows


def _importance(profiles: pd.DataFrame) -> dict[str, float]:
    known = profiles[profiles["importance"].notna()]
    return dict(zip(known["feature"], known["importance"].astype(float), strict=True))


def _groups(loop: Loop) -> dict[str, str]:
    """The source that each feature comes from, as the loop file's alerts say."""
    return {name: source for source, names in loop.monitoring.alerts.feeds.items() for name in names}


def _judged(days: Sequence[date], as_of: datetime, n: int) -> list[date]:
    return [day for day in sorted(days) if day < as_of.date()][-n:]


def _inputs(
    loop: Loop, facts: Facts, importance: Mapping[str, float], groups: Mapping[str, str], as_of: datetime
) -> tuple[dict[str, Any], list[Condition]]:
    terms = loop.monitoring.measures
    days = set(pd.to_datetime(facts.histograms["departure_date"]).dt.date)
    judged = _judged(list(days), as_of, terms.inputs.k_of_n_days[1])
    missing = condition("not-measured:inputs", "data", "ok", f"features of {len(judged)} days were compared")
    nothing: dict[str, Any] = {"reference": terms.inputs.reference, "features": [], "multivariate": None}
    if not judged or (as_of.date() - judged[-1]).days > STALE_DAYS:
        last = judged[-1] if judged else None
        told = f"no features of the last {STALE_DAYS} days were published; the newest are of {last}"
        return nothing, [{**missing, "state": "unknown", "evidence": told}]
    before = facts.histograms[
        np.array(
            [d < as_of.date() for d in pd.to_datetime(facts.histograms["departure_date"]).dt.date], dtype=bool
        )
    ]
    shifts = judge_inputs(terms.inputs, table_of(before, facts.bins), facts.bins, facts.profiles, judged)
    shifts = with_causes(shifts, groups)
    categories = loop.features.categorical
    together = _multivariate(loop, facts.sample, as_of)
    found = [
        missing,
        *conditions_of(shifts, importance, categories, groups, terms.inputs.min_distance),
    ]
    if together.state != "unknown":
        told = f"rows of the last days are told from those before with an area of {together.auc:.3f}"
        found.append(
            condition(
                "multivariate", "drift", "warn" if together.state == "alert" else "ok", told, value=together.auc,
                limit=terms.classifier.min_auc, low=together.low, high=together.high,
            )
        )  # fmt: skip
    return {
        "reference": shifts[0].reference if shifts else terms.inputs.reference,
        "features": summary_of(shifts, facts.bins, importance, categories),
        "multivariate": together.evidence(),
    }, found


def _multivariate(loop: Loop, sample: pd.DataFrame, as_of: datetime) -> Multivariate:
    terms = loop.monitoring.measures.classifier
    days = pd.to_datetime(sample["departure_date"]).dt.date.to_numpy()
    kept = np.array([day < as_of.date() for day in days], dtype=bool)
    recent = as_of.date() - timedelta(days=terms.days // 2)
    # What names the day itself (a weekday) would tell any day from others.
    names = [name for name in loop.features.numeric if name != "departure_weekday"]
    matrix = sample.loc[kept, names].to_numpy(dtype=np.float64, na_value=np.nan)
    return tell_apart(terms, matrix, days[kept], recent)


def _outputs(
    loop: Loop, facts: Facts, scores: ScoreDays, as_of: datetime
) -> tuple[dict[str, Any], list[Condition]]:
    terms = loop.monitoring.measures
    judged = _judged(scores.days, as_of, terms.inputs.k_of_n_days[1])
    if not judged:
        return {}, [
            condition("not-measured:output", "output", "unknown", "the champion has no score on record")
        ]
    return judge_outputs(terms, scores, facts.scores, loop.gates.evaluation.decision_threshold, judged)


def _quality(
    loop: Loop, facts: Facts, health: Health, scores: ScoreDays, cohorts: pd.DataFrame
) -> tuple[dict[str, Any], list[Condition]]:
    terms, event = loop.monitoring.measures.quality, loop.triggers.event
    mature = last_mature_day(loop, health.as_of)
    newest = max((day for day in scores.days if day < health.as_of.date()), default=mature)
    everything = cohorts[cohorts["cohort_dimension"] == "all"]
    windows = rolling(terms, scores, everything, newest, mature, SHOWN_DAYS) if scores.days else []
    known = [w for w in windows if date.fromisoformat(w["until"]) <= mature and w["days"]]
    suspicion = {"suspected": False, "reason": "not known: no mature window"}
    if known:
        gaps = [
            w["log_loss"]["value"] - w["estimated"]["log_loss"]
            for w in known[: -terms.window_days]
            if w["log_loss"]["value"] is not None and w["estimated"]["log_loss"] is not None
        ]
        suspicion = concept_drift(known[-1], terms, float(np.median(gaps)) if gaps else 0.0)
    least = min(terms.window_days, loop.cohorts.min_clusters)
    binned = None if facts.cohort_scores is None else _own(loop, facts.cohort_scores)
    if binned is not None:
        binned = binned[binned["model_version"] == health.model_version]
    slices = by_cohort(
        terms, cohorts, mature, terms.window_days, loop.cohorts.min_units, least, binned, loop.monitoring.min_group
    ) if len(cohorts) else []  # fmt: skip
    daily = by_day(everything)
    losses = daily["sum_log_loss"] / daily["n_labelled"].where(daily["n_labelled"] > 0)
    dated: list[date] = list(pd.to_datetime(pd.Series(daily.index)).dt.date)
    stream = [(day, float(loss)) for day, loss in zip(dated, losses, strict=True) if day <= mature]
    spread = float(np.nanstd([value for _, value in stream])) if len(stream) > 1 else 0.0
    detectors = detect("daily log loss", stream, spread or 1.0)
    days = [d for d in scores.days if mature - timedelta(days=event.window_days) < d <= mature]
    summary = {
        "metric_names": list(METRICS),
        "windows": windows,
        "by_cohort": slices,
        "reliability": reliability(scores, days, terms.error),
        "staleness": staleness.curve(facts.staleness, facts.withdrawn),
        "staleness_by_age": staleness.by_age(facts.staleness, facts.withdrawn),
        "concept_drift": suspicion,
        "detectors": detectors,
    }
    return summary, _quality_conditions(loop, health, suspicion, slices, detectors)


def _quality_conditions(
    loop: Loop,
    health: Health,
    suspicion: Mapping[str, Any],
    slices: Sequence[Mapping[str, Any]],
    detectors: Sequence[Mapping[str, Any]],
) -> list[Condition]:
    above, over, event = health.above_reference, health.over_constant, loop.triggers.event
    if health.status == "unknown" or above.clusters < MIN_DAYS:
        return [condition("not-measured:quality", "quality", "unknown", "; ".join(health.reasons))]
    low, high = above.bound(ERROR)
    limit, error_low = loop.gates.evaluation.calibration_error, health.calibration_error_low
    is_worse = over.clusters >= MIN_DAYS and over.bound(ERROR)[1] < 0
    found = [
        condition("not-measured:quality", "quality", "ok", f"{above.clusters} mature days"),
        condition(
            "quality:log_loss", "quality", "alert" if low > event.log_loss_margin else "ok",
            f"log loss above its reference over {above.clusters} days", value=above.value,
            limit=event.log_loss_margin, low=low, high=high,
        ),
        condition(
            "quality:worse-than-constant", "quality", "alert" if is_worse else "ok",
            f"gain over a constant over {over.clusters} days", value=over.value, limit=0.0, low=over.bound(ERROR)[0],
            high=over.bound(ERROR)[1],
        ),
        condition(
            "calibration", "quality", "alert" if error_low > limit else "ok" if math.isfinite(error_low) else "unknown",
            "mean gap between score and frequency", value=health.calibration_error, limit=limit, low=error_low,
        ),
        condition(
            "quality:concept-drift", "quality", "warn" if suspicion["suspected"] else "ok", str(suspicion["reason"])
        ),
    ]  # fmt: skip
    for detector in detectors:
        # A detector knows no days: weather that lasts is a change to it. It warns, and does not alert by itself.
        if detector["state"] != "unknown":
            told_of = f"{detector['stream']}: last change on {detector['at']}"
            changed = detector["state"] == "alert"
            found.append(
                condition(f"quality:{detector['name']}", "quality", "warn" if changed else "ok", told_of)
            )
    for part in slices:
        if part["dimension"] == "all":
            continue
        cohort = f"{part['dimension']}:{part['cohort']}"
        if part["label_shift"] == "alert":
            shift = part["shift"]
            found.append(
                condition(
                    f"labels:cohort={cohort}", "quality", "alert",
                    f"share of positives against the scores moved by {shift['value']:+.3f} over {part['days']} days",
                    value=shift["value"], limit=loop.monitoring.measures.quality.rate_margin, low=shift["low"],
                    high=shift["high"], cohort=cohort,
                )
            )  # fmt: skip
        if part["state"] == "worse":
            change = part["shift"]["change_of_log_loss"]
            found.append(
                condition(
                    f"quality:cohort={cohort}", "quality", "alert",
                    f"log loss rose by {change['value']:+.3f} over {part['days']} days", value=change["value"],
                    limit=loop.monitoring.measures.quality.cohort_margin, low=change["low"], high=change["high"],
                    cohort=cohort,
                )
            )  # fmt: skip
    return found


def _users(loop: Loop, facts: Facts, as_of: datetime) -> tuple[dict[str, Any], list[Condition]]:
    k = loop.monitoring.min_group
    said = judge_opinions(loop, facts.cohorts, counted(facts.answers, facts.weight_changes, as_of), as_of)
    margin = min((rail.margin for rail in loop.guardrails if rail.metric == "rating"), default=0.25)
    simulated = int(facts.answers["n_simulated"].sum()) if len(facts.answers) else 0
    last = said.known[-28:]
    return {
        "simulated": simulated > 0,
        "n_simulated": simulated,
        "complete_until": said.judged[-1].isoformat() if said.judged else None,
        "days": said.days[-SHOWN_DAYS:],
        "by_category": said.categories,
        "by_cohort": users.perceived(facts.cohorts, last, k, margin, ERROR) if last else [],
        "satisfaction": satisfaction.weighted_ratings(facts.cohorts, last, k, ERROR) if last else [],
        "suppressed_below_k": k,
    }, list(said.conditions)


def _operations(loop: Loop, facts: Facts, as_of: datetime) -> tuple[dict[str, Any], list[Condition]]:
    levels = loop.monitoring.measures.levels
    days = [
        day
        for day in operations.serving_days(facts.latency, facts.cohorts, loop.monitoring.min_group)
        if date.fromisoformat(day["date"]) < as_of.date()
    ]
    judged = [date.fromisoformat(day["date"]) for day in days[-levels.k_of_n_days[1] :]]
    found = operations.judge_serving(levels, days, judged, set(facts.versions))
    silent = not judged or (as_of.date() - judged[-1]).days > STALE_DAYS
    newest = judged[-1] if judged else None
    found = [
        condition(
            "not-measured:serving", "operations", "unknown" if silent else "ok", f"last served on {newest}"
        ),
        # A series that is too young to be judged says nothing; what fell silent is told above.
        *(item for item in found if item["state"] != "unknown"),
    ]
    trends, run_conditions = operations.judge_runs(levels, facts.runs)
    return {
        "simulated": bool(len(facts.answers) and facts.answers["n_simulated"].sum() > 0),
        "days": days[-SHOWN_DAYS:],
        "runs": [dict(run) for run in facts.runs][-SHOWN_DAYS:],
        "trends": trends,
    }, [
        *found,
        *run_conditions,
    ]


def _skew(facts: Facts) -> list[Condition]:
    if facts.skew is None:
        return []
    state = {"skew": "warn", "none": "ok"}.get(facts.skew, "unknown")
    if state == "unknown":
        return []
    return [
        condition(
            "skew",
            "data",
            "warn" if state == "warn" else "ok",
            f"served against today's features: {facts.skew}",
        )
    ]
