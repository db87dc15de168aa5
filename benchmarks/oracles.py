"""Second implementations, each in an environment of its own: they need older libraries than the product."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

#: What is installed, and the statements that answer; they read `given` and set `answer`.
PACKAGES = {"boundaries": "spotify-confidence==4.1.0", "arms": "gbstats==0.8.0"}
_SCRIPTS = {
    "boundaries": """
import numpy as np
from spotify_confidence.analysis.frequentist.sequential_bound_solver import bounds
found = bounds(np.array(given["fractions"]), alpha=given["alpha"], rho=given["power"], ztrun=8.0, sides=1)
answer = [float(value) for value in found.df["zb"]]
""",
    "arms": """
from gbstats.models.statistics import (
    ProportionStatistic, RatioStatistic, RegressionAdjustedStatistic, SampleMeanStatistic, compute_theta,
)
answer = []
for case in given["cases"]:
    kind, arms = case["kind"], case["arms"]
    made = []
    for arm in arms:
        if kind == "binary":
            made.append(ProportionStatistic(n=arm["n"], sum=arm["y"]))
        elif kind == "continuous":
            made.append(SampleMeanStatistic(n=arm["n"], sum=arm["y"], sum_squares=arm["yy"]))
        elif kind == "ratio":
            made.append(RatioStatistic(
                n=arm["n"],
                m_statistic=SampleMeanStatistic(n=arm["n"], sum=arm["y"], sum_squares=arm["yy"]),
                d_statistic=SampleMeanStatistic(n=arm["n"], sum=arm["x"], sum_squares=arm["xx"]),
                m_d_sum_of_products=arm["xy"],
            ))
        else:
            made.append(RegressionAdjustedStatistic(
                n=arm["n"],
                post_statistic=SampleMeanStatistic(n=arm["n"], sum=arm["y"], sum_squares=arm["yy"]),
                pre_statistic=SampleMeanStatistic(n=arm["n"], sum=arm["x"], sum_squares=arm["xx"]),
                post_pre_sum_of_products=arm["xy"],
                theta=0,
            ))
    if kind == "cuped":
        theta = compute_theta(made[0], made[1])
        for one in made:
            one.theta = theta
    difference = made[0].mean - made[1].mean
    error = (made[0].variance / made[0].n + made[1].variance / made[1].n) ** 0.5
    answer.append([float(difference), float(error)])
""",
}


def ask(home: Path, name: str, given: dict[str, Any]) -> Any:
    """The second implementation's answer to `given`; its environment is made under `home` when it is missing.

    Raises:
        RuntimeError: it can't be installed or failed; with the end of what it said.
    """
    python = home / "oracles" / name / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(python.parents[1])])
        _run([str(python), "-m", "pip", "install", "--quiet", PACKAGES[name]])
    script = f"import json, sys\ngiven = json.load(sys.stdin)\n{_SCRIPTS[name]}\nprint(json.dumps(answer))\n"
    return json.loads(_run([str(python), "-c", script], json.dumps(given)).strip().splitlines()[-1])


def _run(command: list[str], given: str | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} failed:\n{done.stderr[-2000:]}")
    return done.stdout
