"""An urgent decision goes back first, once; with nothing to go to it holds, or lets a constant serve."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from tests.integration.served_world import FIRST, ServedWorld, quiet

from ratchet.certificate.replay import replay
from ratchet.experiment.paired import Estimate
from ratchet.monitoring.health import Health
from ratchet.registry.models import Registry
from ratchet.stages.approvals import needed
from ratchet.stages.baseline import constant_model
from ratchet.stages.jobs import Job
from ratchet.stages.monitor import NotMeasured, reference_of
from ratchet.stages.requested import approving, as_requested
from ratchet.stages.triggering import NotDecided, decide, fall_back
from ratchet.training.fit import predict_scores

NOW = FIRST + timedelta(days=40)


@pytest.fixture(autouse=True)
def _loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.stages.rollback.score_in_child", lambda *_, **__: {})


def with_urgent(world: ServedWorld, **urgent: Any) -> ServedWorld:
    triggers = world.loop.triggers
    changed = triggers.urgent.model_copy(update=urgent)
    world.loop = world.loop.model_copy(update={"triggers": triggers.model_copy(update={"urgent": changed})})
    return world


def collapsed(world: ServedWorld, as_of: datetime = NOW, gain: float = -0.1) -> None:
    """A health record by which the served model is worse than a constant (or not), by `gain`."""
    version = world.state().champion_version
    health = Health(
        as_of, int(version or 0), "worse than a constant", ("made up",), Estimate(0.6, 0.004, 14, 9000),
        Estimate(0.01, 0.01, 14, 9000), Estimate(gain, 0.01, 7, 4500), 0.02, 0.01, (), {}, {}, 7,
    )  # fmt: skip
    world.ledger.append(
        loop="flights",
        kind="health",
        key=f"health:{as_of.isoformat()}",
        as_of=as_of,
        payload=health.to_json(),
    )


def answered(world: ServedWorld, as_of: datetime = NOW) -> dict[str, Any]:
    decided = decide(world.settings, world.loop, as_of, quiet)
    return {**decided, **fall_back(world.settings, world.loop, as_of, quiet)}


def test_it_rolls_back_first_ends_the_rollout_and_then_asks_for_a_retrain(served: ServedWorld) -> None:
    served.bootstrap()
    served.promote(2, FIRST + timedelta(days=7))
    served.start(3, FIRST + timedelta(days=30))
    collapsed(served)
    done = answered(served)
    assert (done["tier"], done["request"]) == ("urgent", f"trigger:{NOW.isoformat()}")
    assert "version 1 serves instead of 2" in done["done"]
    state = served.state()
    assert (state.champion_version, state.rollout, state.withdrawn_versions) == (1, None, (2,))
    assert state.request is not None
    for _ in range(2):
        assert "stands" in answered(served)["done"], "a second run goes no further back"
    assert served.state().champion_version == 1
    made = [one for one in replay(served.ledger.entries("flights")) if one.entry.kind == "trigger"]
    assert [one.outcome for one in made] == ["equal"], made[0].detail


def test_a_refused_retrain_does_not_hold_up_the_way_back(served: ServedWorld) -> None:
    served.bootstrap()
    served.promote(2, FIRST + timedelta(days=7))
    served.append(
        "trigger", "trigger:earlier", NOW - timedelta(days=2), tier="routine", action="request", reason="age"
    )
    served.append(
        "request_closed", "closed:earlier", NOW - timedelta(days=1), request="trigger:earlier", reason="x"
    )
    collapsed(served)
    done = answered(served)
    assert (done["action"], done["request"]) == ("refuse", None)
    assert served.state().champion_version == 1


def test_with_nothing_to_go_back_to_it_holds_and_says_so(served: ServedWorld) -> None:
    served.bootstrap()
    collapsed(served)
    done = answered(served)
    assert done["done"].startswith("held: no former champion")
    assert served.state().champion_version == 1
    (held,) = served.ledger.entries("flights", ["urgent_held"])
    assert held.payload["version"] == 1
    answered(served)
    assert len(served.ledger.entries("flights", ["urgent_held"])) == 1
    from ratchet.stages.incidents import judge, listed

    judge(served.settings, served.loop, NOW, quiet)
    opened = listed(served.ledger.entries("flights"))["open"]
    assert "quality:urgent-held" in opened[0]["members"]


def test_a_constant_serves_where_the_loop_file_allows_it(served: ServedWorld) -> None:
    with_urgent(served, without_target="baseline")
    served.bootstrap()
    served.append(
        "evaluation", "evaluation:1", FIRST, request="request:1", verdict="pass",
        promise={"training_rate": 0.21, "log_loss": 0.5, "standard_error": 0.01, "until": "2013-05-20"},
    )  # fmt: skip
    collapsed(served)
    done = answered(served)
    version = served.state().champion_version
    assert version not in (None, 1)
    assert "a constant, serves instead of 1" in done["done"]
    assert served.aliases() == {"champion": version}
    assert "stands" in answered(served)["done"]
    content = Registry(served.settings).model_bytes(
        "flights", int(version or 0), served.routing().champion_sha256
    )
    scores = predict_scores(content, np.full((3, len(served.loop.features.columns)), np.nan))
    assert scores == pytest.approx([0.21] * 3, abs=1e-6)
    entries = served.ledger.entries("flights")
    assert reference_of(served.loop, entries, served.state()).log_loss == 0.5
    assert served.state().targets() == (), "neither the withdrawn one nor the constant is a target"


def test_a_constant_needs_a_share() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        constant_model(("a",), 1.0)


def test_nothing_urgent_changes_nothing_and_nothing_acts_without_a_decision(served: ServedWorld) -> None:
    served.bootstrap()
    served.promote(2, FIRST + timedelta(days=30))
    collapsed(served, gain=0.1)
    assert answered(served)["first"] == "none"
    assert served.state().champion_version == 2
    with pytest.raises(NotDecided, match="run decide_retrain first"):
        fall_back(served.settings, served.loop, NOW + timedelta(days=1), quiet)


def test_the_past_never_fires(served: ServedWorld) -> None:
    served.bootstrap()
    collapsed(served, gain=0.1)
    answered(served)
    collapsed(served, NOW - timedelta(days=3))
    with pytest.raises(NotMeasured, match="the past asks for no retrain"):
        decide(served.settings, served.loop, NOW - timedelta(days=3), quiet)
    assert len(served.ledger.entries("flights", ["trigger"])) == 1


def test_an_urgent_request_brings_its_own_gates_and_its_own_approval(served: ServedWorld) -> None:
    from ratchet.loop_governance import ApprovalRule

    with_urgent(served, gate_limits={"champion_margin": 0.05}, first="none")
    rule = ApprovalRule(by=("owner",), count=1, timeout_hours=2)
    approvals = served.loop.approvals.model_copy(update={"urgent": rule})
    served.loop = served.loop.model_copy(update={"approvals": approvals})
    served.bootstrap()
    collapsed(served)
    request = answered(served)["request"]
    changed = as_requested(served.settings, served.loop, Job("flights", "retrain", request, NOW))
    assert changed.gates.evaluation.champion_margin == 0.05
    assert served.loop.gates.evaluation.champion_margin == 0.01
    other = as_requested(served.settings, served.loop, Job("flights", "bootstrap", "bootstrap:1", NOW))
    assert other.gates == served.loop.gates
    entries = served.ledger.entries("flights")
    asked = needed(approving(served.loop, entries, request), "promote", NOW)
    assert asked is not None
    assert asked["timeout_hours"] == 2
    assert needed(approving(served.loop, entries, "bootstrap:1"), "promote", NOW) is None
