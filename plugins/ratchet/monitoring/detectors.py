"""Sequential detectors of river on a stream of daily errors: when the stream's mean has changed.

A replay of the same stream gives the same answer: the detectors hold no clock and draw nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

from river.drift import ADWIN, PageHinkley

#: Bifet and Gavalda 2007, SIAM: a window that cuts itself where two parts differ. The grace is in observations: days.
ADWIN_DELTA = 0.002
GRACE_DAYS = 14


def detect(stream: str, values: Sequence[tuple[date, float]], scale: float) -> list[dict[str, Any]]:
    """A record for each detector after the last of `values`: its state, and the day of its last detection.

    `scale` divides the values, so that Page's limits (1954, Biometrika 41:100-115) mean the same for every stream; days
    without a finite value are left out. `state` is unknown before the grace is over.
    """
    detectors = {
        "adwin": ADWIN(delta=ADWIN_DELTA, clock=1, grace_period=GRACE_DAYS, min_window_length=3),
        "page-hinkley": PageHinkley(min_instances=GRACE_DAYS, delta=0.5, threshold=8.0, alpha=1.0, mode="up"),
    }
    kept = sorted((day, value) for day, value in values if math.isfinite(value))
    answers = []
    for name, detector in detectors.items():
        at = None
        for day, value in kept:
            detector.update(value / scale)
            if detector.drift_detected:
                at = day
        fresh = at is not None and (kept[-1][0] - at).days < GRACE_DAYS
        answers.append(
            {
                "name": name,
                "stream": stream,
                "state": "unknown" if len(kept) < GRACE_DAYS else "alert" if fresh else "ok",
                "at": at.isoformat() if at else None,
                "n": len(kept),
            }
        )
    return answers
