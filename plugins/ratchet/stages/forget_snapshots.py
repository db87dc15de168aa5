"""Training snapshots that hold rows linked to somebody who asked to be forgotten: listed, and written anew or deleted.

A snapshot's file is never changed: a new one without the rows takes its place under its own hash, and a tombstone
beside it says, in hashes, which rows are gone. The manifest stays: it holds counts and hashes only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.published import write_atomically
from ratchet.settings import Settings
from ratchet.stages.snapshot_rows import beside, write_rows
from ratchet.stages.snapshots import keep_rewritten, snapshots, trained_on
from ratchet.warehouse.protocol import Warehouse


@dataclass(frozen=True)
class Tombstone:
    """What became of one snapshot: hashes of the keys of the rows that are gone, and what took its place."""

    snapshot_id: str
    sha256: str
    rows: tuple[str, ...]
    policy: str
    replaced_by: str | None


def row_key(loop: str, unit: str) -> str:
    """The hash under which a tombstone names a row."""
    return hashlib.sha256(f"{loop}\x1f{unit}".encode()).hexdigest()


def write_tombstones(wh: Warehouse, loop: Loop, person: str) -> int:
    """The person's units leave the trainings to come, if the loop file says so; how many do."""
    if loop.policy.privacy.forget.training_rows == "keep":
        return 0
    wh.execute(
        "insert into ops.training_tombstones select distinct loop, name from ops.forgetting "
        "where loop = ? and person = ? and kind = 'unit_id' on conflict do nothing",
        (loop.loop, person),
    )
    return int(
        wh.scalar(
            "select count(*) from ops.forgetting where loop = ? and person = ? and kind = 'unit_id'",
            (loop.loop, person),
        )
    )


def bury(settings: Settings, loop: Loop, units: list[str]) -> list[dict[str, Any]]:
    """Write anew or delete each snapshot that holds one of `units`; its tombstones, also those of an earlier try."""
    policy = loop.policy.privacy.forget
    if policy.training_rows == "keep" or not units:
        return []
    folder = settings.snapshots_dir / loop.loop
    wanted, found = pa.array(sorted(units), pa.large_string()), []
    for manifest in snapshots(settings, loop):
        grave = folder / f"{manifest['id']}.tombstone"
        path = folder / f"{manifest['sha256']}.parquet"
        known = _read(grave)
        if known is not None and not path.exists():
            if {row_key(loop.loop, unit) for unit in units} & set(known["rows"]):
                found.append(known)
            continue
        if not path.exists():
            continue
        ids = pq.read_table(path, columns=["unit_id"])["unit_id"].cast(pa.large_string())
        inside = pc.is_in(ids.combine_chunks(), value_set=wanted)
        gone = np.asarray(inside.to_numpy(zero_copy_only=False), dtype=bool)
        if not gone.any():
            continue
        rows = tuple(sorted(row_key(loop.loop, unit) for unit in ids.filter(pa.array(gone)).to_pylist()))
        replaced = None
        if policy.snapshots == "rewrite":
            kept = pq.read_table(path).filter(pa.array(~gone))
            with beside(folder, "forgetting") as fresh:
                replaced = keep_rewritten(settings, loop, manifest, write_rows(kept, fresh), kept, fresh)
        buried = asdict(Tombstone(manifest["id"], manifest["sha256"], rows, policy.snapshots, replaced))
        # The tombstone first: a file that is gone without one would be a loss that nobody explains.
        write_atomically(grave, json.dumps(buried, sort_keys=True, indent=1).encode())
        found.append(buried)
    for buried in found:
        # Several manifests may share one file of rows.
        (folder / f"{buried['sha256']}.parquet").unlink(missing_ok=True)
    return [
        {**{k: v for k, v in buried.items() if k != "rows"}, "rows": len(buried["rows"])} for buried in found
    ]


def _read(path: Any) -> dict[str, Any] | None:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def trained_versions(
    settings: Settings, loop: Loop, entries: list[Entry], graves: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The models that learned from buried snapshots, or from their forerunners: version, snapshot, rows."""
    manifests = {manifest["id"]: manifest for manifest in snapshots(settings, loop)}
    found: dict[tuple[int, str], int] = {}
    for grave in graves:
        manifest = manifests.get(grave["snapshot_id"])
        while manifest is not None:
            for training in trained_on(entries, manifest):
                if training["version"] is not None:
                    key = (int(training["version"]), str(manifest["id"]))
                    found[key] = max(found.get(key, 0), int(grave["rows"]))
            manifest = manifests.get(manifest.get("rewritten_from", ""))
    return [{"version": v, "snapshot": s, "rows": n} for (v, s), n in sorted(found.items())]
