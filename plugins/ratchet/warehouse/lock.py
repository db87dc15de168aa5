"""One advisory lock for the warehouse file.

A DuckDB file has one writing process, and a reader keeps the writer out. So every process that opens the
file takes this lock first: tasks, the command line and a dbt that is run by hand. It is re-entrant within a
process and freed by the operating system when the holder dies.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ratchet.settings import Settings
from ratchet.warehouse.protocol import WarehouseLocked


@dataclass
class _Held:
    lock: FileLock
    depth: int = 0


_held: dict[Path, _Held] = {}
_guard = threading.RLock()


def _forget() -> None:
    # filelock closes an inherited descriptor in the child; what is left is this book-keeping.
    global _guard
    _guard = threading.RLock()
    _held.clear()


os.register_at_fork(after_in_child=_forget)


def holder_path(lock_path: Path) -> Path:
    """The side file that says who holds the lock: {"pid": int, "purpose": str}."""
    return lock_path.with_suffix(".holder.json")


def holder(lock_path: Path) -> str:
    """Who holds the lock, for a message; says so when nobody left a name."""
    try:
        found = json.loads(holder_path(lock_path).read_text(encoding="utf-8"))
        return f"process {int(found['pid'])} ({found['purpose']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that left no name"


def acquire(lock_path: Path, purpose: str, wait_seconds: float) -> None:
    """Take the lock, or go one level deeper if this process has it.

    Raises:
        WarehouseLocked: it was not free within `wait_seconds`; names the holder's pid and purpose.
    """
    with _guard:
        key = lock_path.resolve()
        held = _held.get(key)
        if held is None:
            key.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(str(key), thread_local=False)
            try:
                lock.acquire(timeout=wait_seconds, poll_interval=0.05)
            except Timeout:
                raise WarehouseLocked(
                    f"{key} is held by {holder(key)}; {purpose} waited {wait_seconds:g} s. "
                    "Wait for it to end, or raise RATCHET_LOCK_WAIT_SECONDS"
                ) from None
            side = holder_path(key)
            fresh = side.with_name(f"{side.name}.{os.getpid()}.tmp")
            fresh.write_text(json.dumps({"pid": os.getpid(), "purpose": purpose}), encoding="utf-8")
            fresh.replace(side)
            held = _held[key] = _Held(lock)
        held.depth += 1


def release(lock_path: Path) -> None:
    """Give up one level of the lock; the last one frees it."""
    with _guard:
        key = lock_path.resolve()
        held = _held.get(key)
        if held is None:
            return
        held.depth -= 1
        if held.depth == 0:
            del _held[key]
            holder_path(key).unlink(missing_ok=True)
            held.lock.release()


def is_held(lock_path: Path) -> bool:
    """Whether this process holds the lock."""
    with _guard:
        return lock_path.resolve() in _held


@contextmanager
def warehouse_lock(settings: Settings, purpose: str) -> Iterator[None]:
    """Hold the warehouse's lock.

    Raises:
        WarehouseLocked: another process kept it longer than `settings.lock_wait_seconds`.
    """
    acquire(settings.warehouse_lock_path, purpose, settings.lock_wait_seconds)
    try:
        yield
    finally:
        release(settings.warehouse_lock_path)
