"""The whole verdict: how often, how soon, how fast; and second implementations."""

from __future__ import annotations

import math
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import worlds
from benchmarks.judge_tables import (
    FIRST_CLUSTERED,
    NEVER,
    Crossed,
    Rows,
    at_most,
    boundary,
    cluster_rule,
    demo,
    generator,
)
from benchmarks.report import Figure
from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.experiment.paired import ratio_estimate, unit_difference


def _rollout_of(seed: int, gain: float, rating: float) -> tuple[str, int]:
    """One simulated rollout through the whole verdict: how it ended and on which day."""
    from ratchet.experiment.state import RolloutState
    from ratchet.experiment.verdict import judge_day

    loop = demo()
    rng = np.random.default_rng([20130101, seed])
    days = loop.rollout.horizon_days + math.ceil(loop.label.maturity_hours / 24)
    paired, arms, exposure = worlds.rollout(loop, rng, days=days, gain=gain, rating_effect=rating)
    state = RolloutState.begin("bench", worlds.FIRST_DAY, loop.rollout.stages[0].name)
    stages = {}
    for offset in range(days):
        day = worlds.day_of(offset)
        stages[day] = state.stage_index
        verdict = judge_day(
            loop, state, paired, worlds.as_run(arms, stages), day, exposure=worlds.as_run(exposure, stages)
        )
        state = state.after(verdict)
        if verdict.action == "advance":
            index = state.stage_index + 1
            state = state.in_stage(index, loop.rollout.stages[index].name, worlds.day_of(offset + 1))
        elif verdict.action != "hold":
            return verdict.action, offset + 1
    return "open", days


def whole(runs: int) -> Rows:
    """Rollouts through everything: primary, guardrails, cohorts, exposure; power beside the primary rule's own."""
    rows: Rows = []
    some, effect = max(40, runs // 50), 0.012
    for gain in (0.0, effect, -effect):
        with ProcessPoolExecutor() as pool:
            ended = list(pool.map(partial(_ended, gain), range(some), chunksize=4))
        share = {action: sum(found == action for found, _ in ended) / some for action, _ in ended}
        promoted = _those(ended, "promote")
        back = _those(ended, "roll_back")
        note = f"{some} rollouts: " + ", ".join(f"{a} {s:.0%}" for a, s in sorted(share.items()))
        if not gain:
            rows.append(at_most("whole verdict, equal models: promoted", promoted, 0.025, note))
            kinds = "primary, guardrails and cohorts have an error each"
            limit = 2 * demo().rollout.rollback_alpha + demo().rollout.cohort_alpha
            rows.append(at_most("whole verdict, equal models: rolled back", back, limit, kinds))
        elif gain > 0:
            rows.append(Figure("whole verdict, better: promoted", 100 * promoted.share, "%", note=note))
            rows.append(Figure("whole verdict, better: median day", promoted.median, "day"))
            rows.append(Figure("  primary rule alone, better: promoted", 100 * _alone(gain).share, "%"))
        else:
            rows.append(Figure("whole verdict, worse: promoted", 100 * promoted.share, "%", 0.0, note=note))
            rows.append(Figure("whole verdict, worse: rolled back", 100 * back.share, "%"))
            rows.append(Figure("whole verdict, worse: median day", back.median, "day"))
    return rows


def _those(ended: list[tuple[str, int]], action: str) -> Crossed:
    return Crossed(np.array([day if found == action else NEVER for found, day in ended], dtype=np.int64))


def _alone(gain: float) -> Crossed:
    """The primary rule by itself on days of the same kind."""
    rollout = demo().rollout
    bounds = boundary(FIRST_CLUSTERED, rollout.information, rollout.alpha, rollout.spending_power)
    gains, _, sizes = worlds.clustered_losses(
        generator("power"), 1000, rollout.information, gain, 0.012, 0.1, 900
    )
    return cluster_rule(
        bounds, FIRST_CLUSTERED, 1000, lambda run, k: ratio_estimate(gains[run, :k], sizes[run, :k])
    )


def _ended(gain: float, seed: int) -> tuple[str, int]:
    return _rollout_of(seed, gain, gain * 10)


def speed(_: int) -> Rows:
    """A thousand running experiments of 20 cohorts and five metrics, judged from their sums."""
    from ratchet.experiment.state import RolloutState
    from ratchet.experiment.verdict import judge_day

    loop = demo()
    index = len(loop.rollout.stages) - 1
    starts = tuple(worlds.day_of(5 * n) for n in range(index + 1))
    stages = {worlds.day_of(n): min(n // 5, index) for n in range(42)}
    made = []
    for seed in range(20):
        paired, arms, exposure = worlds.rollout(loop, np.random.default_rng(seed), days=42, gain=0.002)
        made.append((paired, worlds.as_run(arms, stages), worlds.as_run(exposure, stages)))
    state = RolloutState("bench", starts[0], index, loop.rollout.stages[index].name, starts, {})
    count = 1000
    started = time.perf_counter()
    for k in range(count):
        paired, arms, exposure = made[k % len(made)]
        judge_day(loop, state, paired, arms, worlds.day_of(41), exposure=exposure)
    took = time.perf_counter() - started
    dimensions = sum(1 for _ in loop.cohorts.dimensions) * 10
    return [
        Figure(
            "1,000 experiments judged",
            took,
            "s",
            10.0,
            note=f"{dimensions} cohorts, {1 + len(loop.guardrails)} metrics, 42 days",
        ),
    ]


def oracles(home: Path) -> Rows:
    """Second implementations on written cases."""
    from benchmarks.oracles import ask

    fractions = [round((k + 1) / 30, 6) for k in range(30)]
    theirs = ask(home, "boundaries", {"fractions": fractions, "alpha": 0.025, "power": 2.0})
    ours = critical_values(fractions, power_spending(0.025, 2.0))
    far = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    rows = [
        Figure(
            "boundary against spotify-confidence 4.1", far, "z", 0.02, note="largest difference of 30 looks"
        )
    ]
    rng = generator("oracles")
    cases, mine = [], []
    for _ in range(50):
        n = rng.integers(2_000, 9_000, 2)
        y = rng.binomial(n, rng.uniform(0.1, 0.4, 2))
        cases.append(
            {"kind": "binary", "arms": [{"n": int(a), "y": float(b)} for a, b in zip(n, y, strict=True)]}
        )
        mine.append(
            unit_difference((float(n[0]), float(y[0]), float(y[0])), (float(n[1]), float(y[1]), float(y[1])))
        )
        amount = [rng.lognormal(1, 1, int(k)) for k in n]
        cases.append({"kind": "continuous", "arms": [
            {"n": len(a), "y": float(a.sum()), "yy": float((a**2).sum())} for a in amount
        ]})  # fmt: skip
        mine.append(unit_difference(*[(float(len(a)), float(a.sum()), float((a**2).sum())) for a in amount]))
    theirs = ask(home, "arms", {"cases": cases})
    worst = max(
        max(abs(t[0] - m.value) / abs(t[1]), abs(t[1] / m.standard_error - 1))
        for t, m in zip(theirs, mine, strict=True)
    )
    rows.append(
        Figure(
            "means and errors against gbstats 0.8",
            worst,
            "",
            0.001,
            note="largest relative difference of 100 cases",
        )
    )
    return rows
