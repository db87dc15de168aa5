"""One measured piece a process: `python -m benchmarks.pieces NAME ARGUMENTS` prints what it measured as JSON.

A process of its own has its own peak of memory and starts with nothing in any cache of the library's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta

from benchmarks.clock import peak_megabytes, quiet, timed
from ratchet.loop import Loop, load_loop
from ratchet.settings import Settings, load_settings

AS_OF = datetime(2014, 1, 1)


def _run_dbt(settings: Settings, loop: Loop, into: dict[str, float], *more: str) -> None:
    from ratchet.stages.dbt_environment import run_dbt

    # The data tests are timed apart: bare SQL has none.
    with timed(into, "dbt"):
        run_dbt(settings, ["--quiet", "run", "--selector", loop.loop, *more])


def _start_up(settings: Settings, into: dict[str, float]) -> None:
    """What dbt costs whatever it builds: project, connection, schemas and artifacts of a run of one unchanged view."""
    from ratchet.stages.dbt_environment import run_dbt

    view = ["--quiet", "run", "--select", "stg_planes__planes"]
    run_dbt(settings, view)  # imports dbt itself, and makes the view where there is none
    with timed(into, "dbt start-up"):
        run_dbt(settings, view)


def build(settings: Settings, loop: Loop, *, gate: bool, tests: bool, full: bool = False) -> dict[str, float]:
    """Collect, build, judge (or pass) and publish what is dirty; seconds of each part."""
    from benchmarks.history import pass_features
    from ratchet.stages.build import collect, judge_features
    from ratchet.stages.dbt_environment import run_dbt
    from ratchet.stages.publishing import publish

    told: dict[str, float] = {}
    _start_up(settings, told)
    with timed(told, "collect"):
        taken = collect(settings, loop, AS_OF, quiet)
    assert taken is not None, "nothing is dirty: there is nothing to measure"
    told["dates"] = taken["dates"]
    _run_dbt(settings, loop, told, *(["--full-refresh"] if full else []))
    if tests:
        with timed(told, "tests"):
            run_dbt(settings, ["--quiet", "test", "--selector", loop.loop])
    with timed(told, "gate"):
        if gate:
            judge_features(settings, loop, AS_OF, quiet)
        else:
            pass_features(settings, loop)
    if not gate:
        told["gate"] = 0.0
    with timed(told, "publish"):
        publish(settings, loop, AS_OF, quiet)
    return told


def main(arguments: list[str]) -> dict[str, float]:
    """Run the piece that `arguments` name."""
    from benchmarks import bare, history, others

    settings = load_settings()
    loop = load_loop(settings.loops_dir / "flights.yml")
    name, *rest = arguments
    pieces: dict[str, Callable[[], dict[str, float]]] = {
        "fill": lambda: {"predictions": history.fill(settings, loop, int(rest[0]), _stderr)},
        "full": lambda: build(settings, loop, gate=False, tests=True),
        "day": lambda: _day(settings, loop, date.fromisoformat(rest[0])),
        "backfill": lambda: _backfill(settings, loop, int(rest[0])),
        "bare": lambda: bare.run(settings, loop, how=rest[0]),
        "landing": lambda: others.landing(settings, loop, rest[0], int(rest[1])),
        "dag": lambda: others.dag_import(settings, rest[0]),
    }
    told = pieces[name]()
    return {**told, "peak": peak_megabytes()}


def _day(settings: Settings, loop: Loop, day: date) -> dict[str, float]:
    from benchmarks.history import arrive

    rows = arrive(settings, day)
    return {"rows": rows, **build(settings, loop, gate=True, tests=True)}


def _backfill(settings: Settings, loop: Loop, days: int) -> dict[str, float]:
    from benchmarks.history import LAST_NEW_DAY, make_dirty

    dirty = make_dirty(settings, LAST_NEW_DAY - timedelta(days=days - 1), LAST_NEW_DAY)
    return {"partitions": dirty, **build(settings, loop, gate=False, tests=False)}


def _stderr(line: str) -> None:
    sys.stderr.write(f"  {line}\n")


if __name__ == "__main__":
    answer = main(sys.argv[1:])
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
