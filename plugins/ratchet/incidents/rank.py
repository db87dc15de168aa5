"""Which incident comes first: impact on customers x risk x time to fix.

The rank is the harm to be expected until it is mended, 0 to 1. Impact: how much of what users get is touched; risk:
how far beyond its limit the worst signal is; time: the hours that mending takes, h / (h + 24). Each to the power that
the loop file gives.
"""

from __future__ import annotations

from dataclasses import dataclass

from ratchet.incidents.causes import Group
from ratchet.incidents.signals import Signal
from ratchet.loop_alerts import Alerts, Severity

LEAST_RISK = 0.3  # whatever is beyond its limit
RISK_OF_UNKNOWN = 0.6
OF_A_COHORT = 0.35  # of the users, as long as nobody counts the cohort's
NOT_FELT = 0.25  # of an input's importance, while neither labels nor users feel its drift
LEAST_OF_A_FEED = 0.3
HALF_TIME = 24.0
IMPACT = {"latency": 0.8, "operations": 0.3, "dependency": 0.3, "not-measured": 0.5, "labels": 0.5}


@dataclass(frozen=True)
class Rank:
    """The three factors, each 0 to 1, what they make, and what that is called."""

    impact: float
    risk: float
    time: float
    rank: float
    severity: Severity


def rank_of(alerts: Alerts, group: Group) -> Rank:
    """The rank of a group. Drift that nobody feels is a note, whatever its rank."""
    impact, hours = _impact(group), alerts.hours(group.kind)
    risk = max(map(_risk, group.members))
    time = hours / (hours + HALF_TIME)
    weights = alerts.weights
    rank = impact**weights.impact * risk**weights.risk * time**weights.time_to_fix
    severity: Severity = "low"
    if group.kind == "drift" and not group.is_felt:
        severity = "note"
    elif rank >= alerts.severity.critical:
        severity = "critical"
    elif rank >= alerts.severity.high:
        severity = "high"
    return Rank(impact, risk, time, rank, severity)


def _risk(signal: Signal) -> float:
    return RISK_OF_UNKNOWN if signal.state == "unknown" else max(LEAST_RISK, signal.excess)


def _impact(group: Group) -> float:
    felt = [
        1.0 if signal.cohort is None else OF_A_COHORT
        for signal in group.members
        if signal.family in ("quality", "users") and signal.state == "alert"
    ]
    used = {s.feature or s.name: s.importance for s in group.members if s.importance}
    importance = min(1.0, sum(used.values()))
    own = IMPACT.get(group.kind, 0.0)
    if group.kind == "feed":
        own = max(LEAST_OF_A_FEED, importance)
    elif group.kind == "drift":
        own = NOT_FELT * importance
    return max([own, *felt])
