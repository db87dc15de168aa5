"""A feed that goes on sending old rows, or the same numbers again, is found; one that is late now and then is not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from ratchet.incidents.causes import groups_of
from ratchet.incidents.signals import Signal
from ratchet.loop import load_loop
from ratchet.loop_measures import Levels
from ratchet.monitoring.stale import judge_stale
from ratchet.settings import load_settings

FIRST, DAYS, AT = date(2013, 5, 1), 40, 30
LOOP = load_loop(load_settings({}).loops_dir / "flights.yml")


def ages(
    old_hours: float = 0.0, repeated: float = 0.0, days: int = DAYS, only: int | None = None
) -> pd.DataFrame:
    """40 days of two sources; from day 30 on (or on day `only`) weather is older by `old_hours`, or repeated."""
    draw, made = np.random.default_rng(3), []
    for i in range(days):
        wrong = i >= AT if only is None else i == only
        day = FIRST + timedelta(days=i)
        age = draw.normal(0.6, 0.1) + (old_hours if wrong else 0)
        share = repeated if wrong else draw.uniform(0, 0.05)
        made.append(("weather", day, 72, age, round(72 * share)))
        made.append(("outcomes", day, 900, draw.normal(0.5, 0.1), None))
    return pd.DataFrame(made, columns=["source", "received_date", "n_rows", "median_age_hours", "n_repeated"])


def states(rows: pd.DataFrame, day: int) -> dict[str, str]:
    as_of = datetime.combine(FIRST + timedelta(days=day + 1), datetime.min.time())
    return {one["name"]: one["state"] for one in judge_stale(Levels(), rows, as_of)}


def test_old_rows_are_found_on_the_second_day_and_only_theirs() -> None:
    for planted in ({"old_hours": 24.0}, {"repeated": 1.0}):
        rows = ages(**planted)  # type: ignore[arg-type]
        found = [states(rows, day) for day in range(AT - 1, AT + 3)]
        assert [one["stale:weather"] for one in found] == ["ok", "warn", "alert", "alert"]
        assert {one["stale:outcomes"] for one in found} == {"ok"}


def test_a_quiet_feed_a_late_day_and_an_hour_more_are_silent() -> None:
    for rows in (ages(), ages(old_hours=30.0, only=33), ages(old_hours=2.0), ages(repeated=0.3)):
        told: list[Any] = [states(rows, day) for day in range(10, DAYS)]
        assert len(told) == 30
        assert all("alert" not in one.values() for one in told)


def test_days_that_are_not_over_and_young_feeds_say_nothing() -> None:
    assert judge_stale(Levels(), ages(days=5), datetime(2013, 5, 6)) == []
    assert judge_stale(Levels(), ages().iloc[:0], datetime(2013, 6, 1)) == []
    # As of the morning of day 31 only day 30 is known.
    assert states(ages(old_hours=24.0), AT)["stale:weather"] == "warn"


def test_it_is_the_first_cause_before_what_follows_from_it() -> None:
    signals = [
        Signal.from_json(one)
        for one in judge_stale(
            LOOP.monitoring.measures.levels,
            ages(old_hours=24.0),
            datetime.combine(FIRST + timedelta(days=35), datetime.min.time()),
        )
        if one["state"] == "alert"
    ]
    assert [s.name for s in signals] == ["stale:weather"]
    drift = [
        Signal.from_json({**_drift(name), "name": f"drift:{name}", "feature": name})
        for name in ("temperature_f", "humidity_pct")
    ]
    (group,) = groups_of(LOOP, [*signals, *drift])
    assert (group.key, group.kind) == ("feed:weather", "feed")
    assert group.causes[0].name == "stale:weather"


def _drift(feature: str) -> dict[str, Any]:
    return {"family": "drift", "state": "alert", "value": 0.4, "limit": 0.1, "low": None, "high": None, "evidence": "",
            "importance": 0.3, "cohort": None, "source": "weather", "feature": feature}  # fmt: skip
