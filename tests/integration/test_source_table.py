"""A table as a source: its rows land once, late ones are found or counted, and none stops the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ratchet.connections import ConnectionMissing
from ratchet.landing import spool
from ratchet.landing.land import land_range
from ratchet.landing.table import TableError
from ratchet.loop import Loop, Source, load_loop
from ratchet.published import read
from ratchet.settings import Settings, load_settings
from ratchet.stages.pull import compare, land_days, not_landed, pull
from ratchet.stages.status import status_of
from ratchet.warehouse.connect import open_warehouse

DAY = date(2013, 5, 14)
NEXT = DAY + timedelta(days=1)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path / 'feed.db'}"
    else:
        address = request.getfixturevalue("postgres_server")
    engine = sa.create_engine(address)
    with engine.begin() as connection:
        connection.execute(sa.text('drop table if exists "outcomes"'))
        zone = "timestamp with time zone" if request.param == "postgres" else "timestamp"
        connection.execute(
            sa.text(
                "create table outcomes (outcome_id varchar, unit_id varchar, outcome_value numeric(9, 2), "
                f"event_at {zone}, received_at {zone})"
            )
        )
    engine.dispose()
    return address


@pytest.fixture
def settings(tmp_path: Path, url: str) -> Settings:
    return load_settings({"RATCHET_HOME": str(tmp_path / "home"), "RATCHET_CONNECTION_FEED": url})


def loop_of(**keys: Any) -> Loop:
    shipped = load_loop(load_settings({}).loops_dir / "flights.yml")
    source = Source(**{"adapter": "table", "connection": "feed", "table": "outcomes", **keys})
    return shipped.model_copy(update={"sources": {"outcomes": source}})


def row(n: int, received: datetime | None, **changes: Any) -> dict[str, Any]:
    happened = datetime(2013, 5, 13, 1, n % 60)
    return {"outcome_id": f"o{n}", "unit_id": f"u{n}", "outcome_value": n, "event_at": happened,
            "received_at": received, **changes}  # fmt: skip


def at(hour: int, minute: int = 0, day: date = DAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute)


def insert(url: str, *rows: dict[str, Any]) -> None:
    engine = sa.create_engine(url)
    table = sa.table("outcomes", *(sa.column(name) for name in rows[0]))
    if url.startswith("sqlite"):
        rows = tuple(
            {k: v.isoformat(" ") if isinstance(v, datetime) else v for k, v in r.items()} for r in rows
        )
    else:
        rows = tuple(
            {k: v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for k, v in r.items()} for r in rows
        )
    with engine.begin() as connection:
        connection.execute(table.insert(), list(rows))
    engine.dispose()


def run(settings: Settings, loop: Loop, start: date, end: date, *, whole: bool = False) -> dict[str, Any]:
    """What the daily run does: pull, land the window, land what lies beside it, compare."""
    said: list[str] = []
    pulled = pull(settings, loop, start, end, said.append, whole=whole)
    with open_warehouse(settings, purpose="test") as wh:
        land_range(loop, settings, wh, start, end, said.append)
    land_days(settings, loop, not_landed(settings, loop, "table"), said.append)
    return {**pulled, "missing": compare(settings, loop, said.append)["missing"], "log": said}


def landed(settings: Settings) -> list[str]:
    with open_warehouse(settings, purpose="test") as wh:
        return wh.frame("select outcome_id from raw.outcomes order by 1")["outcome_id"].tolist()


def refused(settings: Settings) -> list[str]:
    with open_warehouse(settings, purpose="test") as wh:
        return wh.frame("select reason from raw.quarantine order by source_line")["reason"].tolist()


def test_rows_land_once_in_the_day_they_were_received(settings: Settings, url: str) -> None:
    loop = loop_of(batch_rows=7)
    insert(url, *(row(n, at(n % 24)) for n in range(50)), *(row(100 + n, at(n, day=NEXT)) for n in range(3)))
    first = run(settings, loop, DAY, DAY)
    assert first["sources"]["outcomes"]["rows"] == 50
    assert len(landed(settings)) == 50
    assert first["missing"] == {}
    files = sorted(p.name for p in settings.landing_dir.rglob("*.jsonl"))
    again = run(settings, loop, DAY, DAY)
    whole = run(settings, loop, DAY, DAY, whole=True)
    assert (again["sources"]["outcomes"]["known"], whole["sources"]["outcomes"]["known"]) == (4, 50)
    assert sorted(p.name for p in settings.landing_dir.rglob("*.jsonl")) == files
    assert len(landed(settings)) == 50
    run(settings, loop, NEXT, NEXT)
    assert len(landed(settings)) == 53
    with open_warehouse(settings, purpose="test") as wh:
        days = wh.frame("select received_date, count(*) as n from raw.outcomes group by 1 order by 1")
    assert days["n"].tolist() == [50, 3]


def test_the_same_rows_give_the_same_file_whatever_their_order(
    settings: Settings, url: str, tmp_path: Path
) -> None:
    rows = [row(n, at(3)) for n in range(20)] + [row(3, at(3), outcome_value=9)]
    names = []
    for turn in (rows, rows[::-1]):
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("delete from outcomes"))
        insert(url, *turn)
        home = load_settings(
            {"RATCHET_HOME": str(tmp_path / f"h{len(names)}"), "RATCHET_CONNECTION_FEED": url}
        )
        pull(home, loop_of(), DAY, DAY, lambda line: None, whole=False)
        names.append([p.name for p in home.landing_dir.rglob("*.jsonl")])
    assert len(names[0]) == 1
    assert names[0] == names[1]


def test_late_commits_are_found_within_the_overlap_and_counted_beyond_it(
    settings: Settings, url: str
) -> None:
    loop = loop_of(overlap_minutes=30)
    insert(url, row(1, at(5)), row(2, at(12)))
    assert run(settings, loop, DAY, DAY)["missing"] == {}
    insert(url, row(3, at(11, 45)), row(4, at(4)), row(5, at(1, day=NEXT)))
    found = run(settings, loop, DAY, NEXT)
    assert landed(settings) == ["o1", "o2", "o3", "o5"]
    assert found["missing"] == {"outcomes": {"2013-05-14": 1}}
    assert any("outcomes 2013-05-14: 1 rows of the table did not land" in line for line in found["log"])
    summary = read(settings, "flights", "sources")
    assert summary is not None
    assert summary["sources"]["outcomes"]["days"]["2013-05-14"] == {"in_table": 4, "landed": 3, "missing": 1}
    told = dict(status_of(settings, loop)["lines"])["not landed"]
    assert told == "rows of table outcomes: 1 of 2013-05-14; run ingest_events over their days"
    healed = run(settings, loop, DAY, DAY, whole=True)
    assert "not landed" not in dict(status_of(settings, loop)["lines"])
    assert healed["missing"] == {}
    assert landed(settings) == ["o1", "o2", "o3", "o4", "o5"]


def test_a_run_after_a_gap_takes_the_days_between_and_lands_them(settings: Settings, url: str) -> None:
    insert(url, row(1, at(5)))
    run(settings, loop_of(), DAY, DAY)
    insert(url, row(2, at(5, day=NEXT)), row(3, at(5, day=DAY + timedelta(days=4))))
    last = DAY + timedelta(days=4)
    found = run(settings, loop_of(), last, last)
    assert found["days"] == {"outcomes": ["2013-05-15", "2013-05-18"]}
    assert landed(settings) == ["o1", "o2", "o3"]


def test_a_window_that_was_pulled_before_is_pulled_whole(settings: Settings, url: str) -> None:
    insert(url, row(1, at(5)), row(2, at(5, day=NEXT)))
    run(settings, loop_of(), NEXT, NEXT)
    assert landed(settings) == ["o2"]
    run(settings, loop_of(), DAY, DAY)
    assert landed(settings) == ["o1", "o2"]


def test_a_bad_row_is_set_aside_and_stops_no_other(settings: Settings, url: str) -> None:
    engine = sa.create_engine(url)
    kind = "bytea" if url.startswith("postgres") else "blob"
    with engine.begin() as connection:
        connection.execute(sa.text("drop table outcomes"))
        connection.execute(
            sa.text(
                f"create table outcomes (outcome_id varchar, unit_id {kind}, outcome_value double precision, "
                "event_at timestamp, received_at timestamp)"
            )
        )
    rows = [row(1, at(5), unit_id=b"\xff\x00"), row(2, at(6), unit_id=None), row(3, None, unit_id=None)]
    if url.startswith("postgres"):
        rows.append(row(4, at(6), unit_id=None, outcome_value=float("nan")))
    insert(url, *rows)
    found = run(settings, loop_of(), DAY, DAY)
    assert landed(settings) == []
    reasons = refused(settings)
    assert len(reasons) == len(rows)
    assert any(reason.startswith("unit_id") and "base64" in reason for reason in reasons)
    assert any("received_at" in reason or "unit_id" in reason for reason in reasons)
    assert found["missing"] == {}
    run(settings, loop_of(), DAY, NEXT)
    assert len(refused(settings)) == len(rows), "a row without received_at is set aside once, not every day"


def test_hostile_texts_and_names_are_inert(settings: Settings, url: str) -> None:
    evil = "'; drop table outcomes; --"
    insert(url, row(1, at(5), unit_id=evil))
    run(settings, loop_of(), DAY, DAY)
    with open_warehouse(settings, purpose="test") as wh:
        assert wh.frame("select unit_id from raw.outcomes")["unit_id"].tolist() == [evil]
    run(settings, loop_of(), DAY, DAY)


def test_what_is_not_there_is_named_and_no_address_is_shown(
    settings: Settings, url: str, tmp_path: Path
) -> None:
    with pytest.raises(TableError, match="table nothing of connection feed: no such table"):
        run(settings, loop_of(table="nothing"), DAY, DAY)
    with pytest.raises(ConnectionMissing, match="RATCHET_CONNECTION_OTHER") as missing:
        run(settings, loop_of(connection="other"), DAY, DAY)
    assert "Airflow connection with the id other" in str(missing.value)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("alter table outcomes drop column unit_id"))
    with pytest.raises(TableError, match="no column unit_id"):
        run(settings, loop_of(), DAY, DAY)
    for address in ("postgresql+psycopg2://u:canary-7@127.0.0.1:1/x", "nonsense+x://u:canary-7@h/x"):
        down = load_settings({"RATCHET_HOME": str(tmp_path / "down"), "RATCHET_CONNECTION_FEED": address})
        with pytest.raises(TableError) as caught:
            run(down, loop_of(), DAY, DAY)
        assert "canary-7" not in f"{caught.value!r} {caught.value.__cause__!r} {down!r}"
    with pytest.raises(TableError, match="no such SQLite file"):
        gone = load_settings(
            {"RATCHET_HOME": str(tmp_path), "RATCHET_CONNECTION_FEED": "sqlite:////none/x.db"}
        )
        run(gone, loop_of(), DAY, DAY)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_pulling_and_comparing_on_each_warehouse(
    url: str, tmp_path: Path, settings_of: Callable[..., Settings]
) -> None:
    settings = settings_of(tmp_path / "home", RATCHET_CONNECTION_FEED=url)
    insert(url, row(1, at(5)), row(2, at(6)))
    run(settings, loop_of(), DAY, DAY)
    insert(url, row(3, at(1)))
    found = run(settings, loop_of(), DAY, NEXT)
    assert landed(settings) == ["o1", "o2"]
    assert found["missing"] == {"outcomes": {"2013-05-14": 1}}
    assert run(settings, loop_of(), DAY, DAY, whole=True)["missing"] == {}
    assert landed(settings) == ["o1", "o2", "o3"]


def test_a_comparison_in_chunks_leaves_out_the_same_rows(
    settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(url, *(row(n, at(n % 24)) for n in range(40)))
    run(settings, loop_of(), DAY, DAY)
    insert(url, *(row(n, at(n % 24)) for n in range(40, 45)))
    monkeypatch.setattr(spool, "CHUNK", 7)
    found = run(settings, loop_of(), DAY, DAY, whole=True)
    assert found["sources"]["outcomes"]["known"] == 40
    assert len(landed(settings)) == 45
    with open_warehouse(settings, purpose="test") as wh:
        assert wh.scalar("select sum(rows_duplicate) from ops.landings") == 0
