"""Inputs: which features have moved, from the histograms of days.

A feature's day alerts when it is farther from the reference than the reference's own days are (after
Benjamini-Hochberg over the features of a day), *and* by a minimum distance, and the feature drifts when that
happens on k of the last n days. Days are the sample, so more rows do not mean more alarms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.experiment.paired import plain
from ratchet.loop_measures import Inputs
from ratchet.monitoring.drift import MIN_ROWS, benjamini_hochberg, chi_square_p_value, psi
from ratchet.monitoring.wobble import MIN_DAYS, Floats, State, Wobble

#: A logarithm of a distance of nothing.
LEAST_DISTANCE = 1e-3
#: Shares of a feature that may jump: the column that counts them, and the signal's name.
SHARES = ("missing", "out_of_range")


@dataclass(frozen=True)
class Histograms:
    """A feature's days x bins counts, bin 0 first, with what fell outside and the sum of values by day."""

    feature: str
    days: tuple[date, ...]
    bins: tuple[int, ...]
    counts: Floats
    out_of_range: Floats
    sums: Floats


@dataclass(frozen=True)
class FeatureShift:
    """A feature's last days against the reference; `days` holds a record of each judged day."""

    feature: str
    state: State
    reference: str
    reference_days: int
    js: float
    ks: float
    psi: float
    p_value: float
    q_value: float
    wobble: float
    limit: float
    shares: dict[str, tuple[State, float, float]]
    reference_share: Floats
    share: Floats
    bins: tuple[int, ...]
    days: tuple[dict[str, Any], ...]
    first_cause: bool = False

    @property
    def is_drifting(self) -> bool:
        """Whether k of the last n days alert."""
        return self.state == "alert"

    def evidence(self) -> dict[str, Any]:
        """Plain types for a summary."""
        return {
            "feature": self.feature,
            "state": self.state,
            "reference": self.reference,
            "reference_days": self.reference_days,
            **{name: plain(getattr(self, name)) for name in ("js", "ks", "psi", "p_value", "q_value")},
            "wobble": plain(self.wobble),
            "limit": plain(self.limit),
            "is_drifting": self.is_drifting,
            "first_cause": self.first_cause,
            "days": list(self.days),
        }


def js_rows(rows: Floats, reference: Floats) -> Floats:
    """Jensen-Shannon distance of each row of shares to `reference`: square root of bits, 0 to 1."""
    middle = (rows + reference) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(rows > 0, rows * np.log2(rows / middle), 0.0).sum(axis=-1)
        right = np.where(reference > 0, reference * np.log2(reference / middle), 0.0).sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum(0.0, (left + right) / 2)))


def effect_rows(rows: Floats, reference: Floats, is_ordered: bool) -> Floats:
    """Kolmogorov's distance over ordered bins (bin 0, missing, apart), else half the sum of differences."""
    gap = rows - reference
    if not is_ordered:
        return np.asarray(np.abs(gap).sum(axis=-1) / 2)
    ordered = np.abs(np.cumsum(gap[..., 1:], axis=-1)).max(axis=-1, initial=0.0)
    return np.asarray(np.maximum(ordered, np.abs(gap[..., 0])))


def table_of(histograms: pd.DataFrame, bins: pd.DataFrame) -> tuple[Histograms, ...]:
    """The rows of mon_feature_histograms as one table a feature of `bins` (ops.feature_bins).

    Raises:
        ValueError: a column is missing, or `bins` is empty.
    """
    wanted = ("departure_date", "feature", "bin", "n", "n_out_of_range", "sum_value")
    missing = [column for column in wanted if column not in histograms.columns]
    if missing:
        raise ValueError(f"mon_feature_histograms lacks {', '.join(missing)}")
    if bins.empty:
        raise ValueError("the champion has no training profile: ops.feature_bins has no row")
    codes, days = pd.factorize(pd.to_datetime(histograms["departure_date"]).dt.date, sort=True)
    found = []
    positions = histograms.groupby("feature", sort=True).indices
    for feature, profile in bins.groupby("feature", sort=True):
        numbers = tuple(int(b) for b in sorted(profile["bin"]))
        counts = np.zeros((len(days), max(numbers) + 1))
        outside, sums = np.zeros(len(days)), np.zeros(len(days))
        at = positions.get(str(feature), np.array([], dtype=np.int64))
        rows = histograms.iloc[at]
        np.add.at(
            counts,
            (codes[at], np.minimum(rows["bin"].to_numpy(dtype=np.int64), max(numbers))),
            rows["n"].to_numpy(dtype=np.float64),
        )
        np.add.at(outside, codes[at], rows["n_out_of_range"].to_numpy(dtype=np.float64))
        np.add.at(sums, codes[at], rows["sum_value"].to_numpy(dtype=np.float64, na_value=np.nan))
        found.append(Histograms(str(feature), tuple(days), numbers, counts[:, list(numbers)], outside, sums))
    return tuple(found)


def judge_inputs(
    terms: Inputs,
    tables: Sequence[Histograms],
    bins: pd.DataFrame,
    profiles: pd.DataFrame,
    judged: Sequence[date],
) -> tuple[FeatureShift, ...]:
    """Each feature's shift over the last n of `judged`, first causes and most distant first.

    The reference is the one that `terms` name; `trailing` and `season` fall back to the training profile while they
    have fewer than seven days. `profiles` are the champion's rows of ops.feature_profiles.
    """
    window = sorted(judged)[-terms.k_of_n_days[1] :]
    prepared = [_compared(terms, table, bins, profiles, window) for table in tables]
    return _decided(terms, prepared, window)


@dataclass(frozen=True)
class _Compared:
    table: Histograms
    reference: str
    wobble: Wobble
    share: Floats
    reference_share: Floats
    js: dict[date, float]
    effect: dict[date, float]
    p_values: dict[date, float]
    shares: dict[str, dict[date, tuple[float, float, float]]]
    effect_wobble: float


def _compared(
    terms: Inputs, table: Histograms, bins: pd.DataFrame, profiles: pd.DataFrame, window: Sequence[date]
) -> _Compared:
    index = {day: position for position, day in enumerate(table.days)}
    totals = table.counts.sum(axis=1)
    compared = [day for day in window if day in index and totals[index[day]] >= MIN_ROWS]
    past = [
        index[day] for day in _reference_days(terms, table.days, window) if totals[index[day]] >= MIN_ROWS
    ]
    own = bins[bins["feature"] == table.feature].sort_values("bin")
    profile = own["reference_share"].to_numpy(dtype=np.float64)
    kept = profiles[profiles["feature"] == table.feature]
    is_ordered = bool(np.isfinite(table.sums).all())
    shares = table.counts / np.maximum(totals, 1.0)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = table.sums / (totals - table.counts[:, 0])
    if len(past) >= MIN_DAYS and terms.reference != "training":
        name: str = terms.reference
        reference = table.counts[past].sum(axis=0) / totals[past].sum()
        # Each reference day against all the others: against all with itself it would lie too near.
        others = table.counts[past].sum(axis=0) - table.counts[past]
        others = others / np.maximum(others.sum(axis=1), 1.0)[:, None]
        wobble = Wobble.of(np.log(np.maximum(js_rows(shares[past], others), LEAST_DISTANCE)))
        level = Wobble.of(means[past])
        effect_wobble = float(effect_rows(shares[past], others, is_ordered).mean())
        largest = float(effect_rows(shares[past], others, is_ordered).max())
    else:
        name, reference = "training profile", profile
        row = kept.iloc[0] if len(kept) else None
        wobble = _kept_wobble(row, "log_distance")
        level = _kept_wobble(row, "day_mean")
        effect_wobble = float(row["effect"]) if row is not None and pd.notna(row["effect"]) else math.nan
        largest = (
            float(row["effect_largest"]) if row is not None and pd.notna(row["effect_largest"]) else math.nan
        )
    distances = js_rows(shares, reference)
    effects = effect_rows(shares, reference, is_ordered)
    p_values = {}
    for day in compared:
        at = index[day]
        p = [wobble.p_value(math.log(max(float(distances[at]), LEAST_DISTANCE)))]
        if is_ordered:
            p.append(level.p_value(float(means[at]), "both"))
        told = [value for value in p if math.isfinite(value)]
        # A day that lies within what the reference's days have shown is none of those that are beyond it.
        inside = not effects[at] > largest
        p_values[day] = (1.0 if inside else min(1.0, len(told) * min(told))) if told else math.nan
    counted = {"missing": table.counts[:, 0] - (0 if is_ordered else table.out_of_range)}
    counted["out_of_range"] = table.out_of_range
    jumps: dict[str, dict[date, tuple[float, float, float]]] = {}
    for what, numbers in counted.items():
        daily = numbers / np.maximum(totals, 1.0)
        usual = Wobble.of(daily[past]) if past else Wobble.of([])
        jumps[what] = {
            day: (
                float(daily[index[day]]),
                usual.mean,
                Wobble(
                    usual.days,
                    usual.mean,
                    usual.spread,
                    math.sqrt(max(usual.mean * (1 - usual.mean), 1 / totals[index[day]]) / totals[index[day]])
                    if usual.is_usable
                    else 0.0,
                ).p_value(float(daily[index[day]])),
            )
            for day in compared
        }
    recent = [index[day] for day in compared]
    share = (
        table.counts[recent].sum(axis=0) / totals[recent].sum()
        if recent
        else np.full(len(table.bins), math.nan)
    )
    return _Compared(
        table,
        name,
        wobble,
        share,
        reference,
        {day: float(distances[index[day]]) for day in compared},
        {day: float(effects[index[day]]) for day in compared},
        p_values,
        jumps,
        effect_wobble,
    )


def _reference_days(terms: Inputs, days: Sequence[date], window: Sequence[date]) -> list[date]:
    if not window:
        return []
    first, last = window[0], window[-1]
    if terms.reference == "season":
        half = timedelta(days=terms.window_days // 2)
        year = timedelta(days=364)
        return [day for day in days if first - year - half <= day <= last - year + half]
    return [day for day in days if 0 < (first - day).days <= terms.window_days]


def _kept_wobble(row: Any, name: str) -> Wobble:
    if row is None or pd.isna(row[name]) or pd.isna(row[f"{name}_spread"]):
        return Wobble(0, math.nan, math.nan)
    return Wobble(int(row["days"]), float(row[name]), float(row[f"{name}_spread"]))


def _decided(
    terms: Inputs, prepared: Sequence[_Compared], window: Sequence[date]
) -> tuple[FeatureShift, ...]:
    k = terms.k_of_n_days[0]
    rejected: dict[tuple[int, date], bool] = {}
    adjusted: dict[tuple[int, date], float] = {}
    for day in window:
        p = [item.p_values.get(day, math.nan) for item in prepared]
        for position, (is_rejected, q) in enumerate(
            zip(benjamini_hochberg(p, terms.false_discovery), _q_values(p), strict=True)
        ):
            rejected[position, day], adjusted[position, day] = is_rejected, q
    answers = []
    for position, item in enumerate(prepared):
        days = sorted(item.js)
        records, alerts, jumped = [], 0, dict.fromkeys(SHARES, 0)
        for day in days:
            excess = item.effect[day] - item.effect_wobble
            alert = rejected[position, day] and excess >= terms.min_distance
            alerts += alert
            for what in SHARES:
                value, usual, p_value = item.shares[what][day]
                jumped[what] += p_value < terms.false_discovery and value - usual >= terms.min_share
            records.append(
                {
                    "date": day.isoformat(),
                    "js": plain(item.js[day]),
                    "effect": plain(item.effect[day]),
                    "missing_share": plain(item.shares["missing"][day][0]),
                    "out_of_range_share": plain(item.shares["out_of_range"][day][0]),
                    "alert": bool(alert),
                }
            )
        last = days[-1] if days else None
        known = last is not None and math.isfinite(item.p_values[last])
        counts = item.table.counts[[item.table.days.index(day) for day in days]].sum(axis=0)
        answers.append(
            FeatureShift(
                feature=item.table.feature,
                state="unknown" if not known else "alert" if alerts >= k else "warn" if alerts else "ok",
                reference=item.reference,
                reference_days=item.wobble.days,
                js=float(js_rows(item.share, item.reference_share)) if days else math.nan,
                ks=float(effect_rows(item.share, item.reference_share, True)) if days else math.nan,
                psi=psi(item.share, item.reference_share) if days else math.nan,
                p_value=chi_square_p_value(counts, item.reference_share) if days else math.nan,
                q_value=adjusted[position, last] if last else math.nan,
                wobble=math.exp(item.wobble.mean) if item.wobble.is_usable else math.nan,
                limit=min(1.0, math.exp(min(item.wobble.limits(terms.false_discovery)[1], 0.0)))
                if item.wobble.is_usable
                else math.nan,
                shares={
                    what: (
                        "unknown"
                        if last is None or not math.isfinite(item.shares[what][last][2])
                        else "alert"
                        if jumped[what] >= k
                        else "warn"
                        if jumped[what]
                        else "ok",
                        item.shares[what][last][0] if last else math.nan,
                        item.shares[what][last][1] if last else math.nan,
                    )
                    for what in SHARES
                },
                reference_share=item.reference_share,
                share=item.share,
                bins=item.table.bins,
                days=tuple(records),
            )
        )
    return tuple(
        sorted(answers, key=lambda a: (not a.is_drifting, -np.nan_to_num(a.js - a.wobble), a.feature))
    )


def _q_values(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Benjamini and Hochberg's adjusted p-values; nan stays."""
    values = np.asarray(p_values, dtype=np.float64)
    answer = np.full(len(values), math.nan)
    tested = np.flatnonzero(np.isfinite(values))
    if len(tested):
        order = tested[np.argsort(values[tested], kind="stable")]
        scaled = values[order] * len(order) / np.arange(1, len(order) + 1)
        answer[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return answer
