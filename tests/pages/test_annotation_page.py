"""The annotation page: numbers for all, people's words only for those who label, and labels from them alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
from tests.pages.fixtures import AS_OF, EVIL
from tests.pages.served import Served

from ratchet.loop import Loop, load_loop
from ratchet.pages.annotation import annotation
from ratchet.pages.book import made
from ratchet.pages.links import Links
from ratchet.pages.render import page_html
from ratchet.pages.source import Source
from ratchet.published import publish
from ratchet.settings import Settings, load_settings
from ratchet.stages.annotation_inbox import waiting_in_inbox


def measured(value: float | None, reason: str = "") -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    return {"value": value, "low": low, "high": high, "items": 40, "reason": reason}


def person(name: str, value: float | None, is_drifting: bool = False) -> dict[str, Any]:
    return {
        "name": name, "labels": 40, "agreement": measured(value, "5 items that others labelled; 20 needed"),
        "confusion": [["price", "other", 3], ["price", "price", 30]], "drift": measured(-0.2),
        "is_drifting": is_drifting,
    }  # fmt: skip


def summary() -> dict[str, Any]:
    queue = [
        {"feedback_id": f"answer-{n}", "text": f"words {n} {EVIL}", "language": "en", "score": 0.9, "uncertainty": 0.9,
         "disagreement": 0.0, "impact": 0.1, "labelled_by": ["Dana Reyes"] if n == 3 else [], "simulated": True}
        for n in range(15)
    ]  # fmt: skip
    return {
        "as_of": AS_OF, "rubric_version": "1", "simulated": True, "labels": 80, "items": 40, "taken_from_page": 0,
        "states": {"agreed": 30, "open": 10}, "alpha": measured(0.8), "min_alpha": 0.667, "is_usable": True,
        "reason": "",
        "in_force": None, "annotators": [person("ana", 0.8), person(EVIL, 0.7, True), person("ben", None)],
        "suspects": {"found": [{"feedback_id": "answer-99", "category": "price", "rather": "other", "quality": 0.1}],
                     "items": 60, "judged": 45, "reason": ""},
        "queue": queue,
    }  # fmt: skip


@pytest.fixture
def loop() -> Loop:
    return load_loop(load_settings({}).loops_dir / "flights.yml")


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    found = load_settings({"RATCHET_HOME": str(tmp_path)})
    publish(found, "flights", "annotation", summary())
    return found


def html_of(settings: Settings, loop: Loop, reader: str) -> str:
    source, links = Source.of(settings, loop), Links("flights", settings, own="/ratchet", airflow="")
    page = made("annotation", source, links) if not reader else annotation(source, links, reader)
    return page_html(page, source, links, ["flights"], current="annotation", token="t")


def test_who_only_looks_sees_numbers_and_nobodys_words(settings: Settings, loop: Loop) -> None:
    html = html_of(settings, loop, "")
    assert "words " not in html and "answer-" not in html and "<form" not in html
    assert "0.800 (0.750 to 0.850)" in html and "not enough evidence: 5 items" in html and "drifting" in html
    assert '<svg class="plot"' in html and "simulated" in html and "15 answers wait" in html


def test_who_labels_gets_the_head_of_the_queue_as_text(settings: Settings, loop: Loop) -> None:
    html = html_of(settings, loop, "Dana Reyes")
    assert html.count("<form") == 10 and "words 3 " not in html and "words 10 " in html
    assert "<script>window" not in html and "&lt;script&gt;window.planted" in html
    assert html.count('<option value="price">') == 10 and "14 of them wait for you" in html


def test_a_summary_that_can_not_be_read_says_so(settings: Settings, loop: Loop) -> None:
    publish(settings, "flights", "annotation", {"as_of": AS_OF})
    assert "can&#39;t be read" in html_of(settings, loop, "")


def opened(served: Served, user: str) -> tuple[requests.Session, str, str]:
    session = requests.Session()
    session.cookies.set("_token", served.tokens[user])
    address = f"{served.url}/ratchet/flights/annotation"
    html = session.get(address, timeout=30).text
    found = re.search(r'name="token" value="([0-9a-f]+)"', html)
    return session, html, found[1] if found else ""


def test_a_label_is_taken_from_who_may_and_from_our_own_page_only(served: Served) -> None:
    publish(served.settings, "flights", "annotation", summary())
    address = f"{served.url}/ratchet/flights/annotation"
    own = {"Origin": served.url}
    session, html, token = opened(served, "Dana Reyes")
    assert token and html.count("<form") == 10
    fields = {"feedback_id": "answer-0", "category": "price", "token": token}
    for user in ("viewer", "ana"):
        other, page, none = opened(served, user)
        assert "<form" not in page and "words " not in page and not none
        other.cookies.set("ratchet_csrf", session.cookies["ratchet_csrf"])
        assert other.post(address, data=fields, headers=own, timeout=30).status_code == 403
    assert requests.get(address, timeout=30).status_code == 401
    assert requests.post(address, data=fields, headers=own, timeout=30).status_code == 401
    for headers in ({}, {"Origin": "https://evil.example"}, {**own, "Sec-Fetch-Site": "cross-site"}):
        assert session.post(address, data=fields, headers=headers, timeout=30).status_code == 403
    bad = ({"token": "0" * 64}, {"category": "nonsense"}, {"feedback_id": "gone"}, {"category": ""})
    for change, status in zip(bad, (403, 400, 400, 400), strict=True):
        assert session.post(address, data={**fields, **change}, headers=own, timeout=30).status_code == status
    assert session.post(address, data=b"x" * 30_000, headers=own, timeout=30).status_code == 413
    assert waiting_in_inbox(served.settings, "flights") == {}

    done = session.post(address, data=fields, headers=own, timeout=30)
    assert done.status_code == 200 and "Your label was kept." in done.text and "words 0 " not in done.text
    (given,) = waiting_in_inbox(served.settings, "flights").items()
    assert given[0][0] == "answer-0" and given[1] == "price"
