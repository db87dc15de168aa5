"""Training snapshots: immutable, content-addressed Parquet with a manifest."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.loop import Loop
from ratchet.published import write_atomically
from ratchet.settings import Settings


class SnapshotChanged(RuntimeError):
    """A snapshot is missing or is not what its manifest says; nothing was read."""


def write_snapshot(
    settings: Settings, loop: Loop, rows: pd.DataFrame, *, as_of: datetime, window: tuple[date, date]
) -> dict[str, Any]:
    """Write `rows` under the hash of their bytes, and the manifest; the same rows give the same file."""
    content = io.BytesIO()
    rows.to_parquet(content, index=False, compression="zstd")
    data = content.getvalue()
    sha256 = hashlib.sha256(data).hexdigest()
    folder = settings.snapshots_dir / loop.loop
    path = folder / f"{sha256}.parquet"
    if not path.exists():
        write_atomically(path, data)
    manifest = {
        "loop": loop.loop,
        "sha256": sha256,
        "file": str(path.relative_to(settings.home)),
        "as_of": as_of.isoformat(),
        "window": [day.isoformat() for day in window],
        "rows": len(rows),
        "columns": list(rows.columns),
        "positives": int(rows["label"].sum()) if len(rows) else 0,
        "dbt_manifest_sha256": _sha256(settings.dbt_target_dir / "manifest.json"),
        "loop_file_sha256": _sha256(settings.loops_dir / f"{loop.loop}.yml"),
        "environment_sha256": _sha256(settings.root / "requirements.lock"),
    }
    write_atomically(folder / f"{sha256}.json", json.dumps(manifest, sort_keys=True, indent=1).encode())
    return manifest


def read_snapshot(settings: Settings, loop: Loop, manifest: dict[str, Any]) -> pd.DataFrame:
    """The rows of a snapshot, after its hash was checked.

    Raises:
        SnapshotChanged: the file is missing or its hash differs from the manifest's.
    """
    path = settings.snapshots_dir / loop.loop / f"{manifest['sha256']}.parquet"
    if not path.exists():
        raise SnapshotChanged(f"snapshot {path} is missing; run take_snapshot again")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise SnapshotChanged(
            f"snapshot {path} was changed after it was taken; remove it and run take_snapshot again"
        )
    return pd.read_parquet(io.BytesIO(data))


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
