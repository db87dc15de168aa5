"""What these tests share: Airflow's database, and its folders on the path as the scheduler has them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.conftest import AIRFLOW_HOME, ROOT


@pytest.fixture(scope="session", autouse=True)
def airflow_home() -> Path:
    """AIRFLOW_HOME of these tests; the database in it is migrated once."""
    os.environ["RATCHET_HOME"] = str(AIRFLOW_HOME / "ratchet")
    for folder in (ROOT / "plugins", ROOT / "dags"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    from airflow.utils.db import initdb

    initdb()
    return AIRFLOW_HOME
