"""What the registry hands out is what the ledger recorded; anything else is refused before it is loaded."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ratchet.registry.models import MODEL_FILE, ArtifactRefused, Registry, RegistryError
from ratchet.scoring.child import ScoringFailed, score_in_child
from ratchet.settings import Settings, load_settings
from ratchet.training.fit import fit_model, predict_scores


@pytest.fixture(scope="module")
def model_json() -> bytes:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 3))
    y = (x[:, 0] + rng.normal(size=400) > 0).astype(float)
    return fit_model(x, y, {"num_boost_round": 5, "max_depth": 3}, seed=1, feature_names=["a", "b", "c"])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def settings(home: Path) -> Settings:
    return replace(load_settings({}), home=home, mlflow_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")


@pytest.fixture(scope="module")
def registry(settings: Settings) -> Registry:
    return Registry(settings)


def register(registry: Registry, content: bytes, request: str = "r1") -> int:
    return registry.register(
        loop="flights",
        request=request,
        model_json=content,
        inputs=["a", "b", "c"],
        documents={"manifest": {"rows": 400}},
        params={"max_depth": 3},
        metrics={"log_loss": 0.4},
    ).version


def stored(settings: Settings, content: bytes) -> Path:
    sha = hashlib.sha256(content).hexdigest()
    return next(
        path
        for path in settings.artifacts_dir.rglob(MODEL_FILE)
        if hashlib.sha256(path.read_bytes()).hexdigest() == sha
    )


def test_the_same_request_and_bytes_are_one_version(registry: Registry, model_json: bytes) -> None:
    first = register(registry, model_json)
    assert register(registry, model_json) == first
    assert register(registry, model_json, request="r2") == first + 1
    assert registry.model_bytes("flights", first, hashlib.sha256(model_json).hexdigest()) == model_json


def test_aliases_move_and_drop(registry: Registry, model_json: bytes) -> None:
    version = register(registry, model_json)
    registry.set_alias("flights", "champion", version)
    registry.set_alias("flights", "challenger", version)
    assert registry.aliases("flights") == {"champion": version, "challenger": version}
    registry.drop_alias("flights", "challenger")
    assert registry.aliases("flights") == {"champion": version}
    assert registry.aliases("nothing") == {}


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (Path("/tmp/ratchet-payload-ran"),))


@pytest.mark.parametrize("fault", ["tampered", "truncated", "pickle"])
def test_a_changed_artifact_is_refused_and_nothing_runs(
    fault: str, registry: Registry, settings: Settings, model_json: bytes
) -> None:
    content = model_json + f" {fault}".encode()
    version = register(registry, content, request=fault)
    sha = hashlib.sha256(content).hexdigest()
    path = stored(settings, content)
    replacement = {
        "tampered": content.replace(b"0", b"1", 1),
        "truncated": content[:100],
        "pickle": pickle.dumps(_Payload()),
    }[fault]
    path.write_bytes(replacement)
    with pytest.raises(ArtifactRefused, match="changed after it was registered"):
        registry.model_bytes("flights", version, sha)
    assert not Path("/tmp/ratchet-payload-ran").exists()


def test_a_missing_version_is_named(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="has no version 999"):
        registry.model_bytes("flights", 999, "0" * 64)


def test_scores_come_from_a_child_and_equal_ours(model_json: bytes) -> None:
    matrix = np.random.default_rng(2).normal(size=(50, 3))
    expected = predict_scores(model_json, matrix)
    got = score_in_child({"m": model_json}, matrix)["m"]
    np.testing.assert_allclose(got.scores, expected, rtol=0, atol=1e-7)
    assert got.seconds > 0


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not json", b"\x80\x04pickle", b'{"learner": {"attributes": 7}}']
)
def test_a_broken_model_ends_the_child_not_us(content: bytes) -> None:
    with pytest.raises(ScoringFailed):
        score_in_child({"m": content}, np.zeros((2, 3)), time_limit_seconds=60)


def test_a_child_that_hangs_is_ended() -> None:
    with pytest.raises(ScoringFailed, match="did not end within"):
        score_in_child({"m": b"{}"}, np.zeros((2, 3)), time_limit_seconds=0.01)
