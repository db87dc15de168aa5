"""A backfill, the daily run and a reader at once; the same days in other orders; a finished day again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from tests.faults.checksums import PUBLISHED_SCHEMAS, Checksums, changed, checksums, published
from tests.faults.kill import TaskFailed, Trials, messages
from tests.faults.prepared import Prepared, files_of
from tests.reference.play import Player, quiet, tables_without_tests
from tests.reference.worlds import Maker, Shape

from ratchet.stages import build as build_stage
from ratchet.stages import dbt_environment
from ratchet.stages.dbt_environment import run_dbt
from ratchet.stages.ingest import judge_landing, land

MONTH = Shape(
    date(2013, 3, 1), days=30, flights=90, late_share=0.2, corrected_share=0.2, longest_delay_days=9, seed=8
)
BUILD = ("collect", "build_models", "judge_features", "publish")
INGEST = ("land", "judge_landing", *BUILD)
#: What must not depend on who came first. The book-keeping says when something was judged, and may differ.
COMPARED = ("raw", "intermediate", *PUBLISHED_SCHEMAS)


def again(prepared: Prepared, scratch: Path, times: int) -> Iterator[list[str]]:
    """A finished day, run again and again: what changed each time."""
    trials = Trials(prepared, INGEST, scratch)
    home = scratch / "again"
    settings = prepared.copy(home)
    trials.finish(trials.orders(home, INGEST))
    before = checksums(settings)
    for _ in range(times):
        try:
            trials.finish(trials.orders(home, ("land", "judge_landing", "collect")))
            yield changed(before, checksums(settings))
        except TaskFailed as failed:
            yield [str(failed)]
    prepared.drop(home)


def at_once(prepared: Prepared, days: tuple[date, ...], scratch: Path) -> tuple[list[str], int]:
    """The day lands in one process and a backfill of `days` in others while builds run, one at a time as their DAG
    does, and a reader loops. What differs from one after the other, and how often the reader looked."""
    trials = Trials(prepared, INGEST, scratch)
    one, both = scratch / "one-by-one", scratch / "at-once"
    settings = prepared.copy(one)
    for day in (prepared.day, *days):
        trials.finish(replace(trials.orders(one, INGEST), day=day))
    expected = checksums(settings, COMPARED)
    settings = prepared.copy(both)
    running = [
        trials.start(replace(trials.orders(both, INGEST[:2]), day=day)) for day in (*days, prepared.day)
    ]
    publications = 2
    running.append(trials.start(trials.orders(both, BUILD * publications)))
    states, looks, problems = [published(settings)], 0, []
    while any(process.is_alive() for process, _ in running):
        look = published(settings)
        looks += 1
        if look not in states:
            states.append(look)
        time.sleep(0.05)
    for process, pipe in running:
        problems += [f"{said[1]}: {said[2]}" for said in messages(pipe) if said[0] == "failed"]
        process.join()
    if len(states) > publications + 1:
        problems.append(f"a reader saw {len(states)} states of {publications} publications")
    trials.finish(trials.orders(both, BUILD))
    problems += changed(expected, checksums(settings, COMPARED))
    prepared.drop(one)
    prepared.drop(both)
    return problems, looks


def in_orders(
    folder: Path, checkout: Path, orders: dict[str, list[list[date]]]
) -> Iterator[tuple[str, Checksums]]:
    """The month's days landed and built in each order (groups of days at once): what readers then see."""
    files = files_of(Maker(MONTH).rows)
    for name, groups in orders.items():
        player = Player(folder / name.replace(" ", "-"), checkout)
        for file in files:
            player.write(file)
        for group in groups:
            _ingest(player, min(group), max(group))
        yield name, checksums(player.settings, COMPARED)
        if name == "all at once":
            for threads in (1, 2):
                arguments = ["--quiet", "run", "--selector", player.loop.loop, "--full-refresh"]
                run_dbt(player.settings, [*arguments, "--threads", str(threads)])
                yield f"{threads} threads", _unstaged(checksums(player.settings))


def month_orders(batch: int = 6) -> dict[str, list[list[date]]]:
    """All days at once; batch by batch; the batches in reverse; the days one by one."""
    days = sorted({file.received_date for file in files_of(Maker(MONTH).rows)})
    days = [days[0] + timedelta(days=n) for n in range((days[-1] - days[0]).days + 1)]
    cuts = [*range(0, len(days), batch), len(days)]
    batches = [days[a:b] for a, b in pairwise(cuts)]
    return {
        "all at once": [days],
        "day by day": [[day] for day in days],
        "batches": batches,
        "batches in reverse": batches[::-1],
    }


def _unstaged(found: Checksums) -> Checksums:
    """What a build staged, under the names of what is published."""
    return {name.removeprefix("build_"): value for name, value in found.items() if name.startswith("build_")}


def _ingest(player: Player, start: date, end: date) -> None:
    settings, loop = player.settings, player.loop
    as_of = datetime.combine(end + timedelta(days=1), datetime.min.time())
    land(settings, loop, start, end, quiet)
    judge_landing(settings, loop, start, end, as_of, quiet)
    if build_stage.collect(settings, loop, as_of, quiet) is None:
        return
    with tables_without_tests():
        dbt_environment.build(settings, loop)
    build_stage.judge_features(settings, loop, as_of, quiet)
    build_stage.publish(settings, loop, as_of, quiet)
