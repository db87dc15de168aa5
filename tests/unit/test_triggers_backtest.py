"""A policy replayed: it decides as it would live, costs what it asks for, and is judged by when it asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.experiment.paired import Estimate
from ratchet.ledger.chain import Entry
from ratchet.ledger.trainings import learned_until, spent_in_month
from ratchet.loop import Loop, load_loop
from ratchet.loop_triggers import Budget
from ratchet.monitoring.drift import FeatureDrift
from ratchet.monitoring.health import Health
from ratchet.stages.backtesting import NothingToReplay, policy_of
from ratchet.triggers.backtest import Assumed, Backtest, Day, backtest
from ratchet.triggers.policy import Spent, TriggerFacts, TriggerHistory, decide_retrain

START = datetime(2013, 6, 1)
ASSUMED = Assumed(trial_days=10, cost=100.0, first_trained=START)


def loop(**triggers: object) -> Loop:
    found = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
    return found.model_copy(update={"triggers": found.triggers.model_copy(update=triggers)})


def day(n: int, above: float = 0.0, gain: float = 0.1, drifting: int = 0, **more: object) -> Day:
    as_of = START + timedelta(days=n)
    health = Health(
        as_of, 1, "healthy", ("made up",), Estimate(0.5, 0.004, 14, 9000), Estimate(above, 0.004, 14, 9000),
        Estimate(gain, 0.004, 7, 4500), 0.02, 0.01,
        tuple(FeatureDrift(f"f{i}", 7, 7, True, 0.3, 0.4, 0.2, 0.2, 0.0) for i in range(drifting)), {}, {}, 7,
    )  # fmt: skip
    return replace(Day(as_of, health, {}, False, True), **more)  # type: ignore[arg-type]


def run(days: list[Day], policy: Loop | None = None, **more: object) -> Backtest:
    lost = {(d.as_of - timedelta(days=1)).date(): 10.0 * (d.health.above_reference.value > 0) for d in days}
    return backtest(policy or loop(), days, lost, ASSUMED, **more)  # type: ignore[arg-type]


def days_of(found: Backtest) -> list[tuple[str, int]]:
    return [(str(made.tier), (d.as_of - START).days) for d, made in found.fired()]


def test_a_quiet_year_asks_by_age_alone_and_says_so() -> None:
    found = run([day(n) for n in range(365)])
    assert {tier for tier, _ in days_of(found)} == {"routine"}
    summary = found.summary()
    assert summary["routine"] == len(range(21, 365, 21)) == 17
    assert (summary["cost"], summary["episodes"], summary["requests_outside_episodes"]) == (1700.0, 0, 17)


def test_an_episode_is_answered_and_what_it_lost_before_is_counted() -> None:
    found = run([day(n, above=0.1 if 5 <= n < 40 else 0.0) for n in range(60)])
    assert days_of(found)[0] == ("event", 5)
    (episode,) = found.episodes
    assert (episode.first, episode.last) == (date(2013, 6, 6), date(2013, 7, 10))
    assert episode.delay_days == 0
    assert episode.lost == pytest.approx(340.0)
    assert episode.lost_before_answer == pytest.approx(110.0), "its first day, and the ten of the trial"


def test_two_policies_are_judged_by_the_same_episodes() -> None:
    days = [day(n, above=0.1 if n >= 5 else 0.0) for n in range(40)]
    deaf = loop(event=loop().triggers.event.model_copy(update={"log_loss_margin": 9.0}))
    first, second = run(days), run(days, deaf, judged=days)
    assert first.episodes[0].lost == second.episodes[0].lost
    assert first.episodes[0].lost_before_answer < second.episodes[0].lost_before_answer
    assert days_of(second) == [("routine", 21)]


def test_nothing_to_look_at_is_no_result() -> None:
    with pytest.raises(ValueError, match="no day"):
        run([])
    with pytest.raises(ValueError, match="not in order"):
        run([day(2), day(1)])


def test_a_refusal_that_history_knows_frees_the_way_for_the_next_request() -> None:
    days = [day(n) for n in range(60)]
    assumed = replace(ASSUMED, passed={(START + timedelta(days=21)).date(): False})
    found = backtest(loop(), days, {}, assumed)
    assert days_of(found) == [("routine", 21), ("routine", 35), ("routine", 56)], "after the cooldown"


def test_urgent_goes_back_first_and_ends_the_trial() -> None:
    found = run([day(n, gain=-0.1 if 40 <= n < 43 else 0.1) for n in range(60)])
    assert days_of(found) == [("routine", 21), ("urgent", 40)]
    assert found.summary()["went_back_first"] == 1


def test_a_budget_ends_the_requests_of_a_month() -> None:
    days = [day(n, above=0.1) for n in range(90)]
    policy = loop(cooldown_days=0)
    free, poor = run(days, policy), run(days, loop(cooldown_days=0, budget=Budget(per_month=150)))
    by_month = [d.as_of.month for d, _ in poor.fired()]
    assert max(by_month.count(month) for month in by_month) == 1
    assert len(free.fired()) > len(poor.fired())
    refused = [made.reason for _, made in poor.fired(action="refuse")]
    assert any("the budget is 150" in reason for reason in refused)


def decided(policy: Loop, facts: TriggerFacts, age: int = 5, **state: float):  # type: ignore[no-untyped-def]
    made = day(30, **state)  # type: ignore[arg-type]
    history = TriggerHistory(made.as_of - timedelta(days=age), None, None, None)
    return decide_retrain(policy, made.health, history, made.as_of, facts)


def test_drift_that_quality_does_not_feel_is_a_note_and_unused_inputs_do_not_count() -> None:
    noted = decided(loop(), TriggerFacts(), drifting=4)
    assert noted.action == "none"
    assert "noted: f0, f1, f2, f3 drift, which quality does not feel" in noted.reason
    felt = {"drifting": 3, "above": 0.02}
    assert decided(loop(), TriggerFacts(), **felt).tier == "event"
    unused = decided(loop(), TriggerFacts(unused=("f0",)), **felt)
    assert unused.action == "none"
    assert "f0 drift, which the model does not use" in unused.reason


def test_signals_labels_and_freezes() -> None:
    base = loop().triggers
    event = base.event.model_copy(update={"signals": ("complaints:*",), "new_labels": 1000})
    urgent = base.urgent.model_copy(update={"signals": ("guardrail:*",)})
    policy = loop(event=event, urgent=urgent)
    complaints = decided(policy, TriggerFacts(alerts={"complaints:late": "twice as many"}))
    assert (complaints.tier, complaints.action) == ("event", "request")
    assert "complaints:late (twice as many)" in complaints.reason
    guardrail = decided(policy, TriggerFacts(alerts={"guardrail:rating": "fell"}))
    assert (guardrail.tier, guardrail.first) == ("urgent", "roll_back")
    assert decided(policy, TriggerFacts(new_labels=999)).tier is None
    assert decided(policy, TriggerFacts(new_labels=1000)).tier == "event"
    frozen = decided(policy, TriggerFacts(freeze="it lies in the freeze"), age=30)
    assert (frozen.tier, frozen.action) == ("routine", "refuse")
    assert decided(policy, TriggerFacts(freeze="freeze"), gain=-0.1).action == "request", (
        "urgent waits for no freeze"
    )


def test_facts_read_back_as_they_were_written() -> None:
    facts = TriggerFacts({"a": "b"}, ("f",), 3, Spent(1.0, 2.0), Spent(0.0, None), "freeze")
    assert TriggerFacts.from_json(facts.to_json()) == facts


def entry(seq: int, kind: str, key: str, as_of: str, **payload: object) -> Entry:
    return Entry(seq, "flights", kind, key, as_of, as_of, "ratchet", dict(payload), "", str(seq))


def test_a_months_cost_is_of_its_trainings_and_by_tier() -> None:
    entries = [
        entry(1, "bootstrap", "b", "2013-05-28", request="bootstrap", model_version=1),
        entry(2, "training", "t0", "2013-06-01", request="bootstrap", cost={"seconds": 10.0},
              serving_train_end="2013-05-25"),
        entry(3, "trigger", "u", "2013-06-08", tier="urgent"),
        entry(4, "training", "t1", "2013-06-08", request="u", cost={"seconds": 3.0, "cpu_seconds": 5.0}),
        entry(5, "training", "t2", "2013-07-08", request="v", cost={"seconds": 3.0}),
    ]  # fmt: skip
    assert spent_in_month(entries, datetime(2013, 6, 30), "cpu_seconds") == Spent(15.0, 6.0)
    assert spent_in_month(entries, datetime(2013, 6, 30), "cpu_seconds", "urgent") == Spent(5.0, 6.0)
    assert spent_in_month(entries[:1], datetime(2013, 6, 30), "seconds") == Spent(0.0, None)
    assert learned_until(entries, 1) == "2013-05-25"
    assert learned_until(entries, 2) is None


def test_a_policy_file_says_what_differs_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text("triggers: {event: {window_days: 7}}")
    changed = policy_of(loop(), path).triggers
    assert (changed.event.window_days, changed.event.log_loss_margin) == (7, 0.03)
    for text, problem in (
        ("triggers: {evnt: {}}", "evnt"),
        ("[", "YAML"),
        ("", "give the key"),
        ("{a: 1}", "triggers.a"),
    ):
        path.write_text(text)
        with pytest.raises(NothingToReplay, match=problem):
            policy_of(loop(), path)


def test_the_command_says_what_is_wrong_with_its_range() -> None:
    runner = CliRunner()
    for arguments, problem in (
        (["--from", "2013-06-02", "--to", "2013-06-01"], "swap them"),
        (["--from", "x", "--to", "2013-06-01"], "is no date"),
        (["--from", "2013-06-01", "--to", "2013-06-02", "--plot", "a.gif"], "ends in .png or .svg"),
    ):
        done = runner.invoke(app, ["triggers", "backtest", *arguments])
        assert done.exit_code == 1
        assert problem in done.output + done.stderr
