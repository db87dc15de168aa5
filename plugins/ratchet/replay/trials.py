"""Many seasons and travellers, each replayed in a process of its own with the stages called directly.

The table says what the loop did from each start: it is how the default start was chosen.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from ratchet.ledger.chain import Entry
from ratchet.ledger.store import Ledger
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.replay.summary import PLANTED, drill_refusals, promotions
from ratchet.settings import Settings, process_environment


@dataclass(frozen=True)
class Trial:
    """What the loop did in one season with one set of travellers."""

    start: date
    seed: int
    requests: int
    refused: int
    verdicts: tuple[str, ...]
    gain: str
    plants_refused: int
    is_closed: bool
    problem: str | None = None


def run_trials(
    settings: Settings,
    loop: Loop,
    starts: Iterable[date],
    seeds: Iterable[int],
    weeks: int,
    jobs: int,
    console: Console,
) -> list[Trial]:
    """Replay each start with each seed; states lie in a temporary folder and are removed."""
    wanted = [(start, seed) for start in starts for seed in seeds]
    with (
        Progress(console=console, transient=True) as progress,
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(jobs) as pool,
    ):
        task = progress.add_task(f"{len(wanted)} replays of {weeks} weeks", total=len(wanted))

        def one(item: tuple[date, int]) -> Trial:
            home = Path(folder) / f"{item[0]}-{item[1]}"
            try:
                done = _trial(settings, loop, home, item[0], item[1], weeks)
                console.print(_row(done), markup=False, soft_wrap=True)
                return done
            finally:
                shutil.rmtree(home, ignore_errors=True)
                progress.advance(task)

        return list(pool.map(one, wanted))


def _trial(settings: Settings, loop: Loop, home: Path, start: date, seed: int, weeks: int) -> Trial:
    environment = {
        **process_environment(),
        "RATCHET_HOME": str(home),
        "AIRFLOW_HOME": str(home / "airflow"),
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    ratchet = [sys.executable, "-m", "ratchet.cli"]
    replay = [
        "replay", "--loop", loop.loop, "--start", str(start), "--seed", str(seed), "--weeks", str(weeks), "--direct",
    ]  # fmt: skip
    (home / "airflow").mkdir(parents=True)
    for arguments in (["setup", "--without-airflow"], replay):
        done = subprocess.run(
            [*ratchet, *arguments], env=environment, capture_output=True, text=True, check=False
        )
    own = replace(settings, home=home, ledger_url=f"sqlite:///{home / 'ledger' / 'ledger.db'}")
    # Status 1 also says that the loop did not close: only a replay without a summary has failed.
    if "loop closed" not in done.stdout and "loop not closed" not in done.stdout:
        said = " ".join((done.stderr or done.stdout).split())
        refused = "no first champion: " + said.partition("no first champion: ")[2]
        told = refused if "no first champion: " in said else said[-160:]
        return Trial(start, seed, 0, 0, (), "", 0, False, (told or "no message")[:160])
    entries = Ledger(own.ledger_url).entries(loop.loop)
    return _read(entries, read(own, loop.loop, "comparisons") or {}, start, seed)


def _read(entries: list[Entry], comparisons: dict[str, Any], start: date, seed: int) -> Trial:
    requests = [e for e in entries if e.kind == "trigger" and e.payload["action"] == "request"]
    refused = [e for e in entries if e.kind == "evaluation" and e.payload["verdict"] != "pass"]
    verdicts = [
        f"{e.payload['action'].replace('_', ' ')} {e.as_of[:10]}"
        for e in entries
        if e.kind == "rollout_applied" and e.payload["action"] != "advance"
    ]
    started = sum(e.kind == "rollout_started" for e in entries)
    if started > len(verdicts):
        verdicts.append("still on trial")
    gains = []
    for shown in comparisons.values():
        gain = shown["log_loss"]["difference"]
        if gain["low"] is not None:
            gains.append(f"{-gain['value']:+.4f} [{-gain['high']:+.4f}, {-gain['low']:+.4f}]")
    promoted, plants = len(promotions(entries)), len(drill_refusals(entries))
    return Trial(
        start,
        seed,
        len(requests),
        len(refused),
        tuple(verdicts),
        "; ".join(gains),
        plants,
        promoted > 0 and plants == len(PLANTED),
    )


def table(trials: list[Trial]) -> str:
    """The trials as a Markdown table."""
    lines = [
        "| start | seed | requests | refused offline | rollouts | log loss gain (95 % over days) | planted refused "
        "| loop closed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(_row, trials)])


def _row(trial: Trial) -> str:
    if trial.problem:
        return f"| {trial.start} | {trial.seed} | stopped: {trial.problem} | | | | | no |"
    rollouts = ", ".join(trial.verdicts) or "none"
    return (
        f"| {trial.start} | {trial.seed} | {trial.requests} | {trial.refused} | {rollouts} "
        f"| {trial.gain or 'none'} | {trial.plants_refused} of {len(PLANTED)} "
        f"| {'yes' if trial.is_closed else 'no'} |"
    )
