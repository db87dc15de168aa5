"""One training job: which request it serves, as of when, and where its candidate lies between tasks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from ratchet.loop import Loop
from ratchet.loop_days import last_mature_day
from ratchet.published import read, write_atomically
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of, state_of

Mode = Literal["retrain", "bootstrap"]


class NoJob(RuntimeError):
    """There is nothing to train; the message says what is missing."""


def training_window(loop: Loop, as_of: datetime) -> tuple[date, date]:
    """First and last departure date whose label windows are all closed at `as_of`."""
    return loop.data_span.start, last_mature_day(loop, as_of)


class JobClosed(NoJob):
    """What the run was started for is answered already; waiting would not help."""


@dataclass(frozen=True)
class Job:
    """A training job. `request` is the ledger key of what asked for it; `as_of` the time its data are known at."""

    loop: str
    mode: Mode
    request: str
    as_of: datetime

    @property
    def is_dry(self) -> bool:
        """Whether the job answers no request: it is tried, and nothing of it is recorded as a decision."""
        return self.request.startswith("dry:")

    def folder(self, settings: Settings) -> Path:
        """Where the job's files lie."""
        return settings.candidates_dir / self.loop / re.sub(r"[^0-9A-Za-z_-]", "-", self.request)

    def write(self, settings: Settings, name: str, document: dict[str, Any]) -> None:
        """Keep a JSON document of the job for the next task."""
        write_atomically(
            self.folder(settings) / f"{name}.json", json.dumps(document, sort_keys=True).encode()
        )

    def read(self, settings: Settings, name: str) -> dict[str, Any]:
        """A document that an earlier task kept.

        Raises:
            NoJob: the earlier task did not run.
        """
        path = self.folder(settings) / f"{name}.json"
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise NoJob(f"{path} is missing: run the tasks before this one first") from None


@dataclass(frozen=True)
class Wanted:
    """What a training run was started for: by an event (its request), or by hand."""

    mode: Mode = "retrain"
    as_of: datetime | None = None
    request: str | None = None
    is_dry: bool = False


def job_for(settings: Settings, loop: Loop, wanted: Wanted) -> Job:
    """The job of a training run.

    A bootstrap needs an as-of and a loop that never had a champion. A retrain serves the request of its event,
    or the open one. A dry run tries a candidate under a key of its own: it answers no request.

    Raises:
        NoJob: nothing to train for; says what is missing.
        JobClosed: the request was answered already.
    """
    if wanted.is_dry:
        as_of = wanted.as_of or _built(settings, loop)
        if as_of is None:
            raise NoJob("a run by hand needs the parameter as_of: nothing was built yet")
        return Job(loop.loop, wanted.mode, f"dry:{wanted.mode}:{as_of.isoformat()}", as_of)
    ledger = ledger_of(settings)
    if wanted.mode == "bootstrap":
        if wanted.as_of is None:
            raise NoJob("a bootstrap needs the parameter as_of")
        job = Job(loop.loop, "bootstrap", f"bootstrap:{wanted.as_of.isoformat()}", wanted.as_of)
        first = [e for e in ledger.entries(loop.loop, ["bootstrap"]) if e.payload["request"] != job.request]
        if first:
            raise JobClosed(
                f"loop {loop.loop} has had a champion since {first[0].as_of}: a bootstrap is only for a loop that "
                "never had one; open a retrain request instead"
            )
        return job
    open_ = state_of(settings, loop).request
    if wanted.request is None:
        if open_ is None:
            raise NoJob(f"no retrain request of loop {loop.loop} is open")
        return Job(loop.loop, "retrain", open_.key, open_.as_of)
    entry = ledger.find(loop.loop, wanted.request)
    if entry is None or entry.kind != "trigger" or entry.payload["action"] != "request":
        raise JobClosed(f"the ledger has no retrain request {wanted.request} of loop {loop.loop}")
    return Job(loop.loop, "retrain", wanted.request, datetime.fromisoformat(entry.as_of))


def _built(settings: Settings, loop: Loop) -> datetime | None:
    published = read(settings, loop.loop, "partitions")
    return None if published is None else datetime.fromisoformat(published["as_of"])
