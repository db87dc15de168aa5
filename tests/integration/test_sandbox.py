"""Recipes side by side on a snapshot: they are judged and compared, and nothing that serves can be reached."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.test_evaluation_gates import flights_loop, snapshot
from typer.testing import CliRunner

from ratchet.certificate.page import page
from ratchet.certificate.replay import replay
from ratchet.cli import app
from ratchet.ledger.store import Ledger, migrate
from ratchet.loop import Loop
from ratchet.registry.models import Registry
from ratchet.registry.runs import SandboxRuns
from ratchet.sandbox.comparison import compared
from ratchet.sandbox.spec import SpecError, load_spec, spec_of, variant
from ratchet.scoring.child import Scored
from ratchet.settings import Settings, load_settings
from ratchet.stages import judging, sandbox
from ratchet.stages.serving import project
from ratchet.stages.snapshots import snapshots
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model, predict_scores

AS_OF = datetime(2013, 3, 2)
SPEC = {
    "snapshot": "latest",
    "candidates": [
        {"name": "stump", "params": {"max_depth": 1, "num_boost_round": 3}},
        {"name": "without_weather", "drop": ["temperature_f", "wind_speed_mph"]},
    ],
}


def small_loop() -> Loop:
    """The loop of the gates' tests with one window, for fewer rows."""
    loop = flights_loop()
    training = loop.training.model_copy(update={"min_rows": 3000, "windows": 1})
    return loop.model_copy(update={"training": training})


@pytest.fixture(autouse=True, scope="module")
def no_child() -> Iterator[None]:
    """The same scores without a process for each candidate."""

    def pairs(models: Any, matrices: Any, wanted: Any, **_: Any) -> dict[Any, Scored]:
        return {(m, x): Scored(predict_scores(models[m], matrices[x]), 0.01) for m, x in wanted}

    def alone(models: Any, matrix: Any, **_: Any) -> dict[str, Scored]:
        return {name: Scored(predict_scores(model, matrix), 0.01) for name, model in models.items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "score_pairs", pairs)
        patch.setattr(sandbox, "score_in_child", alone)
        yield


def quiet(_: str) -> None:
    return None


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A loop that serves a champion, and one snapshot."""
    home = tmp_path_factory.mktemp("home")
    made = load_settings({"RATCHET_HOME": str(home)})
    loop, frame = small_loop(), snapshot().iloc[::3].reset_index(drop=True)
    migrate(made.ledger_url)
    early = frame[frame["departure_date"] < sorted(set(frame["departure_date"]))[25]]
    model = fit_model(
        feature_matrix(early, loop), label_vector(early), {"max_depth": 2, "num_boost_round": 5},
        seed=1, feature_names=loop.features.columns,
    )  # fmt: skip
    registered = Registry(made).register(
        loop="flights", request="bootstrap:x", model_json=model, inputs=loop.features.columns, documents={},
        params={}, metrics={},
    )  # fmt: skip
    end = str(max(early["departure_date"]))[:10]
    Ledger(made.ledger_url).append(
        loop="flights", kind="bootstrap", key="bootstrap:x", as_of=AS_OF,
        payload={"request": "bootstrap:x", "model_version": registered.version, "model_sha256": registered.sha256,
                 "judged_train_end": end, "serving_train_end": end},
    )  # fmt: skip
    project(made, loop)
    _write_snapshot(made, frame)
    (made.warehouse_path.parent).mkdir(parents=True)
    made.warehouse_path.write_bytes(b"a warehouse that nobody opens")
    return made


def _write_snapshot(settings: Settings, frame: Any) -> None:
    folder = settings.snapshots_dir / "flights"
    folder.mkdir(parents=True)
    frame.to_parquet(folder / "rows.parquet", index=False)
    sha256 = hashlib.sha256((folder / "rows.parquet").read_bytes()).hexdigest()
    (folder / "rows.parquet").rename(folder / f"{sha256}.parquet")
    days = sorted(str(day)[:10] for day in set(frame["departure_date"]))
    manifest = {
        "loop": "flights",
        "sha256": sha256,
        "as_of": AS_OF.isoformat(),
        "window": [days[0], days[-1]],
    }
    content = json.dumps(manifest, sort_keys=True, indent=1).encode()
    (folder / f"{hashlib.sha256(content).hexdigest()}.json").write_bytes(content)


def what_serves(settings: Settings) -> dict[str, Any]:
    """Hashes of everything that a sandbox must not touch."""
    registry = Registry(settings)
    files = {
        str(path.relative_to(settings.home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("routing", "snapshots", "warehouse", "published", "ledger-anchors", "candidates")
        for path in sorted((settings.home / folder).rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
    versions = registry._client.search_model_versions("name='flights'")
    return {
        "files": files,
        "aliases": registry.aliases("flights"),
        "versions": sorted((v.version, v.source, tuple(sorted(v.tags.items()))) for v in versions),
        "models": [model.name for model in registry._client.search_registered_models()],
        "ledger": [entry.hash for entry in Ledger(settings.ledger_url).entries()],
    }


@pytest.fixture(scope="module")
def found(settings: Settings) -> dict[str, Any]:
    before = what_serves(settings)
    assert len(before["files"]) >= 4, "hardly anything serves: the test would look at nothing"
    with pytest.MonkeyPatch.context() as patch:
        for kind, names in (
            (Ledger, ("append",)),
            (Registry, ("register", "set_alias", "drop_alias")),
        ):
            for name in names:
                patch.setattr(
                    kind, name, lambda *_, _name=name, **__: pytest.fail(f"the sandbox called {_name}")
                )
        result = sandbox.run(settings, small_loop(), spec_of(SPEC, small_loop()), quiet)
    assert what_serves(settings) == before
    return result


def test_each_candidate_is_judged_and_the_declared_recipe_too(found: dict[str, Any]) -> None:
    by_name = {one["name"]: one for one in found["candidates"]}
    assert list(by_name) == ["declared", "stump", "without_weather"]
    assert by_name["declared"]["verdict"] == "pass"
    assert by_name["stump"]["verdict"] == "refuse"
    assert by_name["declared"]["gates"] > 15
    assert by_name["without_weather"]["champion_gates"] is False
    assert len(by_name["without_weather"]["features"]) == len(by_name["declared"]["features"]) - 2


def test_differences_are_paired_and_corrected(found: dict[str, Any]) -> None:
    told = {(one["name"], one["reference"]): one for one in found["comparisons"]}
    assert len(told) == 3 + 2 + 1  # with the champion, with the declared recipe, among each other
    assert told["declared", "champion"]["told"] == "better"
    assert told["stump", "declared"]["told"] == "worse"
    assert told["stump", "without_weather"]["clusters"] == 14


def test_its_runs_lie_apart_and_the_same_again_is_the_same(settings: Settings, found: dict[str, Any]) -> None:
    from mlflow import MlflowClient

    client, rows = MlflowClient(tracking_uri=settings.mlflow_uri), snapshot().iloc[::3].reset_index(drop=True)
    names = {e.name: e.experiment_id for e in client.search_experiments()}
    assert len(client.search_runs([names["flights-sandbox"]])) == 3
    assert len(client.search_runs([names["flights"]])) == 1
    last = sorted(set(rows["departure_date"]))[-1]
    champion = judging.serving_champion(settings, small_loop())
    stump = spec_of(SPEC, small_loop()).candidates[0]
    again, _ = sandbox._tried(settings, small_loop(), stump, rows, last, champion)
    assert again["model_sha256"] == found["candidates"][1]["model_sha256"]
    assert again["metrics"] == found["candidates"][1]["metrics"]
    folder = sandbox.folder(settings, small_loop(), found["name"])
    assert json.loads((folder / "result.json").read_text())["name"] == found["name"]
    assert "<svg" in (folder / "page.html").read_text()
    for forbidden in ("register", "set_alias", "drop_alias", "create_model_version"):
        assert not hasattr(SandboxRuns, forbidden)


def test_a_training_is_judged_in_its_own_folder_before_anything_is_offered(
    settings: Settings, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever tier asked: until a passing verdict is in the ledger, nothing is registered and nothing serves."""
    from ratchet.stages import train
    from ratchet.stages.jobs import Job

    before = what_serves(settings)
    for name in ("register", "set_alias", "drop_alias"):
        monkeypatch.setattr(Registry, name, lambda *_, _name=name, **__: pytest.fail(f"{_name} was called"))
    job = Job("flights", "retrain", "trigger:2013-03-02T00:00:00", AS_OF)
    manifest = next(m for m in snapshots(settings, small_loop()) if m["id"] == found["snapshot"])
    job.write(settings, "snapshot", manifest)
    train.fit(settings, small_loop(), job, quiet)
    assert train.evaluate(settings, small_loop(), job, quiet)["verdict"] == "pass"
    after = what_serves(settings)
    own = str(job.folder(settings).relative_to(settings.home))
    new = set(after["files"]) - set(before["files"])
    assert len(new) > 5, "the candidate lies in its job's folder"
    assert all(name.startswith((own, "ledger-anchors")) for name in new), new
    assert {k: v for k, v in after["files"].items() if k in before["files"]} == before["files"]
    for part in ("aliases", "versions", "models"):
        assert after[part] == before[part]
    entries = Ledger(settings.ledger_url).entries()
    assert [e.kind for e in entries] == ["bootstrap", "training", "evaluation"]
    evaluated = [one for one in replay(entries) if one.entry.kind == "evaluation"]
    assert [one.outcome for one in evaluated] == ["equal"], evaluated[0].detail
    forged = json.loads(json.dumps(entries[-1].payload))
    forged["sums"]["windows"][-1]["scorers"]["candidate"]["log_loss"][0] += 1e-9
    (found_out,) = replay([*entries[:-1], replace(entries[-1], payload=forged)], only=lambda e: e.seq == 3)
    assert found_out.outcome == "different"
    assert "<svg" in page(entries, entries[-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"snapshot": "../../etc/passwd"}, "snapshot"),
        ({"snapshot": "ffff0000"}, "no snapshot"),
        ({"candidates": []}, "candidates"),
        ({"candidates": [{"name": "a", "params": {"objective": 1}}]}, "objective"),
        ({"candidates": [{"name": "a", "features": ["arr_delay"]}]}, "is no feature"),
        ({"candidates": [{"name": "a"}, {"name": "a"}]}, "twice"),
        ({"candidates": [{"name": "../a"}]}, "name"),
        ({"candidates": [{"name": "declared"}]}, "always tried"),
        ({"candidates": [{"name": "a", "drop": ["origin"], "features": ["carrier"]}]}, "not both"),
        ({"register": True}, "register"),
    ],
)
def test_what_there_is_not_is_refused(settings: Settings, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        sandbox.run(settings, small_loop(), spec_of({**SPEC, **change}, small_loop()), quiet)


def test_a_file_is_read_and_a_broken_one_named(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yml"
    path.write_text("candidates:\n  - {name: deeper, params: {max_depth: 7}}\n")
    assert (
        variant(small_loop(), load_spec(path, small_loop()).candidates[0]).training.params["max_depth"] == 7
    )
    path.write_text("candidates: [")
    with pytest.raises(SpecError, match="not YAML"):
        load_spec(path, small_loop())
    path.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(SpecError):
        load_spec(path, small_loop())
    done = CliRunner().invoke(app, ["experiment", "run", str(tmp_path / "none.yml")])
    assert done.exit_code == 1


def test_without_a_common_window_nothing_is_said() -> None:
    rng = np.random.default_rng(1)
    losses = {"2013-01-01": list(rng.normal(size=10))}
    (pair,) = compared({"2013-01-01": [5] * 10}, {"a": losses}, {"champion": {}}, 0.05)
    assert pair.told == "not comparable"
    assert replace(pair).to_json(0.05)["value"] is None
