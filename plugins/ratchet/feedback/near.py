"""Texts that say nearly the same: MinHash over runs of three words finds pairs, the runs themselves make sure. Pure.

Broder 1997, On the resemblance and containment of documents; bands as in Leskovec, Rajaraman and Ullman, Mining of
Massive Datasets, 3.4. The hashes' constants are drawn once from a fixed seed: the same texts give the same groups.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from ratchet.feedback.language import without_placeholders
from ratchet.feedback.taxonomy import plain

BANDS, ROWS = 12, 3
#: Share of runs that two texts must have in common to be one.
ALIKE = 0.6
_DIGITS = str.maketrans("0123456789", "          ")
_DRAWN = np.random.default_rng(20130101).integers(1, 2**63, size=(2, BANDS * ROWS), dtype=np.uint64)
_FACTORS, _OFFSETS = _DRAWN[0] | np.uint64(1), _DRAWN[1]


def words_of(text: str) -> list[str]:
    """The words that count when texts are compared: without case, accents, digits and what was redacted."""
    return plain(without_placeholders(text)).translate(_DIGITS).split()


def _runs(text: str) -> frozenset[int]:
    words = words_of(text)
    return frozenset(zlib.crc32(" ".join(words[i : i + 3]).encode()) for i in range(max(1, len(words) - 2)))


def groups(texts: Mapping[str, str]) -> dict[str, str]:
    """By key of a text, the smallest key among the texts that are alike, directly or through others."""
    keys = sorted(texts)
    runs = {key: _runs(texts[key]) for key in keys}
    leader = {key: key for key in keys}

    def find(key: str) -> str:
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    seen: dict[tuple[int, bytes], list[str]] = {}
    for key in keys:
        values = np.fromiter(runs[key], dtype=np.uint64)
        # Multiply and shift (Dietzfelbinger et al. 1997): the high half of a product that may run over.
        hashed = (values[:, np.newaxis] * _FACTORS + _OFFSETS) >> np.uint64(32)
        bands = hashed.min(axis=0).reshape(BANDS, ROWS)
        for band in range(BANDS):
            same = seen.setdefault((band, bands[band].tobytes()), [])
            for other in same:
                first, second = sorted((find(key), find(other)))
                if first == second:
                    break
                if len(runs[key] & runs[other]) >= ALIKE * len(runs[key] | runs[other]):
                    leader[second] = first
                    break
            # One of each group speaks for it: a campaign of thousands is not compared with itself.
            if not same or all(find(other) != find(key) for other in same):
                same.append(key)
    return {key: find(key) for key in keys}
