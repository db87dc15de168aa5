"""The whole loop for one complaint: a route wrongly called on time, its travellers answered, and one forgotten.

`make story` prints it. Flights are real but for the planted delays; travellers are simulated.
"""

from __future__ import annotations

import email
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from aiosmtpd.controller import Controller

from ratchet.airflow.receipt_sender import deliver
from ratchet.certificate.replay import replay
from ratchet.ledger.store import Ledger
from ratchet.loop import load_loop
from ratchet.loop_privacy import ReceiptChannel
from ratchet.published import read
from ratchet.replay.setup import prepare
from ratchet.replay.story import Story, missing, told
from ratchet.replay.story_world import CATEGORY, LIMIT, story_loop
from ratchet.settings import load_settings
from ratchet.stages import receipts
from ratchet.stages.forget import forget
from ratchet.stages.snapshots import read_snapshot, snapshots
from ratchet.stages.trace import NothingToTrace, trace_feedback
from ratchet.warehouse.connect import open_warehouse

pytestmark = pytest.mark.slow

MAIL = ReceiptChannel(kind="smtp", connection="story_mail", to="{person}@people.example")


class Silent:
    def stage(self, week: int, text: str, runs: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


def quiet(_: str) -> None:
    return None


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    settings = load_settings({"RATCHET_HOME": str(tmp_path_factory.mktemp("home"))})
    prepare(settings, quiet, with_airflow=False)
    played = Story(settings, story_loop(load_loop(settings.loops_dir / "flights.yml"), MAIL), Silent())
    played.run()
    return played


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
    monkeypatch.setenv(
        "AIRFLOW_CONN_STORY_MAIL",
        json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}),
    )
    yield got
    server.stop()


def test_the_complaint_is_heard_learnt_from_and_falls(story: Story) -> None:
    lines = list(told(story))
    assert missing(story) == [], lines
    asked, promoted = story.request(), story.promoted()
    assert asked is not None and promoted is not None and asked.as_of < promoted.as_of
    assert asked.payload["tier"] == "event" and f"above {LIMIT.share:.0%}" in asked.payload["reason"]
    weeks = story.weeks()
    before = [week.share for week in weeks if week.first < story.plot.since]
    assert max(before) < LIMIT.share < max(week.share for week in weeks), (
        "the category rose, and was not there before"
    )
    # The route alone: the new model warns of it, and fewer of its travellers say that they were not.
    arms = {arm.arm: arm for arm in story.arms()}
    challenger, control = arms["challenger"], arms["control"]
    assert challenger.complaints * control.answers < 0.5 * control.complaints * challenger.answers
    assert any(f"{CATEGORY} a person asked on LGA-ATL, challenger less control" in line for line in lines)


def test_the_feature_that_counts_complaints_is_in_the_new_model(story: Story) -> None:
    asked = story.request()
    assert asked is not None
    taken = next(m for m in snapshots(story.settings, story.loop) if m["as_of"] == asked.as_of)
    rows = read_snapshot(story.settings, story.loop, taken)
    assert rows["route_complaint_share_28d"].max() > 0.2
    assert {part.part for part in story.worth()} >= {"feedback", "feedback_weights", "feedback_labels"}
    person, answer = story.complainer()
    found = trace_feedback(story.settings, story.loop, answer)
    held = next(one for one in found["snapshots"] if one["snapshot"] == taken["id"])
    assert held["was_known"] and held["rows_counting"] > 50
    assert [t["version"] for t in held["trainings"]] == [2]
    assert person not in json.dumps(list(told(story)))


def test_every_verdict_of_it_is_given_again_by_the_record_alone(story: Story) -> None:
    found = list(replay(Ledger(story.settings.ledger_url).entries()))
    assert {one.outcome for one in found} <= {"equal", "fact"}, [one.detail for one in found if one.detail]


def test_receipts_go_out_and_one_who_asks_is_forgotten(story: Story, mails: list[Any]) -> None:
    settings, loop = story.settings, story.loop
    few = loop.receipts.model_copy(update={"per_run": 150})
    loop = loop.model_copy(update={"receipts": few})
    sent = receipts.send(settings, loop, deliver, quiet)
    assert sent["sent"] == len(mails) == 150 and sent["waiting"] == len(story.receipts()) - 150
    assert receipts.send(settings, loop, deliver, quiet)["sent"] == 150
    assert len({message["Message-ID"] for _, message in mails}) == 300, "once each"
    receivers = {to[0].partition("@")[0]: message for to, message in mails}
    person, answer = story.complainer(receivers)
    theirs = [message for to, message in mails if to == [f"{person}@people.example"]]
    text = " ".join(theirs[0].get_payload(0).get_payload(decode=True).decode().split())
    assert "a delay that we did not warn you of" in text
    assert "they are counted in what version 2 was trained on" in text

    name, words = _as_they_wrote(settings.landing_dir, answer)
    assert _places(settings.home, name), "the search would see nothing"
    (done,) = forget(settings, loop, [name], quiet)
    assert done["person"] == person and done["removed"]["raw.feedback"] >= 1
    assert _places(settings.home, name) == []
    assert words not in _landed_words(settings)
    with pytest.raises(NothingToTrace, match="asked to be forgotten"):
        trace_feedback(settings, loop, answer)
    assert story.receipts(person).empty
    assert (read(settings, loop.loop, "partitions") or {})["dirty"] == 0
    assert done["models"], "the models that learned from their flights are flagged"


def _as_they_wrote(landing: Path, answer: str) -> tuple[str, str]:
    """The name that an answer came under, and its words with what makes them its own."""
    for path in sorted((landing / "flights" / "feedback").rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if f'"{answer}"' in line:
                row = json.loads(line)
                return str(row["user_id"]), str(row["feedback_id"])
    raise AssertionError(f"{answer} is in no file")


def _places(home: Path, words: str) -> list[str]:
    """Files under `home` in which `words` stand, Parquet unpacked."""
    found = []
    for folder, _, names in os.walk(home):
        for name in names:
            path = Path(folder) / name
            content = path.read_bytes()
            if path.suffix == ".parquet":
                table = parquet.read_table(path, partitioning=None)
                texts = [c for c in table.column_names if str(table[c].type) in ("string", "large_string")]
                content += repr([table[c].unique().to_pylist() for c in texts]).encode()
            if words.encode() in content:
                found.append(str(path.relative_to(home)))
    return found


def _landed_words(settings: Any) -> set[str]:
    with open_warehouse(replace(settings), purpose="test", read_only=True) as wh:
        return set(wh.frame("select feedback_id from raw.feedback")["feedback_id"])
