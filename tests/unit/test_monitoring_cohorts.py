"""AUC by cohort: that of the rows behind the sums, with limits over days, and no number where there can't be one."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ratchet.loop_measures import QualityLimits
from ratchet.monitoring.quality import by_cohort, cohort_auc

TERMS = QualityLimits()
UNTIL = date(2013, 3, 14)
COHORTS = [
    "departure_date", "cohort_dimension", "cohort_value", "n_units", "n_labelled", "sum_log_loss", "sum_brier",
    "sum_score", "sum_label", "n_late_not_warned", "n_punctual_warned",
]  # fmt: skip


def rows(
    of: dict[str, int], days: int = 7, seed: int = 3, effect: float = 0.5, skill: float = 1.0
) -> pd.DataFrame:
    """Scores and labels of `of` units a day by carrier; a day's weather moves how much scores say about labels."""
    draw, made = np.random.default_rng(seed), []
    for back in range(days):
        strength = skill + draw.normal(0, effect)
        for carrier, n in of.items():
            x = draw.normal(0, 1, n)
            p = 1 / (1 + np.exp(1.2 - x))
            y = draw.random(n) < 1 / (1 + np.exp(1.2 - strength * x))
            made.append(
                pd.DataFrame({"day": UNTIL - timedelta(days=back), "carrier": carrier, "p": p, "y": y})
            )
    return pd.concat(made, ignore_index=True)


def sums(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of mon_cohort_scores_daily, the cohort all among them."""
    score_bin = np.minimum((found["p"] * 50).astype(int), 49)
    parts = []
    for dimension, value in (("all", "all"), ("carrier", found["carrier"])):
        one = pd.DataFrame(
            {"departure_date": found["day"], "cohort_dimension": dimension, "cohort_value": value,
             "score_bin": score_bin, "n_labelled": 1, "sum_score": found["p"], "sum_label": found["y"].astype(int)}
        )  # fmt: skip
        parts.append(one)
    keys = ["departure_date", "cohort_dimension", "cohort_value", "score_bin"]
    return pd.concat(parts).groupby(keys, as_index=False).sum()


def auc(found: pd.DataFrame, k: int = 10, min_days: int = 7) -> dict[str, dict[str, object]]:
    judged = cohort_auc(TERMS, sums(found), UNTIL, 7, min_days, k)
    return {cohort: told for (_, cohort), told in judged.items()}


def test_it_is_the_auc_of_the_same_binned_scores() -> None:
    found = rows({"AA": 400, "UA": 150})
    told = auc(found)
    for cohort, part in (("all", found), ("AA", found[found["carrier"] == "AA"])):
        middles = (np.minimum((part["p"] * 50).astype(int), 49) + 0.5) / 50
        assert told[cohort]["state"] == "ok"
        assert told[cohort]["value"] == pytest.approx(roc_auc_score(part["y"], middles), abs=2e-3)
        assert told[cohort]["low"] < told[cohort]["value"] < told[cohort]["high"]  # type: ignore[operator]
    assert told["AA"]["value"] != told["UA"]["value"]
    before = found.assign(day=UNTIL - timedelta(days=7), y=~found["y"])
    assert auc(pd.concat([found, before])) == told, "days before the window change nothing"


def test_its_interval_covers_what_days_would_give_in_the_long_run() -> None:
    """90 % limits over seven days whose weather differs; rows alone would promise far more."""
    truth = auc(long_run())["AA"]["value"]
    inside = widths = 0.0
    for seed in range(120):
        told = auc(rows({"AA": 300}, seed=100 + seed))["AA"]
        inside += told["low"] <= truth <= told["high"]  # type: ignore[operator]
        widths += told["high"] - told["low"]  # type: ignore[operator]
    assert 0.82 <= inside / 120 <= 0.97
    assert widths / 120 > 0.05


def long_run() -> pd.DataFrame:
    """Many days' rows, told as if they were seven days."""
    found = rows({"AA": 300}, days=1400, seed=9)
    at = np.array([(UNTIL - day).days % 7 for day in found["day"]])
    return found.assign(day=[UNTIL - timedelta(days=int(n)) for n in at])


def test_where_there_can_be_no_number_the_reason_is_said() -> None:
    found = rows({"AA": 300, "UA": 300, "HA": 1, "WN": 300, "FL": 300})
    found.loc[found["carrier"] == "UA", "y"] = False
    found = found[(found["carrier"] != "WN") | (found["day"] > UNTIL - timedelta(days=6))]
    late = (found["carrier"] == "FL") & (found["day"] != UNTIL)
    found.loc[late, "y"] = True
    found.loc[(found["carrier"] == "FL") & ~late, "y"] = np.arange(300) % 2 == 0
    told = auc(found)
    assert told["AA"]["state"] == "ok"
    for carrier, why in (
        ("UA", "fewer than 10 of one class"), ("HA", "fewer than 10 units"), ("WN", "too few days: 6 of 7"),
        ("FL", "one class on all days but one"),
    ):  # fmt: skip
        assert why in str(told[carrier]["state"])
        assert [told[carrier][name] for name in ("value", "low", "high")] == [None] * 3
    assert auc(found, min_days=6)["WN"]["state"] == "ok"
    # A handful that happens to be in order would have an interval without width.
    few = rows({"AS": 2})
    few["y"] = few["p"] >= few["p"].quantile(0.8)
    assert auc(few)["AS"] == {"value": None, "low": None, "high": None, "state": "fewer than 10 of one class"}
    assert auc(few, k=1)["AS"]["low"] == auc(few, k=1)["AS"]["high"] == 1.0
    assert cohort_auc(TERMS, sums(found).iloc[:0], UNTIL, 7, 7, 10) == {}


def test_a_cohort_tells_it_beside_its_other_numbers_and_how_much_has_no_label() -> None:
    found = rows({"AA": 400, "UA": 150})
    daily = found.assign(
        loss=-np.log(np.where(found["y"], found["p"], 1 - found["p"])), gap=(found["p"] - found["y"]) ** 2
    )
    made = [
        (day, "carrier", carrier, len(part) + 5, len(part), part["loss"].sum(), part["gap"].sum(), part["p"].sum(),
         int(part["y"].sum()), 0, 0)
        for (day, carrier), part in daily.groupby(["day", "carrier"])
    ]  # fmt: skip
    frame = pd.DataFrame(made, columns=COHORTS)
    told = {p["cohort"]: p for p in by_cohort(TERMS, frame, UNTIL, 7, 300, 7, sums(found), 10)}
    assert (told["AA"]["n_units"], told["AA"]["n_labelled"], told["AA"]["until"]) == (
        2835,
        2800,
        "2013-03-14",
    )
    assert told["AA"]["auc"] == auc(found)["AA"]
    assert math.isfinite(told["UA"]["auc"]["low"])
    without = by_cohort(TERMS, frame, UNTIL, 7, 300, 7)
    assert {p["auc"]["state"] for p in without} == {"not measured"}
