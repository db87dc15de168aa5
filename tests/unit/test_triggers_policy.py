"""The retrain policy: tiers in order of urgency, one request a cooldown, and why something is refused."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from ratchet.experiment.paired import Estimate
from ratchet.loop import Loop, load_loop
from ratchet.loop_triggers import FeedbackLimit
from ratchet.monitoring.drift import FeatureDrift
from ratchet.monitoring.health import Health
from ratchet.triggers.policy import TriggerDecision, TriggerFacts, TriggerHistory, decide_retrain
from ratchet.triggers.readiness import gates_green, labels_ready, request_open

AS_OF = datetime(2013, 6, 11)


def flights_loop() -> Loop:
    return load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")


def health(above: float = 0.0, gain: float = 0.05, drifting: int = 0, clusters: int = 14) -> Health:
    return Health(
        as_of=AS_OF,
        model_version=1,
        status="healthy",
        reasons=("made up",),
        log_loss=Estimate(0.45 + above, 0.004, clusters, 9000),
        above_reference=Estimate(above, 0.004, clusters, 9000),
        over_constant=Estimate(gain, 0.004, min(7, clusters), 4500),
        calibration_error=0.02,
        calibration_error_low=0.01,
        drift=tuple(FeatureDrift(f"f{i}", 7, 7, True, 0.3, 0.4, 0.2, 0.2, 0.0) for i in range(drifting)),
        maturity={},
        opinions={},
        urgent_days=7,
    )


def decide(age_days: int | None = 10, since_request: int | None = None, open_request: str | None = None,
           rollout: str | None = None, **state: float) -> TriggerDecision:  # fmt: skip
    history = TriggerHistory(
        last_trained_as_of=None if age_days is None else AS_OF - timedelta(days=age_days),
        last_request_as_of=None if since_request is None else AS_OF - timedelta(days=since_request),
        open_request=open_request,
        running_rollout=rollout,
    )
    decision = decide_retrain(flights_loop(), health(**state), history, AS_OF)  # type: ignore[arg-type]
    json.dumps(decision.evidence, allow_nan=False)
    assert decision.reason
    return decision


def test_nothing_is_due() -> None:
    decision = decide()
    assert (decision.tier, decision.action) == (None, "none")
    assert "10 days old" in decision.reason


@pytest.mark.parametrize(
    ("case", "tier"),
    [
        ({"age_days": 20}, None),
        ({"age_days": 21}, "routine"),
        ({"above": 0.05}, "event"),
        ({"above": 0.031}, None),  # above the margin, but not beyond chance
        ({"drifting": 3, "above": 0.02}, "event"),
        ({"drifting": 3, "above": 0.0}, None),  # drift that quality does not feel
        ({"drifting": 2, "above": 0.02}, None),
        ({"gain": -0.05}, "urgent"),
        ({"gain": -0.001}, None),
        ({"gain": -0.05, "above": 0.05, "drifting": 5, "age_days": 40}, "urgent"),
        ({"above": 0.05, "age_days": 40}, "event"),
    ],
)
def test_the_most_pressing_tier_that_applies(case: dict[str, float], tier: str | None) -> None:
    decision = decide(**case)  # type: ignore[arg-type]
    assert decision.tier == tier
    assert decision.action == ("none" if tier is None else "request")


def test_one_open_request_at_a_time_for_every_tier() -> None:
    for case in ({"age_days": 30}, {"above": 0.05}, {"gain": -0.05}):
        decision = decide(open_request="trigger:x", **case)  # type: ignore[arg-type]
        assert decision.action == "refuse"
        assert "trigger:x is still open" in decision.reason


def test_a_running_rollout_goes_first() -> None:
    assert decide(age_days=30, rollout="flights-v2").action == "refuse"
    assert decide(above=0.05, rollout="flights-v2").action == "refuse"
    assert decide(gain=-0.05, rollout="flights-v2").action == "refuse"


def test_the_cooldown_ends_on_its_day() -> None:
    assert decide(age_days=30, since_request=13).action == "refuse"
    assert decide(gain=-0.05, since_request=13).action == "refuse"
    assert decide(age_days=30, since_request=14).action == "request"


def test_a_storm_of_reasons_is_one_request_a_cooldown() -> None:
    """Sixty days on which everything applies: a request each fourteen days."""
    last: datetime | None = None
    requests = 0
    for day in range(60):
        now = AS_OF + timedelta(days=day)
        state = Health(**{**health(above=0.05, gain=-0.05, drifting=5).__dict__, "as_of": now})
        history = TriggerHistory(AS_OF - timedelta(days=40), last, None, None)
        if decide_retrain(flights_loop(), state, history, now).action == "request":
            requests, last = requests + 1, now
    assert requests == 5


def test_too_few_days_raise_no_alarm_and_age_still_counts() -> None:
    assert decide(above=0.3, gain=-0.3, clusters=3).action == "none"
    assert decide(above=math.nan, gain=math.nan, age_days=30).tier == "routine"


def test_without_a_model_there_is_nothing_to_retrain() -> None:
    decision = decide(age_days=None, gain=-0.5)
    assert decision.action == "none"
    assert "bootstrap" in decision.reason


def test_time_is_data() -> None:
    history = TriggerHistory(AS_OF, None, None, None)
    with pytest.raises(ValueError, match="same instant"):
        decide_retrain(flights_loop(), health(), history, AS_OF + timedelta(days=1))
    with pytest.raises(ValueError, match="future"):
        decide(age_days=-1)


WINDOW = (date(2013, 5, 1), date(2013, 5, 30))


def maturity(labelled: float = 0.97, per_day: int = 900) -> pd.DataFrame:
    days = [WINDOW[0] + timedelta(days=i) for i in range(30)]
    n = round(per_day * labelled)
    return pd.DataFrame(
        {"departure_date": days, "n_units": per_day, "n_in_window": n, "n_late_report": 3,
         "n_without_outcome": per_day - n - 3}
    )  # fmt: skip


def test_labels_are_ready_when_the_windows_are_closed() -> None:
    ready = labels_ready(flights_loop(), maturity(), *WINDOW, datetime(2013, 6, 11))
    assert ready.ready
    assert "26190 labels" in ready.reason


def test_open_windows_count_by_what_is_known() -> None:
    loop, at = flights_loop(), datetime(2013, 5, 20)
    assert labels_ready(loop, maturity(), *WINDOW, at).ready
    waiting = labels_ready(loop, maturity(labelled=0.75), *WINDOW, at)
    assert not waiting.ready
    assert "90% are needed" in waiting.reason
    assert waiting.evidence["open_days"] == 15
    assert labels_ready(loop, maturity(labelled=0.85), *WINDOW, datetime(2013, 6, 11)).ready
    silent = labels_ready(loop, maturity(labelled=0.75), *WINDOW, datetime(2013, 6, 11))
    assert not silent.ready
    assert "feed of outcomes" in silent.reason


def test_too_few_labels_or_absent_days_wait() -> None:
    loop, at = flights_loop(), datetime(2013, 6, 11)
    few = labels_ready(loop, maturity(per_day=500), *WINDOW, at)
    assert not few.ready
    assert "20000 are needed" in few.reason
    for rows in (maturity().iloc[1:], maturity().iloc[:0]):
        absent = labels_ready(loop, rows, *WINDOW, at)
        assert not absent.ready
        assert "2013-05-01" in absent.reason
    empty = labels_ready(loop, maturity(per_day=0).fillna(0), *WINDOW, at)
    assert not empty.ready
    with pytest.raises(ValueError, match="before its start"):
        labels_ready(loop, maturity(), WINDOW[1], WINDOW[0], at)
    with pytest.raises(ValueError, match="lacks n_units"):
        labels_ready(loop, maturity().drop(columns="n_units"), *WINDOW, at)


def verdicts(verdict: str = "pass") -> pd.DataFrame:
    days = [WINDOW[0] + timedelta(days=i) for i in range(30)]
    return pd.DataFrame(
        {"border": "features", "table_name": "ftr", "partition_date": days, "verdict": verdict}
    )


def test_gates_are_green_only_when_each_day_was_judged_and_none_blocks() -> None:
    assert gates_green(verdicts(), *WINDOW).ready
    assert gates_green(verdicts("warn"), *WINDOW).ready
    for bad in ("block", None, "unknown", ""):
        rows = verdicts()
        rows.loc[4, "verdict"] = bad
        answer = gates_green(rows, *WINDOW)
        assert not answer.ready
        assert "2013-05-05" in answer.reason
    for rows in (verdicts().iloc[:-1], verdicts().iloc[:0], verdicts().assign(border="landing")):
        assert not gates_green(rows, *WINDOW).ready
    with pytest.raises(ValueError, match="lacks verdict"):
        gates_green(verdicts().drop(columns="verdict"), *WINDOW)


def test_a_request_is_open_or_not() -> None:
    assert request_open({"id": "trigger:x", "tier": "routine"}).ready
    assert not request_open(None).ready
    assert not request_open({}).ready
    assert not request_open({"tier": "routine"}).ready


def test_a_category_over_its_limit_asks_for_a_retrain_where_the_loop_file_says_so() -> None:
    facts = TriggerFacts(alerts={"feedback-limit:false_reassurance": "41.0% of 900 answers, at least 36.2%"})
    history = TriggerHistory(AS_OF - timedelta(days=10), None, None, None)
    loop = flights_loop()
    assert decide_retrain(loop, health(), history, AS_OF, facts).tier is None, "the flights have no limit"
    limits = {"false_reassurance": FeedbackLimit(share=0.3)}
    event = loop.triggers.event.model_copy(update={"feedback_limits": limits})
    with_limit = loop.model_copy(update={"triggers": loop.triggers.model_copy(update={"event": event})})
    decision = decide_retrain(with_limit, health(), history, AS_OF, facts)
    assert (decision.tier, decision.action) == ("event", "request")
    assert "at least 36.2%" in decision.reason and decision.evidence["facts"]["alerts"] == dict(facts.alerts)
    json.dumps(decision.evidence, allow_nan=False)
    assert decide_retrain(with_limit, health(), history, AS_OF, TriggerFacts()).tier is None
