"""The verdict follows from the record alone: sums equal a second count, and a record without a number refuses."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.judged_rows import FACTS, answers, evidence, flights_loop, refusals, rows, scores_of, sums_of

from ratchet.evaluation.cohorts import calibration_of, cohorts_of, signed_gap
from ratchet.evaluation.facts import CandidateFacts
from ratchet.evaluation.gates import judge, judge_recorded, reasons_of
from ratchet.evaluation.intervals import losses
from ratchet.evaluation.sums import Window, summarise
from ratchet.evaluation.terms import loop_with, terms_of_evaluation
from ratchet.ledger.chain import canonical, plain


def record() -> dict[str, Any]:
    frame, _ = rows()
    content = {
        "terms": terms_of_evaluation(flights_loop()),
        "sums": sums_of(frame, FACTS, scores_of()),
        "facts": FACTS.evidence(),
    }
    return json.loads(canonical(plain(content)))


def test_terms_and_facts_come_back_as_they_were() -> None:
    loop = flights_loop()
    again = loop_with(record()["terms"])
    # The order of categories is the contract's, though a record sorts keys.
    assert again.features.columns == loop.features.columns
    assert list(again.features.categorical["origin"]) == list(loop.features.categorical["origin"])
    assert again.gates == loop.gates
    assert CandidateFacts.from_evidence(record()["facts"]) == FACTS
    with pytest.raises(ValueError, match="no gates"):
        loop_with({name: part for name, part in record()["terms"].items() if name != "gates"})


def test_the_record_passes_and_its_reasons_have_the_numbers() -> None:
    found = judge_recorded(record())
    assert found.verdict == "pass", reasons_of(found)
    assert any("against the champion's" in reason for reason in reasons_of(found))
    assert judge_recorded({"sums": None}).verdict == "refuse"


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key, and the first and last item of every list."""
    if isinstance(node, dict):
        for key in sorted(node):
            yield (*path, key)
            yield from _leaves(node[key], (*path, key))
    elif isinstance(node, list) and node:
        for place in sorted({0, len(node) - 1}):
            yield (*path, place)
            yield from _leaves(node[place], (*path, place))


def _spoilt(content: dict[str, Any], path: tuple[Any, ...], how: str) -> dict[str, Any]:
    copied = copy.deepcopy(content)
    node: Any = copied
    for key in path[:-1]:
        node = node[key]
    if how == "absent":
        del node[path[-1]]
    else:
        node[path[-1]] = None
    return copied


#: What is told and judged by no gate: a second metric, a scorer beside those compared, what plots are drawn from.
TOLD = (
    "sums.reliability", "sums.auc.champion", "sums.auc.logistic", "sums.auc.without_new_rows", "sums.ablation.rows",
    *(f"sums.windows.scorers.{name}.brier" for name in ("candidate", "champion", "constant", "logistic")),
    "sums.windows.scorers.without_new_rows.brier", "sums.windows.scorers.without_new_rows.scores",
    *(f"sums.cohorts.all.all.{name}.{part}" for name in ("candidate", "champion")
      for part in ("alarms", "loss", "missed")),
    "sums.cohorts.all.all.champion.gaps", "sums.cohorts.all.all.labels", "sums.leak.single_feature_auc.",
    "sums.mutations.monotone.precipitation_in.direction", "sums.mutations.monotone.visibility_miles.direction",
    "sums.mutations.probes",
)  # fmt: skip


def test_a_record_without_a_number_never_passes() -> None:
    """Each sum and each fact in turn is taken out, or made null: the verdict is refuse, and nothing is raised."""
    content, tried, passed = record(), 0, []
    for part in ("sums", "facts"):
        for path in _leaves(content[part]):
            names = tuple(key for key in path if isinstance(key, str))
            for how in ("absent", "null"):
                spoilt = {**content, part: _spoilt(content[part], path, how)}
                tried += 1
                if judge_recorded(spoilt).verdict == "pass":
                    passed.append((part, *names, how))
    assert tried > 900
    found = {".".join(item[:-1]) for item in passed}
    wrong = sorted(name for name in found if not name.startswith(TOLD))
    assert wrong == []
    # Of features, only null is an answer: it can't be told.
    assert not [item for item in passed if "single_feature_auc" in item and item[-1] == "absent"]


def test_a_record_with_nothing_counted_refuses() -> None:
    content = record()
    for key in ("windows", "cohorts", "leak", "mutations", "ablation"):
        empty = [] if key == "windows" else {}
        assert judge_recorded({**content, "sums": {**content["sums"], key: empty}}).verdict == "refuse", key
    nothing = copy.deepcopy(content)
    window = nothing["sums"]["windows"][-1]
    window["rows"] = [0] * len(window["rows"])
    assert judge_recorded(nothing).verdict == "refuse"


def test_sums_equal_a_second_count() -> None:
    frame, truth = rows()
    loop, found = flights_loop(), sums_of(frame, FACTS, scores_of())
    labels = frame["label"].to_numpy(float)
    table = frame.assign(
        loss=losses("log_loss", labels, truth),
        missed=(labels == 1) & (truth < loop.gates.evaluation.decision_threshold),
        alarms=(labels == 0) & (truth >= loop.gates.evaluation.decision_threshold),
    )
    looked_at = 0
    for value, part in table.groupby("carrier"):
        cell = found["cohorts"]["carrier"][value]
        daily = part.groupby("departure_date")
        np.testing.assert_allclose(cell["candidate"]["loss"], daily["loss"].sum(), atol=1e-8)
        assert cell["rows"] == daily.size().tolist()
        assert cell["labels"] == daily["label"].sum().tolist()
        for kind in ("missed", "alarms"):
            assert cell["candidate"][kind] == daily[kind].sum().tolist()
        gaps = np.array(cell["candidate"]["gaps"]).sum()
        assert gaps == pytest.approx((truth - labels)[part.index].sum(), abs=1e-2)
        looked_at += len(part)
    assert looked_at == len(frame)
    newest = found["windows"][-1]
    np.testing.assert_allclose(
        newest["scorers"]["candidate"]["log_loss"], table.groupby("departure_date")["loss"].sum()
    )


def test_a_cross_signed_gap_has_no_bias_and_finds_a_real_one() -> None:
    """Small and calibrated: the plain error is far from 0, the cross-signed one is not."""
    rng = np.random.default_rng(3)
    plain_errors, signed = [], []
    for _ in range(200):
        noise = rng.normal(size=(14, 10))
        plain_errors.append(np.abs(noise.sum(axis=0)).sum())
        signed.append(signed_gap(noise).sum())
    assert np.mean(plain_errors) > 20
    assert abs(np.mean(signed)) < 3
    assert signed_gap(rng.normal(size=(14, 10)) + 2).sum() > 200


# Windows.


def older(days_back: int, gain: float = 0.0, **changes: Any) -> Window:
    """A window of the same rows, earlier; its constant is better by nothing, or the candidate worse by `gain`."""
    frame, truth = rows()
    back = timedelta(days=days_back)
    scores = scores_of() | {"champion": None, "logistic": None, "without_new_rows": None}
    if gain:
        scores["candidate"] = np.clip(0.9 - truth, 0.01, 0.99)
    content: dict[str, Any] = {
        "train_start": FACTS.train_start,
        "train_end": FACTS.train_end - back,
        "start": FACTS.eval_start - back,
        "end": FACTS.eval_end - back,
        "train_rows": 20_000,
        "overlapping_units": 0,
        "frame": frame.assign(departure_date=[day - back for day in frame["departure_date"]]),
        "scores": scores,
    }
    return Window(**{**content, **changes})


def with_windows(*windows: Window, facts: CandidateFacts = FACTS, min_windows: int = 2) -> set[str]:
    frame, truth = rows()
    newest = older(0, scores=scores_of(), train_end=facts.train_end, frame=frame)
    training = flights_loop().training.model_copy(update={"min_windows": min_windows, "windows": 3})
    loop = flights_loop().model_copy(update={"training": training})
    found = summarise(loop, [*windows, newest], evidence(frame, truth))
    return refusals(judge(loop, json.loads(canonical(plain(found))), facts))


def test_a_gain_in_each_window_is_durable_and_one_window_alone_is_not() -> None:
    assert with_windows(older(14)) == set()
    assert with_windows(older(28), older(14)) == set()
    assert with_windows() == {"durable_gain"}
    assert with_windows(min_windows=1) == set()


def test_a_window_without_a_gain_or_with_known_rows_is_refused() -> None:
    assert "durable_gain" in with_windows(older(28), older(14, gain=1.0))
    assert "window_overlap" in with_windows(older(14, overlapping_units=3))
    assert "window_overlap" in with_windows(older(14, train_end=FACTS.eval_start - timedelta(days=16)))
    assert "window_overlap" in with_windows(older(14, train_rows=0))
    assert "finite_scores" in with_windows(older(14, scores={"constant": np.full(len(rows()[0]), 0.2)}))
    assert "finite_scores" in with_windows(older(14, frame=older(14).frame.assign(label=0)))


def test_the_champion_is_compared_only_on_windows_after_all_its_rows() -> None:
    """The window from 18 February starts before the champion's last row of 20 February."""
    frame, truth = rows()
    newest = older(0, scores=scores_of(), frame=frame)
    loop = flights_loop()
    known = replace(FACTS, champion_rows_end=date(2013, 2, 20))
    free = replace(FACTS, champion_rows_end=date(2013, 2, 10))
    earlier = older(14, scores=scores_of())
    for facts, windows in ((known, 1), (free, 2)):
        found = judge(loop, summarise(loop, [earlier, newest], evidence(frame, truth)), facts)
        compared = next(gate for gate in found.gates if gate.name == "not_worse_than_champion")
        assert len(compared.evidence["windows"]) == windows
        assert compared.evidence["clusters"] == 14 * windows


# New rows.


def test_new_rows_may_help_do_nothing_or_be_refused() -> None:
    _, truth = rows()
    for old, word, refused in (
        (np.clip(truth * 0.5 + 0.1, 0, 1), "improve it", False),
        (truth, "are not shown to change it", False),
    ):
        found = answers(without_new_rows=old)
        told = next(gate for gate in found.gates if gate.name == "gain_comes_from_new_data")
        assert word in told.reason
        assert (told.verdict == "refuse") is refused
    worse = np.clip(truth * 0.5 + 0.1, 0.01, 0.99)
    assert "gain_comes_from_new_data" in refusals(answers(candidate=worse, without_new_rows=truth))
    assert "gain_comes_from_new_data" in refusals(answers(without_new_rows=None))
    same = replace(FACTS, train_end=date(2013, 2, 28), champion_rows_end=date(2013, 2, 28))
    assert "gain_comes_from_new_data" not in refusals(answers(facts=same, without_new_rows=None))


# Cohorts, kinds of error, gaps.


def test_a_cohort_that_is_off_is_named_and_a_small_one_is_no_evidence() -> None:
    frame, truth = rows()
    off = np.where(frame["carrier"] == "DL", np.clip(truth + 0.3, 0, 0.99), truth)
    found = answers(candidate=off, champion=off)
    gate = next(gate for gate in found.gates if gate.name == "calibration_by_cohort")
    assert gate.verdict == "refuse"
    assert gate.reason.startswith("carrier=DL is off")
    assert not [name for name in gate.evidence["cohorts"] if name != "carrier=DL"
                and gate.evidence["cohorts"][name]["state"] == "off"]  # fmt: skip
    small = frame.assign(carrier=np.where(np.arange(len(frame)) < 40, "HA", frame["carrier"]))
    gate = next(g for g in answers(small).gates if g.name == "calibration_by_cohort")
    assert gate.evidence["cohorts"]["carrier=other"]["state"] == "not enough evidence"


def test_false_reassurance_that_grows_in_a_cohort_is_refused() -> None:
    """Log loss hides it: the scores of late ones near the threshold all fall below it."""
    frame, truth = rows()
    near = (truth > 0.3) & (truth < 0.5) & (frame["origin"] == "JFK").to_numpy()
    found = answers(candidate=np.where(near, 0.29, truth), champion=truth, without_new_rows=truth)
    gate = next(gate for gate in found.gates if gate.name == "errors_by_cohort")
    assert gate.verdict == "refuse"
    assert "origin=JFK false_reassurance" in gate.reason
    gap = next(gate for gate in found.gates if gate.name == "fairness_gap:origin")
    assert gap.verdict == "refuse"
    assert gap.evidence["gaps"]["false_reassurance"]["low"] > 0
    assert refusals(answers(candidate=truth, champion=truth)) == set()


def test_a_gap_needs_two_cohorts() -> None:
    frame, _ = rows()
    assert "fairness_gap:origin" in refusals(answers(frame.assign(origin="JFK")))


def test_cohorts_are_pooled_and_their_calibration_is_theirs() -> None:
    frame, truth = rows()
    loop, found = flights_loop(), sums_of(frame, FACTS, scores_of())
    cohorts = {cohort.name: cohort for cohort in cohorts_of(loop, found)}
    estimate = calibration_of(cohorts["carrier=DL"], "candidate")
    assert estimate.clusters == 14
    assert abs(estimate.value) < 0.05
    assert estimate.units == int((frame["carrier"] == "DL").sum())
    assert len(truth) == int(sum(c.rows.sum() for c in cohorts.values() if c.dimension == "origin"))


# Leaks, probes, ablation, objective.


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"plane_seats": lambda f: f["label"].astype(float)}, "leak_target"),
        ({"plane_seats": lambda f: 1.0 - f["label"]}, "leak_target"),
        ({"plane_seats": lambda f: np.where(f["label"] == 1, 7.0, 3.0)}, "leak_target"),
        ({"weather_known_at": lambda f: f["predict_at"] + pd.Timedelta(minutes=1)}, "leak_future_column"),
        ({"label_received_at": lambda f: f["predict_at"]}, "leak_future_column"),
        ({"label_received_at": lambda f: pd.NaT}, "leak_future_column"),
    ],
)
def test_leaks_beyond_strength(change: dict[str, Any], gate: str) -> None:
    frame, _ = rows()
    name, make = next(iter(change.items()))
    assert gate in refusals(answers(frame.assign(**{name: make(frame)})))
    honest = frame.assign(weather_known_at=frame["predict_at"])
    assert "leak_future_column" not in refusals(answers(honest))


def test_rows_without_the_time_of_their_prediction_are_refused() -> None:
    frame, _ = rows()
    assert {"leak_single_feature", "leak_target", "leak_future_column"} <= refusals(
        answers(frame.drop(columns="predict_at"))
    )


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"last_bits": 0.2}, "stability"),
        ({"float32": 0.2}, "stability"),
        ({"not_finite": 1}, "stability"),
        ({"rows": 0}, "mutation_monotone"),
        ({"invariant": {"distance_miles": 0.5}}, "mutation_invariant"),
        (
            {"monotone": {"precipitation_in": {"direction": "up", "rows": 400, "violations": 40}}},
            "mutation_monotone",
        ),
        (
            {"monotone": {"precipitation_in": {"direction": "up", "rows": 0, "violations": 0}}},
            "mutation_monotone",
        ),
        ({"missing": [0.0, 0.5]}, "mutation_missing"),
        ({"missing": [0.1, 0.999]}, "mutation_missing"),
        ({"unseen_category": [0.1, 1.0]}, "mutation_unseen_category"),
    ],
)
def test_probes_that_refuse(change: dict[str, Any], gate: str) -> None:
    content = record()
    found = content["sums"]["mutations"]
    for name, value in change.items():
        found[name] = {**found[name], **value} if isinstance(value, dict) else value
    assert gate in refusals(judge_recorded(content))


def test_a_group_that_does_harm_is_refused_and_the_table_says_what_each_costs() -> None:
    content = record()
    gate = next(g for g in judge_recorded(content).gates if g.name == "feature_ablation")
    assert {row["state"] for row in gate.evidence["groups"].values()} == {"helps"}
    assert gate.evidence["groups"]["plane"]["columns"] == 2
    found = content["sums"]["ablation"]["losses"]
    found["weather"] = [loss * 0.8 for loss in found["all_features"]]
    refused = judge_recorded(content)
    assert refusals(refused) == {"feature_ablation"}
    assert "weather makes the model worse" in refused.refusals[0].reason


def test_objectives_are_weighed_by_the_loop_files_rule() -> None:
    content = record()
    rule = content["terms"]["gates"]["evaluation"]["objective"]
    told = next(g for g in judge_recorded(content).gates if g.name == "objective")
    assert told.evidence["utility"] == pytest.approx(
        sum(w * told.evidence["candidate"][name] for name, w in rule["utility"].items())
    )
    rule["must"] = {"log_loss": {"at_most": 0.1, "at_least": None}}
    assert refusals(judge_recorded(content)) == {"objective"}
    rule["must"] = {"auc": {"at_most": None, "at_least": 0.99}}
    assert "auc is" in judge_recorded(content).refusals[0].reason
    rule["must"], rule["utility"] = {}, {"latency_ms_per_1000": -1.0}
    slow = {**content["facts"], "latency_ms_per_1000": 5.0}
    assert refusals(judge_recorded({**content, "facts": slow})) == {"objective"}
    assert refusals(judge_recorded(content)) == set()
    rule["utility"] = {"auc": math.pi}
    content["sums"]["auc"] = {}
    assert refusals(judge_recorded(content)) == {"objective"}
