"""What is held in quarantine: counted, shown, settled. Re-landing is in release.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pandas as pd

from ratchet.landing.partition import Partition
from ratchet.warehouse.protocol import Warehouse

STATES = ("held", "released", "superseded", "dismissed")
_ID_DIGITS = 64
_SHORTEST_ID = 6


class NoSuchRow(LookupError):
    """No row of quarantine, or more than one, has this id; the message says what to give."""


@dataclass(frozen=True)
class Asked:
    """Which rows: None means any. `reason` is a part of the reason's text."""

    loop: str
    source: str | None = None
    start: date | None = None
    end: date | None = None
    reason: str | None = None
    state: str = "held"

    def where(self) -> tuple[str, list[Any]]:
        """The condition and its parameters."""
        conditions, params = ["loop = ?", "state = ?"], [self.loop, self.state]
        for column, sign, value in (
            ("source", "=", self.source),
            ("received_date", ">=", self.start),
            ("received_date", "<=", self.end),
        ):
            if value is not None:
                conditions.append(f"{column} {sign} ?")
                params.append(value)  # type: ignore[arg-type]
        if self.reason is not None:
            conditions.append("position(? in reason) > 0")
            params.append(self.reason)
        return " and ".join(conditions), params


def groups(wh: Warehouse, asked: Asked) -> pd.DataFrame:
    """One row per source and kind of reason, the most frequent first: source, kind, rows, files, first_date,
    last_date, an example's id.

    A kind is the reason up to what it quotes, so that ten thousand different values are one line.
    """
    where, params = asked.where()
    found = wh.frame(
        "select source, reason, count(*) as n_rows, min(received_date) as first_date, "  # noqa: S608
        "max(received_date) as last_date, count(distinct source_file) as n_files, "
        f"min(quarantine_id) as example_id from raw.quarantine where {where} group by source, reason",
        params,
    )
    found["kind"] = [kind_of(reason) for reason in found["reason"]]
    summed = found.groupby(["source", "kind"], as_index=False).agg(
        n_rows=("n_rows", "sum"),
        n_files=("n_files", "max"),
        first_date=("first_date", "min"),
        last_date=("last_date", "max"),
        example_id=("example_id", "min"),
    )
    return summed.sort_values(["n_rows", "source", "kind"], ascending=[False, True, True], ignore_index=True)


def kind_of(reason: str) -> str:
    """The reason without the value that it quotes.

    >>> kind_of("rating: 'four' is not a whole number")
    "rating: ... is not a whole number"
    """
    field, colon, rest = reason.partition(": ")
    if not colon:
        return reason.split(" at byte ")[0]
    for end in (" is not ", " is out of range"):
        if end in rest:
            return f"{field}: ...{rest[rest.rindex(end) :]}"
    if rest.startswith("unknown value"):
        return f"{field}: unknown value"
    return f"{field}: {rest}" if field != "broken JSON" else f"{field}: {rest.split(':')[0]}"


def rows(wh: Warehouse, asked: Asked, limit: int) -> pd.DataFrame:
    """The rows themselves, at most `limit`, without their bytes."""
    where, params = asked.where()
    return wh.frame(
        "select quarantine_id, source, received_date, source_file, source_line, reason, is_redacted "  # noqa: S608
        f"from raw.quarantine where {where} "
        f"order by received_date, source, source_file, source_line, quarantine_id limit {int(limit)}",
        params,
    )


def row(wh: Warehouse, loop: str, name: str) -> dict[str, Any]:
    """Everything about the row whose id is, or starts with, `name`.

    Raises:
        NoSuchRow: none has, or several have.
    """
    wanted = name.lower()
    if not set(wanted) <= set("0123456789abcdef") or not _SHORTEST_ID <= len(wanted) <= _ID_DIGITS:
        raise NoSuchRow(f"{name!r} is no id: give at least {_SHORTEST_ID} of its hex digits (`list --rows`)")
    found = wh.frame(
        f"select * from raw.quarantine where loop = ? and substr(quarantine_id, 1, {len(wanted)}) = ?",  # noqa: S608
        (loop, wanted),
    )
    if len(found) != 1:
        what = "no row has" if found.empty else f"{len(found)} rows have"
        raise NoSuchRow(
            f"{what} an id that starts with {name} in loop {loop}; `ratchet quarantine list --rows`"
        )
    plain = {str(key): value for key, value in found.iloc[0].items()}
    return {key: None if _is_missing(value) else value for key, value in plain.items()}


def _is_missing(value: Any) -> bool:
    return value is None or (not isinstance(value, bytes | bytearray) and bool(pd.isna(value)))


def settle(wh: Warehouse, ids: Sequence[str], state: str, how: str, now: datetime) -> None:
    """Write down what became of rows."""
    for at in range(0, len(ids), 1_000):
        wh.execute(
            "update raw.quarantine set state = ?, settled_as = ?, settled_at = ? where quarantine_id = any(?)",
            (state, how, now, list(ids[at : at + 1_000])),
        )


def dismiss(wh: Warehouse, partition: Partition, ids: Sequence[str], why: str, now: datetime) -> None:
    """The rows are not wanted: they stay in quarantine, and their day is no longer judged by them."""
    settle(wh, ids, "dismissed", why, now)
    partition.finish()
