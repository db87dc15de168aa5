"""Harm and exposure: the ramp, cohorts, arm sizes, days that share a fate, the real year."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from benchmarks import worlds
from benchmarks.judge_tables import (
    BASE,
    DAYS,
    FIRST_CLUSTERED,
    NEVER,
    Crossed,
    Rows,
    at_least,
    at_most,
    boundary,
    chi_square_alarm,
    cluster_rule,
    demo,
    first_look,
    generator,
    looks,
    naive_z,
    reach,
    soon,
    told,
    two_sided,
)
from benchmarks.report import Figure
from ratchet.experiment.evalue import e_bh, mean_bets, symmetric, two_by_two
from ratchet.experiment.harm import FEWEST_HARM_CLUSTERS
from ratchet.experiment.paired import ratio_estimate
from ratchet.experiment.sample_ratio import log_e_path

RAMP = (0.01, 0.05, 0.10, 0.10, 0.25, 0.25, 0.25) + (0.5,) * 53


def rollback(runs: int) -> Rows:
    """A ramp of 1, 5, 10, 25, 50 % of 4,000 users a day with equal control arms."""
    rows: Rows = []
    exposed = np.cumsum([round(4000 * share) for share in RAMP])
    reach = {-0.10: (2, 240), -0.04: (5, 2040), -0.02: (9, 8040)}
    limit = math.log(1 / 0.025)
    for effect in (0.0, *reach):
        sums = worlds.ramp(generator(f"rollback {effect}"), runs, RAMP, 4000, BASE + effect, BASE)
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
    alpha = demo().rollout.cohort_alpha
    for bad, name in ((0, "equal challenger: blocked"), (1, "one at -4 points: found")):
        rng = generator(f"cohorts {name}")
        rates = np.full((1, count, 1), BASE)
        rates[0, :bad] -= 0.04
        k1 = rng.binomial(int(size), np.broadcast_to(rates, (some, count, DAYS))).astype(float)
        k0 = rng.binomial(int(size), BASE, (some, count, DAYS)).astype(float)
        stakes = ((1.0, 0.3), (2.0, 0.7))  # on two points, and on four
        known = (100 * BASE, 100 * (1 - BASE))
        path = two_by_two(size, k1, size, k0, effect=0.02, effects=stakes, prior=known)
        ours = np.full(some, NEVER, dtype=np.int64)
        for run in range(some):
            for day in range(DAYS):
                if any(e_bh(path[run, :, day].tolist(), alpha)):
                    ours[run] = day + 1
                    break
        found = Crossed(ours)
        n = np.full((some * count, DAYS), size)
        z = naive_z(worlds.Sums(n, k1.reshape(-1, DAYS), n, k0.reshape(-1, DAYS))).reshape(some, count, DAYS)
        naive = first_look(np.asarray(z <= -two_sided(0.05)).any(axis=1).astype(bool))
        if not bad:
            rows.append(at_most(f"ten cohorts, {name}", found, 0.025, f"{some:,} experiments"))
            rows += told("  uncorrected z-tests read each day", naive)
        else:
            rows.append(at_least(f"ten cohorts, {name}", found, 0.985))
            rows.append(
                Figure(
                    "ten cohorts, one at -4 points: median day",
                    found.median,
                    "day",
                    note="18 for a test that knows the effect",
                )
            )
    return rows


def sample_ratio(runs: int) -> Rows:
    """400 users a day, planned half and half."""
    rows: Rows = []
    plans = np.full((DAYS, 2), 0.5)
    for share, name in ((0.5, "as planned: alarmed"), (0.52, "52/48: found")):
        one = generator(f"ratio {name}").binomial(400, share, (runs, DAYS)).astype(float)
        counts = np.stack([one, 400 - one], axis=2)
        path = log_e_path(plans, counts)
        ours = first_look(path >= math.log(1 / demo().rollout.sample_ratio_alpha))
        if share == 0.5:
            rows.append(at_most(f"sample ratio, {name}", ours, 0.01))
            rows += told(
                "  chi-square at 5 % read each day", first_look(chi_square_alarm(one, 400 - one, 0.5, 0.05))
            )
        else:
            rows.append(at_least(f"sample ratio, {name}", ours, 0.99))
            rows.append(Figure(f"sample ratio, {name}: median day", ours.median, "day"))
    return rows


def clusters(runs: int) -> Rows:
    """Paired losses of days that share a fate: equal models by day and row by row; harm; the year's own days."""
    rows: Rows = []
    horizon = demo().rollout.information
    bounds = boundary(FIRST_CLUSTERED, horizon, 0.025)
    gains, squares, sizes = worlds.clustered_losses(
        generator("clusters"), runs, horizon, 0.0, 0.012, 0.1, 900
    )
    ours = cluster_rule(
        bounds, FIRST_CLUSTERED, runs, lambda run, k: ratio_estimate(gains[run, :k], sizes[run, :k])
    )
    rows.append(at_most("days share a fate, equal models: promoted", ours, 0.025))
    g, q, n = gains.cumsum(axis=1), squares.cumsum(axis=1), sizes.cumsum(axis=1)
    z = (g / n) / np.sqrt((q / n - (g / n) ** 2) / n)
    rows += told("  rows taken as independent, our boundary", reach(z[:, FIRST_CLUSTERED - 1 :], bounds))
    harm = first_look(symmetric(-gains) >= math.log(1 / 0.025))
    rows.append(at_most("days share a fate, equal models: e-process alarmed", harm, 0.025))
    worse, _, _ = worlds.clustered_losses(generator("clusters worse"), runs, horizon, -0.012, 0.012, 0.1, 900)
    found = first_look(symmetric(-worse) >= math.log(1 / 0.025))
    rows.append(Figure("  worse by one day's deviation: e-process alarmed", 100 * found.share, "%"))
    rows.append(Figure("  worse by one day's deviation: median day", found.median, "day"))
    return rows


def skewed(runs: int) -> Rows:
    """Days of skewness 1.4: the rules for `cluster_shape: skewed` beside those for symmetric days, on the same days."""
    rows: Rows = []
    rollout = demo().rollout
    horizon, half = rollout.information, rollout.rollback_alpha / 2
    promote = boundary(FIRST_CLUSTERED, horizon, rollout.alpha)
    back = boundary(FEWEST_HARM_CLUSTERS, horizon, half)

    def promoted(gains: worlds.Floats, sizes: worlds.Floats, is_careful: bool) -> Crossed:
        def z_at(run: int, k: int) -> float:
            estimate = ratio_estimate(gains[run, :k], sizes[run, :k])
            return estimate.careful_z() if is_careful else estimate.z

        return looks(len(gains), promote, FIRST_CLUSTERED, z_at)

    def rolled_back(gains: worlds.Floats, sizes: worlds.Floats, is_careful: bool) -> Crossed:
        def z_at(run: int, k: int) -> float:
            estimate = ratio_estimate(gains[run, :k], sizes[run, :k])
            return estimate.careful_z(direction=-1.0) if is_careful else -estimate.z

        tested = looks(len(gains), back, FEWEST_HARM_CLUSTERS, z_at)
        path = mean_bets(-gains) if is_careful else symmetric(-gains)
        return Crossed(np.minimum(tested.day, first_look(path >= math.log(1 / half)).day))

    some = max(500, runs // 2)
    for against, told_as in ((1.0, "a few very bad days"), (-1.0, "a few very good days")):
        gains, sizes = worlds.skewed_days(generator(f"skewed {told_as}"), some, horizon, 0.0, against)
        rows.append(at_most(f"{told_as}, equal models: promoted", promoted(gains, sizes, True), 0.025))
        rows += told("  by the rule for symmetric days", promoted(gains, sizes, False))
        rows.append(at_most(f"{told_as}, equal models: rolled back", rolled_back(gains, sizes, True), 0.025))
        rows += told("  by the rule for symmetric days", rolled_back(gains, sizes, False))
    for worse in (1.0, 3.0):
        for is_careful, rule in ((True, "skewed"), (False, "symmetric")):
            gains, sizes = worlds.skewed_days(generator(f"worse {worse}"), some, horizon, -worse, -1.0)
            found = rolled_back(gains, sizes, is_careful)
            normal = generator(f"normal {worse}").normal(-worse, 1.0, (some, horizon))
            plain = rolled_back(normal, np.ones_like(normal), is_careful)
            name = f"  {worse:g} of a day's deviation worse, rule for {rule} days: median day"
            rows.append(Figure(name, found.median, "day", note=f"on normal days {plain.median:g}"))
    rows += _skewed_cohorts(some // 10)
    return rows


def _skewed_cohorts(runs: int) -> Rows:
    """Ten cohorts whose days are skewed, none of them worse."""
    alpha, horizon, count = demo().rollout.cohort_alpha, demo().rollout.information, 10
    gains, _ = worlds.skewed_days(generator("skewed cohorts"), runs * count, horizon, 0.0, -1.0)
    rows: Rows = []
    for path, is_ours in ((mean_bets(-gains), True), (symmetric(-gains), False)):
        by_run = path.reshape(runs, count, horizon)
        found = np.full(runs, NEVER, dtype=np.int64)
        for run in range(runs):
            alarms = (any(e_bh(by_run[run, :, day].tolist(), alpha)) for day in range(horizon))
            found[run] = next((day for day, is_alarm in enumerate(alarms, 1) if is_alarm), NEVER)
        name = "a few very good days, ten equal cohorts: blocked"
        rows += (
            [at_most(name, Crossed(found), alpha, f"{runs} experiments")]
            if is_ours
            else told("  by the rule for symmetric days", Crossed(found))
        )
    return rows


def flights(runs: int, home: Path) -> Rows:
    """Experiments without an effect from the real year: the sign of whole days by a coin."""
    from benchmarks.flights_aa import flipped, paired_days, year_of_features
    from ratchet.settings import load_settings

    loop, settings = demo(), load_settings()
    days = paired_days(loop, year_of_features(settings, loop, home / "year.parquet"), 2)
    horizon = loop.rollout.information
    bounds = boundary(FIRST_CLUSTERED, horizon, 0.025)
    rows: Rows = []
    for block in (1, 7):
        rng = generator(f"flights {block}")
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
