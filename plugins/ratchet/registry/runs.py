"""Runs of the sandbox, in an MLflow experiment of their own. Has no way to register a model or to move an alias."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratchet.settings import Settings

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def experiment_name(loop: str) -> str:
    """Where a loop's sandbox keeps its runs; never the experiment of its models."""
    return f"{loop}-sandbox"


class SandboxRuns:
    """Logs runs of one loop's sandbox."""

    def __init__(self, settings: Settings, loop: str) -> None:
        from mlflow import MlflowClient

        is_local = settings.mlflow_uri.startswith("sqlite:///")
        if is_local:
            Path(settings.mlflow_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=settings.mlflow_uri)
        found = self._client.get_experiment_by_name(experiment_name(loop))
        location = (settings.home / "sandbox" / loop / "mlflow").as_uri() if is_local else None
        self._experiment = (
            found.experiment_id
            if found is not None
            else self._client.create_experiment(experiment_name(loop), artifact_location=location)
        )

    def log(
        self,
        *,
        sandbox: str,
        name: str,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        verdict: str,
    ) -> str:
        """Log one candidate's run; the run's id. The same candidate of the same experiment is logged once."""
        from mlflow.entities import Metric, Param

        known = self._client.search_runs(
            [self._experiment], f"tags.sandbox = '{sandbox}' and tags.candidate = '{name}'", max_results=1
        )
        if known:
            return str(known[0].info.run_id)
        run = self._client.create_run(
            self._experiment,
            run_name=f"{name} ({sandbox})",
            tags={"sandbox": sandbox, "candidate": name, "verdict": verdict},
        )
        run_id = str(run.info.run_id)
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, float(value), 0, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in params.items()],
        )
        self._client.set_terminated(run_id)
        return run_id
