"""What only Postgres has to promise: there, many have the warehouse at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tests.engines import settings_on

from ratchet.settings import Settings, postgres_address
from ratchet.stages.dbt_environment import dbt_access, dbt_environment, run_dbt
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, WarehouseError, WarehouseLocked

ROWS = pd.DataFrame({"n": range(3)})


@pytest.fixture
def settings(postgres_server: str, tmp_path: Path) -> Settings:
    settings = settings_on("postgres", tmp_path, postgres_server, RATCHET_LOCK_WAIT_SECONDS="0.3")
    with open_warehouse(settings, purpose="test") as warehouse:
        ops.ensure(warehouse)
        warehouse.execute("create table raw.t (n integer)")
        warehouse.append("raw.t", ROWS)
    return settings


def on_thread(work: Callable[[], None]) -> list[BaseException]:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return failed


def test_readers_see_one_moment_and_wait_for_nobody(settings: Settings) -> None:
    def read() -> None:
        with open_warehouse(settings, purpose="reader", read_only=True) as warehouse:
            assert warehouse.scalar("select count(*) from raw.t") == 3

    with (
        open_warehouse(settings, purpose="writer") as writer,
        writer.lock("build:flights"),
        writer.transaction(),
    ):
        writer.execute("delete from raw.t")
        assert on_thread(read) == []
    with open_warehouse(settings, purpose="reader", read_only=True) as reader:
        assert reader.scalar("select count(*) from raw.t") == 0

        def write() -> None:
            with open_warehouse(settings, purpose="writer") as warehouse:
                warehouse.append("raw.t", ROWS)

        assert on_thread(write) == []
        assert reader.scalar("select count(*) from raw.t") == 0, "still the moment that the reader opened at"


def test_a_lock_in_a_transaction_is_kept_until_it_has_ended_and_shared_ones_stand_together(
    settings: Settings,
) -> None:
    def take(shared: bool) -> Callable[[], None]:
        def work() -> None:
            with open_warehouse(settings, purpose="second") as warehouse, warehouse.lock("x", shared=shared):
                pass

        return work

    with open_warehouse(settings, purpose="first") as warehouse:
        with warehouse.transaction():
            with warehouse.lock("x"):
                pass
            assert isinstance(on_thread(take(False))[0], WarehouseLocked)
        assert on_thread(take(False)) == []
        with warehouse.lock("x", shared=True):
            assert on_thread(take(True)) == []
            assert isinstance(on_thread(take(False))[0], WarehouseLocked)
        assert on_thread(take(False)) == []


def test_a_lock_that_was_lost_is_told(settings: Settings) -> None:
    def cut(warehouse: Warehouse) -> Callable[[], None]:
        pid = warehouse.scalar("select pg_backend_pid()")

        def work() -> None:
            with open_warehouse(settings, purpose="axe") as other:
                other.execute("select pg_terminate_backend(?)", (pid,))

        return work

    with (
        open_warehouse(settings, purpose="building") as warehouse,
        pytest.raises(WarehouseError, match=r"build:flights .* was lost while building ran"),
        warehouse.lock("build:flights"),
    ):
        assert on_thread(cut(warehouse)) == []


def test_the_address_holds_a_secret_that_nobody_is_shown(settings: Settings) -> None:
    address = settings.warehouse_url.replace("ratchet@", "ratchet:hunter2%40@")
    guarded = replace(settings, warehouse_url=address)
    assert postgres_address(address).password == "hunter2@"
    assert "hunter2" not in repr(guarded) + repr(postgres_address(address)) + guarded.warehouse_name
    wrong = replace(guarded, warehouse_url=address.rpartition("/")[0] + "/nothing_here")
    with pytest.raises(WarehouseError) as told, open_warehouse(wrong, purpose="test"):
        pass
    assert "nothing_here" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_a_database_with_another_order_of_text_is_refused(settings: Settings) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        known = warehouse.scalar(
            "select min(collname) from pg_collation where collname in ('en_US.utf8', 'en_US')"
        )
        name = "other_" + settings.warehouse_url.rpartition("_")[2]
        if known is None:
            warehouse.execute(
                f"create database {name} locale_provider icu icu_locale 'en-US' locale 'C' template template0"
            )
        else:
            warehouse.execute(
                f"create database {name} lc_collate '{known}' lc_ctype '{known}' template template0"
            )
    other = replace(settings, warehouse_url=f"{settings.warehouse_url.rpartition('/')[0]}/{name}")
    with pytest.raises(WarehouseError, match="lc_collate 'C'"), open_warehouse(other, purpose="test"):
        pass


def test_dbt_gets_in_and_leaves_no_password_behind(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    guarded = replace(settings, warehouse_url=settings.warehouse_url.replace("ratchet@", "ratchet:hunter2@"))
    assert "hunter2" not in str(dbt_environment(guarded))
    with dbt_access(guarded):
        assert os.environ["DBT_ENV_SECRET_RATCHET_PASSWORD"] == "hunter2"
    assert "DBT_ENV_SECRET_RATCHET_PASSWORD" not in os.environ
    run_dbt(guarded, ["--log-level", "debug", "compile", "--select", "stg_planes__planes"])
    written = [path for path in guarded.home.rglob("*") if path.is_file()]
    assert any(path.name == "dbt.log" for path in written)
    assert [path.name for path in written if b"hunter2" in path.read_bytes()] == []
    assert "hunter2" not in caplog.text


def test_a_build_waits_for_the_loops_other_build_and_says_whose(settings: Settings) -> None:
    def build() -> None:
        run_dbt(settings, ["build", "--selector", "flights"])

    with open_warehouse(settings, purpose="rebuilding flights") as warehouse, warehouse.lock("build:flights"):
        (refused,) = on_thread(build)
    assert isinstance(refused, WarehouseLocked)
    assert "rebuilding flights" in str(refused)


def test_the_pool_has_a_slot_for_each_landing_at_once(settings: Settings) -> None:
    assert settings.warehouse_slots == 4
    assert replace(settings, warehouse_url="").warehouse_slots == 1
