"""Evidently and NannyML on the same rows, each in an environment of its own: what they take and what they answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = {"nannyml": "nannyml==0.13.1 statsmodels", "evidently": "evidently==0.7.11 pandas<3"}
_FRAMES = """
import json, re, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
given = json.load(sys.stdin)
def frame(name):
    rows = pd.read_parquet(given["home"] + "/" + name + ".parquet")
    for column in ("origin", "carrier"):
        if column in rows:
            rows[column] = rows[column].astype(object)
    return rows
"""
_SCRIPTS = {
    ("nannyml", "drift"): """
import nannyml as nml
reference, current = frame("reference"), frame("current")
names = list(reference.columns)
started = time.perf_counter()
calculator = nml.UnivariateDriftCalculator(
    column_names=names, chunk_number=1, continuous_methods=["jensen_shannon", "kolmogorov_smirnov"],
    categorical_methods=["jensen_shannon", "chi2"],
)
calculator.fit(reference)
calculator.calculate(current)
answer = {"seconds": time.perf_counter() - started}
""",
    ("evidently", "drift"): """
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift
reference, current = frame("reference"), frame("current")
words = ["origin", "carrier"]
definition = DataDefinition(
    numerical_columns=[c for c in reference.columns if c not in words], categorical_columns=words
)
started = time.perf_counter()
made = [Dataset.from_pandas(rows, data_definition=definition) for rows in (current, reference)]
methods = (("jensenshannon", "jensenshannon"), ("psi", "psi"), ("ks", "chisquare"))
drifts = [
    ValueDrift(column=name, method=word if name in words else number)
    for number, word in methods
    for name in reference.columns
]
Report(drifts).run(*made).dict()
answer = {"seconds": time.perf_counter() - started}
""",
    ("nannyml", "cbpe"): """
import nannyml as nml
reference, current = frame("cbpe_reference"), frame("cbpe_current")
started = time.perf_counter()
estimator = nml.CBPE(
    y_pred_proba="score", y_pred="predicted", y_true="label", problem_type="classification_binary",
    metrics=["roc_auc"], chunk_size=given["chunk"],
)
estimator.fit(reference)
found = estimator.estimate(current).to_df()
seconds = time.perf_counter() - started
answer = {"seconds": seconds, "auc": [float(v) for v in found[("roc_auc", "value")]]}
""",
}


def ask(home: Path, peer: str, what: str, given: dict[str, Any]) -> dict[str, Any]:
    """The peer's answer with `seconds` of its own calls (not of imports) and `megabytes`, its process's peak.

    Raises:
        RuntimeError: it can't be installed or failed; with the end of what it said.
    """
    python = home / "oracles" / peer / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(python.parents[1])])
        _run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES[peer].split()])
    told = "peak = int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()).group(1)) / 1024\n"
    script = f"{_FRAMES}{_SCRIPTS[peer, what]}\n{told}print(json.dumps({{**answer, 'megabytes': peak}}))\n"
    out = _run([str(python), "-c", script], json.dumps({"home": str(home), **given}))
    return dict(json.loads(out.strip().splitlines()[-1]))


def _run(command: list[str], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    return done.stdout
