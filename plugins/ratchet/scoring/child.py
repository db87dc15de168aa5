"""Score a matrix with XGBoost JSON models in a process of its own.

A corrupted model file can crash or hang the library that reads it; here that ends a child, and the parent
says so. Run as `python -m ratchet.scoring.child FOLDER`: the folder holds matrix.npy (rows x features,
float64, NaN = missing) and one <name>.json a model; the child writes <name>.npy (scores) and timings.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
    if not len(matrix):
        return {name: Scored(np.empty(0), 0.0) for name in models}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "matrix.npy", np.ascontiguousarray(matrix, dtype=np.float64))
        for stem, content in models.items():
            (folder / f"{stem}.json").write_bytes(content)
        command = [sys.executable, "-m", "ratchet.scoring.child", str(folder), *models]
        try:
            done = subprocess.run(command, capture_output=True, timeout=time_limit_seconds, check=False)
        except subprocess.TimeoutExpired:
            raise ScoringFailed(
                f"scoring did not end within {time_limit_seconds:.0f} s: {', '.join(models)}"
            ) from None
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise ScoringFailed(f"scoring ended with status {done.returncode}: {last[0][:300]}")
        timings = json.loads((folder / "timings.json").read_text())
        result = {}
        for stem in models:
            scores = np.load(folder / f"{stem}.npy", allow_pickle=False)
            if (
                scores.shape != (len(matrix),)
                or not np.isfinite(scores).all()
                or (abs(scores - 0.5) > 0.5).any()
            ):
                raise ScoringFailed(
                    f"model {stem} gave scores that are not numbers in [0, 1]; none is served"
                )
            result[stem] = Scored(scores.astype(np.float64), float(timings[stem]))
        return result


def main(arguments: list[str]) -> None:
    """The child: load each model's JSON, predict, write the scores."""
    import xgboost  # noqa: F401  (before the clock starts: a latency is of predicting, not of importing)

    from ratchet.training.fit import predict_scores

    folder, stems = Path(arguments[0]), arguments[1:]
    matrix = np.load(folder / "matrix.npy", allow_pickle=False)
    timings = {}
    for stem in stems:
        content = (folder / f"{stem}.json").read_bytes()
        start = time.perf_counter()
        scores = predict_scores(content, matrix)
        timings[stem] = time.perf_counter() - start
        np.save(folder / f"{stem}.npy", np.asarray(scores, dtype=np.float64))
    (folder / "timings.json").write_text(json.dumps(timings))


if __name__ == "__main__":
    main(sys.argv[1:])
