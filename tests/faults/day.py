"""One received day, task by task, in a process that can be killed at any of them.

A parent starts `run` in a process forked from a server that has imported the heavy libraries, is told over a pipe
which task begins, and kills. Tasks are the stages themselves; nothing in them knows of this module.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

from tests.reference.play import tables_without_tests

#: What the server imports before it forks. Imports only: no connection, no thread, no OpenMP call.
HEAVY = (
    "tests.faults.day", "pandas", "pyarrow.parquet", "duckdb", "dbt.cli.main", "dbt.adapters.duckdb", "dbt.task.build",
    "dbt.adapters.postgres", "psycopg2", "great_expectations", "ratchet.registry.models", "mlflow", "xgboost",
    "sqlalchemy", "ratchet.stages.build", "ratchet.stages.ingest", "ratchet.stages.score",
)  # fmt: skip

#: A received day up to its publication; then what is scored from it, landed and published again.
FIRST = ("land", "judge_landing", "collect", "build_models", "judge_features", "publish")
SECOND = (
    "score", "land_predictions", "judge_predictions", "collect_predictions", "build_predictions", "judge_again",
    "publish_predictions",
)  # fmt: skip
TASKS = FIRST + SECOND
#: What a run skips when nothing was collected.
_BUILDING = ("build", "judge_features", "judge_again", "publish")


@dataclass(frozen=True)
class Orders:
    """What the child does.

    Attributes:
        environment: RATCHET_* of its installation.
        day: the received day.
        tasks: the tasks, in order.
        die_after: SIGKILL itself when this task has ended.
        die_in: SIGKILL itself inside this task, before (`die_at` >= 0) its so-many-th statement.
        largest_file: no file may grow beyond so many bytes, as on a disk that is full.
        memory: DuckDB's memory limit, like 20MB, with nowhere to spill.
        with_tests: whether dbt runs the models' data tests.
    """

    environment: dict[str, str]
    day: date
    tasks: tuple[str, ...]
    die_after: str | None = None
    die_in: str | None = None
    die_at: int = -1
    largest_file: int | None = None
    memory: str | None = None
    with_tests: bool = True


def quiet(_: str) -> None:
    return None


def die() -> None:
    """End at once, as the kernel's out-of-memory killer would end us."""
    os.kill(os.getpid(), signal.SIGKILL)


class Statements:
    """Counts the statements that a task sends to the warehouse, and dies before one of them."""

    def __init__(self) -> None:
        self.count = 0
        self.fatal = -1

    def before(self) -> None:
        if self.count == self.fatal:
            die()
        self.count += 1

    def watch(self) -> None:
        """Wrap the writing calls of every engine's warehouse in this process, and every statement of dbt."""
        from dbt.adapters.sql.connections import SQLConnectionManager

        from ratchet.warehouse import duckdb

        classes: list[Any] = [duckdb.DuckDBWarehouse]
        try:
            from ratchet.warehouse import postgres  # type: ignore[attr-defined,unused-ignore]

            classes += [
                value
                for name, value in vars(postgres).items()
                if name.endswith("Warehouse") and value.__module__ == postgres.__name__
            ]
        except ImportError:
            pass
        for cls in classes:
            for name in ("execute", "append"):
                setattr(cls, name, self._counting(getattr(cls, name)))
        manager: Any = SQLConnectionManager
        manager.add_query = self._counting(manager.add_query)

    def _counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.before()
            return call(*args, **kwargs)

        return counted


def run(orders: Orders, pipe: Connection) -> None:
    """Do the tasks; say over `pipe` what begins, ("begin", task), what ended, ("end", task, statements), and
    ("failed", task, message) where a task raised."""
    os.environ.update(orders.environment)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from ratchet.loop import load_loop
    from ratchet.settings import load_settings

    settings = load_settings()
    loop = load_loop(settings.loops_dir / "flights.yml")
    statements = Statements()
    statements.watch()
    _same_latency()
    _limit(orders)
    is_built = True
    for task in orders.tasks:
        pipe.send(("begin", task))
        statements.count = 0
        statements.fatal = orders.die_at if task == orders.die_in else -1
        try:
            with nullcontext() if orders.with_tests else tables_without_tests():
                if task.startswith("collect"):
                    is_built = do(settings, loop, task, orders.day)
                elif is_built or not task.startswith(_BUILDING):
                    do(settings, loop, task, orders.day)
        except Exception as error:
            # The parent decides whether that was to be expected.
            pipe.send(("failed", task, f"{type(error).__name__}: {error}"))
            return
        if task == orders.die_after:
            die()
        pipe.send(("end", task, statements.count))
    pipe.close()


def _same_latency() -> None:
    # The time that scoring took is measured, so it is never the same twice; everything else must be.
    from ratchet.scoring.child import Scored
    from ratchet.stages import score as stage

    def same(models: Any, matrix: Any) -> dict[str, Scored]:
        from ratchet.training.fit import predict_scores

        return {
            name: Scored(predict_scores(content, matrix).astype("float64"), 0.001)
            for name, content in models.items()
        }

    stage.score_in_child = same  # type: ignore[assignment]


def _limit(orders: Orders) -> None:
    if orders.largest_file is not None:
        # The write then fails with "File too large" instead of ending the process.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (orders.largest_file, orders.largest_file))
    if orders.memory is not None:
        from ratchet.warehouse import duckdb

        limits = (f"set memory_limit = '{orders.memory}'", "set temp_directory = ''")
        duckdb._SESSION = (*duckdb._SESSION, *limits)  # type: ignore[assignment]


def do(settings: Any, loop: Any, task: str, day: date) -> bool:
    """One task of the received day, as its DAG's task calls it; False when there is nothing to build."""
    from ratchet.stages import build as build_stage
    from ratchet.stages.dbt_environment import build
    from ratchet.stages.ingest import judge_landing, land
    from ratchet.stages.score import score

    as_of = datetime.combine(day + timedelta(days=1), datetime.min.time())
    if task in ("land", "land_predictions"):
        land(settings, loop, day, day, quiet)
    elif task in ("judge_landing", "judge_predictions"):
        judge_landing(settings, loop, day, day, as_of, quiet)
    elif task in ("collect", "collect_predictions"):
        return build_stage.collect(settings, loop, as_of, quiet) is not None
    elif task in ("build_models", "build_predictions"):
        build(settings, loop)
    elif task in ("judge_features", "judge_again"):
        build_stage.judge_features(settings, loop, as_of, quiet)
    elif task in ("publish", "publish_predictions"):
        build_stage.publish(settings, loop, as_of, quiet)
    elif task == "score":
        score(settings, loop, day, day, quiet)
    else:
        raise ValueError(f"no task {task}; known: {', '.join(TASKS)}")
    return True


def remaining(task: str, tasks: Sequence[str]) -> tuple[str, ...]:
    """The tasks from `task` on: what a retry does."""
    return tuple(tasks[list(tasks).index(task) :])
