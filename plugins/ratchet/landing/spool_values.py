"""Values of tables and queues as the JSON that landing reads."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def json_line(value: Any) -> str:
    """The value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def moment_of(value: Any) -> datetime | None:
    """A time (or the ISO text of one) as UTC without zone; None when it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    return None


def json_value(value: Any, data_type: str | None) -> Any:
    """A database value as JSON; `data_type` is the contract's (None: a column that it does not have).

    What has no JSON form of its type stays what it is, and landing refuses the row by that column's name.
    """
    if value is None:
        return None
    if data_type == "varchar" and isinstance(value, bool):
        return "true" if value else "false"
    if data_type == "varchar" and isinstance(value, int | Decimal | UUID | date):
        return str(value)
    if data_type == "boolean" and type(value) is int and value in (0, 1):
        return bool(value)
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return int(value) if whole else float(value)
    if isinstance(value, datetime):
        moment = moment_of(value)
        return None if moment is None else f"{moment.isoformat()}Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        text = base64.b64encode(bytes(value)).decode("ascii")
        return {"base64": text} if data_type else f"base64:{text}"
    if isinstance(value, UUID):
        return str(value)
    return value


def typed_text(text: str, data_type: str) -> Any:
    """The text of a field as the contract's type, as far as it is one; landing refuses the others by name."""
    if data_type == "varchar":
        return text
    if text == "":
        return None
    if data_type in ("integer", "bigint", "double") and _NUMBER.fullmatch(text):
        return json.loads(text)
    if data_type == "boolean" and text in ("true", "false"):
        return text == "true"
    return text
