"""Training snapshots: immutable, content-addressed Parquet with a manifest of where its rows came from.

<snapshots>/<loop>/<sha256>.parquet holds rows, <id>.json a manifest, partitions/<sha256>.json the list of what
had landed. Each file's name is the hash of its bytes; none is ever written twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.ledger.chain import Entry, plain
from ratchet.loop import Loop
from ratchet.published import write_atomically
from ratchet.settings import Settings
from ratchet.stages.provenance import code_version, dbt_build, file_sha256, landed_partitions
from ratchet.stages.snapshot_rows import beside, bytes_of, canonical, frame_of, write_rows
from ratchet.warehouse.protocol import Warehouse, checked_column

_READ_ONLY = 0o444


class SnapshotChanged(RuntimeError):
    """A snapshot is missing or is not what its manifest says; nothing was read."""


class NoSnapshot(LookupError):
    """No snapshot, or more than one, goes by this id; the message says how to find one."""


def training_query(loop: Loop, window: tuple[date, date], as_of: datetime) -> tuple[str, list[Any]]:
    """The statement that reads a snapshot's rows, and its parameters."""
    names = (
        "unit_id", "departure_date", "predict_at", *loop.features.columns, "label", "label_received_at", "label_source",
    )  # fmt: skip
    columns = ", ".join(checked_column(name) for name in names)
    return (
        f"select {columns} from features.trn_{loop.loop} where loop = ? and departure_date between ? and ? "  # noqa: S608
        "and label_received_at < ? and unit_id not in "
        "(select gone.unit_id from ops.training_tombstones as gone where gone.loop = ?) "
        "order by departure_date, unit_id",
        [loop.loop, *window, as_of, loop.loop],
    )


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that was taken: its manifest, its rows, and the partitions that they were read from."""

    manifest: dict[str, Any]
    rows: pa.Table
    partitions: list[dict[str, Any]]


def snapshot_of(
    settings: Settings, loop: Loop, warehouse: Warehouse, *, as_of: datetime, window: tuple[date, date]
) -> Snapshot:
    """What a snapshot taken now would be; nothing stays on disk."""
    with beside(_folder(settings, loop), "asked") as path:
        return _taken(settings, loop, warehouse, as_of, window, path)


def write_snapshot(
    settings: Settings, loop: Loop, warehouse: Warehouse, *, as_of: datetime, window: tuple[date, date]
) -> dict[str, Any]:
    """Take the snapshot of `window` as known at `as_of`; its manifest. The same again changes nothing.

    Raises:
        SnapshotChanged: a file of this name is there with other content.
        UnknownKind: a column is of a type that a snapshot can't hold.
    """
    folder = _folder(settings, loop)
    with beside(folder, "rows") as path:
        taken = _taken(settings, loop, warehouse, as_of, window, path)
        manifest = taken.manifest
        _keep(path, folder / f"{manifest['sha256']}.parquet")
    keep_partitions(settings, loop, taken.partitions)
    # Last: a manifest without its rows would be a snapshot that nobody can read.
    _write_once(folder / f"{manifest['id']}.json", _json({k: v for k, v in manifest.items() if k != "id"}))
    return manifest


def _taken(
    settings: Settings,
    loop: Loop,
    warehouse: Warehouse,
    as_of: datetime,
    window: tuple[date, date],
    path: Path,
) -> Snapshot:
    """The snapshot, its rows written to `path`."""
    sql, parameters = training_query(loop, window, as_of)
    rows = canonical(warehouse.table(sql, parameters))
    partitions = landed_partitions(warehouse, loop)
    gone = tombstones(warehouse, loop)
    manifest = {
        "loop": loop.loop,
        "sha256": write_rows(rows, path),
        "as_of": as_of.isoformat(),
        "window": [day.isoformat() for day in window],
        "rows": rows.num_rows,
        "columns": rows.column_names,
        "positives": int(pc.sum(rows["label"]).as_py() or 0),
        "query": {"sql": sql, "parameters": plain(parameters)},
        "dbt": dbt_build(settings, loop),
        "code": code_version(settings.root),
        "loop_file_sha256": file_sha256(settings.loops_dir / f"{loop.loop}.yml"),
        "environment_sha256": file_sha256(settings.root / "requirements.lock"),
        "partitions": {
            "sha256": hashlib.sha256(_json(partitions)).hexdigest(),
            "count": len(partitions),
            "rows": sum(partition["n_rows"] for partition in partitions),
        },
        **({"tombstones": gone} if gone["count"] else {}),
    }
    return Snapshot({**manifest, "id": hashlib.sha256(_json(manifest)).hexdigest()}, rows, partitions)


def keep_rewritten(
    settings: Settings, loop: Loop, manifest: dict[str, Any], sha256: str, rows: pa.Table, path: Path
) -> str:
    """Keep the rows at `path` (hash `sha256`) in place of those of `manifest`, some of which had to go; the new id."""
    folder = _folder(settings, loop)
    changed = {k: v for k, v in manifest.items() if k != "id"} | {
        "sha256": sha256,
        "rows": rows.num_rows,
        "positives": int(pc.sum(rows["label"]).as_py() or 0),
        "rewritten_from": manifest["id"],
    }
    _keep(path, folder / f"{sha256}.parquet")
    snapshot_id = hashlib.sha256(_json(changed)).hexdigest()
    _write_once(folder / f"{snapshot_id}.json", _json(changed))
    return snapshot_id


def tombstones(warehouse: Warehouse, loop: Loop) -> dict[str, Any]:
    """How many units no training may learn from any more, and a hash of which: count, sha256."""
    units = warehouse.frame(
        "select unit_id from ops.training_tombstones where loop = ? order by unit_id", (loop.loop,)
    )["unit_id"].tolist()
    return {"count": len(units), "sha256": hashlib.sha256("\n".join(units).encode()).hexdigest()}


def read_snapshot(settings: Settings, loop: Loop, manifest: dict[str, Any]) -> pd.DataFrame:
    """The rows of a snapshot, after its hash was checked.

    Raises:
        SnapshotChanged: the file is missing or its hash differs from the manifest's.
    """
    path = _folder(settings, loop) / f"{manifest['sha256']}.parquet"
    return frame_of(_checked(path, manifest["sha256"]))


def read_partitions(settings: Settings, loop: Loop, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The partitions that had landed when the snapshot was taken.

    Raises:
        SnapshotChanged: the list is missing or was changed.
    """
    return partitions_of(settings, loop, manifest["partitions"]["sha256"])


def keep_partitions(settings: Settings, loop: Loop, partitions: list[dict[str, Any]]) -> str:
    """Keep a list of landed partitions under the hash of its content; the hash."""
    data = _json(partitions)
    sha256 = hashlib.sha256(data).hexdigest()
    _write_once(_folder(settings, loop) / "partitions" / f"{sha256}.json", data)
    return sha256


def partitions_of(settings: Settings, loop: Loop, sha256: str) -> list[dict[str, Any]]:
    """The list of partitions that was kept under this hash.

    Raises:
        SnapshotChanged: it is missing or was changed.
    """
    found = json.loads(bytes(_checked(_folder(settings, loop) / "partitions" / f"{sha256}.json", sha256)))
    return [dict(partition) for partition in found]


def snapshots(settings: Settings, loop: Loop) -> list[dict[str, Any]]:
    """Every manifest, by as-of and id.

    Raises:
        SnapshotChanged: a manifest was changed.
    """
    found = [
        {**json.loads(bytes(_checked(path, path.stem))), "id": path.stem}
        for path in sorted(_folder(settings, loop).glob("*.json"))
    ]
    return sorted(found, key=lambda manifest: (manifest["as_of"], manifest["id"]))


def find_snapshot(settings: Settings, loop: Loop, prefix: str) -> dict[str, Any]:
    """The manifest whose id, or whose rows' hash, starts with `prefix`.

    Raises:
        NoSnapshot: none does, or several do.
    """
    known = snapshots(settings, loop)
    found = [m for m in known if m["id"].startswith(prefix)] if prefix else []
    found = found or ([m for m in known if m["sha256"].startswith(prefix)] if prefix else [])
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(manifest["id"][:16] for manifest in found[:5])
        raise NoSnapshot(
            f"{len(found)} snapshots of loop {loop.loop} start with {prefix!r}: {listed}; give more of it"
        )
    raise NoSnapshot(
        f"no snapshot of loop {loop.loop} starts with {prefix!r}; there are {len(known)}, "
        "see `ratchet snapshot list`"
    )


def trained_on(entries: list[Entry], manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The trainings that learned from these rows: request, as_of, verdict, and the version where one was offered."""
    found = []
    for entry in entries:
        if entry.kind != "training" or entry.payload.get("snapshot_sha256") != manifest["sha256"]:
            continue
        request = entry.payload["request"]
        verdict = next(
            (
                e.payload["verdict"]
                for e in entries
                if e.kind == "evaluation" and e.payload["request"] == request
            ),
            None,
        )
        offer = next(
            (
                e.payload
                for e in entries
                if e.kind in ("bootstrap", "rollout_started") and e.payload["request"] == request
            ),
            None,
        )
        version = None if offer is None else int(offer.get("model_version") or offer["challenger_version"])
        found.append({"request": request, "as_of": entry.as_of, "verdict": verdict, "version": version})
    return found


def _folder(settings: Settings, loop: Loop) -> Path:
    return settings.snapshots_dir / loop.loop


def _json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1).encode()


def _checked(path: Path, sha256: str) -> pa.Buffer:
    if not path.exists():
        raise SnapshotChanged(
            f"snapshot {path} is missing; run take_snapshot again (files *.tombstone beside it name those that went "
            "because somebody asked to be forgotten)"
        )
    content, found = bytes_of(path)
    if found != sha256:
        raise SnapshotChanged(
            f"snapshot {path} was changed after it was taken; remove it and run take_snapshot again"
        )
    return content


def _keep(written: Path, path: Path) -> None:
    """Give a file that is on disk its name for good."""
    if path.exists():
        _checked(path, path.stem)
        return
    written.chmod(_READ_ONLY)
    written.replace(path)


def _write_once(path: Path, data: bytes) -> None:
    if path.exists():
        _checked(path, path.stem)
        return
    write_atomically(path, data)
    path.chmod(_READ_ONLY)
