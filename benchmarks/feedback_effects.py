"""Effects by category on planted effects: whether the intervals cover on every day, and how soon they tell."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd

from benchmarks.judge_tables import ROOT
from benchmarks.report import Figure
from ratchet.feedback.effects import COLUMNS, ERROR, judge_cohorts, sequence
from ratchet.loop import load_loop

SIMULATIONS, DAYS, SEED = 1_000, 42, 11
ROLLOUTS, COHORTS = 300, 6
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
    return [*rows, by_cohort()]


def by_cohort() -> Figure:
    """Shares of rollouts in which every interval of every cohort and category covers; one of six cohorts improves."""
    taxonomy = load_loop(ROOT / "loops" / "flights.yml").feedback.taxonomy
    if taxonomy is None:
        raise RuntimeError("the loop has no taxonomy")
    rng, covered, told, wrong = np.random.default_rng(SEED), 0, 0, 0
    kinds = {"false_reassurance": 0.06, "price": 0.03}
    for _ in range(ROLLOUTS):
        found = judge_cohorts(taxonomy, _sums(rng, kinds), date(2014, 1, 1), 10)
        if found.judged != COHORTS:
            raise RuntimeError(f"{found.judged} of {COHORTS} cohorts were judged")
        holds = True
        for one in found.effects:
            if one.effect.category not in kinds:
                continue
            is_better = one.cohort == "0" and one.effect.category == "false_reassurance"
            truth = -0.6 * kinds[one.effect.category] if is_better else 0.0
            low, high = one.effect.low, one.effect.high
            holds = holds and (low is None or low <= truth) and (high is None or truth <= high)
            told += is_better and one.effect.state == "fell"
            wrong += not is_better and one.effect.state in ("fell", "rose")
        covered += holds
    note = (
        f"{ROLLOUTS} rollouts of {DAYS} days, {COHORTS} cohorts, two categories; three in five complaints less in one "
        f"cohort: found in {100 * told / ROLLOUTS:.0f} %; said of another one {wrong} times in all"
    )
    return Figure(
        "effect by cohort: all intervals cover on every day",
        100 * covered / ROLLOUTS,
        "%",
        95,
        "higher",
        note,
    )


def _sums(rng: np.random.Generator, kinds: dict[str, float]) -> pd.DataFrame:
    """Sums of one rollout by cohort, under shocks that all of them share."""
    rows = []
    shocks = np.exp(rng.normal(-0.125, 0.5, DAYS))
    for n, shock in enumerate(shocks):
        day = date(2013, 6, 1) + timedelta(days=n)
        for cohort in range(COHORTS):
            for arm in ("control", "challenger"):
                asked = int(rng.poisson(150)) + 1
                base = (day, arm, "origin", str(cohort))
                rows.append((*base, "all", asked, 0, 0.0))
                for name, rate in kinds.items():
                    is_better = (arm, cohort, name) == ("challenger", 0, "false_reassurance")
                    said = int(rng.binomial(asked, min((0.4 if is_better else 1.0) * rate * shock, 1.0)))
                    rows.append((*base, name, 0, said, float(said)))
    return pd.DataFrame(rows, columns=list(COLUMNS))
