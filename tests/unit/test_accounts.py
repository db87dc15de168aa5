"""Who signs in with Airflow's simple login, and what their answer counts for."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.loop import Loop, load_loop
from ratchet.loop_governance import ApprovalRule, Approvals
from ratchet.settings import load_settings
from ratchet.stages.accounts import (
    ALL_ADMINS,
    PASSWORDS,
    USERS,
    AccountsUnusable,
    accounts,
    approvers,
    login,
    parsed,
    passwords,
    unheard,
)


@pytest.fixture(scope="module")
def flights() -> Loop:
    return load_loop(load_settings().loops_dir / "flights.yml")


@pytest.fixture
def by_two(flights: Loop) -> Loop:
    rule = ApprovalRule(by=("owner", "risk", "odd:name"), count=2)
    approvals = Approvals(
        promote=rule, roll_back="automatic", bootstrap="owner", roles={"risk": ("ana", "viewer")}
    )
    return flights.model_copy(update={"approvals": approvals})


def test_the_owner_may_always_be_asked_and_roles_are_their_members(flights: Loop, by_two: Loop) -> None:
    assert approvers(flights) == ("Dana Reyes",)
    assert approvers(by_two) == ("Dana Reyes", "ana", "viewer", "odd:name")


def test_make_up_has_an_account_for_each_approver_and_one_that_only_looks(
    tmp_path: Path, flights: Loop, by_two: Loop
) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    found = login(settings, [flights], {})
    assert found.users == {"admin": "admin", "viewer": "viewer", "Dana Reyes": "user"}
    assert found.environment[ALL_ADMINS] == "False"
    assert found.environment[USERS] == "admin:admin,viewer:viewer,Dana Reyes:user"
    assert unheard(found.users, {"flights": flights}) == []
    # A name that Airflow's list can't hold gets no account, and is named as somebody who can't answer there.
    wider = login(settings, [by_two], {})
    assert wider.users == {"admin": "admin", "viewer": "user", "Dana Reyes": "user", "ana": "user"}
    assert unheard(wider.users, {"flights": by_two}) == [("flights", "odd:name")]


def test_who_only_looks_or_is_not_named_may_answer_nothing(flights: Loop) -> None:
    loops = {"flights": flights}
    found = accounts({"admin": "admin", "Dana Reyes": "user", "viewer": "viewer"}, loops)
    assert [(one.name, one.may_answer) for one in found] == [
        ("admin", False), ("Dana Reyes", True), ("viewer", False),
    ]  # fmt: skip
    demoted = {"Dana Reyes": "viewer"}
    assert not accounts(demoted, loops)[0].may_answer
    assert unheard(demoted, loops) == [("flights", "Dana Reyes")]


@pytest.mark.parametrize("text", ["Dana Reyes", ":user", "Dana Reyes:owner", "admin:admin,eve:"])
def test_a_list_that_airflow_would_take_for_something_else_is_refused(text: str) -> None:
    with pytest.raises(AccountsUnusable, match="name:role"):
        parsed(text)


def test_an_installation_that_names_users_and_no_file_of_passwords_is_told(
    tmp_path: Path, flights: Loop
) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    given = {USERS: "ana:op", PASSWORDS: str(tmp_path / "p.json")}
    assert login(settings, [flights], given).users == {"ana": "op"}
    with pytest.raises(AccountsUnusable, match=PASSWORDS):
        login(settings, [flights], {USERS: "ana:op"})


def test_passwords_are_made_once_and_only_the_owner_of_the_file_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "airflow" / "passwords.json"
    first = passwords(path, ["ana", "Dana Reyes"])
    assert len(set(first.values())) == 2 and min(map(len, first.values())) >= 16
    path.chmod(0o644)
    again = passwords(path, ["ana", "eve"])
    assert again["ana"] == first["ana"] and again["eve"] not in first.values()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"ana", "Dana Reyes", "eve"}
    path.write_text("[]")
    with pytest.raises(AccountsUnusable, match="remove it"):
        passwords(path, ["ana"])
    assert path.read_text() == "[]"


def test_the_command_shows_who_signs_in_and_who_can_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.cli import app

    path = tmp_path / "passwords.json"
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    monkeypatch.setenv(USERS, "Dana Reyes:user,viewer:viewer")
    monkeypatch.setenv(PASSWORDS, str(path))
    made = CliRunner().invoke(app, ["users", "--make"])
    kept = json.loads(path.read_text())
    assert made.exit_code == 0 and "2 users" in made.output and kept["viewer"] not in made.output
    shown = CliRunner().invoke(app, ["users"])
    assert shown.exit_code == 0 and kept["viewer"] in shown.output and "flights" in shown.output
    assert "can't" not in shown.output
    monkeypatch.setenv(USERS, "admin:admin")
    assert "add Dana Reyes:user" in CliRunner().invoke(app, ["users"]).output
    monkeypatch.setenv(USERS, "admin")
    assert CliRunner().invoke(app, ["users"]).exit_code == 1
