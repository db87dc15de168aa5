"""Addresses of what a page mentions. Each is None where there is no such page to go to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from ratchet.pages.parts import Cell
from ratchet.settings import Settings

#: What is said in place of a link that would lead nowhere.
NO_MLFLOW = "not linked: `make mlflow` serves them; RATCHET_MLFLOW_UI says where"
NO_DBT_DOCS = "not linked: serve `ratchet dbt docs generate`'s pages; RATCHET_DBT_DOCS says where"


@dataclass(frozen=True)
class Links:
    """Links of one loop's pages. `own` is where the pages are, `airflow` where Airflow is; None: a file to send."""

    loop: str
    settings: Settings
    own: str | None = None
    airflow: str | None = None
    shown: frozenset[int] = frozenset()
    """Numbers of the decisions that a file holds itself."""

    def page(self, slug: str) -> str | None:
        return f"#{slug}" if self.own is None else f"{self.own}/{self.loop}/{slug}"

    def decision(self, seq: int, text: str | None = None) -> Cell:
        """The certificate of entry `seq`."""
        said = text or f"entry {seq}"
        if self.own is None:
            return Cell(said, link=f"#decision-{seq}" if seq in self.shown else None)
        return Cell(said, link=f"{self.own}/{self.loop}/decisions/{seq}")

    def dag(self, stage: str) -> Cell:
        """The page of a stage's DAG."""
        name = f"{self.loop}__{stage}"
        return Cell(
            name, link=None if self.airflow is None else f"{self.airflow}/dags/{name}", is_outside=True
        )

    def run(self, told: str) -> Cell:
        """The page of an Airflow run, told as `dag/run`."""
        dag, _, run = told.partition("/")
        if self.airflow is None or not run:
            return Cell(told)
        return Cell(
            told, link=f"{self.airflow}/dags/{quote(dag)}/runs/{quote(run, safe='')}", is_outside=True
        )

    def model_run(self, run_id: str) -> Cell:
        """The page of an MLflow run; its experiment is named after the loop, and search finds the run."""
        base = self.settings.mlflow_ui
        link = f"{base}/#/experiments/0/runs/{quote(run_id)}" if base else None
        return Cell(run_id, link=link, is_outside=True)

    def data_docs(self) -> str | None:
        """The Data Docs that Great Expectations wrote, if it did."""
        if self.own is None or not (self.settings.gx_dir / "data_docs" / "index.html").exists():
            return None
        return f"{self.own}/{self.loop}/data-docs/index.html"

    def beside(self) -> tuple[tuple[str, Cell], ...]:
        """Where to look further."""
        found: list[tuple[str, Cell]] = [
            (title, self.dag(stage))
            for title, stage in (
                ("Ingest", "ingest_events"),
                ("Build", "build_warehouse"),
                ("Monitoring", "monitor_model"),
                ("Training", "train_model"),
                ("Rollout", "run_rollout"),
            )
        ]
        docs = self.data_docs()
        # A file to send around holds no Data Docs, whether or not they were written.
        without = (
            "Data Docs, beside the pages in Airflow" if self.own is None else "no Data Docs were written yet"
        )
        found.append(("Gate results", Cell("Data Docs" if docs else without, link=docs)))
        for title, text, url, missing in (
            ("Models", "MLflow", self.settings.mlflow_ui, NO_MLFLOW),
            ("Tables", "dbt docs", self.settings.dbt_docs, NO_DBT_DOCS),
        ):
            cell = Cell(text, link=url, is_outside=True) if url else Cell(missing, "faint")
            found.append((title, cell))
        return tuple(found)
