"""The build's task gives dbt its way into the warehouse, and keeps it out of what Airflow stores of a run."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import pytest

pytestmark = pytest.mark.airflow


@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_the_password_is_in_the_process_only(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    from cosmos.operators.local import DbtBuildLocalOperator

    from ratchet.airflow.dbt import DbtBuild
    from ratchet.stages import dbt_environment

    if target == "postgres":
        monkeypatch.setenv("RATCHET_WAREHOUSE_URL", "postgresql://ratchet:hunter2@db:5433/warehouse")
    else:
        monkeypatch.delenv("RATCHET_WAREHOUSE_URL", raising=False)
    seen: dict[str, Any] = {}

    def execute(self: Any, context: Any, **kwargs: Any) -> None:
        seen.update(os.environ, _rendered=str({name: getattr(self, name) for name in self.template_fields}))

    monkeypatch.setattr(DbtBuildLocalOperator, "execute", execute)
    monkeypatch.setattr(dbt_environment, "warehouse_for_dbt", lambda *args: nullcontext())
    built = DbtBuild.of(task_id="build_models", loop="flights")
    built.execute({})
    assert built.profile_config.target_name == target
    assert seen["RATCHET_DBT_TARGET"] == target
    assert "RATCHET_DBT_TARGET" in seen["_rendered"], "what Airflow stores was looked at"
    assert "hunter2" not in seen["_rendered"]
    if target == "postgres":
        assert seen["DBT_ENV_SECRET_RATCHET_PASSWORD"] == "hunter2"
        assert (seen["RATCHET_DBT_HOST"], seen["RATCHET_DBT_PORT"]) == ("db", "5433")
    assert "DBT_ENV_SECRET_RATCHET_PASSWORD" not in os.environ
