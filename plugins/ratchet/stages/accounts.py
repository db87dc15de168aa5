"""Who signs in with Airflow's simple login, and for which loops their answer counts.

For `make up` and docker-compose.yml. With another auth manager, people and passwords are kept there.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet.loop import Loop
from ratchet.settings import Settings

#: Airflow's own variables: name:role, comma-separated; and the file of passwords.
USERS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
ALL_ADMINS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"
#: Airflow's roles from least to most; from `user` on somebody may answer what a DAG asks.
ROLES = ("viewer", "user", "op", "admin")
ANSWERING = ROLES[1:]


class AccountsUnusable(ValueError):
    """The list of users or the file of passwords can't be read; the message says what to do."""


@dataclass(frozen=True)
class Account:
    """Somebody who may sign in; `answers` are the loops whose decisions may name them."""

    name: str
    role: str
    answers: tuple[str, ...] = ()

    @property
    def may_answer(self) -> bool:
        return bool(self.answers) and self.role in ANSWERING


@dataclass(frozen=True)
class Login:
    """Airflow's simple login: who, and where their passwords are."""

    users: Mapping[str, str]
    passwords_path: Path

    @property
    def environment(self) -> dict[str, str]:
        """What Airflow reads."""
        return {
            ALL_ADMINS: "False",
            USERS: ",".join(f"{name}:{role}" for name, role in self.users.items()),
            PASSWORDS: str(self.passwords_path),
        }


def approvers(loop: Loop) -> tuple[str, ...]:
    """Everybody whom a decision of `loop` may name, the owner first."""
    rules = [rule for rule in map(loop.approvals.rule, ("advance", "promote", "urgent")) if rule is not None]
    named = [name for rule in rules for name in loop.approvals.people(rule, loop.owner.name)]
    # What could not be judged needs the owner's signature whatever the rules say.
    return tuple(dict.fromkeys((loop.owner.name, *named)))


def parsed(users: str) -> dict[str, str]:
    """Name and role of each user of Airflow's list.

    Raises:
        AccountsUnusable: an item is no name:role, or Airflow has no such role.
    """
    found: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in users.split(","))):
        name, _, rest = item.partition(":")
        role = rest.partition(":")[0].lower()
        if not name or role not in ROLES:
            raise AccountsUnusable(
                f"{item!r} is no user: write name:role, comma-separated, with a role of {', '.join(ROLES)}"
            )
        found[name] = role
    return found


def login(settings: Settings, loops: Iterable[Loop], environment: Mapping[str, str]) -> Login:
    """The login that `environment` sets up; without one that of `make up`: an admin, a viewer, and the approvers.

    Raises:
        AccountsUnusable: see `parsed`.
    """
    if environment.get(USERS):
        path = environment.get(PASSWORDS)
        if not path:
            raise AccountsUnusable(f"{USERS} is set and {PASSWORDS} is not: name the file of passwords too")
        return Login(parsed(environment[USERS]), Path(path))
    users = {"admin": "admin", "viewer": "viewer"}
    for loop in loops:
        # A name with one of these can't stand in Airflow's list.
        named = (name for name in approvers(loop) if not set(name) & set(",:"))
        users |= {name: "user" for name in named if users.get(name, "viewer") == "viewer"}
    return Login(users, settings.home / "airflow" / "passwords.json")


def accounts(users: Mapping[str, str], loops: Mapping[str, Loop]) -> list[Account]:
    """Each user with the loops whose decisions may name them."""
    named = {name: approvers(loop) for name, loop in loops.items()}
    return [
        Account(name, role, tuple(loop for loop, people in named.items() if name in people))
        for name, role in users.items()
    ]


def unheard(users: Mapping[str, str], loops: Mapping[str, Loop]) -> list[tuple[str, str]]:
    """(loop, approver) of those who can't answer in Airflow: no account, or a role that only looks."""
    return [
        (name, person)
        for name, loop in loops.items()
        for person in approvers(loop)
        if users.get(person) not in ANSWERING
    ]


def passwords(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The password of each of `names`; who has none gets one. Only the file's owner may read it.

    Raises:
        AccountsUnusable: the file is there and holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        # The lock that Airflow takes before it writes.
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read().strip()
        try:
            kept = json.loads(text) if text else {}
        except ValueError:
            kept = None
        if not isinstance(kept, dict):
            raise AccountsUnusable(f"{path} holds no passwords: remove it, and new ones are made")
        made = {name: secrets.token_urlsafe(12) for name in names if name not in kept}
        os.fchmod(file.fileno(), 0o600)
        if made:
            file.seek(0)
            file.truncate()
            file.write(json.dumps(kept | made) + "\n")
        return {name: str((kept | made)[name]) for name in names}
