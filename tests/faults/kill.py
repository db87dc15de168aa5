"""Kill a received day's run and retry it: the same tables as without the kill, and never half a publication."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.faults.checksums import Checksums, changed, checksums, published
from tests.faults.day import FIRST, HEAVY, SECOND, Orders, remaining, run
from tests.faults.prepared import Prepared

#: A process that says nothing for so long hangs. Far above what a busy machine needs.
LONGEST_SECONDS = 1200.0
#: Where a trial's copy lies: at one place, because dbt parses the project anew when the warehouse's path is another.
HOME = "home"


@dataclass(frozen=True)
class Kill:
    """When to kill: `after` a task, before its statement `at`, or `seconds` into it (a `moment`, or a `restart`
    of the server)."""

    task: str
    kind: str
    at: int = -1
    seconds: float = 0.0

    def __str__(self) -> str:
        where = {"after": "", "statement": f" {self.at}"}.get(self.kind, f" +{self.seconds:.2f} s")
        return f"{self.kind} {self.task}{where}"


@dataclass(frozen=True)
class Result:
    """What one kill led to. `problems` is empty when the retry healed everything and no reader saw a half."""

    kill: Kill
    killed: bool
    half_published: bool
    problems: tuple[str, ...] = ()


@dataclass
class Undisturbed:
    """A run without a kill: what it leaves, what readers may see on the way, how long each task takes, and the
    state before each task."""

    final: Checksums
    visible: list[Checksums]
    seconds: dict[str, float]
    statements: dict[str, int]
    home: Path
    before: dict[str, Prepared]


class TaskFailed(AssertionError):
    """A task that should have succeeded raised."""


@dataclass
class Trials:
    """Runs some tasks in forked processes on copies of one prepared state."""

    prepared: Prepared
    tasks: tuple[str, ...]
    scratch: Path
    restart: Callable[[], None] | None = None
    with_tests: bool = True
    context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))

    def __post_init__(self) -> None:
        self.context.set_forkserver_preload(list(HEAVY))
        self.scratch.mkdir(parents=True, exist_ok=True)

    def start(self, orders: Orders) -> tuple[Any, Connection]:
        """A process that carries out the orders, and what it says."""
        ours, theirs = self.context.Pipe(duplex=False)
        process = self.context.Process(target=run, args=(orders, theirs), daemon=True)
        process.start()
        theirs.close()
        return process, ours

    def orders(self, home: Path, tasks: tuple[str, ...], **how: Any) -> Orders:
        how.setdefault("with_tests", self.with_tests)
        return Orders(self.prepared.environment(home), self.prepared.day, tasks, **how)

    def undisturbed(self) -> Undisturbed:
        """The tasks without a kill. Between any two of them readers see what was published before or after."""
        home = self.scratch / HOME
        settings = self.prepared.copy(home)
        self.finish(self.orders(home, ()))  # starts the server that later processes are forked from
        visible = [published(settings)]
        seconds, statements, before = {}, {}, {}
        for task in self.tasks:
            state = self.scratch / f"before-{task}"
            self.prepared.after(home).copy(state)
            before[task] = self.prepared.after(state)
            began = time.monotonic()
            done = self.finish(self.orders(home, (task,)))
            seconds[task], statements[task] = time.monotonic() - began, done[task]
            if task.startswith("publish"):
                visible.append(published(settings))
        after = self.scratch / "after"
        self.prepared.after(home).copy(after)
        parsed = (settings.dbt_target_dir / "partial_parse.msgpack").relative_to(home)
        for state in before.values():
            if (after / parsed).exists():
                (state.home / parsed).write_bytes((after / parsed).read_bytes())
        return Undisturbed(checksums(settings), visible, seconds, statements, after, before)

    def finish(self, orders: Orders) -> dict[str, int]:
        """Run the tasks to the end; how many statements each sent.

        Raises:
            TaskFailed: a task raised or died.
        """
        process, pipe = self.start(orders)
        done, failed = {}, ""
        with ended(process):
            for message in messages(pipe):
                if message[0] == "end":
                    done[message[1]] = message[2]
                elif message[0] == "failed":
                    failed = f"{message[1]}: {message[2]}"
        if failed or process.exitcode or set(done) != set(orders.tasks):
            raise TaskFailed(failed or f"only {sorted(done)} ended, exit status {process.exitcode}")
        return done

    def _kill(self, kill: Kill, home: Path) -> bool:
        """Begin the task and kill it; whether the process died of it, or failed because the server did."""
        after = kill.task if kill.kind == "after" else None
        inside = kill.task if kill.kind == "statement" else None
        orders = self.orders(home, (kill.task,), die_after=after, die_in=inside, die_at=kill.at)
        process, pipe = self.start(orders)
        failed = False
        with ended(process):
            for message in messages(pipe):
                if message[0] == "failed":
                    failed = True
                    if kill.kind != "restart":
                        raise TaskFailed(f"{message[1]}: {message[2]}")
                if message[0] == "begin" and kill.kind in ("moment", "restart"):
                    time.sleep(kill.seconds)
                    if kill.kind == "moment":
                        process.kill()
                        break
                    assert self.restart is not None, "only a server can be restarted"
                    self.restart()
        return bool(process.exitcode == -9) or failed

    def trial(self, kill: Kill, expected: Undisturbed, number: int) -> Result:
        """From the state before the task: kill, look as a reader would, retry (every third time from the first
        task of the day), compare."""
        home = self.scratch / HOME
        settings = expected.before[kill.task].copy(home)
        problems: list[str] = []
        half = killed = False
        try:
            killed = self._kill(kill, home)
            seen = published(settings)
            half = seen not in expected.visible
            if half:
                problems.append("readers see a half: " + "; ".join(changed(expected.visible[0], seen)[:4]))
            again = self.tasks if number % 3 == 0 else remaining(kill.task, self.tasks)
            self.finish(self.orders(home, again))
            differ = changed(expected.final, checksums(settings))
            if differ:
                problems.append("after the retry: " + "; ".join(differ[:4]))
        except TaskFailed as failed:
            problems.append(f"a task failed: {failed}")
        self.prepared.drop(home)
        return Result(kill, killed, half, tuple(problems))


def both_halves(
    prepared: Prepared,
    scratch: Path,
    restart: Callable[[], None] | None = None,
    *,
    with_tests: bool = True,
) -> Iterator[tuple[Trials, Undisturbed]]:
    """The trials of the day up to its publication, then of what is scored from there."""
    for name, tasks in (("first", FIRST), ("second", SECOND)):
        trials = Trials(prepared, tasks, scratch / name, restart, with_tests)
        expected = trials.undisturbed()
        yield trials, expected
        prepared = prepared.after(expected.home)


@contextmanager
def ended(process: Any) -> Iterator[None]:
    """Wait for the process at the block's end, and leave none behind when it hangs.

    Raises:
        TaskFailed: it has said all that it had to say, and does not end for LONGEST_SECONDS.
    """
    try:
        yield
        process.join(LONGEST_SECONDS)
        if process.is_alive():
            raise TaskFailed(f"a process has not ended for {LONGEST_SECONDS:.0f} s: it hangs")
    finally:
        if process.is_alive():
            process.kill()
            process.join()


def messages(pipe: Connection) -> Iterator[tuple[Any, ...]]:
    """What the process says until it ends.

    Raises:
        TaskFailed: it said nothing for LONGEST_SECONDS.
    """
    while True:
        try:
            if not pipe.poll(LONGEST_SECONDS):
                raise TaskFailed(f"nothing was said for {LONGEST_SECONDS:.0f} s: a task hangs")
            yield pipe.recv()
        except (EOFError, OSError):
            return


def boundaries(expected: Undisturbed) -> list[Kill]:
    """One kill at the end of each task."""
    return [Kill(task, "after") for task in expected.seconds]


def at_statements(expected: Undisturbed, most: int, seed: int) -> list[Kill]:
    """Kills before single statements of the tasks that send any: the tasks in turn, each at random places."""
    dice = random.Random(seed)
    left = {
        task: dice.sample(range(count), count) for task, count in expected.statements.items() if count > 0
    }
    chosen: list[Kill] = []
    while left and len(chosen) < most:
        for task in list(left):
            if len(chosen) < most:
                chosen.append(Kill(task, "statement", left[task].pop()))
            if not left[task]:
                del left[task]
    return sorted(chosen, key=lambda k: (k.task, k.at))


def at_moments(
    expected: Undisturbed, tasks: tuple[str, ...], count: int, seed: int, kind: str = "moment"
) -> list[Kill]:
    """Kills (or restarts of the server) at random moments inside the tasks, round robin."""
    dice = random.Random(seed)
    named = [tasks[n % len(tasks)] for n in range(count)]
    return [Kill(task, kind, seconds=dice.uniform(0, expected.seconds[task])) for task in named]
