"""The routing file says what it must, and the real flagd provider reads the same arms out of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest

from ratchet.experiment.admission import Admission
from ratchet.experiment.assignment import assign
from ratchet.scoring.routing import KeptVersion, Routing, RoutingError, read_routing, write_routing
from ratchet.settings import Settings, load_settings

TRIAL = Routing(
    "flights",
    1,
    "a" * 64,
    datetime(2013, 5, 21),
    "look:x",
    experiment_id="flights-v2-20130514",
    challenger_version=2,
    challenger_sha256="b" * 64,
    stage="canary_5",
    share=0.05,
)
HELD = replace(
    TRIAL, champion_version=2, champion_sha256="b" * 64, challenger_version=None, challenger_sha256=None,
    stage="holdback", holdback_version=1, holdback_sha256="a" * 64,
)  # fmt: skip
PLAIN = Routing("flights", 1, "a" * 64, datetime(2013, 5, 21), "bootstrap:x")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(load_settings({}), home=tmp_path)


ADMISSION = Admission.of({"origin": ["JFK"]}, {"origin=LGA": "too few"}, date(2013, 5, 21))


@pytest.mark.parametrize(
    "routing",
    [
        replace(TRIAL, admission=ADMISSION, kept=(KeptVersion(3, "c" * 64, ADMISSION),)),
        TRIAL,
        PLAIN,
        HELD,
        replace(TRIAL, stage="shadow", share=0.0),
        replace(TRIAL, share=0.5),
    ],
)
def test_what_is_written_is_read(settings: Settings, routing: Routing) -> None:
    write_routing(settings, routing)
    assert read_routing(settings, "flights") == routing


def test_no_file_and_a_foreign_file_are_named(settings: Settings) -> None:
    with pytest.raises(RoutingError, match="has no champion"):
        read_routing(settings, "flights")
    settings.routing_dir.mkdir()
    (settings.routing_dir / "flights.flagd.json").write_text('{"flags": {"x": {}}}')
    with pytest.raises(RoutingError, match="not a routing file of Ratchet"):
        read_routing(settings, "flights")


def test_each_arm_has_its_version() -> None:
    arms = ("challenger", "rest", "control")
    assert [TRIAL.version_of(arm) for arm in arms] == [2, 1, 1]
    assert [HELD.version_of(arm) for arm in arms] == [2, 2, 1]
    assert [PLAIN.version_of(arm) for arm in arms] == [1, 1, 1]
    assert TRIAL.other() == (2, "b" * 64)
    assert HELD.other() == (1, "a" * 64)
    assert PLAIN.other() is None


def test_control_is_as_large_as_challenger() -> None:
    assert TRIAL.variants() == (("challenger", 50), ("rest", 900), ("control", 50))
    assert replace(TRIAL, share=0.5).variants() == (("challenger", 500), ("control", 500))
    assert replace(TRIAL, share=0.0).variants() == (("rest", 1000),)


def test_flagd_reads_the_same_arms_from_the_file(settings: Settings) -> None:
    pytest.importorskip(
        "openfeature.contrib.provider.flagd", reason="the OpenFeature flagd provider is not installed"
    )
    from openfeature import api
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType
    from openfeature.evaluation_context import EvaluationContext

    write_routing(settings, TRIAL)
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE,
        offline_flag_source_path=str(settings.routing_dir / "flights.flagd.json"),
    )
    api.set_provider_and_wait(provider)
    client = api.get_client()
    units = [f"UA{n}-EWR-20130521-{n % 2400:04d}" for n in range(3000)]
    arms = assign(units, TRIAL.flag_key(), TRIAL.variants())
    found = [
        client.get_integer_details(TRIAL.flag_key(), -1, EvaluationContext(targeting_key=unit))
        for unit in units
    ]
    api.shutdown()
    assert [detail.variant for detail in found] == list(arms)
    assert {d.value for d in found if d.variant == "challenger"} == {2}
    assert {d.value for d in found if d.variant != "challenger"} == {1}
