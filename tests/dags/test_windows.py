"""A run's dates and as-of come from its parameters, its partition or its event, never from a clock."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ratchet.loop import load_loop

LOOP = load_loop(Path(__file__).parents[2] / "loops" / "flights.yml")


def context(**kwargs: Any) -> dict[str, Any]:
    return {"params": {}, "data_interval_start": None, "logical_date": None, **kwargs}


def test_a_range_wins_over_the_partition() -> None:
    from ratchet.airflow.windows import window_of

    window = window_of(context(params={"start": "2013-05-14", "end": "2013-05-20"}), LOOP)
    assert (window.start, window.end) == (date(2013, 5, 14), date(2013, 5, 20))
    assert window.as_of == datetime(2013, 5, 21)
    own = window_of(context(data_interval_start=datetime(2013, 5, 14, tzinfo=UTC)), LOOP)
    assert (own.start, own.end) == (date(2013, 5, 14), date(2013, 5, 14))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"start": "2013-05-14"}, "give both"),
        ({"start": "2013-05-14", "end": "2013-05-13"}, "swap them"),
        ({"start": "yesterday", "end": "2013-05-13"}, "is no date"),
        ({"start": "2013-05-14'; drop table raw.schedule; --", "end": "2013-05-14"}, "is no date"),
        ({}, "has no partition"),
        ({"start": "2026-11-22", "end": "2026-11-22"}, "outside the data"),
        ({"start": "2012-01-01", "end": "2013-01-01"}, "outside the data"),
    ],
)
def test_a_bad_window_is_named(params: dict[str, str], message: str) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from ratchet.airflow.windows import window_of

    with pytest.raises(AirflowFailException, match=message):
        window_of(context(params=params), LOOP)


def test_the_as_of_is_the_latest_events() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from ratchet.airflow.windows import as_of

    events = {
        "a": [SimpleNamespace(extra={"as_of": "2013-05-14T00:00:00"}), SimpleNamespace(extra={})],
        "b": [SimpleNamespace(extra={"as_of": "2013-05-21T00:00:00"})],
    }
    assert as_of(context(triggering_asset_events=events)) == datetime(2013, 5, 21)
    assert as_of(context(params={"as_of": "2013-05-15T00:00:00"})) == datetime(2013, 5, 15)
    with pytest.raises(AirflowFailException, match="give the parameter as_of"):
        as_of(context(triggering_asset_events={}))
    with pytest.raises(AirflowFailException, match="is no time"):
        as_of(context(params={"as_of": "now()"}))


@pytest.mark.parametrize(
    ("run_type", "apply", "dry"),
    [
        ("manual", False, True),
        ("asset_materialization", False, True),
        ("manual", True, False),
        ("asset_triggered", False, False),
        ("scheduled", False, False),
    ],
)
def test_a_run_by_hand_is_dry_unless_asked(run_type: str, apply: bool, dry: bool) -> None:
    """With the run type that a task really sees: an enumeration, whose text is not its value."""
    from airflow.sdk.api.datamodels._generated import DagRunType

    from ratchet.airflow.windows import is_dry

    run = SimpleNamespace(run_type=DagRunType(run_type))
    assert is_dry(context(params={"apply": apply}, dag_run=run)) is dry


def test_a_partition_takes_the_day_before_with_it() -> None:
    from ratchet.airflow.windows import window_of

    own = context(data_interval_start=datetime(2013, 5, 14, tzinfo=UTC))
    window = window_of(own, LOOP, days_before=1)
    assert (window.start, window.end) == (date(2013, 5, 13), date(2013, 5, 14))
    given = context(params={"start": "2013-05-14", "end": "2013-05-14"})
    assert window_of(given, LOOP, days_before=1).start == date(2013, 5, 14)


def started_by(*extras: dict[str, Any], run_type: str = "asset_triggered") -> dict[str, Any]:
    events = {
        "raw_events": [SimpleNamespace(extra={"as_of": "2013-05-14T00:00:00", **extra}) for extra in extras]
    }
    return context(dag_run=SimpleNamespace(run_type=run_type), triggering_asset_events=events)


def test_a_backfill_says_so_down_the_chain_and_re_fires_nothing() -> None:
    from airflow.sdk.api.datamodels._generated import DagRunType

    from ratchet.airflow.windows import is_backfill, is_dry, passed_on, why_dry

    own = context(dag_run=SimpleNamespace(run_type=DagRunType("backfill")))
    assert is_backfill(own) and is_dry(own)
    told = passed_on(own, {"as_of": "x"})
    assert told == {"as_of": "x", "backfill": True}
    only = started_by(told, told)
    assert is_backfill(only) and "a backfill decides nothing" in str(why_dry(only))
    assert passed_on(only, {}) == {"backfill": True}
    only["params"] = {"apply": True}
    assert not is_dry(only), "unless asked"


def test_a_regular_event_among_a_backfills_makes_the_run_a_regular_one() -> None:
    from ratchet.airflow.windows import is_backfill, is_dry, passed_on

    mixed = started_by({"backfill": True}, {})
    assert not is_backfill(mixed) and not is_dry(mixed)
    assert passed_on(mixed, {"as_of": "x"}) == {"as_of": "x"}
    assert not is_backfill(context(dag_run=SimpleNamespace(run_type="scheduled")))
