"""How long Ratchet's pages take on a year of summaries and decisions, made from disk each time."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.pages.fixtures import installation

from benchmarks.report import Figure
from ratchet.loop import load_loop
from ratchet.pages import source as reading
from ratchet.pages.book import PAGES, made
from ratchet.pages.decisions import approvals, decision
from ratchet.pages.links import Links
from ratchet.pages.render import page_html, report_html
from ratchet.pages.source import Source

LIMIT_SECONDS = 0.3
DAYS = 365
ROLLOUTS = 12  # of about 25 looks each
TIMES = 7


@dataclass(frozen=True)
class Timed:
    """A page's median and slowest time, and its size."""

    page: str
    median_seconds: float
    slowest_seconds: float
    bytes: int


def pages() -> list[Figure]:
    """The slowest page of the year's summaries, and the first of a process, which reads the whole ledger."""
    first, *found = timed_pages()
    slowest = max(found, key=lambda one: one.median_seconds)
    return [
        Figure("slowest page of a year", slowest.median_seconds, "s", LIMIT_SECONDS,
               note=f"{slowest.page}, median of {TIMES}; {slowest.bytes / 1000:,.0f} kB; of {len(found)} pages"),
        Figure("first page of a process", first.median_seconds, "s", LIMIT_SECONDS,
               note=f"the ledger unread; {ROLLOUTS} rollouts; slowest of {TIMES}: {first.slowest_seconds:.2f} s"),
    ]  # fmt: skip


def timed_pages(days: int = DAYS, rollouts: int = ROLLOUTS) -> list[Timed]:
    """Every page of a loop, timed; the first row is the first page of a process, which reads the whole ledger."""
    with tempfile.TemporaryDirectory() as folder:
        settings = installation(Path(folder) / "home", days, rollouts)
        loop = load_loop(settings.loops_dir / "flights.yml")
        links = Links("flights", settings, own="/ratchet", airflow="")

        def whole(slug: str) -> str:
            source = Source.of(settings, loop)
            if slug == "report":
                return report_html(source)
            if slug == "approvals":
                page = approvals(source, links, ("ana",))
            elif slug == "certificate":
                page = decision(source, links, str(source.entries[-1].seq))
            else:
                page = made(slug, source, links)
            return page_html(page, source, links, ["flights"], current=slug)

        whole("overview")  # templates and modules

        def unread() -> str:
            reading.forget()
            return whole("overview")

        found = [_timed("overview, ledger unread", unread, TIMES)]
        found += [
            _timed(slug, lambda slug=slug: whole(slug), TIMES)  # type: ignore[misc]
            for slug in (*PAGES, "approvals", "certificate", "report")
        ]
        entries = len(Source.of(settings, loop).entries)
        assert entries > 20 * rollouts, f"the ledger has {entries} entries: the bench looked at little"
    return found


def _timed(name: str, make: object, times: int) -> Timed:
    seconds, size = [], 0
    for _ in range(times):
        start = time.perf_counter()
        size = len(make())  # type: ignore[operator]
        seconds.append(time.perf_counter() - start)
    return Timed(name, statistics.median(seconds), max(seconds), size)
