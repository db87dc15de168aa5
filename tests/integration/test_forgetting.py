"""Somebody is forgotten: a search of every byte of the state finds nothing of them, and nothing brings them back."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from tests.integration.small_world import LAST, SmallWorld
from typer.testing import CliRunner

from ratchet.capture.api import make_app
from ratchet.certificate.replay import replay
from ratchet.cli import app
from ratchet.feedback.forgetting import Flagged
from ratchet.landing.contract import load_contract
from ratchet.landing.land import land_range
from ratchet.landing.people import PersonKeyError, person_key
from ratchet.landing.release import release
from ratchet.ledger.state import fold
from ratchet.ledger.store import migrate
from ratchet.loop import Loop, load_loop
from ratchet.settings import Settings, load_settings
from ratchet.stages.forget import NobodyNamed, _Forgetting, forget
from ratchet.stages.forget_rows import OWN, derived_tables, ensure
from ratchet.stages.records import ledger_of
from ratchet.stages.snapshots import SnapshotChanged, read_snapshot, snapshots, write_snapshot
from ratchet.stages.trace import NothingToTrace, trace_feedback, trace_model
from ratchet.warehouse.connect import open_warehouse

USER = "Quibble.Xanthippe@planted.example"
TEXT = "zephyrgrommet"
#: Whatever of them is anywhere: their id, what they wrote, the keys of their rows.
MARKS = (USER, "Xanthippe", TEXT, "planted-answer")
DAY = date(2013, 5, 14)


def quiet(_: str) -> None:
    return None


def answer(n: int, user: str | None, day: date = DAY, **changes: Any) -> dict[str, Any]:
    return {
        "feedback_id": f"other-{n}",
        "prediction_id": f"p{n}",
        "unit_id": f"UA{n}",
        "channel": "rating",
        "rating": n % 5 + 1,
        "comment": "fine",
        "category": None,
        "user_id": user,
        "is_simulated": True,
        "event_at": f"{day}T09:00:00Z",
        "received_at": f"{day}T10:00:00Z",
        **changes,
    }


def theirs(n: int, day: date = DAY, **changes: Any) -> dict[str, Any]:
    found = {"feedback_id": f"planted-answer-{n}", "comment": f"{TEXT} number {n}", "their_field": TEXT}
    return answer(n, USER, day, **{**found, **changes})


def lines(*rows: dict[str, Any] | bytes) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def put(settings: Settings, source: str, day: date, name: str, data: bytes) -> Path:
    path = settings.landing_dir / "flights" / source / f"received_date={day}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _parquet(settings: Settings, path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    empty = dict.fromkeys(load_contract(settings.dbt_dir, "feedback").names)
    clocks = ("event_at", "received_at")
    plain = [
        {**empty, **row, **{name: datetime.fromisoformat(row[name][:-1]) for name in clocks}} for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(plain), path)


def plant(settings: Settings, day: date = DAY) -> None:
    """Rows of theirs among others: good, refused, broken, in every format; duplicates; telemetry."""
    good = [theirs(1, day), answer(1, "somebody@else.example", day), theirs(2, day), answer(2, None, day)]
    bad = [
        theirs(3, day, rating=9),
        json.dumps(theirs(4, day)).encode()[:-20],
        json.dumps(theirs(5, day)).encode().replace(b'"rating": 1', b'"rating": one'),
        answer(3, "somebody@else.example", day, rating=9),
    ]
    put(settings, "feedback", day, "a.jsonl", lines(*good, *bad))
    put(settings, "feedback", day, "again.jsonl.gz", gzip.compress(lines(*good)))
    _parquet(
        settings,
        settings.landing_dir / "flights" / "feedback" / f"received_date={day}" / "b.parquet",
        [
            answer(10, None, day),
            theirs(11, day),
            answer(12, None, day, rating=9),
            theirs(13, day, rating=9),
            answer(14, None, day),
        ],
    )
    event = {
        "telemetry_id": "planted-answer-t", "prediction_id": "p1", "unit_id": "UA1", "event_type": "app_error",
        "event_count": 1, "user_id": USER, "is_simulated": True, "event_at": f"{day}T09:00:00Z",
        "received_at": f"{day}T10:00:00Z",
    }  # fmt: skip
    put(settings, "telemetry", day, "t.jsonl", lines(event, {**event, "telemetry_id": "t2", "user_id": None}))


def found_in(settings: Settings) -> dict[str, set[str]]:
    """The planted strings by the place they are in: files under the home, packed ones unpacked, and a Postgres dump."""
    hits: dict[str, set[str]] = {}
    searched = 0
    for path in sorted(p for p in settings.home.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        if path.suffix == ".parquet":
            content += repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
        searched += len(content)
        said = {mark for mark in MARKS if mark.encode() in content}
        if said:
            hits[str(path.relative_to(settings.home))] = said
    if settings.engine == "postgres":
        dump = subprocess.run(["pg_dump", settings.warehouse_url], check=True, capture_output=True).stdout
        searched += len(dump)
        said = {mark for mark in MARKS if mark.encode() in dump}
        if said:
            hits["pg_dump"] = said
    assert searched > 10_000, "next to nothing was searched"
    return hits


@pytest.fixture
def planted(settings_of: Callable[..., Settings], tmp_path: Path) -> Iterator[tuple[Settings, Loop]]:
    settings = settings_of(tmp_path / "home")
    loop = load_loop(settings.loops_dir / "flights.yml")
    migrate(settings.ledger_url)
    plant(settings)
    yield settings, loop


def _land(settings: Settings, loop: Loop, day: date = DAY) -> Any:
    with open_warehouse(settings, purpose="test") as wh:
        return land_range(loop, settings, wh, day, day, quiet)


def _balance(settings: Settings) -> list[tuple[int, ...]]:
    with open_warehouse(settings, purpose="test") as wh:
        found = wh.frame(
            "select rows_read, rows_landed, rows_quarantined, rows_duplicate, rows_forgotten from ops.landings"
        )
        held = int(wh.scalar("select count(*) from raw.quarantine"))
        landed = sum(int(wh.scalar(f"select count(*) from raw.{t}")) for t in ("feedback", "telemetry"))
    rows = [tuple(int(n) for n in row) for row in found.itertuples(index=False)]
    assert rows and all(row[0] == sum(row[1:]) for row in rows), rows
    assert (sum(row[1] for row in rows), sum(row[2] for row in rows)) == (landed, held)
    return sorted(rows)


def test_ids_are_stored_as_keyed_hashes_and_refused_rows_do_not_say_them(
    planted: tuple[Settings, Loop],
) -> None:
    settings, loop = planted
    _land(settings, loop)
    key = person_key(settings)
    person = key.pseudonym("flights", USER)
    with open_warehouse(settings, purpose="test") as wh:
        names = wh.frame("select user_id from raw.feedback where user_id is not null")["user_id"].tolist()
        held = wh.frame("select original, people from raw.quarantine")
        whole = repr(wh.frame("select * from raw.quarantine").to_dict("records"))
    assert names.count(person) == 3 and len(set(names)) == 2 and all(n.startswith("u_") for n in names)
    assert held["people"].tolist().count(person) == 4
    assert not any(USER in str(text) for text in held["original"]) and USER not in whole
    _balance(settings)
    # Another installation calls them by another name; the same one by the same.
    assert person != type(key)(b"another key for tests").pseudonym("flights", USER)
    assert key.pseudonym("flights", person) == person
    assert key.pseudonym("another", USER) != person


def test_nothing_of_them_is_left_and_nothing_brings_them_back(planted: tuple[Settings, Loop]) -> None:
    settings, loop = planted
    _land(settings, loop)
    before = found_in(settings)
    places = {"warehouse/ratchet.duckdb", "pg_dump"} & set(before)
    assert places and sum("landing/" in place for place in before) == 4, "the search would see nothing"
    originals = {
        path: path.read_bytes()
        for path in (settings.landing_dir / "flights").rglob("*")
        if path.is_file() and "received_date" in str(path)
    }
    (done,) = forget(settings, loop, [USER], quiet)
    assert found_in(settings) == {}
    assert done["removed"]["raw.feedback"] == 3 and done["removed"]["raw.telemetry"] == 1
    assert done["removed"]["raw.quarantine"] == 4
    assert done["files"] == {"feedback": 9, "telemetry": 1}
    rows = _balance(settings)
    with open_warehouse(settings, purpose="test") as wh:
        left = sorted(wh.frame("select feedback_id from raw.feedback")["feedback_id"])
        held = wh.frame("select source_file, source_line from raw.quarantine order by 1, 2")
    assert left == ["other-1", "other-10", "other-14", "other-2"]
    # In Parquet the rows behind moved up, and what is known of them with them.
    assert [tuple(row) for row in held.itertuples(index=False)] == [("a.jsonl", 8), ("b.parquet", 2)]

    # Landing the mended files again finds nothing new; a second request adds nothing.
    report = _land(settings, loop)
    assert (report.rows_landed, report.rows_quarantined, report.rows_forgotten) == (0, 0, 0)
    assert _balance(settings) == rows
    kinds = [e.kind for e in ledger_of(settings).entries("flights")]
    (again,) = forget(settings, loop, [USER], quiet)
    assert again["removed"] == {} and again["files"] == {}
    assert [e.kind for e in ledger_of(settings).entries("flights")] == kinds
    assert kinds.count("forget_requested") == kinds.count("forgotten") == 1

    # The producer sends the same files again: their rows are counted, dropped, and leave the files.
    for path, content in originals.items():
        path.write_bytes(content)
    report = _land(settings, loop)
    assert (report.rows_landed, report.rows_quarantined, report.rows_forgotten) == (0, 0, 10)
    assert report.rows_read == report.rows_duplicate + report.rows_forgotten
    _balance(settings)
    (done,) = forget(settings, loop, [USER], quiet)
    assert found_in(settings) == {}


def test_what_their_answers_count_and_were_labelled_goes_with_them(planted: tuple[Settings, Loop]) -> None:
    """Weights, labels, settled labels and enrichment name an answer and nobody: found by the answer's key."""
    settings, loop = planted
    _land(settings, loop)
    kept = {
        "ops.feedback_weights": "received_date, '1', cast(? as timestamp), 0.5, 'burst'",
        "ops.annotations": "'ana', 'price', '1', cast(? as timestamp), received_at, 'csv'",
    }
    moments = [datetime(2013, 5, 15), datetime(2013, 5, 16)]
    with open_warehouse(settings, purpose="test") as wh:
        for table, columns in kept.items():
            for moment in moments:
                wh.execute(
                    f"insert into {table} select distinct loop, feedback_id, {columns} from raw.feedback",
                    (moment,),
                )
        wh.execute("insert into ops.annotation_sets values ('flights', 'set', '1', ?, true)", (moments[0],))
        wh.execute(
            "insert into ops.annotation_resolved (loop, label_set, feedback_id, category, state) "
            "select distinct loop, 'set', feedback_id, 'price', 'agreed' from raw.feedback"
        )
        answers = int(wh.scalar("select count(distinct feedback_id) from raw.feedback"))
    (done,) = forget(settings, loop, [USER], quiet)
    assert found_in(settings) == {}
    removed = {table: done["removed"][table] for table in (*kept, "ops.annotation_resolved")}
    assert removed == {"ops.feedback_weights": 6, "ops.annotations": 6, "ops.annotation_resolved": 3}
    with open_warehouse(settings, purpose="test") as wh:
        for table in removed:
            left = wh.frame(f"select distinct feedback_id from {table}")["feedback_id"].tolist()
            assert len(left) == answers - 3 and all(name.startswith("other") for name in left), table


def test_every_table_that_names_an_answer_or_a_person_is_searched(planted: tuple[Settings, Loop]) -> None:
    settings, loop = planted
    with open_warehouse(settings, purpose="test") as wh:
        contracts = ensure(settings, loop, wh)
        searched = derived_tables(wh, contracts)
        columns = wh.frame(
            "select table_name, column_name from information_schema.columns where table_schema = 'ops'"
        )
    naming = {"feedback_id", "telemetry_id", "person", "user_id", "account"}
    tables = {f"ops.{t}" for t, c in columns.itertuples(index=False) if c in naming} - set(OWN)
    assert len(tables) >= 5, tables
    assert tables <= set(searched), tables - set(searched)


@pytest.mark.parametrize("step", ["noted", "snapshots", "derived", "landed", "built", "erased"])
def test_a_run_that_is_killed_goes_on_where_it_was(
    planted: tuple[Settings, Loop], engine: str, step: str
) -> None:
    settings, loop = planted
    _land(settings, loop)
    code = (
        "import os, signal, sys\n"
        "from ratchet.settings import load_settings\nfrom ratchet.loop import load_loop\n"
        "from ratchet.stages import forget as stage\n"
        "settings = load_settings(); loop = load_loop(settings.loops_dir / 'flights.yml')\n"
        "done = stage._Forgetting._step\n"
        "def step(self, wh, person, name, run):\n"
        f"    run2 = (lambda: (run(), os.kill(os.getpid(), signal.SIGKILL))) if name == {step!r} else run\n"
        "    return done(self, wh, person, name, run2)\n"
        "stage._Forgetting._step = step\n"
        f"stage.forget(settings, loop, [{USER!r}], lambda line: None)\n"
    )
    environment = {
        **os.environ, "RATCHET_HOME": str(settings.home),
        **({"RATCHET_WAREHOUSE_URL": settings.warehouse_url} if settings.warehouse_url else {}),
    }  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    forget(settings, loop, [USER], quiet)
    assert found_in(settings) == {}
    _balance(settings)
    kinds = [e.kind for e in ledger_of(settings).entries("flights")]
    assert kinds.count("forget_requested") == kinds.count("forgotten") == 1
    with open_warehouse(settings, purpose="test") as wh:
        for table in ("ops.forgetting", "ops.forgetting_steps"):
            assert int(wh.scalar(f"select count(*) from {table}")) == 0


def test_another_key_is_refused_before_anything_lands(planted: tuple[Settings, Loop]) -> None:
    settings, loop = planted
    _land(settings, loop)
    (settings.home / "secrets" / "person.key").write_text("another key for tests", encoding="utf-8")
    with pytest.raises(PersonKeyError, match="another person key"):
        _land(settings, loop)
    (settings.home / "secrets" / "person.key").chmod(0o644)
    with pytest.raises(PersonKeyError, match="chmod 600"):
        person_key(settings)


def _endpoint(settings: Settings) -> TestClient:
    """It takes feedback as of DAY and never rotates by itself."""
    return TestClient(
        make_app(settings, ("flights",), clock=lambda: datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC),
                 rotate_seconds=3_600)
    )  # fmt: skip


def _say(client: TestClient, n: int, user: str | None, text: str, channel: str = "rating") -> None:
    message = {"prediction_id": f"p{n}", "unit_id": f"UA{n}", "channel": channel, "user_id": user}
    message |= {"rating": 2, "text": text} if channel == "rating" else {"event": "app_error"}
    found = client.post(
        "/v1/loops/flights/feedback", json=message, headers={"Idempotency-Key": f"key-{n:05d}"}
    )
    assert found.status_code == 202, found.text


def test_the_inbox_holds_no_id_and_is_searched_while_the_endpoint_runs(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "home")
    loop = load_loop(settings.loops_dir / "flights.yml")
    migrate(settings.ledger_url)
    person = person_key(settings).pseudonym("flights", USER)
    with _endpoint(settings) as client:
        _say(client, 1, USER, f"{TEXT} one")
        _say(client, 2, "somebody@else.example", "fine")
        _say(client, 3, USER, "", "telemetry")
        waiting = "".join(p.read_text() for p in (settings.home / "inbox").rglob("api-*"))
        assert waiting.count("\n") == 3 and waiting.count(person) == 2 and TEXT in waiting
        assert USER not in waiting and "somebody@else" not in waiting
        (done,) = forget(settings, loop, [USER], quiet)
        assert done["files"] == {"feedback": 1, "telemetry": 1} and found_in(settings) == {}
        _say(client, 4, USER, f"{TEXT} again")
        _say(client, 5, None, "fine")
    # A crash leaves the segments; the next start moves them, blanks and all, and knows the rows that stayed.
    with _endpoint(settings) as client:
        _say(client, 2, "somebody@else.example", "fine")
    report = _land(settings, loop)
    assert (report.rows_read, report.rows_landed, report.rows_forgotten) == (3, 2, 1)
    assert found_in(settings) == {}
    with open_warehouse(settings, purpose="test") as wh:
        names = wh.frame("select coalesce(user_id, '') as name from raw.feedback order by prediction_id")
    # The same name as if a file had brought the id.
    assert names["name"].tolist() == [person_key(settings).pseudonym("flights", "somebody@else.example"), ""]


def test_what_the_endpoint_handed_over_is_found_by_the_hash_before_it_lands(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "home")
    loop = load_loop(settings.loops_dir / "flights.yml")
    migrate(settings.ledger_url)
    with _endpoint(settings) as client:
        _say(client, 1, USER, f"{TEXT} one")
    assert found_in(settings), "the search would see nothing"
    (done,) = forget(settings, loop, [USER], quiet)
    assert done["files"] == {"feedback": 1} and found_in(settings) == {}


def test_a_stored_name_is_believed_for_the_row_that_it_was_given_to_only(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "home")
    loop = load_loop(settings.loops_dir / "flights.yml")
    key = person_key(settings)
    bare = key.pseudonym("flights", USER)
    sealed = key.sealed("flights", "feedback", ("other-1",), USER)
    other_key = type(key)(b"another key for tests").sealed("flights", "feedback", ("other-4",), USER)
    put(settings, "feedback", DAY, "a.jsonl", lines(
        answer(1, sealed), answer(2, sealed), answer(3, bare), answer(4, other_key), answer(5, sealed[:-1] + "x"),
    ))  # fmt: skip
    report = _land(settings, loop)
    assert (report.rows_landed, report.rows_quarantined) == (2, 3)
    with open_warehouse(settings, purpose="test") as wh:
        landed = wh.frame("select feedback_id, user_id from raw.feedback order by 1").itertuples(index=False)
        held = wh.frame("select quarantine_id, reason, people from raw.quarantine order by source_line")
    # An id that only looks like one is an id.
    assert [tuple(row) for row in landed] == [
        ("other-1", bare), ("other-5", key.pseudonym("flights", sealed[:-1] + "x"))
    ]  # fmt: skip
    assert held["people"].tolist().count(bare) == 0
    assert all("no id of a person" in reason for reason in held["reason"])
    # An operator who corrects a row may give the name that quarantine shows.
    path = tmp_path / "corrected.jsonl"
    path.write_bytes(lines({**answer(3, bare), "quarantine_id": held["quarantine_id"][1]}))
    with open_warehouse(settings, purpose="test") as wh:
        done = release(loop, settings, wh, "feedback", DAY, now=datetime(2013, 5, 16), corrected=path)
        assert done.landed == 1
        name = wh.scalar("select user_id from raw.feedback where feedback_id = 'other-3'")
    assert name == bare


def test_who_is_not_named_can_not_be_forgotten(planted: tuple[Settings, Loop]) -> None:
    settings, loop = planted
    with pytest.raises(NobodyNamed, match="give the id"):
        forget(settings, loop, [" "], quiet)


def test_a_new_key_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    made = person_key(settings)
    assert person_key(settings) == made and len(made.secret) == 64
    assert (tmp_path / "secrets" / "person.key").stat().st_mode & 0o777 == 0o600
    assert made.secret.decode() not in repr(made)


def test_training_leaves_their_units_out_and_says_so(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real world: facts are rebuilt, the snapshot is rewritten, the model flagged, the command tells."""
    settings, loop = world.settings, world.loop
    (old,) = snapshots(settings, loop)
    frame = read_snapshot(settings, loop, old)
    unit = str(frame["unit_id"].iloc[7])
    with open_warehouse(settings, purpose="test", read_only=True) as wh:
        served = wh.frame("select prediction_id, unit_id from marts.fct_predictions where is_served limit 2")
    day = LAST
    rows = [
        theirs(1, day, unit_id=unit),
        theirs(2, day, unit_id=served["unit_id"][0], prediction_id=served["prediction_id"][0]),
        answer(3, None, day, unit_id=served["unit_id"][1], prediction_id=served["prediction_id"][1]),
    ]
    put(settings, "feedback", day, "a.jsonl", lines(*rows))
    assert world.land_and_build(day, day)
    with open_warehouse(settings, purpose="test", read_only=True) as wh:
        assert sorted(wh.frame("select feedback_id from marts.fct_feedback")["feedback_id"]) == [
            "other-3",
            "planted-answer-2",
        ]
    assert found_in(settings), "the search would see nothing"

    known = trace_feedback(settings, loop, "planted-answer-2")
    assert known["fact"]["model_version"] == 1 and known["fact"]["is_in_window"] is True
    assert known["snapshots"] == [] and known["models"] == []
    early = trace_feedback(settings, loop, "planted-answer-1")
    assert [held["snapshot"] for held in early["snapshots"]] == [old["id"]]
    assert early["snapshots"][0]["was_known"] is False, "it came after the snapshot was taken"
    back = trace_model(settings, loop, 1)
    assert back["snapshot"]["rows"] == len(frame) and back["feedback"]["answers"] == 0
    assert [one["kind"] for one in back["decisions"]] == ["bootstrap"] and back["served"]["units"] > 1000
    with pytest.raises(NothingToTrace, match="never landed"):
        trace_feedback(settings, loop, "nobody-said-this")
    with pytest.raises(NothingToTrace, match="versions with one: 1"):
        trace_model(settings, loop, 99)

    monkeypatch.setenv("RATCHET_HOME", str(settings.home))
    # dbt would keep the command line.
    monkeypatch.setattr(sys, "argv", ["ratchet", "forget", USER, "--yes", "--json"])
    told = CliRunner().invoke(app, ["forget", USER, "--yes", "--json"])
    assert told.exit_code == 0, told.output
    done = json.loads(told.stdout)
    assert found_in(settings) == {}
    (grave,) = done["snapshots"]
    assert grave["rows"] == 1 and grave["snapshot_id"] == old["id"]
    assert done["models"] == [{"version": 1, "snapshot": old["id"], "rows": 1}]
    with pytest.raises(SnapshotChanged, match="asked to be forgotten"):
        read_snapshot(settings, loop, old)
    new = next(m for m in snapshots(settings, loop) if m["id"] == grave["replaced_by"])
    kept = read_snapshot(settings, loop, new)
    assert len(kept) == len(frame) - 1 and unit not in set(kept["unit_id"])
    assert new["rewritten_from"] == old["id"]
    with open_warehouse(settings, purpose="test") as wh:
        again = write_snapshot(
            settings, loop, wh, as_of=datetime.fromisoformat(old["as_of"]),
            window=tuple(date.fromisoformat(text) for text in old["window"]),  # type: ignore[arg-type]
        )  # fmt: skip
        assert wh.frame("select feedback_id from marts.fct_feedback")["feedback_id"].tolist() == ["other-3"]
        assert int(wh.scalar("select sum(n_ratings) from marts.fct_reactions")) == 1
    assert again["rows"] == len(frame) - 1 and again["tombstones"]["count"] == 2
    flagged = [e for e in ledger_of(settings).entries("flights") if e.kind == "model_flagged"]
    assert [e.payload["version"] for e in flagged] == [1]
    with pytest.raises(NothingToTrace, match="asked to be forgotten"):
        trace_feedback(settings, loop, "planted-answer-1")
    assert trace_model(settings, loop, 1)["snapshot"]["is_gone"] is True
    for words in (["trace", "feedback", "other-3"], ["trace", "model", "1"]):
        shown = CliRunner().invoke(app, words)
        assert shown.exit_code == 0, shown.output
    assert ledger_of(settings).verify().problem is None


def test_a_retrain_is_asked_for_once_where_the_loop_file_wants_it_and_judged_again_alike(
    world: SmallWorld,
) -> None:
    policy = world.loop.policy
    forgetting = policy.privacy.forget.model_copy(update={"models": "retrain_now"})
    privacy = policy.privacy.model_copy(update={"forget": forgetting})
    loop = world.loop.model_copy(update={"policy": policy.model_copy(update={"privacy": privacy})})
    asked = _Forgetting(world.settings, loop, quiet, "test")
    assert asked._retrain("u_0", [Flagged(9, 3)]) is None, "version 9 does not serve"
    key = asked._retrain("u_1", [Flagged(1, 3)])
    assert key == "trigger:forget:u_1" and asked._retrain("u_1", [Flagged(1, 3)]) == key
    assert asked._retrain("u_2", [Flagged(1, 3)]) is None, "one request is open"
    entries = ledger_of(world.settings).entries("flights")
    request = fold(entries).request
    assert request is not None and request.key == key
    again = [one for one in replay(entries) if one.entry.kind == "trigger"]
    assert [one.outcome for one in again] == ["equal"]
    forged = [replace(e, payload={**e.payload, "models": []}) if e.kind == "trigger" else e for e in entries]
    assert [one.outcome for one in replay(forged) if one.entry.kind == "trigger"] == ["different"]


def test_the_contract_refuses_a_person_that_is_a_key(tmp_path: Path) -> None:
    root = load_settings({"RATCHET_HOME": str(tmp_path)}).dbt_dir
    copy = tmp_path / "models" / "staging" / "sources"
    copy.mkdir(parents=True)
    shutil.copy(root / "models" / "staging" / "sources" / "feedback.yml", copy)
    text = (copy / "feedback.yml").read_text(encoding="utf-8")
    changed = text.replace("{required: false, person: true", "{required: true, person: true")
    assert changed != text
    (copy / "feedback.yml").write_text(changed, encoding="utf-8")
    with pytest.raises(Exception, match="person marks an optional varchar"):
        load_contract(tmp_path, "feedback")
