"""Feeds that come and are old: rows received long after what they tell of, or yesterday's numbers again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from ratchet.loop_measures import Levels
from ratchet.monitoring.conditions import Condition, condition
from ratchet.monitoring.wobble import Level, judge_level

#: A day of which so much more than usual says the same as the day before is no new day.
REPEATED_SHARE = 0.5
COLUMNS = ("source", "received_date", "n_rows", "median_age_hours", "n_repeated")


def judge_stale(terms: Levels, ages: pd.DataFrame, as_of: datetime) -> list[Condition]:
    """`stale:<source>` of each source of `ages` (mon_feed_age_daily) that has days enough to know its own.

    It alerts when the median age rises above its usual by half of `late_after_hours`, or the share of repeated
    measurements by `REPEATED_SHARE`, both beyond their own days' wobble and on k of n days. Days that were not over at
    `as_of` are left out.
    """
    if ages.empty:
        return []
    dates = pd.to_datetime(ages["received_date"]).dt.date
    rows = ages.assign(received_date=dates)[np.array([day < as_of.date() for day in dates], dtype=bool)]
    newest = as_of.date() - timedelta(days=1)
    judged = [newest - timedelta(days=i) for i in range(terms.k_of_n_days[1])]
    found = []
    for source, own in rows.groupby("source", sort=True):
        age = dict(zip(own["received_date"], own["median_age_hours"].astype(float), strict=True))
        shares = own["n_repeated"].astype(float) / own["n_rows"].astype(float)
        again = dict(zip(own["received_date"], shares, strict=True))

        def level(daily: Mapping[date, float], least: float) -> Level:
            return judge_level(
                daily, judged, window_days=terms.window_days, k=terms.k_of_n_days[0], error=terms.error,
                min_change=least, side="above", is_relative=False,
            )  # fmt: skip

        told = (
            ("median hours from event to receipt", level(age, terms.late_after_hours / 2)),
            ("share that says the same as the day before", level(again, REPEATED_SHARE)),
        )
        known = [(what, one) for what, one in told if one.state != "unknown"]
        if not known:
            continue
        order = {"alert": 0, "warn": 1, "ok": 2}
        what, worst = min(known, key=lambda pair: order[pair[1].state])
        found.append(
            condition(
                f"stale:{source}", "data", worst.state, f"{what}: {worst.reason}", value=worst.value,
                limit=worst.high, low=worst.low, high=worst.high, source=str(source),
            )
        )  # fmt: skip
    return found
