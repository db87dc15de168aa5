"""Effects by category on planted effects: whether the intervals cover on every day, and how soon they tell."""

from __future__ import annotations

import numpy as np

from benchmarks.report import Figure
from ratchet.feedback.effects import ERROR, sequence

SIMULATIONS, DAYS, SEED = 1_000, 42, 11
#: Complaints a person asked, people asked an arm and day, new rate by old rate, deviation of the log shock.
PLANTED = (
    ("nothing", 0.05, 300, 1.0, 0.5),
    ("two in five fewer", 0.05, 300, 0.6, 0.5),
    ("two in five fewer, wild days", 0.02, 300, 0.6, 0.8),
    ("two in three fewer, many people", 0.05, 2_000, 0.33, 0.8),
    ("few people", 0.05, 20, 0.6, 0.8),
)


def effects() -> list[Figure]:
    """Shares of 1,000 simulated rollouts of 42 days, whose shocks both arms share."""
    rows = []
    for name, rate, people, share, spread in PLANTED:
        rng, covered, told = np.random.default_rng(SEED), 0, 0
        for _ in range(SIMULATIONS):
            asked = rng.poisson(people, (2, DAYS)) + 1
            shocked = rate * np.exp(rng.normal(-(spread**2) / 2, spread, DAYS))
            new = rng.binomial(asked[0], np.minimum(share * shocked, 1.0)) / asked[0]
            old = rng.binomial(asked[1], np.minimum(shocked, 1.0)) / asked[1]
            # What a day refutes stays refuted: the last day's interval lies in those of all days before.
            low, high = sequence(new - old, asked[0] * asked[1] / asked.sum(axis=0), ERROR)
            covered += low <= (share - 1) * rate <= high
            told += high < 0
        note = f"{SIMULATIONS} rollouts of {DAYS} days; {100 * told / SIMULATIONS:.0f} % say that it fell"
        rows.append(
            Figure(
                f"effect, {name}: covered on every day", 100 * covered / SIMULATIONS, "%", 95, "higher", note
            )
        )
    return rows
