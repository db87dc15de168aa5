"""What landed is enriched once a version, history is enriched anew under a new one, and a foreign model is refused."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from ratchet.landing.land import land_range
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.enriching import TextModelError, enrich_landed, fit_model
from ratchet.warehouse.protocol import Warehouse

DAY = date(2013, 5, 14)
TEXTS = (
    ("No warning at all, I missed my connection. Call +1 212 555 0142", None, None),
    ("Die App ist zweimal abgestürzt.", None, "T1"),
    ("Wieder abgestürzt.", "Noch einmal", "T1"),
    (None, None, None),
    ("Xyzzy plugh", None, None),
)


def quiet(_: str) -> None:
    return None


@pytest.fixture
def landed(loop: Loop, settings: Settings, wh: Warehouse) -> Warehouse:
    path = settings.landing_dir / "flights" / "feedback" / f"received_date={DAY}" / "a.jsonl"
    path.parent.mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {
            "feedback_id": f"f{n}",
            "prediction_id": f"p{n}",
            "unit_id": f"UA{n}",
            "channel": "ticket",
            "comment": comment,
            "subject": subject,
            "thread_id": thread,
            "is_simulated": True,
            "event_at": f"{DAY}T09:00:00Z",
            "received_at": f"{DAY}T10:00:00Z",
        }
        for n, (comment, subject, thread) in enumerate(TEXTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    land_range(loop, settings, wh, DAY, DAY, quiet)
    wh.execute("delete from ops.dirty_partitions")
    return wh


def test_each_text_is_enriched_once_and_its_day_is_built(
    loop: Loop, settings: Settings, landed: Warehouse
) -> None:
    first = enrich_landed(landed, settings, loop, quiet)
    assert (first["texts"], first["is_new"]) == (4, True)
    found = landed.frame("select * from ops.feedback_enrichment order by feedback_id")
    assert found["category"].tolist() == ["false_reassurance", "app_problem", "app_problem", "unsure"]
    assert found["thread_key"].tolist() == ["f0", "T1", "T1", "f4"]
    assert found["language"].tolist()[:3] == ["en", "de", "de"]
    assert set(found["enrichment_version"]) == {first["version"]}
    assert landed.scalar("select count(*) from ops.feedback_enrichment where sentiment is null") >= 1
    assert landed.scalar("select source from ops.dirty_partitions") == "feedback"
    assert "0142" not in landed.scalar("select string_agg(comment, ' ') from raw.feedback")

    again = enrich_landed(landed, settings, loop, quiet)
    assert (again["texts"], again["is_new"]) == (0, False)
    assert landed.scalar("select count(*) from ops.feedback_enrichment") == 4


def test_a_new_version_goes_through_history_and_the_old_one_stays(
    loop: Loop, settings: Settings, landed: Warehouse
) -> None:
    old = enrich_landed(landed, settings, loop, quiet)["version"]
    landed.execute("delete from ops.dirty_partitions")
    stricter = loop.model_copy(
        update={"feedback": loop.feedback.model_copy(update={"min_confidence": 0.999})}
    )
    new = enrich_landed(landed, settings, stricter, quiet)
    assert (new["texts"], new["is_new"]) == (4, True)
    assert new["version"] != old
    assert landed.scalar("select count(*) from ops.dirty_partitions") == 1
    counts = landed.frame(
        "select enrichment_version as v, count(*) as n from ops.feedback_enrichment group by 1"
    )
    assert dict(counts.itertuples(index=False)) == {old: 4, new["version"]: 4}
    current = "select enrichment_version from ops.enrichment_versions where is_current"
    assert landed.frame(current)["enrichment_version"].tolist() == [new["version"]]

    # Back to the old one: its rows are there already.
    assert enrich_landed(landed, settings, loop, quiet) == {"texts": 0, "version": old, "is_new": True}
    assert landed.frame(current)["enrichment_version"].tolist() == [old]


def test_a_model_that_is_not_the_one_named_enriches_nothing(
    loop: Loop, settings: Settings, landed: Warehouse
) -> None:
    assert loop.feedback.model is not None
    for change, why in (({"sha256": "0" * 64}, "hashes to"), ({"file": "gone.json"}, "ratchet feedback fit")):
        named = loop.feedback.model.model_copy(update=change)
        other = loop.model_copy(update={"feedback": loop.feedback.model_copy(update={"model": named})})
        with pytest.raises(TextModelError, match=why):
            enrich_landed(landed, settings, other, quiet)
    assert landed.scalar("select count(*) from ops.feedback_enrichment") == 0


def test_a_fit_leaves_out_who_did_not_agree(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    path = settings.landing_dir / "flights" / "feedback" / f"received_date={DAY}" / "a.jsonl"
    path.parent.mkdir(parents=True)
    said = ("none", "contact", "use_for_training", "use_for_training+contact", None)
    texts = (
        "No warning at all.",
        "App crashed.",
        "False alarm.",
        "Too expensive, I want a refund.",
        "Spot on.",
    )
    rows = [
        {
            "feedback_id": f"f{n}", "prediction_id": f"p{n}", "unit_id": "UA1", "channel": "ticket", "comment": text,
            "consent": consent, "is_simulated": True, "event_at": f"{DAY}T09:00:00Z", "received_at": f"{DAY}T10:00:00Z",
        }
        for n, (consent, text) in enumerate(zip(said, texts, strict=True))
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    land_range(loop, settings, wh, DAY, DAY, quiet)
    wh.execute("select 1")
    model, digest = fit_model(settings, loop, [], 1, quiet)
    assert (model["about"]["landed"], len(digest)) == (3, 64)
