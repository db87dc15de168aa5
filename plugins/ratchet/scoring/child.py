"""Score a matrix with XGBoost JSON models in a process of its own.

A corrupted model file can crash or hang the library that reads it; here that ends a child, and the parent
says so. Run as `python -m ratchet.scoring.child FOLDER model/matrix...`: the folder holds <matrix>.matrix.npy (rows x
features, float64, NaN = missing) and one <model>.json a model; the child writes <model>.<matrix>.npy (scores) and
timings.json.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pair = tuple[str, str]
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ScoringFailed(RuntimeError):
    """The child crashed, hung or gave unusable scores; the message says which model and how."""


@dataclass(frozen=True)
class Scored:
    """Scores (one per row of the matrix) and the seconds that predicting them took."""

    scores: Floats
    seconds: float


def score_in_child(
    models: Mapping[str, bytes], matrix: Floats, *, time_limit_seconds: float = 120.0
) -> dict[str, Scored]:
    """Scores of each model for each row of `matrix` (rows x features).

    Raises:
        ScoringFailed: the child ended with an error, a signal or after the limit, or a score is not a
            finite number in [0, 1]: nothing of its output is used.
    """
    wanted = [(name, "matrix") for name in models]
    scored = score_pairs(models, {"matrix": matrix}, wanted, time_limit_seconds=time_limit_seconds)
    return {name: scored[name, "matrix"] for name in models}


def score_pairs(
    models: Mapping[str, bytes],
    matrices: Mapping[str, Floats],
    pairs: Sequence[Pair],
    *,
    time_limit_seconds: float = 120.0,
) -> dict[Pair, Scored]:
    """Scores by (model, matrix) for the pairs asked for, all in one child.

    Raises:
        ScoringFailed: as `score_in_child`.
        ValueError: a name is no plain word: it becomes a file's name.
    """
    strange = sorted(name for name in (*models, *matrices) if not _PLAIN.fullmatch(name))
    if strange:
        raise ValueError(f"{strange[0]!r} can't name a model or a matrix: use letters, digits, - and _")
    empty = {pair: Scored(np.empty(0), 0.0) for pair in pairs if not len(matrices[pair[1]])}
    asked = [pair for pair in pairs if pair not in empty]
    if not asked:
        return empty
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stem in dict.fromkeys(matrix for _, matrix in asked):
            np.save(folder / f"{stem}.matrix.npy", np.ascontiguousarray(matrices[stem], dtype=np.float64))
        for stem in dict.fromkeys(model for model, _ in asked):
            (folder / f"{stem}.json").write_bytes(models[stem])
        command = [sys.executable, "-m", "ratchet.scoring.child", str(folder), *map("/".join, asked)]
        told = ", ".join(dict.fromkeys(model for model, _ in asked))
        try:
            done = subprocess.run(command, capture_output=True, timeout=time_limit_seconds, check=False)
        except subprocess.TimeoutExpired:
            raise ScoringFailed(f"scoring did not end within {time_limit_seconds:.0f} s: {told}") from None
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise ScoringFailed(f"scoring ended with status {done.returncode}: {last[0][:300]}")
        timings = json.loads((folder / "timings.json").read_text())
        return empty | {pair: _read(folder, pair, len(matrices[pair[1]]), timings) for pair in asked}


def _read(folder: Path, pair: Pair, rows: int, timings: Mapping[str, float]) -> Scored:
    model, matrix = pair
    scores = np.load(folder / f"{model}.{matrix}.npy", allow_pickle=False)
    if scores.shape != (rows,) or not np.isfinite(scores).all() or (abs(scores - 0.5) > 0.5).any():
        raise ScoringFailed(f"model {model} gave scores that are not numbers in [0, 1]; none is served")
    return Scored(scores.astype(np.float64), float(timings["/".join(pair)]))


def main(arguments: list[str]) -> None:
    """The child: load each model's JSON once, predict, write the scores."""
    import xgboost  # noqa: F401  (before the clock starts: a latency is of predicting, not of importing)

    from ratchet.training.fit import predict_scores

    folder, pairs = Path(arguments[0]), [argument.split("/") for argument in arguments[1:]]
    timings = {}
    for model, name in pairs:
        matrix = np.load(folder / f"{name}.matrix.npy", allow_pickle=False)
        content = (folder / f"{model}.json").read_bytes()
        start = time.perf_counter()
        scores = predict_scores(content, matrix)
        timings[f"{model}/{name}"] = time.perf_counter() - start
        np.save(folder / f"{model}.{name}.npy", np.asarray(scores, dtype=np.float64))
    (folder / "timings.json").write_text(json.dumps(timings))


if __name__ == "__main__":
    main(sys.argv[1:])
