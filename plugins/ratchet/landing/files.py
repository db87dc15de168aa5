"""Where a source's files are: folders and object stores, through fsspec; partitions and the files in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import fsspec
from fsspec.core import url_to_fs

from ratchet.connections import connection_url
from ratchet.loop import Source
from ratchet.settings import Settings

_PARTITION = "received_date="
_HASH_BYTES = 8 * 2**20
_MARKS = ("size", "mtime", "ino", "ETag", "LastModified", "created", "updated")
# Names under which writers put what is not finished yet.
_UNFINISHED_STARTS = (".", "_")
_UNFINISHED_ENDS = (".tmp", ".part", ".partial", ".inprogress", ".crc")


class LocationError(ValueError):
    """A source's location can't be used; the message names the source and what to do."""


@dataclass(frozen=True)
class Location:
    """A folder or a prefix of an object store; `shown` is its address, which holds no secret."""

    fs: Any
    root: str
    shown: str


@dataclass(frozen=True)
class DeliveredFile:
    """One file of a partition."""

    fs: Any
    path: str
    name: str
    address: str
    size: int

    def open(self) -> BinaryIO:
        return cast(BinaryIO, self.fs.open(self.path, "rb"))

    def sha256(self) -> str:
        """The hash of its bytes, read in one pass."""
        digest = hashlib.sha256()
        with self.open() as stream:
            while data := stream.read(_HASH_BYTES):
                digest.update(data)
        return digest.hexdigest()

    def mark(self) -> str:
        """What changes when its content does: a writer may go on with it while it is read."""
        self.fs.invalidate_cache(self.path)
        found = self.fs.info(self.path)
        return "|".join(f"{key}={found[key]}" for key in _MARKS if found.get(key) is not None)


def location_of(settings: Settings, loop: str, name: str, source: Source) -> Location:
    """Where the partitions of the source `name` are: its `location`, or <landing>/<loop>/<source>.

    Raises:
        LocationError: an address whose protocol nobody installed, or a connection that does not fit it.
        ConnectionMissing: `connection` names one that nobody gave.
    """
    if source.adapter != "files" or source.location is None:
        root = settings.landing_dir / loop / name
        return Location(fsspec.filesystem("file"), str(root), str(root))
    address = source.location
    if "://" not in address:
        root = Path(address) if Path(address).is_absolute() else settings.root / address
        return Location(fsspec.filesystem("file"), str(root), str(root))
    where = f"source {name} of loop {loop}: location {address}"
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise LocationError(
            f"source {name} of loop {loop}: its location holds a user or password; name a connection instead"
        )
    options: dict[str, Any] = {}
    if source.connection is not None:
        options = storage_options(connection_url(source.connection, settings), parts.scheme, where)
    try:
        fs, root_path = url_to_fs(address, **options)
    except (ValueError, ImportError) as error:
        raise LocationError(f"{where}: {error}") from None
    return Location(fs, str(root_path).rstrip("/"), address.rstrip("/"))


def storage_options(url: str, scheme: str, where: str) -> dict[str, Any]:
    """What fsspec is given, from a connection's URL in the form in which Airflow writes it.

    For s3: aws://KEY:SECRET@/?endpoint_url=...&region_name=...&session_token=... (also s3://). For any other
    scheme the query's parameters are the filesystem's own options, with user, password, host and port.

    Raises:
        LocationError: the connection is of another kind than the location.
    """
    parts = urlsplit(url)
    query = {name.removeprefix("extra__"): value for name, value in parse_qsl(parts.query)}
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if scheme in ("s3", "s3a"):
        if parts.scheme not in ("aws", "s3"):
            raise LocationError(
                f"{where}: its connection is of the kind {parts.scheme}; give an aws connection"
            )
        found = {
            "key": user,
            "secret": password,
            "token": query.get("session_token") or query.get("aws_session_token"),
            "endpoint_url": query.get("endpoint_url"),
        }
        options: dict[str, Any] = {name: value for name, value in found.items() if value}
        if region := query.get("region_name"):
            options["client_kwargs"] = {"region_name": region}
        return options
    named = {"username": user, "password": password, "host": parts.hostname, "port": parts.port}
    return {**{name: value for name, value in named.items() if value}, **query}


def partitions(location: Location, log: Callable[[str], None]) -> Iterator[tuple[date, str]]:
    """The received dates below the location, with their folders, in order; what is no partition is logged."""
    location.fs.invalidate_cache(location.root)
    try:
        entries = location.fs.ls(location.root, detail=True)
    except FileNotFoundError:
        return
    for entry in sorted(entries, key=lambda e: str(e["name"])):
        path = str(entry["name"]).rstrip("/")
        name = path.rsplit("/", 1)[-1]
        if path == location.root or name.startswith(_UNFINISHED_STARTS):
            continue
        day = _day_of(name) if entry["type"] == "directory" else None
        if day is None:
            log(f"left alone, not a partition named {_PARTITION}YYYY-MM-DD: {location.shown}/{name!r}")
        else:
            yield day, path


def _day_of(name: str) -> date | None:
    text = name.removeprefix(_PARTITION)
    try:
        # fromisoformat also reads 20130514, which would be a second name for the same day.
        return date.fromisoformat(text) if name != text and len(text) == 10 else None
    except ValueError:
        return None


def delivered(location: Location, folder: str, log: Callable[[str], None]) -> list[DeliveredFile]:
    """The finished files of a partition, by name; those that a writer still works on are logged."""
    location.fs.invalidate_cache(folder)
    try:
        entries = location.fs.ls(folder, detail=True)
    except FileNotFoundError:
        return []
    found = []
    for entry in sorted(entries, key=lambda e: str(e["name"])):
        path = str(entry["name"])
        name = path.rsplit("/", 1)[-1]
        if path.rstrip("/") == folder.rstrip("/") or not name:
            continue  # object stores list an empty marker of the folder itself
        address = f"{location.shown}{path.removeprefix(location.root)}"
        if entry["type"] != "file":
            log(f"left alone, a folder within a partition: {address}")
        elif name.startswith(_UNFINISHED_STARTS) or name.endswith(_UNFINISHED_ENDS):
            log(f"left alone, by its name not finished: {address}")
        else:
            found.append(DeliveredFile(location.fs, path, name, address, int(entry.get("size") or 0)))
    return found
