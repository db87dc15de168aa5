"""Which fingerprints a partition has already: exact, 16 bytes a row, whatever their number."""

from __future__ import annotations

import numpy as np

_Run = tuple[np.ndarray, np.ndarray]


class Seen:
    """A set of 128-bit fingerprints as sorted runs of two numbers each; a run is merged into one its size.

    Ten million rows take 160 MB, and as much again for a moment while the largest runs merge. A Python set of
    the same hex texts would take more than a gigabyte.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._sum = np.uint64(0)

    def __len__(self) -> int:
        return sum(len(high) for high, _ in self._runs)

    def admit(self, high: np.ndarray, low: np.ndarray) -> np.ndarray:
        """Which rows are new: not in the set, nor earlier among these. The set then has them all."""
        order = np.lexsort((low, high))  # stable: of equal ones the first comes first
        ordered = high[order], low[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (ordered[0][1:] != ordered[0][:-1]) | (ordered[1][1:] != ordered[1][:-1])
        for run in self._runs:
            first &= ~_contains(run, *ordered)
        if first.any():
            self._add((ordered[0][first], ordered[1][first]))
        new = np.zeros(len(order), dtype=bool)
        new[order[first]] = True
        return new

    @property
    def digest(self) -> str:
        """A digest of the set that no order changes: the sum of the high halves modulo 2^64, 16 hex digits."""
        return f"{int(self._sum):016x}"

    def _add(self, run: _Run) -> None:
        with np.errstate(over="ignore"):
            self._sum += np.add.reduce(run[0], dtype=np.uint64)
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            run = _merged(self._runs.pop(), run)
        self._runs.append(run)


def _contains(run: _Run, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    left = np.searchsorted(run[0], high, side="left")
    at = np.minimum(left, len(run[0]) - 1)
    near = run[0][at] == high
    found = near & (run[1][at] == low)
    # Two rows may share the first 64 bits: then, and only then, look at the neighbours.
    for i in np.flatnonzero(near & ~found):
        right = np.searchsorted(run[0], high[i], side="right")
        found[i] = bool((run[1][left[i] : right] == low[i]).any())
    return np.asarray(found)


def _merged(one: _Run, two: _Run) -> _Run:
    small, big = sorted((one, two), key=lambda run: len(run[0]))
    at = np.searchsorted(big[0], small[0])
    return np.insert(big[0], at, small[0]), np.insert(big[1], at, small[1])
