"""Labels as of a moment, what they amount to, and which answers come first."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.annotation.labels import Label, Resolved, label_set, labels_as_of, resolve
from ratchet.annotation.queue import Item, category_impact, disagreement, queue
from ratchet.loop_feedback import Annotation, Taxonomy

NOON = datetime(2013, 5, 14, 12)


def label(item: str, who: str, what: str, *, at: int = 0, known: int = 1, rubric: str = "1") -> Label:
    """A label given `at` hours after noon, received `known` hours after noon."""
    return Label(item, who, what, rubric, NOON + timedelta(hours=at), NOON + timedelta(hours=known), "csv")


def settled(given: str, **terms: Any) -> Resolved:
    """What labels like "ana:price ben:praise" of one item amount to."""
    labels = [label("f1", *one.split(":")) for one in given.split()]
    (found,) = resolve(labels, Annotation(**terms))
    return found


def test_what_was_not_received_yet_is_not_known() -> None:
    labels = [
        label("f1", "ana", "price"),
        label("f1", "ana", "praise", at=3, known=4),
        label("f2", "ana", "price", known=30),
        label("f3", "ana", "price", rubric="0"),
    ]

    def known(hours: int) -> list[tuple[str, str]]:
        as_of = NOON + timedelta(hours=hours)
        return [(one.feedback_id, one.category) for one in labels_as_of(labels, as_of, "1")]

    assert known(1) == [], "received at the moment itself is not before it"
    assert known(2) == [("f1", "price")]
    assert known(5) == [("f1", "praise")]
    assert known(31) == [("f1", "praise"), ("f2", "price")]
    # An old label that arrives late does not undo a correction.
    late = [*labels, label("f1", "ana", "other", at=-1, known=20)]
    assert labels_as_of(late, NOON + timedelta(hours=21), "1")[0].category == "praise"


@pytest.mark.parametrize(
    ("given", "terms", "category", "state"),
    [
        ("a:price", {}, None, "open"),
        ("a:price b:price", {}, "price", "agreed"),
        ("a:price b:praise", {}, None, "open"),
        ("a:price b:praise c:price", {}, "price", "majority"),
        ("a:price b:praise c:other", {}, None, "open"),
        ("a:price b:price c:praise d:praise", {}, None, "open"),
        ("a:price b:praise", {"conflict": "priority", "priority": ("b", "a")}, "praise", "priority"),
        ("a:price b:praise", {"conflict": "priority", "priority": ("z",)}, None, "open"),
        ("a:price b:praise c:price", {"conflict": "adjudicate", "adjudicators": ("z",)}, None, "open"),
        ("a:price b:praise z:other", {"conflict": "adjudicate", "adjudicators": ("z",)}, "other", "adjudicated"),
        ("a:price b:praise z:other", {"adjudicators": ("z",)}, "other", "adjudicated"),
        ("a:price z:other", {"adjudicators": ("z",)}, "other", "adjudicated"),
        ("y:price z:other", {"adjudicators": ("y", "z")}, None, "open"),
        ("a:price", {"labels_per_item": 1}, "price", "agreed"),
    ],
)  # fmt: skip
def test_each_policy_settles_what_it_may_and_nothing_else(
    given: str, terms: dict[str, Any], category: str | None, state: str
) -> None:
    found = settled(given, **terms)
    assert (found.category, found.state) == (category, state)
    assert (found.reason != "") or state in ("agreed", "majority", "adjudicated")


def test_the_order_of_labels_changes_nothing() -> None:
    terms = Annotation()
    labels = [
        label(f"f{n % 3}", who, what) for n in range(3) for who, what in (("a", "x"), ("b", "y"), ("c", "y"))
    ]
    assert resolve(labels, terms) == resolve(labels[::-1], terms)
    assert label_set(resolve(labels, terms), "1") == label_set(resolve(labels[::-1], terms), "1")
    assert label_set(resolve(labels, terms), "1") != label_set(resolve(labels, terms), "2")
    assert label_set(resolve(labels, terms), "1") != label_set(resolve(labels[:-3], terms), "1")


@pytest.mark.parametrize(
    "terms",
    [
        {"conflict": "priority"},
        {"conflict": "adjudicate"},
        {"conflict": "coin"},
        {"priority": ("a", "a")},
        {"annotators": ("=cmd()",)},
        {"weights": {"uncertainty": 0, "disagreement": 0, "impact": 0}},
    ],
)
def test_terms_that_can_not_settle_anything_are_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Annotation(**terms)


TAXONOMY = Taxonomy.model_validate(
    {
        "version": "1",
        "categories": {
            "late": {"title": "It was late", "maps_to": "output", "severity": 4},
            "price": {"title": "Too dear", "maps_to": "not_the_model", "severity": 1},
            "other": {"title": "Something else", "maps_to": "not_the_model", "severity": 1},
        },
    }
)


def item(name: str, **changes: Any) -> Item:
    found = {
        "text": name, "language": "en", "duplicate_key": name, "category": "price", "confidence": 1.0, "weak": "price",
    }  # fmt: skip
    return Item(name, **{**found, **changes})


def test_doubt_quarrel_and_stakes_each_bring_an_answer_to_the_front() -> None:
    impact = category_impact(TAXONOMY, {"late": 0.1, "price": 0.2})
    assert impact == {"late": 1.0, "price": 0.5, "other": 0.0}
    for better in (
        item("b", confidence=0.4),
        item("b", classifier="other"),
        item("b", said="other"),
        item("b", given={"ana": "other"}),
        item("b", category="late", weak="late"),
    ):
        found = queue([item("a"), better], impact, Annotation())
        assert [one.item.feedback_id for one in found] == ["b", "a"], better
    assert disagreement(["a"]) == 0.0 and disagreement(["a", "a", "b"]) == pytest.approx(2 / 3)


def test_a_queue_is_bounded_says_the_same_once_and_is_the_same_again() -> None:
    items = [item(f"f{n}", duplicate_key=str(n // 2)) for n in range(40)]
    found = queue(items, {}, Annotation(queue_size=10))
    assert [one.item.feedback_id for one in found] == [
        one.item.feedback_id for one in queue(items[::-1], {}, Annotation(queue_size=10))
    ]
    assert len(found) == 10 and len({one.item.duplicate_key for one in found}) == 10
    assert queue([], {}, Annotation()) == []
