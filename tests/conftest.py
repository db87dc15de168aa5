"""What every test shares: engines that may be missing are named, counted skips; nothing is sent anywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import pytest
from tests.engines import ENGINES, running_postgres, settings_on

from ratchet.settings import Settings

ROOT = Path(__file__).parents[1]

# Airflow reads these once, at its first import, and a test module may import it while it is collected.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="ratchet-airflow-"))
os.environ.update(
    {
        "AIRFLOW_HOME": str(AIRFLOW_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}",
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }
)

REQUIRED = os.environ.get("RATCHET_REQUIRE_ENGINES") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Under RATCHET_REQUIRE_ENGINES=1 a skip is a failure: CI installs everything that a test may need."""
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and RATCHET_REQUIRE_ENGINES=1 allows no skip: {report.longrepr}"
        )
    return report


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine",
        default=",".join(ENGINES),
        help="Engines of the warehouse, comma-separated (default: all).",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `engine`, or for a fixture that does, runs once on each engine."""
    if "engine" in metafunc.fixturenames:
        chosen = [name.strip() for name in metafunc.config.getoption("--engine").split(",")]
        unknown = sorted(set(chosen) - set(ENGINES))
        if unknown:
            raise pytest.UsageError(f"--engine {','.join(unknown)}; there are: {', '.join(ENGINES)}")
        metafunc.parametrize("engine", chosen, scope="session")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The SQLAlchemy URL of a Postgres that lives as long as this worker's tests."""
    with running_postgres() as address:
        yield address


@pytest.fixture(scope="session")
def settings_of(engine: str, request: pytest.FixtureRequest) -> Callable[..., Settings]:
    """Makes settings with an empty warehouse on the engine: `settings_of(home, RATCHET_...=...)`."""
    server = request.getfixturevalue("postgres_server") if engine == "postgres" else None

    def make(home: Path, **variables: str) -> Settings:
        return settings_on(engine, home, server, **variables)

    return make
