"""A build leaves unchanged views alone, replaces changed ones in place, and never lets a reader miss the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.engines import settings_on

from ratchet.landing.contract import load_contract
from ratchet.settings import Settings
from ratchet.stages.dbt_environment import run_dbt
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse

VIEW, READER = "staging.stg_planes__planes", "staging.reads_planes"


def _build(settings: Settings) -> None:
    run_dbt(settings, ["--quiet", "run", "--select", "stg_planes__planes"])


def _execute(settings: Settings, *statements: str) -> None:
    with open_warehouse(settings, purpose="test") as warehouse:
        for statement in statements:
            warehouse.execute(statement)


def _columns(settings: Settings, view: str) -> list[str]:
    with open_warehouse(settings, purpose="test", read_only=True) as warehouse:
        return list(warehouse.frame(f"select * from {view} limit 0").columns)


def _comment(settings: Settings) -> str:
    comment = (
        "select comment from duckdb_views() where schema_name = 'staging' and view_name = 'stg_planes__planes'"
        if settings.engine == "duckdb"
        else f"select obj_description(to_regclass('{VIEW}'), 'pg_class')"
    )
    with open_warehouse(settings, purpose="test", read_only=True) as warehouse:
        return str(warehouse.scalar(comment))


@pytest.fixture
def built(engine: str, tmp_path: Path, postgres_server: str) -> Settings:
    settings = settings_on(engine, tmp_path, postgres_server)
    with open_warehouse(settings, purpose="test") as warehouse:
        ops.ensure(warehouse)
        warehouse.execute(load_contract(settings.dbt_dir, "planes").ddl())
    _build(settings)
    _execute(settings, f"create view {READER} as select count(*) as n from {VIEW}")
    return settings


def test_a_changed_view_is_replaced_and_those_that_read_it_stay(built: Settings) -> None:
    columns, written = _columns(built, VIEW), _comment(built)
    assert written.startswith("ratchet ")
    names = ", ".join(f'"{name}"' for name in columns)
    _execute(
        built,
        f"create or replace view {VIEW} as select {names} from raw.planes where false",
        f"comment on view {VIEW} is 'another statement'",
    )
    _build(built)
    assert _comment(built) == written
    assert _columns(built, VIEW) == columns
    assert _columns(built, READER) == ["n"], "its reader is still there"


def test_an_unchanged_view_is_left_alone(built: Settings) -> None:
    written = _comment(built)
    _execute(
        built,
        f"drop view {VIEW} cascade",
        f"create view {VIEW} as select 1 as planted",
        f"comment on view {VIEW} is '{written}'",
    )
    _build(built)
    assert _columns(built, VIEW) == ["planted"], "the same statement is not run again"


def test_a_view_whose_columns_changed_is_made_anew(built: Settings) -> None:
    columns = _columns(built, VIEW)
    _execute(built, f"drop view {VIEW} cascade", f"create view {VIEW} as select 1 as planted")
    _build(built)
    assert _columns(built, VIEW) == columns
