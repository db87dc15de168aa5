"""Register models in MLflow, move aliases, and hand out model bytes whose hash was checked first.

Only XGBoost's JSON is stored and read. Nothing here unpickles, imports a loader module or calls a pyfunc:
an artifact is bytes until its SHA-256 equals what the ledger recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlparse

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ratchet.settings import Settings

# Set before the first import of MLflow: no telemetry, and no pickle even if someone adds a flavour.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

MODEL_FILE = "model.json"
#: A model of this loop's kind is a few MB; anything larger is not ours, and is not read.
MAX_BYTES = 200 * 2**20
Alias = Literal["champion", "challenger"]


class RegistryError(RuntimeError):
    """The registry lacks what was asked for; the message names model and version."""


class ArtifactRefused(RegistryError):
    """The artifact is not the one that the ledger recorded; it was not loaded."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version in the registry. `sha256` is of model.json's bytes."""

    name: str
    version: int
    run_id: str
    sha256: str


class Registry:
    """The MLflow registry of one installation; one registered model a loop, named like the loop."""

    def __init__(self, settings: Settings) -> None:
        from mlflow import MlflowClient

        self._settings = settings
        if settings.mlflow_uri.startswith("sqlite:///"):
            Path(settings.mlflow_uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=settings.mlflow_uri)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        local = self._settings.mlflow_uri.startswith("sqlite:///")
        location = self._settings.artifacts_dir.as_uri() if local else None
        return str(self._client.create_experiment(name, artifact_location=location))

    def register(
        self,
        *,
        loop: str,
        request: str,
        model_json: bytes,
        inputs: Sequence[str],
        documents: Mapping[str, Any],
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> RegisteredModel:
        """Log the run and register its model; the same request and bytes give the same version again.

        Args:
            inputs: the feature columns in contract order; they become the model's signature.
            documents: JSON documents stored beside the model (manifest, baselines), by file stem.
        """
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException
        from mlflow.models import Model, ModelSignature
        from mlflow.types.schema import ColSpec, Schema

        sha256 = hashlib.sha256(model_json).hexdigest()
        for version in self._client.search_model_versions(f"name='{loop}'"):
            if version.tags.get("request") == request and version.tags.get("sha256") == sha256:
                return RegisteredModel(loop, int(version.version), version.run_id, sha256)

        run = self._client.create_run(
            self._experiment(loop), run_name=request, tags={"request": request, "sha256": sha256}
        )
        run_id = run.info.run_id
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, float(value), 0, 0) for key, value in metrics.items()],
            params=[Param(key, str(value)) for key, value in params.items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            stage = Path(folder)
            (stage / MODEL_FILE).write_bytes(model_json)
            for stem, document in documents.items():
                (stage / f"{stem}.json").write_text(json.dumps(document, sort_keys=True), encoding="utf-8")
            # An MLmodel file without a flavour: the registry's pages show the signature, and no loader can run.
            signature = ModelSignature(
                inputs=Schema([ColSpec("double", name) for name in inputs]),
                outputs=Schema([ColSpec("double")]),
            )
            Model(artifact_path="model", run_id=run_id, signature=signature).save(stage / "MLmodel")
            self._client.log_artifacts(run_id, str(stage), "model")
        try:
            self._client.create_registered_model(loop)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        version = self._client.create_model_version(
            loop,
            source=f"{run.info.artifact_uri}/model",
            run_id=run_id,
            tags={"request": request, "sha256": sha256},
        )
        self._client.set_terminated(run_id)
        return RegisteredModel(loop, int(version.version), run_id, sha256)

    def aliases(self, loop: str) -> dict[str, int]:
        """Alias -> version of the loop's model; empty when nothing is registered."""
        from mlflow.exceptions import MlflowException

        try:
            return {a: int(v) for a, v in self._client.get_registered_model(loop).aliases.items()}
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise

    def set_alias(self, loop: str, alias: Alias, version: int) -> None:
        """Let `alias` name `version`; setting it again changes nothing."""
        self._client.set_registered_model_alias(loop, alias, str(version))

    def drop_alias(self, loop: str, alias: Alias) -> None:
        """Let `alias` name nothing."""
        self._client.delete_registered_model_alias(loop, alias)

    def model_bytes(self, loop: str, version: int, sha256: str) -> bytes:
        """model.json of a version, after its hash was compared with `sha256` (from the ledger).

        Raises:
            RegistryError: no such version or file.
            ArtifactRefused: too large, or the hash differs: tampered or truncated; nothing was loaded.
        """
        from mlflow.exceptions import MlflowException

        try:
            source = self._client.get_model_version_download_uri(loop, str(version))
        except MlflowException as error:
            raise RegistryError(f"model {loop} has no version {version}: {error.message}") from None
        path = self._local(source) / MODEL_FILE
        if not path.is_file():
            raise RegistryError(f"{MODEL_FILE} of model {loop} version {version} is missing at {source}")
        if path.stat().st_size > MAX_BYTES:
            raise ArtifactRefused(f"{MODEL_FILE} of model {loop} version {version} is over {MAX_BYTES} bytes")
        content = path.read_bytes()
        actual = hashlib.sha256(content).hexdigest()
        if actual != sha256:
            raise ArtifactRefused(
                f"{MODEL_FILE} of model {loop} version {version} has SHA-256 {actual[:12]}…, the ledger recorded "
                f"{sha256[:12]}…: it was changed after it was registered; restore it or withdraw the version"
            )
        return content

    def signature(self, loop: str, version: int) -> tuple[str, ...]:
        """Names of a version's inputs, in order, as its page in the registry shows them. Nothing is loaded.

        Raises:
            RegistryError: no such version, or no signature that can be read.
        """
        from mlflow.exceptions import MlflowException

        try:
            source = self._client.get_model_version_download_uri(loop, str(version))
        except MlflowException as error:
            raise RegistryError(f"model {loop} has no version {version}: {error.message}") from None
        path = self._local(source) / "MLmodel"
        try:
            document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
            return tuple(str(column["name"]) for column in json.loads(document["signature"]["inputs"]))
        except (OSError, YAMLError, KeyError, TypeError, ValueError) as error:
            raise RegistryError(f"model {loop} version {version} has no signature: {error!r}") from None

    def _local(self, uri: str) -> Path:
        parsed = urlparse(uri)
        if parsed.scheme in ("", "file"):
            path = Path(unquote(parsed.path))
            # The registry holds absolute paths; a state folder that was moved has the same tail. The hash decides.
            moved = self._settings.artifacts_dir.joinpath(*path.parts[-3:])
            return path if path.exists() or not moved.exists() else moved
        from mlflow.artifacts import download_artifacts

        return Path(download_artifacts(artifact_uri=uri, tracking_uri=self._settings.mlflow_uri))
