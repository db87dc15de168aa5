"""dbt that is run by hand waits for the warehouse like everyone else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ratchet.settings import load_settings
from ratchet.warehouse.dbt_plugin import Plugin
from ratchet.warehouse.lock import is_held, release, warehouse_lock


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    monkeypatch.setenv("RATCHET_LOCK_WAIT_SECONDS", "0.2")
    monkeypatch.delenv("RATCHET_WAREHOUSE_PATH", raising=False)
    return tmp_path


def connect(path: Path) -> None:
    credentials = SimpleNamespace(path=str(path), settings={})
    plugin = Plugin(name="lock", plugin_config={}, credentials=credentials)
    plugin.update_connection_config(credentials, {})


def test_it_takes_the_lock_once_before_dbt_connects(home: Path) -> None:
    settings = load_settings()
    try:
        connect(settings.warehouse_path)
        assert is_held(settings.warehouse_lock_path)
        connect(settings.warehouse_path)
    finally:
        release(settings.warehouse_lock_path)
    assert not is_held(settings.warehouse_lock_path)


def test_it_does_nothing_where_the_process_holds_the_lock(home: Path) -> None:
    settings = load_settings()
    with warehouse_lock(settings, "build"):
        connect(settings.warehouse_path)
    assert not is_held(settings.warehouse_lock_path)


def test_another_file_is_not_its_business(home: Path, tmp_path: Path) -> None:
    connect(tmp_path / "other.duckdb")
    assert not is_held(load_settings().warehouse_lock_path)


def test_creating_the_plugin_takes_nothing(home: Path) -> None:
    settings = load_settings()
    Plugin(name="lock", plugin_config={}, credentials=SimpleNamespace(path=str(settings.warehouse_path)))
    assert not is_held(settings.warehouse_lock_path)
