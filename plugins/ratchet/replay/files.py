"""Rows of one received day as a landing file: the same rows give the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from ratchet.settings import Settings

Row = tuple[Any, ...]


def partition_path(settings: Settings, loop: str, source: str, day: date, name: str) -> Path:
    """Where the file `name` of `source`, received on `day` (UTC), belongs in the landing folder."""
    return settings.landing_dir / loop / source / f"received_date={day.isoformat()}" / name


def plain_rows(frame: pd.DataFrame) -> list[Row]:
    """The rows as plain Python values: times as ISO strings ending in Z, dates as ISO, missing as None."""
    columns = []
    for name in frame.columns:
        values = frame[name]
        if values.dtype.kind == "M":
            stamps = values.to_numpy(dtype="datetime64[s]")
            if name.endswith("_date"):
                texts = np.datetime_as_string(stamps, unit="D").tolist()
            else:
                texts = [f"{text}Z" for text in np.datetime_as_string(stamps, unit="s").tolist()]
            missing = np.isnat(stamps)
        else:
            texts = values.tolist()
            missing = values.isna().to_numpy()
        if missing.any():
            texts = [None if gone else text for text, gone in zip(texts, missing, strict=True)]
        columns.append(texts)
    return list(zip(*columns, strict=True))


def json_line(columns: Sequence[str], row: Row) -> str:
    """One JSON object on one line; a NaN is written as the bare word NaN, as careless producers do."""
    return json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, separators=(",", ":"))


def csv_line(_columns: Sequence[str], row: Row) -> str:
    """One CSV line without its end; a missing value is an empty field."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(row)
    return buffer.getvalue()


def text_file(columns: Sequence[str], lines: Sequence[str], form: str) -> bytes:
    """The lines as a file of `form` (csv with a header, or jsonl)."""
    head = [",".join(columns)] if form == "csv" else []
    return ("\n".join([*head, *lines]) + "\n").encode()


def parquet_file(frame: pd.DataFrame) -> bytes:
    """The frame as a Parquet file with naive microsecond timestamps."""
    buffer = io.BytesIO()
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    parquet.write_table(table, buffer, compression="zstd", coerce_timestamps="us")
    return buffer.getvalue()
