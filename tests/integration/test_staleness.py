"""Former champions are scored again on real days by their registered models, beside what serves and never instead."""

from __future__ import annotations

import hashlib
import shutil
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.integration.served_world import ServedWorld, quiet
from tests.integration.small_world import SmallWorld, unwrapped
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.ledger.store import migrate
from ratchet.loop_days import last_mature_day
from ratchet.registry.models import Registry
from ratchet.scoring.child import Scored, ScoringFailed
from ratchet.stages import staleness
from ratchet.stages.jobs import Job
from ratchet.stages.staleness import NotBuilt, NothingToScore, curves, measure_staleness
from ratchet.training.encode import feature_matrix
from ratchet.training.fit import fit_model, predict_scores
from ratchet.warehouse.connect import open_warehouse

AS_OF = datetime(2013, 1, 13)
TRAINED = {1: date(2013, 1, 2), 2: date(2013, 1, 6), 3: date(2013, 1, 12)}


class Aged(ServedWorld):
    """Versions that say until when they learnt."""

    def append(self, kind: str, key: str, as_of: datetime, **payload: Any) -> None:
        version = {"bootstrap": "model_version", "rollout_started": "challenger_version"}.get(kind)
        if version is not None:
            payload["serving_train_end"] = TRAINED[payload[version]].isoformat()
        super().append(kind, key, as_of, **payload)


@pytest.fixture
def aged(world: SmallWorld) -> Aged:
    """Version 2 serves after version 1; both are real models, on two weeks of real flights."""
    home = world.settings.home
    for other in ("ledger", "ledger-anchors", "mlflow", "routing"):
        shutil.rmtree(home / other, ignore_errors=True)
    migrate(world.settings.ledger_url)
    made, registry = Aged(world.settings.home), Registry(world.settings)
    for version in TRAINED:
        rng = np.random.default_rng(version)
        matrix = rng.normal(size=(300, len(made.loop.features.columns)))
        model = fit_model(matrix, (rng.random(300) < 0.3).astype(float), {"num_boost_round": 3}, seed=version,
                          feature_names=made.loop.features.columns)  # fmt: skip
        request = f"request:{version}"
        registered = registry.register(loop="flights", request=request, model_json=model,
                                       inputs=made.loop.features.columns, documents={}, params={},
                                       metrics={})  # fmt: skip
        assert registered.version == version
        made.sha256[version] = registered.sha256
        bins = [{"feature": "distance_miles", "bin": b, "lower_bound": None, "upper_bound": None,
                 "reference_share": 0.5} for b in (0, 1)]  # fmt: skip
        Job("flights", "retrain", request, AS_OF).write(made.settings, "profile", {"bins": bins})
    made.bootstrap(1, datetime(2013, 1, 3))
    made.promote(2, datetime(2013, 1, 5))
    assert made.state().promoted_versions == (1, 2)
    return made


def rows_of(world: Aged) -> pd.DataFrame:
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        return warehouse.frame("select * from ops.staleness_daily order by model_version, departure_date")


def what_serves(world: Aged) -> tuple[Any, ...]:
    routing = world.settings.routing_dir / "flights.flagd.json"
    files = sorted(p for p in world.settings.landing_dir.rglob("*") if p.is_file())
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        predictions = warehouse.scalar("select count(*) from raw.predictions")
    assert predictions > 0 and files
    return (routing.read_bytes(), routing.stat().st_mtime_ns, world.aliases(), world.ledger.entries(), world.state(),
            predictions, [(p, p.stat().st_mtime_ns) for p in files])  # fmt: skip


def test_mature_days_after_the_training_are_scored_and_nothing_that_serves_changes(
    aged: Aged, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = what_serves(aged)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a measurement moved an alias of the registry")

    monkeypatch.setattr(Registry, "set_alias", forbidden)
    monkeypatch.setattr(Registry, "drop_alias", forbidden)
    found = measure_staleness(aged.settings, aged.loop, AS_OF, quiet)
    last = last_mature_day(aged.loop, AS_OF)
    assert last == date(2013, 1, 8)
    assert [(v["version"], v["days"]) for v in found["versions"]] == [(1, 6), (2, 2)]
    rows = rows_of(aged)
    assert what_serves(aged) == before
    for version, until in ((1, TRAINED[1]), (2, TRAINED[2])):
        own = rows[rows["model_version"] == version]
        days = list(pd.to_datetime(own["departure_date"]).dt.date)
        assert days == [until + timedelta(days=i) for i in range(1, (last - until).days + 1)]
        assert own["n_labelled"].between(150, 200).all()
    # Labels of later days are there, of units whose windows are not over: they would make late flights rare.
    with open_warehouse(aged.settings, purpose="test", read_only=True) as warehouse:
        early = warehouse.scalar(
            "select count(*) from monitoring.mon_labelled_sample where departure_date > ?", (last,)
        )
        sample = warehouse.frame(
            "select * from monitoring.mon_labelled_sample where departure_date = ? order by unit_id", (last,)
        )
    assert early > 0
    model = Registry(aged.settings).model_bytes("flights", 2, aged.sha256[2])
    scores = np.asarray(predict_scores(model, feature_matrix(sample, aged.loop)))
    labels = sample["label"].to_numpy(dtype=np.float64)
    expected = -(labels * np.log(scores) + (1 - labels) * np.log1p(-scores)).sum()
    measured = rows[(rows["model_version"] == 2) & (pd.to_datetime(rows["departure_date"]).dt.date == last)]
    assert measured["sum_log_loss"].item() == pytest.approx(expected, rel=1e-9)
    assert measured["sum_brier"].item() == pytest.approx(((labels - scores) ** 2).sum(), rel=1e-9)
    # The same as-of again replaces the same rows; an earlier one leaves the later days.
    measure_staleness(aged.settings, aged.loop, AS_OF, quiet)
    pd.testing.assert_frame_equal(rows_of(aged), rows)
    versions, ages = curves(aged.settings, aged.loop, AS_OF)
    assert [(v["model_version"], v["age_days"]) for v in versions] == [(2, 2), (1, 6)]
    assert versions[1]["above_youngest"]["days"] == 2
    assert [a["days"] for a in ages] == [2]


def test_a_withdrawn_version_is_measured_and_said_to_be(aged: Aged) -> None:
    aged.append("rollback", "rollback:test", datetime(2013, 1, 12), **{"from": 2, "to": 1, "reason": "test"})
    state = aged.state()
    assert (state.champion_version, state.withdrawn_versions) == (1, (2,))
    said: list[str] = []
    found = measure_staleness(aged.settings, aged.loop, AS_OF, said.append)
    assert [v["version"] for v in found["versions"]] == [1, 2]
    assert found["withdrawn"] == [2]
    assert "withdrawn among them: 2" in said[-1]
    assert aged.state() == state
    versions, _ = curves(aged.settings, aged.loop, AS_OF)
    assert {v["model_version"]: v["is_withdrawn"] for v in versions} == {1: False, 2: True}


def test_another_file_than_the_ledgers_is_refused_and_the_others_are_measured(aged: Aged) -> None:
    changed = 0
    for path in (aged.settings.home / "mlflow").rglob("model.json"):
        if hashlib.sha256(path.read_bytes()).hexdigest() == aged.sha256[1]:
            path.write_bytes(path.read_bytes() + b" ")
            changed += 1
    assert changed == 1
    found = measure_staleness(aged.settings, aged.loop, AS_OF, quiet)
    assert [v["version"] for v in found["versions"]] == [2]
    assert "version 1" in found["refused"][0]
    done = CliRunner().invoke(app, ["monitor", "staleness"], env={"RATCHET_HOME": str(aged.settings.home)})
    assert done.exit_code == 1
    assert "version 1" in unwrapped(done.output)


def test_a_model_that_crashes_takes_no_other_down(aged: Aged, monkeypatch: pytest.MonkeyPatch) -> None:
    real = staleness.score_in_child

    def crash(models: dict[str, bytes], matrix: Any) -> dict[str, Scored]:
        if "v1" in models:
            raise ScoringFailed("scoring ended with status -11")
        return real(models, matrix)

    monkeypatch.setattr(staleness, "score_in_child", crash)
    found = measure_staleness(aged.settings, aged.loop, AS_OF, quiet)
    assert [v["version"] for v in found["versions"]] == [2]
    assert found["refused"] == ["version 1: scoring ended with status -11"]


def test_only_what_was_known_then_is_measured(aged: Aged) -> None:
    early = measure_staleness(aged.settings, aged.loop, datetime(2013, 1, 10), quiet)
    # Version 2 served only later.
    assert [(v["version"], v["days"]) for v in early["versions"]] == [(1, 3)]
    with pytest.raises(NotBuilt, match="2013-02-01"):
        measure_staleness(aged.settings, aged.loop, datetime(2013, 2, 1), quiet)
    with pytest.raises(NothingToScore, match="no champion"):
        measure_staleness(aged.settings, aged.loop, datetime(2013, 1, 2), quiet)


def test_the_command_shows_the_curve(aged: Aged) -> None:
    done = CliRunner().invoke(app, ["monitor", "staleness"], env={"RATCHET_HOME": str(aged.settings.home)})
    assert done.exit_code == 0, done.output
    assert "2 champions scored again on 8 days until 2013-01-08" in unwrapped(done.output)
    wrong = CliRunner().invoke(
        app, ["monitor", "staleness", "--as-of", "soon"], env={"RATCHET_HOME": str(aged.settings.home)}
    )
    assert wrong.exit_code == 1
    assert "no time" in unwrapped(wrong.output)
