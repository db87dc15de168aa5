"""What the registry hands out is what the ledger recorded; anything else is refused before it is loaded."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
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
    """Unpickled, it leaves a file behind."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.sentinel,))


def _ubjson(content: bytes) -> bytes:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(content))
    return bytes(booster.save_raw("ubj"))


def _zip_bomb() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", b"0" * 50_000_000)
    return held.getvalue()


def _with_nan(content: bytes) -> bytes:
    document = json.loads(content)
    tree = document["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["base_weights"][0] = math.nan
    tree["split_conditions"][0] = math.inf
    return json.dumps(document).encode()


FAULTS: dict[str, Callable[[bytes, Path], bytes]] = {
    "tampered": lambda content, _: content.replace(b"0", b"1", 1),
    "truncated": lambda content, _: content[:100],
    "empty": lambda content, _: b"",
    "pickle": lambda content, sentinel: pickle.dumps(_Payload(sentinel)),
    "gzip bomb": lambda content, _: gzip.compress(b" " * 50_000_000),
    "zip bomb": lambda content, _: _zip_bomb(),
    "nan": lambda content, _: _with_nan(content),
    "ubjson named json": lambda content, _: _ubjson(content),
    "deep": lambda content, _: b"[" * 200_000,
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_changed_artifact_is_refused_and_nothing_runs(
    fault: str, registry: Registry, settings: Settings, model_json: bytes, tmp_path: Path
) -> None:
    """By its hash, before it is loaded; and by the child, had its hash been recorded."""
    sentinel = tmp_path / "ran"
    content = model_json + b" " * (1 + list(FAULTS).index(fault))
    version = register(registry, content, request=fault)
    sha = hashlib.sha256(content).hexdigest()
    path = stored(settings, content)
    replacement = FAULTS[fault](content, sentinel)
    assert replacement != content
    path.write_bytes(replacement)
    with pytest.raises(ArtifactRefused, match="changed after it was registered"):
        registry.model_bytes("flights", version, sha)
    if fault != "tampered":  # another number makes another model: only the hash can tell
        with pytest.raises(ScoringFailed):
            score_in_child({"m": replacement}, np.zeros((2, 3)), time_limit_seconds=60)
    assert not sentinel.exists()


def test_what_is_planted_beside_a_model_is_never_looked_at(
    registry: Registry, settings: Settings, model_json: bytes, tmp_path: Path
) -> None:
    """A pickle, and an MLmodel file whose loader module would run code: the bytes come out, nothing runs."""
    sentinel = tmp_path / "ran"
    content = model_json + b"\n"
    version = register(registry, content, request="beside")
    folder = stored(settings, content).parent
    (folder / "model.pkl").write_bytes(pickle.dumps(_Payload(sentinel)))
    (folder / "code").mkdir()
    (folder / "code" / "payload.py").write_text(
        f"from pathlib import Path\nPath({str(sentinel)!r}).touch()\ndef _load_pyfunc(path): ...\n"
    )
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: payload\n    code: code\n    data: model.pkl\n"
        "    env: {}\nmodel_uuid: x\n"
    )
    sha = hashlib.sha256(content).hexdigest()
    assert registry.model_bytes("flights", version, sha) == content
    # Without its signature it can't be offered.
    with pytest.raises(RegistryError, match="no signature"):
        registry.signature("flights", version)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "signature: {inputs: 3}", "signature: {inputs: '[{}]'}", "!!python/object:os.system x"],
)
def test_a_signature_that_says_nothing_is_refused(
    text: str, registry: Registry, settings: Settings, model_json: bytes
) -> None:
    content = model_json + b"\t" + hashlib.sha256(text.encode()).digest().hex().encode()
    version = register(registry, content, request=f"signature {text}")
    assert registry.signature("flights", version) == ("a", "b", "c")
    (stored(settings, content).parent / "MLmodel").write_text(text)
    with pytest.raises(RegistryError, match="no signature"):
        registry.signature("flights", version)


def test_a_source_outside_the_artifacts_gives_nothing(
    registry: Registry, settings: Settings, model_json: bytes, tmp_path: Path
) -> None:
    """A version whose source climbs out, or names another place: what lies there has another hash."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / MODEL_FILE).write_bytes(model_json + b" planted")
    version = register(registry, model_json + b"\r", request="climbs")
    sha = hashlib.sha256(model_json + b"\r").hexdigest()
    outside = settings.artifacts_dir / ".." / ".." / tmp_path.name / "elsewhere"
    for source in (
        f"{settings.artifacts_dir.as_uri()}/../../../../../etc",
        (tmp_path / "elsewhere").as_uri(),
        str(outside),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry._client, "get_model_version_download_uri", lambda *_, s=source: s)
            with pytest.raises(RegistryError):
                registry.model_bytes("flights", version, sha)


def test_two_hundred_corrupted_files_are_refused_and_crash_nobody(
    registry: Registry, settings: Settings, model_json: bytes, tmp_path: Path
) -> None:
    """Bytes changed, cut out or put in at random: each refused by its hash; loaded all the same, none crashes."""
    content = model_json + b"\n\n"
    version = register(registry, content, request="corrupted")
    sha, path = hashlib.sha256(content).hexdigest(), stored(settings, content)
    rng, refused = np.random.default_rng(7), 0
    for number in range(200):
        damaged = bytearray(content)
        for place in rng.integers(0, len(damaged), 1 + number % 5):
            if number % 3 == 0:
                damaged[place] = int(rng.integers(0, 256))
            elif number % 3 == 1:
                del damaged[place : place + int(rng.integers(1, 50))]
            else:
                damaged[place:place] = bytes(rng.integers(0, 256, 9, dtype=np.uint8))
        if bytes(damaged) == content:
            damaged += b"x"
        (tmp_path / f"{number}.json").write_bytes(bytes(damaged))
        path.write_bytes(bytes(damaged))
        with pytest.raises(ArtifactRefused):
            registry.model_bytes("flights", version, sha)
        refused += 1
    assert refused == 200
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom ratchet.training.fit import predict_scores\n"
        "said = {'refused': 0, 'scored': 0}\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.json')):\n"
        "    try:\n        predict_scores(path.read_bytes(), np.zeros((2, 3)))\n        said['scored'] += 1\n"
        "    except ValueError:\n        said['refused'] += 1\n"
        "print(said['refused'], said['scored'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    kept_out, scored = map(int, done.stdout.split())
    assert kept_out + scored == 200
    assert kept_out > 100  # the others are other models, whole: their hash alone gives them away


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


@pytest.mark.parametrize("name", ["../m", "a/b", "", "x" * 65, "m\n"])
def test_a_name_that_would_leave_the_folder_is_refused(name: str, model_json: bytes) -> None:
    with pytest.raises(ValueError, match="can't name"):
        score_in_child({name: model_json}, np.zeros((2, 3)))


def test_a_child_that_hangs_is_ended() -> None:
    with pytest.raises(ScoringFailed, match="did not end within"):
        score_in_child({"m": b"{}"}, np.zeros((2, 3)), time_limit_seconds=0.01)
