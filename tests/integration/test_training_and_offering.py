"""From a snapshot to an offer: what was fitted is judged, recorded, registered and served as it was judged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.judged_rows import dated, flights_loop

from ratchet.evaluation.gates import judge_recorded, reasons_of
from ratchet.ledger.chain import canonical, plain
from ratchet.ledger.state import fold
from ratchet.ledger.store import Ledger, migrate
from ratchet.loop import Loop
from ratchet.registry.models import ArtifactRefused, Registry
from ratchet.scoring.child import ScoringFailed
from ratchet.settings import load_settings
from ratchet.stages import judging, offering
from ratchet.stages.jobs import Job
from ratchet.stages.train import ChampionChanged, evaluate, fit, offer
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.ops import ensure

START = date(2013, 1, 1)
ROWS_A_DAY = 300


def quiet(_: str) -> None:
    return None


def snapshot(days: int) -> pd.DataFrame:
    loop, rng = flights_loop(), np.random.default_rng(8)
    n = 76 * ROWS_A_DAY
    frame = pd.DataFrame({name: rng.normal(size=n) for name in loop.features.numeric})
    frame["origin"] = rng.choice(["EWR", "JFK", "LGA"], n)
    frame["carrier"] = rng.choice(["AA", "B6", "DL"], n)
    frame["departure_date"] = [START + timedelta(days=i // ROWS_A_DAY) for i in range(n)]
    frame["unit_id"] = [f"u{i:06d}" for i in range(n)]
    logit = -1.2 + 2.0 * np.abs(frame["departure_hour"]) * np.sign(frame["precipitation_in"])
    frame["label"] = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return dated(frame).iloc[: days * ROWS_A_DAY]


class Trained:
    """An installation with a snapshot for each job; nothing but files, ledger and registry."""

    def __init__(self, home: Path) -> None:
        self.settings = replace(
            load_settings({}),
            home=home,
            ledger_url=f"sqlite:///{home / 'ledger.db'}",
            mlflow_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
            warehouse_path=home / "warehouse.duckdb",
            threads=1,
        )
        migrate(self.settings.ledger_url)
        self.ledger = Ledger(self.settings.ledger_url)
        with open_warehouse(self.settings, purpose="test") as warehouse:
            ensure(warehouse)
        loop = flights_loop()
        search = loop.training.search.model_copy(update={"trials": 2, "max_rows": 4000})
        training = loop.training.model_copy(
            update={"min_rows": 3000, "search": search, "windows": 2, "min_windows": 1}
        )
        self.loop: Loop = loop.model_copy(update={"training": training})

    def job(self, mode: str, days: int) -> Job:
        as_of = datetime.combine(START + timedelta(days=days + 4), datetime.min.time())
        request = f"bootstrap:{as_of.isoformat()}" if mode == "bootstrap" else f"trigger:{as_of.isoformat()}"
        if mode == "retrain":
            self.ledger.append(loop="flights", kind="trigger", key=request, as_of=as_of,
                               payload={"action": "request", "tier": "routine", "reason": "for the test"})  # fmt: skip
        job = Job("flights", mode, request, as_of)  # type: ignore[arg-type]
        folder = self.settings.snapshots_dir / "flights"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "new").write_bytes(b"")
        snapshot(days).to_parquet(folder / "new", index=False)
        sha = hashlib.sha256((folder / "new").read_bytes()).hexdigest()
        (folder / "new").rename(folder / f"{sha}.parquet")
        last = START + timedelta(days=days - 1)
        job.write(self.settings, "snapshot", {"id": sha, "sha256": sha, "window": [str(START), str(last)]})
        fit(self.settings, self.loop, job, quiet)
        return job

    def offer(self, job: Job) -> dict[str, Any]:
        return offer(self.settings, self.loop, job, quiet)

    def entry(self, key: str) -> dict[str, Any]:
        found = self.ledger.find("flights", key)
        assert found is not None, key
        return found.payload


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Job]:
    trained = Trained(tmp_path_factory.mktemp("home"))
    job = trained.job("bootstrap", 50)
    evaluated = evaluate(trained.settings, trained.loop, job, quiet)
    assert evaluated["verdict"] == "pass", evaluated["reasons"]
    assert trained.offer(job)["offered"]
    return trained, job


@pytest.fixture(scope="module")
def second(first: tuple[Trained, Job]) -> tuple[Trained, Job]:
    trained, _ = first
    job = trained.job("retrain", 76)
    evaluated = evaluate(trained.settings, trained.loop, job, quiet)
    assert evaluated["verdict"] == "pass", evaluated["reasons"]
    return trained, job


def test_the_ledger_has_search_cost_and_windows(first: tuple[Trained, Job]) -> None:
    trained, job = first
    entry = trained.entry(f"training:{job.request}")
    assert len(entry["search"]["trials"]) == 2
    assert entry["recipe"]["params"] == entry["search"]["trials"][entry["search"]["best"]]["params"]
    assert [window["end"] for window in entry["windows"]] == ["2013-02-05", "2013-02-19"]
    assert entry["cost"]["megabytes"] > 50
    again = job.read(trained.settings, "fit")
    fit(trained.settings, trained.loop, job, quiet)
    assert job.read(trained.settings, "fit") == again


def test_the_verdict_of_the_ledgers_entry_is_judged_again_to_the_bit(second: tuple[Trained, Job]) -> None:
    trained, job = second
    entry = trained.entry(f"evaluation:{job.request}")
    again = judge_recorded(entry)
    told = json.loads(canonical(plain(again.to_json())))
    assert canonical(told) == canonical({name: entry[name] for name in told})
    assert reasons_of(again) == entry["reasons"]
    names = {gate["name"] for gate in entry["gates"]}
    assert {"gain_comes_from_new_data", "fairness_gap:origin", "feature_ablation"} <= names
    assert len(canonical(entry)) < 300_000
    assert entry["champion_version"] == 1


def test_what_was_offered_was_scored_by_a_fresh_process_first(first: tuple[Trained, Job]) -> None:
    trained, job = first
    contract = trained.entry(job.request)["serving_contract"]
    assert contract["requests"] > 200
    assert contract["largest_difference"] <= 1e-9
    assert contract["features"] == len(trained.loop.features.columns)
    assert trained.offer(job)["offered"]  # again: nothing changes


def _other_scores(trained: Trained, job: Job, patch: pytest.MonkeyPatch) -> str:
    samples = job.read(trained.settings, "samples")
    samples["scores"][7] += 1e-6
    patch.setattr(Job, "read", _reading(job, "samples", samples))
    return "sample request 7 is scored"


def _fewer_scores(trained: Trained, job: Job, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(Job, "read", _reading(job, "samples", {"scores": []}))
    return "0 of them scored in training"


def _other_signature(trained: Trained, job: Job, patch: pytest.MonkeyPatch) -> str:
    names = trained.loop.features.columns
    patch.setattr(Registry, "signature", lambda *_: (*names[1:], names[0]))
    return "signature in the registry are not the loop file's features: their order"


def _other_champion(trained: Trained, job: Job, patch: pytest.MonkeyPatch) -> str:
    honest = offering.model_features
    seen: list[bytes] = []

    def features(content: bytes) -> tuple[str, ...]:
        seen.append(content)
        return honest(content) if len(seen) == 1 else ("distance_miles",)

    patch.setattr(offering, "model_features", features)
    return "version 1, which serves"


def _changed_artifact(trained: Trained, job: Job, patch: pytest.MonkeyPatch) -> str:
    def refuse(*_: Any) -> bytes:
        raise ArtifactRefused("model.json was changed")

    patch.setattr(Registry, "model_bytes", refuse)
    return "model.json was changed"


def _crash(trained: Trained, job: Job, patch: pytest.MonkeyPatch) -> str:
    def fail(*_: Any, **__: Any) -> None:
        raise ScoringFailed("scoring ended with status -11")

    patch.setattr(offering, "score_in_child", fail)
    return "status -11"


def _reading(job: Job, name: str, content: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    honest = Job.read
    return lambda self, settings, asked: content if asked == name else honest(self, settings, asked)


@pytest.mark.parametrize(
    "spoil", [_other_scores, _fewer_scores, _other_signature, _other_champion, _changed_artifact, _crash]
)
def test_what_can_not_be_served_as_it_was_judged_is_not_offered(
    spoil: Callable[..., str], second: tuple[Trained, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, job = second
    kept: list[dict[str, Any]] = []
    with monkeypatch.context() as patch:
        message = spoil(trained, job, patch)
        # The request stays open for the next case: what would close it is kept here.
        patch.setattr(offering, "_refuse", lambda *a: kept.append({"reason": a[3]}) or {"offered": False})
        assert trained.offer(job) == {"offered": False}
    assert message in kept[0]["reason"]
    state = fold(trained.ledger.entries("flights"))
    assert state.rollout is None
    assert state.champion_version == 1


def test_a_broken_contract_closes_the_request_with_its_reason(
    tmp_path: Path, second: tuple[Trained, Job]
) -> None:
    trained, job = second
    said: list[str] = []
    offering._refuse(
        trained.settings, trained.loop, replace(job, request="trigger:other"), "refused: why", said.append
    )
    entry = trained.entry("closed:trigger:other")
    assert entry == {"request": "trigger:other", "reason": "refused: why"}
    assert said == ["refused: why"]


def test_the_second_goes_on_trial(second: tuple[Trained, Job]) -> None:
    trained, job = second
    answer = trained.offer(job)
    assert answer["offered"], answer
    state = fold(trained.ledger.entries("flights"))
    assert state.rollout is not None
    entry = trained.entry(f"rollout:{state.rollout.experiment_id}")
    assert "features of version 1, which serves" in entry["serving_contract"]["compared"]


def test_a_champion_that_changed_since_the_fit_is_not_compared_with(
    second: tuple[Trained, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, job = second
    fitted = job.read(trained.settings, "fit")
    assert fitted["champion_version"] == 1
    monkeypatch.setattr(Job, "read", _reading(job, "fit", {**fitted, "champion_version": 7}))
    with pytest.raises(ChampionChanged, match="version 1 serves, it was 7 at the fit"):
        evaluate(trained.settings, trained.loop, job, quiet)


def test_a_candidate_that_crashes_is_refused_and_its_record_says_so(
    first: tuple[Trained, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, job = first
    other = replace(job, request="bootstrap:crashes")

    def fail(*_: Any, **__: Any) -> None:
        raise ScoringFailed("scoring did not end within 300 s")

    for name in ("snapshot", "fit", "cost"):
        other.write(trained.settings, name, job.read(trained.settings, name))
    for path in job.folder(trained.settings).glob("*.json"):
        target = other.folder(trained.settings) / path.name
        if not target.exists():
            target.write_bytes(path.read_bytes())
    monkeypatch.setattr(judging, "score_pairs", fail)
    assert evaluate(trained.settings, trained.loop, other, quiet)["verdict"] == "refuse"
    assert judge_recorded(trained.entry("evaluation:bootstrap:crashes")).verdict == "refuse"
