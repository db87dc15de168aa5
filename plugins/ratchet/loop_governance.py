"""The parts of a loop file that say who approves what, and when a release may take effect."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
#: A name is part of a ledger key.
LONGEST_NAME = 60


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApprovalRule(_Part):
    """Who has to approve, how many of them, and after how long silence is a no."""

    by: tuple[str, ...] = Field(min_length=1)
    count: Literal[1, 2] = 1
    timeout_hours: int = Field(default=48, gt=0)


class Approvals(_Part):
    """What needs whom. Going back never waits for a person."""

    advance: Literal["automatic"] | ApprovalRule = "automatic"
    promote: Literal["automatic"] | ApprovalRule
    urgent: Literal["automatic"] | ApprovalRule | None = None
    roll_back: Literal["automatic"]
    bootstrap: Literal["owner"]
    roles: dict[str, tuple[str, ...]] = {}
    authenticated: bool = False

    def rule(self, action: str) -> ApprovalRule | None:
        """What `action` needs, or None: it is automatic."""
        declared = {"advance": self.advance, "promote": self.promote, "urgent": self.urgent}.get(
            action, "automatic"
        )
        return declared if isinstance(declared, ApprovalRule) else None

    def people(self, rule: ApprovalRule, owner: str) -> tuple[str, ...]:
        """The names behind `rule.by`: `owner` and the roles are replaced by theirs, each name once."""
        names: list[str] = []
        for name in rule.by:
            names += [owner] if name == "owner" else self.roles.get(name, (name,))
        return tuple(dict.fromkeys(names))

    @property
    def most_people(self) -> int:
        """The largest number of approvals that one decision may need."""
        return max(
            (rule.count for rule in map(self.rule, ("advance", "promote", "urgent")) if rule), default=0
        )

    @model_validator(mode="after")
    def _roles(self) -> Approvals:
        for role, members in self.roles.items():
            if role == "owner" or not members:
                raise ValueError(f"role {role!r}: name its members; `owner` is the loop's owner already")
        names = [
            name for rule in map(self.rule, ("advance", "promote", "urgent")) if rule for name in rule.by
        ]
        names += [name for members in self.roles.values() for name in members]
        bad = sorted({name for name in names if not 0 < len(name.strip()) <= LONGEST_NAME})
        if bad:
            raise ValueError(f"{bad[0]!r} is no name: give 1 to {LONGEST_NAME} characters")
        return self


class Freeze(_Part):
    """Days, both inclusive, on which nothing is released, and why."""

    first: date = Field(alias="from")
    last: date = Field(alias="to")
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        if self.first > self.last:
            raise ValueError(f"the freeze ends on {self.last}, before it begins on {self.first}: swap them")
        return self


class Releases(_Part):
    """On which days a release may take effect, in the loop's time zone."""

    weekdays: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1)
    freeze: tuple[Freeze, ...] = ()

    @field_validator("weekdays")
    @classmethod
    def _once(cls, days: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if len(set(days)) < len(days):
            raise ValueError("a weekday is named twice; name each once")
        return days


class Holdback(_Part):
    """The share that the previous champion keeps after a promotion, and for how many days."""

    share: float = Field(gt=0, le=0.25)
    days: int = Field(gt=1)
