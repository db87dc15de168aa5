"""The few calls of Airflow's REST API that the replay needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import requests

ACTIVE = ("queued", "running")


class AirflowError(RuntimeError):
    """Airflow refused a call or a run failed; the message says which and where to look."""


@dataclass(frozen=True)
class Run:
    """A DAG run."""

    dag_id: str
    run_id: str
    state: str


class AirflowApi:
    """A client of one Airflow at `url`, as its local admin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False
        token = self._session.get(f"{url}/auth/token", timeout=10)
        token.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def _call(self, method: str, path: str, **kwargs: Any) -> Any:
        # SQLite may be busy for a moment; a repeated read or a run with a fixed id does no harm.
        for attempt in range(5):
            answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=30, **kwargs)
            if answer.status_code < 500:
                break
            time.sleep(0.5 * (attempt + 1))
        if not answer.ok:
            raise AirflowError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def dags(self) -> set[str]:
        """Ids of the DAGs that were parsed."""
        return {dag["dag_id"] for dag in self._call("GET", "/dags", params={"limit": 100})["dags"]}

    def wait_for_dags(self, wanted: set[str], seconds: float = 120.0) -> None:
        """Until every DAG of `wanted` is parsed; lets each run.

        Raises:
            AirflowError: a DAG file does not import, or one is missing after `seconds`.
        """
        deadline = time.monotonic() + seconds
        while not wanted <= self.dags():
            errors = self.import_errors()
            if errors:
                raise AirflowError("a DAG file does not import: " + "; ".join(errors))
            if time.monotonic() > deadline:
                raise AirflowError(
                    f"not parsed after {seconds:.0f} s: {', '.join(sorted(wanted - self.dags()))}"
                )
            time.sleep(0.3)
        for dag_id in sorted(wanted):
            self.unpause(dag_id)

    def import_errors(self) -> list[str]:
        """What failed to parse."""
        errors = self._call("GET", "/importErrors", params={"limit": 20})["import_errors"]
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in errors]

    def start(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> Run:
        """Start a run; one of this id that exists is left as it is, or repeated from where it failed."""
        path = f"/dags/{dag_id}/dagRuns"
        answer = self._session.post(
            f"{self.url}/api/v2{path}",
            json={"dag_run_id": run_id, "logical_date": None, "conf": conf},
            timeout=30,
        )
        if answer.status_code == 409:
            state = self._call("GET", f"{path}/{run_id}")["state"]
            if state == "failed":  # left by a replay that stopped: its tasks may be repeated
                self._call("POST", f"{path}/{run_id}/clear", json={"dry_run": False, "only_failed": True})
                state = "queued"
            return Run(dag_id, run_id, state)
        if not answer.ok:
            raise AirflowError(f"{dag_id} could not be started: {answer.status_code} {answer.text[:500]}")
        return Run(dag_id, run_id, answer.json()["state"])

    def runs(self, states: tuple[str, ...]) -> list[Run]:
        """All runs in one of `states`."""
        found = self._call("GET", "/dags/~/dagRuns", params={"state": list(states), "limit": 100})["dag_runs"]
        return [Run(run["dag_id"], run["dag_run_id"], run["state"]) for run in found]

    def state(self, run: Run) -> str:
        """The state of a run now."""
        return str(self._call("GET", f"/dags/{run.dag_id}/dagRuns/{run.run_id}")["state"])

    def count(self, state: str) -> int:
        """How many runs are in `state`."""
        answer = self._call("GET", "/dags/~/dagRuns", params={"state": [state], "limit": 1})
        return int(answer["total_entries"])

    def tasks(self, run: Run) -> dict[str, str]:
        """Task id -> state of a run."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
        return {t["task_id"]: t["state"] or "none" for t in self._call("GET", path)["task_instances"]}

    def unpause(self, dag_id: str) -> None:
        """Let the runs of `dag_id` start."""
        self._call("PATCH", f"/dags/{dag_id}", json={"is_paused": False}, params={"update_mask": "is_paused"})

    def log_tail(self, run: Run, task_id: str, lines: int = 12) -> str:
        """The end of a task's last log, for a message."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/logs/1"
        try:
            content = self._call("GET", path, headers={"Accept": "application/json"})["content"]
        except (AirflowError, KeyError, ValueError):
            return "(no log)"
        texts = [_text(item) for item in content]
        return "\n".join(texts[-lines:])


def _text(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    causes = [f"{e.get('exc_type')}: {e.get('exc_value')}" for e in item.get("error_detail") or []]
    return "\n".join([str(item.get("event", item)), *causes])
