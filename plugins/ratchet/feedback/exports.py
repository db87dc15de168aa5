"""Exports of other tools -> rows of the feedback contract: tickets as JSON (Zendesk's shape), app-store reviews as CSV.

Texts are redacted here, before anything of them is written. A row that names no prediction can't be joined to what it
is about; it is left out and counted.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ratchet.feedback.redact import redact_text

_STATUSES = {
    "new": "new",
    "open": "open",
    "pending": "pending",
    "hold": "pending",
    "solved": "solved",
    "closed": "closed",
}
_REVIEW_COLUMNS = ("review_id", "created_at", "stars", "title", "body", "prediction_id", "unit_id")


class ExportError(ValueError):
    """An export that can't be read as what it is said to be; the message names what was expected."""


@dataclass
class Export:
    """Rows of the feedback contract, without `received_at`; `left_out`: reasons and how many rows have them."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def _moment(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(value: Any) -> str | None:
    return redact_text(value) if isinstance(value, str) and value.strip() else None


def zendesk(content: str) -> Export:
    """Tickets: {"tickets": [{"id", "subject", "description", "status", "created_at", "custom_fields":
    [{"id", "value"}], "comments": [{"id", "body", "created_at", "author"}]}]}.

    The fields `prediction_id`, `unit_id` and `consent` are custom fields. The first message is the ticket, each later
    one of the requester another row of its thread; the last one of an agent is the resolution.

    Raises:
        ExportError: it is no such JSON.
    """
    try:
        tickets = json.loads(content)["tickets"]
        if not isinstance(tickets, list):
            raise TypeError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ExportError('no export of tickets: expected {"tickets": [...]}') from None
    found = Export()
    for ticket in tickets:
        if not isinstance(ticket, Mapping) or ticket.get("id") is None:
            found.left_out["a ticket without an id"] += 1
            continue
        _ticket(ticket, found)
    return found


def _ticket(ticket: Mapping[str, Any], found: Export) -> None:
    listed = [f for f in ticket.get("custom_fields") or [] if isinstance(f, Mapping)]
    own = {str(f.get("id")): f.get("value") for f in listed}
    if not own.get("prediction_id") or not own.get("unit_id"):
        found.left_out["a ticket that names no prediction and unit"] += 1
        return
    name = f"zendesk-{ticket['id']}"
    messages = [m for m in ticket.get("comments") or [] if isinstance(m, Mapping)]
    answers = [m for m in messages if m.get("author") == "agent"]
    closed = ticket.get("status") in ("solved", "closed")
    shared = {
        "prediction_id": own["prediction_id"],
        "unit_id": own["unit_id"],
        "channel": "ticket",
        "thread_id": name,
        "ticket_status": _STATUSES.get(str(ticket.get("status"))),
        "consent": own.get("consent"),
        "is_simulated": bool(own.get("is_simulated", False)),
    }
    first = {
        "feedback_id": name,
        "subject": _text(ticket.get("subject")),
        "comment": _text(ticket.get("description")),
        "resolution": _text(answers[-1].get("body")) if answers and closed else None,
        "event_at": _moment(ticket.get("created_at")),
        **shared,
    }
    later = [
        {
            "feedback_id": f"{name}/{m.get('id', n)}",
            "comment": _text(m.get("body")),
            "event_at": _moment(m.get("created_at")),
            **shared,
        }
        for n, m in enumerate(messages)
        if m.get("author") != "agent"
    ]
    for row in (first, *later):
        if row["event_at"] is None:
            found.left_out["a message without a time"] += 1
        else:
            found.rows.append({key: value for key, value in row.items() if value is not None})


def reviews(content: str) -> Export:
    """Reviews with the columns review_id, created_at, stars, title, body, prediction_id, unit_id; others are ignored.

    Raises:
        ExportError: a column is missing.
    """
    reader = csv.DictReader(io.StringIO(content, newline=""))
    missing = [name for name in _REVIEW_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ExportError(f"no export of reviews: column {', '.join(missing)} is missing")
    found = Export()
    for row in _rows(reader):
        moment, stars = _moment(row["created_at"]), (row["stars"] or "").strip()
        if not row["prediction_id"] or not row["unit_id"]:
            found.left_out["a review that names no prediction and unit"] += 1
        elif moment is None or not row["review_id"]:
            found.left_out["a review without an id or a time"] += 1
        else:
            said = {
                "feedback_id": f"review-{row['review_id']}",
                "prediction_id": row["prediction_id"],
                "unit_id": row["unit_id"],
                "channel": "rating",
                "rating": int(stars) if stars in ("1", "2", "3", "4", "5") else None,
                "subject": _text(row["title"]),
                "comment": _text(row["body"]),
                "is_simulated": False,
                "event_at": moment,
            }
            found.rows.append({key: value for key, value in said.items() if value is not None})
    return found


def _rows(reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ExportError(f"line {reader.line_num} is no CSV: {error}") from None
