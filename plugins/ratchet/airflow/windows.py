"""What a run is about: its received dates and its as-of, from the partition, the parameters or the event.

No clock is read: a run that says none of the three ends with an error that names what to give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from ratchet.loop import Loop
    from ratchet.stages.jobs import Wanted

#: Schedules are received some days before the data's first departure, answers some weeks after its last.
MARGIN = timedelta(days=31)


@dataclass(frozen=True)
class Window:
    """Received dates, both inclusive, and the moment after the last of them (UTC, naive)."""

    start: date
    end: date

    @property
    def as_of(self) -> datetime:
        return datetime.combine(self.end + timedelta(days=1), time.min)


def _date(params: Mapping[str, Any], name: str) -> date:
    try:
        return date.fromisoformat(str(params[name]))
    except ValueError:
        raise AirflowFailException(
            f"parameter {name}={params[name]!r} is no date; give one that exists, as YYYY-MM-DD"
        ) from None


def window_of(context: Mapping[str, Any], loop: Loop, *, days_before: int = 0) -> Window:
    """The run's range of received dates: its parameters `start` and `end`, else its partition.

    `days_before` widens a partition's window to earlier days: files of a day that came after its run, the
    predictions made on it among them, are landed with the next one.

    Raises:
        AirflowFailException: no range and no partition, a malformed or reversed range, or one beyond the data.
    """
    window = _window(context)
    if not context["params"].get("start"):
        window = Window(window.start - timedelta(days=days_before), window.end)
    span = loop.data_span
    first = span.start - MARGIN
    last = date.max if span.end is None else span.end + MARGIN
    if window.start < first or window.end > last:
        raise AirflowFailException(
            f"{window.start} to {window.end} lies outside the data of loop {loop.loop} ({span.start} to {span.end}); "
            "give the parameters start and end"
        )
    return window


def _window(context: Mapping[str, Any]) -> Window:
    params = context["params"]
    given = [name for name in ("start", "end") if params.get(name)]
    if len(given) == 1:
        raise AirflowFailException(
            f"parameter {given[0]} is given alone; give both start and end, or neither"
        )
    if given:
        window = Window(_date(params, "start"), _date(params, "end"))
        if window.start > window.end:
            raise AirflowFailException(f"start {window.start} is after end {window.end}; swap them")
        return window
    partition = context.get("data_interval_start") or context.get("logical_date")
    if partition is None:
        raise AirflowFailException("the run has no partition; give the parameters start and end")
    return Window(partition.date(), partition.date())


def as_of(context: Mapping[str, Any]) -> datetime:
    """The run's as-of (UTC, naive): its parameter, else the latest of its triggering events."""
    given = context["params"].get("as_of")
    if given:
        try:
            return datetime.fromisoformat(given).replace(tzinfo=None)
        except ValueError:
            raise AirflowFailException(
                f"parameter as_of={given!r} is no time; give YYYY-MM-DDTHH:MM:SS"
            ) from None
    found = [
        datetime.fromisoformat(event.extra["as_of"])
        for events in (context.get("triggering_asset_events") or {}).values()
        for event in events
        if event.extra.get("as_of")
    ]
    if not found:
        raise AirflowFailException(
            "the run was started by no event that carries an as-of; give the parameter as_of"
        )
    return max(found)


def is_backfill(context: Mapping[str, Any]) -> bool:
    """Whether the run only mends the past: a backfill's own run, or one that nothing but such runs started."""
    if _kind(context) == "backfill":
        return True
    started_by = [
        event for events in (context.get("triggering_asset_events") or {}).values() for event in events
    ]
    return bool(started_by) and all(event.extra.get("backfill") for event in started_by)


def passed_on(context: Mapping[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """What an event of this run carries: `extra`, and that it is a backfill's, if it is."""
    return {**extra, "backfill": True} if is_backfill(context) else extra


def why_dry(context: Mapping[str, Any]) -> str | None:
    """Why the run must not change what users get, or None: started by hand or by a backfill, without `apply`."""
    if context["params"].get("apply", False):
        return None
    if is_backfill(context):
        return "a backfill decides nothing for the past; the next regular run sees its rows"
    if _kind(context) not in ("scheduled", "asset_triggered"):
        return "a run by hand decides nothing and starts nothing; set the parameter apply"
    return None


def is_dry(context: Mapping[str, Any]) -> bool:
    """Whether the run must not change what users get."""
    return why_dry(context) is not None


def _kind(context: Mapping[str, Any]) -> str:
    kind = context["dag_run"].run_type
    return str(getattr(kind, "value", kind))


def wanted(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a training run was started for, as plain data (it travels to the triggerer)."""
    params = context["params"]
    requests = [
        event.extra["request"]
        for events in (context.get("triggering_asset_events") or {}).values()
        for event in events
        if event.extra.get("request")
    ]
    return {
        "mode": params.get("mode", "retrain"),
        "as_of": as_of(context).isoformat() if params.get("as_of") else None,
        "request": requests[-1] if requests else None,
        "is_dry": is_dry(context),
    }


def wanted_from(plain: Mapping[str, Any]) -> Wanted:
    """The typed form of `windows.wanted`."""
    from ratchet.stages.jobs import Wanted

    as_of = plain["as_of"]
    return Wanted(
        mode=plain["mode"],
        as_of=None if as_of is None else datetime.fromisoformat(as_of),
        request=plain["request"],
        is_dry=bool(plain["is_dry"]),
    )
