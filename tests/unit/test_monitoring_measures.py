"""Measures from sums: each is quiet on days like any other, loud on a planted change, and unknown without a past."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.monitor_judged import planted
from sklearn.metrics import log_loss, roc_auc_score

from ratchet.loop import load_loop
from ratchet.loop_measures import Classifier, Levels, QualityLimits
from ratchet.loop_triggers import FeedbackLimit
from ratchet.monitoring.classifier import tell_apart
from ratchet.monitoring.conditions import Condition
from ratchet.monitoring.detectors import detect
from ratchet.monitoring.estimated import auc_of, estimate, recalibrated
from ratchet.monitoring.feeds import judge_feeds, judge_lock, judge_schemas
from ratchet.monitoring.operations import judge_serving, percentile, serving_days
from ratchet.monitoring.quality import concept_drift, jackknifed
from ratchet.monitoring.satisfaction import weighted_ratings
from ratchet.monitoring.trends import judge_trend
from ratchet.monitoring.users import judge_limits, judge_users, perceived
from ratchet.monitoring.wobble import Wobble, judge_level

ROOT = Path(__file__).parents[2]
START = date(2013, 1, 1)


def days(count: int) -> list[date]:
    return [START + timedelta(days=i) for i in range(count)]


def test_a_day_is_compared_with_days_and_a_constant_past_has_no_width() -> None:
    wobble = Wobble.of(np.r_[np.full(5, 1.0), np.full(5, 2.0)])
    assert wobble.p_value(1.5) == pytest.approx(0.5)
    assert wobble.p_value(9.0) < 1e-5
    assert wobble.p_value(9.0, "below") > 0.99
    assert Wobble.of(np.full(10, 3.0)).p_value(3.0) == 1.0
    assert Wobble.of(np.full(10, 3.0)).p_value(3.1) == 0.0
    assert math.isnan(Wobble.of([1.0, 2.0]).p_value(5.0))


def test_a_level_alerts_on_k_days_warns_on_one_and_knows_its_weekdays() -> None:
    rng = np.random.default_rng(1)
    weekly = {d: 100 + 40 * (d.weekday() == 5) + rng.normal(0, 2) for d in days(40)}
    last = days(40)[-3:]
    terms = {"window_days": 28, "k": 2, "error": 0.001, "min_change": 0.2, "same_weekday": True}
    assert judge_level(weekly, last, **terms).state == "ok"  # type: ignore[arg-type]
    assert judge_level(weekly | {last[2]: 10.0}, last, **terms).state == "warn"  # type: ignore[arg-type]
    assert judge_level(weekly | {last[1]: 10.0, last[2]: 10.0}, last, **terms).state == "alert"  # type: ignore[arg-type]
    assert judge_level(dict(list(weekly.items())[-5:]), last, **terms).state == "unknown"  # type: ignore[arg-type]
    assert judge_level({}, [], **terms).state == "unknown"  # type: ignore[arg-type]


def scores(rows: int, move: float = 0.0, flip: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    p = 1 / (1 + np.exp(-(rng.normal(move, 1, rows) - 1)))
    return p, (rng.random(rows) < (1 - p if flip else p)).astype(float)


def binned(p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.bincount((p * 50).astype(int), weights=weights, minlength=50)


def test_binned_auc_is_the_one_of_rows_and_unknown_without_both_classes() -> None:
    p, y = scores(100_000)
    assert auc_of(binned(p, y), binned(p, 1 - y), 1 / 50) == pytest.approx(roc_auc_score(y, p), abs=3e-4)
    assert math.isnan(auc_of(np.zeros(50), np.ones(50), 1 / 50))


def test_the_estimate_follows_a_change_of_units_and_is_blind_to_a_change_of_what_they_do() -> None:
    p, y = scores(200_000)
    known = binned(p, np.ones_like(p)), binned(p, p), binned(p, y)
    moved, labels = scores(200_000, move=0.7)
    units, sums = binned(moved, np.ones_like(moved)), binned(moved, moved)
    found = estimate(units, recalibrated(units, sums, *known), 1 / 50)
    assert found.auc == pytest.approx(roc_auc_score(labels, moved), abs=4e-3)
    assert found.log_loss == pytest.approx(log_loss(labels, moved), abs=4e-3)
    _, flipped = scores(200_000, move=0.7, flip=True)
    assert found.auc - roc_auc_score(flipped, moved) > 0.2
    assert "concept drift" in found.evidence()["warning"]
    assert math.isnan(estimate(np.zeros(50), np.zeros(50), 1 / 50).auc)


def test_labels_that_contradict_the_estimate_are_suspicious() -> None:
    window = {"days": 7, "estimated": {"log_loss": 0.45}, "log_loss": {"value": 0.7, "low": 0.6}}
    assert concept_drift(window, QualityLimits(), 0.0)["suspected"]
    assert not concept_drift(window, QualityLimits(), 0.12)["suspected"], "it was above its estimate before"
    assert "not known" in concept_drift({**window, "days": 2}, QualityLimits(), 0.0)["reason"]


def test_an_interval_over_one_day_is_no_interval() -> None:
    assert jackknifed(np.ones((1, 2)), lambda s: float(s[0]), 0.05) == {
        "value": 1.0,
        "low": None,
        "high": None,
    }


def test_percentiles_are_linear_within_a_bin() -> None:
    assert percentile([0, 1], [50, 50], 0.5) == pytest.approx(5.0)
    assert percentile([0, 1], [50, 50], 0.75) == pytest.approx(7.5)
    assert math.isnan(percentile([], [], 0.5))
    # Two versions that served in one bin are one bin, in whichever order they come.
    for counts in ([95, 5], [5, 95]):
        assert percentile([0, 0], counts, 0.5) == pytest.approx(2.5)
        assert percentile([0, 0], counts, 0.95) == pytest.approx(4.75)


def served(day: date, **sums: int) -> tuple[dict[str, object], dict[str, object]]:
    """A day's row of latency, and of the sums of everybody: 900 predictions that 90,000 people were asked about."""
    told = {"n_units": 900, "n_open": 0, "n_asked": 90_000, "n_errors": 135, **sums}
    latency = {"departure_date": day, "model_version": 1, "latency_bin": 3, "n_units": told["n_units"]}
    return latency, {"departure_date": day, "cohort_dimension": "all", "is_served": True, **told}


def test_app_errors_are_of_people_and_of_predictions() -> None:
    latency, cohorts = zip(
        *(
            served(START),
            served(START + timedelta(days=1), n_open=300, n_asked=60_000),
            served(START + timedelta(days=2), n_asked=9, n_errors=0),
            served(START + timedelta(days=3), n_asked=0),
        ), strict=True,
    )  # fmt: skip
    found = serving_days(pd.DataFrame(latency), pd.DataFrame(cohorts), k=10)
    # 135 errors of 900 predictions are 15 in 100 of nothing that a person meets: 1.5 of 1,000 people asked.
    assert [day["errors_per_prediction"] for day in found] == [0.15, 0.15, 0.0, 0.15]
    assert [day["errors_per_1000_asked"] for day in found] == [pytest.approx(1.5), None, None, None]


def test_an_outbreak_of_app_errors_alerts_and_a_day_of_cancellations_does_not() -> None:
    rng = np.random.default_rng(3)
    rows = [served(d, n_errors=int(rng.poisson(135))) for d in days(40)]
    loud = rows[:-2] + [served(d, n_errors=420) for d in days(40)[-2:]]
    # Half of the people are on cancelled flights and are not asked.
    stormy = rows[:-2] + [served(d, n_asked=45_000) for d in days(40)[-2:]]
    for given, state in ((rows, "ok"), (loud, "alert"), (stormy, "ok")):
        latency, cohorts = zip(*given, strict=True)
        record = serving_days(pd.DataFrame(latency), pd.DataFrame(cohorts), k=10)
        found = judge_serving(Levels(), record, days(40)[-3:], {1})
        assert {c["name"]: c["state"] for c in found}["error:app"] == state


def test_a_detector_finds_a_jump_the_same_way_twice_and_waits_for_days() -> None:
    rng = np.random.default_rng(2)
    stream = [(d, rng.normal(0.4, 0.05) + (0.3 if i >= 40 else 0)) for i, d in enumerate(days(52))]
    found = detect("loss", stream, 0.05)
    assert found == detect("loss", stream, 0.05)
    assert {d["name"]: d["state"] for d in found}["page-hinkley"] == "alert"
    assert {d["state"] for d in detect("loss", stream[:40], 0.05)} == {"ok"}
    assert {d["state"] for d in detect("loss", stream[:5], 0.05)} == {"unknown"}


def test_a_leak_and_a_jump_are_told_from_noise() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(100, 3, 30)
    assert judge_trend("m", list(noise), 0.1).state == "ok"
    assert judge_trend("m", list(noise + np.arange(30)), 0.1).state == "alert"
    assert "jumped" in judge_trend("m", [*noise, 200.0, 200.0], 0.1).reason
    assert judge_trend("m", list(noise[:4]), 0.1).state == "unknown"


def test_a_classifier_finds_two_features_that_stopped_moving_together() -> None:
    rng = np.random.default_rng(6)
    dates = np.repeat(np.array(days(14), dtype=object), 200)
    x = rng.normal(size=(len(dates), 2))
    recent = days(14)[7]
    x[dates < recent, 1] = x[dates < recent, 0] * 0.9 + 0.3 * x[dates < recent, 1]
    assert tell_apart(Classifier(), x, dates, recent).state == "alert"
    quiet = tell_apart(Classifier(), rng.normal(size=x.shape), dates, recent)
    assert quiet.state == "ok"
    assert quiet.auc == pytest.approx(0.5, abs=0.05)
    assert tell_apart(Classifier(), x[:400], dates[:400], recent).state == "unknown"


def test_each_planted_incident_is_found_in_time_and_nothing_beside_it() -> None:
    figures = planted(load_loop(ROOT / "loops" / "flights.yml"))
    assert len(figures) == 6
    assert [figure.name for figure in figures if not figure.met] == []


def test_new_fields_and_another_lock_are_told() -> None:
    rows = pd.DataFrame(
        [("schedule", START, "gate"), ("schedule", START + timedelta(days=30), "terminal")],
        columns=["source", "received_date", "column_name"],
    )
    (found,) = judge_schemas(rows, datetime(2013, 2, 1), 3)
    assert (found["name"], found["state"]) == ("schema:schedule", "alert")
    assert "terminal" in found["evidence"]
    assert "gate" not in found["evidence"]
    assert judge_lock("b", "a")["state"] == "warn"
    assert judge_lock("a", "a")["state"] == "ok"
    assert judge_lock(None, "a")["state"] == "unknown"


def test_a_source_without_a_past_is_unknown_and_no_condition() -> None:
    landings = pd.DataFrame(
        [("weather", START, 9, 0, 0)],
        columns=["source", "received_date", "rows", "quarantined", "duplicates"],
    )
    _, freshness, found = judge_feeds(Levels(), landings, ["weather", "never"], datetime(2013, 1, 2))
    assert [item["state"] for item in freshness] == ["unknown", "unknown"]
    assert found == []


def cohorts(rating_of_jfk: float, ratings: int) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    rows = []
    for day in days(28):
        for dimension, value in (("all", "all"), ("origin", "JFK"), ("origin", "LGA")):
            mean = rating_of_jfk if value == "JFK" else 4.0
            n = ratings if value != "all" else 10 * ratings
            rows.append(
                (day, True, dimension, value, 1000, 500, n, n * (mean + rng.normal(0, 0.05)), 3, 0, 0, 0)
            )
    names = ["departure_date", "is_served", "cohort_dimension", "cohort_value", "n_units", "n_asked", "n_ratings",
             "sum_rating", "n_tickets", "n_errors", "n_labelled", "sum_label"]  # fmt: skip
    return pd.DataFrame(rows, columns=names)


def test_a_cohort_that_is_less_content_is_named_and_a_small_one_shows_no_number() -> None:
    found = {c["cohort"]: c for c in perceived(cohorts(3.5, 50), days(28), 10, 0.25, 0.05)}
    assert found["JFK"]["state"] == "worse"
    assert found["LGA"]["state"] == "ok"
    small = {c["cohort"]: c for c in perceived(cohorts(3.5, 50), days(28), 10_000, 0.25, 0.05)}
    assert small["JFK"] == {
        "dimension": "origin", "cohort": "JFK", "n": None, "rating_mean": None, "state": "fewer than k",
    }  # fmt: skip


def test_complaints_of_one_category_that_triple_are_told_and_few_are_not_shown() -> None:
    told = [
        {"date": d.isoformat(), "n_asked": 90_000, "n_answers": 2000, "response_rate": 0.02,
         "rating_mean": 3.5 + 0.01 * (i % 3), "n_tickets": 100, "complaint_rate": 100 / 90_000}
        for i, d in enumerate(days(40))
    ]  # fmt: skip
    rng = np.random.default_rng(9)
    rows = [
        (d, "ticket", "late_alert", int(rng.poisson(30)) * (3 if i >= 38 else 1))
        for i, d in enumerate(days(40))
    ] + [(days(40)[0], "ticket", "rare", 2)]
    answers = pd.DataFrame(rows, columns=["departure_date", "channel", "answer_category", "counts"])
    categories, found = judge_users(Levels(), told, answers, days(40)[-3:], 10)
    states = {item["name"]: item["state"] for item in found}
    assert states["complaints:late_alert"] == "alert"
    assert states["rating"] == "ok"
    assert "complaints:rare" not in states
    assert {c["category"]: c["n"] for c in categories}["rare"] is None


def said(shares: list[float], total: int = 200, seed: int = 12) -> pd.DataFrame:
    """Answers of a day each: a share of them about false reassurance, the rest about prices; some about nothing."""
    draw, rows = np.random.default_rng(seed), []
    for day, share in zip(days(len(shares)), shares, strict=True):
        own = int(draw.binomial(total, share))
        rows += [
            (day, "ticket", "false_reassurance", own), (day, "ticket", "price", total - own),
            (day, "rating", "none", 5_000),
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=["departure_date", "channel", "answer_category", "counts"])


def limit_of(shares: list[float], k: int = 10, total: int = 200) -> Condition:
    limits = {"false_reassurance": FeedbackLimit(share=0.3)}
    (found,) = judge_limits(limits, said(shares, total), days(len(shares)), k, 0.01)
    assert (found["name"], found["limit"]) == ("feedback-limit:false_reassurance", 0.3)
    return found


def test_a_category_over_its_limit_for_days_alerts_and_a_bad_day_or_chance_does_not() -> None:
    found = limit_of([0.1] * 14 + [0.5] * 7)
    assert found["state"] == "alert" and found["low"] > 0.3 and "7 of 7 days" in found["evidence"]
    assert limit_of([0.1] * 20)["state"] == "ok"
    assert limit_of([0.1] * 18 + [0.9, 0.9])["state"] == "ok", "two days are not five"
    # Five days a little above and two far below: their interval holds the limit.
    assert limit_of([0.1] * 13 + [0.33] * 5 + [0.05] * 2)["state"] in ("ok", "warn")
    assert limit_of([0.5] * 20, k=1_000)["state"] == "unknown", "too few answers a day say nothing"
    assert judge_limits({}, said([0.9] * 20), days(20), 10, 0.01) == []
    quiet = [limit_of([0.25] * (7 + n))["state"] for n in range(60)]
    assert "alert" not in quiet, "below the limit no window of sixty alerts"


def test_a_limit_of_days_that_are_none_is_refused() -> None:
    for wrong in ((1, 7), (5, 4)):
        with pytest.raises(ValueError, match="2 <= k <= n"):
            FeedbackLimit(share=0.3, k_of_n_days=wrong)


def asked_and_answered(per_day: dict[str, tuple[int, int, float]], n: int = 28) -> pd.DataFrame:
    """By carrier: asked, answers and mean rating a day."""
    draw, rows = np.random.default_rng(6), []
    for day in days(n):
        weather = draw.normal(0, 0.2)
        made = {name: (a, k, k * (mean + weather)) for name, (a, k, mean) in per_day.items()}
        for name, sums in {"all": tuple(map(sum, zip(*made.values(), strict=True))), **made}.items():
            rows.append((day, True, "all" if name == "all" else "carrier", name, *sums))
    names = [
        "departure_date",
        "is_served",
        "cohort_dimension",
        "cohort_value",
        "n_asked",
        "n_ratings",
        "sum_rating",
    ]
    return pd.DataFrame(rows, columns=names)


def test_who_was_asked_counts_with_limits_over_days() -> None:
    """The late tenth answers ten times as often: the raw mean is theirs."""
    rows = asked_and_answered({"calm": (900, 18, 4.4), "late": (100, 20, 2.0)})
    (found,) = weighted_ratings(rows, days(28), 10, 0.025)
    assert (found["dimension"], found["n"], found["state"]) == ("carrier", 28 * 38, "ok")
    assert found["raw"]["value"] < 3.3 and abs(found["weighted"]["value"] - 4.16) < 0.15
    assert found["raw"]["high"] < found["weighted"]["low"]
    assert found["covered"] == 1.0 and found["largest_weight"] == pytest.approx(50)
    # A day's weather moves all of its answers: 28 days at 0.2 leave 0.04, whatever the number of answers.
    reach = found["weighted"]["high"] - found["weighted"]["value"]
    assert 1.5 * 0.2 / np.sqrt(28) < reach < 3 * 0.2 / np.sqrt(28)


def test_small_cohorts_are_left_out_and_said_and_strange_sums_give_no_number() -> None:
    shared = {"calm": (900, 18, 4.4), "late": (100, 20, 2.0)}
    (found,) = weighted_ratings(asked_and_answered({**shared, "rare": (1_000, 0, 1.0)}), days(28), 10, 0.025)
    assert found["covered"] == 0.5 and found["weighted"]["value"] > 4
    (few,) = weighted_ratings(asked_and_answered(shared), days(28), 10_000, 0.025)
    assert few["state"] == "fewer than k" and few["n"] is None and few["weighted"] is None
    (more,) = weighted_ratings(asked_and_answered({"calm": (5, 18, 4.4)}), days(28), 10, 0.025)
    assert "nobody knows" in more["state"] and more["weighted"] is None
