"""A snapshot's file: its bytes follow from the rows, whoever gave them and in whatever pieces."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ratchet.stages.snapshot_rows import UnknownKind, beside, bytes_of, canonical, frame_of, write_rows

ROWS = 50_000


def rows() -> pa.Table:
    rng = np.random.default_rng(1)
    values = rng.normal(size=ROWS)
    return pa.table(
        {
            "unit_id": pa.array([f"u{k:06d}" for k in range(ROWS)]),
            "measured": pa.array(values, mask=values > 2),
            "repeated": pa.array(np.round(values, 1)),
            "whole": pa.array(rng.integers(0, 9, ROWS), type=pa.int32()),
            "origin": pa.array(rng.choice(["EWR", "JFK"], ROWS), mask=rng.random(ROWS) < 0.01),
            "predict_at": pa.array(np.arange(ROWS), type=pa.timestamp("us")),
        }
    )


def cut(table: pa.Table, *lengths: int) -> pa.Table:
    pieces, start = [], 0
    for length in lengths:
        pieces.append(table.slice(start, length))
        start += length
    return pa.concat_tables([*pieces, table.slice(start)])


def test_the_bytes_do_not_hang_on_how_the_rows_were_cut(tmp_path: Path) -> None:
    whole = rows()
    large = whole.set_column(0, "unit_id", whole["unit_id"].cast(pa.large_string()))
    tables = (whole, cut(whole, 2048, 10_240, 20_480), cut(whole, 1, 1023, 7, 30_000), cut(large, 333))
    found = {write_rows(canonical(table), tmp_path / "rows") for table in tables}
    assert len(found) == 1
    other = whole.set_column(3, "whole", pa.array(np.arange(ROWS), type=pa.int32()))
    assert write_rows(canonical(other), tmp_path / "other") not in found


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path, table = tmp_path / "rows", canonical(rows())
    written = write_rows(table, path)
    content, sha256 = bytes_of(path)
    assert (sha256, content.size) == (written, path.stat().st_size)
    pd.testing.assert_frame_equal(frame_of(content), table.to_pandas())


def test_a_column_that_repeats_little_is_kept_plainly_and_the_rest_small(tmp_path: Path) -> None:
    write_rows(canonical(rows().select(["measured"])), tmp_path / "measured")
    write_rows(canonical(rows().select(["repeated"])), tmp_path / "repeated")
    measured, repeated = ((tmp_path / name).stat().st_size for name in ("measured", "repeated"))
    assert measured < 1.2 * 8 * ROWS
    assert repeated < 0.25 * 8 * ROWS


def test_engines_names_for_one_thing_become_one_type() -> None:
    table = canonical(
        pa.table(
            {
                "day": pa.array([date(2013, 1, 2), None]),
                "at": pa.array([datetime(2013, 1, 2, 3), None], type=pa.timestamp("ns")),
                "exact": pa.array([Decimal("1.50"), None]),
                "words": pa.array(["a", None]),
                "nothing": pa.nulls(2),
            }
        )
    )
    frame = table.to_pandas()
    assert list(map(str, frame.dtypes)) == ["datetime64[us]", "datetime64[us]", "float64", "str", "str"]
    assert frame["day"][0] == pd.Timestamp("2013-01-02")
    assert frame["exact"][0] == 1.5
    assert canonical(table.slice(0, 0)).num_rows == 0
    with pytest.raises(UnknownKind, match="column listed is list"):
        canonical(pa.table({"listed": [[1]]}))


def test_a_file_that_is_not_whole_does_not_stay(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), beside(tmp_path / "new", "rows") as path:
        path.write_text("half")
        raise RuntimeError
    assert list((tmp_path / "new").iterdir()) == []
