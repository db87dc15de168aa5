"""Rolling back by hand: to the last version that was promoted, was not withdrawn and still fits; once, and at once."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tests.integration.served_world import FIRST, FOREIGN, ServedWorld, killed, quiet
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.ledger.store import Ledger
from ratchet.published import publish
from ratchet.registry.models import Registry
from ratchet.stages import rollback, serving
from ratchet.stages.rollback import CannotWithdraw, NoTarget, roll_back, withdraw
from ratchet.stages.serving import project


def back(world: ServedWorld, **how: object) -> dict:
    return roll_back(world.settings, world.loop, reason="it hurts", actor="ana", log=quiet, **how)  # type: ignore[arg-type]


def week(number: int) -> datetime:
    return FIRST + timedelta(days=7 * number)


@pytest.fixture
def three(served: ServedWorld) -> ServedWorld:
    """Version 1 first, then 2 and 3 were promoted."""
    served.bootstrap()
    served.promote(2, week(1))
    served.promote(3, week(3))
    return served


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring in a child takes seconds; one test does it for real."""
    monkeypatch.setattr("ratchet.stages.rollback.score_in_child", lambda *_, **__: {})


def test_the_last_good_version_serves_and_the_bad_one_is_withdrawn(three: ServedWorld) -> None:
    publish(three.settings, "flights", "partitions", {"as_of": week(6)})
    done = back(three)
    assert (done["from"], done["to"], done["serves"]) == (3, 2, 2)
    assert done["seconds"] < 60
    assert three.aliases() == {"champion": 2}
    routing = three.routing()
    assert (routing.champion_version, routing.experiment_id, routing.decided_as_of) == (2, None, week(6))
    assert {flag["variants"]["rest"] for flag in routing.document()["flags"].values()} == {2}
    state = three.state()
    assert state.withdrawn_versions == (3,)
    assert state.targets() == (1,)
    (entry,) = three.ledger.entries("flights", ["rollback"])
    assert (entry.actor, entry.payload["reason"]) == ("ana", "it hurts")
    assert three.ledger.verify().ok


def test_a_withdrawn_version_is_never_gone_back_to(three: ServedWorld, loads: None) -> None:
    assert back(three)["to"] == 2
    assert back(three)["to"] == 1
    with pytest.raises(NoTarget, match="none was promoted before this one"):
        back(three)
    with pytest.raises(NoTarget, match="version 3 is no target: it was withdrawn"):
        back(three, to=3)
    assert three.state().champion_version == 1


def test_a_version_that_does_not_fit_the_contract_or_was_changed_is_passed_over(
    served: ServedWorld, loads: None
) -> None:
    served.bootstrap()
    served.promote(FOREIGN, week(1))
    served.promote(2, week(3))
    served.promote(3, week(5))
    assert back(served, is_dry=True)["to"] == 2
    said: list[str] = []
    withdraw(served.settings, served.loop, 2, reason="bytes are gone", actor="ana", log=quiet)
    done = roll_back(served.settings, served.loop, reason="r", actor="a", log=said.append)
    assert done["to"] == 1
    assert done["passed_over"][0][0] == FOREIGN
    assert any("it wants a, b; it does not know departure_hour" in line for line in said)
    with pytest.raises(NoTarget, match="feature contract"):
        back(served, to=FOREIGN)


def test_bytes_that_are_not_the_ledgers_are_passed_over(served: ServedWorld, loads: None) -> None:
    served.bootstrap()
    served.sha256[2] = "f" * 64  # the ledger holds another hash than the registry's file has
    served.promote(2, week(1))
    served.promote(3, week(3))
    done = back(served)
    assert done["to"] == 1
    assert "changed after it was registered" in done["passed_over"][0][1]


def test_a_trial_and_a_holdback_end(served: ServedWorld, loads: None) -> None:
    served.bootstrap()
    served.promote(2, week(1))
    experiment = served.start(3, week(3))
    assert served.aliases() == {"champion": 2, "challenger": 3}
    done = back(served)
    assert done["ended"] == [experiment]
    state = served.state()
    assert (state.champion_version, state.rollout, state.holdback) == (1, None, None)
    assert state.retired_versions == (3,)
    assert served.aliases() == {"champion": 1}
    # The day's look that was under way comes too late.
    served.append("rollout_applied", f"applied:look:{experiment}:x", week(4), experiment_id=experiment,
                  action="promote", decision="x", champion_version=2, challenger_version=3)  # fmt: skip
    assert project(served.settings, served.loop).champion_version == 1


def test_two_at_once_go_back_by_one(three: ServedWorld, loads: None) -> None:
    """Both looked at the same state: the second finds the first's entry."""
    from ratchet.stages import rollback as stage

    target = stage.find_target(
        Registry(three.settings), three.loop, three.ledger.entries("flights"), three.state()
    )

    def first(*_: object) -> stage.Target:
        three.append("rollback", f"rollback:{three.state().serving_seq}", week(6), **{
            "from": 3, "to": 2, "reason": "first", "by": "bo", "ended": [], "passed_over": []})  # fmt: skip
        return target

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "find_target", first)
        done = back(three)
    assert done["reason"] == "first"
    assert three.state().champion_version == 2
    assert len(three.ledger.entries("flights", ["rollback"])) == 1


def test_a_slower_process_does_not_undo_a_newer_decision(
    served: ServedWorld, loads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had read the ledger before the rollback was written, and writes its routing after it."""
    served.bootstrap()
    served.promote(2, week(1))
    (served.settings.routing_dir / "flights.flagd.json").unlink()
    write, done = serving.write_routing, []

    def slow(*arguments: object) -> None:
        if not done:
            done.append("slow")
            back(served)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(serving, "write_routing", slow)
    assert project(served.settings, served.loop).champion_version == 1
    assert served.routing().champion_version == served.aliases()["champion"] == 1


def test_dry_and_refused_change_nothing(three: ServedWorld, loads: None) -> None:
    before, entries = three.routing(), len(three.ledger.entries())
    assert back(three, is_dry=True)["to"] == 2
    for wanted, why in ((3, "serves now"), (9, "never promoted")):
        with pytest.raises(NoTarget, match=why):
            back(three, to=wanted)
    assert three.routing() == before
    assert len(three.ledger.entries()) == entries


def test_withdrawing(three: ServedWorld) -> None:
    with pytest.raises(CannotWithdraw, match="rollback"):
        withdraw(three.settings, three.loop, 3, reason="r", actor="a", log=quiet)
    with pytest.raises(CannotWithdraw, match="never offered version 9"):
        withdraw(three.settings, three.loop, 9, reason="r", actor="a", log=quiet)
    assert not withdraw(three.settings, three.loop, 2, reason="r", actor="a", log=quiet)["again"]
    assert withdraw(three.settings, three.loop, 2, reason="r", actor="a", log=quiet)["again"]
    assert three.state().targets() == (1,)
    experiment = three.start(FOREIGN, week(6))
    done = withdraw(three.settings, three.loop, FOREIGN, reason="r", actor="a", log=quiet)
    assert done["ended"] == [experiment]
    assert three.state().rollout is None
    # Offered again, it does not go on trial.
    three.start(FOREIGN, week(7))
    assert three.state().rollout is None
    assert three.routing().challenger_version is None


def test_from_the_command_line(three: ServedWorld, loads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_HOME", str(three.settings.home))
    dry = CliRunner().invoke(app, ["rollback", "--reason", "late alerts", "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "would go from version 3 to version 2" in " ".join(dry.output.split())
    done = CliRunner().invoke(app, ["rollback", "--reason", "late alerts", "--by", "ana"])
    assert done.exit_code == 0, done.output
    assert "version 2 serves from the next scoring run" in " ".join(done.output.split())
    refused = CliRunner().invoke(app, ["rollback", "--reason", " "])
    assert refused.exit_code == 1
    gone = CliRunner().invoke(app, ["withdraw", "--version", "1", "--reason", "late alerts"])
    assert gone.exit_code == 0, gone.output
    none = CliRunner().invoke(app, ["rollback", "--reason", "again"])
    assert none.exit_code == 1
    assert "no former champion" in " ".join(none.output.split())


STEPS = {
    "append": (Ledger, "append"),
    "alias": (Registry, "set_alias"),
    "routing": (serving, "write_routing"),
}


@pytest.mark.parametrize(
    ("step", "when"), [("append", "before"), ("append", "after"), ("alias", "after"), ("routing", "after")]
)
def test_killed_between_any_two_steps_the_next_scoring_finishes_it(
    three: ServedWorld, loads: None, step: str, when: str
) -> None:
    """A process of its own and a SIGKILL; what is recorded holds, what is not never happened."""
    assert killed(lambda: back(three), *STEPS[step], when)
    recorded = len(three.ledger.entries("flights", ["rollback"]))
    assert recorded == (0 if (step, when) == ("append", "before") else 1)
    if step != "routing":
        assert three.routing().champion_version == 3, "what serves changes last"
    wanted = 2 if recorded else 3
    assert project(three.settings, three.loop).champion_version == wanted
    assert three.aliases()["champion"] == wanted == three.routing().champion_version
    assert three.ledger.verify().ok


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("append", "before"),
        ("append", "after"),
        ("alias", "after"),
        ("routing", "after"),
        ("noted", "before"),
    ],
)
def test_killed_and_asked_for_again_it_goes_back_by_one(
    three: ServedWorld, loads: None, step: str, when: str
) -> None:
    steps = {**STEPS, "noted": (rollback, "publish")}
    assert killed(lambda: back(three), *steps[step], when)
    again = back(three)
    assert again["again"] == ((step, when) != ("append", "before"))
    assert (again["from"], again["to"], again["serves"]) == (3, 2, 2)
    assert three.state().withdrawn_versions == (3,)
    assert three.routing().champion_version == three.aliases()["champion"] == 2
    assert len(three.ledger.entries("flights", ["rollback"])) == 1
    further = back(three)
    assert (further["again"], further["to"]) == (False, 1), "whoever asks once more is taken at their word"


def test_a_build_since_then_has_finished_it(three: ServedWorld, loads: None) -> None:
    assert killed(lambda: back(three), *STEPS["append"], "after")
    publish(three.settings, "flights", "partitions", {"as_of": week(9)})
    assert back(three)["to"] == 1


def test_from_names_what_is_left(three: ServedWorld, loads: None) -> None:
    assert back(three, leaving=3)["to"] == 2
    with pytest.raises(NoTarget, match="version 3 does not serve, version 2 does"):
        back(three, leaving=3)
    assert three.state().champion_version == 2
