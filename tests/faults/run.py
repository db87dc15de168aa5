"""`make test-faults`: all trials, or one group of them. Exit status 1 if any of them failed."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import tests.faults.disk as disk
from tests.engines import running_postgres
from tests.faults.checksums import changed, checksums
from tests.faults.day import FIRST, remaining
from tests.faults.kill import Kill, TaskFailed, Trials, at_moments, at_statements, both_halves, boundaries
from tests.faults.postgres import restarter
from tests.faults.prepared import DAY, Prepared, prepare
from tests.faults.report import Line, Progress, table, write
from tests.faults.together import again, at_once, in_orders, month_orders
from tests.reference.play import lenient_checkout
from tests.reference.trial import Bench, shape_of

WRITING = ("land", "build_models", "publish", "collect", "judge_landing", "judge_features")
WRITING_AGAIN = ("score", "land_predictions", "build_predictions", "publish_predictions")
#: By kind of kill, what the table calls it.
KILLS = {
    "after": "kill at a task's end",
    "statement": "kill before a statement",
    "moment": "kill at a random moment",
    "dbt": "kill of dbt, before a statement or at a random moment",
    "restart": "the server crashes and restarts in the middle of a task",
}
Say = Callable[[str], None]


def _kind(kill: Kill) -> str:
    inside = kill.kind in ("statement", "moment")
    return "dbt" if inside and kill.task.startswith("build") else kill.kind


def _engine(engine: str):  # type: ignore[no-untyped-def]
    return running_postgres() if engine == "postgres" else nullcontext()


def _kills(
    group: str, engine: str, statements: int, moments: int, restarts: int, folder: Path, say: Say
) -> Iterator[Line]:
    with _engine(engine) as server:
        say(f"preparing a small installation on {engine}")
        prepared = prepare(folder / "prepared", server)
        restart = restarter(server) if server else None
        lines = {kind: Line(group, fault, engine, half_published=0) for kind, fault in KILLS.items()}
        late = dict.fromkeys(KILLS, 0)
        # What dbt's tests would say is compared row by row, and they write nothing that a kill could leave behind.
        for trials, expected in both_halves(prepared, folder, restart, with_tests=False):
            is_first = "land" in expected.seconds
            tasks = WRITING if is_first else WRITING_AGAIN
            part = 0.6 if is_first else 0.4
            kills = boundaries(expected)
            kills += at_statements(expected, round(part * statements), seed=1)
            kills += at_moments(expected, tasks, round(part * moments), seed=2)
            if restart is not None:
                crashed = ("land", "build_models", "publish") if is_first else ("build_predictions",)
                kills += at_moments(expected, crashed, round(part * restarts), seed=3, kind="restart")
            number = 0
            for kind, line in lines.items():
                chosen = [kill for kill in kills if _kind(kill) == kind]
                if not chosen:
                    continue
                if not line.trials:
                    yield line
                progress = Progress(line, line.trials + len(chosen), say)
                for kill in chosen:
                    number += 1
                    result = trials.trial(kill, expected, number)
                    late[kind] += not result.killed
                    progress.one(result.problems, str(kill), half=result.half_published)
                if late[kind]:
                    line.notes = f"{late[kind]} came after the task had ended"


def kills_duckdb(folder: Path, say: Say) -> Iterator[Line]:
    yield from _kills("kills", "duckdb", 20, 16, 0, folder, say)


def kills_postgres(folder: Path, say: Say) -> Iterator[Line]:
    yield from _kills("kills-postgres", "postgres", 14, 10, 8, folder, say)


def worlds(folder: Path, say: Say, count: int = 100) -> Iterator[Line]:
    """Random worlds beside the reference."""
    bench = Bench(folder, lenient_checkout(folder / "checkout"))
    line = Line("worlds", "random worlds in random orders, beside a reference in Python", "duckdb")
    yield line
    progress, cells, builds = Progress(line, count, say), 0, 0
    for seed in range(count):
        example = bench.play(shape_of(seed), 1 + seed % 4)
        cells += example.cells
        builds += example.builds
        progress.one(example.differences[:5], f"world {seed}")
    line.notes = f"{cells:,} cells in {builds} builds"


def together(folder: Path, say: Say) -> Iterator[Line]:
    """At once, again, and in other orders."""
    days = (DAY - timedelta(days=6), DAY - timedelta(days=5))
    for engine in ("duckdb", "postgres"):
        with _engine(engine) as server:
            prepared: Prepared = prepare(folder / engine, server, held_back=days)
            line = Line(
                "together", "a backfill, the daily run, builds and a reader at once", engine, half_published=0
            )
            yield line
            progress, looks = Progress(line, 3, say), 0
            for n in range(3):
                problems, looked = at_once(prepared, days, folder / f"{engine}-{n}")
                looks += looked
                half = any("a reader saw" in problem for problem in problems)
                progress.one(problems, f"round {n}", half=half)
                line.notes = f"{looks} looks of the reader"
            line = Line("together", "a finished day run again", engine)
            yield line
            progress = Progress(line, 3, say)
            for n, problems in enumerate(again(prepared, folder / f"{engine}-again", 3)):
                progress.one(problems, f"run {n + 2}")
    line = Line("together", "45 received days in other orders, and with 1 and 2 threads", "duckdb")
    yield line
    orders = month_orders()
    progress, expected = Progress(line, len(orders) + 1, say), None
    for name, found in in_orders(folder / "orders", lenient_checkout(folder / "lenient"), orders):
        if expected is None:
            expected = found
        else:
            progress.one(changed({t: expected[t] for t in found if t in expected}, found), name)


def disks(folder: Path, say: Say) -> Iterator[Line]:
    """Disks that are full or read-only."""
    if not disk.available():
        say("left out: this user may not mount a small disk")
        return
    trials = Trials(prepare(folder / "prepared"), FIRST, folder / "trials")
    expected = trials.undisturbed()
    for mode, fault in (("full", "the disk is full"), ("read-only", "the folder is read-only")):
        line = Line("disks", fault, "duckdb")
        yield line
        progress = Progress(line, 3, say)
        for task in ("land", "build_models", "publish"):
            home = folder / f"{mode}-{task}"
            trials.prepared.copy(home)
            trials.finish(trials.orders(home, FIRST[: FIRST.index(task)]))
            problems = disk.trial(mode, home, trials.prepared.checkout, DAY, task)
            try:
                trials.finish(trials.orders(home, remaining(task, FIRST)))
                problems += changed(expected.final, checksums(trials.prepared.settings(home)))
            except TaskFailed as failed:
                problems.append(str(failed))
            progress.one(problems, task)
            trials.prepared.drop(home)


GROUPS: dict[str, Callable[[Path, Say], Iterator[Line]]] = {
    "kills": kills_duckdb,
    "kills-postgres": kills_postgres,
    "worlds": worlds,
    "together": together,
    "disks": disks,
}


def main(arguments: list[str]) -> int:
    """Run the groups; 0 if every trial of every group held, and there were some."""
    parser = argparse.ArgumentParser(prog="make test-faults", description=__doc__)
    parser.add_argument("--group", choices=[*GROUPS, "all"], default="all")
    chosen = parser.parse_args(arguments).group
    groups = list(GROUPS) if chosen == "all" else [chosen]
    began, lines, is_stopped = time.monotonic(), [], False
    # Asked to end, it writes down what it has seen so far.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def say(text: str) -> None:
        print(f"[{(time.monotonic() - began) / 60:5.1f} min] {text}", flush=True)  # noqa: T201

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="ratchet-faults-"))
    try:
        for name in groups:
            (folder / name).mkdir()
            before = len(lines)
            for line in GROUPS[name](folder / name, say):
                lines.append(line)
            if len(lines) == before:
                say(f"{name}: no trial was made")
    except KeyboardInterrupt:
        is_stopped = True
        say("stopped before the end")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    lines = [line for line in lines if line.trials]
    path = write(lines, groups, chosen == "all" and not is_stopped)
    print(f"\n{table(lines)}\n\nwritten: docs/fault-trials.md, {path}")  # noqa: T201
    return 0 if lines and not is_stopped and all(line.held for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
