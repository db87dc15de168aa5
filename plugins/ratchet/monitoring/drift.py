"""Drift of features against the training profile, from histograms.

A day of a feature alerts when its difference is significant after Benjamini-Hochberg over all features and
days looked at *and* its Jensen-Shannon distance reaches the loop's minimum; a feature drifts when k of the
last n days alert. So more rows do not mean more alarms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtrc

from ratchet.experiment.paired import plain

FALSE_DISCOVERY = 0.01
EMPTY_SHARE = 1e-4  # stands for an empty bin in PSI, whose logarithm has no value there
MIN_ROWS = 50  # a day with fewer rows is not compared
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureDrift:
    """A feature over the days looked at: days compared and alerting, and the largest and mean distances."""

    feature: str
    days: int
    alert_days: int
    is_drifting: bool
    js_distance: float
    js_distance_max: float
    psi: float
    ks: float
    p_value: float

    def evidence(self) -> dict[str, Any]:
        """Plain types; distances are of all the days together."""
        return {
            "feature": self.feature,
            "days": self.days,
            "alert_days": self.alert_days,
            "drifting": self.is_drifting,
            "js_distance": plain(self.js_distance),
            "js_distance_max": plain(self.js_distance_max),
            "psi": plain(self.psi),
            "ks": plain(self.ks),
            "p_value": plain(self.p_value),
        }

    @classmethod
    def from_evidence(cls, record: Mapping[str, Any]) -> FeatureDrift:
        """The drift that `evidence` wrote; what was unknown is nan again.

        Raises:
            KeyError: a key is missing.
        """
        numbers = {
            name: math.nan if record[name] is None else float(record[name])
            for name in ("js_distance", "js_distance_max", "psi", "ks", "p_value")
        }
        return cls(
            feature=record["feature"],
            days=int(record["days"]),
            alert_days=int(record["alert_days"]),
            is_drifting=bool(record["drifting"]),
            **numbers,
        )


def js_distance(share: Floats, reference: Floats) -> float:
    """Square root of the Jensen-Shannon divergence in bits, 0 to 1 (Endres and Schindelin 2003)."""
    middle = (share + reference) / 2
    return math.sqrt(max(0.0, (_divergence(share, middle) + _divergence(reference, middle)) / 2))


def psi(share: Floats, reference: Floats) -> float:
    """Population stability index: sum of (p - q) ln(p / q), empty bins counted as 1e-4."""
    p, q = np.maximum(share, EMPTY_SHARE), np.maximum(reference, EMPTY_SHARE)
    return float(((p - q) * np.log(p / q)).sum())


def ks_distance(share: Floats, reference: Floats) -> float:
    """Largest difference of cumulative shares over ordered bins; a lower limit of Kolmogorov's distance."""
    return float(np.abs(np.cumsum(share) - np.cumsum(reference)).max())


def chi_square_p_value(counts: Floats, reference: Floats) -> float:
    """Goodness of fit of counts to reference shares; a bin the reference never filled expects half a row."""
    total = float(counts.sum())
    expected = np.maximum(reference, 0.5 / max(total, 1.0)) * total
    expected *= total / expected.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return float(chdtrc(max(len(counts) - 1, 1), statistic))


def benjamini_hochberg(p_values: Sequence[float], rate: float) -> tuple[bool, ...]:
    """Which hypotheses are rejected at discovery rate `rate`; nan never (Benjamini and Hochberg 1995)."""
    values = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    ordered = tested[np.argsort(values[tested], kind="stable")]
    limits = rate * np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
    below = np.flatnonzero(values[ordered] <= limits)
    rejected = np.zeros(len(values), dtype=bool)
    if len(below):
        rejected[ordered[: below[-1] + 1]] = True
    return tuple(bool(value) for value in rejected)


def feature_drift(
    histograms: pd.DataFrame,
    bins: pd.DataFrame,
    days: Sequence[date],
    *,
    min_distance: float,
    k: int,
    n: int,
    false_discovery: float = FALSE_DISCOVERY,
) -> tuple[FeatureDrift, ...]:
    """Each profiled feature's drift over the last `n` of `days`, most distant first.

    `histograms` has departure_date, feature, bin, n (mon_feature_histograms); `bins` feature, bin,
    reference_share (ops.feature_bins of the champion).

    Raises:
        ValueError: a column is missing, or `bins` is empty.
    """
    for name, frame, columns in (
        ("histograms", histograms, ("departure_date", "feature", "bin", "n")),
        ("bins", bins, ("feature", "bin", "reference_share")),
    ):
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            raise ValueError(f"{name} lack {', '.join(missing)}")
    if bins.empty:
        raise ValueError("the champion has no training profile: ops.feature_bins has no row")
    window = sorted(days)[-n:]
    rows = histograms.assign(departure_date=pd.to_datetime(histograms["departure_date"]).dt.date)
    found = []
    for feature, profile in bins.sort_values(["feature", "bin"]).groupby("feature", sort=True):
        reference = profile["reference_share"].to_numpy(dtype=np.float64)
        table = (
            rows[rows["feature"] == feature]
            .pivot_table(index="departure_date", columns="bin", values="n", aggfunc="sum", fill_value=0)
            .reindex(index=window, columns=profile["bin"], fill_value=0)
            .to_numpy(dtype=np.float64)
        )
        found.append((str(feature), reference, table))
    tests = [
        (index, day, chi_square_p_value(counts, reference))
        for index, (_, reference, table) in enumerate(found)
        for day, counts in enumerate(table)
        if counts.sum() >= MIN_ROWS
    ]
    rejected = benjamini_hochberg([p for _, _, p in tests], false_discovery)
    answers = []
    for index, (feature, reference, table) in enumerate(found):
        compared = [
            (day, is_significant)
            for (i, day, _), is_significant in zip(tests, rejected, strict=True)
            if i == index
        ]
        distances = [js_distance(table[day] / table[day].sum(), reference) for day, _ in compared]
        alerts = sum(
            significant and distance >= min_distance
            for (_, significant), distance in zip(compared, distances, strict=True)
        )
        counts = table.sum(axis=0)
        share = counts / counts.sum() if counts.sum() else np.full(len(reference), math.nan)
        told = bool(counts.sum())
        answers.append(
            FeatureDrift(
                feature=feature,
                days=len(compared),
                alert_days=alerts,
                is_drifting=alerts >= k,
                js_distance=js_distance(share, reference) if told else math.nan,
                js_distance_max=max(distances, default=math.nan),
                psi=psi(share, reference) if told else math.nan,
                ks=ks_distance(share[1:], reference[1:]) if told else math.nan,
                p_value=chi_square_p_value(counts, reference) if told else math.nan,
            )
        )
    return tuple(sorted(answers, key=lambda d: (not d.is_drifting, -np.nan_to_num(d.js_distance), d.feature)))


def _divergence(p: Floats, q: Floats) -> float:
    """Kullback-Leibler divergence in bits; empty bins of `p` add nothing."""
    kept = p > 0
    return float((p[kept] * np.log2(p[kept] / q[kept])).sum())
