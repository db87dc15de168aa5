"""The declared loops, for DAG files: their one permitted I/O at import."""

from __future__ import annotations

from functools import cache

from ratchet.loop import Loop, load_loop, load_loops
from ratchet.settings import load_settings


@cache
def declared_loops() -> tuple[Loop, ...]:
    """Every loop of loops/, in name order."""
    return tuple(load_loops(load_settings().loops_dir).values())


def loop_named(name: str) -> Loop:
    """The loop of this name, read anew (a task runs long after its DAG file was parsed)."""
    return load_loop(load_settings().loops_dir / f"{name}.yml")
