"""Plays a world through the real landing, the real dbt project and the real publication, in this process."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from tests.reference.flights import Row
from tests.reference.worlds import File, Step

from ratchet.landing.contract import load_contract
from ratchet.ledger.store import migrate
from ratchet.loop import load_loop
from ratchet.settings import load_settings
from ratchet.stages import build as build_stage
from ratchet.stages import dbt_environment
from ratchet.stages.ingest import judge_landing, land
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.ops import ensure

ROOT = Path(__file__).parents[2]


def quiet(_: str) -> None:
    return None


def lenient_checkout(folder: Path) -> Path:
    """A checkout beside the real one whose suites let a handful of rows pass, and where one answer is a share."""
    suites = folder / "expectations" / "suites"
    suites.mkdir(parents=True)
    for name in ("loops", "plugins", "dags"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "dbt").mkdir()
    for path in sorted((ROOT / "dbt").iterdir()):
        (folder / "dbt" / path.name).symlink_to(path)
    project = (ROOT / "dbt" / "dbt_project.yml").read_text(encoding="utf-8")
    few = "flights_complaints_min_answers: 1\n"
    lowered = re.sub(r"flights_complaints_min_answers: \d+\n", few, project)
    assert few in lowered, "dbt_project.yml no longer says how many answers make a share"
    (folder / "dbt" / "dbt_project.yml").unlink()
    (folder / "dbt" / "dbt_project.yml").write_text(lowered, encoding="utf-8")
    for path in sorted((ROOT / "expectations" / "suites").glob("*.yml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = {
            key: line
            for line in lines
            for key in ("border", "table", "partition_column")
            if f"  {key}:" in line
        }
        (suites / path.name).write_text(
            f"name: {path.stem}\nmeta:\n" + "\n".join(kept.values()) + "\nexpectations:\n"
            "  - type: expect_table_row_count_to_be_between\n    kwargs: {min_value: 1}\n"
            "    severity: critical\n    meta: {reason: a world of a dozen flights has few rows}\n",
            encoding="utf-8",
        )  # fmt: skip
    return folder


@contextmanager
def tables_without_tests() -> Iterator[None]:
    """dbt runs the models only: what their data tests would say is compared row by row."""
    real = dbt_environment.run_dbt

    def run(settings: Any, arguments: list[str]) -> None:
        real(settings, ["run" if word == "build" else word for word in arguments])

    before = build_stage.__dict__.get("run_dbt")
    dbt_environment.run_dbt = run
    if before is not None:
        build_stage.run_dbt = run  # type: ignore[attr-defined]
    try:
        yield
    finally:
        dbt_environment.run_dbt = real
        if before is not None:
            build_stage.run_dbt = before  # type: ignore[attr-defined]


class Player:
    """One installation that a world is played into."""

    def __init__(self, home: Path, checkout: Path, parsed: Path | None = None, **environment: str) -> None:
        names = {"RATCHET_HOME": str(home), "RATCHET_ROOT": str(checkout), **environment}
        self.settings = load_settings(names)
        if parsed is not None and parsed.exists():
            target = self.settings.dbt_target_dir
            target.mkdir(parents=True, exist_ok=True)
            (target / parsed.name).write_bytes(parsed.read_bytes())
        self.loop = load_loop(self.settings.loops_dir / "flights.yml")
        self.contracts = {name: load_contract(self.settings.dbt_dir, name) for name in self.loop.sources}
        Path(self.settings.ledger_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        migrate(self.settings.ledger_url)
        with open_warehouse(self.settings, purpose="test") as warehouse:
            ensure(warehouse)
        self.as_of = datetime(2000, 1, 1)
        self.builds = 0

    @property
    def parsed(self) -> Path:
        """dbt's parse of the project, which the next installation may start from."""
        return self.settings.dbt_target_dir / "partial_parse.msgpack"

    def write(self, file: File) -> None:
        """Leave the file where its source leaves files, in the format of the loop file."""
        form = self.loop.sources[file.source].format
        names = list(self.contracts[file.source].names)
        # The simulated worlds leave columns out that may be empty.
        rows = [[row.get(name) for name in names] for row in file.rows]
        folder = (
            self.settings.landing_dir / self.loop.loop / file.source / f"received_date={file.received_date}"
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{file.name}.{form}").write_bytes(_content(form, names, rows))

    def land(self, start: date, end: date) -> None:
        """Land and judge every file received from start to end."""
        land(self.settings, self.loop, start, end, quiet)
        self.as_of = max(self.as_of, datetime.combine(end + timedelta(days=1), datetime.min.time()))
        judge_landing(self.settings, self.loop, start, end, self.as_of, quiet)

    def build(self, *, until: str = "published") -> bool:
        """Build what is dirty; a build dies after `until` (collected, built, judged or published)."""
        if build_stage.collect(self.settings, self.loop, self.as_of, quiet) is None or until == "collected":
            return False
        dbt_environment.build(self.settings, self.loop)
        self.builds += 1
        if until == "built":
            return False
        build_stage.judge_features(self.settings, self.loop, self.as_of, quiet)
        if until == "judged":
            return False
        build_stage.publish(self.settings, self.loop, self.as_of, quiet)
        return True

    def play(self, step: Step) -> None:
        """Land the step's files; then build, or not."""
        for file in step.files:
            self.write(file)
        days = [file.received_date for file in step.files]
        self.land(min(days), max(days))
        if step.then == "build":
            self.build()
        elif step.then == "half":
            self.build(until="built")
        elif step.then == "collected":
            self.build(until="collected")
        elif step.then == "rebuild" and self.build():
            build_stage.rebuild(self.settings, self.loop, quiet)
            self.builds += 1

    def frame(self, sql: str) -> pd.DataFrame:
        with open_warehouse(self.settings, purpose="test") as warehouse:
            return warehouse.frame(sql)

    def rows(self, table: str, columns: tuple[str, ...] | None = None) -> list[Row]:
        """The rows of a table as dicts of plain Python values; a missing value is None."""
        found = self.frame(f"select {', '.join(columns) if columns else '*'} from {table}")
        return [
            {name: _plain(name, value) for name, value in zip(found.columns, row, strict=True)}
            for row in found.itertuples(index=False, name=None)
        ]

    def raw(self) -> dict[str, list[Row]]:
        """What has landed, by source."""
        return {
            source: self.rows(contract.table, (*contract.names, "row_hash"))
            for source, contract in self.contracts.items()
        }

    def landed_until(self) -> dict[str, datetime]:
        """By source, the end of the last received day of which anything has landed."""
        last = self.frame("select source, max(received_date) as day from ops.landings group by 1")
        return {
            str(source): datetime.combine(pd.Timestamp(day).date() + timedelta(days=1), datetime.min.time())
            for source, day in last.itertuples(index=False)
        }


def _plain(name: str, value: Any) -> Any:
    if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    if value is pd.NA:
        return None
    if isinstance(value, pd.Timestamp | date):
        moment = pd.Timestamp(value)
        return moment.date() if name.endswith("_date") else moment.to_pydatetime()
    return value.item() if hasattr(value, "item") else value


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds") + "Z"
    return value.isoformat() if isinstance(value, date) else value


def _content(form: str, names: list[str], rows: list[list[Any]]) -> bytes:
    if form == "parquet":
        buffer = io.BytesIO()
        pd.DataFrame(rows, columns=names).to_parquet(buffer, index=False)
        return buffer.getvalue()
    texts = [[_text(value) for value in row] for row in rows]
    if form == "jsonl":
        return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in texts).encode()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(texts)
    return out.getvalue().encode()
