"""Prepare the embedded default: databases, pool, dbt's parse. What is done already is skipped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from ratchet.landing.contract import load_contract
from ratchet.landing.land import ensure_tables
from ratchet.landing.people import person_key
from ratchet.ledger.store import migrate
from ratchet.loop import load_loops
from ratchet.published import write_atomically
from ratchet.registry.models import Registry
from ratchet.replay.services import prepare_database
from ratchet.settings import Settings
from ratchet.stages.dbt_environment import run_dbt
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.ops import ensure


def _digest(settings: Settings, patterns: tuple[tuple[str, str], ...]) -> str:
    digest = hashlib.sha256()
    for folder, pattern in patterns:
        for path in sorted((settings.root / folder).rglob(pattern)):
            digest.update(str(path.relative_to(settings.root)).encode() + path.read_bytes())
    return digest.hexdigest()


def prepare(settings: Settings, log: Callable[[str], None], *, with_airflow: bool = True) -> None:
    """Make everything that a first run needs; each step is skipped while what it depends on is unchanged.

    Raises:
        LoopFileError: a loop file is unusable.
        ServiceFailed: Airflow's database could not be made.
        BuildFailed: the dbt project does not parse.
    """
    load_loops(settings.loops_dir)
    stamp = settings.home / "setup.json"
    done = json.loads(stamp.read_text()) if stamp.exists() else {}
    lock = hashlib.sha256((settings.root / "requirements.lock").read_bytes()).hexdigest()
    steps: list[tuple[str, str, Callable[[], None]]] = [
        (
            "ledger",
            _digest(settings, (("plugins/ratchet/ledger/migrations", "*.py"),)),
            lambda: migrate(settings.ledger_url),
        ),
        (
            "warehouse",
            _digest(
                settings, (("plugins/ratchet/warehouse", "ops.py"), ("dbt/models/staging/sources", "*.yml"))
            )
            + f" {settings.warehouse_name}",
            lambda: _warehouse(settings),
        ),
        ("key for people's ids", "made", lambda: _person_key(settings)),
        ("model registry", lock, lambda: _registry(settings)),
        ("Airflow metadata", f"{lock} {settings.warehouse_slots}", lambda: prepare_database(settings)),
        (
            "dbt parse",
            _digest(settings, (("dbt", "*.sql"), ("dbt", "*.yml"))),
            lambda: run_dbt(settings, ["--quiet", "parse"]),
        ),
    ]
    for name, state, step in steps:
        if done.get(name) == state or (name == "Airflow metadata" and not with_airflow):
            continue
        log(f"setting up: {name}")
        step()
        done[name] = state
        write_atomically(stamp, json.dumps(done, sort_keys=True).encode())


def _warehouse(settings: Settings) -> None:
    """Book-keeping tables, and the columns that contracts have gained since rows landed: a build reads them."""
    with open_warehouse(settings, purpose="setting up") as warehouse:
        ensure(warehouse)
        sources = {source for loop in load_loops(settings.loops_dir).values() for source in loop.sources}
        contracts = {source: load_contract(settings.dbt_dir, source) for source in sorted(sources)}
        ensure_tables(warehouse, contracts, only_those_there=True)


def _person_key(settings: Settings) -> None:
    person_key(settings)


def _registry(settings: Settings) -> None:
    settings.artifacts_dir.mkdir(parents=True, exist_ok=True)
    Registry(settings).aliases("none")  # the first question makes MLflow create its tables
