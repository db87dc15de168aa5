"""One protocol, one set of answers: what a warehouse takes and gives is the same on every engine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.engines import environment_of

from ratchet.settings import Settings, SettingsError, load_settings
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import WarehouseError

ROOT = Path(__file__).parents[2]
TYPES = {
    "small": "smallint",
    "whole": "integer",
    "large": "bigint",
    "share": "double precision",
    "exact": "decimal(18, 9)",
    "yes": "boolean",
    "words": "varchar",
    "on_day": "date",
    "moment": "timestamp",
    "bytes": "bytea",
    "empty": "varchar",
}
ROWS = pd.DataFrame(
    {
        "small": pd.array([1, None, -3], dtype="Int16"),
        "whole": pd.array([1, None, 2**31 - 1], dtype="Int32"),
        "large": pd.array([2**62, 0, None], dtype="Int64"),
        "share": [0.1, np.nan, np.inf],
        "exact": [1.25, np.nan, -0.000000001],
        "yes": pd.array([True, None, False], dtype="boolean"),
        "words": ['a "quoted", \\x\n\\.\n line; drop table raw.t; --', "", None],
        "on_day": pd.to_datetime(["2013-01-01", None, "1850-02-03"]),
        "moment": pd.to_datetime(["2013-01-01 01:02:03.5", None, "2200-02-03 00:00:00.000001"]),
        "bytes": [b"\x00\xffa", None, b""],
        "empty": [None] * 3,
    }
)
#: What `.df()` of DuckDB gives; columns without a null, with one, and without a row.
FULL = {
    "small": "int16",
    "whole": "int32",
    "large": "int64",
    "share": "float64",
    "exact": "float64",
    "yes": "bool",
    "words": "str",
    "on_day": "datetime64[us]",
    "moment": "datetime64[us]",
    "bytes": "object",
    "empty": "object",
}
WITH_NULLS = FULL | {"small": "Int16", "whole": "Int32", "large": "Int64", "yes": "boolean"}
NO_ROWS = FULL | {"words": "object"}


@pytest.fixture
def settings(settings_of: Callable[..., Settings], tmp_path: Path) -> Settings:
    settings = settings_of(tmp_path, RATCHET_LOCK_WAIT_SECONDS="0.3")
    with open_warehouse(settings, purpose="test") as warehouse:
        ops.ensure(warehouse)
        columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
        warehouse.execute(f"create table raw.t (n integer, {columns})")
        warehouse.append("raw.t", ROWS.assign(n=range(3)))
    return settings


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(kind) for name, kind in frame.dtypes.items()}


def test_rows_come_back_as_they_were_with_the_same_dtypes(settings: Settings) -> None:
    listed = ", ".join(TYPES)
    with open_warehouse(settings, purpose="test") as warehouse:
        back = warehouse.frame(f"select {listed} from raw.t order by n")
        first = warehouse.frame(f"select {listed} from raw.t where n = 0")
        none = warehouse.frame(f"select {listed} from raw.t where false")
    assert dtypes(back) == WITH_NULLS
    assert dtypes(first) == FULL | {"empty": "object"}
    assert dtypes(none) == NO_ROWS
    for name in TYPES:
        assert back[name].isna().tolist() == ROWS[name].isna().tolist(), name
        for got, gave in zip(back[name], ROWS[name], strict=True):
            assert pd.isna(gave) or got == gave, name
    assert back["words"].iloc[1] == ""


def test_a_table_holds_what_the_frame_of_the_same_query_holds(settings: Settings) -> None:
    listed = ", ".join(name for name in TYPES if name != "bytes")
    with open_warehouse(settings, purpose="test") as warehouse:
        for sql in (
            f"select {listed} from raw.t order by n",
            f"select {listed} from raw.t where n >= ? and false",
        ):
            parameters = [0] if "?" in sql else []
            table, frame = warehouse.table(sql, parameters), warehouse.frame(sql, parameters)
            assert (table.column_names, table.num_rows) == (list(frame), len(frame))
            for name in frame:
                for got, gave in zip(table.column(name).to_pylist(), frame[name], strict=True):
                    same = float(got) if isinstance(got, Decimal) else got
                    same = pd.Timestamp(got) if isinstance(gave, pd.Timestamp) else same
                    assert got is None if pd.isna(gave) else same == gave, (sql, name)
        assert warehouse.table("select array[1, 2] as listed").to_pylist() == [{"listed": [1, 2]}]


def test_a_frames_nan_is_null_and_sqls_nan_is_nan(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        assert warehouse.scalar("select count(*) from raw.t where share is null") == 1
        warehouse.execute("update raw.t set share = cast('NaN' as double precision)")
        assert warehouse.scalar("select count(*) from raw.t where share is null") == 0
        assert warehouse.frame("select share from raw.t")["share"].isna().all()


def test_repeated_names_single_columns_and_other_types(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        assert list(warehouse.frame("select 1 as a, 2 as a, 3 as a")) == ["a", "a_1", "a_2"]
        assert warehouse.frame("select words from raw.t order by n")["words"].isna().tolist() == [
            False,
            False,
            True,
        ]
        assert warehouse.frame("select empty from raw.t")["empty"].isna().all()
        other = warehouse.frame("select interval '1 day' as lasted, array[1, 2] as listed")
        assert other["lasted"].iloc[0] == pd.Timedelta(days=1)
        assert other["listed"].iloc[0].tolist() == [1, 2]


def test_values_travel_as_parameters_and_question_marks_in_text_do_not(settings: Settings) -> None:
    hostile = "'; drop table raw.t; -- %s %(x)s ?"
    with open_warehouse(settings, purpose="test") as warehouse:
        asked = "select '?' || '%' as a, cast(? as varchar) as \"b?\" /* ? */ -- ?\n from raw.t where n = ?"
        row = warehouse.frame(asked, (hostile, 0))
        assert row.iloc[0].tolist() == ["?%", hostile]
        days = [date(2013, 1, 1), pd.Timestamp("1850-02-03").date()]
        found = "select count(*) from raw.t where on_day in (select unnest(?::date[]))"
        assert warehouse.scalar(found, (days,)) == 2
        assert warehouse.scalar(found, ([],)) == 0
        at = datetime(2013, 1, 1, 1, 2, 3, 500000)
        assert warehouse.scalar("select n from raw.t where moment = ?", (pd.Timestamp(at),)) == 0
        assert warehouse.scalar("select max(moment) from raw.t where moment = ?", (at,)) == at
        assert warehouse.scalar("select n from raw.t where n = ?", (99,)) is None
        assert warehouse.scalar("select count(*) from raw.t where words is not distinct from ?", (None,)) == 1
        with pytest.raises(Exception, match=r"parameter|Values"):
            warehouse.execute("delete from raw.t where n = ?", ())


def test_a_row_that_does_not_fit_lands_nothing_and_names_its_column(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        with pytest.raises(Exception, match=r"whole|INT32|int32"):
            warehouse.append("raw.t", pd.DataFrame({"n": [7, 8], "whole": [1, 2**40]}))
        with pytest.raises(Exception, match="nowhere"):
            warehouse.append("raw.t", pd.DataFrame({"nowhere": [1]}))
        with pytest.raises(WarehouseError, match="no column name"):
            warehouse.append("raw.t", pd.DataFrame({'n") select 1; --': [1]}))
        with pytest.raises(WarehouseError, match="no table name"):
            warehouse.append("raw.t; drop table raw.t", pd.DataFrame({"n": [1]}))
        assert warehouse.scalar("select count(*) from raw.t") == 3


def test_a_transaction_is_all_or_nothing_and_an_inner_one_joins_it(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        with pytest.raises(RuntimeError, match="stop"), warehouse.transaction():
            with warehouse.transaction():
                warehouse.execute("delete from raw.t")
            raise RuntimeError("stop")
        assert warehouse.scalar("select count(*) from raw.t") == 3
        with warehouse.transaction(), warehouse.transaction():
            warehouse.execute("delete from raw.t where n = 0")
    with open_warehouse(settings, purpose="test", read_only=True) as warehouse:
        assert warehouse.scalar("select count(*) from raw.t") == 2


def test_a_nested_open_is_the_same_connection_and_a_reader_does_not_become_a_writer(
    settings: Settings,
) -> None:
    with open_warehouse(settings, purpose="outer") as outer, outer.transaction():
        outer.execute("delete from raw.t where n = 0")
        with open_warehouse(settings, purpose="inner", read_only=True) as inner:
            assert inner is outer
            assert inner.scalar("select count(*) from raw.t") == 2
    with (
        open_warehouse(settings, purpose="outer", read_only=True) as outer,
        pytest.raises(WarehouseError, match="open for reading"),
        open_warehouse(settings, purpose="inner"),
    ):
        pass
    with (
        open_warehouse(settings, purpose="test", read_only=True) as outer,
        pytest.raises(Exception, match=r"(?i)read.only"),
    ):
        outer.execute("delete from raw.t")


def test_reading_what_was_never_made_is_refused(settings_of: Callable[..., Settings], tmp_path: Path) -> None:
    with (
        pytest.raises(WarehouseError, match="land a partition first"),
        open_warehouse(settings_of(tmp_path / "new"), purpose="test", read_only=True),
    ):
        pass


def test_book_keeping_is_made_once_by_many_at_once(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    settings, failed = settings_of(tmp_path / "many", RATCHET_LOCK_WAIT_SECONDS="30"), []

    def make() -> None:
        try:
            with open_warehouse(settings, purpose="test") as warehouse:
                ops.ensure(warehouse)
                warehouse.index("ops.landings", ("loop", "received_date"))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    if settings.engine == "duckdb":  # one connection to a file at a time
        for thread in threads:
            thread.start()
            thread.join()
    else:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    with open_warehouse(settings, purpose="test") as warehouse:
        found = warehouse.frame("select table_name from information_schema.tables where table_schema = 'ops'")
    assert len(found) >= 7


def in_another_process(settings: Settings, body: str) -> subprocess.CompletedProcess[str]:
    """Run `body` with `warehouse` open, in a process of its own."""
    code = (
        "from ratchet.settings import load_settings\nfrom ratchet.warehouse.connect import open_warehouse\n"
        f"with open_warehouse(load_settings(), purpose='the other') as warehouse:\n    {body}"
    )
    environment = {**os.environ, **environment_of(settings), "PYTHONPATH": str(ROOT / "plugins")}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_lock_by_name_keeps_another_process_waiting_and_names_its_holder(settings: Settings) -> None:
    body = "\n    ".join(("with warehouse.lock('build:flights'):", "    print('inside')"))
    with open_warehouse(settings, purpose="building flights") as warehouse:
        with warehouse.lock("build:flights"), warehouse.lock("build:flights"):
            done = in_another_process(settings, body)
            assert done.returncode != 0
            assert "WarehouseLocked" in done.stderr
            assert "building flights" in done.stderr
            assert "RATCHET_LOCK_WAIT_SECONDS" in done.stderr
        if settings.engine == "postgres":
            assert in_another_process(settings, body).stdout == "inside\n"
    assert in_another_process(settings, body).stdout == "inside\n"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/d",
        "postgresql://u:hunter2@/d",
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@h:port/d",
        "postgresql://h/d?password=hunter2",
        "postgresql://u:hunter2@h/d?options=-c",
        "hunter2",
    ],
)
def test_an_unusable_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="RATCHET_WAREHOUSE_URL") as told:
        load_settings({"RATCHET_WAREHOUSE_URL": url})
    assert "hunter2" not in str(told.value)
