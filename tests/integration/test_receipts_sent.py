"""Receipts: written once a person and period, sent once to real servers, to who wants them, and gone when forgotten."""

from __future__ import annotations

import email
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from ratchet.airflow.receipt_sender import deliver
from ratchet.cli import app
from ratchet.landing.land import land_range
from ratchet.landing.people import person_key
from ratchet.ledger.store import Ledger, migrate
from ratchet.loop import Loop, load_loop
from ratchet.loop_privacy import ReceiptChannel, Receipts
from ratchet.settings import Settings
from ratchet.stages import receipts
from ratchet.stages.forget import forget
from ratchet.stages.forget_requests import UnreadableRequests, forget_requested
from ratchet.stages.receipts import NotSent, last_period, receipts_of, send, write
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import WarehouseError

START, AS_OF = date(2013, 1, 1), datetime(2013, 1, 29, 8)
MAIL = ReceiptChannel(kind="smtp", connection="receipts_mail", to="{person}@people.example")
HOOK = ReceiptChannel(kind="webhook", connection="receipts_hook")


def quiet(_: str) -> None:
    return None


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    got: list[Any] = []

    class Mailbox:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            got.append((list(envelope.rcpt_tos), email.message_from_bytes(envelope.content)))
            return "250 taken"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    server.start()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "ratchet@example.com", "retry_limit": 1}
    told = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_RECEIPTS_MAIL", json.dumps(told))
    yield got
    server.stop()


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append({"key": self.headers["Idempotency-Key"], **body})
            self.send_response(503 if len(got) == 1 else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("AIRFLOW_CONN_RECEIPTS_HOOK", json.dumps({"conn_type": "http", "host": host}))
    yield got
    server.shutdown()


@pytest.fixture
def world(settings_of: Callable[..., Settings], tmp_path: Path) -> tuple[Settings, Loop]:
    """Three people: one agreed to be written to, one did not, one was never asked."""
    settings = settings_of(tmp_path / "home")
    loop = load_loop(settings.loops_dir / "flights.yml")
    loop = loop.model_copy(update={"receipts": Receipts(channel=MAIL)})
    migrate(settings.ledger_url)
    day = START + timedelta(days=3)
    rows = []
    for n, (user, consent) in enumerate(
        [
            ("anna", "use_for_training+contact"),
            ("anna", "contact"),
            ("bert", "none"),
            ("cara", None),
            (None, "contact"),
        ]
    ):
        rows.append(
            {"feedback_id": f"f{n}", "prediction_id": f"p{n}", "unit_id": f"UA{n}", "channel": "rating", "rating": 3,
             "comment": "so so", "category": "false_alarm", "user_id": user, "consent": consent, "is_simulated": True,
             "event_at": f"{day}T09:00:00Z", "received_at": f"{day}T10:00:00Z"}
        )  # fmt: skip
    path = settings.landing_dir / "flights" / "feedback" / f"received_date={day}" / "a.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_warehouse(settings, purpose="test") as wh:
        assert land_range(loop, settings, wh, day, day, quiet).rows_landed == 5
        wh.execute("create schema if not exists marts")
        wh.execute(
            "create table marts.fct_feedback (loop varchar, feedback_id varchar, experiment_id varchar, "
            "model_version integer, is_in_window boolean)"
        )
        wh.execute("insert into marts.fct_feedback values ('flights', 'f0', null, 7, true)")
    return settings, loop


def test_only_whole_periods_are_told(world: tuple[Settings, Loop]) -> None:
    settings, loop = world
    assert last_period(loop, datetime(2013, 1, 28)) is None
    assert last_period(loop, AS_OF) == (START, date(2013, 1, 28))
    assert write(settings, loop, datetime(2013, 1, 28), quiet)["written"] == 0


def test_a_receipt_is_written_once_and_mailed_once_to_who_wants_it(
    world: tuple[Settings, Loop], mails: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, loop = world
    assert write(settings, loop, AS_OF, quiet)["written"] == 3
    assert write(settings, loop, AS_OF, quiet) == {
        "written": 0,
        "known": 3,
        "period": ["2013-01-01", "2013-01-28"],
    }
    assert send(settings, loop, deliver, quiet) == {"sent": 1, "waiting": 0}
    assert send(settings, loop, deliver, quiet) == {"sent": 0, "waiting": 0}
    (mail,) = mails
    anna = person_key(settings).pseudonym("flights", "anna")
    assert mail[0] == [f"{anna}@people.example"]
    body = mail[1].get_payload(0).get_payload(decode=True).decode()
    assert (
        "2 answers of yours" in body and "in the daily watch over version 7" in body and "so so" not in body
    )
    assert receipts_of(settings, loop, "bert")[1][0]["state"] == "kept"
    monkeypatch.setenv("RATCHET_HOME", str(settings.home))
    monkeypatch.setenv("RATCHET_WAREHOUSE_URL", settings.warehouse_url)
    told = CliRunner().invoke(app, ["receipts", "show", "anna"])
    assert told.exit_code == 0 and "What became of your feedback" in told.output and "sent" in told.output
    assert CliRunner().invoke(app, ["receipts", "show", "nobody"]).exit_code == 1


def test_what_words_were_understood_as_today_counts_before_what_was_ticked(
    world: tuple[Settings, Loop],
) -> None:
    settings, loop = world
    with open_warehouse(settings, purpose="test") as wh:
        for version, category, is_current in (("1", "app_problem", False), ("2", "price", True)):
            wh.execute(
                "insert into ops.enrichment_versions values ('flights', ?, '1', ?)", (version, is_current)
            )
            wh.execute(
                "insert into ops.feedback_enrichment (loop, feedback_id, row_hash, received_date, thread_key, "
                "language, category, confidence, source, duplicate_key, rubric_version, enrichment_version) "
                "select loop, feedback_id, row_hash, received_date, 't', 'en', ?, 0.9, 'words', 'd', '1', ? "
                "from raw.feedback where feedback_id = 'f2'",
                (category, version),
            )
    write(settings, loop, AS_OF, quiet)
    assert "1 about the price" in receipts_of(settings, loop, "bert")[1][0]["body"]
    assert "1 about a warning that did not come true" in receipts_of(settings, loop, "cara")[1][0]["body"]
    # It goes with its writer.
    done = forget(settings, loop, ["bert"], quiet)[0]["removed"]
    assert done["ops.feedback_enrichment"] == 2 and done["raw.feedback"] == 1


def test_a_campaign_tells_nobody_that_a_problem_grew(world: tuple[Settings, Loop]) -> None:
    """Six days before and six after, of equal shares; then as many copies again of one complaint, weighed down."""
    settings, loop = world
    periods = (START, START + timedelta(days=27)), (START + timedelta(days=28), START + timedelta(days=55))
    days = [first + timedelta(days=20 + n) for first, _ in periods for n in range(6)]
    for n, day in enumerate(days):
        count = 60 + n % 2
        kinds = ["price"] * (22 + n % 3) + ["app_problem"] * (count - 22 - n % 3)
        sent = ["price"] * 60 if day >= periods[1][0] else []
        rows = [
            {"feedback_id": f"{source}-{n}-{at}", "prediction_id": f"p{n}-{at}", "unit_id": f"UA{at}",
             "channel": "rating", "rating": 3, "category": kind, "user_id": f"{source}{at}", "is_simulated": True,
             "event_at": f"{day}T09:00:00Z", "received_at": f"{day}T10:00:00Z"}
            for source, all_of in (("people", kinds), ("bots", sent))
            for at, kind in enumerate(all_of)
        ]  # fmt: skip
        path = settings.landing_dir / "flights" / "feedback" / f"received_date={day}" / "a.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    moment = datetime.combine(periods[1][1] + timedelta(days=1), datetime.min.time())
    with open_warehouse(settings, purpose="test") as wh:
        land_range(loop, settings, wh, days[0], days[-1], quiet)
        assert receipts._trends(wh, loop, periods[1], moment)["price"] == "rose"
        wh.execute(
            "insert into ops.feedback_weights select distinct loop, feedback_id, received_date, '1', "
            "cast(? as timestamp), 0.01, 'copies' from raw.feedback where feedback_id like 'bots%'",
            (moment,),
        )
        assert receipts._trends(wh, loop, periods[1], moment)["price"] == "same"
        # Before the weights were said nobody knew.
        earlier = moment - timedelta(hours=1)
        assert receipts._trends(wh, loop, periods[1], earlier)["price"] == "rose"
        # What counts less than half is nobody's word: with the campaign alone nothing is said.
        wh.execute(
            "delete from raw.feedback where feedback_id like 'people%' and received_date >= ?",
            (periods[1][0],),
        )
        assert receipts._trends(wh, loop, periods[1], moment)["price"] == "unknown"


def test_a_run_that_died_while_it_sent_sends_the_same_message_again_and_one_that_failed_too(
    world: tuple[Settings, Loop], posted: list[dict[str, Any]]
) -> None:
    settings, loop = world
    asked = Receipts(channel=HOOK, without_consent="answer", per_run=1)
    loop = loop.model_copy(update={"receipts": asked})
    assert write(settings, loop, AS_OF, quiet)["written"] == 3
    with pytest.raises(NotSent, match="NotTaken"):
        send(settings, loop, deliver, quiet)

    def dies(channel: Any, receipt: dict[str, Any]) -> None:
        deliver(channel, receipt)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(settings, loop, dies, quiet)
    assert send(settings, loop, deliver, quiet) == {"sent": 1, "waiting": 1}
    assert send(settings, loop, deliver, quiet) == {"sent": 1, "waiting": 0}
    keys = [one["key"] for one in posted]
    # Refused, taken and lost, again, and the other person: two messages by their ids.
    assert len(keys) == 4 and keys[0] == keys[1] == keys[2] != keys[3]


def test_without_a_channel_nothing_is_ever_sent(world: tuple[Settings, Loop]) -> None:
    settings, loop = world
    loop = loop.model_copy(update={"receipts": Receipts()})
    write(settings, loop, AS_OF, quiet)

    def never(*_: Any) -> None:
        raise AssertionError("sent")

    assert send(settings, loop, never, quiet) == {"sent": 0, "waiting": 0}
    assert (
        send(settings, loop.model_copy(update={"receipts": Receipts(channel=MAIL)}), never, quiet)["sent"]
        == 0
    )


def test_who_is_forgotten_has_no_receipt_and_gets_none(world: tuple[Settings, Loop]) -> None:
    settings, loop = world
    write(settings, loop, AS_OF, quiet)
    assert forget(settings, loop, ["anna"], quiet)[0]["removed"]["ops.receipts_outbox"] == 1
    assert receipts_of(settings, loop, "anna")[1] == []
    assert write(settings, loop, AS_OF, quiet)["written"] == 0
    assert len(receipts_of(settings, loop, "cara")[1]) == 1


def test_requests_in_bulk_are_carried_out_and_their_files_go(world: tuple[Settings, Loop]) -> None:
    settings, loop = world
    folder = settings.landing_dir / "flights" / "forget_requests"
    folder.mkdir(parents=True)
    (folder / "one.txt").write_text("anna\n\nnobody-known\n", encoding="utf-8")
    (folder / "two.jsonl").write_text(json.dumps({"user_id": "cara"}) + "\n", encoding="utf-8")
    (folder / "late.tmp").write_text("bert", encoding="utf-8")
    done = forget_requested(settings, loop, quiet)
    assert (done["files"], done["people"]) == (2, 3) and done["rows"] == 4
    assert [path.name for path in folder.iterdir()] == ["late.tmp"]
    assert forget_requested(settings, loop, quiet)["people"] == 0
    (folder / "bad.jsonl").write_text('{"name": "secret-name"}\n', encoding="utf-8")
    with pytest.raises(UnreadableRequests, match=r"bad.jsonl:1") as refused:
        forget_requested(settings, loop, quiet)
    assert "secret-name" not in str(refused.value)


def test_before_a_build_there_is_nothing_to_tell(
    settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "home")
    loop = load_loop(settings.loops_dir / "flights.yml")
    migrate(settings.ledger_url)
    over = AS_OF + timedelta(days=loop.receipts.wait_days)
    with pytest.raises(WarehouseError, match="nothing was built yet"):
        write(settings, loop, over, quiet)


def test_a_receipt_waits_and_then_tells_what_became_of_it(world: tuple[Settings, Loop]) -> None:
    """The days since are compared with the period, and whose training counts an answer is known by then."""
    settings, loop = world
    loop = loop.model_copy(update={"receipts": Receipts(wait_days=14)})
    assert last_period(loop, AS_OF) is None
    over = AS_OF + timedelta(days=14)
    assert last_period(loop, over) == (START, date(2013, 1, 28))
    ledger = Ledger(settings.ledger_url)
    # Landed on the 4th, counted from the 5th, and the labels of that day are closed on the 9th.
    for request, as_of, version in (("early", datetime(2013, 1, 8), 6), ("late", datetime(2013, 1, 9), 7)):
        for kind, payload in (
            ("training", {"request": request}),
            (
                "rollout_started",
                {"request": request, "experiment_id": request, "challenger_version": version},
            ),
        ):
            ledger.append(loop="flights", kind=kind, key=f"{kind}:{request}", as_of=as_of, payload=payload)
    assert write(settings, loop, over, quiet)["written"] == 3
    told = {user: receipts_of(settings, loop, user)[1][0]["body"] for user in ("anna", "bert", "cara")}
    learnt = "counted in what version 7 was trained on"
    assert learnt in told["anna"] and learnt in told["cara"]
    assert "counted in what version" not in told["bert"], "consent none"
    with pytest.raises(ValueError, match="wait_days is 3"):
        Receipts(wait_days=3)


def test_what_is_told_of_the_days_since_does_not_depend_on_when_it_is_told(
    world: tuple[Settings, Loop],
) -> None:
    settings, loop = world
    loop = loop.model_copy(update={"receipts": Receipts(wait_days=14, smallest_group=2)})
    period = (START, date(2013, 1, 28))
    for n in range(50):
        day = START + timedelta(days=n)
        # Ten a day, half of them about the price until the period ends, one from then on, all for 14 days only.
        upset = 5 if day <= period[1] else 1 if n < 42 else 10
        rows = [
            {"feedback_id": f"a{n}-{at}", "prediction_id": f"p{n}-{at}", "unit_id": f"UA{at}", "channel": "rating",
             "rating": 3, "category": "price" if at < upset + n % 2 else "app_problem", "user_id": f"who{at}",
             "is_simulated": True, "event_at": f"{day}T09:00:00Z", "received_at": f"{day}T10:00:00Z"}
            for at in range(10)
        ]  # fmt: skip
        path = settings.landing_dir / "flights" / "feedback" / f"received_date={day}" / "b.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_warehouse(settings, purpose="test") as wh:
        land_range(loop, settings, wh, START, START + timedelta(days=49), quiet)
        moments = (datetime(2013, 2, 12), datetime(2013, 2, 20))
        assert [receipts._trends(wh, loop, period, moment)["price"] for moment in moments] == ["fell", "fell"]


def test_own_words_come_first(world: tuple[Settings, Loop]) -> None:
    settings, loop = world
    assert receipts.template_of(settings, loop).startswith("What became of your feedback")
    with pytest.raises(FileNotFoundError, match="no words for receipts"):
        receipts.template_of(settings, loop.model_copy(update={"receipts": Receipts(templates="xx")}))
