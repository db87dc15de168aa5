"""The parts of a loop file about the people behind its rows: what is kept of them, and what they are told."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Forget(_Part):
    """What happens to training data and models when somebody asks to be forgotten.

    `training_rows`: whether rows of units that the person's rows are about leave the next trainings. `snapshots`:
    whether a snapshot that holds such rows is written anew without them, or deleted. `models`: what is asked for
    when a model that serves learned from such a snapshot.
    """

    training_rows: Literal["leave_out", "keep"] = "leave_out"
    snapshots: Literal["rewrite", "delete"] = "rewrite"
    models: Literal["retrain_now", "next_routine", "none"] = "next_routine"


class Privacy(_Part):
    redact_comments: Literal[True]
    forget: Forget = Forget()


class ReceiptChannel(_Part):
    """Through what a receipt is sent. Connection and secrets are Airflow's.

    `smtp` needs the person's address, which nothing here stores: it goes to `to`, a mailbox that forwards by
    pseudonym. `webhook` posts each receipt to a service that knows the person.
    """

    kind: Literal["smtp", "webhook"]
    connection: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    to: str = ""

    @model_validator(mode="after")
    def _addressed(self) -> ReceiptChannel:
        if (self.kind == "smtp") != bool(self.to):
            raise ValueError("`to` is the mail address of kind smtp, and the other kind has none")
        if self.to and ("@" not in self.to or any(c in self.to for c in "\r\n,; ")):
            raise ValueError(f"to: {self.to!r} is no mail address")
        return self


class Receipts(_Part):
    """What people are told about what became of their feedback. Nothing is sent without a channel.

    A receipt is written `wait_days` after its period, so that there is something to tell; 0 or a week and more: it
    then compares the days since with the period, else the period with the one before.
    """

    period_days: int = Field(default=28, gt=0)
    wait_days: int = Field(default=0, ge=0)
    smallest_group: int = Field(default=20, ge=2)
    per_run: int = Field(default=500, gt=0)
    templates: str = Field(default="en", pattern=r"^[a-z]{2}(_[A-Z]{2})?$")
    without_consent: Literal["never", "answer"] = "never"
    channel: ReceiptChannel | None = None

    @field_validator("wait_days")
    @classmethod
    def _enough_to_compare(cls, value: int) -> int:
        if 0 < value < 7:
            raise ValueError(
                f"wait_days is {value}: give 0, or a week and more, or there is nothing to compare"
            )
        return value
