"""Files of labels: what is certain is taken, the rest is refused with its place and the reason."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from typing import Any

import pytest

from ratchet.annotation.formats import (
    Given,
    LabelFileError,
    Refused,
    queue_csv,
    queue_label_studio,
    read_labels,
)
from ratchet.annotation.queue import Item, Queued

HEADER = "feedback_id,annotator,category,rubric_version,event_at\n"
GOOD = "f1,ana,price,1,2013-05-14T09:00:00Z\n"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("f1,,price,1,2013-05-14T09:00:00Z", "annotator is missing"),
        ("f1,ana,,1,2013-05-14T09:00:00Z", "category is missing"),
        (",ana,price,,2013-05-14T09:00:00Z", "feedback_id, rubric_version is missing"),
        ("f1,ana,price,1,yesterday", "is no time"),
        ("f1,=cmd(),price,1,2013-05-14T09:00:00Z", "no name"),
        (f"{'f' * 200},ana,price,1,2013-05-14T09:00:00Z", "at most 160"),
        ("f1,ana,price,1", "5 fields"),
        ("f1,ana,price,1,2013-05-14T09:00:00Z,more", "5 fields"),
        ('f1,ana,"price,1', "no CSV from here on"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(row: str, why: str) -> None:
    found = read_labels(HEADER + GOOD + row + "\n", "csv", "a.csv")
    assert isinstance(found[0], Given) and len(found) == 2
    assert isinstance(found[1], Refused) and why in found[1].reason and found[1].line >= 3


def test_times_are_utc_and_a_queue_that_nobody_filled_in_is_no_label() -> None:
    other = "f2,ben,praise,1,2013-05-14T11:00:00+02:00\n\nf3,,,1,\n"
    found = read_labels(HEADER + GOOD + other, "csv", "a.csv")
    nine = datetime(2013, 5, 14, 9)
    assert found == [Given(2, "f1", "ana", "price", "1", nine), Given(3, "f2", "ben", "praise", "1", nine)]


@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        ("", "csv", "column"),
        ("feedback_id,category\n", "csv", "annotator, rubric_version, event_at is missing"),
        ("{", "labelstudio", "no JSON"),
        ("{}", "labelstudio", "a list of tasks"),
        ("[" * 100_000, "labelstudio", "no JSON"),
    ],
)
def test_a_file_of_another_kind_is_refused(content: str, kind: Any, why: str) -> None:
    with pytest.raises(LabelFileError, match=why):
        read_labels(content, kind, "a.csv")


def task(**changes: Any) -> dict[str, Any]:
    one = {
        "completed_by": {"id": 7, "email": "ana@example.org"},
        "result": [{"value": {"choices": ["price"]}, "type": "choices"}],
        "created_at": "2013-05-14T09:00:00.000000Z",
    }
    return {"data": {"feedback_id": "f1", "rubric_version": "1"}, "annotations": [{**one, **changes}]}


def test_an_export_of_label_studio_is_read() -> None:
    tasks = [task(), task(completed_by=7), task(updated_at="2013-05-15T09:00:00Z")]
    found = read_labels(json.dumps(tasks), "labelstudio", "a.json")
    assert [(g.line, g.annotator) for g in found if isinstance(g, Given)] == [
        (1, "ana@example.org"), (2, "user 7"), (3, "ana@example.org"),
    ]  # fmt: skip
    assert isinstance(found[2], Given) and found[2].event_at == datetime(2013, 5, 15, 9)


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (task(was_cancelled=True), "skipped"),
        (task(result=[]), "one choice"),
        (task(result=None), "one choice"),
        (task(result=[{"value": {"choices": ["price", "praise"]}}]), "one choice"),
        (task(completed_by=None), "annotator is missing"),
        ({"data": {}, "annotations": [task()["annotations"][0]]}, "feedback_id, rubric_version is missing"),
        ({"data": {}, "annotations": [3]}, "no object"),
        ({"annotations": []}, "no data"),
        ("x", "no data"),
    ],
)
def test_an_annotation_that_says_nothing_certain_is_refused(one: Any, why: str) -> None:
    (found,) = read_labels(json.dumps([one]), "labelstudio", "a.json")
    assert isinstance(found, Refused) and why in found.reason and found.line == 1


def test_an_exported_queue_comes_back_and_no_spreadsheet_runs_it() -> None:
    texts = ["=HYPERLINK(1)", "two\nlines, and a comma", "<script>"]
    queued = [
        Queued(Item(f"f{n}", text, "en", f"{n}", "unsure", 0.2, said="price"), 1.0, 0.8, 0.0, 0.0)
        for n, text in enumerate(texts)
    ]
    written = queue_csv(queued, "1")
    assert read_labels(written, "csv", "a.csv") == []
    rows = list(csv.DictReader(io.StringIO(written)))
    assert [row["text"] for row in rows] == ["'=HYPERLINK(1)", *texts[1:]]
    assert "price" not in written and "unsure" not in written, "a label is a second opinion"
    for row in rows:
        row.update(annotator="ana", category="price", event_at="2013-05-14T09:00:00Z")
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    found = read_labels(out.getvalue(), "csv", "a.csv")
    assert [one.feedback_id for one in found if isinstance(one, Given)] == ["f0", "f1", "f2"]
    tasks = json.loads(queue_label_studio(queued, "1"))
    assert [one["data"]["text"] for one in tasks] == texts and "price" not in json.dumps(tasks)
