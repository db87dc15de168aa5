"""What a fit costs: seconds by the clock, of the processors, and memory. Evidence, never part of a model."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Cost:
    """Seconds, seconds of all processors, and megabytes; nan-free once the block that measures them has ended."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    megabytes: float = 0.0


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block: its time, and the largest resident memory of the process while it ran.

    Where the kernel can't forget an earlier peak, that of the process's whole life is told: never too little.
    """
    cost = Cost()
    with suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")
    start, start_cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        cost.cpu_seconds = time.process_time() - start_cpu
        cost.megabytes = _peak_megabytes()


def _peak_megabytes() -> float:
    try:
        line = next(x for x in _STATUS.read_text(encoding="ascii").splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1000
    except (OSError, StopIteration):
        # Kilobytes on Linux, bytes on macOS.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak / 1000
