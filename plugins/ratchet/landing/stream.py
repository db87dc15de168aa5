"""Messages of a Redis stream into the spool: read, written to disk, renamed, and only then acknowledged.

A process may die at any moment: what it had not acknowledged is delivered again, and a line that a file of the spool
has already is left out. So a message reaches the queue's group at least once and the landing folder once.

A message is either one field `data` with a JSON object, or one field a column. Its received day is that of its
`received_at`; without one, the time in the message's id counts, which is when the queue received it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import redis

from ratchet.landing.contract import SourceContract
from ratchet.landing.spool import Spool
from ratchet.landing.spool_values import json_line, moment_of, typed_text

Log = Callable[[str], None]
#: One name for every process of an installation: what the last one left pending is the next one's own.
CONSUMER = "ratchet"
#: How long another consumer's message has to be idle before it is taken over.
IDLE_MILLISECONDS = 60_000
#: How far a `received_at` may lie after the time at which the queue had the message.
AHEAD = timedelta(days=1)
_ACK_AT_ONCE = 1_000
_ASK_AGAIN = "ask the producer for them, and keep the stream longer"
Message = tuple[bytes, dict[bytes, bytes] | None]


class StreamError(RuntimeError):
    """The queue could not be read; the message names stream and connection, never the address."""


@dataclass(frozen=True)
class Drained:
    """What a pull of a stream did.

    `taken_over` of the messages had been delivered before and not acknowledged. `trimmed` messages were cut off
    the stream before they were spooled; `exists` is False while nobody has written to the stream.
    """

    messages: int = 0
    taken_over: int = 0
    trimmed: int = 0
    exists: bool = True


@dataclass(frozen=True)
class StreamAddress:
    """A stream and the group that reads it; `connection` is the connection's name, for messages."""

    connection: str
    stream: str
    group: str

    def __str__(self) -> str:
        return f"stream {self.stream} of connection {self.connection}"


def connect(url: str, address: StreamAddress) -> redis.Redis:
    """A client for `url`. Connects at its first command.

    Raises:
        StreamError: the URL is not one of Redis.
    """
    try:
        return redis.Redis.from_url(
            url, protocol=2, decode_responses=False, socket_connect_timeout=10, socket_timeout=60
        )
    except ValueError:
        raise StreamError(f"{address}: the address is no redis:// or rediss:// URL") from None


def drain(
    client: redis.Redis,
    address: StreamAddress,
    contract: SourceContract,
    spool: Spool,
    batch_rows: int,
    oldest: date,
    log: Log,
    *,
    idle_milliseconds: int = IDLE_MILLISECONDS,
) -> Drained:
    """Spool and acknowledge everything that the stream has for the group now.

    Other consumers' messages that were left pending come first, then our own, then new ones; micro-batches of at
    most `batch_rows`. A group that does not exist (a new stream, a lost server) starts at the stream's beginning.

    Args:
        oldest: a `received_at` before this day is not believed: the message goes to its id's day, and landing
            sets it aside.

    Raises:
        StreamError: the server is not there, or refuses; what was acknowledged is on disk.
        SpoolError: the disk refused; nothing of the batch was acknowledged.
    """
    try:
        for _ in range(2):
            is_group_new = _ensure_group(client, address, log)
            if is_group_new is None:
                return Drained(exists=False)
            try:
                drained = _drain(client, address, contract, spool, batch_rows, oldest, log, idle_milliseconds)
                unread = _cut_off_unread(client, address)
                if unread and not is_group_new:
                    log(f"{address}: {unread} messages were cut off before anybody read them; {_ASK_AGAIN}")
                    drained = replace(drained, trimmed=drained.trimmed + unread)
                return drained
            except redis.ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                log(f"{address}: group {address.group} is gone; it starts again at the beginning")
        raise StreamError(f"{address}: group {address.group} was removed twice while it was read")
    except redis.RedisError as error:
        raise StreamError(
            f"{address}: {type(error).__name__}: {_told(error)}; what was acknowledged is on disk, the rest is "
            "delivered again: retry"
        ) from None


def _ensure_group(client: redis.Redis, address: StreamAddress, log: Log) -> bool | None:
    """Whether the group had to be made; None while there is no stream."""
    if not client.exists(address.stream):
        log(f"{address} does not exist yet: nobody has written to it")
        return None
    try:
        client.xgroup_create(address.stream, address.group, id="0")
    except redis.ResponseError as error:
        if not str(error).startswith("BUSYGROUP"):
            raise
        return False
    return True


def _cut_off_unread(client: redis.Redis, address: StreamAddress) -> int:
    """How many messages the stream lost before the group read them, since this was asked last.

    The server's own count of what a group lags behind, when the group has read to the end. The count is then
    brought up to date, so that a loss is told once. Servers before version 7 do not count: 0.
    """
    groups: Any = client.xinfo_groups(address.stream)
    own = next((g for g in groups if g["name"] == address.group.encode()), None)
    stream: Any = client.xinfo_stream(address.stream)
    if own is None or not own.get("lag") or own.get("entries-read") is None:
        return 0
    if own["last-delivered-id"] != stream["last-generated-id"]:
        return 0
    lost = int(own["lag"])
    last = own["last-delivered-id"].decode()
    client.xgroup_setid(address.stream, address.group, last, entries_read=int(own["entries-read"]) + lost)
    return lost


def _drain(
    client: redis.Redis,
    address: StreamAddress,
    contract: SourceContract,
    spool: Spool,
    batch_rows: int,
    oldest: date,
    log: Log,
    idle_milliseconds: int,
) -> Drained:
    info: Any = client.xinfo_stream(address.stream)
    newest = _position(info["last-generated-id"])
    messages = taken_over = trimmed = 0
    for batch, is_new in _batches(client, address, batch_rows, newest, idle_milliseconds):
        kept = [(key, fields) for key, fields in batch if fields is not None]
        for key, fields in kept:
            day, line = _row(key, fields, contract, oldest)
            spool.add(day, _position(key), line)
        spool.close()
        keys = [key for key, _ in batch]
        for first in range(0, len(keys), _ACK_AT_ONCE):
            client.xack(address.stream, address.group, *keys[first : first + _ACK_AT_ONCE])
        messages += len(kept)
        taken_over += 0 if is_new else len(kept)
        trimmed += len(batch) - len(kept)
        log(f"{address}: {messages} messages spooled, up to {keys[-1].decode()}")
    if trimmed:
        log(f"{address}: {trimmed} messages were cut off before they were spooled; {_ASK_AGAIN}")
    return Drained(messages, taken_over, trimmed)


def _batches(
    client: redis.Redis,
    address: StreamAddress,
    batch_rows: int,
    newest: tuple[int, ...],
    idle_milliseconds: int,
) -> Iterator[tuple[list[Message], bool]]:
    """Batches to spool and acknowledge, and whether they are delivered for the first time."""
    stream, group = address.stream, address.group
    cursor: Any = b"0-0"
    while True:
        found: Any = client.xautoclaim(stream, group, CONSUMER, idle_milliseconds, cursor, count=batch_rows)
        cursor = found[0]
        # Third: messages that were pending and are no longer in the stream; the server forgets them itself.
        gone: list[Message] = [(key, None) for key in (found[2] if len(found) > 2 else [])]
        if claimed := [*_messages(found[1]), *gone]:
            yield claimed, False
        if cursor in (b"0-0", "0-0"):
            break
    for start, is_new in (("0", False), (">", True)):
        while True:
            answer: Any = client.xreadgroup(group, CONSUMER, {stream: start}, count=batch_rows)
            batch = _messages(answer[0][1]) if answer else []
            if not batch:
                break
            yield batch, is_new
            # What comes in while we read is the next run's: a busy stream must not keep this one forever.
            if is_new and _position(batch[-1][0]) >= newest:
                break


def _messages(answer: Any) -> list[Message]:
    return [(key, fields or None) for key, fields in answer]


def _position(key: bytes | str) -> tuple[int, int]:
    milliseconds, _, sequence = (key.decode() if isinstance(key, bytes) else key).partition("-")
    return int(milliseconds), int(sequence)


def _row(
    key: bytes, fields: Mapping[bytes, bytes], contract: SourceContract, oldest: date
) -> tuple[date, str]:
    """The received day and the line of a message; one that is no row keeps its text and says its id."""
    milliseconds, sequence = _position(key)
    queued = _queued_at(milliseconds)
    try:
        row = _parsed(fields, contract)
    except ValueError as error:
        # In the form of a time, so that the redaction of what is set aside does not take it for a number.
        name = f"message {queued.isoformat(timespec='milliseconds')}Z/{sequence}"
        texts = {_lenient(name): _lenient(value) for name, value in fields.items()}
        return queued.date(), json_line([f"{name}: {error}", texts])
    if row.get("received_at") is None:
        row["received_at"] = f"{queued.isoformat(timespec='milliseconds')}Z"
    received = moment_of(row["received_at"])
    believed = received is not None and oldest <= received.date() and received <= queued + AHEAD
    return received.date() if received is not None and believed else queued.date(), json_line(row)


def _queued_at(milliseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(milliseconds / 1_000, UTC).replace(tzinfo=None)
    except (OverflowError, ValueError, OSError):
        # An id that the producer made up is no time; its messages gather where they are seen.
        return datetime(1970, 1, 1)


def _parsed(fields: Mapping[bytes, bytes], contract: SourceContract) -> dict[str, Any]:
    try:
        texts = {name.decode("utf-8"): value.decode("utf-8") for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start} of a field") from None
    whole = texts.pop("data", None) if "data" not in contract.names else None
    types = {column.name: column.data_type for column in contract.columns}
    row = {name: typed_text(text, types.get(name, "varchar")) for name, text in texts.items()}
    if whole is None:
        return row
    try:
        found = json.loads(whole)
    except RecursionError:
        raise ValueError("data is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"data is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"data is no object but {type(found).__name__}")
    return {**row, **found}


def _lenient(raw: bytes) -> str:
    return raw.decode("utf-8", errors="backslashreplace")


def _told(error: redis.RedisError) -> str:
    return re.sub(r"://[^@/\s]*@", "://***@", str(error).splitlines()[0][:300]) if str(error) else "no answer"
