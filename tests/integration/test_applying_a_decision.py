"""Applying a rollout's decision: only a recorded one, once, and a crash anywhere is finished by the retry."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.integration.served_world import copied, quiet

from ratchet.experiment.state import Verdict
from ratchet.ledger.state import fold
from ratchet.ledger.store import Ledger
from ratchet.published import publish
from ratchet.registry.models import Registry
from ratchet.scoring.routing import read_routing
from ratchet.stages import applying, serving
from ratchet.stages import rollout as stage
from ratchet.stages.jobs import Job
from ratchet.stages.serving import project, terms_of
from ratchet.stages.train import offer
from ratchet.warehouse.connect import open_warehouse

STARTED = datetime(2013, 6, 18)
EXPERIMENT = "flights-v2-20130618"
DECISION = f"look:{EXPERIMENT}:2013-07-14"


class Installation:
    """A loop with champion 1 and challenger 2 on trial, and one decision that waits."""

    def __init__(self, template: Path, home: Path) -> None:
        world = copied(template, home)
        self.settings, self.loop, self.ledger = world.settings, world.loop, world.ledger
        self.registry = Registry(self.settings)
        self._append("bootstrap", "bootstrap:x", STARTED - timedelta(days=21), model_version=1,
                     model_sha256=world.sha256[1], request="bootstrap:x")  # fmt: skip
        self._append("trigger", "trigger:x", STARTED, action="request", tier="routine", reason="for the test")
        self._append("rollout_started", f"rollout:{EXPERIMENT}", STARTED, experiment_id=EXPERIMENT,
                     champion_version=1, challenger_version=2, stage="shadow", request="trigger:x",
                     model_sha256=world.sha256[2], terms=terms_of(self.loop))  # fmt: skip
        bins = [{"feature": "distance_miles", "bin": b, "lower_bound": None, "upper_bound": None,
                 "reference_share": 0.5} for b in (0, 1)]  # fmt: skip
        Job("flights", "retrain", "trigger:x", STARTED).write(self.settings, "profile", {"bins": bins})
        project(self.settings, self.loop)

    def _append(self, kind: str, key: str, as_of: datetime, **payload: Any) -> None:
        self.ledger.append(loop="flights", kind=kind, key=key, as_of=as_of, payload=payload)

    def decide(self, action: str) -> None:
        self._append(
            "rollout_decision", DECISION, datetime(2013, 7, 15), experiment_id=EXPERIMENT, day="2013-07-14",
            action=action, to_apply=action != "hold", stage="shadow", stage_index=0, reasons=["for the test"], looks={},
        )  # fmt: skip

    def apply(self) -> dict[str, Any]:
        return applying.apply(self.settings, self.loop, DECISION, datetime(2013, 7, 16), quiet)

    def serving(self) -> tuple[int, float, dict[str, int]]:
        routing = read_routing(self.settings, "flights")
        return routing.champion_version, routing.share, self.registry.aliases("flights")


@pytest.fixture
def installation(served_template: Path, tmp_path: Path) -> Installation:
    return Installation(served_template, tmp_path / "home")


@pytest.mark.parametrize(
    ("action", "champion", "share", "aliases"),
    [
        ("advance", 1, 0.05, {"champion": 1, "challenger": 2}),
        ("promote", 2, 0.05, {"champion": 2}),
        ("roll_back", 1, 0.0, {"champion": 1}),
        ("inconclusive", 1, 0.0, {"champion": 1}),
    ],
)
def test_each_action_and_its_repetition(
    installation: Installation, action: str, champion: int, share: float, aliases: dict[str, int]
) -> None:
    installation.decide(action)
    assert installation.apply()["again"] is False
    assert installation.serving() == (champion, share, aliases)
    entries = len(installation.ledger.entries())
    assert installation.apply()["again"] is True
    assert installation.serving() == (champion, share, aliases)
    assert len(installation.ledger.entries()) == entries
    state = fold(installation.ledger.entries("flights"))
    assert state.champion_version == champion
    assert (state.rollout is None) == (action != "advance")


def test_without_a_decision_nothing_changes(installation: Installation) -> None:
    before = installation.serving()
    with pytest.raises(applying.NoDecision, match="no decision"):
        installation.apply()
    installation.decide("hold")
    with pytest.raises(applying.NoDecision, match="no decision"):
        installation.apply()
    assert installation.serving() == before


@pytest.mark.parametrize("action", ["advance", "promote", "roll_back"])
@pytest.mark.parametrize(
    "step", ["adopt_profile", "set_alias", "drop_alias", "write_routing", "append", "publish_running"]
)
def test_a_crash_between_two_steps_is_finished_by_the_retry(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, action: str, step: str
) -> None:
    installation.decide(action)

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step in ("set_alias", "drop_alias"):
            patch.setattr(Registry, step, crash)
        elif step == "append":
            patch.setattr(Ledger, step, crash)
        elif step == "write_routing":
            patch.setattr(serving, step, crash)
        else:
            patch.setattr(applying, step, crash)
        try:
            installation.apply()
        except KeyboardInterrupt:
            # Whatever was reached: what serves is a version that the ledger offered.
            assert installation.serving()[0] in (1, 2)
    recorded = any(e.kind == "rollout_applied" for e in installation.ledger.entries("flights"))
    if recorded:
        # The next scoring run would do as well as the retry.
        project(installation.settings, installation.loop)
        assert installation.serving()[0] == (2 if action == "promote" else 1)
    installation.apply()
    champion = 2 if action == "promote" else 1
    assert installation.serving()[0] == champion
    assert installation.registry.aliases("flights")["champion"] == champion
    applied = [e for e in installation.ledger.entries("flights") if e.kind == "rollout_applied"]
    assert len(applied) == 1
    assert installation.ledger.verify().ok
    if action == "promote":
        with open_warehouse(installation.settings, purpose="test") as warehouse:
            bins = warehouse.frame("select * from ops.feature_bins")
        assert set(bins["model_version"]) == {2}
        assert len(bins) == 2


def test_looks_resume_after_the_last_one(installation: Installation) -> None:
    state = fold(installation.ledger.entries("flights"))
    assert state.rollout is not None
    days = stage._days(installation.loop, state.rollout, datetime(2013, 6, 25))
    assert days[0] == STARTED.date()
    # 25 June 00:00 UTC is the evening of the 24th in New York: that day is not over.
    assert days[-1].isoformat() == "2013-06-23"
    installation.decide("hold")
    state = fold(installation.ledger.entries("flights"))
    assert state.rollout is not None
    assert stage._days(installation.loop, state.rollout, datetime(2013, 7, 17))[0].isoformat() == "2013-07-15"


def test_an_ending_decision_comes_first(installation: Installation) -> None:
    installation.decide("roll_back")
    assert stage.decide(installation.settings, installation.loop, datetime(2013, 7, 16), quiet) == {
        "decision": DECISION, "as_of": "2013-07-16T00:00:00",
    }  # fmt: skip
    installation.apply()
    assert stage.decide(installation.settings, installation.loop, datetime(2013, 7, 23), quiet) is None


@pytest.mark.parametrize("action", ["advance", "promote", "roll_back"])
def test_repeating_an_old_offer_changes_nothing(installation: Installation, action: str) -> None:
    """Someone clears offer_challenger of an old run: what serves follows from the ledger, not from the task."""
    installation.decide(action)
    installation.apply()
    before, entries = installation.serving(), len(installation.ledger.entries())
    for mode, request in (("retrain", "trigger:x"), ("bootstrap", "bootstrap:x")):
        job = Job("flights", mode, request, STARTED)  # type: ignore[arg-type]
        assert offer(installation.settings, installation.loop, job, quiet)["offered"]
    assert installation.serving() == before
    assert len(installation.ledger.entries()) == entries


def test_the_terms_are_those_of_the_start(installation: Installation) -> None:
    """A loop file edited during a rollout moves no boundary and drops no guardrail."""
    edited = installation.loop.model_copy(
        update={
            "rollout": installation.loop.rollout.model_copy(update={"horizon_days": 14}),
            "guardrails": installation.loop.guardrails[:1],
        }
    )
    entries = installation.ledger.entries("flights")
    rollout = fold(entries).rollout
    assert rollout is not None
    agreed = serving.loop_as_agreed(edited, entries, rollout)
    assert agreed.rollout.horizon_days == 42
    assert agreed.guardrails == installation.loop.guardrails
    assert agreed.features == edited.features
    said: list[str] = []
    with open_warehouse(installation.settings, purpose="test") as warehouse:
        warehouse.execute("create schema experiments")
        for table in ("exp_paired_daily", "exp_arm_daily", "exp_exposure_daily"):
            warehouse.execute(
                f"create table experiments.{table} (loop varchar, experiment_id varchar, a date, b int, c int, d int)"
            )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "publish_comparison", lambda *_: None)
        stage.decide(installation.settings, edited, datetime(2013, 6, 25), said.append)
    assert any("the terms it started with" in line for line in said)


def test_an_edit_that_contradicts_the_old_terms_stops_nothing(installation: Installation) -> None:
    edited = installation.loop.model_copy(
        update={"policy": installation.loop.policy.model_copy(update={"max_challenger_share": 0.1})}
    )
    assert serving.project(installation.settings, edited).champion_version == 1


def test_terms_of_another_version_stop_the_judge_but_not_the_scoring(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollout runs while Ratchet is upgraded, and the new version asks for a key that its terms do not have."""
    entries = installation.ledger.entries("flights")
    started = next(entry for entry in entries if entry.kind == "rollout_started")
    terms = {**started.payload["terms"]}
    terms["gates"] = {"evaluation": {k: v for k, v in terms["gates"]["evaluation"].items() if k != "alpha"}}
    older = replace(started, payload={**started.payload, "terms": terms})
    changed = [older if entry is started else entry for entry in entries]
    rollout = fold(changed).rollout
    assert rollout is not None
    with pytest.raises(serving.TermsOutdated, match="gates"):
        serving.loop_as_agreed(installation.loop, changed, rollout)
    assert serving.routing_from(installation.loop, changed) == serving.routing_from(
        installation.loop, entries
    )


def test_an_old_as_of_takes_effect_now(installation: Installation) -> None:
    """On-call repeats an old run: the stage starts when it is applied, and the ledger stays readable."""
    publish(installation.settings, "flights", "partitions", {"as_of": datetime(2013, 7, 16)})
    installation.decide("advance")
    applying.apply(installation.settings, installation.loop, DECISION, STARTED, quiet)
    rollout = fold(installation.ledger.entries("flights")).rollout
    assert rollout is not None
    assert rollout.trial.stage_started_on.isoformat() == "2013-07-16"


def test_an_advance_that_died_is_not_applied_before_the_newer_days(installation: Installation) -> None:
    installation.decide("advance")
    judged: list[str] = []

    def worse(loop: Any, trial: Any, paired: Any, arms: Any, day: Any, **_: Any) -> Verdict:
        judged.append(day.isoformat())
        return Verdict("roll_back", ("worse",), {})

    with open_warehouse(installation.settings, purpose="test") as warehouse:
        warehouse.execute("create schema experiments")
        for table in ("exp_paired_daily", "exp_arm_daily", "exp_exposure_daily"):
            warehouse.execute(
                f"create table experiments.{table} (loop varchar, experiment_id varchar, a date, b int, c int, d int)"
            )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ratchet.certificate.judges.judge_day", worse)
        patch.setattr(stage, "publish_comparison", lambda *_: None)
        decided = stage.decide(installation.settings, installation.loop, datetime(2013, 7, 23), quiet)
    assert judged == ["2013-07-15"]
    assert decided is not None
    assert decided["decision"] == f"look:{EXPERIMENT}:2013-07-15"
    applying.apply(
        installation.settings, installation.loop, decided["decision"], datetime(2013, 7, 23), quiet
    )
    assert installation.serving() == (1, 0.0, {"champion": 1})


def test_frames_without_rows_hold(installation: Installation) -> None:
    from ratchet.experiment.verdict import judge_day

    state = fold(installation.ledger.entries("flights")).rollout
    assert state is not None
    verdict = judge_day(
        installation.loop, state.trial, pd.DataFrame(), pd.DataFrame(), datetime(2013, 7, 1).date()
    )
    assert verdict.action == "hold"
    assert verdict.reasons
