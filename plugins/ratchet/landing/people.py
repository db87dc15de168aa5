"""Who a row is about, without saying who: a keyed hash takes the place of a person's id before anything is stored.

The hash is HMAC-SHA256 under a key that is in the environment, or in a file that only this user reads. Who has the
warehouse and not the key can tell rows of one person apart from those of another, and cannot find out who it is.
"""

from __future__ import annotations

import csv
import hmac
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.landing.contract import SourceContract
from ratchet.settings import Settings
from ratchet.warehouse.protocol import Warehouse, WarehouseError

_PSEUDONYM = re.compile(r"u_[0-9a-f]{32}")
_SEALED = re.compile(r"(u_[0-9a-f]{32})\.[0-9a-f]{32}")
_RESERVED = re.compile(rf"{_PSEUDONYM.pattern}|{_SEALED.pattern}")
#: Why a row does not land that brings a name which landing gives.
FORGED = "is a stored name that was not given to this row"
_SHORTEST_KEY = 16
WITHHELD = "[withheld: it may say who the person is]"


class PersonKeyError(WarehouseError):
    """People can't be told apart safely: no usable key, or another one than the warehouse was filled under."""


@dataclass(frozen=True)
class PersonKey:
    """The secret under which ids are hashed."""

    secret: bytes = field(repr=False)

    def pseudonym(self, loop: str, person: str) -> str:
        """The name of `person` in tables of `loop`: u_ and 32 hex digits. Asked by an operator: a name stays itself.

        >>> PersonKey(b"k" * 16).pseudonym("flights", " jo@example.com") == PersonKey(b"k" * 16).pseudonym(
        ...     "flights", "jo@example.com")
        True
        """
        plain = _plain(person)
        return plain if _PSEUDONYM.fullmatch(plain) else self.hashed(loop, plain)

    def hashed(self, loop: str, person: str) -> str:
        """The same for an id that comes from outside: whatever it looks like, it is an id."""
        content = f"{loop}\x1f{_plain(person)}".encode("utf-8", "surrogatepass")
        return f"u_{hmac.digest(self.secret, content, 'sha256').hex()[:32]}"

    def sealed(self, loop: str, source: str, row: tuple[str, ...], person: str) -> str:
        """The name of `person` for the one row of `source` whose keys are `row`, as landing believes it."""
        return self._seal(loop, source, row, self.hashed(loop, person))

    def opened(self, loop: str, source: str, row: tuple[str, ...], text: str) -> str | None:
        """The name in `text` if it was sealed under this key for this row, else None."""
        found = _SEALED.fullmatch(_plain(text))
        if found is None or not hmac.compare_digest(self._seal(loop, source, row, found[1]), _plain(text)):
            return None
        return found[1]

    def _seal(self, loop: str, source: str, row: tuple[str, ...], name: str) -> str:
        content = "\x1f".join(("sealed name", loop, source, *row, name)).encode("utf-8", "surrogatepass")
        return f"{name}.{hmac.digest(self.secret, content, 'sha256').hex()[:32]}"

    @property
    def fingerprint(self) -> str:
        """What tells this key from another one, and does not give it away."""
        return hmac.digest(self.secret, b"ratchet person key", "sha256").hex()[:16]


@dataclass(frozen=True)
class Named:
    """Columns with names for ids; which rows are about somebody who is forgotten, and which bring a name that is
    not theirs to bring."""

    columns: dict[str, pa.Array]
    gone: np.ndarray
    forged: np.ndarray


@dataclass(frozen=True)
class People:
    """How the people of one source are named, and who of them asked to be forgotten."""

    loop: str
    contract: SourceContract
    key: PersonKey
    forgotten: frozenset[str] = frozenset()

    def named(self, typed: Mapping[str, pa.Array], *, is_trusted: bool = False) -> Named:
        """Names for ids. `typed` has the people's columns and the keys.

        A stored name is believed where it is sealed for its row, and where an operator gives it (`is_trusted`):
        else whoever knows one could speak for that person.
        """
        contract = self.contract
        count = len(next(iter(typed.values()))) if typed else 0
        gone, forged = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        changed = dict(typed)
        for column in contract.people:
            listed = typed[column].cast(pa.string()).dictionary_encode()
            ids = listed.dictionary.to_pylist()
            reserved = [bool(text and _RESERVED.fullmatch(_plain(text))) for text in ids]
            names = [
                self.key.hashed(self.loop, text) if text and text.strip() and not kept else None
                for text, kept in zip(ids, reserved, strict=True)
            ]
            changed[column] = pa.array(names, pa.string()).take(listed.indices)
            if any(reserved):
                own = pa.array(reserved, pa.bool_()).take(listed.indices).fill_null(False)
                at = np.flatnonzero(own.to_numpy(zero_copy_only=False))
                whole = changed[column].to_pylist()
                for i in at:
                    row = tuple(str(typed[name][int(i)].as_py()) for name in contract.keys)
                    whole[i] = self._believed(ids[listed.indices[int(i)].as_py()], row, is_trusted)
                    forged[i] |= whole[i] is None
                changed[column] = pa.array(whole, pa.string())
            if self.forgotten:
                known = pc.is_in(changed[column], value_set=pa.array(sorted(self.forgotten), pa.string()))
                gone |= np.asarray(known.to_numpy(zero_copy_only=False), dtype=bool)
        return Named(changed, gone, forged)

    def _believed(self, text: str, row: tuple[str, ...], is_trusted: bool) -> str | None:
        plain = _plain(text)
        if is_trusted and _PSEUDONYM.fullmatch(plain):
            return plain
        return self.key.opened(self.loop, self.contract.source, row, plain)

    def in_original(self, original: bytes, header: str | None) -> tuple[bytes, tuple[str, ...]]:
        """A refused row with pseudonyms for ids, and whose they are; as it was when it names nobody.

        What can't be taken apart well enough to find the id in it is withheld.
        """
        text = original.decode("utf-8", errors="backslashreplace")
        found: list[str] = []
        shown = self._in_csv(text, header, found) if header is not None else self._in_json(text, found)
        return (original if shown == text else shown.encode()), tuple(dict.fromkeys(found))

    def _in_json(self, text: str, found: list[str]) -> str:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and not any(text.count(f'"{name}"') > 1 for name in self.contract.people):
            named = {n: row[n] for n in self.contract.people if row.get(n) not in (None, "")}
            if not named:
                return text
            masked = {n: self._found(_said(value), found, row) for n, value in named.items()}
            return text if masked == named else json.dumps({**row, **masked}, ensure_ascii=False)
        for name in self.contract.people:
            value = re.compile(
                rf'("{re.escape(name)}"\s{{0,20}}:\s{{0,20}})(?:"((?:[^"\\]|\\.)*)"?|([^,}}\s"]+))'
            )
            text = value.sub(lambda m: f'{m[1]}"{self._found(m[2] or m[3] or "", found)}"', text)
        return text

    def _in_csv(self, text: str, header: str, found: list[str]) -> str:
        names = next(csv.reader([header]))
        at = [names.index(name) for name in self.contract.people if name in names]
        if not at:
            return text
        try:
            fields = next(csv.reader([text], strict=True))
        except (csv.Error, StopIteration):
            return WITHHELD
        if len(fields) != len(names):
            return WITHHELD
        shown, row = text, dict(zip(names, fields, strict=True))
        for i in at:
            if fields[i].strip():
                # The field's own text, so that the row stays readable by the same header.
                shown = shown.replace(fields[i], self._found(fields[i], found, row))
        return shown

    def _found(self, person: str, found: list[str], row: Mapping[str, Any] | None = None) -> str:
        """What is shown for an id. A name that is sealed for `row` says nothing more than that name, and stays; of
        a row that can't be taken apart it is enough that it has the form."""
        if not person.strip():
            return person
        if sealed := _SEALED.fullmatch(_plain(person)):
            keys = () if row is None else tuple(str(row.get(name)) for name in self.contract.keys)
            if row is None or self.key.opened(self.loop, self.contract.source, keys, person):
                found.append(sealed[1])
                return person
        found.append(self.key.hashed(self.loop, person))
        return found[-1]


def _plain(person: str) -> str:
    return unicodedata.normalize("NFC", person).strip()


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def key_path(settings: Settings) -> Path:
    """Where the key is when the environment has none."""
    return settings.home / "secrets" / "person.key"


def person_key(settings: Settings) -> PersonKey:
    """The key: RATCHET_PERSON_KEY, else the one in the state folder, which is made when it is not there.

    Raises:
        PersonKeyError: it is too short to be one, or others may read its file.
    """
    if settings.person_key:
        return _checked(settings.person_key.encode(), "RATCHET_PERSON_KEY")
    path = key_path(settings)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(secrets.token_hex(32).encode())
            handle.flush()
            os.fsync(handle.fileno())
        try:
            os.link(fresh, path)  # of two that are made at once the first stays
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if path.stat().st_mode & 0o077:
        raise PersonKeyError(f"{path} can be read by others; `chmod 600` it")
    return _checked(path.read_bytes().strip(), str(path))


def _checked(secret: bytes, where: str) -> PersonKey:
    if len(secret) < _SHORTEST_KEY:
        raise PersonKeyError(
            f"{where}: a key has at least {_SHORTEST_KEY} characters; `openssl rand -hex 32` makes one"
        )
    return PersonKey(secret)


def key_of(settings: Settings, wh: Warehouse, contracts: Iterable[SourceContract]) -> PersonKey | None:
    """The key, compared with the one that the warehouse was filled under; None where no source names people.

    Raises:
        PersonKeyError: it is another one: nobody would be found again, and who was forgotten would come back.
    """
    if not any(contract.people for contract in contracts):
        return None
    key = person_key(settings)
    known = wh.scalar("select fingerprint from ops.person_key")
    if known is None:
        with wh.transaction(), wh.lock("tables"):
            known = wh.scalar("select fingerprint from ops.person_key")
            if known is None:
                wh.execute("insert into ops.person_key values (?)", (key.fingerprint,))
                known = key.fingerprint
    if known != key.fingerprint:
        raise PersonKeyError(
            f"{settings.warehouse_name} was filled under another person key ({known}, this is {key.fingerprint}): "
            f"restore RATCHET_PERSON_KEY or {key_path(settings)}; docs/privacy.md says how to change it"
        )
    return key


def forgotten_people(wh: Warehouse, loop: str) -> frozenset[str]:
    """Everybody of the loop who asked to be forgotten, by pseudonym."""
    return frozenset(
        wh.frame("select person from ops.forgotten_people where loop = ?", (loop,))["person"].tolist()
    )
