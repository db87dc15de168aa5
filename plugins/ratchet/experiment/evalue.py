"""E-processes: evidence of harm that may be read at every look, and its correction over cohorts.

An e-process starts at 1 and under the null hypothesis is expected to be at most 1 at any stopping time, so that it
ever reaches 1 / alpha with probability alpha at most (Ville 1939; Ramdas, Gruenwald, Vovk and Shafer 2023,
Statistical Science 38:576-601). Each function returns the whole path on the log scale, time on the last axis: the
path of the blocks before does not change when a block is added. Positive is evidence of harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

Array = NDArray[np.float64]

#: What a cluster's harm may be in its own standard deviations: a mild one, a plain one, a gross one.
STANDARD_EFFECTS = (0.5, 1.0, 2.0)
#: What a rate's harm may be in multiples of the least effect worth finding, and the share of the stake on each.
RATE_EFFECTS = ((1.0, 0.25), (2.0, 0.25), (5.0, 0.5))
#: Shares of a stake for each standard deviation of harm: a cluster that is better by 1 / share of them loses all of it.
BETS = (0.1, 0.25, 0.4)
FEWEST_BEFORE_A_BET = 3  # clusters that tell the deviation
EARLY = 2.0  # of k clusters the deviation is taken as (1 + 2 / k) times what was seen
MOST_HALVINGS = 60  # of (0, 1): to the last bit
LOST = 1e-9  # stands for a stake that is lost, so that its logarithm is a number
EDGE = 1e-6  # alternatives stay this far from the rates 0 and 1


def two_by_two(
    treated_n: ArrayLike,
    treated_k: ArrayLike,
    control_n: ArrayLike,
    control_k: ArrayLike,
    *,
    effect: float,
    margin: float = 0.0,
    prior: tuple[float, float] = (1.0, 1.0),
    effects: Sequence[tuple[float, float]] = RATE_EFFECTS,
) -> Array:
    """Log e-value after each block that the treated rate of successes is below the control's by more than `margin`.

    Units are independent; a block (a day) has n units and k successes in each arm, arrays broadcast, time last.
    The null hypothesis is `treated rate >= control rate - margin`, whatever the rates and however they move from
    block to block. For one alternative (p1, p0) the e-value of a block is the likelihood ratio to (q1, q0), the
    point of the null nearest to it in Kullback-Leibler divergence weighted by n1 and n0. For any point r of the
    convex null, the mean over units of E_r[p(Y) / q(Y)] is at most 1 by the first-order condition of that minimum,
    and so is the product, as geometric means do not exceed arithmetic ones: the test is exact at every sample size
    (Turner, Ly and Gruenwald 2021, arXiv:2106.02693, theorem 1; with a margin Turner and Gruenwald 2022,
    arXiv:2203.09785). With margin 0 both q are the arms' mean rate.

    Alternatives: the pooled rate of the blocks before, starting at `prior` (successes, failures), with the arms
    apart by `margin` + multiple * `effect` for each (multiple, share of the stake) of `effects`.

    Raises:
        ValueError: a count is negative or not finite, k exceeds n, effect or shares are not positive, or margin is
            negative.
    """
    n1, k1, n0, k0 = _counts(treated_n, treated_k, control_n, control_k)
    if not effect > 0 or not margin >= 0:
        raise ValueError(f"effect is {effect}, margin {margin}; expected effect > 0 and margin >= 0")
    shares = np.array([share for _, share in effects])
    if not len(shares) or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-9 or min(prior) <= 0:
        raise ValueError(f"the shares {shares.tolist()} or the prior {prior} are not positive or not whole")
    rate = _rate_before(n1 + n0, k1 + k0, prior)
    size = n1 + n0
    weight = np.divide(n1, size, out=np.full_like(size, 0.5), where=size > 0)
    paths = []
    for multiple, _ in effects:
        apart = min(margin + multiple * effect, 1 - 2 * EDGE)
        low = np.clip(rate - (1 - weight) * apart, EDGE, 1 - EDGE - apart)
        high = low + apart
        null1, null0 = _nearest_null(n1, low, n0, high, margin)
        gain = xlogy(k1, low / null1) + xlogy(n1 - k1, (1 - low) / (1 - null1))
        gain += xlogy(k0, high / null0) + xlogy(n0 - k0, (1 - high) / (1 - null0))
        paths.append(np.where((n1 > 0) & (n0 > 0), gain, 0.0).cumsum(axis=-1))
    return _mixed(np.stack(paths), shares)


def symmetric(harms: ArrayLike, *, effects: Sequence[float] = STANDARD_EFFECTS) -> Array:
    """Log e-value after each cluster that harm is above its limit, for clusters of unknown, unequal variance.

    `harms` has one number per cluster, time last: how far the cluster's sum is beyond the limit, positive = harm; 0
    is no evidence. The null hypothesis: given the clusters before, a cluster's number is symmetric about 0 (or
    about something smaller, with one peak). Given its size |x|, its sign is then a fair coin at best, and

        2 / (1 + exp(-2 lambda x)) = exp(lambda x) / cosh(lambda x)

    has mean at most 1 for any lambda chosen from the clusters before *and* from |x|. It exceeds the factor
    exp(lambda x - lambda^2 x^2 / 2) of de la Pena (1999, Annals of Probability 27:537-564) and is the likelihood
    ratio of the signs under normal clusters (symmetric e-processes: Ramdas, Ruf, Larsson and Koolen 2020,
    arXiv:2009.03167, section 5.2). Here lambda = effect / root mean square of the numbers so far, equal stakes on
    each of `effects`: no scale is declared, and the answer does not change with the unit of measurement. Signs
    alone double the stake at best, so that 1 / alpha needs at least log2(1 / alpha) clusters.

    Raises:
        ValueError: a number is not finite, or an effect is not positive.
    """
    x = np.asarray(harms, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("a cluster's harm is not finite; leave the cluster out or hold")
    if not effects or min(effects) <= 0:
        raise ValueError(f"effects are {tuple(effects)}; expected positive numbers")
    if x.shape[-1] == 0:
        return np.zeros(x.shape)
    seen = (x != 0).cumsum(axis=-1)
    scale = np.sqrt((x * x).cumsum(axis=-1) / np.maximum(seen, 1))
    units = np.divide(x, scale, out=np.zeros_like(x), where=scale > 0)
    steps = np.array(effects).reshape(-1, *[1] * x.ndim) * units
    paths = (math.log(2) - np.logaddexp(0.0, -2 * steps)).cumsum(axis=-1)
    return _mixed(paths, np.full(len(effects), 1 / len(effects)))


def mean_bets(harms: ArrayLike, *, shares: Sequence[float] = BETS) -> Array:
    """Log e-value after each cluster that the clusters' mean harm is above 0, whatever their shape.

    `harms` as in `symmetric`. A share of the stake is put on each cluster (Waudby-Smith and Ramdas 2024, JRSS B
    86:1-27): the stake grows by 1 + share * x / scale, whose mean is at most 1 while the mean of x is at most 0 given
    the clusters before, for any scale known before the cluster. It is the deviation of the clusters before, taken
    larger while they are few; shares are small enough that a stake is lost before it would turn negative only by
    clusters that are better by 2.5 deviations or more. Many mildly bad days that a few very good ones make up for are
    no evidence here; `symmetric` would take them for harm. It is slower for that.

    Raises:
        ValueError: a number is not finite, or a share is not in (0, 1).
    """
    x = np.asarray(harms, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError("a cluster's harm is not finite; leave the cluster out or hold")
    if not shares or not all(0 < share < 1 for share in shares):
        raise ValueError(f"shares are {tuple(shares)}; expected numbers in (0, 1)")
    before = np.arange(x.shape[-1], dtype=np.float64)
    total, squares = x.cumsum(axis=-1) - x, (x * x).cumsum(axis=-1) - x * x
    spread = np.maximum(squares - total * total / np.maximum(before, 1), 0.0) / np.maximum(before - 1, 1)
    # What cancellation leaves of equal numbers is no deviation.
    known = (before >= FEWEST_BEFORE_A_BET) & (spread > 1e-12 * squares / np.maximum(before, 1))
    scale = np.sqrt(spread) * (1 + EARLY / np.maximum(before, 1))
    units = np.divide(x, scale, out=np.zeros_like(x), where=known & (scale > 0))
    steps = np.array(shares).reshape(-1, *[1] * x.ndim) * units
    paths = np.log(np.maximum(1 + steps, LOST)).cumsum(axis=-1)
    return _mixed(paths, np.full(len(shares), 1 / len(shares)))


def either(first: Array, second: Array) -> Array:
    """Log of the mean of two e-processes, itself one: evidence in either direction at one error."""
    return np.asarray(np.logaddexp(first, second) - math.log(2))


def e_bh(log_e_values: Sequence[float], alpha: float) -> tuple[bool, ...]:
    """Which hypotheses e-BH rejects; nan never is.

    With the values in falling order, the largest k with e_k >= m / (k * alpha) rejects the k largest. False
    discoveries are at most `alpha` of all in the mean, whatever the dependence; with no true harm anywhere that is
    the probability of any alarm (Wang and Ramdas 2022, JRSS B 84:822-852).

    Raises:
        ValueError: alpha is no probability.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; expected a probability in (0, 1)")
    count = len(log_e_values)
    order = sorted(range(count), key=lambda i: (math.isnan(log_e_values[i]), -log_e_values[i]))
    rejected = [False] * count
    for rank in range(count, 0, -1):
        if log_e_values[order[rank - 1]] >= math.log(count / (rank * alpha)):
            for index in order[:rank]:
                rejected[index] = True
            break
    return tuple(rejected)


def _counts(*given: ArrayLike) -> tuple[Array, Array, Array, Array]:
    n1, k1, n0, k0 = np.broadcast_arrays(*(np.asarray(part, dtype=np.float64) for part in given))
    for n, k in ((n1, k1), (n0, k0)):
        if not np.isfinite(n).all() or not np.isfinite(k).all() or (k < 0).any() or (k > n).any():
            raise ValueError("a block has counts that are negative, not finite, or more successes than units")
    return n1, k1, n0, k0


def _rate_before(units: Array, successes: Array, prior: tuple[float, float]) -> Array:
    """The pooled rate of the blocks before each block."""
    return np.asarray(
        (prior[0] + successes.cumsum(axis=-1) - successes) / (sum(prior) + units.cumsum(axis=-1) - units)
    )


def _nearest_null(n1: Array, p1: Array, n0: Array, p0: Array, margin: float) -> tuple[Array, Array]:
    """The rates (q, q + margin) that minimise n1 KL(p1 || q) + n0 KL(p0 || q + margin), by halving."""
    if margin == 0:
        size = n1 + n0
        mean = np.divide(n1 * p1 + n0 * p0, size, out=0.5 * (p1 + p0), where=size > 0)
        return mean, mean
    low, high = (
        p1.copy(),
        np.maximum(p0 - margin, p1),
    )  # the slope is negative at the one, positive at the other
    for _ in range(MOST_HALVINGS):
        middle = 0.5 * (low + high)
        shifted = middle + margin
        slope = n1 * (middle - p1) / (middle * (1 - middle)) + n0 * (shifted - p0) / (shifted * (1 - shifted))
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    return high, high + margin


def _mixed(paths: Array, shares: Array) -> Array:
    """The log of the mixture over the first axis."""
    weighted = paths + np.log(shares).reshape(-1, *[1] * (paths.ndim - 1))
    top = weighted.max(axis=0)
    return np.asarray(top + np.log(np.exp(weighted - top).sum(axis=0)))
