"""A disk that is full, a folder that may not be written, memory that ends, a file that others hold: a clear error,
nothing half-visible, and a retry that heals."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.faults.checksums import checksums, published
from tests.faults.day import HEAVY, Orders, run
from tests.faults.kill import messages
from tests.reference.play import Player, lenient_checkout, quiet, tables_without_tests
from tests.reference.worlds import File, Maker, Shape, utc

from ratchet.published import read
from ratchet.stages.ingest import land
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import WarehouseError, WarehouseLocked

pytestmark = pytest.mark.slow

DAY = date(2013, 6, 10)
NEXT = date(2013, 7, 1)
ROWS = 20_000


def observations(day: date, count: int) -> File:
    """A file of weather that no small limit holds."""
    start = utc(day, 0) - timedelta(days=3)
    rows = tuple(
        {
            "origin": "JFK", "event_at": start + timedelta(seconds=n), "received_at": datetime.combine(day, time.min),
            "wind_direction_deg": None, "temperature_f": n / 1000, "dew_point_f": n / 1001, "humidity_pct": n / 1002,
            "wind_speed_mph": n / 1003, "wind_gust_mph": n / 1004, "precipitation_in": 0.0, "pressure_mb": 1000.0,
            "visibility_miles": n / 1005,
        }
        for n in range(count)
    )  # fmt: skip
    return File("weather", day, "many", rows)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Player:
    """A world of a few flights, built and published; a day with many rows lies in the landing folder."""
    folder = tmp_path_factory.mktemp("disk")
    player = Player(folder / "home", lenient_checkout(folder / "checkout"))
    rows = Maker(Shape(DAY, days=3, flights=8, late_share=0.0, corrected_share=0.0, seed=4)).rows
    days = set()
    for source, made in rows.items():
        for day in {row["received_at"].date() for row in made}:
            player.write(File(source, day, "all", tuple(r for r in made if r["received_at"].date() == day)))
            days.add(day)
    player.land(min(days), max(days))
    with tables_without_tests():
        assert player.build()
    assert max(days) < NEXT
    player.write(observations(NEXT, ROWS))
    return player


def task(player: Player, name: str, **limits: Any) -> tuple[str, str]:
    """What the task said last in a process of its own: ("end", "") or ("failed", message)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(HEAVY))
    ours, theirs = context.Pipe(duplex=False)
    names = {"RATCHET_HOME": str(player.settings.home), "RATCHET_ROOT": str(player.settings.root)}
    orders = Orders(names, NEXT, (name,), with_tests=False, **limits)
    process = context.Process(target=run, args=(orders, theirs), daemon=True)
    process.start()
    theirs.close()
    said = [message for message in messages(ours) if message[0] != "begin"]
    process.join(60)
    assert said, f"{name} died with status {process.exitcode} and said nothing"
    return (said[-1][0], str(said[-1][2]) if said[-1][0] == "failed" else "")


@pytest.fixture
def held(built: Player) -> Iterator[Player]:
    """The world before NEXT has landed, and whatever a test does to it is undone."""
    before, content = checksums(built.settings), built.settings.warehouse_path.read_bytes()
    yield built
    built.settings.warehouse_path.with_suffix(".duckdb.wal").unlink(missing_ok=True)
    built.settings.warehouse_path.write_bytes(content)
    assert checksums(built.settings) == before


def heals(player: Player) -> None:
    """The retry lands everything, once."""
    assert task(player, "land") == ("end", "")
    found = player.frame(f"select count(*) as n from raw.weather where received_date = date '{NEXT}'")
    assert found["n"].iloc[0] == ROWS


def test_a_full_disk_stops_a_landing_with_its_reason_and_keeps_nothing_of_it(held: Player) -> None:
    before, seen = checksums(held.settings), published(held.settings)
    how, message = task(held, "land", largest_file=1 << 16)
    assert how == "failed", "the limit stopped nothing: this test looked at nothing"
    assert "too large" in message and ".duckdb" in message, message
    assert checksums(held.settings) == before
    assert published(held.settings) == seen
    heals(held)


def test_a_full_disk_stops_a_publication_and_readers_keep_the_last_one(held: Player) -> None:
    heals(held)
    for name in ("judge_landing", "collect", "build_models", "judge_features"):
        assert task(held, name) == ("end", "")
    seen = published(held.settings)
    how, message = task(held, "publish", largest_file=1 << 12)
    assert how == "failed", "the limit stopped nothing: this test looked at nothing"
    assert "too large" in message and ".duckdb" in message, message
    assert published(held.settings) == seen
    assert task(held, "publish") == ("end", "")
    assert published(held.settings) != seen
    assert (read(held.settings, "flights", "partitions") or {})["dirty"] == 0


def test_memory_that_ends_stops_a_landing_and_keeps_nothing_of_it(held: Player) -> None:
    before = checksums(held.settings)
    how, message = task(held, "land", memory="4MB")
    assert how == "failed", "4 MB sufficed: this test looked at nothing"
    assert "memory" in message.lower(), message
    assert checksums(held.settings) == before
    heals(held)


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, built: Player) -> None:
    # Permissions do not bind root; /proc takes no folder from anybody.
    path = Path("/proc/ratchet-warehouse/ratchet.duckdb")
    locked = replace(built.settings, warehouse_path=path)
    with pytest.raises(OSError, match="/proc/ratchet-warehouse"), open_warehouse(locked, purpose="test"):
        pass


HOLDER = """
import sys
{statement}
print("held", flush=True)
sys.stdin.read()
"""


def holding(statement: str) -> subprocess.Popen[str]:
    """A process that holds something until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(statement=statement)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_holds_the_warehouse_is_named_and_a_retry_goes_through(held: Player) -> None:
    path = held.settings.warehouse_lock_path
    process = holding(
        "from pathlib import Path\nfrom ratchet.warehouse.lock import acquire\n"
        f"acquire(Path({str(path)!r}), 'a long build', 1)"
    )
    impatient = replace(held.settings, lock_wait_seconds=0.2)
    try:
        with pytest.raises(WarehouseLocked, match=rf"process {process.pid} \(a long build\)"):
            land(impatient, held.loop, NEXT, NEXT, quiet)
    finally:
        process.communicate()
    heals(held)


def test_a_program_that_opens_the_file_without_the_lock_is_named_and_a_retry_goes_through(
    held: Player,
) -> None:
    path = held.settings.warehouse_path
    process = holding(f"import duckdb\nconnection = duckdb.connect({str(path)!r}, read_only=True)")
    impatient = replace(held.settings, lock_wait_seconds=0.2)
    try:
        with pytest.raises(WarehouseError, match=rf"(?s){path.name}.*{process.pid}"):
            land(impatient, held.loop, NEXT, NEXT, quiet)
    finally:
        process.communicate()
    heals(held)
