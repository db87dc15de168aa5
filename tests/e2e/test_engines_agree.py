"""The same replay on DuckDB and on Postgres leaves the same tables, cell by cell.

One replayed week: landing with spoiled, repeated and late rows, gates, builds, a first champion, scoring, feedback.
Then a day of a trial is planted in the files, so that the sums of a rollout are there too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from tests.cells import Compared, compare, tables_of
from tests.engines import ENGINES, settings_on

from ratchet.ledger.store import Ledger
from ratchet.loop import Loop, load_loop
from ratchet.replay.direct import DirectApi
from ratchet.replay.driver import Replay
from ratchet.replay.setup import prepare
from ratchet.scoring.child import Scored
from ratchet.settings import Settings
from ratchet.stages import score
from ratchet.warehouse.connect import open_warehouse

pytestmark = pytest.mark.slow

START, TRIAL = date(2013, 3, 12), date(2013, 3, 19)


class Silent:
    def stage(self, week: int, text: str, runs: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@dataclass(frozen=True)
class Left:
    """What a replay left on each engine."""

    tables: dict[str, dict[str, pd.DataFrame]]
    ledgers: dict[str, list[tuple[str, str]]]
    snapshots: dict[str, list[str]]


def _plant_trial(settings: Settings, loop: Loop) -> None:
    """Scores of two models for the replayed week's units, which arrive a week late."""
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("insert into ops.experiments values (?, 'trial', 2, 3, null)", (loop.loop,))
        known = warehouse.frame(
            "select unit_id, score, latency_ms, event_at from raw.predictions where loop = ? and is_served "
            "order by unit_id",
            (loop.loop,),
        )[::10]
    turn = np.arange(len(known))
    challenger = turn % 3 == 0
    parts = [
        known.assign(
            prediction_id=[f"trial-{version}-{n}" for n in turn],
            experiment_id="trial",
            arm=np.where(challenger, "challenger", "control"),
            model_version=version,
            is_served=challenger == (version == 3),
            score=known["score"] * (1.0 if version == 2 else 0.9),
            received_at=pd.Timestamp(TRIAL) + pd.to_timedelta(turn, unit="s"),
        ).reset_index(drop=True)
        for version in (2, 3)
    ]
    folder = settings.landing_dir / loop.loop / "predictions" / f"received_date={TRIAL}"
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(parts, ignore_index=True).to_parquet(folder / "trial.parquet", index=False)


def _at_one_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long scoring takes is a column of its predictions, and no two runs take as long."""
    measured = score.score_in_child

    def timeless(models: dict[str, bytes], matrix: pd.DataFrame) -> dict[str, Scored]:
        return {name: replace(scored, seconds=1.0) for name, scored in measured(models, matrix).items()}

    monkeypatch.setattr(score, "score_in_child", timeless)


def _replayed(settings: Settings) -> Settings:
    prepare(settings, lambda _: None, with_airflow=False)
    loop = load_loop(settings.loops_dir / "flights.yml")
    api = DirectApi(settings, loop)
    Replay(settings, loop, START, 1, api, Silent()).run(1)
    _plant_trial(settings, loop)
    api.start("flights__ingest_events", "trial", {"start": str(TRIAL), "end": str(TRIAL)})
    return settings


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Left:
    tables, ledgers, snapshots = {}, {}, {}
    for engine in ENGINES:
        with pytest.MonkeyPatch.context() as patch:
            _at_one_speed(patch)
            settings = _replayed(settings_on(engine, tmp_path_factory.mktemp(engine), postgres_server))
        tables[engine] = tables_of(settings)
        held = tables[engine]["raw.quarantine"]
        held["location"] = held["location"].str.removeprefix(str(settings.home))
        entries = Ledger(settings.ledger_url).entries()
        ledgers[engine] = [(entry.kind, entry.key) for entry in entries]
        snapshots[engine] = sorted(path.name for path in settings.snapshots_dir.rglob("*.parquet"))
    return Left(tables, ledgers, snapshots)


def test_every_table_is_the_same_on_both_engines(left: Left) -> None:
    found = compare(left.tables["duckdb"], left.tables["postgres"])
    assert found.differences == (), "\n".join(found.differences)
    assert found.tables >= 50, found
    assert found.rows > 500_000, found
    assert found.cells > 5_000_000, found


def test_what_a_rollout_is_decided_by_was_compared(left: Left) -> None:
    rows = {name: len(frame) for name, frame in left.tables["postgres"].items()}
    for name in (
        "raw.quarantine",
        "marts.fct_reactions",
        "features.trn_flights",
        "experiments.exp_paired_daily",
        "experiments.exp_arm_daily",
        "monitoring.mon_quality_daily",
        "monitoring.mon_feature_histograms",
    ):
        assert rows[name] > 0, name


def test_the_decisions_and_the_training_data_are_the_same(left: Left) -> None:
    assert len(left.ledgers["duckdb"]) > 5
    assert left.ledgers["duckdb"] == left.ledgers["postgres"]
    assert left.snapshots["duckdb"] == left.snapshots["postgres"] != []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.assign(score=frame["score"] + 1e-6), "score"),
        (lambda frame: frame.assign(outcome_state="gone"), "outcome_state"),
        (lambda frame: frame.iloc[1:], "rows"),
        (lambda frame: frame.drop(columns="score"), "columns"),
        (lambda frame: frame.assign(label=None), "label"),
    ],
)
def test_a_planted_difference_is_found(
    left: Left, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    name = "marts.fct_predictions"
    one = {name: left.tables["duckdb"][name]}
    found: Compared = compare(one, {name: change(left.tables["postgres"][name])})
    assert any(said in line for line in found.differences), found.differences
    assert compare(one, {name: left.tables["postgres"][name]}).differences == ()


def test_a_table_that_is_missing_on_one_side_is_found(left: Left) -> None:
    found = compare(left.tables["duckdb"], {})
    assert found.tables == found.cells == 0
    assert len(found.differences) == len(left.tables["duckdb"])
