"""Incidents told to a real mail server and a real HTTP server: each once, and no secret in the ledger."""

from __future__ import annotations

import email
import json
import socket
import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from ratchet.incidents.signals import Signal
from ratchet.ledger.store import migrate
from ratchet.loop import Loop, load_loop
from ratchet.loop_alerts import NotifyChannel
from ratchet.settings import Settings, load_settings
from ratchet.stages import incidents, notices
from ratchet.stages.records import ledger_of

START = datetime(2013, 7, 1)
SECRET = "token-9f3a"


class Mailbox:
    """Keeps what a mail client sends; refuses while `is_broken`."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.recipients: list[list[str]] = []
        self.is_broken = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.is_broken:
            return "451 try later"
        self.mails.append(email.message_from_bytes(envelope.content))
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "ratchet@example.com", "retry_limit": 1}
    told = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(told))
    yield box
    server.stop()


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What an HTTP server got, Slack's and a webhook's."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
            self.send_response(503 if self.path.endswith("broken") else 200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    host = f"http://127.0.0.1:{port}"
    slack = {"conn_type": "slackwebhook", "host": f"{host}/services", "password": f"T0/B0/{SECRET}"}
    hook = {"conn_type": "http", "host": "127.0.0.1", "schema": "http", "port": port, "password": SECRET,
            "extra": {"path": "/oncall"}}  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_TALK", json.dumps(slack))
    monkeypatch.setenv("AIRFLOW_CONN_PAGER", json.dumps(hook))
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", json.dumps({**hook, "extra": {"path": "/broken"}}))
    yield got
    server.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({"RATCHET_HOME": str(tmp_path)})
    migrate(found.ledger_url)
    ledger_of(found).append(
        loop="flights",
        kind="bootstrap",
        key="b",
        as_of=START - timedelta(days=30),
        payload={"model_version": 1},
    )
    return found


def told(settings: Settings, *channels: NotifyChannel) -> Loop:
    loop = load_loop(settings.loops_dir / "flights.yml")
    return loop.model_copy(update={"monitoring": loop.monitoring.model_copy(update={"notify": channels})})


MAIL = NotifyChannel(kind="smtp", connection="mail", to=("oncall@example.com",))
SLACK = NotifyChannel(kind="slack_webhook", connection="talk")
PAGER = NotifyChannel(kind="webhook", connection="pager", at_least="critical")


def measured(settings: Settings, loop: Loop, day: int, *signals: Signal) -> dict[str, Any]:
    """A health record with these signals, judged."""
    as_of = START + timedelta(days=day)
    ledger_of(settings).append(
        loop="flights", kind="health", key=f"health:{as_of.isoformat()}", as_of=as_of,
        payload={"signals": [s.to_json() for s in signals], "model_version": 1},
    )  # fmt: skip
    return incidents.judge(settings, loop, as_of, lambda _: None)


def send(settings: Settings, loop: Loop) -> int:
    from ratchet.airflow.notify import deliver

    notices.plan(settings, loop, lambda _: None)
    return notices.send(settings, loop, deliver, lambda _: None)["sent"]


LATE = Signal("freshness:weather", "data", "alert", 30, 6, evidence="<b>30 hours</b> late", source="weather")
FELT = Signal("quality:log_loss", "quality", "alert", 0.3, 0.03, evidence="worse")
FINE = (
    Signal("freshness:weather", "data", "ok", source="weather"),
    Signal("quality:log_loss", "quality", "ok"),
)


def test_a_week_is_told_once_for_each_thing_that_happened(
    settings: Settings, mailbox: Mailbox, posted: list[dict[str, Any]]
) -> None:
    loop = told(settings, MAIL, SLACK, PAGER)
    planned = [(LATE,), (LATE,), (FELT,), (FELT,), FINE, FINE, FINE, FINE]
    for day, signals in enumerate(planned):
        seen = {s.name: s for s in (*FINE, *signals)}
        measured(settings, loop, day, *seen.values())
        send(settings, loop)
        assert send(settings, loop) == 0, "a second run tells nobody anything"
    subjects = [str(mail["Subject"]) for mail in mailbox.mails]
    assert subjects == [
        "[flights] new, high: freshness:weather", "[flights] new, critical: quality:log_loss",
        "[flights] closed, high: feed-weather-20130701", "[flights] closed, critical: quality-20130703",
    ]  # fmt: skip
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 4
    assert mailbox.recipients[0] == ["oncall@example.com"]
    assert loop.owner.escalation in mailbox.recipients[1], "a critical one is sent to the escalation too"
    text = mailbox.mails[0].get_payload()[0].get_payload(decode=True).decode()
    assert "docs/runbooks/feed.md" in text
    assert "<b>" not in text, "what a source says is text, not markup"
    slack = [got for got in posted if got["path"].startswith("/services")]
    pager = [got for got in posted if got["path"] == "/oncall"]
    assert (len(slack), len(pager)) == (4, 2), "the pager only hears of critical ones"
    assert pager[0]["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert pager[0]["headers"]["Idempotency-Key"] == pager[0]["body"]["message_id"]
    kept = json.dumps([entry.payload for entry in ledger_of(settings).entries("flights")])
    assert SECRET not in kept


def test_what_a_server_did_not_take_is_sent_by_the_next_try_under_the_same_id(
    settings: Settings, mailbox: Mailbox
) -> None:
    loop = told(settings, MAIL)
    measured(settings, loop, 0, LATE)
    mailbox.is_broken = True
    with pytest.raises(notices.NotTold, match="1 of 1 notices were not taken"):
        send(settings, loop)
    mailbox.is_broken = False
    assert send(settings, loop) == 1
    notice = ledger_of(settings).entries("flights", ["notice"])[0]
    assert mailbox.mails[0]["Message-ID"] == notice.payload["message_id"]


def test_a_run_that_died_after_sending_sends_again_under_the_same_id(
    settings: Settings, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.airflow.notify import deliver
    from ratchet.ledger.store import Ledger

    loop = told(settings, MAIL)
    measured(settings, loop, 0, LATE)
    notices.plan(settings, loop, lambda _: None)
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "append", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            notices.send(settings, loop, deliver, lambda _: None)
    assert send(settings, loop) == 1
    assert len(mailbox.mails) == 2
    assert len({mail["Message-ID"] for mail in mailbox.mails}) == 1


def test_one_broken_channel_does_not_hold_up_the_others(
    settings: Settings, mailbox: Mailbox, posted: list[dict[str, Any]]
) -> None:
    broken = NotifyChannel(kind="webhook", connection="broken")
    loop = told(settings, broken, MAIL)
    measured(settings, loop, 0, LATE)
    with pytest.raises(notices.NotTold, match="webhook broken: NotTaken"):
        send(settings, loop)
    assert len(mailbox.mails) == 1


def test_muted_incidents_are_told_to_nobody_and_again_at_the_end(
    settings: Settings, mailbox: Mailbox
) -> None:
    loop = told(settings, MAIL)
    measured(settings, loop, 0, LATE)
    (found,) = incidents.listed(ledger_of(settings).entries("flights"))["open"]
    for until, reason, problem in (("2013-07-03", " ", "reason"), ("2013-06-01", "x", "lies before")):
        with pytest.raises(incidents.CannotMute, match=problem):
            incidents.mute(settings, loop, found["id"], date.fromisoformat(until), reason, "dana")
    with pytest.raises(incidents.CannotMute, match="not open"):
        incidents.mute(settings, loop, "no-such", date(2013, 7, 3), "x", "dana")
    incidents.mute(settings, loop, found["id"], date(2013, 7, 2), "the sender knows", "dana")
    shown = incidents.listed(ledger_of(settings).entries("flights"))
    assert ([i["id"] for i in shown["muted"]], shown["open"]) == ([found["id"]], [])
    assert any(name == "muted" for name, _ in incidents.told(settings, loop))
    for day in (1, 2, 3):
        measured(settings, loop, day, LATE, FELT)
        send(settings, loop)
    assert [str(mail["Subject"])[:21] for mail in mailbox.mails] == ["[flights] still open,"]


def test_silence_is_an_incident_and_ends_with_the_next_record(settings: Settings) -> None:
    loop = told(settings)
    measured(settings, loop, 0, *FINE)
    quiet = incidents.watch(settings, loop, START + timedelta(days=2), lambda _: None)
    assert quiet == {"open": 0, "events": []}
    found = incidents.watch(settings, loop, START + timedelta(days=3), lambda _: None)
    assert found["events"] == ["opened not-measured-20130704"]
    assert incidents.watch(settings, loop, START + timedelta(days=3), lambda _: None) == found
    for day in (4, 5, 6):
        last = measured(settings, loop, day, *FINE)
    assert last["events"] == ["closed not-measured-20130704"]
    with pytest.raises(incidents.NotMeasured):
        incidents.judge(settings, loop, START + timedelta(days=9), lambda _: None)


def test_every_judgement_is_replayed_from_the_ledger_alone(settings: Settings) -> None:
    from ratchet.certificate.replay import replay

    loop = told(settings, MAIL)
    for day in range(4):
        measured(settings, loop, day, LATE, FELT)
        if day == 1:
            (found,) = incidents.listed(ledger_of(settings).entries("flights"))["open"]
            incidents.mute(settings, loop, found["id"], date(2013, 7, 3), "known", "dana")
    entries = ledger_of(settings).entries("flights")
    judged = [one for one in replay(entries) if one.entry.kind == "incident"]
    assert [one.outcome for one in judged] == ["equal"] * 4, [one.detail for one in judged]
    changed = [
        e if e.kind != "incident" else type(e)(**{**e.__dict__, "payload": {**e.payload, "events": []}})
        for e in entries
    ]
    assert "different" in {one.outcome for one in replay(changed)}, "a verdict that was changed is found"


def test_a_failed_task_is_told_once(settings: Settings, mailbox: Mailbox) -> None:
    from ratchet.airflow.notify import deliver

    loop = told(settings, MAIL)
    for _ in range(2):
        notices.failed_task(settings, loop, dag="flights__x", run="r", task="t", error="boom", as_of=START)
        notices.send(settings, loop, deliver, lambda _: None)
    assert [str(mail["Subject"]) for mail in mailbox.mails] == ["[flights] task flights__x.t failed"]


def test_the_commands_list_show_and_mute(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from ratchet.cli import app

    monkeypatch.setenv("RATCHET_HOME", str(settings.home))
    run = CliRunner()
    assert "nothing was judged" in run.invoke(app, ["incident", "list"]).output
    loop = told(settings)
    measured(settings, loop, 0, LATE, FELT)
    listed = json.loads(run.invoke(app, ["incident", "list", "--json"]).output)
    (found,) = listed["open"]
    shown = run.invoke(app, ["incident", "show", found["id"]])
    assert shown.exit_code == 0
    assert "freshness:weather" in shown.output
    assert "docs/runbooks/feed.md" in shown.output
    for arguments in (["--reason", "x"], ["--until", "2013-07-02"]):
        assert run.invoke(app, ["incident", "mute", found["id"], *arguments]).exit_code == 2, (
            "both are demanded"
        )
    done = run.invoke(app, ["incident", "mute", found["id"], "--until", "2013-07-02", "--reason", "known"])
    assert done.exit_code == 0
    assert "muted until" in run.invoke(app, ["incident", "list"]).output
    assert run.invoke(app, ["incident", "show", "no-such"]).exit_code == 1
