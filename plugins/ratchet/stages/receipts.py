"""Receipts for people: written once a person and period into the outbox, then sent through the loop's channel.

What must stay out of here: servers and secrets; `deliver` is given. A run that died while it sent sends that receipt
again under the same message id, by which the receiver knows it; one that is marked sent is never sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.feedback import receipts as words
from ratchet.feedback.receipts import Contribution, Day, Trend
from ratchet.landing.people import key_of, person_key
from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.loop_privacy import ReceiptChannel
from ratchet.settings import Settings
from ratchet.stages.forget_rows import contracts_with_people, ensure
from ratchet.stages.records import ledger_of
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse, WarehouseError

Log = Callable[[str], None]
#: Sends one receipt (person, subject, body, message_id); raises when it was not taken.
Deliver = Callable[[ReceiptChannel, dict[str, Any]], None]
_OUTBOX = (
    "loop", "person", "period_start", "period_end", "contributions", "templates", "subject", "body", "message_id",
    "state", "channel", "as_of",
)  # fmt: skip
#: People in one transaction: each that is written alone waits for the disk.
_CHUNK = 500
#: The category of an answer: what its words were understood as today, else what its sender ticked.
_UNDERSTOOD = (
    "left join (select x.loop, x.feedback_id, x.row_hash, max(x.category) as category "
    "from ops.feedback_enrichment as x inner join ops.enrichment_versions as v on v.loop = x.loop "
    "and v.enrichment_version = x.enrichment_version and v.is_current "
    "where x.category not in ('unsure', 'unknown') group by x.loop, x.feedback_id, x.row_hash) as e "
    "on e.loop = f.loop and e.feedback_id = f.feedback_id and e.row_hash = f.row_hash "
)
TITLES = {
    "false_reassurance": "a delay that we did not warn you of",
    "false_alarm": "a warning that did not come true",
    "late_alert": "a warning that came too late",
    "wrong_flight": "a forecast for another flight",
    "app_problem": "the app",
    "price": "the price",
    "praise": "what went well",
}


class NotSent(RuntimeError):
    """Some receipts were not taken; they are sent again by the next run."""


def last_period(loop: Loop, as_of: datetime) -> tuple[date, date] | None:
    """The last period that `receipts.wait_days` have passed since: first and last received date; None before the
    first has."""
    length = loop.receipts.period_days
    done = (as_of.date() - loop.data_span.start).days - loop.receipts.wait_days
    done //= length
    if done < 1:
        return None
    first = loop.data_span.start + timedelta(days=(done - 1) * length)
    return first, first + timedelta(days=length - 1)


def write(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Write the receipts of the last whole period; those that are there stay as they are. Counts.

    Raises:
        FileNotFoundError: there are no words in the loop's language.
        WarehouseError: nothing was built yet.
    """
    period = last_period(loop, as_of)
    if period is None:
        return {"written": 0, "known": 0, "period": None}
    template = template_of(settings, loop)
    taxonomy = loop.feedback.taxonomy
    own_titles = {} if taxonomy is None else {name: c.title for name, c in taxonomy.categories.items()}
    titles = {name: f'"{title}"' for name, title in own_titles.items()} | TITLES
    with open_warehouse(settings, purpose=f"receipts of {loop.loop}") as wh:
        key_of(settings, wh, ensure(settings, loop, wh).values())
        answers = _answers(wh, loop, period)
        trends = _trends(wh, loop, period, as_of)
        done = _Done.of(ledger_of(settings).entries(loop.loop))
        rows = answers.sort_values("user_id", kind="stable").to_dict("records")
        people = [(str(person), list(own)) for person, own in groupby(rows, key=itemgetter("user_id"))]
        written = 0
        for at in range(0, len(people), _CHUNK):
            with wh.transaction(), wh.lock(f"people:{loop.loop}", shared=True):
                known, outbox = _known(wh, loop, period), []
                for person, own in people[at : at + _CHUNK]:
                    if person in known:
                        continue
                    receipt = words.write(
                        template, loop.receipts.templates, goal=loop.goal, period=period,
                        contributions=[_contribution(loop, done, row) for row in own],
                        titles=titles, trends=trends, has_waited=loop.receipts.wait_days > 0,
                    )  # fmt: skip
                    is_sent = _may_contact(loop, own) and loop.receipts.channel is not None
                    outbox.append(
                        (
                            loop.loop, person, *period, len(own), receipt.templates, receipt.subject, receipt.body,
                            words.message_id(loop.loop, person, period[0]), "waiting" if is_sent else "kept",
                            None, as_of,
                        )
                    )  # fmt: skip
                # The key refuses a receipt that another run wrote meanwhile: this one fails, and the next finds it.
                if outbox:
                    wh.append("ops.receipts_outbox", pd.DataFrame(outbox, columns=list(_OUTBOX)))
                    written += len(outbox)
            log(f"receipts: {min(at + _CHUNK, len(people))} of {len(people)} people")
    known_people = len(people) - written
    log(f"receipts {period[0]} to {period[1]}: {written} written, {known_people} known or not wanted")
    return {"written": written, "known": known_people, "period": [day.isoformat() for day in period]}


def send(settings: Settings, loop: Loop, deliver: Deliver, log: Log) -> dict[str, int]:
    """Send what waits, at most `receipts.per_run`; how many were sent, and how many still wait.

    Raises:
        NotSent: the channel did not take one; the others were sent.
    """
    channel = loop.receipts.channel
    if channel is None:
        return {"sent": 0, "waiting": 0}
    key = (loop.loop,)
    with open_warehouse(settings, purpose=f"receipts of {loop.loop}") as wh:
        ensure(settings, loop, wh)
        waiting = wh.frame(
            "select person, period_start from ops.receipts_outbox where loop = ? and state in ('waiting', 'sending') "
            "order by case when state = 'sending' then 0 else 1 end, period_start, person",
            key,
        )
    sent, problems = 0, []
    for person, start in list(waiting.itertuples(index=False))[: loop.receipts.per_run]:
        day = pd.Timestamp(start).date()
        # Read at the last moment: who was forgotten meanwhile has no receipt any more.
        found = _mark(settings, loop, str(person), day, "sending", None)
        if found is None:
            continue
        try:
            deliver(channel, found)
        except Exception as failed:
            # The message of a client may quote an address with its secret.
            problems.append(f"{person} by {channel.kind} {channel.connection}: {type(failed).__name__}")
            continue
        _mark(settings, loop, str(person), day, "sent", f"{channel.kind}:{channel.connection}")
        sent += 1
    log(f"{sent} receipts sent, {len(waiting) - sent} wait")
    if problems:
        raise NotSent(f"{len(problems)} receipts were not taken: {'; '.join(problems[:3])}")
    return {"sent": sent, "waiting": len(waiting) - sent}


def receipts_of(settings: Settings, loop: Loop, user: str) -> tuple[str, list[dict[str, Any]]]:
    """The person's pseudonym and receipts, oldest first; `user` is their id or their pseudonym."""
    person = person_key(settings).pseudonym(loop.loop, user)
    with open_warehouse(settings, purpose=f"receipts of {loop.loop}") as wh:
        ensure(settings, loop, wh)
        key_of(settings, wh, contracts_with_people(settings, loop).values())
        rows = wh.frame(
            "select period_start, period_end, contributions, templates, subject, body, state, channel "
            "from ops.receipts_outbox where loop = ? and person = ? order by period_start",
            (loop.loop, person),
        )
    for name in ("period_start", "period_end"):
        rows[name] = pd.to_datetime(rows[name]).dt.date.astype(str)
    plain = rows.astype(object).where(rows.notna(), None)
    return person, [{str(k): v for k, v in row.items()} for row in plain.to_dict("records")]


def template_of(settings: Settings, loop: Loop) -> str:
    """The words: loops/templates/<loop>_receipt_<language>.txt, else those that come with Ratchet.

    Raises:
        FileNotFoundError: neither is there; the message names both.
    """
    own = settings.loops_dir / "templates" / f"{loop.loop}_receipt_{loop.receipts.templates}.txt"
    ours = Path(words.__file__).with_name(f"receipt_{loop.receipts.templates}.txt")
    for path in (own, ours):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise FileNotFoundError(f"no words for receipts: write {own} (or set receipts.templates: en)")


def _mark(
    settings: Settings, loop: Loop, person: str, day: date, state: str, channel: str | None
) -> dict[str, Any] | None:
    key = (loop.loop, person, day)
    where = "where loop = ? and person = ? and period_start = ?"
    with open_warehouse(settings, purpose=f"receipts of {loop.loop}") as wh, wh.transaction():
        rows = wh.frame(f"select person, subject, body, message_id from ops.receipts_outbox {where}", key)  # noqa: S608
        if rows.empty:
            return None
        wh.execute(f"update ops.receipts_outbox set state = ?, channel = ? {where}", (state, channel, *key))  # noqa: S608
    return {str(name): value for name, value in rows.iloc[0].items()}


def _answers(wh: Warehouse, loop: Loop, period: tuple[date, date]) -> pd.DataFrame:
    """The newest version of each named answer of the period, with what became of it."""
    built = "select count(*) from information_schema.tables where table_schema = ? and table_name = ?"
    if not wh.scalar(built, ("marts", "fct_feedback")):
        raise WarehouseError("nothing was built yet: what became of an answer is not known (build_warehouse)")
    return wh.frame(
        "with ranked as (select f.*, coalesce(e.category, f.category) as understood, "  # noqa: S608
        "row_number() over (partition by f.feedback_id order by f.received_at desc, "
        "f.row_hash desc) as version_rank from raw.feedback as f "
        + _UNDERSTOOD
        + "where f.loop = ? and f.user_id is not null and f.received_date between ? and ?) "
        "select r.user_id, r.feedback_id, r.unit_id, r.channel, r.understood as category, r.consent, r.received_at, "
        "a.experiment_id, a.model_version, a.is_in_window from ranked as r left join marts.fct_feedback as a "
        "on a.loop = r.loop and a.feedback_id = r.feedback_id where r.version_rank = 1 "
        "order by r.user_id, r.received_at, r.feedback_id",
        (loop.loop, *period),
    )


@dataclass(frozen=True)
class _Done:
    """What the ledger says became of answers: experiment -> its last look's key, experiment -> its challenger, and the
    trainings whose model was offered, oldest first, with the version."""

    looks: Mapping[str, str]
    challengers: Mapping[str, int]
    trainings: Sequence[tuple[datetime, int]]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> _Done:
        offers = {
            e.payload["request"]: int(e.payload.get("model_version") or e.payload["challenger_version"])
            for e in entries
            if e.kind in ("bootstrap", "rollout_started")
        }
        return cls(
            {str(e.payload["experiment_id"]): e.key for e in entries if e.kind == "rollout_decision"},
            {
                str(e.payload["experiment_id"]): int(e.payload["challenger_version"])
                for e in entries
                if e.kind == "rollout_started"
            },
            [
                (datetime.fromisoformat(e.as_of), offers[e.payload["request"]])
                for e in entries
                if e.kind == "training" and e.payload["request"] in offers
            ],
        )


def _known(wh: Warehouse, loop: Loop, period: tuple[date, date]) -> set[str]:
    """Who has a receipt of the period already, or asked to be forgotten."""
    found = wh.frame(
        "select person from ops.forgotten_people where loop = ? union "
        "select person from ops.receipts_outbox where loop = ? and period_start = ?",
        (loop.loop, loop.loop, period[0]),
    )
    return set(found["person"])


def _contribution(loop: Loop, done: _Done, row: dict[Any, Any]) -> Contribution:
    in_window, experiment, version = row["is_in_window"], row["experiment_id"], row["model_version"]
    placed = not pd.isna(in_window)
    decided = None
    if placed and bool(in_window) and isinstance(experiment, str) and experiment:
        decided = done.looks.get(experiment)
    consent = row["consent"] if isinstance(row["consent"], str) else None
    use: words.Use = "unplaced" if not placed else "late" if not in_window else "watched"
    told = None if not placed else int(version)
    if decided is not None and experiment in done.challengers:
        use, told = "decided", done.challengers[experiment]
    return Contribution(
        received_on=pd.Timestamp(row["received_at"]).date(),
        channel=str(row["channel"]),
        category=row["category"] if isinstance(row["category"], str) else None,
        use=use,
        model_version=told,
        decision=decided,
        may_train=None if consent is None else "use_for_training" in consent,
        trained_version=_learnt_by(loop, done, pd.Timestamp(row["received_at"]).to_pydatetime(), consent),
    )


def _learnt_by(loop: Loop, done: _Done, received_at: datetime, consent: str | None) -> int | None:
    """The first version whose training rows count an answer of then, if the loop's features count answers.

    A row counts it from the day after, and is trained on once its label window is closed.
    """
    learn = loop.feedback.learn
    if not learn.complaints or (consent is not None and "use_for_training" not in consent):
        return None
    counted = datetime.combine(received_at.date() + timedelta(days=1), time.min)
    known = counted + timedelta(days=1, hours=loop.label.maturity_hours)
    return next((version for as_of, version in done.trainings if known <= as_of), None)


def _may_contact(loop: Loop, own: Sequence[Mapping[Any, Any]]) -> bool:
    """What the person said last counts; of somebody who was never asked, what the loop file says."""
    said = [row["consent"] for row in own if isinstance(row["consent"], str)]
    return "contact" in said[-1].split("+") if said else loop.receipts.without_consent == "answer"


def _trends(wh: Warehouse, loop: Loop, period: tuple[date, date], as_of: datetime) -> dict[str, Trend]:
    """By category, whether its share of answers changed: from the period to the days waited since, or, without
    waiting, from the period before to this one.

    Answers count by the weight that was said of them by `as_of`, and in the last version received by then: a campaign
    tells nobody that a problem grew.
    """
    length, waited = timedelta(days=loop.receipts.period_days), timedelta(days=loop.receipts.wait_days)
    first, middle, last = period[0] - length, period[0], period[1]
    if waited:
        first, middle, last = period[0], period[1] + timedelta(days=1), period[1] + waited
    rows = wh.frame(
        "select f.received_date, coalesce(e.category, f.category) as category, "  # noqa: S608
        "cast(sum(cast(coalesce(w.weight, 1) as decimal(18, 6))) as double precision) as n, "
        "count(distinct case when coalesce(w.weight, 1) >= 0.5 then f.user_id end) as people "
        "from (select r.*, row_number() over (partition by r.feedback_id order by r.received_at desc, r.row_hash desc) "
        "as version_rank from raw.feedback as r where r.loop = ? and r.received_date between ? and ? "
        "and r.received_at < ?) as f "
        + _UNDERSTOOD
        + "left join (select y.feedback_id, y.weight, row_number() over (partition by y.feedback_id "
        "order by y.as_of desc, y.weights_version desc) as weight_rank from ops.feedback_weights as y "
        "where y.loop = ? and y.as_of <= ?) as w on w.feedback_id = f.feedback_id and w.weight_rank = 1 "
        "where f.version_rank = 1 group by 1, 2",
        (loop.loop, first, last, as_of, loop.loop, as_of),
    )
    rows["received_date"] = pd.to_datetime(rows["received_date"]).dt.date
    totals: dict[date, float] = {}
    for day, n in zip(rows["received_date"], rows["n"], strict=True):
        totals[day] = totals.get(day, 0.0) + float(n)
    found: dict[str, Trend] = {}
    for category, own in rows.dropna(subset=["category"]).groupby("category", sort=True):
        by_day = {day: (float(n), int(people)) for day, _, n, people in own.itertuples(index=False)}
        days = {day: Day(total, *by_day.get(day, (0.0, 0))) for day, total in sorted(totals.items())}
        before = [value for day, value in days.items() if day < middle]
        after = [value for day, value in days.items() if day >= middle]
        found[str(category)] = words.trend(before, after, loop.receipts.smallest_group)
    return found
