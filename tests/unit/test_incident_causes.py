"""What may cause what: an incident names only conditions that reach it, each on its way from a source to a user."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from ratchet.certificate.judges import judge_again
from ratchet.incidents.causes import Group, groups_of
from ratchet.incidents.reach import OPINIONS, REACHES, ROWS, effect_of, reach_of
from ratchet.incidents.signals import Signal
from ratchet.loop import Loop, load_loop

FLIGHTS = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")
MADE_OF_FEEDBACK = "complaints_28d"


def loop(*, feature: bool = False) -> Loop:
    """The flights' loop, with a feature made of feedback or without."""
    alerts = FLIGHTS.monitoring.alerts
    feeds = {name: features for name, features in alerts.feeds.items() if name != "feedback"}
    feeds |= {"feedback": (MADE_OF_FEEDBACK,)} if feature else {}
    monitoring = FLIGHTS.monitoring.model_copy(update={"alerts": alerts.model_copy(update={"feeds": feeds})})
    return FLIGHTS.model_copy(update={"monitoring": monitoring})


def bad(name: str, family: str = "data", **more: object) -> Signal:
    return replace(Signal(name, family, "alert", 1.0, 0.5, evidence="planted"), **more)  # type: ignore[arg-type]


LOSS, COMPLAINTS = bad("quality:log_loss", "quality"), bad("complaints:price", "users")
CAMPAIGN = bad("campaign", source="feedback")
DRIFT = bad("drift:temperature_f", "drift", feature="temperature_f", importance=0.1)
MOVED = bad(f"drift:{MADE_OF_FEEDBACK}", "drift", feature=MADE_OF_FEEDBACK, importance=0.1)


def grouped(*signals: Signal, of: Loop | None = None, learns: bool = False) -> dict[str, Group]:
    return {group.key: group for group in groups_of(of or loop(), signals, learns=learns)}


def causes(group: Group) -> list[str]:
    return [cause.name for cause in group.causes]


def test_a_campaign_is_no_cause_of_a_loss_where_the_model_reads_no_feedback() -> None:
    found = grouped(CAMPAIGN, LOSS)
    assert {key: causes(group) for key, group in found.items()} == {
        "feed:feedback": ["campaign"], "quality": ["quality:log_loss"],
    }  # fmt: skip
    found = grouped(CAMPAIGN, LOSS, DRIFT)
    assert causes(found["feed:weather"]) == ["drift:temperature_f", "quality:log_loss"]


def test_a_campaign_is_a_cause_of_what_users_say_and_of_a_loss_through_a_feature_that_moves() -> None:
    assert causes(grouped(CAMPAIGN, COMPLAINTS)["feed:feedback"]) == ["campaign", "complaints:price"]
    through = grouped(CAMPAIGN, MOVED, LOSS, of=loop(feature=True))
    assert list(through) == ["feed:feedback"]
    assert causes(through["feed:feedback"])[0] == "campaign"
    still = grouped(CAMPAIGN, LOSS, of=loop(feature=True))
    assert set(still) == {"feed:feedback", "quality"}, "the feature is there, and did not move"
    unused = grouped(CAMPAIGN, replace(MOVED, importance=0.0), LOSS, of=loop(feature=True))
    assert set(unused) == {"feed:feedback", "quality"}, "it moved, and the model does not use it"


def test_what_acts_by_a_training_is_named_last_and_takes_nothing_in() -> None:
    found = grouped(CAMPAIGN, LOSS, learns=True)
    assert causes(found["quality"]) == ["quality:log_loss", "campaign"]
    assert found["quality"].causes[1].evidence.startswith("by a training since")
    assert causes(found["feed:feedback"]) == ["campaign"]
    other = grouped(bad("volume:telemetry", source="telemetry"), LOSS, learns=True)
    assert causes(other["quality"]) == ["quality:log_loss"]


@pytest.mark.parametrize("source", ["feedback", "telemetry"])
@pytest.mark.parametrize("kind", ["schema", "freshness", "stale", "volume", "quarantine"])
def test_a_users_source_that_fails_explains_users_and_no_loss(kind: str, source: str) -> None:
    condition = bad(f"{kind}:{source}", source=source)
    found = grouped(condition, LOSS, COMPLAINTS)
    taken = next(group for group in found.values() if condition in group.members)
    assert COMPLAINTS in taken.members and LOSS not in taken.members
    assert causes(found["quality"]) == ["quality:log_loss"]
    other = bad(f"{kind}:weather", source="weather")
    found = grouped(other, LOSS, COMPLAINTS)
    assert len(found) == 1, "weather is what scores are made of"
    assert causes(next(iter(found.values())))[0] == other.name


def test_each_cause_takes_what_it_reaches() -> None:
    slow = bad("latency:p95", "operations")
    found = grouped(slow, LOSS, COMPLAINTS)
    assert causes(found["operations:latency"]) == ["latency:p95", "complaints:price"]
    assert causes(found["quality"]) == ["quality:log_loss"]
    leak = bad("leak:memory", "operations")
    assert set(grouped(leak, LOSS)) == {"operations:leak:memory", "quality"}
    wrong = bad("served-version", "operations")
    assert causes(grouped(wrong, LOSS)["operations:served-version"]) == ["served-version", "quality:log_loss"]
    flipped = bad("labels:cohort=origin:EWR", "quality", cohort="origin:EWR")
    score = bad("output:score", "output")
    assert set(grouped(flipped, score)) == {"labels:cohort=origin:EWR", "quality"}, "labels move no score"
    assert causes(grouped(bad("lock", "dependency"), LOSS, slow)["dependency:lock"])[0] == "lock"


def test_silence_is_explained_by_an_outage_that_it_can_come_from() -> None:
    lost = [
        Signal(
            f"not-measured:{part}",
            part if part in ("quality", "users") else "data",
            "unknown",
            evidence="none",
        )
        for part in ("quality", "users", "inputs")
    ]
    found = grouped(bad("freshness:feedback", source="feedback"), *lost)
    assert [s.name for s in found["feed:feedback"].members] == ["freshness:feedback", "not-measured:users"]
    assert [s.name for s in found["not-measured"].members] == ["not-measured:inputs", "not-measured:quality"]
    found = grouped(bad("freshness:outcomes", source="outcomes"), *lost)
    assert set(found) == {"feed:outcomes"}


def test_every_kind_says_what_it_may_cause_and_an_unknown_one_goes_by_its_family() -> None:
    for word in (
        "campaign",
        "stale",
        "labels",
        "latency",
        "leak",
        "lock",
        "output",
        "quality",
        "not-measured",
    ):
        assert word in REACHES
    assert reach_of(loop(), bad("something:new", "data", source="weather"), []) == ROWS
    assert reach_of(loop(), bad("something:new", "users"), []) == frozenset()
    assert reach_of(loop(), CAMPAIGN, []) == OPINIONS
    assert effect_of(Signal("not-measured:health", "operations", "unknown")) is None


def test_a_record_is_judged_again_by_what_it_learnt_then_and_an_old_one_by_nothing() -> None:
    for known, named in (({"learns": True}, ["quality:log_loss", "campaign"]), ({}, ["quality:log_loss"])):
        record = {"signals": [s.to_json() for s in (replace(CAMPAIGN, name="volume:feedback"), LOSS)]}
        named = [name.replace("campaign", "volume:feedback") for name in named]
        record |= {"serving_since": None, "began": None, **known}
        open_ = judge_again(loop(), [], record, datetime(2013, 7, 1))["state"]["open"]
        (about,) = [i for i in open_ if i["cause"] == "quality:log_loss"]
        assert [cause["name"] for cause in about["causes"]] == named
