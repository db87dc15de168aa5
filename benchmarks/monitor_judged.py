"""Monitoring by simulation and on the real year: false alarms, delay, quality before labels, planted incidents."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.flights_aa import year_of_features
from benchmarks.monitor_peers import ask
from benchmarks.report import Figure
from ratchet.loop import Loop, load_loop
from ratchet.loop_measures import Inputs, Levels
from ratchet.monitoring.estimated import estimate, recalibrated
from ratchet.monitoring.feeds import judge_feeds
from ratchet.monitoring.inputs import FeatureShift, judge_inputs, table_of
from ratchet.monitoring.operations import judge_runs, judge_serving
from ratchet.monitoring.profile import PROFILE_COLUMNS, feature_profiles, reference_bins
from ratchet.monitoring.quality import by_cohort
from ratchet.monitoring.stale import judge_stale
from ratchet.settings import load_settings
from ratchet.training.encode import feature_matrix

Rows = list[Figure]
START = date(2013, 1, 1)
CUTS = norm.ppf(np.arange(1, 10) / 10)
COLUMNS = ["departure_date", "feature", "bin", "n", "n_out_of_range", "sum_value"]
TRAINED_UNTIL = date(2013, 5, 12)
#: The first months have no reference yet. Not a hold-out: the rule was chosen with the whole year in sight.
HELD_FROM = date(2013, 7, 1)


def noise(runs: int) -> Rows:
    """20 features that wobble by 0.03 standard deviations from day to day; one moves by 0.2 on day 30."""
    answers = []
    for rows_a_day in (10_000, 100_000):
        false, delays = 0, []
        for run in range(runs):
            rng = np.random.default_rng(1000 + run)
            false_days, delay = _trial(rng, rows_a_day)
            false += false_days
            delays.append(delay)
        found = float(np.mean([d <= 2 for d in delays]))
        name = f"{rows_a_day:,} rows a day"
        answers += [
            Figure(
                f"{name}: false days in 60", false / runs, "days", 0, note=f"{runs} trials of 20 features"
            ),
            Figure(f"{name}: shift of 0.2 sd found within 2 days", 100 * found, "%", 100, "higher"),
        ]
    return answers


def _trial(rng: np.random.Generator, rows_a_day: int) -> tuple[int, float]:
    features, days, at = 20, 60, 30
    bins = pd.DataFrame(
        [(f"x{i:02}", b, 0.1 if b else 0.0) for i in range(features) for b in range(11)],
        columns=["feature", "bin", "reference_share"],
    )
    found = []
    for day in range(days):
        for i in range(features):
            mean = rng.normal(0, 0.03) + (0.2 if i == 0 and day >= at else 0.0)
            counts = rng.multinomial(rows_a_day, np.diff(np.r_[0, norm.cdf(CUTS - mean), 1]))
            when = START + timedelta(days=day)
            found += [(when, f"x{i:02}", b, int(n), 0, mean * n) for b, n in enumerate(counts, start=1)]
    rows = pd.DataFrame(found, columns=COLUMNS)
    tables, profiles = table_of(rows, bins), pd.DataFrame(columns=list(PROFILE_COLUMNS))
    false, delay = 0, math.inf
    for day in range(7, days):
        judged = [START + timedelta(days=d) for d in range(day + 1)]
        drifting = {
            s.feature for s in judge_inputs(Inputs(), tables, bins, profiles, judged) if s.is_drifting
        }
        # Once the shift is in the reference, its own feature may be called either way.
        false += bool(drifting - {"x00"}) or (day < at and bool(drifting))
        if "x00" in drifting and day >= at:
            delay = min(delay, day - at + 1)
    return false, delay


def histograms_of(
    frame: pd.DataFrame, loop: Loop, bins: pd.DataFrame, profiles: pd.DataFrame
) -> pd.DataFrame:
    """The rows of mon_feature_histograms of a frame of features, by numpy."""
    matrix = feature_matrix(frame, loop)
    codes, days = pd.factorize(pd.to_datetime(frame["departure_date"]).dt.date, sort=True)
    made = []
    for position, name in enumerate(loop.features.columns):
        values = matrix[:, position]
        present = ~np.isnan(values)
        cuts = (
            bins.loc[bins["feature"] == name]
            .sort_values("bin")["lower_bound"]
            .dropna()
            .to_numpy(dtype=np.float64)
        )
        own = profiles[profiles["feature"] == name].iloc[0]
        if name in loop.features.categorical:
            outside = ~present
        else:
            outside = (values < own["lowest"]) | (values > own["highest"])
        at = np.where(present, 1 + np.searchsorted(cuts, values, side="right"), 0)
        sums = (
            np.where(present, values, 0.0)
            if name not in loop.features.categorical
            else np.full(len(values), np.nan)
        )
        part = pd.DataFrame(
            {"day": codes, "bin": at, "n": 1, "n_out_of_range": outside.astype(int), "sum_value": sums}
        )
        part = part.groupby(["day", "bin"]).sum(min_count=1).reset_index().assign(feature=name)
        made.append(part)
    rows = pd.concat(made, ignore_index=True)
    return rows.assign(departure_date=np.array(days)[rows["day"]])[COLUMNS]


def _openings(
    loop: Loop, rows: pd.DataFrame, bins: pd.DataFrame, profiles: pd.DataFrame, first: date
) -> list[tuple[date, str]]:
    """(day, source) at which features of a source began to alert: what would be told."""
    groups = {n: source for source, names in loop.monitoring.alerts.feeds.items() for n in names}
    tables = table_of(rows, bins)
    days, before, found = list(tables[0].days), set[str](), []
    for position, day in enumerate(days):
        if day < first:
            continue
        shifts = judge_inputs(loop.monitoring.measures.inputs, tables, bins, profiles, days[: position + 1])
        now = {groups.get(s.feature, s.feature) for s in shifts if alerting(s)}
        found += [(day, source) for source in sorted(now - before)]
        before = now
    return found


def alerting(shift: FeatureShift) -> list[str]:
    """What of a feature alerts: drift, missing, out_of_range."""
    told = ["drift"] if shift.is_drifting else []
    return told + [name for name, (state, _, _) in shift.shares.items() if state == "alert"]


def year(home: Path) -> Rows:
    """The real year under one champion that was trained until May: alarms a month, by source."""
    settings = load_settings({"RATCHET_HOME": str(home / "year")})
    loop = load_loop(settings.loops_dir / "flights.yml")
    frame = year_of_features(settings, loop, home / "year.parquet")
    dates = pd.to_datetime(frame["departure_date"]).dt.date
    train = frame[dates <= TRAINED_UNTIL]
    bins = reference_bins(train, loop, 1)
    profiles = feature_profiles(train, loop, 1, bins, {})
    rows = histograms_of(frame, loop, bins, profiles)
    opened = _openings(loop, rows, bins, profiles, HELD_FROM)
    months = (max(dates) - HELD_FROM).days / 30.4
    stated = loop.monitoring.measures.inputs.false_alarms_per_month
    told = ", ".join(f"{day:%m-%d} {source}" for day, source in opened) or "none"
    return [
        Figure(
            "real year: alarms of inputs a month",
            len(opened) / months,
            "alarms",
            stated,
            note=f"July to December, no hold-out: {told}",
        ),
        *_planted_inputs(loop, frame, dates, bins, profiles),
    ]


def _planted_inputs(
    loop: Loop, frame: pd.DataFrame, dates: Any, bins: pd.DataFrame, profiles: pd.DataFrame
) -> Rows:
    """Incidents planted in real features from 20 August on; the delay in days, and whether the right one leads."""
    at, until = date(2013, 8, 20), date(2013, 8, 30)
    part = frame[(dates >= at - timedelta(days=45)) & (dates < until)].reset_index(drop=True)
    late = (pd.to_datetime(part["departure_date"]).dt.date >= at).to_numpy()
    plants: dict[str, tuple[str, Callable[[pd.DataFrame], None]]] = {
        "unit of temperature_f changes": (
            "temperature_f",
            lambda f: f.__setitem__(
                "temperature_f", f["temperature_f"].where(~late, (f["temperature_f"] - 32) / 1.8)
            ),
        ),
        "carrier UA is renamed": (
            "carrier", lambda f: f.__setitem__("carrier", f["carrier"].where(~(late & (f["carrier"] == "UA")), "U2")),
        ),
        "weather feed stops": (
            "humidity_pct", lambda f: f.__setitem__("humidity_pct", f["humidity_pct"].where(~late)),
        ),
    }  # fmt: skip
    answers = []
    for name, (feature, plant) in plants.items():
        rows = part.copy()
        plant(rows)
        planted = histograms_of(rows, loop, bins, profiles)
        tables = table_of(planted, bins)
        delay, leads = math.inf, 0.0
        for position, day in enumerate(tables[0].days):
            if day < at:
                continue
            shifts = judge_inputs(
                loop.monitoring.measures.inputs, tables, bins, profiles, list(tables[0].days[: position + 1])
            )
            wrong = [s.feature for s in shifts if alerting(s)]
            if feature in wrong:
                delay, leads = (day - at).days + 1, float(wrong[0] == feature)
                break
        answers += [
            Figure(f"planted: {name}", delay, "days", 4, note="days of data until the alert"),
            Figure(f"planted: {name}: first in the list", leads, "", 1, "higher"),
        ]
    return answers


def cbpe(home: Path) -> Rows:
    """A million calibrated scores under covariate shift: error of the estimated AUC by 100,000, beside NannyML's."""
    rng = np.random.default_rng(11)
    chunk, chunks = 100_000, 10

    def draw(rows: int, move: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x = rng.normal(move, 1.0, rows)
        p = 1 / (1 + np.exp(-(0.9 * x - 1.2)))
        return p, (rng.random(rows) < p).astype(np.float64)

    reference = draw(200_000, 0.0)
    current = [draw(chunk, 0.08 * i) for i in range(chunks)]
    home.mkdir(parents=True, exist_ok=True)
    for name, (p, y) in (
        ("reference", reference),
        ("current", tuple(np.concatenate(z) for z in zip(*current, strict=True))),
    ):
        frame = pd.DataFrame({"score": p, "predicted": (p >= 0.3).astype(int), "label": y.astype(int)})
        frame.to_parquet(home / f"cbpe_{name}.parquet", index=False)
    started = time.perf_counter()
    labelled, labelled_scores, labels = (_binned(reference[0], w) for w in (np.ones(200_000), *reference))
    ours = []
    for p, _ in current:
        units, sums = _binned(p, np.ones(chunk)), _binned(p, p)
        ours.append(estimate(units, recalibrated(units, sums, labelled, labelled_scores, labels), 1 / 50).auc)
    seconds = time.perf_counter() - started
    truth = [_auc(p, y) for p, y in current]
    peer = ask(home, "nannyml", "cbpe", {"chunk": chunk})
    mine = float(np.mean(np.abs(np.array(ours) - truth)))
    theirs = float(
        np.mean(np.abs(np.array(peer["auc"][-chunks:]) - truth))
    )  # the reference's chunks come first
    return [
        Figure(
            "CBPE: error of AUC against NannyML's",
            mine / theirs,
            "times",
            1,
            note=f"{mine:.5f} and {theirs:.5f} over {chunks} chunks",
        ),
        Figure(
            "CBPE: times as fast as NannyML",
            peer["seconds"] / seconds,
            "times",
            10,
            "higher",
            f"{seconds:.2f} s and {peer['seconds']:.1f} s",
        ),
    ]


def _binned(p: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(np.minimum((p * 50).astype(np.int64), 49), weights=weights, minlength=50)


def _auc(p: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    ranks = np.empty(len(p))
    ranks[np.argsort(p)] = np.arange(1, len(p) + 1)
    n = y.sum()
    return float((ranks[y == 1].sum() - n * (n + 1) / 2) / (n * (len(y) - n)))


def planted(loop: Loop) -> Rows:
    """Incidents outside of the features: a feed, labels of a cohort, latency, a slow leak."""
    rng = np.random.default_rng(5)
    levels = Levels()
    days = [START + timedelta(days=i) for i in range(45)]
    landings = pd.DataFrame(
        [("weather", d, int(rng.normal(1000, 20)), 0, 0) for d in days[:40]]
        + [("schedule", d, int(rng.normal(900, 30)), 0, 0) for d in days],
        columns=["source", "received_date", "rows", "quarantined", "duplicates"],
    )

    def delay(found: Callable[[int], bool], at: int, last: int = 45) -> float:
        return next((float(i - at + 1) for i in range(at, last) if found(i)), math.inf)

    def feed(i: int) -> bool:
        as_of = datetime.combine(days[i] + timedelta(days=1), datetime.min.time())
        known = landings[[d <= days[i] for d in landings["received_date"]]]
        wrong = {
            c["name"]
            for c in judge_feeds(levels, known, ["weather", "schedule"], as_of)[2]
            if c["state"] == "alert"
        }
        return "freshness:weather" in wrong and not any("schedule" in name for name in wrong)

    # From day 40 on yesterday's rows come again: under their own times, and under today's.
    ages = {
        kind: pd.DataFrame(
            [
                ("weather", d, 72, rng.normal(0.6, 0.1) + (24 if i >= 40 and kind == "old" else 0),
                 72 if i >= 40 and kind == "repeated" else int(rng.integers(0, 4)))
                for i, d in enumerate(days)
            ]
            + [("outcomes", d, 900, rng.normal(0.5, 0.1), None) for d in days],
            columns=["source", "received_date", "n_rows", "median_age_hours", "n_repeated"],
        )
        for kind in ("old", "repeated")
    }  # fmt: skip

    def stale(kind: str, i: int) -> bool:
        as_of = datetime.combine(days[i] + timedelta(days=1), datetime.min.time())
        found = judge_stale(levels, ages[kind], as_of)
        return {c["name"] for c in found if c["state"] == "alert"} == {"stale:weather"}

    serving = [
        {"date": d.isoformat(), "latency_p95": rng.normal(80, 4) * (2 if i >= 40 else 1), "latency_p50": 30.0,
         "errors_per_prediction": 0.01, "volume": 900, "served_versions": [1]}
        for i, d in enumerate(days)
    ]  # fmt: skip

    def latency(i: int) -> bool:
        found = judge_serving(levels, serving[: i + 1], days[i - 2 : i + 1], {1})
        return {c["name"] for c in found if c["state"] == "alert"} == {"latency:p95"}

    runs = [
        {
            "megabytes": 700 * (1 + 0.02 * i) + rng.normal(0, 10),
            "seconds_per_million_rows": 30 + rng.normal(0, 1),
            "cost": 9 + rng.normal(0, 0.3),
        }
        for i in range(30)
    ]

    def leak(i: int) -> bool:
        return {c["name"] for c in judge_runs(levels, runs[: i + 1])[1] if c["state"] == "alert"} == {
            "leak:memory"
        }

    cohorts = _cohorts(rng, days)

    def labels(i: int) -> bool:
        known = cohorts[[d <= days[i] for d in cohorts["departure_date"]]]
        terms = loop.monitoring.measures.quality
        found = by_cohort(terms, known, days[i], terms.window_days, 300, 7)
        return {p["cohort"] for p in found if p["label_shift"] == "alert"} == {"EWR"}

    return [
        Figure("planted: a feed stops", delay(feed, 40), "days", 1, note="freshness:weather alone"),
        Figure(
            "planted: a feed sends old rows",
            delay(partial(stale, "old"), 40),
            "days",
            2,
            note="stale:weather alone",
        ),
        Figure(
            "planted: a feed sends yesterday's numbers as today's",
            delay(partial(stale, "repeated"), 40),
            "days",
            2,
            note="stale:weather alone",
        ),
        Figure("planted: latency doubles", delay(latency, 40), "days", 2, note="latency:p95 alone"),
        Figure(
            "planted: a slow leak of 2 % a training",
            delay(leak, 0, 30),
            "trainings",
            15,
            note="leak:memory alone",
        ),
        Figure(
            "planted: labels flip for a cohort",
            delay(labels, 30),
            "days",
            7,
            note="labels:cohort=origin:EWR alone",
        ),
    ]


def _cohorts(rng: np.random.Generator, days: list[date]) -> pd.DataFrame:
    """Day sums of three origins, of which one's labels are flipped from day 30 on."""
    rows = []
    for i, day in enumerate(days):
        weather = rng.normal(0, 0.3)
        for origin in ("EWR", "JFK", "LGA"):
            p = 1 / (1 + np.exp(-rng.normal(-1.2 + weather, 0.9, 300)))
            y = (rng.random(300) < p).astype(float)
            if origin == "EWR" and i >= 30:
                y = 1 - y
            loss = -(y * np.log(p) + (1 - y) * np.log1p(-p))
            warned = p >= 0.3
            rows.append(
                (
                    day,
                    "origin",
                    origin,
                    300.0,
                    300.0,
                    loss.sum(),
                    ((p - y) ** 2).sum(),
                    p.sum(),
                    y.sum(),
                    float((y * ~warned).sum()),
                    float(((1 - y) * warned).sum()),
                )
            )
    return pd.DataFrame(
        rows,
        columns=["departure_date", "cohort_dimension", "cohort_value", "n_units", "n_labelled", "sum_log_loss",
                 "sum_brier", "sum_score", "sum_label", "n_late_not_warned", "n_punctual_warned"],
    )  # fmt: skip
