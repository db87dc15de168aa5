"""Where a result came from: the code, the dbt build, and the source partitions that had landed."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.ledger.chain import canonical
from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.timings import remember
from ratchet.warehouse.protocol import Warehouse

#: Packages whose arithmetic a verdict rests on.
ARITHMETIC = ("numpy", "pandas", "scipy", "xgboost-cpu")
#: Name of the published summary of the last published dbt build.
BUILD = "dbt_build"


def file_sha256(path: Path) -> str | None:
    """SHA-256 of a file's bytes; None where there is no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def code_version(root: Path) -> dict[str, Any]:
    """The git commit of the checkout at `root`, whether it had no other changes, and a note where it has none."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            raise ValueError
        commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain")
    except (OSError, ValueError, subprocess.SubprocessError):
        return {"commit": None, "is_clean": None, "note": "outside a git checkout: the commit is not known"}
    note = (
        None if not changed else "the tree had uncommitted changes: the commit alone does not give this code"
    )
    return {"commit": commit, "is_clean": not changed, "note": note}


def environment(root: Path) -> dict[str, Any]:
    """What a verdict was computed with: the lock file's hash, Python, machine, and the packages that calculate."""
    return {
        "lock_sha256": file_sha256(root / "requirements.lock"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: metadata.version(name) for name in ARITHMETIC},
    }


def judging(settings: Settings, loop: Loop) -> dict[str, Any]:
    """What every recorded verdict says of its making: code, dbt build of the tables it read, environment."""
    return {
        "code": code_version(settings.root),
        "dbt": dbt_build(settings, loop),
        "environment": environment(settings.root),
    }


def record_build(settings: Settings, loop: Loop, dates: int) -> None:
    """Publish which dbt build the tables come from, as its artifacts say, and how long it took for `dates`."""
    found = _artifacts(settings)
    known = read(settings, loop.loop, BUILD)
    publish(settings, loop.loop, BUILD, found)
    is_new = known is None or known["invocation_id"] != found["invocation_id"]
    if is_new and found["invocation_id"] is not None:
        remember(settings, loop, "build", dates, found["seconds"])


def dbt_build(settings: Settings, loop: Loop) -> dict[str, Any]:
    """The dbt build that the published tables come from: invocation_id, manifest_sha256, models_sha256."""
    found = read(settings, loop.loop, BUILD) or _artifacts(settings)
    return {name: found[name] for name in ("invocation_id", "manifest_sha256", "models_sha256")}


def _artifacts(settings: Settings) -> dict[str, Any]:
    manifest, results = (
        settings.dbt_target_dir / "manifest.json",
        settings.dbt_target_dir / "run_results.json",
    )
    invocation, seconds = None, 0.0
    if results.is_file():
        told = json.loads(results.read_text(encoding="utf-8"))
        # A test or a parse by hand leaves artifacts too; they built nothing.
        if told.get("args", {}).get("which") == "build":
            invocation, seconds = told["metadata"]["invocation_id"], float(told["elapsed_time"])
    return {
        "invocation_id": invocation,
        "seconds": seconds,
        "manifest_sha256": file_sha256(manifest),
        "models_sha256": _models_sha256(manifest),
    }


def _models_sha256(manifest: Path) -> str | None:
    """A hash of what dbt ran, without the times and ids that each invocation writes into its manifest."""
    if not manifest.is_file():
        return None
    tree = json.loads(manifest.read_text(encoding="utf-8"))
    code = {name: node.get("raw_code") for name, node in tree["nodes"].items()}
    macros = {
        name: macro.get("macro_sql")
        for name, macro in tree["macros"].items()
        if macro.get("package_name") == tree["metadata"]["project_name"]
    }
    return hashlib.sha256(canonical({"nodes": code, "macros": macros}).encode()).hexdigest()


def landed_partitions(warehouse: Warehouse, loop: Loop) -> list[dict[str, Any]]:
    """What has landed: source, received_date, n_rows and a digest of the rows, whatever files they came in.

    A partition that landed before digests were kept has the digest "not known".
    """
    rows = warehouse.frame(
        "select l.source, l.received_date, coalesce(d.n_rows, l.n_rows) as n_rows, "
        "coalesce(d.digest, 'not known') as digest from (select loop, source, received_date, "
        "sum(rows_landed) as n_rows from ops.landings where loop = ? group by loop, source, received_date) l "
        "left join ops.partition_digests d on d.loop = l.loop and d.source = l.source "
        "and d.received_date = l.received_date order by 1, 2",
        (loop.loop,),
    )
    return [
        {
            "source": str(row["source"]),
            "received_date": pd.Timestamp(row["received_date"]).date().isoformat(),
            "n_rows": int(row["n_rows"]),
            "digest": str(row["digest"]),
        }
        for row in rows.to_dict("records")
    ]
