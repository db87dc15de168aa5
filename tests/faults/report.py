"""What the trials found: lines while they run, a table at the end, docs/fault-trials.md and a JSON file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "duckdb",
    "dbt-core",
    "dbt-duckdb",
    "dbt-postgres",
    "great-expectations",
    "pandas",
    "pyarrow",
    "hypothesis",
)


@dataclass
class Line:
    """One row of the table: a fault, on an engine; `equal` trials ended in the tables of an undisturbed run."""

    group: str
    fault: str
    engine: str
    planned: int = 0
    trials: int = 0
    equal: int = 0
    half_published: int | None = None
    notes: str = ""
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        return self.trials > 0 and self.equal == self.trials and not self.half_published and not self.problems


class Progress:
    """Says k of n, how many held, and how fast, at most every few seconds."""

    def __init__(self, line: Line, total: int, say: Callable[[str], None]) -> None:
        self._line, self._total, self._say = line, total, say
        self._began = self._said = time.monotonic()
        self._before = line.seconds
        line.planned = total
        say(f"{line.fault} on {line.engine}: {total} trials")

    def one(self, problems: Iterable[str], what: str, *, half: bool = False) -> None:
        """One trial has ended."""
        line, found = self._line, list(problems)
        line.trials += 1
        line.equal += not found
        line.problems += [f"{what}: {problem}" for problem in found]
        if line.half_published is not None:
            line.half_published += half
        now = time.monotonic()
        line.seconds = self._before + now - self._began
        for problem in found:
            self._say(f"  FAILED {what}: {problem}")
        if now - self._said > 15 or line.trials == self._total:
            self._said = now
            rate = 60 * line.trials / max(line.seconds, 1e-9)
            self._say(f"  {line.trials} of {self._total}: {line.equal} equal, {rate:.1f} a minute")


def table(lines: Iterable[Line]) -> str:
    """The lines as a Markdown table."""
    rows = [
        "| fault | engine | trials | equal | half published | notes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        half = "" if line.half_published is None else str(line.half_published)
        notes = line.notes if line.held else f"**FAILED** {line.notes}"
        trials = f"{line.trials} of {line.planned}" if line.trials < line.planned else str(line.trials)
        rows.append(f"| {line.fault} | {line.engine} | {trials} | {line.equal} | {half} | {notes} |")
    return "\n".join(rows)


def write(lines: list[Line], groups: list[str], every: bool) -> Path:
    """Write the JSON of this run, and the page if all groups ran; the JSON's path."""
    folder = Path(os.environ.get("RATCHET_HOME") or ROOT / "var")
    folder.mkdir(parents=True, exist_ok=True)
    made = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "commit": _commit(), "machine": _machine()}
    path = folder / "fault-trials.json"
    known = json.loads(path.read_text()) if path.exists() and not every else {"lines": []}
    kept = [line for line in known["lines"] if line["group"] not in groups]
    found = kept + [{**made, **asdict(line)} for line in lines]
    path.write_text(json.dumps({**made, "groups": groups, "lines": found}, indent=1))
    stamps = {line["group"]: (line["at"], line["commit"]) for line in found}
    again = [Line(**{name: line[name] for name in Line.__dataclass_fields__}) for line in found]
    (ROOT / "docs" / "fault-trials.md").write_text(_page(again, stamps), encoding="utf-8")
    return path


def _page(lines: list[Line], stamps: dict[str, tuple[str, str]]) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    runs = "; ".join(f"{group} ended {at}, commit {commit}" for group, (at, commit) in stamps.items())
    failed = [f"- {line.fault} on {line.engine}: {problem}" for line in lines for problem in line.problems]
    minutes = sum(line.seconds for line in lines) / 60
    return (
        "# Fault trials\n\n"
        "`make test-faults` writes this page; `make test-faults GROUP=kills` repeats one group. A trial is *equal* "
        "when after a plain retry every table holds the same rows, to the last bit, as an undisturbed run. *Half "
        "published* counts trials after which a reader saw neither the last publication nor the next one. A kill "
        "starts from the state before its task; each third retry begins with the first task of the day. dbt's own "
        "tests are left out of the builds that are killed: they write nothing.\n\n"
        f"Runs: {runs}. Machine: {_machine()}. {packages}. {minutes:.0f} minutes.\n\n{table(lines)}\n"
        + ("\n## What failed\n\n" + "\n".join(failed) + "\n" if failed else "")
    )


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def _commit() -> str:
    # The page that an earlier group has just written is no change of what is tried.
    found = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/fault-trials.md")
    changed = " with changes" if found else ""
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + changed


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
