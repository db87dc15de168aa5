"""`make bench-judge`: the decision tables by simulation, our rule beside the naive one, and how fast we judge.

RUNS experiments a row, on the product's own statistics; every share is printed with its limit, which allows for the
simulation's own error (two standard errors). Rules without a target are shown for comparison.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import worlds
from benchmarks.judge_tables import (
    NEVER,
    Crossed,
    at_least,
    at_most,
    bayes,
    chi_square_alarm,
    first_look,
    naive_z,
    soon,
    told,
    two_sided,
)
from benchmarks.report import Figure, Report
from ratchet.experiment.boundaries import critical_values, power_spending
from ratchet.experiment.cuped import cuped_difference
from ratchet.experiment.evalue import e_bh, symmetric, two_by_two
from ratchet.experiment.paired import Estimate, arm_difference, ratio_estimate, unit_difference
from ratchet.experiment.sample_ratio import log_e_path
from ratchet.loop import Loop, load_loop

ROOT = Path(__file__).parents[1]
DAYS, PER_ARM, BASE = 60, 200, 0.2
FIRST_CLUSTERED = 7  # rollout.min_clusters of the demo's loop
console = Console()
Rows = list[Figure]


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng([20130101, *name.encode()])


def _bounds(first: int, days: int, alpha: float, power: float = 2.0) -> list[float]:
    fractions = [(look + 1) / days for look in range(first - 1, days)]
    return list(critical_values(fractions, power_spending(alpha, power)))


def _looks(count: int, bounds: list[float], first: int, z_at: Callable[[int, int], float]) -> Crossed:
    """The first look at which `z_at(experiment, days)` reaches its bound, by experiment."""
    found = np.full(count, NEVER, dtype=np.int64)
    for run in range(count):
        for look, bound in enumerate(bounds, first):
            if z_at(run, look) >= bound:
                found[run] = look
                break
    return Crossed(found)


def _unit_rule(
    sums: worlds.Sums, bounds: list[float], first: int = 1, *, margin: float = 0.0, is_binary: bool = True
) -> Crossed:
    """Independent units against a group-sequential boundary, on the counts so far."""
    squares1, squares0 = (sums.y1, sums.y0) if is_binary else (sums.yy1, sums.yy0)
    assert squares1 is not None and squares0 is not None
    n1, y1, q1, n0, y0, q0 = (
        part.cumsum(axis=1) for part in (sums.n1, sums.y1, squares1, sums.n0, sums.y0, squares0)
    )

    def z_at(run: int, look: int) -> float:
        k = look - 1
        return unit_difference(
            (n1[run, k], y1[run, k], q1[run, k]), (n0[run, k], y0[run, k], q0[run, k])
        ).z_against(-margin)

    return _looks(len(n1), bounds, first, z_at)


def _cluster_rule(
    bounds: list[float], first: int, count: int, estimate_at: Callable[[int, int], Estimate]
) -> Crossed:
    return _looks(count, bounds, first, lambda run, look: estimate_at(run, look).z)


# Promotion ------------------------------------------------------------------------------------------------------


def promotion(runs: int) -> Rows:
    """Equal, better and worse challengers under five rules."""
    rows: Rows = []
    bounds = _bounds(1, DAYS, 0.025)
    half = _bounds(1, DAYS // 2, 0.025) + [math.inf] * (DAYS // 2)
    for effect, name in ((0.0, "equal"), (0.02, "+2 points"), (-0.02, "-2 points")):
        sums = worlds.binary(_rng(f"promotion {name}"), runs, DAYS, PER_ARM, BASE + effect, BASE)
        z = naive_z(sums)
        ours = _unit_rule(sums, bounds)
        if effect == 0:
            rows.append(at_most("promotion, equal models: promoted", ours, 0.025))
        elif effect > 0:
            rows.append(at_least("promotion, +2 points: promoted by day 60", ours, 0.95))
            rows.append(soon("promotion, +2 points: median day", ours, 30, "days"))
        else:
            rows.append(
                Figure("promotion, -2 points: promoted", 100 * ours.share, "%", 0.0, note="must be 0")
            )
        rows += told(f"  number is higher at day 60, {name}", first_look(z[:, -1:] > 0))
        rows += told(f"  z-test at 5 % read each day, {name}", first_look(z >= two_sided(0.05)))
        rows += told(f"  Bayes, flat prior, > 95 %, {name}", first_look(bayes(sums) > 0.95))
        rows += told(f"  z-test once, at day 60, {name}", first_look(z[:, -1:] >= two_sided(0.05)))
        if effect == 0:
            rows += told("  our test, horizon used twice over", _twice(sums, half))
    return rows


def _twice(sums: worlds.Sums, half: list[float]) -> Crossed:
    """What the loop file forbids: a horizon of 30 days, and thirty more when it is used up."""
    again = _bounds(1, DAYS, 0.025)[DAYS // 2 :]
    return _unit_rule(sums, half[: DAYS // 2] + again)


def amounts(runs: int) -> Rows:
    """Continuous and ratio metrics without an effect; the covariate's help with one."""
    rng = _rng("amounts")
    spent = worlds.spending(rng, runs, DAYS, PER_ARM)
    assert spent.yy1 is not None and spent.yy0 is not None
    bounds = _bounds(1, DAYS, 0.025)
    n1, y1, q1, n0, y0, q0 = (
        p.cumsum(axis=1) for p in (spent.n1, spent.y1, spent.yy1, spent.n0, spent.y0, spent.yy0)
    )
    error = np.sqrt((q1 / n1 - (y1 / n1) ** 2) / n1 + (q0 / n0 - (y0 / n0) ** 2) / n0)
    z = (y1 / n1 - y0 / n0) / error
    rows = [
        at_most(
            "zero-inflated amounts, equal arms: promoted", _unit_rule(spent, bounds, is_binary=False), 0.025
        )
    ]
    rows += told("  z-test at 5 % read each day, either way", first_look(np.abs(z) >= two_sided(0.05)))
    some = max(200, runs // 5)
    ratio = worlds.clicks(rng, some, DAYS, PER_ARM)
    clustered = _bounds(FIRST_CLUSTERED, DAYS, 0.025)
    ours = _cluster_rule(
        clustered, FIRST_CLUSTERED, some,
        lambda run, k: arm_difference(ratio.y1[run, :k], ratio.n1[run, :k], ratio.y0[run, :k], ratio.n0[run, :k]),
    )  # fmt: skip
    rows.append(
        at_most("clicks over impressions, equal arms: promoted", ours, 0.025, f"{some:,} experiments")
    )
    rows += told(
        "  impressions as units, z-test read each day, either way",
        first_look(np.abs(naive_z(ratio)) >= two_sided(0.05)),
    )
    gain = 3.24 / math.sqrt(PER_ARM * DAYS / 2)  # one that a single look at day 60 finds in 90 %
    told_days = {}
    for name, correlation in (("without", None), ("with", 0.7)):
        sums = worlds.correlated(_rng("cuped"), some, DAYS, PER_ARM, gain * 1.75, 0.7)
        assert sums.x1 is not None and sums.x0 is not None
        x1, x0 = sums.x1, sums.x0

        def estimate(
            run: int, k: int, sums: worlds.Sums = sums, x1: worlds.Floats = x1, x0: worlds.Floats = x0,
            is_adjusted: bool = correlation is not None,
        ) -> Estimate:  # fmt: skip
            y1, n1, y0, n0 = (part[run, :k] for part in (sums.y1, sums.n1, sums.y0, sums.n0))
            if is_adjusted:
                return cuped_difference((y1, n1, x1[run, :k]), (y0, n0, x0[run, :k]))
            return arm_difference(y1, n1, y0, n0)

        told_days[name] = _cluster_rule(clustered, FIRST_CLUSTERED, some, estimate)
    rows.append(Figure("  no covariate: median day", told_days["without"].median, "day"))
    most = 0.75 * told_days["without"].median
    few = "0.75 of the days without it: few days take a t distribution"
    rows.append(soon("covariate with correlation 0.7: median day", told_days["with"], most, few))
    equal = worlds.correlated(_rng("cuped equal"), some, DAYS, PER_ARM, 0.0, 0.7)
    assert equal.x1 is not None and equal.x0 is not None
    e1, e0 = equal.x1, equal.x0
    none = _cluster_rule(
        clustered, FIRST_CLUSTERED, some,
        lambda run, k: cuped_difference(
            (equal.y1[run, :k], equal.n1[run, :k], e1[run, :k]), (equal.y0[run, :k], equal.n0[run, :k], e0[run, :k])
        ),
    )  # fmt: skip
    rows.append(at_most("with the covariate, equal arms: promoted", none, 0.025))
    return rows


# Late outcomes --------------------------------------------------------------------------------------------------


def late(runs: int) -> Rows:
    """Arms that differ only in speed, and one that is better but slower."""
    rows: Rows = []
    window = 14
    horizon = DAYS - window
    bounds = _bounds(1, horizon, 0.025)
    for name, p, delays in (
        ("faster, same rate", (BASE, BASE), (2.0, 6.0)),
        ("2 points better, slower", (BASE + 0.02, BASE), (6.0, 2.0)),
    ):
        seen1, seen0 = worlds.delayed(_rng(name), runs, DAYS, PER_ARM, p, delays, window)
        n = np.full((runs, DAYS), float(PER_ARM))
        # By calendar day: what entered up to it, and what had been answered by then.
        known = []
        for seen in (seen1, seen0):
            by_age = seen.cumsum(axis=2)
            total = np.zeros((runs, DAYS))
            for day in range(DAYS):
                ages = np.minimum(day - np.arange(day + 1), window - 1)
                total[:, day] = by_age[:, np.arange(day + 1), ages].sum(axis=1)
            known.append(total)
        count = n.cumsum(axis=1)
        p1, p0 = known[0] / count, known[1] / count
        pooled = (p1 + p0) / 2
        z = (p1 - p0) / np.sqrt(pooled * (1 - pooled) * 2 / count)
        mature = worlds.Sums(
            n[:, :horizon], seen1.sum(axis=2)[:, :horizon].astype(float),
            n[:, :horizon], seen0.sum(axis=2)[:, :horizon].astype(float),
        )  # fmt: skip
        ours = _unit_rule(mature, bounds)
        if p[0] == p[1]:
            rows.append(
                at_most(f"late outcomes, {name}: promoted", ours, 0.025, "units whose window is closed")
            )
            rows += told(
                "  open windows count as zero, z-test read each day", first_look(z >= two_sided(0.05))
            )
            rows += told("  open windows count as zero, our boundary", _reach(z, _bounds(1, DAYS, 0.025)))
        else:
            harm = _unit_rule(_swapped(mature), bounds)
            rows.append(
                at_most(f"late outcomes, {name}: rolled back", harm, 0.025, "units whose window is closed")
            )
            rows += told(
                "  open windows count as zero, our boundary: rolled back", _reach(-z, _bounds(1, DAYS, 0.025))
            )
    return rows


def _swapped(sums: worlds.Sums) -> worlds.Sums:
    return worlds.Sums(sums.n0, sums.y0, sums.n1, sums.y1)


def _reach(z: worlds.Floats, bounds: list[float]) -> Crossed:
    return first_look(z >= np.array(bounds))


# Guardrails, rollback, cohorts, sample ratio --------------------------------------------------------------------


def guardrails(runs: int) -> Rows:
    """A margin of one point on 20 %: a model that is worse by it, and one that is two points better."""
    rows: Rows = []
    alpha = _demo().rollout.guardrail_alpha
    bounds = _bounds(1, DAYS, alpha)
    for effect, name in ((-0.01, "worse by the margin"), (0.02, "+2 points")):
        sums = worlds.binary(_rng(f"guardrail {name}"), runs, DAYS, PER_ARM, BASE + effect, BASE)
        ours = _unit_rule(sums, bounds, margin=0.01)
        if effect < 0:
            rows.append(at_most(f"guardrail, {name}: passed", ours, 0.05))
            passed = (naive_z(sums) > -two_sided(0.05)).all(axis=1)
            rows += told('  "not significantly worse" on each day', Crossed(np.where(passed, 1, NEVER)))
        else:
            rows.append(at_least(f"guardrail, {name}: passed", ours, 1.0))
            rows.append(soon(f"guardrail, {name}: median day", ours, 16, "days"))
    return rows


RAMP = (0.01, 0.05, 0.10, 0.10, 0.25, 0.25, 0.25) + (0.5,) * 53


def rollback(runs: int) -> Rows:
    """A ramp of 1, 5, 10, 25, 50 % of 4,000 users a day with equal control arms."""
    rows: Rows = []
    exposed = np.cumsum([round(4000 * share) for share in RAMP])
    reach = {-0.10: (2, 240), -0.04: (5, 2040), -0.02: (9, 8040)}
    limit = math.log(1 / 0.025)
    for effect in (0.0, *reach):
        sums = worlds.ramp(_rng(f"rollback {effect}"), runs, RAMP, 4000, BASE + effect, BASE)
        # The champion's rate is known from before the rollout: a hundred units' worth of it.
        path = two_by_two(
            sums.n1, sums.y1, sums.n0, sums.y0, effect=0.02, prior=(100 * BASE, 100 * (1 - BASE))
        )
        ours = first_look(path >= limit)
        name = "equal models" if not effect else f"{effect * 100:+.0f} points"
        if not effect:
            rows.append(at_most(f"ramp, {name}: rolled back", ours, 0.025, "aim 0.6 %"))
            naive = first_look(naive_z(sums) <= -two_sided(0.05))
            rows += told("  z-test at 5 % read each day", naive)
            continue
        day, users = reach[effect]
        rows.append(at_least(f"ramp, {name}: rolled back", ours, 1.0))
        rows.append(soon(f"ramp, {name}: median day", ours, day, "days"))
        median = exposed[min(int(ours.median), len(exposed)) - 1] if math.isfinite(ours.median) else math.inf
        rows.append(Figure(f"ramp, {name}: users exposed", float(median), "users", users))
    return rows


def cohorts(runs: int) -> Rows:
    """Ten cohorts of 100 units an arm and day: none is worse, and one is by four points."""
    rows: Rows = []
    count, size, some = 10, 100.0, max(200, runs // 5)
    alpha = _demo().rollout.cohort_alpha
    for bad, name in ((0, "equal challenger: blocked"), (1, "one at -4 points: found")):
        rng = _rng(f"cohorts {name}")
        rates = np.full((1, count, 1), BASE)
        rates[0, :bad] -= 0.04
        k1 = rng.binomial(int(size), np.broadcast_to(rates, (some, count, DAYS))).astype(float)
        k0 = rng.binomial(int(size), BASE, (some, count, DAYS)).astype(float)
        path = two_by_two(size, k1, size, k0, effect=0.02, prior=(100 * BASE, 100 * (1 - BASE)))
        ours = np.full(some, NEVER, dtype=np.int64)
        for run in range(some):
            for day in range(DAYS):
                if any(e_bh(path[run, :, day].tolist(), alpha)):
                    ours[run] = day + 1
                    break
        found = Crossed(ours)
        n = np.full((some * count, DAYS), size)
        z = naive_z(worlds.Sums(n, k1.reshape(-1, DAYS), n, k0.reshape(-1, DAYS))).reshape(some, count, DAYS)
        naive = first_look((z <= -two_sided(0.05)).any(axis=1))
        if not bad:
            rows.append(at_most(f"ten cohorts, {name}", found, 0.025, f"{some:,} experiments"))
            rows += told("  uncorrected z-tests read each day", naive)
        else:
            rows.append(at_least(f"ten cohorts, {name}", found, 0.985))
            rows.append(soon("ten cohorts, one at -4 points: median day", found, 20, "the peers' own: 18"))
    return rows


def sample_ratio(runs: int) -> Rows:
    """400 users a day, planned half and half."""
    rows: Rows = []
    plans = np.full((DAYS, 2), 0.5)
    for share, name in ((0.5, "as planned: alarmed"), (0.52, "52/48: found")):
        one = _rng(f"ratio {name}").binomial(400, share, (runs, DAYS)).astype(float)
        counts = np.stack([one, 400 - one], axis=2)
        path = log_e_path(plans, counts)
        ours = first_look(path >= math.log(1 / _demo().rollout.sample_ratio_alpha))
        if share == 0.5:
            rows.append(at_most(f"sample ratio, {name}", ours, 0.01))
            rows += told(
                "  chi-square at 5 % read each day", first_look(chi_square_alarm(one, 400 - one, 0.5, 0.05))
            )
        else:
            rows.append(at_least(f"sample ratio, {name}", ours, 0.99))
            rows.append(Figure(f"sample ratio, {name}: median day", ours.median, "day"))
    return rows


# Clusters -------------------------------------------------------------------------------------------------------


def clusters(runs: int) -> Rows:
    """Paired losses of days that share a fate: equal models by day and row by row; harm; the year's own days."""
    rows: Rows = []
    horizon = _demo().rollout.information
    bounds = _bounds(FIRST_CLUSTERED, horizon, 0.025)
    gains, squares, sizes = worlds.clustered_losses(_rng("clusters"), runs, horizon, 0.0, 0.012, 0.1, 900)
    ours = _cluster_rule(
        bounds, FIRST_CLUSTERED, runs, lambda run, k: ratio_estimate(gains[run, :k], sizes[run, :k])
    )
    rows.append(at_most("days share a fate, equal models: promoted", ours, 0.025))
    g, q, n = gains.cumsum(axis=1), squares.cumsum(axis=1), sizes.cumsum(axis=1)
    z = (g / n) / np.sqrt((q / n - (g / n) ** 2) / n)
    rows += told("  rows taken as independent, our boundary", _reach(z[:, FIRST_CLUSTERED - 1 :], bounds))
    harm = first_look(symmetric(-gains) >= math.log(1 / 0.025))
    rows.append(at_most("days share a fate, equal models: e-process alarmed", harm, 0.025))
    worse, _, _ = worlds.clustered_losses(_rng("clusters worse"), runs, horizon, -0.012, 0.012, 0.1, 900)
    found = first_look(symmetric(-worse) >= math.log(1 / 0.025))
    rows.append(Figure("  worse by one day's deviation: e-process alarmed", 100 * found.share, "%"))
    rows.append(Figure("  worse by one day's deviation: median day", found.median, "day"))
    return rows


def flights(runs: int, home: Path) -> Rows:
    """Experiments without an effect from the real year: the sign of whole days by a coin."""
    from benchmarks.flights_aa import flipped, paired_days, year_of_features
    from ratchet.settings import load_settings

    loop, settings = _demo(), load_settings()
    days = paired_days(loop, year_of_features(settings, loop, home / "year.parquet"), 2)
    horizon = loop.rollout.information
    bounds = _bounds(FIRST_CLUSTERED, horizon, 0.025)
    rows: Rows = []
    for block in (1, 7):
        rng = _rng(f"flights {block}")
        found, naive = np.full(runs, NEVER, dtype=np.int64), np.full(runs, NEVER, dtype=np.int64)
        for run in range(runs):
            gain, square, n = flipped(rng, days, horizon, block)
            for look, bound in enumerate(bounds, FIRST_CLUSTERED):
                if ratio_estimate(gain[:look], n[:look]).z >= bound:
                    found[run] = look
                    break
            g, q, c = gain.cumsum(), square.cumsum(), n.cumsum()
            z = (g / c) / np.sqrt((q / c - (g / c) ** 2) / c)
            hits = np.flatnonzero(z >= two_sided(0.05))
            naive[run] = hits[0] + 1 if len(hits) else NEVER
        crossed = Crossed(found)
        if block == 1:
            rows.append(
                at_most("real flights, days flipped: promoted", crossed, 0.025, f"{len(days)} days of 2013")
            )
            rows += told("  flights taken as independent, read each day", Crossed(naive))
        else:
            rows += told("  weeks flipped whole (weather lasts): promoted", crossed)
    return rows


# The whole verdict ----------------------------------------------------------------------------------------------


def _rollout_of(seed: int, gain: float, rating: float) -> tuple[str, int]:
    """One simulated rollout through the whole verdict: how it ended and on which day."""
    from ratchet.experiment.state import RolloutState
    from ratchet.experiment.verdict import judge_day

    loop = _demo()
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
            limit = 2 * _demo().rollout.rollback_alpha + _demo().rollout.cohort_alpha
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
    rollout = _demo().rollout
    bounds = _bounds(FIRST_CLUSTERED, rollout.information, rollout.alpha, rollout.spending_power)
    gains, _, sizes = worlds.clustered_losses(_rng("power"), 1000, rollout.information, gain, 0.012, 0.1, 900)
    return _cluster_rule(
        bounds, FIRST_CLUSTERED, 1000, lambda run, k: ratio_estimate(gains[run, :k], sizes[run, :k])
    )


def _ended(gain: float, seed: int) -> tuple[str, int]:
    return _rollout_of(seed, gain, gain * 10)


# Speed ----------------------------------------------------------------------------------------------------------


def speed(_: int) -> Rows:
    """A thousand running experiments of 20 cohorts and five metrics, judged from their sums."""
    from ratchet.experiment.state import RolloutState
    from ratchet.experiment.verdict import judge_day

    loop = _demo()
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
    rng = _rng("oracles")
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


def _demo() -> Loop:
    return load_loop(ROOT / "loops" / "flights.yml")


TABLES: dict[str, Callable[[int], Rows]] = {
    "promotion": promotion,
    "amounts": amounts,
    "late": late,
    "guardrails": guardrails,
    "rollback": rollback,
    "cohorts": cohorts,
    "sample_ratio": sample_ratio,
    "clusters": clusters,
    "whole": whole,
    "speed": speed,
}


def _chosen(only: str, runs: int, home: Path) -> Iterator[tuple[str, Callable[[], Rows]]]:
    everything: dict[str, Callable[[], Rows]] = {
        **{name: partial(table, runs) for name, table in TABLES.items()},
        "flights": partial(flights, max(1000, runs // 10), home),
        "oracles": partial(oracles, home),
    }
    wanted = [name for name in only.split(",") if name] or list(everything)
    for name in wanted:
        if name not in everything:
            raise typer.BadParameter(f"there is no table {name!r}; there are {', '.join(everything)}")
        yield name, everything[name]


def main(
    runs: Annotated[int, typer.Option(min=500, help="Simulated experiments a row.")] = 10_000,
    only: Annotated[str, typer.Option(help="Tables to make, comma between them; empty: all.")] = "",
) -> None:
    """Simulate, print the tables, write var/bench/judge.json."""
    home = ROOT / "var" / "bench"
    report = Report("the judge", {"runs": runs, "only": only})
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    for name, table in _chosen(only, runs, home):
        with Progress(*columns, console=console, transient=True) as progress:
            progress.add_task(f"{name}: {runs:,} experiments a row")
            rows = table()
        for figure in rows:
            report.add(figure, console)
    raise typer.Exit(report.finish(home / "judge.json", console))


if __name__ == "__main__":
    typer.run(main)
