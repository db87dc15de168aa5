"""Cohorts of clustered sums: small ones are pooled, a pool that stays small is not judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cohort:
    """One cohort of a dimension as arrays by cluster; `pooled` names the values it was put together from."""

    dimension: str
    value: str
    counts: Array
    gains: Array
    is_judged: bool
    pooled: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`dimension=value`."""
        return f"{self.dimension}={self.value}"

    @property
    def names(self) -> tuple[str, ...]:
        """`dimension=value` of each value that it is put together from."""
        return tuple(f"{self.dimension}={value}" for value in self.pooled or (self.value,))


def pooled_cohorts(
    keys: Sequence[tuple[str, ...]],
    counts: Array,
    gains: Array,
    dimensions: Sequence[str],
    *,
    min_units: int,
    min_clusters: int,
    pool_as: str,
    may_borrow: bool = True,
) -> tuple[Cohort, ...]:
    """The cohorts of each dimension from arrays of `keys` (dimension, value) by clusters, small ones pooled.

    A value with fewer than `min_units` units or `min_clusters` clusters is judged in the pool only. A pool that is
    too small takes in the smallest of the others, which is judged on its own as well, if it `may_borrow`; one that is
    still too small is returned with `is_judged` false. A dimension without a unit has no cohort.
    """
    found: list[Cohort] = []
    for dimension in dimensions:
        rows = [i for i, key in enumerate(keys) if key[0] == dimension and counts[i].any()]
        sizes = {i: (float(counts[i].sum()), int((counts[i] > 0).sum())) for i in rows}
        large = [i for i in rows if sizes[i][0] >= min_units and sizes[i][1] >= min_clusters]
        small = [i for i in rows if i not in large]
        for i in large:
            found.append(Cohort(dimension, keys[i][1], counts[i], gains[i], True))
        if not small:
            continue
        is_judged = _is_enough(counts[small].sum(axis=0), min_units, min_clusters)
        if not is_judged and large and may_borrow:
            small = [*small, min(large, key=lambda i: (sizes[i], keys[i]))]
            is_judged = _is_enough(counts[small].sum(axis=0), min_units, min_clusters)
        names = tuple(sorted(keys[i][1] for i in small))
        found.append(
            Cohort(dimension, pool_as, counts[small].sum(axis=0), gains[small].sum(axis=0), is_judged, names)
        )
    return tuple(found)


def _is_enough(counts: Array, min_units: int, min_clusters: int) -> bool:
    return float(counts.sum()) >= min_units and int((counts > 0).sum()) >= min_clusters
