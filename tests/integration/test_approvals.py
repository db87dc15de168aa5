"""A decision that needs people: pending does nothing, a no and silence end the rollout, two are two different ones."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.served_world import FIRST, ServedWorld, copied, quiet
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.experiment.state import Verdict
from ratchet.loop import Loop, load_loop
from ratchet.loop_governance import ApprovalRule, Approvals, Freeze, Releases
from ratchet.settings import load_settings
from ratchet.stages import rollout
from ratchet.stages.applying import Waits
from ratchet.stages.approvals import CannotAnswer, answer, ask, expire, needed, waiting
from ratchet.triggers.releases import release_block

DAY = FIRST + timedelta(days=10)
AS_OF = DAY + timedelta(days=1)


def governed(count: int = 1, **releases: Any) -> Loop:
    """The flights' loop where a promotion needs `count` of the owner and two reviewers."""
    loop = load_loop(load_settings({}).loops_dir / "flights.yml")
    rule = ApprovalRule(by=("owner", "reviewers"), count=count, timeout_hours=48)  # type: ignore[arg-type]
    approvals = Approvals(
        promote=rule, roll_back="automatic", bootstrap="owner", roles={"reviewers": ("ana", "bo")}
    )
    return loop.model_copy(update={"approvals": approvals, "releases": Releases(**releases)})


@pytest.fixture
def asked(served_template: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[ServedWorld, str]:
    """A promotion that waits, and its key; for as many people as the test's parameter says."""
    world = copied(served_template, tmp_path / "home", governed(getattr(request, "param", 1)))
    world.bootstrap()
    world.start(2, FIRST + timedelta(days=1))
    return world, world.decide("promote", DAY, approval=needed(world.loop, "promote", AS_OF))


def says(world: ServedWorld, decision: str, said: str, by: str) -> str:
    return answer(
        world.settings,
        world.loop,
        decision,
        said,
        by=[by],
        reason="r",
        actor=by,
        log=quiet,  # type: ignore[arg-type]
    ).outcome


def test_pending_does_nothing(asked: tuple[ServedWorld, str]) -> None:
    world, decision = asked
    before = world.routing()
    with pytest.raises(Waits, match="waits for 1 of Dana Reyes, ana, bo"):
        world.apply(decision, AS_OF)
    assert world.routing() == before
    assert world.state().champion_version == 1
    assert not world.ledger.entries("flights", ["rollout_applied"])


def test_a_yes_is_carried_out(asked: tuple[ServedWorld, str]) -> None:
    world, decision = asked
    assert says(world, decision, "approve", "ana") == "approved"
    assert world.apply(decision, AS_OF)["action"] == "promote"
    assert world.routing().champion_version == 2


@pytest.mark.parametrize("answered", ["reject", "timeout"])
def test_a_no_and_silence_end_the_rollout(asked: tuple[ServedWorld, str], answered: str) -> None:
    world, decision = asked
    if answered == "reject":
        assert says(world, decision, "reject", "bo") == "rejected"
    else:
        entry = world.ledger.find("flights", decision)
        assert entry is not None
        early = expire(world.settings, world.loop, entry, AS_OF + timedelta(hours=47), quiet)
        assert early.outcome == "waiting"
        late = expire(world.settings, world.loop, entry, AS_OF + timedelta(hours=48), quiet)
        assert late.outcome == "timeout"
    done = world.apply(decision, AS_OF + timedelta(days=3))
    assert done["action"] == "reject"
    state = world.state()
    assert (state.champion_version, state.rollout, state.retired_versions) == (1, None, (2,))
    assert world.aliases() == {"champion": 1}
    # A yes that comes too late changes nothing.
    says(world, decision, "approve", "ana")
    assert world.apply(decision, AS_OF + timedelta(days=4))["again"]
    assert world.routing().champion_version == 1


@pytest.mark.parametrize("asked", [2], indirect=True)
def test_one_person_twice_is_not_two(asked: tuple[ServedWorld, str]) -> None:
    world, decision = asked
    for _ in range(2):
        assert says(world, decision, "approve", "ana") == "waiting"
    with pytest.raises(Waits, match="approved by ana; waits for 1 of Dana Reyes, bo"):
        world.apply(decision, AS_OF)
    assert says(world, decision, "approve", "Dana Reyes") == "approved"
    assert world.apply(decision, AS_OF)["action"] == "promote"


@pytest.mark.parametrize("asked", [2], indirect=True)
def test_one_no_outweighs_a_yes(asked: tuple[ServedWorld, str]) -> None:
    world, decision = asked
    assert says(world, decision, "approve", "ana") == "waiting"
    assert says(world, decision, "reject", "ana") == "rejected"
    assert world.apply(decision, AS_OF)["action"] == "reject"


def test_strangers_and_other_decisions_are_refused(asked: tuple[ServedWorld, str]) -> None:
    world, decision = asked
    with pytest.raises(CannotAnswer, match="'eve' may not answer"):
        says(world, decision, "approve", "eve")
    with pytest.raises(CannotAnswer, match="no decision 'look:x'"):
        says(world, "look:x", "approve", "ana")
    # An entry that somebody wrote past the command counts for nothing either.
    world.append("approval", "forged", AS_OF, decision=decision, answer="approve", by="eve", reason="")
    with pytest.raises(Waits):
        world.apply(decision, AS_OF)


def test_a_later_edit_of_the_loop_file_loosens_nothing_that_waits(asked: tuple[ServedWorld, str]) -> None:
    world, decision = asked
    world.loop = load_loop(world.settings.loops_dir / "flights.yml")
    assert world.loop.approvals.rule("promote") is None
    with pytest.raises(Waits):
        world.apply(decision, AS_OF)


def test_one_run_asks(asked: tuple[ServedWorld, str]) -> None:
    world, decision = asked
    assert ask(world.settings, world.loop, decision, 1, "run A") is not None
    assert ask(world.settings, world.loop, decision, 1, "run B") is None
    assert ask(world.settings, world.loop, decision, 1, "run A") is not None, "a retry"
    says(world, decision, "approve", "ana")
    assert ask(world.settings, world.loop, decision, 1, "run A") is None, "answered meanwhile"


def test_harm_while_it_waits_rolls_back(
    asked: tuple[ServedWorld, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People take their time; users must not pay for it."""
    world, decision = asked
    judged = iter(["hold", "roll_back"])
    monkeypatch.setattr(rollout, "_frames", lambda *_: {"paired": None, "arms": None})
    monkeypatch.setattr(rollout, "sums_of", lambda *_: None)
    monkeypatch.setattr(rollout, "difference", lambda *_: {})
    monkeypatch.setattr(rollout, "after", lambda *_: None)
    monkeypatch.setattr(rollout, "publish_comparison", lambda *_: None)
    monkeypatch.setattr(rollout, "judge_look", lambda *_: Verdict(next(judged), ("r",), {}))  # type: ignore[arg-type]
    found = rollout.decide(world.settings, world.loop, AS_OF + timedelta(days=1, hours=12), quiet)
    assert found is not None
    assert found["decision"] == decision
    assert "waits for 1 of" in found["waits"]
    worse = rollout.decide(world.settings, world.loop, AS_OF + timedelta(days=2, hours=12), quiet)
    assert worse is not None
    assert "waits" not in worse
    assert world.apply(worse["decision"], AS_OF + timedelta(days=2))["action"] == "roll_back"
    assert waiting(world.ledger.entries("flights")) is None
    assert says(world, decision, "approve", "ana") == "waiting", "nobody is promoted by a late yes"
    with pytest.raises(Exception, match="does not wait to be carried out"):
        world.apply(decision, AS_OF + timedelta(days=3))


def test_from_the_command_line(asked: tuple[ServedWorld, str], monkeypatch: pytest.MonkeyPatch) -> None:
    world, decision = asked
    monkeypatch.setenv("RATCHET_HOME", str(world.settings.home))
    refused = CliRunner().invoke(app, ["approve", decision, "--by", "eve", "--reason", "fine"])
    assert refused.exit_code == 1
    assert "may not answer" in " ".join(refused.output.split())
    done = CliRunner().invoke(app, ["reject", decision, "--by", "ana", "--reason", "not before the holiday"])
    assert done.exit_code == 0, done.output
    (entry,) = world.ledger.entries("flights", ["approval"])
    assert entry.payload == {
        "decision": decision, "answer": "reject", "by": "ana", "reason": "not before the holiday",
            "identity": "claimed",
    }  # fmt: skip
    assert entry.actor.startswith("cli:")


def test_the_command_says_when_an_answer_came_too_late(
    asked: tuple[ServedWorld, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, decision = asked
    monkeypatch.setenv("RATCHET_HOME", str(world.settings.home))
    assert says(world, decision, "approve", "ana") == "approved"
    for by, said, code in (("ana", "approve", 0), ("bo", "approve", 1), ("ana", "reject", 1)):
        told = CliRunner().invoke(app, [said, decision, "--by", by, "--reason", "r"])
        assert told.exit_code == code, (by, said, told.output)
        assert ("was not recorded" in told.output) == bool(code)
    world.apply(decision, AS_OF)
    # One that a later look took the place of, unanswered, is no less over.
    world.start(3, FIRST + timedelta(days=12))
    old = world.decide("promote", FIRST + timedelta(days=20), approval=needed(world.loop, "promote", AS_OF))
    new = world.decide("promote", FIRST + timedelta(days=21), approval=needed(world.loop, "promote", AS_OF))
    told = CliRunner().invoke(app, ["approve", old, "--by", "ana", "--reason", "r"])
    assert told.exit_code == 1 and f"{new} came after it" in " ".join(told.output.split())
    assert len(world.ledger.entries("flights", ["approval"])) == 1


# --- the release calendar ---------------------------------------------------------------------------------

CHRISTMAS = Freeze.model_validate({"from": "2013-12-20", "to": "2014-01-02", "reason": "holiday traffic"})


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (datetime(2013, 12, 20, 4, 59), None),  # still the 19th in New York
        (datetime(2013, 12, 20, 5, 0), "holiday traffic"),
        (datetime(2014, 1, 3, 4, 59), "holiday traffic"),
        (datetime(2014, 1, 3, 5, 0), "is a friday; releases are on monday, thursday"),
        (datetime(2014, 1, 6, 12, 0), None),
    ],
)
def test_a_release_waits_for_its_day(as_of: datetime, expected: str | None) -> None:
    loop = governed(weekdays=("monday", "thursday"), freeze=(CHRISTMAS,))
    for action in ("advance", "promote", "bootstrap", "start"):
        told = release_block(loop, action, as_of)
        assert (told is None) == (expected is None), told
        assert expected is None or expected in str(told)
    for action in ("roll_back", "inconclusive", "reject"):
        assert release_block(loop, action, as_of) is None, "going back never waits"


def test_a_frozen_promotion_waits_and_is_carried_out_afterwards(
    served_template: Path, tmp_path: Path
) -> None:
    frozen = Freeze.model_validate(
        {"from": DAY.date(), "to": DAY.date() + timedelta(days=5), "reason": "audit"}
    )
    loop = governed(freeze=(frozen,)).model_copy(update={"approvals": load_loop(
        load_settings({}).loops_dir / "flights.yml").approvals})  # fmt: skip
    world = copied(served_template, tmp_path / "home", loop)
    world.bootstrap()
    world.start(2, FIRST + timedelta(days=1))
    decision = world.decide("promote", DAY)
    with pytest.raises(Waits, match=r"freeze .* audit"):
        world.apply(decision, AS_OF)
    assert world.routing().champion_version == 1
    assert world.apply(decision, AS_OF + timedelta(days=7))["action"] == "promote"
    assert world.routing().champion_version == 2


def test_a_frozen_rollback_does_not_wait(served_template: Path, tmp_path: Path) -> None:
    frozen = Freeze.model_validate({"from": "2013-01-01", "to": "2013-12-31", "reason": "audit"})
    world = copied(served_template, tmp_path / "home", governed(freeze=(frozen,)))
    world.bootstrap()
    world.start(2, FIRST + timedelta(days=1))
    assert world.apply(world.decide("roll_back", DAY), AS_OF)["action"] == "roll_back"


# --- what the replay of the ledger makes of it -------------------------------------------------------------


@pytest.mark.parametrize(("said", "problems"), [("approve", 0), ("reject", 0), (None, 1)])
def test_the_replay_holds_what_was_carried_out_against_the_answers(
    asked: tuple[ServedWorld, str], said: str | None, problems: int
) -> None:
    from ratchet.certificate.checks import applied

    world, decision = asked
    if said is not None:
        says(world, decision, said, "ana")
        world.apply(decision, AS_OF)
    else:  # somebody wrote the entry past the command
        data = {"decision": decision, "action": "promote", "champion_version": 1, "challenger_version": 2}
        world.append("rollout_applied", f"applied:{decision}", AS_OF, **data)
    entries = world.ledger.entries("flights")
    assert len(applied(entries[:-1], entries[-1])) == problems


def test_who_is_not_named_is_the_user_of_the_machine(
    asked: tuple[ServedWorld, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, decision = asked
    monkeypatch.setenv("RATCHET_HOME", str(world.settings.home))
    monkeypatch.setattr("ratchet.commands.approve.loop_named", lambda *_: world.loop)
    monkeypatch.setattr("getpass.getuser", lambda: "eve")
    refused = CliRunner().invoke(app, ["approve", decision, "--reason", "r"])
    assert refused.exit_code == 1 and "'eve' may not answer" in " ".join(refused.output.split())
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    assert CliRunner().invoke(app, ["approve", decision, "--reason", "r"]).exit_code == 0
    (entry,) = world.ledger.entries("flights", ["approval"])
    assert (entry.payload["by"], entry.payload["identity"], entry.actor) == (
        "ana",
        "operating system",
        "cli:ana",
    )


def test_a_name_given_on_the_command_line_is_a_claim(
    asked: tuple[ServedWorld, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, decision = asked
    monkeypatch.setenv("RATCHET_HOME", str(world.settings.home))
    monkeypatch.setattr("ratchet.commands.approve.loop_named", lambda *_: world.loop)
    assert CliRunner().invoke(app, ["reject", decision, "--reason", "r", "--by", "bo"]).exit_code == 0
    (entry,) = world.ledger.entries("flights", ["approval"])
    assert (entry.payload["by"], entry.payload["identity"]) == ("bo", "claimed")


def test_where_people_have_to_be_authenticated_only_airflows_login_counts(
    served_template: Path, tmp_path: Path
) -> None:
    loop = governed()
    approvals = loop.approvals.model_copy(update={"authenticated": True})
    world = copied(served_template, tmp_path / "home", loop.model_copy(update={"approvals": approvals}))
    world.bootstrap()
    world.start(2, FIRST + timedelta(days=1))
    decision = world.decide("promote", DAY, approval=needed(world.loop, "promote", AS_OF))
    for said in ("approve", "reject"):
        with pytest.raises(CannotAnswer, match="answer it under Required actions"):
            says(world, decision, said, "ana")
    # One that got into the ledger all the same does not count.
    world.append("approval", f"approval:{decision}:approve:ana", AS_OF, decision=decision, answer="approve", by="ana",
                 reason="r", identity="operating system")  # fmt: skip
    with pytest.raises(Waits):
        world.apply(decision, AS_OF)
    # The loop file that drops the demand meanwhile changes nothing for a decision that waits.
    world.loop = governed()
    with pytest.raises(CannotAnswer):
        says(world, decision, "approve", "ana")
    stands = answer(
        world.settings, world.loop, decision, "approve", by=["bo"], reason="r", actor="airflow:bo", log=quiet,
        identity="airflow",
    )  # fmt: skip
    assert stands.outcome == "approved"
    assert world.apply(decision, AS_OF)["action"] == "promote"
