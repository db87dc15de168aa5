"""Where everything lives. The only module that reads environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

#: Every variable that Ratchet reads, with what it means. `.env.example` lists the same names.
VARIABLES = {
    "RATCHET_ROOT": "the checkout: loops/, dbt/, dags/, expectations/ (default: found from this file)",
    "RATCHET_HOME": "all state: warehouse, ledger, registry, landing (default: <root>/var)",
    "RATCHET_WAREHOUSE_URL": "postgresql://user:password@host:port/database, a secret (default: the DuckDB file)",
    "RATCHET_WAREHOUSE_PATH": "the DuckDB file (default: <home>/warehouse/ratchet.duckdb)",
    "RATCHET_LANDING_DIR": "where sources leave their files (default: <home>/landing)",
    "RATCHET_LEDGER_URL": "SQLAlchemy URL of the decision ledger (default: SQLite under <home>)",
    "RATCHET_MLFLOW_URI": "MLflow tracking and registry URI (default: SQLite under <home>)",
    "RATCHET_MLFLOW_UI": "address of MLflow's pages for a browser, linked from Ratchet's (default: no link)",
    "RATCHET_DBT_DOCS": "address of the dbt docs for a browser, linked from Ratchet's pages (default: no link)",
    "RATCHET_DUCKDB_MEMORY_MB": "memory of DuckDB before it spills beside its file (default: half of the machine's)",
    "RATCHET_LOCK_WAIT_SECONDS": "how long a process waits for the warehouse (default: 600)",
    "RATCHET_PRELOAD": "1: the scheduler imports the heavy libraries once, for the tasks that it forks",
    "RATCHET_THREADS": "threads of a model fit (default: 2)",
    "RATCHET_SENSOR_POLL_SECONDS": "how often a deferred sensor looks again (default: 2)",
    "RATCHET_PERSON_KEY": "the secret under which people's ids are hashed (default: a file made under <home>)",
    "RATCHET_FEEDBACK_KEY": "what the feedback endpoint wants as bearer token, a secret (default: it asks for none)",
    "RATCHET_CONNECTION_": "and a name in capitals: the URL of that connection of a loop file (a secret)",
}


class SettingsError(ValueError):
    """A setting is present but unusable; the message names it and what to do."""


@dataclass(frozen=True)
class PostgresAddress:
    """Where the warehouse's Postgres is and how to get in; `tls` holds libpq's ssl* parameters."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    tls: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The database without its secret, for messages."""
        return f"postgresql://{self.host}:{self.port}/{self.database}"


#: What an address may say about TLS, in libpq's words.
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")


def postgres_address(url: str) -> PostgresAddress:
    """The parts of RATCHET_WAREHOUSE_URL.

    Raises:
        SettingsError: it is no complete address; the message never holds the address, which has a password.
    """
    remedy = (
        "RATCHET_WAREHOUSE_URL (not shown, it may hold a password) {}; "
        "give postgresql://user:password@host:port/database, or unset it for DuckDB"
    )
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        raise SettingsError(remedy.format("is no address")) from None
    if parts.scheme not in ("postgresql", "postgres", "postgresql+psycopg2"):
        raise SettingsError(remedy.format("does not start with postgresql://"))
    database, user = unquote(parts.path.lstrip("/")), unquote(parts.username or "")
    lacks = [
        name
        for name, value in (("host", parts.hostname), ("user", user), ("database", database))
        if not value
    ]
    if lacks:
        raise SettingsError(remedy.format(f"names no {' and no '.join(lacks)}"))
    said = parse_qsl(parts.query)
    if any(name not in _TLS for name, _ in said):
        raise SettingsError(remedy.format(f"may only add {', '.join(_TLS)} after its ?"))
    return PostgresAddress(
        str(parts.hostname), port, database, user, unquote(parts.password or ""), tuple(sorted(said))
    )


@dataclass(frozen=True)
class Settings:
    """Resolved paths and URLs. Built by `load_settings`; never mutated."""

    root: Path
    home: Path
    warehouse_path: Path
    landing_dir: Path
    ledger_url: str
    mlflow_uri: str
    lock_wait_seconds: float = 600.0
    duckdb_memory_mb: int = 4000
    preload: bool = False
    threads: int = 2
    sensor_poll_seconds: float = 2.0
    #: URLs by connection name. They hold passwords: never shown, logged or passed on but to the client itself.
    connections: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Empty: the key file under `home`.
    person_key: str = field(default="", repr=False)
    #: Addresses for a browser, http(s); empty: no link.
    mlflow_ui: str = ""
    dbt_docs: str = ""
    #: Bearer token of the feedback endpoint; empty: anybody who reaches it may write.
    feedback_key: str = field(default="", repr=False)
    #: Of Postgres, with its password; empty on DuckDB.
    warehouse_url: str = field(default="", repr=False)

    @property
    def engine(self) -> Literal["duckdb", "postgres"]:
        """Which engine the warehouse runs on."""
        return "postgres" if self.warehouse_url else "duckdb"

    @property
    def warehouse_slots(self) -> int:
        """How many tasks work in the warehouse at once: a DuckDB file has one writer."""
        return 4 if self.engine == "postgres" else 1

    @property
    def warehouse_name(self) -> str:
        """The warehouse in messages: a file, or an address without its secret."""
        return postgres_address(self.warehouse_url).name if self.warehouse_url else str(self.warehouse_path)

    @property
    def warehouse_lock_path(self) -> Path:
        return self.warehouse_path.with_suffix(".lock")

    @property
    def snapshots_dir(self) -> Path:
        return self.home / "snapshots"

    @property
    def published_dir(self) -> Path:
        return self.home / "published"

    @property
    def routing_dir(self) -> Path:
        return self.home / "routing"

    @property
    def candidates_dir(self) -> Path:
        return self.home / "candidates"

    @property
    def artifacts_dir(self) -> Path:
        return self.home / "mlflow" / "artifacts"

    @property
    def gx_dir(self) -> Path:
        return self.home / "gx"

    @property
    def dbt_target_dir(self) -> Path:
        return self.home / "dbt" / "target"

    @property
    def dbt_log_dir(self) -> Path:
        return self.home / "dbt" / "logs"

    @property
    def dbt_dir(self) -> Path:
        return self.root / "dbt"

    @property
    def loops_dir(self) -> Path:
        return self.root / "loops"

    @property
    def suites_dir(self) -> Path:
        return self.root / "expectations" / "suites"


def _number(env: Mapping[str, str], name: str, default: float, minimum: float) -> float:
    raw = env.get(name, "")
    if not raw:
        return default
    try:
        value = float(raw)
    except ValueError:
        raise SettingsError(f"{name}={raw!r} is not a number; unset it or give one, like {default}") from None
    if not value >= minimum:
        raise SettingsError(f"{name}={raw!r} must be at least {minimum}")
    return value


def _address(env: Mapping[str, str], name: str) -> str:
    url = env.get(name, "").strip()
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        raise SettingsError(
            f"{name}={url!r} is no address that a browser opens; give http(s)://host/, or unset it"
        )
    return url.rstrip("/")


def _half_of_memory() -> int:
    """Half of the machine's memory in MB: what DuckDB may take where nobody says otherwise."""
    return max(1000, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2_000_000)


def _connections(env: Mapping[str, str]) -> dict[str, str]:
    prefix = "RATCHET_CONNECTION_"
    return {
        name.removeprefix(prefix).lower(): url for name, url in env.items() if name.startswith(prefix) and url
    }


def load_settings(env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment (or from `env`, for tests).

    Raises:
        SettingsError: a number is not a number or out of range, an address is unusable, or the
            root holds no loops/.
    """
    env = os.environ if env is None else env
    root = Path(env.get("RATCHET_ROOT") or Path(__file__).resolve().parents[2]).resolve()
    if not (root / "loops").is_dir():
        raise SettingsError(f"{root} has no loops/ folder; set RATCHET_ROOT to the checkout of Ratchet")
    home = Path(env.get("RATCHET_HOME") or root / "var").resolve()
    warehouse_url = env.get("RATCHET_WAREHOUSE_URL", "").strip()
    if warehouse_url:
        postgres_address(warehouse_url)
    return Settings(
        root=root,
        home=home,
        warehouse_path=Path(env.get("RATCHET_WAREHOUSE_PATH") or home / "warehouse" / "ratchet.duckdb"),
        landing_dir=Path(env.get("RATCHET_LANDING_DIR") or home / "landing"),
        ledger_url=env.get("RATCHET_LEDGER_URL") or f"sqlite:///{home / 'ledger' / 'ledger.db'}",
        mlflow_uri=env.get("RATCHET_MLFLOW_URI") or f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
        lock_wait_seconds=_number(env, "RATCHET_LOCK_WAIT_SECONDS", 600.0, 0.0),
        # With less, a build of years has no room left for what it cannot spill.
        duckdb_memory_mb=int(_number(env, "RATCHET_DUCKDB_MEMORY_MB", _half_of_memory(), 500)),
        preload=env.get("RATCHET_PRELOAD") == "1",
        threads=int(_number(env, "RATCHET_THREADS", 2, 1)),
        sensor_poll_seconds=_number(env, "RATCHET_SENSOR_POLL_SECONDS", 2.0, 0.1),
        mlflow_ui=_address(env, "RATCHET_MLFLOW_UI"),
        dbt_docs=_address(env, "RATCHET_DBT_DOCS"),
        warehouse_url=warehouse_url,
        connections=_connections(env),
        person_key=env.get("RATCHET_PERSON_KEY", "").strip(),
        feedback_key=env.get("RATCHET_FEEDBACK_KEY", "").strip(),
    )


def process_environment() -> dict[str, str]:
    """A copy of this process's environment, for the processes that it starts."""
    return dict(os.environ)
