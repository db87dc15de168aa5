"""Who has to be told of what happened to an incident, once: the outbox.

A notice is written to the ledger before it is sent, and once more when it was. A run that died in between sends it
again with the same message id, by which a mail server or a webhook's receiver knows it. What must stay out of here:
servers and secrets; `deliver` is given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.loop_alerts import SEVERITIES, NotifyChannel
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of

Log = Callable[[str], None]
#: Sends one notice through one channel; raises when it was not taken.
Deliver = Callable[[NotifyChannel, dict[str, Any]], None]
#: How many judgements back a notice is still written: those of runs whose sending failed altogether.
LOOKS = 3
TOLD = ("opened", "raised", "closed", "unmuted")


class NotTold(RuntimeError):
    """Some notices were not taken; they are sent again by the next try."""


def message_id(loop: str, key: str) -> str:
    """The same for the same notice, whoever sends it and when."""
    return f"<{hashlib.sha256(f'{loop}:{key}'.encode()).hexdigest()[:32]}@ratchet>"


def plan(settings: Settings, loop: Loop, log: Log) -> int:
    """Write down who has to be told of what was judged last; how many notices there are.

    A channel that is named today is not told of last month. Muted incidents are told to nobody, and an end only to
    those who were told of the beginning.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop, ["incident", "notice"])
    told = {(e.payload["incident"], e.payload["channel"]) for e in entries if e.kind == "notice"}
    count = 0
    judged = [e for e in entries if e.kind == "incident"][-LOOKS:]
    muted = {i["id"] for e in judged[-1:] for i in e.payload["state"]["open"] if i["muted_until"]}
    for number, entry in enumerate(judged):
        again = {
            e["incident"]
            for later in judged[number + 1 :]
            for e in later.payload["events"]
            if e["what"] == "unmuted"
        }
        items = {item["id"]: item for item in entry.payload["state"]["open"]}
        for event in entry.payload["events"]:
            item = items.get(event["incident"], {})
            if event["what"] not in TOLD or item.get("muted_until") or event["incident"] in muted | again:
                continue
            for channel in loop.monitoring.notify:
                name = _name(channel)
                if event["what"] == "closed" and (event["incident"], name) not in told:
                    continue
                if SEVERITIES.index(event["severity"]) < SEVERITIES.index(channel.at_least):
                    continue
                key = f"notice:{event['incident']}:{event['what']}:{event['severity']}:{name}:{entry.as_of}"
                ledger.append(
                    loop=loop.loop, kind="notice", key=key[:200], as_of=datetime.fromisoformat(entry.as_of),
                    payload={"incident": event["incident"], "channel": name, **_content(loop, event, item, key[:200])},
                )  # fmt: skip
                count += 1
    log(f"{count} notices")
    return count


def failed_task(
    settings: Settings, loop: Loop, *, dag: str, run: str, task: str, error: str, as_of: datetime
) -> None:
    """Write down that on-call has to be told of a failed task, once for a run and task."""
    for channel in loop.monitoring.notify:
        digest = hashlib.sha256(f"{dag}:{run}:{task}:{_name(channel)}".encode()).hexdigest()[:16]
        key = f"notice:task:{dag}:{task}:{digest}"
        subject = f"[{loop.loop}] task {dag}.{task} failed"
        text = (
            f"{subject}\nrun {run}\n{error}\n\nOwner: {loop.owner.contact}. `ratchet status` says what waits."
        )
        ledger_of(settings).append(
            loop=loop.loop, kind="notice", key=key, as_of=as_of,
            payload={
                "incident": f"task:{dag}.{task}", "channel": _name(channel), "subject": subject, "text": text,
                "severity": "high", "what": "failed", "message_id": message_id(loop.loop, key), "also": [],
            },
        )  # fmt: skip


def send(settings: Settings, loop: Loop, deliver: Deliver, log: Log) -> dict[str, int]:
    """Send every notice that was not sent yet; how many were, and how many are left for channels that are gone.

    Raises:
        NotTold: a channel did not take one; the others were sent.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop, ["notice", "notice_sent"])
    channels = {_name(channel): channel for channel in loop.monitoring.notify}
    done, gone, problems = 0, 0, []
    for notice in _unsent(entries):
        channel = channels.get(notice.payload["channel"])
        if channel is None:
            gone += 1
            continue
        try:
            deliver(channel, notice.payload)
        except Exception as failed:
            # The message of a client may quote an address with its secret.
            problems.append(f"{notice.key} by {channel.kind} {channel.connection}: {type(failed).__name__}")
            continue
        ledger.append(
            loop=loop.loop, kind="notice_sent", key=f"sent:{message_id(loop.loop, notice.key)}",
            as_of=datetime.fromisoformat(notice.as_of),
            payload={"notice": notice.key, "incident": notice.payload["incident"]},
        )  # fmt: skip
        done += 1
        log(f"told {channel.kind} {channel.connection}: {notice.payload['subject']}")
    if problems:
        raise NotTold(
            f"{len(problems)} of {len(problems) + done} notices were not taken: {'; '.join(problems[:3])}"
        )
    return {"sent": done, "without_channel": gone}


def _unsent(entries: Sequence[Entry]) -> list[Entry]:
    sent = {e.payload["notice"] for e in entries if e.kind == "notice_sent"}
    return [e for e in entries if e.kind == "notice" and e.key not in sent]


def _name(channel: NotifyChannel) -> str:
    return f"{channel.kind}:{channel.connection}"


def _content(loop: Loop, event: dict[str, Any], item: dict[str, Any], key: str) -> dict[str, Any]:
    what = {"opened": "new", "raised": "worse", "closed": "closed", "unmuted": "still open"}[event["what"]]
    lines = [event["detail"]]
    for cause in item.get("causes", [])[:3]:
        lines.append(f"- {cause['name']}: {cause['evidence']}")
    if item:
        lines += [
            f"open since {item['opened_on']}; impact {item['impact']:.2f}, risk {item['risk']:.2f}, "
            f"about {item['hours_to_fix']:g} h to mend",
            f"owner {item['owner']}, then {item['escalation']}",
            f"what to do: {item['runbook']}",
            f"ratchet incident show {item['id']}",
        ]
    critical = event["severity"] == "critical" and event["what"] != "closed"
    return {
        "what": event["what"],
        "severity": event["severity"],
        "subject": f"[{loop.loop}] {what}, {event['severity']}: {item.get('cause') or event['incident']}",
        "text": "\n".join(lines),
        "message_id": message_id(loop.loop, key),
        "also": [loop.owner.escalation] if critical and "@" in loop.owner.escalation else [],
    }
