"""One process at a time has the warehouse; everyone else is told who."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest

from ratchet.settings import Settings, load_settings
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.lock import holder, is_held, warehouse_lock
from ratchet.warehouse.protocol import WarehouseError, WarehouseLocked, checked_column, checked_table

HOLD = """
import sys, time
from pathlib import Path
from ratchet.warehouse.lock import acquire
acquire(Path(sys.argv[1]), "nightly build", 10)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"RATCHET_HOME": str(tmp_path), "RATCHET_LOCK_WAIT_SECONDS": "0.3"})


def start_holder(settings: Settings) -> subprocess.Popen[str]:
    settings.warehouse_lock_path.parent.mkdir(parents=True, exist_ok=True)
    plugins = Path(__file__).parents[2] / "plugins"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(settings.warehouse_lock_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(plugins)},
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def test_second_process_waits_and_is_told_pid_and_purpose(settings: Settings) -> None:
    process = start_holder(settings)
    try:
        began = time.monotonic()
        with pytest.raises(WarehouseLocked) as error, open_warehouse(settings, purpose="status"):
            pass
        assert time.monotonic() - began >= 0.3
        assert str(process.pid) in str(error.value)
        assert "nightly build" in str(error.value)
        assert "status" in str(error.value)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    # A killed holder frees the lock, whatever its side file still says.
    with open_warehouse(settings, purpose="status") as wh:
        assert wh.scalar("select 1") == 1


def test_lock_is_reentrant_and_freed_by_the_last(settings: Settings) -> None:
    path = settings.warehouse_lock_path
    with warehouse_lock(settings, "outer"):
        with warehouse_lock(settings, "inner"):
            assert is_held(path)
        assert is_held(path)
        assert "outer" in holder(path)
    assert not is_held(path)
    assert holder(path) == "a process that left no name"


def _child_sees(path: Path, answers: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    answers.put(is_held(path))


def test_forked_child_does_not_hold_its_parents_lock(settings: Settings) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with warehouse_lock(settings, "parent"):
        child = context.Process(target=_child_sees, args=(settings.warehouse_lock_path, answers))
        child.start()
        assert answers.get(timeout=20) is False
        child.join()
        with pytest.raises(WarehouseLocked):
            process_wants_lock(settings)


def process_wants_lock(settings: Settings) -> None:
    code = (
        "import sys; from pathlib import Path; from ratchet.warehouse.lock import acquire;"
        "acquire(Path(sys.argv[1]), 'late', 0.2)"
    )
    plugins = Path(__file__).parents[2] / "plugins"
    done = subprocess.run(
        [sys.executable, "-c", code, str(settings.warehouse_lock_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(plugins)},
        check=False,
    )
    if "WarehouseLocked" in done.stderr:
        raise WarehouseLocked(done.stderr)


def test_failed_transaction_leaves_nothing(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as wh:
        ops.ensure(wh)
        with pytest.raises(ZeroDivisionError), wh.transaction():
            wh.execute(
                "insert into ops.dirty_partitions values ('flights', 'weather', ?)", (date(2013, 1, 1),)
            )
            with wh.transaction():
                wh.execute(
                    "insert into ops.dirty_partitions values ('flights', 'weather', ?)", (date(2013, 1, 2),)
                )
            _ = 1 / 0
        assert wh.scalar("select count(*) from ops.dirty_partitions") == 0


def test_nested_open_is_the_same_connection(settings: Settings) -> None:
    with open_warehouse(settings, purpose="outer") as wh:
        ops.ensure(wh)
        with wh.transaction():
            wh.execute(
                "insert into ops.dirty_partitions values ('flights', 'weather', ?)", (date(2013, 1, 1),)
            )
            with open_warehouse(settings, purpose="inner", read_only=True) as inner:
                assert inner.scalar("select count(*) from ops.dirty_partitions") == 1


def test_reader_can_not_turn_writer(settings: Settings) -> None:
    with open_warehouse(settings, purpose="make") as wh:
        ops.ensure(wh)
    with (
        open_warehouse(settings, purpose="look", read_only=True),
        pytest.raises(WarehouseError, match="for reading"),
        open_warehouse(settings, purpose="write"),
    ):
        pass


def test_read_only_without_a_warehouse_says_what_to_do(settings: Settings) -> None:
    with (
        pytest.raises(WarehouseError, match="land a partition first"),
        open_warehouse(settings, purpose="look", read_only=True),
    ):
        pass


def test_append_goes_by_name_and_keeps_nulls(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as wh:
        ops.ensure(wh)
        frame = pd.DataFrame(
            {
                "reference_share": [0.5, 0.25],
                "upper_bound": [None, 2.0],
                "lower_bound": [float("nan"), 1.0],
                "bin": [0, 1],
                "feature": "hour",
                "model_version": 1,
                "loop": "flights",
            }
        )
        assert wh.append("ops.feature_bins", frame) == 2
        assert wh.append("ops.feature_bins", frame.iloc[:0]) == 0
        found = wh.frame(
            "select bin, lower_bound is null as low, upper_bound from ops.feature_bins order by bin"
        )
        assert found["low"].tolist() == [True, False]
        assert wh.scalar("select reference_share from ops.feature_bins where bin = ?", (1,)) == 0.25
        assert wh.scalar("select bin from ops.feature_bins where bin = 99") is None


def test_times_come_back_as_naive_utc(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as wh:
        wh.execute("create schema s")
        wh.execute("create table s.t (happened_at timestamp)")
        wh.append("s.t", pd.DataFrame({"happened_at": [pd.Timestamp("2013-03-10 07:30")]}))
        assert wh.scalar("select happened_at from s.t") == datetime(2013, 3, 10, 7, 30)
        assert wh.frame("select happened_at from s.t")["happened_at"].dt.tz is None


@pytest.mark.parametrize(
    "name", ["t", "a.b.c", "raw.x; drop table y", 'raw."x"', "raw.X", "", "raw.x--", "raw .x"]
)
def test_no_name_carries_sql(name: str) -> None:
    with pytest.raises(WarehouseError):
        checked_table(name)
    with pytest.raises(WarehouseError):
        checked_column(name if name != "t" else "t.t")
    assert checked_table("raw.schedule") == "raw.schedule"


def test_ensure_twice_changes_no_row(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as wh:
        ops.ensure(wh)
        wh.execute("insert into ops.dirty_partitions values ('flights', 'weather', ?)", (date(2013, 1, 1),))
        ops.ensure(wh)
        assert wh.scalar("select count(*) from ops.dirty_partitions") == 1
        for table in ops.tables():
            assert wh.scalar(f"select count(*) from {table}") >= 0
