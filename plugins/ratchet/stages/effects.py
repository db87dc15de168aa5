"""What users said, weighed, ranked and held against the rollout: read once, judged, published as `feedback_themes`.

What must stay out of here: the rules; they are pure and in `ratchet.feedback`. A weight that changes is written down
with the moment from which it holds; the sums of themes and effects read what was written before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from ratchet.feedback.effects import judge_cohorts, judge_effects
from ratchet.feedback.poisoning import WEIGHTS_VERSION, Weighed, weigh
from ratchet.feedback.themes import WINDOW, Done, themes
from ratchet.ledger.chain import Entry
from ratchet.loop import Loop
from ratchet.loop_days import last_answered_day
from ratchet.monitoring.conditions import Condition, condition
from ratchet.published import publish
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

SUMMARY = "feedback_themes"
#: Received days that are weighed, and the days before that say what is usual.
JUDGED, USUAL = timedelta(days=7), timedelta(days=28)
#: Sums are read this far back: a rollout, and the holdback after it.
SUMS_BACK = timedelta(days=100)
#: From this share of the last days' answers on that no longer counts people are told.
LOST_LIMIT = 0.01
_KINDS = {"promote": "promoted", "roll_back": "rolled back", "inconclusive": "ended without evidence"}


@dataclass(frozen=True)
class FeedbackFacts:
    """What is known of feedback at `as_of`: rows to weigh with their texts, and the sums of closed days: of everybody,
    and of experiments by cohort."""

    as_of: datetime
    rows: pd.DataFrame
    texts: Mapping[str, str]
    sums: pd.DataFrame
    cohorts: pd.DataFrame


def read_feedback(wh: Warehouse, loop: Loop, as_of: datetime) -> FeedbackFacts | None:
    """The facts, nothing of which was received at `as_of` or later; None where the loop takes no words in."""
    if loop.feedback.taxonomy is None or not _is_there(wh):
        return None
    name, today = loop.loop, as_of.date()
    since = today - JUDGED
    rows = wh.frame(
        "select f.feedback_id, f.user_id as account, f.unit_id, f.received_date, "
        "coalesce(e.category, f.category) as category, e.duplicate_key, l.label, coalesce(w.weight, 1) as weight "
        "from (select r.*, row_number() over (partition by r.feedback_id order by r.received_at desc, r.row_hash desc) "
        "as version_rank from raw.feedback r where r.loop = ? and r.received_date >= ? and r.received_date < ? "
        "and r.received_at < ?) as f "
        "left join (select x.feedback_id, x.row_hash, max(x.duplicate_key) as duplicate_key, "
        "max(case when x.category <> 'unsure' then x.category end) as category from ops.feedback_enrichment x "
        "inner join ops.enrichment_versions v on v.loop = x.loop and v.enrichment_version = x.enrichment_version "
        "and v.is_current where x.loop = ? group by x.feedback_id, x.row_hash) as e "
        "on e.feedback_id = f.feedback_id and e.row_hash = f.row_hash "
        "left join (select unit_id, max(label) as label from marts.fct_labels where loop = ? and is_in_window "
        "and departure_date >= ? and outcome_received_at < ? group by unit_id) as l on l.unit_id = f.unit_id "
        "left join (select y.feedback_id, y.weight, row_number() over (partition by y.feedback_id "
        "order by y.as_of desc, y.weights_version desc) as weight_rank from ops.feedback_weights y "
        "where y.loop = ? and y.as_of <= ?) as w on w.feedback_id = f.feedback_id and w.weight_rank = 1 "
        "where f.version_rank = 1 order by f.feedback_id",
        (
            name, since - USUAL, today, as_of, name, name, since - USUAL - timedelta(days=14), as_of, name, as_of,
        ),
    )  # fmt: skip
    texts = wh.frame(
        "select e.duplicate_key, min(coalesce(f.subject || ' ', '') || coalesce(f.comment, '')) as words "
        "from raw.feedback f inner join ops.feedback_enrichment e on e.loop = f.loop "
        "and e.feedback_id = f.feedback_id and e.row_hash = f.row_hash "
        "inner join ops.enrichment_versions v on v.loop = e.loop and v.enrichment_version = e.enrichment_version "
        "and v.is_current where f.loop = ? and f.received_date >= ? and f.received_date < ? and f.received_at < ? "
        "group by e.duplicate_key",
        (name, since, today, as_of),
    )
    sums = _sums(wh, loop, as_of, "cohort_dimension = 'all'")
    cohorts = _sums(wh, loop, as_of, "cohort_dimension <> 'all' and experiment_id <> 'none'")
    return FeedbackFacts(as_of, rows, dict(texts.itertuples(index=False)), sums, cohorts)


def _sums(wh: Warehouse, loop: Loop, as_of: datetime, which: str) -> pd.DataFrame:
    """The closed days' sums of the rows `which` (SQL of this module)."""
    key = "departure_date, experiment_id, arm, cohort_dimension, cohort_value, answer_category"
    sums = wh.frame(
        f"select {key}, sum(n_asked) as n_asked, "  # noqa: S608
        "sum(n_answers) as n_answers, sum(sum_weight) as sum_weight, sum(sum_weight_rated) as sum_weight_rated, "
        "sum(sum_rating_weighted) as sum_rating_weighted, sum(n_simulated) as n_simulated "
        "from monitoring.mon_feedback_daily where loop = ? and departure_date >= ? and departure_date <= ? "
        f"and {which} group by {key} order by {key}",
        (loop.loop, as_of.date() - SUMS_BACK, last_answered_day(loop, as_of)),
    )
    numbers = ["n_asked", "n_answers", "sum_weight", "sum_weight_rated", "sum_rating_weighted", "n_simulated"]
    return sums.astype(dict.fromkeys(numbers, "float64"))


def _is_there(wh: Warehouse) -> bool:
    """Whether feedback has landed and the view of its days was built."""
    found = wh.frame(
        "select table_name from information_schema.tables where (table_schema = 'raw' and table_name = 'feedback') "
        "or (table_schema = 'monitoring' and table_name = 'mon_feedback_daily') "
        "or (table_schema = 'ops' and table_name = 'feedback_weights')"
    )
    return len(set(found["table_name"])) == 3


def weigh_feedback(loop: Loop, facts: FeedbackFacts) -> Weighed:
    """The weights of what was received in the last days."""
    assert loop.feedback.taxonomy is not None  # noqa: S101  (read_feedback says so)
    claims = {
        name: int(category.claims == "positive")
        for name, category in loop.feedback.taxonomy.categories.items()
        if category.claims is not None
    }
    today = facts.as_of.date()
    return weigh(facts.rows, facts.texts, claims, today - JUDGED, today)


def conditions_of(weighed: Weighed, k: int) -> list[Condition]:
    """The condition `campaign`; none while too little is known, as of any series that is too young."""
    if not weighed.is_known:
        return []
    told = [
        f"{reason}: {_least(found.rows, k)} answers from {_least(found.sources, k)} "
        f"{'texts' if reason == 'copies' else 'accounts'}"
        for reason, found in weighed.found.items()
        if found.rows
    ]
    evidence = f"{weighed.lost:.1%} of {weighed.judged} answers of the last {JUDGED.days} days do not count"
    return [
        condition(
            "campaign", "data", "alert" if weighed.lost >= LOST_LIMIT else "ok",
            "; ".join([evidence, *told]), value=weighed.lost, limit=LOST_LIMIT, source="feedback",
        )
    ]  # fmt: skip


def _least(n: int, k: int) -> str:
    return str(n) if n >= k else f"fewer than {k}"


def keep_weights(settings: Settings, loop: Loop, facts: FeedbackFacts, weighed: Weighed) -> int:
    """Write down the weights that changed, from `as_of` on; how many. A second run finds nothing to write."""
    if not weighed.is_known:
        return 0
    judged = pd.to_datetime(facts.rows["received_date"]).dt.date >= facts.as_of.date() - JUDGED
    rows = facts.rows[judged]
    before = dict(zip(rows["feedback_id"], rows["weight"].astype(float), strict=True))
    days = dict(zip(rows["feedback_id"], pd.to_datetime(rows["received_date"]).dt.date, strict=True))
    now = {
        str(key): (float(weight), str(reason))
        for key, weight, reason in weighed.weights[["feedback_id", "weight", "reason"]].itertuples(
            index=False
        )
    }
    changed = [
        (key, *now.get(str(key), (1.0, "none")))
        for key in before
        if now.get(str(key), (1.0, ""))[0] != before[key]
    ]
    if not changed:
        return 0
    with open_warehouse(settings, purpose=f"weights of feedback of {loop.loop}") as wh, wh.transaction():
        for key, weight, reason in sorted(changed):
            wh.execute(
                "insert into ops.feedback_weights (loop, feedback_id, received_date, weights_version, as_of, weight, "
                "reason) values (?, ?, ?, ?, ?, ?, ?) on conflict (loop, feedback_id, weights_version, as_of) "
                "do update set weight = excluded.weight, reason = excluded.reason",
                (loop.loop, key, days[key], WEIGHTS_VERSION, facts.as_of, weight, reason),
            )
        # Features count answers by their weights from the next day on, which is built next: no build is due for them.
        for day in sorted({days[key] for key, _, _ in changed}):
            wh.execute(
                "insert into ops.reweighed_partitions (loop, received_date) values (?, ?) on conflict do nothing",
                (loop.loop, day),
            )
    return len(changed)


def summary_of(
    loop: Loop, facts: FeedbackFacts, weighed: Weighed, entries: Sequence[Entry]
) -> dict[str, Any]:
    """The summary `feedback_themes`: themes, effects by experiment, campaigns; nothing of fewer than k people."""
    taxonomy, k = loop.feedback.taxonomy, loop.monitoring.min_group
    assert taxonomy is not None  # noqa: S101  (read_feedback says so)
    closed = last_answered_day(loop, facts.as_of)
    entries = [entry for entry in entries if entry.as_of <= facts.as_of.isoformat()]
    since = closed - 2 * WINDOW
    people, everybody = _people(facts.rows, weighed, closed - WINDOW)
    ranked = themes(taxonomy, facts.sums, people, everybody, closed, _done(entries, since), k)
    whole = facts.sums[facts.sums["answer_category"] == "all"]
    experiments = []
    for experiment_id, kind in _experiments(entries):
        own = facts.sums[facts.sums["experiment_id"] == experiment_id]
        by_cohort = facts.cohorts[facts.cohorts["experiment_id"] == experiment_id]
        experiments.append(
            {
                "experiment_id": experiment_id,
                "kind": kind,
                "effects": [effect.to_json() for effect in judge_effects(taxonomy, own, closed, k)],
                "cohorts": judge_cohorts(taxonomy, by_cohort, closed, k).to_json(),
            }
        )
    simulated = int(whole["n_simulated"].sum())
    return {
        "as_of": facts.as_of.isoformat(),
        "complete_until": closed.isoformat(),
        "window_days": WINDOW.days,
        "simulated": simulated > 0,
        "n_simulated": simulated,
        "suppressed_below_k": k,
        "people": everybody if everybody >= k else None,
        "themes": [theme.to_json() for theme in ranked],
        "experiments": experiments,
        "campaigns": _campaigns(weighed, k),
    }


def _campaigns(weighed: Weighed, k: int) -> dict[str, Any]:
    return {
        "is_known": weighed.is_known,
        "judged": weighed.judged if weighed.judged >= k else None,
        "days_before": weighed.days,
        "lost": round(weighed.lost, 6) if weighed.is_known and weighed.judged >= k else None,
        "found": [
            {
                "reason": reason,
                "answers": found.rows if found.rows >= k or not found.rows else None,
                "sources": found.sources if found.sources >= k or not found.sources else None,
            }
            for reason, found in weighed.found.items()
        ],
    }


def _people(rows: pd.DataFrame, weighed: Weighed, since: date) -> tuple[dict[str, int], int]:
    """Different people by category, and in all; what counts less than half is not a person's word.

    Those without an account are one person a unit.
    """
    now = rows["feedback_id"].map(
        dict(zip(weighed.weights["feedback_id"], weighed.weights["weight"], strict=True))
    )
    counts = now.astype("float64").fillna(rows["weight"].astype("float64")) >= 0.5
    own = rows[counts & (pd.to_datetime(rows["received_date"]).dt.date > since)]
    person = own["account"].where(own["account"].notna(), "unit:" + own["unit_id"].astype(str)).astype(str)
    by = person.groupby(own["category"]).nunique()
    return {str(name): int(n) for name, n in by.items()}, int(person.nunique())


def _experiments(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """The last rollout, and the holdback that followed it."""
    found: list[tuple[str, str]] = []
    for entry in entries:
        if entry.kind == "rollout_started":
            found = [(str(entry.payload["experiment_id"]), "rollout")]
        elif entry.kind == "rollout_applied" and entry.payload.get("holdback") and found:
            found = [found[0], (str(entry.payload["holdback"]["experiment_id"]), "holdback")]
    return found


def _done(entries: Sequence[Entry], since: date) -> list[Done]:
    """Retrains asked for, and what became of rollouts, in the days that the themes are of."""
    told = []
    for entry in entries:
        if entry.as_of < since.isoformat():
            continue
        data = entry.payload
        if entry.kind == "trigger" and data.get("action") == "request":
            told.append(Done(entry.as_of, f"retrain asked for ({data['tier']}): {data['reason']}"))
        elif entry.kind == "rollout_started":
            told.append(Done(entry.as_of, f"version {data['challenger_version']} went on trial"))
        elif entry.kind in ("rollout_applied", "holdback_applied") and data.get("action") in _KINDS:
            told.append(Done(entry.as_of, f"{data['experiment_id']}: {_KINDS[data['action']]}"))
        elif entry.kind == "rollback":
            told.append(Done(entry.as_of, f"version {data['from']} went back to {data['to']}"))
    return told


def publish_themes(settings: Settings, loop: Loop, summary: dict[str, Any]) -> None:
    """Replace the summary `feedback_themes`."""
    publish(settings, loop.loop, SUMMARY, summary)


def themes_as_of(settings: Settings, loop: Loop, as_of: datetime) -> dict[str, Any] | None:
    """The summary as it was known at `as_of`, understood as today; nothing is written. None without feedback.

    Raises:
        WarehouseError: there is no warehouse.
    """
    with open_warehouse(settings, purpose=f"themes of {loop.loop}", read_only=True) as wh:
        facts = read_feedback(wh, loop, as_of)
    if facts is None:
        return None
    return summary_of(loop, facts, weigh_feedback(loop, facts), ledger_of(settings).entries(loop.loop))
