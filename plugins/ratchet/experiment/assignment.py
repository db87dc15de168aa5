"""Assignment of units to arms: flagd's fractional targeting, for a whole column at once.

flagd hashes `flag key + targeting key` with MurmurHash3 (x86, 32 bit, seed 0, unsigned) and takes bucket
`(hash * total weight) >> 32`; the first variant whose cumulated weight exceeds the bucket is the arm
(flagd's specification of the `fractional` operation, as implemented by openfeature-flagd-core).
tests/contracts/test_assignment_flagd.py holds both implementations together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_WEIGHT_SUM = 2**31 - 1
WEIGHT_TOTAL = 10_000
_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)


def assign(
    unit_ids: Sequence[str], flag_key: str, variants: Sequence[tuple[str, int]]
) -> NDArray[np.object_]:
    """The variant of each unit, in order: an object array of strings, as long as `unit_ids`.

    `variants` are (name, weight) in the flag's order. With the order challenger, rest, control a growing
    share takes units from `rest` only: nobody changes from one experimental arm to the other.

    Raises:
        ValueError: an id or the key is empty, a weight is negative or no integer, the weights sum to 0 or
            beyond 2^31 - 1, or a variant is named twice.
    """
    names = [name for name, _ in variants]
    weights = [weight for _, weight in variants]
    if not flag_key:
        raise ValueError("the flag key is empty; it is the experiment's id")
    if len(set(names)) != len(names):
        raise ValueError(f"a variant is named twice in {names}")
    if any(isinstance(w, bool) or not isinstance(w, int) or w < 0 for w in weights):
        raise ValueError(f"weights are {weights}; expected non-negative integers")
    total = sum(weights)
    if not 0 < total <= MAX_WEIGHT_SUM:
        raise ValueError(f"the weights sum to {total}; expected 1 to {MAX_WEIGHT_SUM}")
    ids = list(unit_ids)
    if any(not isinstance(unit, str) or not unit for unit in ids):
        raise ValueError("a unit id is empty or no text; every unit needs a targeting key")
    hashes = murmur3_32([(flag_key + unit).encode("utf-8") for unit in ids])
    buckets = (hashes.astype(np.uint64) * np.uint64(total)) >> np.uint64(32)
    ends = np.cumsum(np.array(weights, dtype=np.uint64))
    picked = np.searchsorted(ends, buckets, side="right")
    return np.array(names, dtype=object)[picked]


def arm_weights(challenger_share: float, total: int = WEIGHT_TOTAL) -> tuple[tuple[str, int], ...]:
    """The variants of a rollout stage: challenger, rest, control, with an equal-sized control arm.

    Weights are parts of `total`, by default ten-thousandths of the traffic.

    Raises:
        ValueError: the share is not within 0 and 0.5.
    """
    if not 0 <= challenger_share <= 0.5:
        raise ValueError(
            f"challenger share is {challenger_share}; expected 0 to 0.5, the control arm is as large"
        )
    arm = round(challenger_share * total)
    return ("challenger", arm), ("rest", total - 2 * arm), ("control", arm)


def murmur3_32(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """MurmurHash3 x86 32 bit with seed 0 of each key, as unsigned integers (Appleby, public domain)."""
    answer = np.zeros(len(keys), dtype=np.uint32)
    lengths = np.array([len(key) for key in keys], dtype=np.int64)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        data = np.frombuffer(b"".join(keys[int(row)] for row in rows), dtype=np.uint8)
        answer[rows] = _murmur3_equal_length(data.reshape(len(rows), int(length)))
    return answer


def _murmur3_equal_length(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    rows, length = data.shape
    state = np.zeros(rows, dtype=np.uint32)
    blocks = length // 4
    words = np.ascontiguousarray(data[:, : blocks * 4]).view("<u4").reshape(rows, blocks)
    for column in range(blocks):
        state ^= _mixed(words[:, column])
        state = _rotated(state, 13) * np.uint32(5) + np.uint32(0xE6546B64)
    tail = np.zeros(rows, dtype=np.uint32)
    for offset in range(length % 4):
        tail |= data[:, blocks * 4 + offset].astype(np.uint32) << np.uint32(8 * offset)
    if length % 4:
        state ^= _mixed(tail)
    state ^= np.uint32(length)
    state ^= state >> np.uint32(16)
    state *= np.uint32(0x85EBCA6B)
    state ^= state >> np.uint32(13)
    state *= np.uint32(0xC2B2AE35)
    state ^= state >> np.uint32(16)
    return state


def _mixed(word: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return _rotated(word.astype(np.uint32) * _C1, 15) * _C2


def _rotated(value: NDArray[np.uint32], by: int) -> NDArray[np.uint32]:
    return (value << np.uint32(by)) | (value >> np.uint32(32 - by))
