"""What may be sent to the endpoint, and the row of the landing contract that it becomes."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ratchet.feedback.redact import redact_text

_AHEAD = timedelta(minutes=5)
Id = Field(min_length=1, max_length=120, pattern=r"^[\x21-\x7e]+$")


class Consent(BaseModel):
    """What the person agreed to, purpose by purpose."""

    model_config = ConfigDict(extra="forbid", strict=True)
    use_for_training: bool
    contact: bool

    @property
    def word(self) -> str:
        return {
            (True, True): "use_for_training+contact",
            (True, False): "use_for_training",
            (False, True): "contact",
            (False, False): "none",
        }[(self.use_for_training, self.contact)]


class Message(BaseModel):
    """One piece of feedback about one prediction."""

    model_config = ConfigDict(extra="forbid")
    prediction_id: str = Id
    unit_id: str = Field(min_length=1, max_length=64, pattern=r"^[\x21-\x7e]+$")
    channel: Literal["rating", "thumbs", "prompt_asked", "prompt_answered", "ticket", "telemetry"]
    rating: int | None = Field(default=None, ge=1, le=5, strict=True)
    is_helpful: bool | None = Field(default=None, strict=True)
    text: str | None = Field(default=None, max_length=4_000)
    subject: str | None = Field(default=None, max_length=500)
    prompt_id: str | None = Field(default=None, max_length=160)
    thread_id: str | None = Field(default=None, max_length=160)
    ticket_status: Literal["new", "open", "pending", "solved", "closed"] | None = None
    resolution: str | None = Field(default=None, max_length=4_000)
    event: Literal["alert_dismissed", "screen_reopened", "app_error", "app_latency"] | None = None
    event_count: int = Field(default=1, ge=0, le=100_000, strict=True)
    latency_ms: int | None = Field(default=None, ge=0, le=3_600_000, strict=True)
    category: str | None = Field(default=None, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")
    consent: Consent | None = None
    user_id: str | None = Field(default=None, min_length=1, max_length=200)
    event_at: AwareDatetime | None = None
    is_simulated: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        needed = {
            "rating": self.rating is not None,
            "thumbs": self.is_helpful is not None,
            "prompt_asked": True,
            "prompt_answered": bool(self.text) or self.rating is not None or self.is_helpful is not None,
            "ticket": bool(self.text) or bool(self.subject),
            "telemetry": self.event is not None,
        }
        if not needed[self.channel]:
            raise ValueError(f"channel {self.channel} lacks what it is for")
        if (self.latency_ms is not None) != (self.event == "app_latency"):
            raise ValueError("latency_ms belongs to the event app_latency, and to no other")
        if any("\x00" in (value or "") for value in (self.text, self.subject, self.resolution, self.user_id)):
            raise ValueError("a text holds a NUL character")
        return self


class TooEarly(ValueError):
    """It claims to have happened in the future."""


def row_of(message: Message, loop: str, client: str, key: str, now: datetime) -> tuple[str, dict[str, Any]]:
    """The source and the row of its contract; the texts are redacted. The row's name follows from client and key.

    Who was asked is telemetry (`rating_asked`), so that silence is counted; an answer is feedback.

    Raises:
        TooEarly: `event_at` lies ahead of `now`.
    """
    happened = message.event_at or now
    if happened > now + _AHEAD:
        raise TooEarly("event_at lies in the future")
    name = "api-" + hashlib.sha256("\x1f".join((loop, client, key)).encode()).hexdigest()[:32]
    shared: dict[str, Any] = {
        "prediction_id": message.prediction_id,
        "unit_id": message.unit_id,
        "is_simulated": message.is_simulated,
        "event_at": _told(min(happened, now)),
        "received_at": _told(now),
        "user_id": (message.user_id or "").strip() or None,
    }
    if message.channel in ("telemetry", "prompt_asked"):
        event = "rating_asked" if message.channel == "prompt_asked" else message.event
        row = {
            "telemetry_id": name,
            "event_type": event,
            "event_count": message.event_count,
            "latency_ms": message.latency_ms,
            **shared,
        }
        return "telemetry", {column: value for column, value in row.items() if value is not None}
    texts = {"comment": message.text, "subject": message.subject, "resolution": message.resolution}
    row = {
        "feedback_id": name,
        "channel": message.channel,
        "rating": message.rating,
        "is_helpful": message.is_helpful,
        "prompt_id": message.prompt_id,
        "thread_id": message.thread_id,
        "ticket_status": message.ticket_status,
        "category": message.category,
        "consent": message.consent.word if message.consent else None,
        # A text that grew by its placeholders still fits: landing's limit is on what is stored.
        **{column: redact_text(text)[:4_000] if text else None for column, text in texts.items()},
        **shared,
    }
    return "feedback", {column: value for column, value in row.items() if value is not None}


def _told(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
