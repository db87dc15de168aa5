"""A judged condition as a health record keeps it; incidents and triggers read these as signals."""

from __future__ import annotations

import math
from typing import Any, Literal

from ratchet.experiment.paired import plain
from ratchet.monitoring.wobble import Level, State

Family = Literal["data", "drift", "output", "quality", "users", "operations", "dependency"]
Condition = dict[str, Any]


def condition(
    name: str,
    family: Family,
    state: State,
    evidence: str,
    *,
    value: float | None = None,
    limit: float | None = None,
    low: float | None = None,
    high: float | None = None,
    importance: float = 0.0,
    cohort: str | None = None,
    source: str | None = None,
    feature: str | None = None,
) -> Condition:
    """A condition in plain types; numbers that are not finite are None."""
    numbers = {"value": value, "limit": limit, "low": low, "high": high}
    return {
        "name": name,
        "family": family,
        "state": state,
        "evidence": evidence,
        **{key: None if number is None else _short(number) for key, number in numbers.items()},
        "importance": _short(importance) or 0.0,
        "cohort": cohort,
        "source": source,
        "feature": feature,
    }


def _short(number: float) -> float | None:
    told = plain(number)
    return None if told is None else float(f"{told:.6g}")


def of_level(name: str, family: Family, level: Level, what: str, **more: Any) -> Condition:
    """A daily number's level as a condition; the limit is the one that it passed."""
    limit = level.high if not level.value < level.low else level.low
    return condition(
        name,
        family,
        level.state,
        f"{what}: {level.reason}",
        value=level.value,
        limit=limit if math.isfinite(limit) else None,
        low=level.low,
        high=level.high,
        **more,
    )
