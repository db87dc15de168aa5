"""Effects by category: an interval that may be read every day, what was expected, and no number of a small group."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.feedback.effects import COHORT_DAYS, ERROR, difference, judge_cohorts, judge_effects, sequence
from ratchet.feedback.enrich import make_enricher
from ratchet.loop import load_loop
from ratchet.loop_feedback import Taxonomy

ROOT = Path(__file__).parents[2]
START = date(2013, 6, 1)
DAYS = 40


def taxonomy() -> Taxonomy:
    found = load_loop(ROOT / "loops" / "flights.yml").feedback.taxonomy
    assert found is not None
    return found


def planted(rates: dict[str, tuple[float, float]], asked: int = 300, seed: int = 1) -> pd.DataFrame:
    """Sums of an experiment: category -> complaint rates of control and challenger, under shocks that both share."""
    rng, rows = np.random.default_rng(seed), []
    for day in range(DAYS):
        shock = np.exp(rng.normal(-0.125, 0.5))
        for at, arm in enumerate(("control", "challenger")):
            base = {
                "departure_date": START + timedelta(days=day),
                "arm": arm,
                "cohort_dimension": "all",
                "cohort_value": "all",
            }
            rows.append(
                base | {"answer_category": "all", "n_asked": asked, "n_answers": asked, "sum_weight": asked}
            )
            for name, rate in rates.items():
                n = int(rng.binomial(asked, min(rate[at] * shock, 0.9)))
                if n:
                    rows.append(
                        base | {"answer_category": name, "n_asked": 0, "n_answers": n, "sum_weight": float(n)}
                    )
    return pd.DataFrame(rows)


def judged(sums: pd.DataFrame, days: int = DAYS, k: int = 10) -> dict[str, tuple[str, str]]:
    found = judge_effects(taxonomy(), sums, START + timedelta(days=days - 1), k)
    return {one.category: (one.state, one.verdict) for one in found}


def test_a_fall_a_rise_and_nothing_are_told_apart_and_held_against_what_was_expected() -> None:
    rates = {"false_reassurance": (0.06, 0.02), "false_alarm": (0.02, 0.06), "price": (0.03, 0.03)}
    found = judged(planted(rates | {"app_problem": (0.06, 0.02)}))
    assert found["false_reassurance"] == ("fell", "as expected")
    assert found["false_alarm"] == ("rose", "against what was expected")
    assert found["price"] == ("not enough evidence", "no change shown")
    assert found["app_problem"] == ("fell", "not expected")
    assert found["late_alert"] == ("fewer than k", "not shown")
    assert len(found) == len(taxonomy().categories)


def test_few_days_show_nothing_and_days_that_are_still_open_do_not_count() -> None:
    sums = planted({"false_reassurance": (0.2, 0.02)})
    assert judged(sums)["false_reassurance"][0] == "fell"
    assert judged(sums, days=4)["false_reassurance"] == ("not enough evidence", "not shown")
    (one,) = (e for e in judge_effects(taxonomy(), sums, START, 10) if e.category == "false_reassurance")
    assert one.days == 1


def test_a_group_smaller_than_k_has_no_number() -> None:
    sums = planted({"wrong_flight": (0.0004, 0.0004)})
    n = int(sums.loc[sums["answer_category"] == "wrong_flight", "n_answers"].sum())
    assert n > 1, "nobody complained: the test saw nothing"
    effects = {
        k: {e.category: e for e in judge_effects(taxonomy(), sums, date(2014, 1, 1), k)} for k in (n, n + 1)
    }
    assert effects[n]["wrong_flight"].n_answers == n
    hidden = effects[n + 1]["wrong_flight"]
    assert hidden.state == "fewer than k"
    assert (hidden.value, hidden.low, hidden.high, hidden.n_answers) == (None, None, None, None)


def test_weights_count_and_not_answers() -> None:
    sums = planted({"price": (0.05, 0.05)})
    is_campaign = (sums["answer_category"] == "price") & (sums["arm"] == "challenger")
    flooded = sums.assign(n_answers=sums["n_answers"] + 100 * is_campaign)
    assert judged(flooded)["price"] == judged(sums)["price"]
    flooded["sum_weight"] += 100.0 * is_campaign
    assert judged(flooded)["price"][0] == "rose"


def test_no_arm_and_no_day_are_not_enough_evidence() -> None:
    sums = planted({"price": (0.05, 0.05)})
    for empty in (sums.iloc[:0], sums[sums["arm"] == "control"]):
        found = judge_effects(taxonomy(), empty, date(2014, 1, 1), 1)
        assert len(found) == len(taxonomy().categories)
        assert {e.days for e in found} == {0}
        assert {e.state for e in found} <= {"fewer than k", "not enough evidence"}


def test_sums_that_are_no_sums_are_refused() -> None:
    with pytest.raises(ValueError, match="align"):
        difference([1], [10], [1, 2], [10, 10])
    with pytest.raises(ValueError, match="negative"):
        difference([-1], [10], [1], [10])
    with pytest.raises(ValueError, match="probability"):
        sequence(np.zeros(3), np.ones(3), 0.0)


@pytest.mark.parametrize("effect", [1.0, 0.5])
def test_the_interval_holds_the_truth_on_every_day(effect: float) -> None:
    """Of 200 planted experiments at most as many miss it on some day as chance allows for 5 %."""
    rng, missed = np.random.default_rng(7), 0
    for _ in range(200):
        shock = np.exp(rng.normal(-0.125, 0.5, DAYS))
        rates = np.minimum(0.05 * shock, 0.9)
        gaps = (rng.binomial(300, effect * rates) - rng.binomial(300, rates)) / 300
        truth = (effect - 1) * 0.05
        # What was refuted on an earlier day stays refuted: the last interval is that of all days.
        low, high = sequence(gaps, np.ones(DAYS))
        missed += not low <= truth <= high
    assert missed <= 18, missed
    # It is an interval, and no excuse: it ends, and knows a large effect.
    assert np.isfinite([low, high]).all()
    assert (high < 0) == (effect < 1)


def by_cohort(fall: dict[str, float], asked: int = 300, days: int = DAYS) -> pd.DataFrame:
    """Sums of cohorts in which the complaint of false reassurance falls to `fall` of what it was."""
    parts = []
    for at, (name, share) in enumerate(fall.items()):
        rates = {"false_reassurance": (0.06, 0.06 * share), "price": (0.03, 0.03)}
        one = planted(rates, asked, seed=at + 1).assign(cohort_dimension="origin", cohort_value=name)
        parts.append(one[pd.to_datetime(one["departure_date"]).dt.date < START + timedelta(days=days)])
    return pd.concat(parts, ignore_index=True)


def test_an_effect_is_told_of_the_cohort_that_has_it_and_of_no_other() -> None:
    sums = by_cohort({"EWR": 0.2, "JFK": 1.0, "LGA": 1.0})
    found = judge_cohorts(taxonomy(), sums, date(2014, 1, 1), 10)
    assert (found.judged, found.left_out, found.days) == (3, 0, DAYS)
    told = {(e.cohort, e.effect.category): e.effect.state for e in found.effects}
    assert told["EWR", "false_reassurance"] == "fell"
    assert {told[c, "false_reassurance"] for c in ("JFK", "LGA")} == {"not enough evidence"}
    assert {told[c, "late_alert"] for c in ("EWR", "JFK", "LGA")} == {"fewer than k"}
    assert len(found.effects) == 3 * len(taxonomy().categories)
    # As many intervals as are read together share the error, and each is wider than one that is read alone.
    assert found.error == pytest.approx(ERROR / len(found.effects))
    alone = judge_effects(
        taxonomy(), sums[sums["cohort_value"] == "EWR"].assign(cohort_dimension="all"), date(2014, 1, 1), 10
    )
    wide, narrow = (
        next(e for e in effects if e.category == "false_reassurance")
        for effects in ([one.effect for one in found.effects if one.cohort == "EWR"], alone)
    )
    assert narrow.value == wide.value and wide.low is not None and narrow.low is not None
    assert wide.low < narrow.low and (wide.high or 0) > (narrow.high or 0)


def test_cohorts_are_those_of_the_first_days_and_nothing_is_said_before() -> None:
    sums = by_cohort({"EWR": 0.2, "JFK": 1.0})
    early = judge_cohorts(taxonomy(), sums, START + timedelta(days=COHORT_DAYS - 2), 10)
    assert (early.judged, early.effects, early.days) == (0, (), COHORT_DAYS - 1)
    assert judge_cohorts(taxonomy(), sums.iloc[:0], date(2014, 1, 1), 10).effects == ()
    # One that appears later, and one of whom too few were asked, change nothing that was said of the others.
    later = by_cohort({"LGA": 0.2})
    later = later[pd.to_datetime(later["departure_date"]).dt.date >= START + timedelta(days=COHORT_DAYS)]
    small = planted({"price": (0.5, 0.5)}, asked=1).assign(cohort_dimension="carrier", cohort_value="YV")
    more = judge_cohorts(taxonomy(), pd.concat([sums, later, small]), date(2014, 1, 1), 10)
    assert (more.judged, more.left_out) == (2, 2)
    assert more.effects == judge_cohorts(taxonomy(), sums, date(2014, 1, 1), 10).effects
    assert {one.to_json()["n_answers"] for one in more.effects} == {None}
    none = judge_cohorts(taxonomy(), sums, date(2014, 1, 1), 10**6)
    assert (none.judged, none.left_out, none.effects) == (0, 2, ())


def test_what_is_expected_of_a_category_makes_no_new_enrichment_version() -> None:
    loop = load_loop(ROOT / "loops" / "flights.yml")
    terms = loop.feedback.model_copy(update={"model": None})
    own = taxonomy().categories["praise"]
    assert (own.expected, taxonomy().categories["price"].expected) == ("none", "none")
    assert taxonomy().categories["late_alert"].expected == "down"
    changed = {"praise": own.model_copy(update={"expects": "down", "claims": "positive"})}
    harder = {"praise": own.model_copy(update={"severity": 5})}

    def version(change: dict[str, object]) -> str:
        other = taxonomy().model_copy(update={"categories": taxonomy().categories | change})
        return make_enricher(terms.model_copy(update={"taxonomy": other}), None).version

    assert version(changed) == version({})
    assert version(harder) != version({})
