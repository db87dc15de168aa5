"""One replayed week through every stage, then everything again: the second time changes nothing.

The stages run in this process; `make demo-smoke` runs the same ones through the scheduler.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet.certificate.replay import replay
from ratchet.ledger.store import Ledger
from ratchet.loop import Loop, load_loop
from ratchet.published import read
from ratchet.replay.direct import DirectApi
from ratchet.replay.driver import Replay, ReplayStopped
from ratchet.replay.setup import prepare
from ratchet.replay.summary import outcome_of
from ratchet.settings import Settings, load_settings
from ratchet.stages.dbt_environment import build
from ratchet.stages.status import status_of
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import WarehouseError

START, FIRST, LAST = date(2013, 3, 12), date(2013, 3, 12), date(2013, 3, 18)
AS_OF = datetime(2013, 3, 19)
ROOT = Path(__file__).parents[2]


def quiet(_: str) -> None:
    return None


class Silent:
    def stage(self, week: int, text: str, runs: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Replayed:
    def __init__(self, settings: Settings, loop: Loop) -> None:
        self.settings, self.loop = settings, loop

    def checksums(self) -> dict[str, tuple[int, str]]:
        """Rows and an order-free hash of every table's content."""
        with open_warehouse(self.settings, purpose="test") as warehouse:
            tables = warehouse.frame(
                "select table_schema || '.' || table_name as name from information_schema.tables "
                "where table_schema in ('raw', 'intermediate', 'marts', 'features', 'experiments', 'monitoring') "
                "order by 1"
            )["name"]
            found = {}
            for name in tables:
                rows = warehouse.frame(
                    f"select count(*) as n, cast(sum(cast(hash(t) as hugeint)) as varchar) as h from {name} as t"
                )
                found[str(name)] = (int(rows["n"].iloc[0]), str(rows["h"].iloc[0]))
        assert len(found) > 20
        return found

    def published(self) -> dict[str, tuple[int, str]]:
        """The same of what readers see: a full build also prepares dates that are not due yet."""
        return {
            name: found for name, found in self.checksums().items() if not name.startswith("intermediate.")
        }

    def ledger(self) -> int:
        return len(Ledger(self.settings.ledger_url).entries())


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    home = tmp_path_factory.mktemp("home")
    settings = load_settings({"RATCHET_HOME": str(home)})
    prepare(settings, quiet, with_airflow=False)
    loop = load_loop(settings.loops_dir / "flights.yml")
    Replay(settings, loop, START, 1, DirectApi(settings, loop), Silent()).run(1)
    return Replayed(settings, loop)


def test_every_stage_left_its_mark(replayed: Replayed) -> None:
    outcome = outcome_of(replayed.settings, replayed.loop, 1)
    assert outcome.problems == ()
    status = status_of(replayed.settings, replayed.loop)
    assert status["champion_version"] == 1
    assert status["partitions"]["dirty"] == 0
    assert status["partitions"]["blocked"] == []
    rows = {table: count for table, (count, _) in replayed.checksums().items()}
    assert rows["raw.predictions"] == rows["marts.fct_predictions"] > 5000
    assert rows["raw.feedback"] > 1000
    assert rows["features.ftr_flights__pre_departure"] > 50_000
    assert rows["monitoring.mon_quality_daily"] > 0


def test_every_verdict_on_record_is_given_again_by_the_record_alone(replayed: Replayed) -> None:
    found = list(replay(Ledger(replayed.settings.ledger_url).entries()))
    assert {one.outcome for one in found} <= {"equal", "fact"}, [one.detail for one in found if one.detail]
    assert {"evaluation", "bootstrap", "gate", "trigger"} <= {
        o.entry.kind for o in found if o.outcome == "equal"
    }


def test_what_the_world_spoiled_is_in_quarantine_and_nothing_else(replayed: Replayed) -> None:
    from ratchet.replay.world import World

    settings = replace(replayed.settings, landing_dir=replayed.settings.home / "again")
    world = World(settings, replayed.loop, 1)
    written = world.write_inputs(world.first_received_date(), LAST, quiet)
    landed = (read(replayed.settings, "flights", "partitions") or {})["landed"]
    looked_at = 0
    for source, planted in written.refused.items():
        looked_at += planted
        assert landed[source]["quarantined"] == planted, source
        assert landed[source]["duplicate"] == written.duplicates.get(source, 0), source
    assert looked_at > 20
    with open_warehouse(replayed.settings, purpose="test") as warehouse:
        kept = warehouse.frame("select reason, original from raw.quarantine")
    assert len(kept) == sum(counts["quarantined"] for counts in landed.values())
    assert (kept["reason"].str.len() > 5).all()
    assert kept["original"].notna().all()


def test_no_column_of_the_future_is_near_the_model(replayed: Replayed) -> None:
    with open_warehouse(replayed.settings, purpose="test") as warehouse:
        columns = warehouse.frame(
            "select table_schema, table_name, column_name from information_schema.columns "
            "where table_schema = 'features' or table_name in ('schedule', 'predictions', 'weather')"
        )
    assert len(columns) > 60
    assert set(columns["column_name"]) & set(replayed.loop.features.never) == set()


def test_running_everything_again_changes_nothing(replayed: Replayed) -> None:
    before, entries, api = (
        replayed.checksums(),
        replayed.ledger(),
        DirectApi(replayed.settings, replayed.loop),
    )
    window = {"start": FIRST.isoformat(), "end": LAST.isoformat()}
    api.start("flights__score_batch", "again", window)
    api.start("flights__ingest_events", "again", window)
    assert replayed.checksums() == before
    assert replayed.ledger() == entries
    Replay(replayed.settings, replayed.loop, START, 1, api, Silent()).run(1)  # done weeks are skipped
    assert replayed.checksums() == before


def test_rebuilding_a_range_gives_the_same_bits(replayed: Replayed) -> None:
    from ratchet.stages.build import collect, judge_features, publish

    before = replayed.checksums()
    with open_warehouse(replayed.settings, purpose="test") as warehouse:
        warehouse.execute(
            "insert into ops.dirty_partitions select distinct loop, source, received_date from ops.landings "
            "where received_date between ? and ? and source <> 'planes' and source <> 'airports'",
            (date(2013, 2, 1), LAST),
        )
    settings, loop = replayed.settings, replayed.loop
    taken = collect(settings, loop, AS_OF, quiet)
    assert taken is not None
    assert taken["dates"] > 40
    build(settings, loop)
    judge_features(settings, loop, AS_OF, quiet)
    publish(settings, loop, AS_OF, quiet)
    assert replayed.checksums() == before


def test_a_build_that_died_is_taken_up_again(replayed: Replayed) -> None:
    from ratchet.stages.build import collect, judge_features, publish

    settings, loop, before = replayed.settings, replayed.loop, replayed.checksums()
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("insert into ops.dirty_partitions values ('flights', 'outcomes', ?)", (LAST,))
    assert collect(settings, loop, AS_OF, quiet) is not None
    # The build dies here; a new partition gets dirty meanwhile. The next run takes both.
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("insert into ops.dirty_partitions values ('flights', 'feedback', ?)", (LAST,))
    taken = collect(settings, loop, AS_OF, quiet)
    assert taken is not None
    assert taken["dirty"] == 2
    build(settings, loop)
    judge_features(settings, loop, AS_OF, quiet)
    assert publish(settings, loop, AS_OF, quiet)["dirty"] == 0
    assert collect(settings, loop, AS_OF, quiet) is None
    assert replayed.checksums() == before


def test_a_landing_that_is_killed_and_repeated_lands_once(replayed: Replayed) -> None:
    before, kills = replayed.checksums(), 0
    with open_warehouse(replayed.settings, purpose="test") as warehouse, warehouse.transaction():
        tables = [f"raw.{source}" for source in replayed.loop.sources]
        for table in (*tables, "raw.quarantine", "ops.landings"):
            warehouse.execute(f"delete from {table} where received_date between ? and ?", (FIRST, LAST))
    code = (
        "from datetime import date\nfrom ratchet.settings import load_settings\nfrom ratchet.loop import load_loop\n"
        "from ratchet.stages.ingest import land\ns = load_settings()\nprint('ready', flush=True)\n"
        f"land(s, load_loop(s.loops_dir / 'flights.yml'), date.fromisoformat('{FIRST}'), "
        f"date.fromisoformat('{LAST}'), print)\nprint('done', flush=True)"
    )
    environment = {
        **os.environ,
        "RATCHET_HOME": str(replayed.settings.home),
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    for delay in (0.05, 0.2, 0.4, 0.6, 0.8, 1.0):
        child = subprocess.Popen(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(delay)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            kills += 1
        child.wait()
    assert kills >= 2
    DirectApi(replayed.settings, replayed.loop).start(
        "flights__ingest_events", "repeat", {"start": FIRST.isoformat(), "end": LAST.isoformat()}
    )
    after = replayed.checksums()
    assert {t: v for t, v in after.items() if t != "raw.quarantine"} == {
        t: v for t, v in before.items() if t != "raw.quarantine"
    }
    assert after["raw.quarantine"][0] == before["raw.quarantine"][0]


def test_another_season_in_the_same_state_is_refused(replayed: Replayed) -> None:
    api = DirectApi(replayed.settings, replayed.loop)
    other = Replay(replayed.settings, replayed.loop, date(2013, 7, 16), 1, api, Silent())
    with pytest.raises(ReplayStopped, match="make clean-demo"):
        other.run(1)


def test_status_is_plain_data(replayed: Replayed) -> None:
    status: dict[str, Any] = status_of(replayed.settings, replayed.loop)
    assert json.loads(json.dumps(status)) == status
    assert ["serves", "version 1 since 2013-03-12"] in status["lines"]


def test_everything_built_anew_is_the_same_also_where_a_build_could_not_end(replayed: Replayed) -> None:
    from ratchet.stages.build import collect, rebuild

    settings, loop, before = replayed.settings, replayed.loop, replayed.published()
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute("insert into ops.dirty_partitions values ('flights', 'outcomes', ?)", (LAST,))
    assert collect(settings, loop, AS_OF, quiet) is not None
    with pytest.raises(WarehouseError, match=r"took 1 partitions and did not end.*--take-over"):
        rebuild(settings, loop, quiet)
    assert rebuild(settings, loop, quiet, take_over=True)["dirty"] == 0
    assert replayed.published() == before
    assert collect(settings, loop, AS_OF, quiet) is None
