"""An empty installation on each engine; worlds that are made once a worker and copied for each test that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.integration import served_world, small_world

from ratchet.loop import Loop, load_loop
from ratchet.settings import Settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse


@pytest.fixture
def settings(settings_of: Callable[..., Settings], tmp_path: Path) -> Settings:
    """An installation with an empty warehouse on the engine."""
    return settings_of(tmp_path)


@pytest.fixture
def loop(settings: Settings) -> Loop:
    return load_loop(settings.loops_dir / "flights.yml")


@pytest.fixture
def wh(settings: Settings) -> Iterator[Warehouse]:
    with open_warehouse(settings, purpose="test") as warehouse:
        yield warehouse


@pytest.fixture(scope="session")
def made_world(tmp_path_factory: pytest.TempPathFactory) -> small_world.SmallWorld:
    """The world as it was made; not to be changed."""
    return small_world.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(made_world: small_world.SmallWorld, tmp_path: Path) -> small_world.SmallWorld:
    """A copy of its own."""
    return made_world.copied(tmp_path / "home")


@pytest.fixture(scope="session")
def served_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with registered models and an empty ledger; not to be changed."""
    home = tmp_path_factory.mktemp("served")
    served_world.make(home)
    return home


@pytest.fixture
def served(served_template: Path, tmp_path: Path) -> served_world.ServedWorld:
    """A copy of its own."""
    return served_world.copied(served_template, tmp_path / "home")
