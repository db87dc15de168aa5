"""A row's fingerprint: equal for equal content, whatever format it came in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.landing.contract import SourceContract

_BETWEEN = "\x1f"
HEX_DIGITS = 32


@dataclass(frozen=True)
class Fingerprints:
    """The first 128 bits of each row's SHA-256: as hex text, and as two numbers (`high`, `low`)."""

    texts: pa.Array
    high: np.ndarray
    low: np.ndarray


def row_hashes(typed: Mapping[str, pa.Array], contract: SourceContract) -> Fingerprints:
    """The fingerprints of the rows' canonical content.

    Canonical: `name=value` of every column that has a value, in the order of names, joined by U+001F. Whole
    numbers in decimal, doubles as the decimal of their 64 bits (minus zero is zero), times as microseconds,
    days as days since 1970, text with backslash and U+001F escaped. A column without a value leaves no trace,
    so that a contract may gain an optional column and the rows that lack it stay the same rows. Fields that
    the contract does not name take no part, nor does who a row is about: the hash of a person's id hangs on a key.
    """
    names = sorted(set(contract.names) - set(contract.people))
    pieces = [_canonical(typed[name]) for name in names]
    named = [
        pc.binary_join_element_wise(pa.scalar(f"{name}="), piece, "", null_handling="emit_null")
        for name, piece in zip(names, pieces, strict=True)
    ]
    rows = pc.binary_join_element_wise(*named, _BETWEEN, null_handling="skip").cast(pa.binary())
    sha256 = hashlib.sha256
    return fingerprints(b"".join([sha256(row).digest()[:16] for row in rows.to_pylist()]))


def fingerprints(digests: bytes) -> Fingerprints:
    """From 16 bytes a row."""
    count = len(digests) // 16
    numbers = np.frombuffer(digests, dtype=">u8").reshape(count, 2)
    offsets = np.arange(0, HEX_DIGITS * (count + 1), HEX_DIGITS, dtype=np.int32)
    texts = pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(digests.hex().encode()))
    return Fingerprints(texts, numbers[:, 0].astype(np.uint64), numbers[:, 1].astype(np.uint64))


def _canonical(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        return _escaped(array)
    if pa.types.is_floating(array.type):
        # Adding zero turns minus zero into zero.
        array = pc.add(array, 0.0).view(pa.int64())
    elif pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    elif pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    elif pa.types.is_date32(array.type):
        array = array.view(pa.int32())
    return array.cast(pa.string())


def _escaped(array: pa.Array) -> pa.Array:
    # A separator inside a text must not move content from one column to the next.
    if pc.any(pc.match_substring(array, "\\")).as_py():
        array = pc.replace_substring(array, "\\", "\\\\")
    if pc.any(pc.match_substring(array, _BETWEEN)).as_py():
        array = pc.replace_substring(array, _BETWEEN, "\\u")
    return array
