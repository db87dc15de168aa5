"""A signal: one judged condition of a health record. What incidents and triggers read of monitoring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ratchet.loop import Loop

State = Literal["ok", "warn", "alert", "unknown"]
STATES = ("ok", "warn", "alert", "unknown")


@dataclass(frozen=True)
class Signal:
    """One condition: `value` against its `limit`; `importance` is the feature's share of the model's gain."""

    name: str
    family: str
    state: State
    value: float | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: str = ""
    importance: float | None = None
    cohort: str | None = None
    source: str | None = None
    feature: str | None = None

    @property
    def excess(self) -> float:
        """How far the value is beyond its limit, 0 to 1; 0 where it can't be told."""
        if self.state != "alert" or self.value is None or self.limit is None:
            return 0.0
        small, large = sorted((abs(self.value), abs(self.limit)))
        return 0.0 if large == 0 else 1 - small / large

    def to_json(self) -> dict[str, Any]:
        """Plain types for a record."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Signal:
        """The signal of a record; keys that it does not know are another reader's.

        Raises:
            ValueError: no name, or a state that there is not: nothing may pass for measured that was not.
        """
        name, state = record.get("name"), record.get("state")
        if not name or state not in STATES:
            raise ValueError(f"signal {name!r} has the state {state!r}; there are {', '.join(STATES)}")
        known = {key: record[key] for key in cls.__dataclass_fields__ if key in record}
        return cls(**{"family": "", **known})


def signals_of(loop: Loop, health: Mapping[str, Any]) -> list[Signal]:
    """The signals of a health record; made of its numbers where it was recorded without any."""
    told = health.get("signals")
    return _derived(loop, health) if told is None else [Signal.from_json(item) for item in told]


def alerting(signals: Iterable[Signal], patterns: Sequence[str]) -> list[Signal]:
    """The signals in alert whose name fits one of `patterns`."""
    return [s for s in signals if s.state == "alert" and fits(s.name, patterns)]


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether `name` fits one of `patterns`, in which * stands for anything."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _derived(loop: Loop, health: Mapping[str, Any]) -> list[Signal]:
    """Signals of a record that has only numbers: quality, calibration and the drift of each feature."""
    event = loop.triggers.event
    above, over = health["above_reference"], health["over_constant"]
    if health["status"] == "unknown":
        found = [Signal("not-measured:quality", "quality", "unknown", evidence=health["reasons"][0])]
    else:
        low, high = above.get("low"), over.get("high")
        found = [
            Signal("not-measured:quality", "quality", "ok"),
            Signal(
                "quality:log_loss", "quality", _state(low is not None and low > event.log_loss_margin), above["value"],
                event.log_loss_margin, low, above.get("high"),
                f"log loss above its reference over {above['clusters']} days",
            ),
            Signal(
                "quality:worse-than-constant", "quality", _state(high is not None and high < 0), over["value"], 0.0,
                over.get("low"), high, f"gain over a constant over {over['clusters']} days",
            ),
        ]  # fmt: skip
        limit, error_low = loop.gates.evaluation.calibration_error, health["calibration_error_low"]
        found.append(
            Signal(
                "calibration", "quality", _state(error_low is not None and error_low > limit),
                health["calibration_error"], limit, error_low, None, "mean gap between score and frequency",
            )
        )  # fmt: skip
    for item in health["drift"]:
        found.append(
            Signal(
                f"drift:{item['feature']}", "drift", _state(bool(item["drifting"])), item["js_distance"],
                event.drift_js_distance, evidence=f"{item['alert_days']} of {item['days']} days are beyond the limit",
                source=loop.monitoring.alerts.source_of(item["feature"]), feature=item["feature"],
            )
        )  # fmt: skip
    return found


def _state(is_alert: bool) -> State:
    return "alert" if is_alert else "ok"
