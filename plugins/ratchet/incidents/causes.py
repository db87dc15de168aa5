"""Which alerting signals belong to one incident, and which of them came first.

What arrives earlier on the way from a source to a user explains what comes after it: a schema before a feed, a feed
before its features, features and labels before quality, quality before what users say; as far as it reaches that
(`reach`). Features of one source are one group. What users and labels feel is attached to the strongest cause that
alerts beside it and may cause it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ratchet.incidents.reach import is_used, may_cause, may_cause_by_training
from ratchet.incidents.signals import Signal
from ratchet.loop_alerts import Alerts, Kind

if TYPE_CHECKING:
    from ratchet.loop import Loop

#: How early on the way a condition lies, by the first word of its name; between 0 and 1.
ORDER = {
    "schema": 0.95, "lock": 0.95, "dependency": 0.95, "freshness": 0.9, "volume": 0.88, "gate": 0.86, "category": 0.84,
    "stale": 0.89, "quarantine": 0.86, "campaign": 0.82, "served-version": 0.7,
    "missing": 0.8, "range": 0.78, "labels": 0.76, "skew": 0.72, "latency": 0.7, "error": 0.7, "leak": 0.7,
    "cost": 0.6, "drift": 0.6, "multivariate": 0.5, "output": 0.4, "not-measured": 0.3, "quality": 0.25,
    "calibration": 0.22, "staleness": 0.2,
}  # fmt: skip
BY_FAMILY = {
    "dependency": 0.95, "data": 0.8, "drift": 0.6, "operations": 0.6, "output": 0.4, "quality": 0.25, "users": 0.1,
}  # fmt: skip
FELT = ("output", "quality", "users")
#: Groups of what is felt, in the order in which they look for a cause.
DOWNSTREAM = ("quality", "users")
#: What acts by a later training comes after everything that acts now.
BY_TRAINING = 0.05
#: A signal that is late on the way (0.1 apart) never overtakes one before it by these two.
FOR_IMPORTANCE, FOR_EXCESS = 0.05, 0.03
MANY_FEATURES = 0.5  # share of a source's features that miss values: it is the source


@dataclass(frozen=True)
class Cause:
    """A signal as a cause of an incident; `score` orders them."""

    name: str
    score: float
    evidence: str

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return {"name": self.name, "score": round(self.score, 4), "evidence": self.evidence}


@dataclass(frozen=True)
class Group:
    """Signals of one incident: what it is about, its ranked causes, and whether users or labels feel it."""

    key: str
    kind: Kind
    members: tuple[Signal, ...]
    causes: tuple[Cause, ...]
    is_felt: bool


def group_key(alerts: Alerts, signal: Signal) -> tuple[str, Kind]:
    """The group that a signal opens on its own, and the kind of incident."""
    word, _, rest = signal.name.partition(":")
    source = signal.source or alerts.source_of(signal.feature)
    if word in ("schema", "lock", "dependency") or signal.family == "dependency":
        return f"dependency:{source or rest or word}", "dependency"
    if word == "not-measured" and source is None:
        return "not-measured", "not-measured"
    if word == "labels":
        return f"labels:{rest}", "labels"
    if signal.family in ("data", "drift") or word in ("freshness", "volume", "missing", "category", "drift"):
        if source is None and word in ("freshness", "volume"):
            source = rest
        return (
            f"feed:{source or signal.feature or rest or word}",
            "drift" if signal.family == "drift" else "feed",
        )
    if word == "latency" or word.startswith("error"):
        return "operations:latency", "latency"
    if signal.family == "operations":
        return f"operations:{signal.name}", "operations"
    if signal.state == "unknown":
        return "not-measured", "not-measured"
    return ("users", "users") if signal.family == "users" else ("quality", "quality")


def score_of(signal: Signal) -> float:
    """How likely the signal is the first of those beside it, 0 to about 1."""
    word = signal.name.partition(":")[0]
    base = ORDER.get(word, BY_FAMILY.get(signal.family, 0.3))
    if signal.state == "unknown" and word not in ("freshness", "volume"):
        base = min(base, ORDER["not-measured"])
    return base + FOR_IMPORTANCE * (signal.importance or 0.0) + FOR_EXCESS * signal.excess


def groups_of(loop: Loop, signals: Iterable[Signal], *, learns: bool = False) -> list[Group]:
    """The groups of signals that alert or are unknown, most likely cause first in each.

    `learns`: models learn weights or labels from feedback; what is wrong with it may then act by a training.
    """
    alerts = loop.monitoring.alerts
    found: dict[str, list[Signal]] = {}
    kinds: dict[str, Kind] = {}
    told = sorted(signals, key=lambda s: s.name)
    alarmed = {group_key(alerts, s)[0] for s in told if s.state == "alert"}
    for signal in told:
        key, kind = group_key(alerts, signal)
        # What can't be told belongs to what alerts beside it, else to everything that can't be told.
        if signal.state == "unknown" and key not in alarmed and not signal.name.startswith("freshness:"):
            key, kind = "not-measured", "not-measured"
        found.setdefault(key, []).append(signal)
        kinds[key] = "feed" if "feed" in (kind, kinds.get(key)) else kind
    before = {key: tuple(members) for key, members in found.items()}
    for effect in DOWNSTREAM:
        if effect in found:
            _attach(loop, found, effect, told)
    _attach_unmeasured(loop, found, told)
    causes = [
        signal
        for key, members in before.items()
        if key not in (*DOWNSTREAM, "not-measured")
        for signal in members
        if is_used(signal)
    ]
    groups = []
    for key, members in sorted(found.items()):
        felt = [s for s in members if s.family in FELT and s.state == "alert"]
        now = [c for c in causes if any(may_cause(loop, c, s, told) for s in felt)]
        later = [
            c
            for c in causes
            if learns
            and c not in now
            and c not in members
            and any(may_cause_by_training(loop, c, s) for s in felt)
        ]
        groups.append(_group(alerts, key, kinds[key], members, now, later))
    return groups


def _attach(loop: Loop, found: dict[str, list[Signal]], effect: str, told: Sequence[Signal]) -> None:
    """Move the signals of the group `effect` to the strongest group that may cause one of them, if there is any."""
    heads = {
        key: [
            s for s in members if is_used(s) and any(may_cause(loop, s, felt, told) for felt in found[effect])
        ]
        for key, members in found.items()
        if key not in (effect, "users", "not-measured")
    }
    head = _strongest(heads)
    if head is not None:
        found[head] += found.pop(effect)


def _attach_unmeasured(loop: Loop, found: dict[str, list[Signal]], told: Sequence[Signal]) -> None:
    """Move what can't be told to the outage that may be why; what none explains stays an incident of its own."""
    left: list[Signal] = []
    for signal in found.pop("not-measured", []):
        heads = {
            key: [s for s in members if _is_outage(s) and may_cause(loop, s, signal, told)]
            for key, members in found.items()
        }
        head = _strongest(heads)
        (left if head is None else found[head]).append(signal)
    if left:
        found["not-measured"] = left


def _strongest(heads: Mapping[str, Sequence[Signal]]) -> str | None:
    scored = {key: max(map(score_of, members)) for key, members in heads.items() if members}
    return max(scored, key=lambda key: (scored[key], key)) if scored else None


def _is_outage(signal: Signal) -> bool:
    return signal.name.partition(":")[0] in ("freshness", "volume")


def _felt(members: Iterable[Signal]) -> bool:
    return any(s.family in FELT and s.state == "alert" for s in members)


def _group(
    alerts: Alerts,
    key: str,
    kind: Kind,
    members: Sequence[Signal],
    others: Sequence[Signal],
    later: Sequence[Signal],
) -> Group:
    told = {s.name: s for s in (*members, *others)}
    causes = [Cause(s.name, score_of(s), s.evidence or s.state) for s in told.values()]
    causes += [Cause(s.name, BY_TRAINING, f"by a training since: {s.evidence or s.state}") for s in later]
    source = key.partition(":")[2]
    features, lost = (
        alerts.feeds.get(source, ()),
        [s for s in members if s.name.startswith("missing:") and s.feature],
    )
    if len(lost) > 1 and len(lost) >= MANY_FEATURES * len(features):
        top = max(map(score_of, lost))
        causes.append(
            Cause(f"feed:{source}", top + 0.04, f"{len(lost)} features of {source} miss values at once")
        )
    ranked = sorted(causes, key=lambda cause: (-cause.score, cause.name))
    return Group(key, kind, tuple(members), tuple(ranked), _felt(members))


def with_source(alerts: Alerts, signal: Signal) -> Signal:
    """The signal with the source of its feature, where the loop file knows it."""
    return replace(signal, source=signal.source or alerts.source_of(signal.feature))
