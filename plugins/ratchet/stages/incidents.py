"""Judge incidents from a health record, keep them in the ledger, publish them, mute them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from ratchet.incidents.judge import Incident, Mute, judge_incidents
from ratchet.incidents.signals import Signal, signals_of
from ratchet.ledger.chain import Entry
from ratchet.ledger.incident_entries import last_state, mutes_of
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.published import publish, read
from ratchet.settings import Settings
from ratchet.stages.monitor import NotMeasured
from ratchet.stages.records import ledger_of

Log = Callable[[str], None]
CLOSED_SHOWN = 50
#: Said at each measurement, so that the incident of a silence ends with the next record.
MEASURED = "not-measured:health"
#: Parts of a loop file that an incident follows from.
TERMS = {"monitoring", "owner"}


class CannotMute(RuntimeError):
    """No such incident is open, or the mute has no reason or no end to come; nothing was recorded."""


def judge(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Judge the incidents of the health record of `as_of`, once; how many are open, and what happened.

    Raises:
        NotMeasured: there is no health record of `as_of`.
    """
    entries = ledger_of(settings).entries(loop.loop)
    health = next((e for e in entries if e.key == f"health:{as_of.isoformat()}"), None)
    if health is None:
        raise NotMeasured(f"no health record of loop {loop.loop} for {as_of}: run measure_health first")
    signals = [*signals_of(loop, health.payload), Signal(MEASURED, "data", "ok"), _held(entries, as_of)]
    known = {signal.name: signal for signal in signals}
    return _judged(settings, loop, entries, list(known.values()), as_of, health, log)


def watch(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Open an incident when the newest health record is older than the loop file allows at `as_of`."""
    entries = ledger_of(settings).entries(loop.loop)
    if fold(entries).champion_version is None:
        log(f"loop {loop.loop} has no champion: there is nothing to measure")
        return {"open": 0, "events": []}
    measured = [e for e in entries if e.kind == "health"]
    began = next(e for e in entries if e.kind == "bootstrap")
    newest = datetime.fromisoformat((measured[-1] if measured else began).as_of)
    limit = timedelta(hours=loop.monitoring.alerts.silent_after_hours)
    hours = (as_of - newest).total_seconds() / 3600
    if as_of - newest <= limit:
        log(f"health was measured as of {newest}")
        return {"open": len(last_state(entries).open), "events": []}
    signal = Signal(
        MEASURED, "data", "unknown", round(hours, 1), limit.total_seconds() / 3600,
        evidence=f"the newest health record is as of {newest}, {hours:.0f} hours before",
    )  # fmt: skip
    return _judged(settings, loop, entries, [signal], as_of, None, log)


def _held(entries: Sequence[Entry], as_of: datetime) -> Signal:
    """Whether the last urgent decision found nothing to go back to."""
    held = [e for e in entries if e.kind == "urgent_held"]
    champion = fold(entries).champion_version
    if held and held[-1].payload["version"] == champion and held[-1].as_of <= as_of.isoformat():
        return Signal("quality:urgent-held", "quality", "alert", evidence=held[-1].payload["reason"])
    return Signal("quality:urgent-held", "quality", "ok")


def _judged(
    settings: Settings,
    loop: Loop,
    entries: Sequence[Entry],
    signals: list[Signal],
    as_of: datetime,
    health: Entry | None,
    log: Log,
) -> dict[str, Any]:
    ledger = ledger_of(settings)
    key = f"incidents:{as_of.isoformat()}" + ("" if health is not None else ":silence")
    entry = ledger.find(loop.loop, key)
    if entry is None:
        previous = next((e for e in reversed(entries) if e.kind == "incident"), None)
        if previous is not None and previous.as_of > as_of.isoformat():
            raise NotMeasured(f"incidents were judged as of {previous.as_of}: the past opens none")
        since = fold(entries).champion_since
        first = next((datetime.fromisoformat(e.as_of) for e in entries if e.kind == "bootstrap"), None)
        learns = loop.feedback.learn.weights is not None or loop.feedback.learn.labels is not None
        after, events = judge_incidents(
            loop,
            last_state(entries),
            signals,
            as_of,
            mutes=mutes_of(entries),
            serving_since=since,
            began=first,
            learns=learns,
        )
        entry = ledger.append(
            loop=loop.loop, kind="incident", key=key, as_of=as_of,
            payload={
                "events": [event.to_json() for event in events], "state": after.to_json(),
                "signals": [s.to_json() for s in signals], "health": None if health is None else health.hash,
                "serving_since": since, "began": first, "learns": learns, "after": entries[-1].hash,
                "terms": loop.model_dump(mode="json", include=TERMS),
            },
        )  # fmt: skip
    publish_incidents(settings, loop)
    for event in entry.payload["events"]:
        log(f"incident {event['incident']} {event['what']} ({event['severity']}): {event['detail']}")
    found = entry.payload["state"]["open"]
    return {"open": len(found), "events": [f"{e['what']} {e['incident']}" for e in entry.payload["events"]]}


def mute(settings: Settings, loop: Loop, incident: str, until: date, reason: str, by: str) -> Entry:
    """Tell nobody of `incident` until the end of `until`; it stays visible.

    Raises:
        CannotMute: it is not open, the reason is empty, or `until` lies before the last judgement.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    judged = next((e for e in reversed(entries) if e.kind == "incident"), None)
    known = [item.id for item in last_state(entries).open]
    if judged is None or incident not in known:
        raise CannotMute(f"incident {incident!r} is not open; open are: {', '.join(known) or 'none'}")
    if not reason.strip():
        raise CannotMute("a mute needs a reason: it is kept in the ledger")
    if until.isoformat() < judged.as_of[:10]:
        raise CannotMute(
            f"{until} lies before {judged.as_of[:10]}, the day of the last judgement: give a later day"
        )
    number = sum(e.kind == "incident_muted" and e.payload["incident"] == incident for e in entries)
    entry = ledger.append(
        loop=loop.loop, kind="incident_muted", key=f"muted:{incident}:{number + 1}",
        as_of=datetime.fromisoformat(judged.as_of), actor=by,
        payload={"incident": incident, "until": until.isoformat(), "reason": reason.strip(), "by": by},
    )  # fmt: skip
    publish_incidents(settings, loop)
    return entry


def shown(item: Incident, mutes: dict[str, Mute], today: str, notified: dict[str, str]) -> dict[str, Any]:
    """An incident as pages and the terminal show it, with a mute that came after it was judged."""
    found = item.to_json()
    said = mutes.get(item.id)
    if said is not None and said.until.isoformat() >= today:
        found |= {"muted_until": said.until.isoformat(), "mute_reason": said.reason}
    return {**found, "members": sorted(item.members), "last_notified": notified.get(item.id)}


def listed(entries: Sequence[Entry]) -> dict[str, Any]:
    """Open incidents, most pressing first, the last closed ones, and the open ones that are muted."""
    judged = [e for e in entries if e.kind == "incident"]
    if not judged:
        return {"as_of": None, "open": [], "closed": [], "muted": []}
    today, mutes = judged[-1].as_of[:10], {m.incident: m for m in mutes_of(entries)}
    notified = {e.payload["incident"]: e.as_of for e in entries if e.kind == "notice_sent"}
    last: dict[str, Incident] = {}
    closed: list[dict[str, Any]] = []
    for entry in judged:
        for event in entry.payload["events"]:
            if event["what"] in ("closed", "merged") and event["incident"] in last:
                gone = shown(last[event["incident"]], {}, today, notified)
                closed.append({**gone, "closed_on": entry.as_of[:10]})
        last |= {item["id"]: Incident.from_json(item) for item in entry.payload["state"]["open"]}
    now = [shown(item, mutes, today, notified) for item in last_state(entries).open]
    return {
        "as_of": judged[-1].as_of,
        "open": [item for item in now if not item["muted_until"]],
        "closed": closed[-CLOSED_SHOWN:],
        "muted": [item for item in now if item["muted_until"]],
    }


def publish_incidents(settings: Settings, loop: Loop) -> None:
    """Publish what `listed` says."""
    publish(settings, loop.loop, "incidents", listed(ledger_of(settings).entries(loop.loop)))


def told(settings: Settings, loop: Loop) -> list[tuple[str, str]]:
    """Lines of `ratchet status`: open incidents, most pressing first, then muted ones."""
    found = read(settings, loop.loop, "incidents")
    if found is None:
        return []
    lines = [
        (
            "incident",
            f"{item['severity']}, {item['id']}, since {item['opened_on']}: {item['title']}; {item['runbook']}",
        )
        for item in found["open"]
        if item["severity"] != "note"
    ]
    notes = [item["id"] for item in found["open"] if item["severity"] == "note"]
    lines += [("noted", ", ".join(notes))] if notes else []
    lines += [
        ("muted", f"{item['id']} until {item['muted_until']}: {item['mute_reason']}")
        for item in found["muted"]
    ]
    return lines
