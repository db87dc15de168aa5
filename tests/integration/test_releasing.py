"""A candidate that passed: not without guardrails, not a withdrawn model again, not in a freeze; later, by itself."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.served_world import FIRST, ServedWorld, quiet

from ratchet.loop_governance import Freeze, Releases
from ratchet.published import publish
from ratchet.stages import offering, rollout
from ratchet.stages.jobs import Job
from ratchet.stages.releasing import offer_waiting, why_not_started
from ratchet.stages.rollback import withdraw
from ratchet.stages.status import status_of

ASKED = FIRST + timedelta(days=7)
JOB = Job("flights", "retrain", "trigger:x", ASKED)


@pytest.fixture
def world(served: ServedWorld) -> ServedWorld:
    served.bootstrap()
    served.append("trigger", JOB.request, ASKED, action="request", tier="routine", reason="for the test")
    return served


def why(world: ServedWorld, sha256: str = "c" * 64, job: Job = JOB) -> str | None:
    return why_not_started(world.settings, world.loop, job, sha256, world.ledger.entries("flights"))


def frozen(world: ServedWorld, days: int) -> None:
    freeze = Freeze.model_validate(
        {"from": FIRST.date(), "to": FIRST.date() + timedelta(days=days), "reason": "audit"}
    )
    world.loop = world.loop.model_copy(update={"releases": Releases(freeze=(freeze,))})


def test_nothing_is_in_the_way(world: ServedWorld) -> None:
    assert why(world) is None
    assert not world.ledger.entries("flights", ["offer_waits"])


def test_without_guardrails_no_rollout_starts(world: ServedWorld) -> None:
    world.loop = world.loop.model_copy(update={"guardrails": ()})
    assert "no guardrail" in str(why(world))


def test_the_bytes_of_a_withdrawn_version_do_not_come_back_under_another_request(world: ServedWorld) -> None:
    world.start(2, ASKED)
    withdraw(world.settings, world.loop, 2, reason="leaks", actor="ana", log=quiet)
    assert "byte for byte, which was withdrawn" in str(why(world, world.sha256[2]))
    assert why(world, world.sha256[3]) is None


def test_a_freeze_holds_the_start_up_and_the_first_day_after_it_offers(
    world: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(world, 10)
    publish(world.settings, "flights", "partitions", {"as_of": ASKED, "features": {"green": 0, "first": None,
            "last": None}, "dirty": 0, "blocked": []})  # fmt: skip
    for _ in range(2):
        assert "audit" in str(why(world))
    assert len(world.ledger.entries("flights", ["offer_waits"])) == 1
    assert world.state().request is not None, "it stays open"
    monkeypatch.setattr("ratchet.stages.status.check", lambda *_: type("Ready", (), {"ready": True}))
    lines = dict(status_of(world.settings, world.loop)["lines"])
    assert "waits for a release day" in lines["waits to start"]
    assert "audit" in lines["no releases"]
    offered: list[Job] = []
    monkeypatch.setattr(offering, "offer", lambda settings, loop, job, log: offered.append(job))
    offer_waiting(world.settings, world.loop, ASKED + timedelta(days=1), quiet)
    assert offered == []
    rollout.decide(world.settings, world.loop, ASKED + timedelta(days=7), quiet, is_dry=True)
    assert offered == [], "a dry run offers nothing"
    rollout.decide(world.settings, world.loop, ASKED + timedelta(days=7), quiet)
    assert offered == [JOB]


def test_what_did_not_wait_is_not_offered_by_the_way(
    world: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offered(*_: object) -> None:
        raise AssertionError("offered")

    monkeypatch.setattr(offering, "offer", offered)
    rollout.decide(world.settings, world.loop, ASKED + timedelta(days=7), quiet)


def test_a_dry_run_never_moves_the_champion(world: ServedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start(2, ASKED)
    world.decide("promote", ASKED + timedelta(days=5))
    before, entries, aliases = world.routing(), len(world.ledger.entries()), world.aliases()
    for name in ("_frames", "sums_of"):
        monkeypatch.setattr(rollout, name, lambda *_: {})
    monkeypatch.setattr(rollout, "judge_look", lambda *_: pytest.fail("no day is left to look at"))
    assert rollout.decide(world.settings, world.loop, ASKED + timedelta(days=6), quiet, is_dry=True) is None
    assert (world.routing(), len(world.ledger.entries()), world.aliases()) == (before, entries, aliases)


def test_two_promoters_at_once_leave_one_champion(world: ServedWorld) -> None:
    """Four processes carry out the same decision."""
    world.start(2, ASKED)
    decision = world.decide("promote", ASKED + timedelta(days=5))
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                world.apply(decision, ASKED + timedelta(days=7))
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * 4
    applied = [e for e in world.ledger.entries("flights") if e.kind == "rollout_applied"]
    assert len(applied) == 1
    assert world.state().champion_version == 2
    assert world.routing().champion_version == world.aliases()["champion"] == 2
    assert world.ledger.verify().ok


def test_two_first_champions_at_once_leave_the_first(served: ServedWorld, tmp_path: Path) -> None:
    served.bootstrap(1)
    served.bootstrap(3, FIRST + timedelta(days=1))
    assert served.state().champion_version == 1
    assert served.routing().champion_version == served.aliases()["champion"] == 1
    # Nor two rollouts: the first that is in the ledger runs.
    served.start(2, ASKED)
    served.start(3, ASKED)
    state = served.state()
    assert state.rollout is not None
    assert state.rollout.challenger_version == served.aliases()["challenger"] == 2


def test_what_was_never_compared_does_not_serve(world: ServedWorld) -> None:
    """The candidate comes before the default only by its evaluation: without one there is nothing to offer."""
    before, entries = world.routing(), len(world.ledger.entries())
    refused = offering.offer(world.settings, world.loop, JOB, quiet)
    assert refused == {"offered": False, "reason": "refused: no evaluation is recorded"}
    world.append("evaluation", f"evaluation:{JOB.request}", ASKED, request=JOB.request, verdict="pass", reasons=[],
                 champion_version=7)  # fmt: skip
    refused = offering.offer(world.settings, world.loop, JOB, quiet)
    assert "judged against version 7, version 1 serves now" in refused["reason"]
    assert world.routing() == before
    assert len(world.ledger.entries()) == entries + 1
