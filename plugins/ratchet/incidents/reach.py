"""What a condition may cause: how far it reaches on the way from a source to a user. Pure.

Rows of a source reach inputs, scores, their quality and what users say. What users say reaches no score, unless a
feature that the model uses is made of it and moves beside it. Labels move quality and no score; latency moves users and
no loss. Quality and scores may be felt by users; users cause nothing before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from ratchet.incidents.signals import Signal
from ratchet.loop_alerts import Alerts

if TYPE_CHECKING:
    from ratchet.loop import Loop

Effect = Literal["inputs", "output", "quality", "users", "operations"]
Effects = frozenset[Effect]
ROWS: Effects = frozenset({"inputs", "output", "quality", "users"})
EVERYTHING: Effects = ROWS | {"operations"}
OPINIONS: Effects = frozenset({"users", "operations"})
#: What each kind of condition may cause, by its whole name or by the first word of it.
REACHES: dict[str, Effects] = {
    **dict.fromkeys(("schema", "freshness", "stale", "volume", "gate", "quarantine", "campaign"), ROWS),
    **dict.fromkeys(("category", "missing", "range", "drift", "multivariate", "skew"), ROWS),
    **dict.fromkeys(("lock", "dependency"), EVERYTHING),
    **dict.fromkeys(("labels", "staleness", "output"), frozenset[Effect]({"quality", "users"})),
    **dict.fromkeys(("latency", "error", "volume:served"), OPINIONS),
    **dict.fromkeys(("leak", "cost"), frozenset[Effect]({"operations"})),
    "served-version": frozenset({"output", "quality", "users"}),
    **dict.fromkeys(("quality", "calibration"), frozenset[Effect]({"users"})),
    **dict.fromkeys(
        ("rating", "response", "complaint-rate", "complaints", "feedback-limit"), frozenset[Effect]()
    ),
    "not-measured": frozenset(),
}
BY_FAMILY: dict[str, Effects] = {
    "data": ROWS, "drift": ROWS, "dependency": EVERYTHING, "operations": frozenset({"operations"}),
    "output": frozenset({"quality", "users"}), "quality": frozenset({"users"}),
}  # fmt: skip
#: The sources of what users say and do after they saw a prediction.
USERS_SOURCES = ("feedback", "telemetry")
_UNMEASURED: dict[str, Effect] = {
    "inputs": "inputs", "output": "output", "quality": "quality", "users": "users", "serving": "operations",
}  # fmt: skip
_OF_FAMILY: dict[str, Effect] = {
    "data": "inputs", "drift": "inputs", "output": "output", "quality": "quality", "users": "users",
    "operations": "operations",
}  # fmt: skip


def effect_of(signal: Signal) -> Effect | None:
    """What the signal is a sign of; None where it is of nothing in particular."""
    word, _, rest = signal.name.partition(":")
    return _UNMEASURED.get(rest) if word == "not-measured" else _OF_FAMILY.get(signal.family)


def source_of(alerts: Alerts, signal: Signal) -> str | None:
    """The source that the signal is about, from its own record, its feature or its name."""
    word, _, rest = signal.name.partition(":")
    named = rest if word in ("schema", "freshness", "stale", "volume", "quarantine") else None
    return signal.source or alerts.source_of(signal.feature) or named or None


def reach_of(loop: Loop, signal: Signal, beside: Iterable[Signal]) -> Effects:
    """What `signal` may cause, where `beside` are the signals that alert with it."""
    word = signal.name.partition(":")[0]
    found = REACHES.get(signal.name, REACHES.get(word, BY_FAMILY.get(signal.family, frozenset())))
    if found is not ROWS or signal.feature is not None:
        return found
    alerts = loop.monitoring.alerts
    source = source_of(alerts, signal)
    if source not in USERS_SOURCES:
        return found
    moved = (s for s in beside if s.state == "alert" and s.feature and source_of(alerts, s) == source)
    return ROWS | OPINIONS if any(map(is_used, moved)) else OPINIONS


def is_used(signal: Signal) -> bool:
    """Whether the model uses the feature that the signal is about.

    Of drift that has to be known: most seasons drift somewhere, and quality must not be blamed on any of it.
    """
    if signal.family == "drift":
        return bool(signal.importance)
    return signal.feature is None or signal.importance is None or signal.importance > 0


def may_cause(loop: Loop, signal: Signal, effect: Signal, beside: Iterable[Signal]) -> bool:
    """Whether `signal` may be why `effect` is there."""
    return effect_of(effect) in reach_of(loop, signal, beside)


def may_cause_by_training(loop: Loop, signal: Signal, effect: Signal) -> bool:
    """Whether `signal` may be why, through a model that learnt weights or labels from feedback since."""
    source = source_of(loop.monitoring.alerts, signal)
    return signal.feature is None and source == "feedback" and effect_of(effect) in ("output", "quality")
