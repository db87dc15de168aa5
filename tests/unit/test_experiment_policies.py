"""What the loop file decides of a verdict: cohorts without evidence, outcomes that predictions change, horizons."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.unit.test_experiment_verdict import START, exposure_of, flights_loop, run, state_on, world

from ratchet.experiment.cohorts import pooled_cohorts
from ratchet.experiment.state import RolloutState, Verdict
from ratchet.experiment.verdict import judge_day
from ratchet.loop import Guardrail, Loop, LoopFileError, load_loop


def changed(loop: Loop, part: str, **values: object) -> Loop:
    return loop.model_copy(update={part: getattr(loop, part).model_copy(update=values)})


def look(
    loop: Loop, offset: int, paired: pd.DataFrame, arms: pd.DataFrame, state: RolloutState | None = None
) -> Verdict:
    day = START + timedelta(days=offset)
    return judge_day(loop, state or state_on(offset), paired, arms, day, exposure=exposure_of(arms))


def without_evidence(policy: str) -> Loop:
    """All units of a dimension together are too few."""
    return changed(flights_loop(), "cohorts", without_evidence=policy, min_units=50_000)


def test_a_cohort_without_evidence_holds_a_promotion() -> None:
    paired, arms = world(1, gain=0.03)
    assert look(flights_loop(), 30, paired, arms).action == "promote"
    verdict = look(without_evidence("hold"), 30, paired, arms)
    assert verdict.action == "hold"
    assert any("not enough evidence" in reason for reason in verdict.reasons)
    assert verdict.evidence["cohorts_without_evidence"] == ["origin=other", "carrier=other"]
    assert not verdict.evidence["needs_signature_for"]


def test_accepting_it_names_what_has_to_be_signed_for() -> None:
    paired, arms = world(1, gain=0.03)
    verdict = look(without_evidence("accept"), 30, paired, arms)
    assert verdict.action == "promote"
    assert verdict.evidence["needs_signature_for"] == ["origin=other", "carrier=other"]
    assert "to be signed for: origin=other, carrier=other" in verdict.reasons[-1]
    sure = look(changed(flights_loop(), "cohorts", without_evidence="accept"), 30, paired, arms)
    assert sure.evidence["needs_signature_for"] == []


def test_accepting_without_anybody_to_sign_is_refused(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "loops" / "flights.yml").read_text(encoding="utf-8")
    assert "without_evidence: hold" in text and "promote: automatic" in text
    file = tmp_path / "flights.yml"
    file.write_text(text.replace("without_evidence: hold", "without_evidence: accept"), encoding="utf-8")
    with pytest.raises(LoopFileError, match="needs somebody to sign"):
        load_loop(file)
    rule = "promote: {by: [owner], count: 1, timeout_hours: 48}"
    signed = file.read_text(encoding="utf-8").replace("promote: automatic", rule)
    file.write_text(signed, encoding="utf-8")
    assert load_loop(file).cohorts.without_evidence == "accept"


def test_a_missing_dimension_is_never_accepted() -> None:
    paired, arms = world(1, gain=0.03)
    verdict = look(without_evidence("accept"), 30, paired[paired["cohort_dimension"] != "carrier"], arms)
    assert verdict.action == "hold"
    assert "no cohort of carrier" in verdict.reasons[0]


def test_a_small_pool_takes_in_the_smallest_judged_cohort_which_stays_judged() -> None:
    keys = [("carrier", name) for name in ("big", "middle", "tiny", "gone")] + [("all", "all")]
    counts = np.array([[90.0] * 10, [40.0] * 10, [2.0] * 10, [0.0] * 10, [132.0] * 10])
    cohorts = pooled_cohorts(
        keys, counts, -counts, ["carrier", "origin"], min_units=300, min_clusters=7, pool_as="other"
    )
    assert [(c.name, c.is_judged, c.pooled) for c in cohorts] == [
        ("carrier=big", True, ()),
        ("carrier=middle", True, ()),
        ("carrier=other", True, ("middle", "tiny")),
    ]
    assert cohorts[2].counts.tolist() == [42.0] * 10
    few = pooled_cohorts(keys, counts, -counts, ["carrier"], min_units=1000, min_clusters=7, pool_as="other")
    assert [(c.name, c.is_judged) for c in few] == [("carrier=other", True)]


def influencing() -> Loop:
    loop = changed(flights_loop(), "prediction", influences_outcome=True)
    rails = tuple(rail for rail in loop.guardrails if rail.kind == "between_arms")
    return loop.model_copy(update={"guardrails": rails})


def test_where_predictions_change_outcomes_the_arms_are_compared() -> None:
    paired, arms = world(4, gain=0.08, units=2000)
    verdict = run(influencing(), paired, arms)[-1][1]
    assert verdict.evidence["primary"]["kind"] == "between_arms"
    assert verdict.action == "promote"
    assert "champion_calibration_by_arm" not in verdict.evidence["integrity"]
    worse = run(influencing(), *world(4, gain=-0.08, units=2000))[-1][1]
    assert worse.action == "roll_back"
    both = influencing().model_copy(update={"guardrails": flights_loop().guardrails})
    assert "paired comparison would be wrong" in look(both, 30, paired, arms).reasons[0]


def test_a_cohort_harmed_between_arms_is_found() -> None:
    loop = influencing()
    paired, arms = world(5, gain=0.0, units=4000)
    exposure = exposure_of(arms).assign(n_labelled=lambda e: e["n_units"])
    lost = 0.4 * ((exposure["cohort_value"] == "DL") & (exposure["arm"] == "challenger"))
    noise = np.random.default_rng(1).normal(0, 0.5, len(exposure)) * np.sqrt(exposure["n_units"])
    exposure = exposure.assign(sum_log_loss=exposure["n_units"] * (0.5 + lost) + noise)
    day = START + timedelta(days=40)
    verdict = judge_day(loop, state_on(40), paired, arms, day, exposure=exposure)
    assert verdict.action == "roll_back"
    assert [reason[:22] for reason in verdict.reasons] == ["cohort carrier=DL is w"]


def test_the_horizon_in_clusters_ends_a_rollout_before_its_last_day() -> None:
    loop = changed(flights_loop(), "rollout", horizon_clusters=30)
    offset, verdict = run(loop, *world(1))[-1]
    assert verdict.action == "inconclusive"
    assert offset == 32  # the thirtieth day is mature
    assert verdict.evidence["primary"]["information_fraction"] == 1.0


def test_a_covariate_narrows_the_rating_and_keeps_the_verdict() -> None:
    loop = flights_loop()
    assert loop.guardrails[0].covariate == "champion_score"
    plain = loop.model_copy(
        update={
            "guardrails": (loop.guardrails[0].model_copy(update={"covariate": None}), *loop.guardrails[1:])
        }
    )
    paired, arms = world(1, gain=0.03)
    rng = np.random.default_rng(1)
    easy = rng.normal(0, 0.05, len(arms))  # how easy the rated flights were, which both rating and score feel
    arms = arms.assign(
        sum_rating=arms["sum_rating"] - arms["n_ratings"] * easy * 20,
        sum_champion_score_rated=arms["sum_champion_score_rated"] + arms["n_ratings"] * easy,
    )
    narrow = look(loop, 34, paired, arms).evidence["guardrails"]["rating"]
    wide = look(plain, 34, paired, arms).evidence["guardrails"]["rating"]
    assert narrow["standard_error"] < 0.6 * wide["standard_error"]
    assert narrow["fitted"] == 2


def test_each_look_keeps_its_e_values_and_the_tests_add_up() -> None:
    loop = flights_loop()
    answers = run(loop, *world(1))
    last = answers[-1][1]
    names = {"harm_e", *(f"guardrail_harm:{rail.metric}_e" for rail in loop.guardrails)}
    assert set(last.evidence["e_values"]) == names
    for name in names:
        record = last.evidence["e_values"][name]
        share = 2 if name == "harm_e" else 2 * len(loop.guardrails)
        assert record["alpha"] == pytest.approx(loop.rollout.rollback_alpha / share)
        path = [v.looks[name].z for _, v in answers if name in v.looks]
        assert len(path) >= 30
        assert record["largest_log_e"] == pytest.approx(max(0.0, *path), abs=1e-9)
    harm = last.evidence["tests"]["harm"]
    assert harm["alpha"] == pytest.approx(loop.rollout.rollback_alpha / 2)
    judged = [cohort for cohort in last.evidence["cohorts"].values() if cohort["judged"]]
    assert len(judged) == 10 and all(cohort["log_e"] is not None for cohort in judged)


def independent() -> Loop:
    """Units are their own clusters: the horizon and the least information are units."""
    loop = changed(flights_loop(), "rollout", horizon_clusters=36_000, min_clusters=6_000)
    rate = Guardrail(
        metric="outcome_rate",
        kind="between_arms",
        better="lower",
        margin=0.1,
        maturity_hours=72,
        min_clusters=100,
    )
    return loop.model_copy(update={"cluster": loop.unit, "guardrails": (*loop.guardrails, rate)})


def test_independent_units_are_what_a_horizon_counts() -> None:
    paired, arms = world(1, gain=0.03)
    verdict = run(independent(), paired, arms)[-1][1]
    assert verdict.action == "promote"
    assert 6_000 <= verdict.evidence["primary"]["units"] < 36_000
    assert verdict.evidence["primary"]["information_fraction"] == pytest.approx(
        verdict.evidence["primary"]["units"] / 36_000
    )
    exact = verdict.evidence["e_values"]["guardrail_harm:outcome_rate_e"]
    assert exact["alpha"] == pytest.approx(0.025 / 4), "the exact test has the guardrail's whole share"
    assert "guardrail_harm:outcome_rate" not in verdict.evidence["tests"]


def test_a_worse_rate_of_independent_units_rolls_back() -> None:
    paired, arms = world(1, gain=0.01, units=3000)
    worse = arms["arm"] == "challenger"
    more = np.where(worse, (arms["n_labelled"] * 0.25).round(), 0).astype(int)
    arms = arms.assign(sum_label=np.minimum(arms["sum_label"] + more, arms["n_labelled"]))
    offset, verdict = run(independent(), paired, arms)[-1]
    assert verdict.action == "roll_back"
    assert verdict.reasons[0].startswith("guardrail outcome_rate")
    assert offset <= 14


@pytest.mark.parametrize(
    "wrong",
    [
        {"metric": "rating", "kind": "paired"},
        {"metric": "brier", "kind": "paired", "better": "higher"},
        {"metric": "brier", "kind": "between_arms", "covariate": "champion_score"},
        {"metric": "mood", "kind": "between_arms"},
    ],
)
def test_a_guardrail_that_can_not_be_measured_is_refused(wrong: dict[str, str]) -> None:
    entry = {"better": "lower", "margin": 0.1, "maturity_hours": 72, "min_clusters": 5} | wrong
    with pytest.raises(ValueError):
        Guardrail.model_validate(entry)


def test_skewed_clusters_are_promoted_and_rolled_back_by_rules_of_their_own() -> None:
    skewed = changed(flights_loop(), "rollout", cluster_shape="skewed")
    assert run(skewed, *world(1, gain=0.03))[-1][1].action == "promote"
    assert run(skewed, *world(1, gain=-0.05))[-1][1].action == "roll_back"
    paired, arms = world(1, gain=0.02, days=40)
    # A few very bad days: the mean is as it was, its proof is not.
    usual, careful = (
        look(loop, 30, paired, arms).evidence["tests"]["promotion"] for loop in (flights_loop(), skewed)
    )
    assert careful["z"] <= usual["z"]
    bad = paired.assign(
        sum_log_loss_challenger=paired["sum_log_loss_challenger"]
        + 0.25
        * paired["n_labelled"]
        * paired["departure_date"].isin([START + timedelta(days=d) for d in (5, 17)])
    )
    usual, careful = (
        look(loop, 30, bad, arms).evidence["primary"]["value"] for loop in (flights_loop(), skewed)
    )
    assert usual == careful, "the estimate does not hang on the shape"
    by_sign, by_mean = (
        look(loop, 30, bad, arms).evidence["e_values"]["harm_e"]["log_e"] for loop in (flights_loop(), skewed)
    )
    assert by_sign != by_mean
