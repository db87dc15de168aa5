"""The parts of a loop file that say when an alert is an incident, how incidents are ranked, and who is told."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Severity = Literal["note", "low", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("note", "low", "high", "critical")
#: What an incident is about; each has a runbook docs/runbooks/<kind>.md.
Kind = Literal[
    "feed", "drift", "labels", "quality", "users", "latency", "operations", "dependency", "not-measured"
]
_HOURS: dict[Kind, float] = {
    "feed": 24, "drift": 72, "labels": 48, "quality": 72, "users": 72, "latency": 8, "operations": 24,
    "dependency": 8, "not-measured": 12,
}  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RankWeights(_Part):
    """Exponents of the three factors of an incident's rank; 0 leaves a factor out."""

    impact: float = Field(default=1.0, ge=0)
    risk: float = Field(default=1.0, ge=0)
    time_to_fix: float = Field(default=1.0, ge=0)


class SeverityLimits(_Part):
    """From which rank on an incident is called so; below `high` it is low."""

    high: float = Field(default=0.05, gt=0, le=1)
    critical: float = Field(default=0.35, gt=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> SeverityLimits:
        if self.high >= self.critical:
            raise ValueError(f"high is {self.high:g}, not below critical, {self.critical:g}")
        return self


class Alerts(_Part):
    """When an alerting signal becomes an incident, when the incident ends, and how incidents are ranked."""

    open_after: int = Field(default=2, ge=1)
    at_once: tuple[str, ...] = (
        "freshness:*", "stale:*", "volume:*", "schema:*", "not-measured:*", "quality:*", "labels:*", "drift:*",
    )  # fmt: skip
    close_after_days: int = Field(default=3, ge=1)
    grace_days: int = Field(default=21, ge=0)
    silent_after_hours: int = Field(default=48, gt=0)
    feeds: dict[str, tuple[str, ...]] = {}
    weights: RankWeights = RankWeights()
    hours_to_fix: dict[Kind, float] = {}
    severity: SeverityLimits = SeverityLimits()
    owners: dict[Kind, str] = {}

    @model_validator(mode="after")
    def _usable(self) -> Alerts:
        wrong = sorted(kind for kind, hours in self.hours_to_fix.items() if not hours > 0)
        if wrong:
            raise ValueError(f"hours_to_fix of {', '.join(wrong)} must be more than 0")
        named = [feature for features in self.feeds.values() for feature in features]
        twice = sorted({feature for feature in named if named.count(feature) > 1})
        if twice:
            raise ValueError(f"feeds: {', '.join(twice)} is under two sources; name each feature once")
        return self

    def hours(self, kind: Kind) -> float:
        """How long the mending of an incident of this kind is expected to take."""
        return self.hours_to_fix.get(kind, _HOURS[kind])

    def source_of(self, feature: str | None) -> str | None:
        """The source that a feature is made of, or None."""
        return next((source for source, features in self.feeds.items() if feature in features), None)


class NotifyChannel(_Part):
    """Where incidents are told. The connection, with its secret, is Airflow's."""

    kind: Literal["smtp", "slack_webhook", "webhook"]
    connection: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    to: tuple[str, ...] = ()
    at_least: Severity = "low"

    @model_validator(mode="after")
    def _addressed(self) -> NotifyChannel:
        if (self.kind == "smtp") != bool(self.to):
            raise ValueError(
                "`to` holds mail addresses: give at least one to kind smtp, and none to the others"
            )
        bad = [name for name in self.to if "@" not in name or any(c in name for c in "\r\n,;")]
        if bad:
            raise ValueError(f"to: {bad[0]!r} is no mail address")
        return self
