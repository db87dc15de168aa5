"""Incidents: opened once, updated, closed once, from the signals of each measurement.

Pure: what was open, the signals and the mutes in, what is open and what happened out. A signal that was not measured
changes nothing: an incident neither opens nor closes on silence, and silence that is told ("unknown") opens one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ratchet.incidents.causes import Group, groups_of, with_source
from ratchet.incidents.rank import rank_of
from ratchet.incidents.signals import Signal, fits
from ratchet.loop_alerts import SEVERITIES, Alerts, Kind, Severity

if TYPE_CHECKING:
    from ratchet.loop import Loop

Happened = Literal["opened", "raised", "updated", "closed", "merged", "unmuted"]
#: Always an incident, however young the loop is.
SILENCE = "not-measured:health"
#: Quality and users of a model that has just begun to serve can't be told yet.
LATE = ("quality", "users", "output")


@dataclass(frozen=True)
class Mute:
    """Until when nobody is told of an incident, why, and who said so."""

    incident: str
    until: date
    reason: str
    by: str


@dataclass(frozen=True)
class Incident:
    """One incident. `members` are its signals by name, each with the day on which it alerted last and its family."""

    id: str
    key: str
    kind: Kind
    title: str
    cause: str
    causes: tuple[dict[str, Any], ...]
    opened_on: str
    updated_on: str
    severity: Severity
    rank: float
    impact: float
    risk: float
    hours_to_fix: float
    owner: str
    escalation: str
    runbook: str
    evidence: tuple[dict[str, Any], ...]
    members: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    is_felt: bool = False
    closed_on: str | None = None
    muted_until: str | None = None
    mute_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return {
            **asdict(self),
            "causes": list(self.causes),
            "evidence": list(self.evidence),
            "members": {name: list(told) for name, told in self.members.items()},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Incident:
        """The incident that `to_json` wrote.

        Raises:
            TypeError: a key is missing or unknown.
        """
        members = {name: (str(day), str(family)) for name, (day, family) in record["members"].items()}
        causes, evidence = tuple(record["causes"]), tuple(record["evidence"])
        return cls(**{**record, "causes": causes, "evidence": evidence, "members": members})


@dataclass(frozen=True)
class Event:
    """What happened to an incident at this measurement."""

    what: Happened
    incident: str
    severity: Severity
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return asdict(self)


@dataclass(frozen=True)
class Incidents:
    """What is open, and for each alerting signal on how many days in a row it did and since when."""

    open: tuple[Incident, ...] = ()
    streaks: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return {
            "open": [incident.to_json() for incident in self.open],
            "streaks": {name: list(streak) for name, streak in sorted(self.streaks.items())},
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Incidents:
        """The state that `to_json` wrote."""
        return cls(
            tuple(Incident.from_json(item) for item in record["open"]),
            {name: (int(count), str(day)) for name, (count, day) in record["streaks"].items()},
        )


def judge_incidents(
    loop: Loop,
    before: Incidents,
    signals: Sequence[Signal],
    as_of: datetime,
    *,
    mutes: Iterable[Mute] = (),
    serving_since: datetime | None = None,
    began: datetime | None = None,
    learns: bool = False,
) -> tuple[Incidents, tuple[Event, ...]]:
    """What is open after the signals of `as_of`, most pressing first, and what happened.

    `serving_since` is the champion's time, `began` the loop's: what can't be told yet so soon after is no incident.
    `learns`: models learn weights or labels from feedback.

    Raises:
        ValueError: a signal is there twice: it can't be told which holds.
    """
    alerts, today = loop.monitoring.alerts, as_of.date()
    names = [signal.name for signal in signals]
    if len(set(names)) < len(names):
        raise ValueError(f"signal {sorted(n for n in names if names.count(n) > 1)[0]!r} is there twice")
    grace = timedelta(days=alerts.grace_days)
    is_new = serving_since is not None and as_of - serving_since < grace
    is_first = began is not None and as_of - began < grace
    seen = [
        with_source(alerts, s)
        for s in signals
        if s.state != "unknown"
        or s.name == SILENCE
        or not ((is_new and s.family in LATE) or (is_first and not s.name.startswith("freshness:")))
    ]
    wrong = {s.name: s for s in seen if s.state in ("alert", "unknown")}
    quiet = {s.name for s in seen if s.state in ("ok", "warn")}
    # A signal of one category or cohort is only told while there is something to tell.
    measured = {s.family for s in seen if s.state != "unknown"}
    streaks = _streaks(before.streaks, wrong, quiet, today)
    known = {name for incident in before.open for name in incident.members}
    confirmed = [
        s for s in wrong.values()
        if s.name in known or streaks[s.name][0] >= (1 if _at_once(alerts, s) else alerts.open_after)
    ]  # fmt: skip
    muted = {mute.incident: mute for mute in mutes}
    events: list[Event] = []
    left = {incident.id: incident for incident in before.open}
    now: list[Incident] = []
    for group in groups_of(loop, confirmed, learns=learns):
        mine = _mine(group, [i for i in left.values() if i.id not in {n.id for n in now}])
        for other in mine[1:]:
            del left[other.id]
            events.append(Event("merged", other.id, other.severity, f"it is part of {mine[0].id}"))
        inherited = {name: told for incident in mine for name, told in incident.members.items()}
        old = mine[0] if mine else None
        worst = max((i.severity for i in mine), key=SEVERITIES.index, default=None)
        made = _made(loop, group, old, worst, inherited, as_of)
        left.pop(made.id, None)
        now.append(made)
        events += _happened(old, made)
    for incident in left.values():
        last = max(date.fromisoformat(day) for day, _ in incident.members.values())
        is_measured = all(
            name in quiet or (name not in names and family in measured)
            for name, (_, family) in incident.members.items()
        )
        if is_measured and today - last >= timedelta(days=alerts.close_after_days):
            detail = f"none of its signals has alerted since {last}"
            events.append(Event("closed", incident.id, incident.severity, detail))
        else:
            now.append(incident)
    found = []
    for incident in now:
        told, event = _muted(incident, muted.get(incident.id), today)
        found.append(told)
        events += [event] if event else []
    ranked = sorted(found, key=lambda i: (-SEVERITIES.index(i.severity), -i.rank, i.id))
    return Incidents(tuple(ranked), streaks), tuple(events)


def _at_once(alerts: Alerts, signal: Signal) -> bool:
    return fits(signal.name, alerts.at_once) or (
        signal.state == "unknown" and "not-measured:*" in alerts.at_once
    )


def _streaks(
    before: Mapping[str, tuple[int, str]], wrong: Mapping[str, Signal], quiet: set[str], today: date
) -> dict[str, tuple[int, str]]:
    """Days in a row on which each signal alerted; a second measurement of one day counts once."""
    kept = {name: streak for name, streak in before.items() if name not in quiet}
    for name in wrong:
        count, day = kept.get(name, (0, ""))
        kept[name] = (count + (day != today.isoformat()), today.isoformat())
    return kept


def _mine(group: Group, incidents: Sequence[Incident]) -> list[Incident]:
    """Open incidents that the group goes on with, the oldest first: of its key, or with one of its signals."""
    names = {signal.name for signal in group.members}
    found = [i for i in incidents if i.key == group.key or names & set(i.members)]
    return sorted(found, key=lambda i: (i.opened_on, i.id))


def _made(
    loop: Loop,
    group: Group,
    old: Incident | None,
    worst: Severity | None,
    inherited: Mapping[str, tuple[str, str]],
    as_of: datetime,
) -> Incident:
    alerts, today = loop.monitoring.alerts, as_of.date().isoformat()
    rank, top = rank_of(alerts, group), group.causes[0]
    severity = rank.severity
    # What an incident was once called it stays, until it is closed: a wobble back is no news.
    if worst is not None and SEVERITIES.index(worst) > SEVERITIES.index(severity):
        severity = worst
    more = len(group.members) - 1
    title = f"{top.name}: {top.evidence}" + (
        f" (with {more} more signal{'s' if more > 1 else ''})" if more else ""
    )
    stamp = f"{as_of:%Y%m%d}" + (f"{as_of:%H%M}" if (as_of.hour, as_of.minute) != (0, 0) else "")
    return Incident(
        id=old.id if old else f"{re.sub(r'[^a-z0-9]+', '-', group.key.lower()).strip('-')}-{stamp}",
        key=group.key,
        kind=group.kind,
        title=title,
        cause=top.name,
        causes=tuple(cause.to_json() for cause in group.causes[:8]),
        opened_on=old.opened_on if old else today,
        updated_on=today,
        severity=severity,
        rank=round(max(rank.rank, old.rank if old and old.severity == severity else 0.0), 6),
        impact=round(rank.impact, 6),
        risk=round(rank.risk, 6),
        hours_to_fix=alerts.hours(group.kind),
        owner=alerts.owners.get(group.kind, loop.owner.contact),
        escalation=loop.owner.escalation,
        runbook=f"docs/runbooks/{group.kind}.md",
        evidence=tuple(
            {
                "name": s.name, "value": s.value, "limit": s.limit, "state": s.state, "text": s.evidence,
                "as_of": as_of.isoformat(),
            }
            for s in group.members
        ),
        members={**inherited, **{s.name: (today, s.family) for s in group.members}},
        is_felt=group.is_felt or bool(old and old.is_felt),
        muted_until=old.muted_until if old else None,
        mute_reason=old.mute_reason if old else None,
    )  # fmt: skip


def _happened(old: Incident | None, made: Incident) -> list[Event]:
    if old is None:
        return [Event("opened", made.id, made.severity, made.title)]
    if SEVERITIES.index(made.severity) > SEVERITIES.index(old.severity):
        return [
            Event("raised", made.id, made.severity, f"from {old.severity} to {made.severity}: {made.title}")
        ]
    if old.cause != made.cause or set(old.members) != set(made.members):
        return [Event("updated", made.id, made.severity, made.title)]
    return []


def _muted(incident: Incident, mute: Mute | None, today: date) -> tuple[Incident, Event | None]:
    if mute is not None and today <= mute.until:
        return replace(incident, muted_until=mute.until.isoformat(), mute_reason=mute.reason), None
    if incident.muted_until is None:
        return incident, None
    detail = f"the mute ended, and it is still open: {incident.title}"
    return replace(incident, muted_until=None, mute_reason=None), Event(
        "unmuted", incident.id, incident.severity, detail
    )
