"""Registers Ratchet with Airflow.

In the scheduler of the embedded default it also imports the heavy libraries once: LocalExecutor forks its
tasks from there, so no task pays for them again. Imports only: a thread, an OpenMP call or a database handle
before the fork would break the children.
"""

from __future__ import annotations

import importlib
import sys

from airflow.plugins_manager import AirflowPlugin

from ratchet.airflow.timetable import SpanTimetable
from ratchet.airflow.ui import external_views, fastapi_apps
from ratchet.settings import load_settings

HEAVY = (
    "pandas",
    "pyarrow.parquet",
    "duckdb",
    "dbt.cli.main",
    "dbt.adapters.duckdb",
    "dbt.task.build",
    "xgboost",
    "mlflow",
    "sklearn.linear_model",
    "scipy.stats",
    "great_expectations",
    "cosmos.operators.local",
)


class RatchetPlugin(AirflowPlugin):
    """Ratchet in Airflow."""

    name = "ratchet"
    timetables = [SpanTimetable]  # noqa: RUF012  (Airflow's own form)
    fastapi_apps = fastapi_apps()
    external_views = external_views()


if load_settings().preload and "scheduler" in sys.argv:
    import ratchet.registry.models  # noqa: F401  (sets MLflow's switches before MLflow is imported)

    for module in HEAVY:
        importlib.import_module(module)
