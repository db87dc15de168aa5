"""Exports of other tools become rows of the contract, redacted, and what can't is counted."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ratchet.feedback.exports import ExportError, reviews, zendesk
from ratchet.landing.contract import load_contract
from ratchet.loop import load_loop
from ratchet.settings import load_settings
from ratchet.stages.exports import import_feedback

FIELDS = [
    {"id": "prediction_id", "value": "P1"},
    {"id": "unit_id", "value": "U1"},
    {"id": "consent", "value": "contact"},
]
TICKETS = {
    "tickets": [
        {
            "id": 7, "subject": "Late, I am Anna Schmidt", "description": "No warning. Call 212-555-0142",
            "status": "solved",
            "created_at": "2013-05-14T09:00:00+02:00", "custom_fields": FIELDS,
            "comments": [
                {"id": 1, "author": "requester", "body": "Still waiting", "created_at": "2013-05-14T10:00:00Z"},
                {"id": 2, "author": "agent", "body": "Refunded to jo@example.com", "created_at": "2013-05-14T11:00Z"},
                {"id": 3, "author": "requester", "body": "thanks", "created_at": None},
            ],
        },
        {"id": 8, "subject": "no prediction"},
        "no ticket",
    ]
}  # fmt: skip
REVIEWS = (
    "review_id,created_at,stars,title,body,prediction_id,unit_id,locale\n"
    'a,2013-05-14,1,Bad,"No warning, mail jo@example.com",P1,U1,en\n'
    "b,2013-05-14,nine,,,P1,U1,en\n"
    "c,never,1,,,P1,U1,en\n"
    "d,2013-05-14,1,,,,,en\n"
)


def test_a_ticket_is_a_thread_of_redacted_rows() -> None:
    found = zendesk(json.dumps(TICKETS))
    assert [row["feedback_id"] for row in found.rows] == ["zendesk-7", "zendesk-7/1"]
    first = found.rows[0]
    assert first["event_at"] == "2013-05-14T07:00:00Z"
    assert (first["ticket_status"], first["consent"], first["thread_id"]) == (
        "solved",
        "contact",
        "zendesk-7",
    )
    assert first["resolution"] == "Refunded to [EMAIL]"
    assert "Schmidt" not in first["subject"] and "0142" not in first["comment"]
    assert sum(found.left_out.values()) == 3


def test_reviews_are_ratings() -> None:
    found = reviews(REVIEWS)
    assert [(row["feedback_id"], row.get("rating")) for row in found.rows] == [
        ("review-a", 1),
        ("review-b", None),
    ]
    assert found.rows[0]["comment"] == "No warning, mail [EMAIL]"
    assert sum(found.left_out.values()) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"tickets": 3}', "null", "[" * 100_000])
def test_what_is_no_export_is_refused(content: str) -> None:
    with pytest.raises(ExportError, match="expected"):
        zendesk(content)
    with pytest.raises(ExportError, match="missing"):
        reviews(content)


def test_an_import_writes_one_file_by_its_content(tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path / "home")})
    loop = load_loop(settings.loops_dir / "flights.yml")
    path = tmp_path / "export.json"
    path.write_text(json.dumps(TICKETS), encoding="utf-8")
    report = import_feedback(settings, loop, "zendesk", path, date(2013, 5, 15))
    assert report == import_feedback(settings, loop, "zendesk", path, date(2013, 5, 15))
    assert report["rows"] == 2
    (file,) = settings.landing_dir.rglob("*.jsonl")
    assert str(file) == report["file"]
    known = set(load_contract(settings.dbt_dir, "feedback").names)
    for line in file.read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) <= known
    assert import_feedback(settings, loop, "zendesk", path, date(2013, 5, 13))["rows"] == 0
    with pytest.raises(ExportError, match="no kind"):
        import_feedback(settings, loop, "other", path, date(2013, 5, 15))
