"""An installation to look at: published summaries in their promised shape, and a ledger where a decision waits.

The numbers are drawn from seeds; some texts are what an attacker would write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from tests.unit.test_certificate_replay import append, rollout

from ratchet.experiment.admission import Admission
from ratchet.ledger.anchor import Anchor, advance
from ratchet.ledger.chain import Entry, stored_text
from ratchet.ledger.schema import ENTRIES
from ratchet.ledger.store import migrate
from ratchet.published import publish
from ratchet.settings import Settings, load_settings
from ratchet.stages.records import ledger_of

END = date(2013, 6, 9)
AS_OF = f"{END}T00:00:00"
EVIL = "<script>window.planted=1</script><img src=x onerror='window.planted=1'>"
FEATURES = (
    "departure_hour",
    "origin",
    "carrier",
    "temperature_f",
    "dew_point_f",
    "humidity_pct",
    "wind_speed_mph",
    "plane_seats",
    "distance_miles",
    "precipitation_in",
    "pressure_mb",
    "visibility_miles",
    "departure_weekday",
    "plane_age_years",
)
SOURCES = ("schedule", "weather", "outcomes", "predictions", "feedback", "telemetry")
CARRIERS = ("9E", "AA", "B6", "DL", "EV", "HA", "MQ", "UA", "US", "WN")


def days_until(end: date, count: int) -> list[str]:
    return [str(end - timedelta(days=count - 1 - i)) for i in range(count)]


def interval(value: float, error: float) -> dict[str, float]:
    return {"value": value, "low": value - 2 * error, "high": value + 2 * error}


def monitor_data(days: int = 60) -> dict[str, Any]:
    draw = np.random.default_rng(1)
    dates = days_until(END, days)
    volume = [
        {
            "source": source,
            "date": day,
            "rows": int(900 + 80 * draw.normal()) * (3 if source == "predictions" else 1),
            "quarantined": int(draw.poisson(2)) if source in ("feedback", "outcomes") else 0,
            "duplicates": int(draw.poisson(3)),
        }
        for source in SOURCES
        for day in dates
    ]
    gates = [
        {
            "border": border,
            "table": table,
            "date": day,
            "verdict": "block"
            if (table, i) == ("raw_weather", days - 9)
            else "warn"
            if draw.random() < 0.04
            else "pass",
            "reasons": ["temperature_f: 12 % of rows out of range"]
            if (table, i) == ("raw_weather", days - 9)
            else [],
        }
        for border, table in (
            ("landing", "raw_schedule"),
            ("landing", "raw_weather"),
            ("landing", "raw_feedback"),
            ("features", "ftr_flights__pre_departure"),
        )
        for i, day in enumerate(dates)
    ]
    maturity = [
        {"age_days": a, "share_received": 1 - math.exp(-a / 0.9) * 0.97 if a else 0.0, "n": 51_000}
        for a in range(15)
    ]
    freshness = [
        {
            "source": s,
            "last_received": f"{END}T03:00:00",
            "hours_late": 26.0 if s == "weather" else 0.0,
            "state": "alert" if s == "weather" else "ok",
        }
        for s in SOURCES
    ]
    return {"as_of": AS_OF, "volume": volume, "gates": gates, "maturity": maturity, "freshness": freshness}


def monitor_drift(days: int = 60) -> dict[str, Any]:
    draw = np.random.default_rng(2)
    weights = sorted(draw.dirichlet(np.full(len(FEATURES), 0.6)), reverse=True)
    found = []
    for at, (name, weight) in enumerate(zip(FEATURES, weights, strict=True)):
        reference = draw.dirichlet(np.full(8, 5.0))
        shift = np.linspace(-1, 1, 8) * (0.9 if at == 3 else 0.5 if at == 4 else 0.05)
        now = reference * np.exp(shift)
        now /= now.sum()
        js = float(np.sqrt(0.5 * np.sum((np.sqrt(reference) - np.sqrt(now)) ** 2)))
        categories = name in ("origin", "carrier")
        labels = list(CARRIERS[:8]) if categories else [f"{k * 12} to {k * 12 + 12}" for k in range(8)]
        found.append(
            {
                "feature": name,
                "importance": float(weight),
                "kind": "categorical" if categories else "numeric",
                "js": js,
                "ks": js * 1.2,
                "psi": js * 0.8,
                "p_value": 0.0001 if at in (3, 4) else 0.4,
                "q_value": 0.002 if at in (3, 4) else 0.7,
                "wobble": 0.06,
                "is_drifting": at in (3, 4),
                "state": "drifting" if at in (3, 4) else "ok",
                "first_cause": at == 3,
                "bins": [
                    {"label": n, "reference_share": float(a), "share": float(b)}
                    for n, a, b in zip(labels, reference, now, strict=True)
                ],
                "days": [
                    {
                        "date": d,
                        "js": js * float(draw.uniform(0.8, 1.2)),
                        "missing_share": 0.01,
                        "out_of_range_share": None,
                        "alert": at in (3, 4) and i > days - 6,
                    }
                    for i, d in enumerate(days_until(END, days))
                ],
            }
        )
    dates = days_until(END, days)
    scores = draw.dirichlet(np.linspace(9, 1, 10))
    outputs = {
        "bins": [
            {
                "label": f"{k / 10:.1f}",
                "reference_share": float(s),
                "share": float(s * (1.1 if k > 4 else 0.97)),
            }
            for k, s in enumerate(scores)
        ],
        "near_boundary": [{"date": d, "share": float(draw.uniform(0.1, 0.14))} for d in dates],
        "mean_score": [{"date": d, "mean": float(draw.uniform(0.22, 0.28))} for d in dates],
        "classes_by_arm": [
            {"arm": "champion", "warned": 0.31, "n": 12_000},
            {"arm": "challenger", "warned": 0.29, "n": 4},
        ],
    }
    return {
        "as_of": AS_OF,
        "model_version": 1,
        "reference": "training profile",
        "features": found,
        "multivariate": {
            "method": "domain classifier",
            "auc": 0.61,
            "low": 0.57,
            "high": 0.65,
            "days": 7,
            "state": "warn",
        },
        "outputs": outputs,
    }


def monitor_quality(days: int = 60) -> dict[str, Any]:
    draw = np.random.default_rng(3)
    windows = []
    for i, day in enumerate(days_until(END, days)):
        is_open = i > days - 4
        loss = 0.46 + 0.02 * math.sin(i / 6) + 0.004 * draw.normal()
        windows.append(
            {
                "until": day,
                "days": 14,
                "n_labelled": 0 if is_open else 12_300 - 40 * i % 900,
                "n_open": 12_700 if is_open else 300,
                "open_share": 1.0 if is_open else 0.024,
                **{
                    name: None if is_open else interval(value, value / 25)
                    for name, value in (
                        ("log_loss", loss),
                        ("brier", loss / 3),
                        ("auc", 0.71),
                        ("calibration_error", 0.03),
                        ("false_reassurance", 0.32),
                        ("false_alarm", 0.2),
                    )
                },
                "estimated": {
                    "auc": 0.705,
                    "log_loss": loss * 1.02,
                    "brier": loss / 2.9,
                    "warning": "assumes that the calibration of the reference holds" if is_open else None,
                },
            }
        )
    cohorts = [
        {
            "dimension": "carrier",
            "cohort": c,
            "n_labelled": 7 if c == "HA" else 900 + 130 * i,
            "days": 14,
            "log_loss": interval(0.44 + 0.01 * i, 0.02),
            "brier": interval(0.15, 0.01),
            "calibration_error": interval(0.04, 0.01),
            "until": END.isoformat(),
            "n_units": 9 if c == "HA" else 950 + 130 * i,
            "auc": {"value": None, "low": None, "high": None, "state": "too few days: 5 of 7"}
            if c == "MQ"
            else {**interval(0.7123, 0.0234), "state": "ok"},
            "state": "worse" if c == "US" else "not enough evidence" if c == "WN" else "ok",
        }
        for i, c in enumerate(CARRIERS)
    ]
    reliability = [
        {
            "mean_score": s / 10 + 0.05,
            "rate": s / 10 + 0.03,
            "low": s / 10,
            "high": s / 10 + 0.07,
            "n": 4000 // (s + 1),
        }
        for s in range(8)
    ]
    return {
        "as_of": AS_OF,
        "model_version": 1,
        "metric_names": ["log_loss", "brier", "auc", "calibration_error", "false_reassurance", "false_alarm"],
        "windows": windows,
        "by_cohort": cohorts,
        "reliability": reliability,
        "staleness": [
            {"model_version": v, "age_days": a, "log_loss": interval(0.45 + a / 4000, 0.008)}
            for v, a in ((3, 12), (2, 47), (1, 118))
        ],
        "concept_drift": {"suspected": True, "reason": "log loss rose by more than the estimate from scores"},
        "detectors": [
            {"name": "ADWIN", "stream": "error by flight", "state": "ok", "at": None},
            {"name": "Page-Hinkley", "stream": "log loss by day", "state": "warn", "at": "2013-06-02"},
        ],
    }


def monitor_users(days: int = 60) -> dict[str, Any]:
    draw = np.random.default_rng(4)
    return {
        "as_of": AS_OF,
        "simulated": True,
        "suppressed_below_k": 10,
        "days": [
            {
                "date": d,
                "n_asked": 880,
                "n_answers": 4 if i == 5 else 260,
                "response_rate": float(draw.uniform(0.27, 0.33)),
                "rating_mean": float(draw.normal(3.94, 0.04)),
                "n_tickets": int(draw.poisson(16)),
                "complaint_rate": float(draw.uniform(0.01, 0.03)),
            }
            for i, d in enumerate(days_until(END, days))
        ],
        "by_category": [
            {"category": "late alert", "n": 240, "rate": 0.011, "trend": 0.002},
            {"category": EVIL, "n": 31, "rate": 0.002, "trend": -0.001},
            {"category": "wrong airport", "n": 3, "rate": 0.00037, "trend": 0.0},
        ],
        "by_cohort": [
            {"dimension": "origin", "cohort": o, "n": n, "rating_mean": r, "state": s}
            for o, n, r, s in (
                ("EWR", 2100, 3.91, "ok"),
                ("JFK", 1900, 3.62, "worse"),
                ("HPN", 6, 1.2345, "ok"),
            )
        ],
        "satisfaction": [
            {
                "dimension": "origin",
                "n": 4006,
                "raw": {"value": 3.77, "low": 3.71, "high": 3.83},
                "weighted": {"value": 3.94, "low": 3.88, "high": 4.0},
                "covered": 0.98,
                "largest_weight": 34.0,
                "state": "ok",
            },
            {"dimension": "carrier", "n": None, "raw": None, "weighted": None, "state": "fewer than k"},
        ],
    }


def feedback_themes() -> dict[str, Any]:
    def theme(title: str, n: int, severity: int, gap: float) -> dict[str, Any]:
        return {
            "category": "late_alert", "title": title, "maps_to": "output", "severity": severity, "is_hidden": False,
            "volume": n - 0.5, "n_answers": n, "people": n, "people_share": n / 2000, "rate": n / 9876,
            "trend": "rising", "trend_value": 0.004, "trend_low": 0.001, "trend_high": 0.007, "rating_gap": gap,
            "rating_gap_low": gap - 0.2, "rating_gap_high": gap + 0.2, "gain": -0.1 * gap,
            "weeks": [{"until": d, "rate": 0.01 + 0.001 * i} for i, d in enumerate(days_until(END, 8))],
            "done": [{"as_of": AS_OF, "what": f"retrain asked for (event): {EVIL}"}],
        }  # fmt: skip

    def effect(category: str, n: int, value: float, state: str) -> dict[str, Any]:
        return {
            "category": category, "expected": "down", "state": state, "verdict": "as expected", "value": value,
            "low": value - 0.002, "high": value + 0.002, "days": 21, "n_answers": n,
        }  # fmt: skip

    return {
        "as_of": AS_OF,
        "complete_until": days_until(END, 9)[0],
        "window_days": 28,
        "simulated": True,
        "n_simulated": 4000,
        "suppressed_below_k": 10,
        "people": 2000,
        "themes": [
            theme("too late", 240, 3, -1.1),
            theme(EVIL, 60, 4, -0.4),
            theme("wrong airport", 3, 4, -1.2345),
        ],
        "experiments": [
            {
                "experiment_id": "ro-2",
                "kind": "rollout",
                "effects": [
                    effect("late_alert", 240, -0.01, "fell"),
                    effect("wrong_airport", 4, 0.04321, "rose"),
                ],
                "cohorts": {
                    "judged": 4,
                    "left_out": 12,
                    "days": 21,
                    "days_needed": 7,
                    "error": 0.0018,
                    "effects": [
                        {
                            "dimension": "origin",
                            "cohort": "EWR",
                            **effect("late_alert", 0, -0.02, "fell"),
                            "n_answers": None,
                        },
                        {
                            "dimension": "origin",
                            "cohort": EVIL,
                            **effect("price", 0, 0.03, "rose"),
                            "n_answers": None,
                        },
                        {
                            "dimension": "origin",
                            "cohort": "LGA",
                            **effect("price", 0, 0.0, "not enough evidence"),
                            "n_answers": None,
                        },
                        {
                            "dimension": "carrier",
                            "cohort": "YV",
                            "category": "price",
                            "expected": "none",
                            "state": "fewer than k",
                            "verdict": "not shown",
                            "value": None,
                            "low": None,
                            "high": None,
                            "days": 21,
                            "n_answers": None,
                        },
                    ],
                },
            }
        ],
        "campaigns": {
            "is_known": True,
            "judged": 900,
            "days_before": 28,
            "lost": 0.03,
            "found": [
                {"reason": "burst", "answers": 44, "sources": 1},
                {"reason": "copies", "answers": 0, "sources": 0},
            ],
        },
    }


def monitor_operations(days: int = 60) -> dict[str, Any]:
    draw = np.random.default_rng(5)
    return {
        "as_of": AS_OF,
        "simulated": True,
        "days": [
            {
                "date": d,
                "volume": int(draw.normal(900, 40)),
                "latency_p50": float(draw.normal(42, 2)),
                "latency_p95": float(draw.normal(88, 5)),
                "errors_per_prediction": float(rate := draw.uniform(0.1, 0.2)),
                "errors_per_1000_asked": None if d == str(END) else float(rate * 10),
                "served_versions": {"1": 640, "2": 221},
            }
            for d in days_until(END, days)
        ],
        "runs": [
            {
                "run": f"train {i}",
                "seconds": 92.0 + i,
                "cpu_seconds": 150.0,
                "megabytes": 1030.0 + 9 * i,
                "rows": 199_000,
                "cost": 0.012,
            }
            for i in range(20)
        ],
        "trends": [
            {"name": "memory of training", "state": "warn", "reason": "grows by 9 MB a run over 20 runs"},
            {"name": "latency", "state": "ok", "reason": "no jump in 60 days"},
        ],
    }


def incidents() -> dict[str, Any]:
    def one(rank: int, title: str, severity: str, cause: str) -> dict[str, Any]:
        return {
            "id": f"i{rank}",
            "title": title,
            "cause": cause,
            "causes": [{"name": cause, "score": 0.9, "evidence": "7 of 7 days"}],
            "opened_on": "2013-06-03",
            "updated_on": "2013-06-08",
            "closed_on": None,
            "severity": severity,
            "rank": rank,
            "impact": 0.8,
            "risk": 0.6,
            "hours_to_fix": 4,
            "owner": "Dana Reyes",
            "escalation": "mlops-oncall@example.com",
            "runbook": "docs/runbooks/gate-blocked.md",
            "evidence": [],
            "members": ["drift:temperature_f"],
            "muted_until": None,
            "mute_reason": None,
            "last_notified": "2013-06-03",
        }

    return {
        "as_of": AS_OF,
        "open": [
            one(2, f"Ratings of JFK fell {EVIL}", "warn", "users:origin=JFK"),
            one(1, "Weather is in another unit", "alert", "drift:temperature_f"),
        ],
        "closed": [],
        "muted": [
            {**one(3, "Slow pages", "warn", "latency"), "muted_until": "2013-07-01", "mute_reason": EVIL}
        ],
    }


def triggers() -> dict[str, Any]:
    decisions = [
        {
            "as_of": f"{d}T00:00:00",
            "tier": "event" if i == 4 else None,
            "action": "request" if i == 4 else "none",
            "reason": "log loss is felt" if i == 4 else "nothing is due",
        }
        for i, d in enumerate(days_until(END, 8))
    ]
    return {
        "as_of": AS_OF,
        "decisions": decisions,
        "spent": {"month": "2013-06", "cost": 1.4, "budget": 10.0},
    }


def publish_all(settings: Settings, days: int = 60) -> None:
    """Every summary of the contract, and those that were there before it."""
    made = {
        "monitor_data": monitor_data(days),
        "monitor_drift": monitor_drift(days),
        "monitor_quality": monitor_quality(days),
        "monitor_users": monitor_users(days),
        "monitor_operations": monitor_operations(days),
        "feedback_themes": feedback_themes(),
        "incidents": incidents(),
        "triggers": triggers(),
        "partitions": {
            "as_of": AS_OF,
            "dirty": 2,
            "blocked": [],
            "features": {"green": 158, "first": "2013-01-01", "last": "2013-06-08"},
        },
        "landing": {"as_of": AS_OF, "blocked": [], "held": {"feedback": 12}, "undeclared": []},
    }
    for name, content in made.items():
        publish(settings, "flights", name, content)


def ledger_of_rollouts(
    count: int = 1, people: Sequence[str] = ("Dana Reyes", "ana"), reason: str = EVIL
) -> list[Entry]:
    """The entries of `count` rollouts; the last one's promotion waits for one of `people`."""
    entries: list[Entry] = []
    append(
        entries,
        "bootstrap",
        "bootstrap:2013-05-13",
        "2013-05-13T00:00:00",
        {"model_version": 1, "run_id": "a" * 32},
    )
    looks = rollout()
    end = max(
        i for i, e in enumerate(looks) if e.kind == "rollout_decision" and e.payload["action"] == "promote"
    )
    for turn in range(count):
        new: dict[str, str] = {}
        is_last = turn == count - 1
        name = f"flights-exp-{turn + 1:03}"
        for at, entry in enumerate(looks[: end + 1 if is_last else end + 2]):
            text = json.dumps(entry.payload).replace("flights-exp-001", name)
            payload = json.loads(text)
            for link in ("after", "started"):
                if link in payload:
                    payload[link] = new[payload[link]]
            for role, version in (("champion_version", turn + 1), ("challenger_version", turn + 2)):
                if role in payload:
                    payload[role] = version
            if at == end:
                payload["approval"] = {
                    "by": list(people),
                    "count": 1,
                    "timeout_hours": 48,
                    "until": "2013-06-11T04:00:00",
                }
                payload["reasons"] = [*payload["reasons"], reason]
                if not is_last:
                    payload["approval"] = None
            kept = append(
                entries, entry.kind, entry.key.replace("flights-exp-001", name), entry.as_of, payload
            )
            new[entry.hash] = kept.hash
    return entries


def ledger_of_exclusion() -> list[Entry]:
    """A rollout that begins without two carriers."""
    entries: list[Entry] = []
    made = {"model_version": 1, "run_id": "a" * 32}
    append(entries, "bootstrap", "bootstrap:2013-05-13", "2013-05-13T00:00:00", made)
    begun = next(e for e in rollout() if e.kind == "rollout_started")
    values = {"origin": ["EWR", "JFK", "LGA"], "carrier": ["AA", "B6"]}
    out = Admission.of(values, {"carrier=HA": f"12 units {EVIL}", "carrier=OO": "3 clusters"})
    append(entries, begun.kind, begun.key, begun.as_of, {**begun.payload, "admission": out.to_json()})
    return entries


def write_ledger(settings: Settings, entries: Sequence[Entry]) -> None:
    """The entries in the installation's ledger, as if they had been appended one by one."""
    migrate(settings.ledger_url)
    engine = sa.create_engine(settings.ledger_url)
    with engine.begin() as connection:
        connection.execute(
            ENTRIES.insert(), [{**e.__dict__, "payload": stored_text(e.payload)} for e in entries]
        )
    anchor = ledger_of(settings).anchor
    assert anchor is not None
    advance(anchor, Anchor(entries[-1].seq, entries[-1].hash))


def installation(
    home: Path, days: int = 60, rollouts: int = 1, people: Sequence[str] = ("Dana Reyes", "ana")
) -> Settings:
    """Settings of a home with everything to look at."""
    settings = load_settings({"RATCHET_HOME": str(home)})
    publish_all(settings, days)
    write_ledger(settings, ledger_of_rollouts(rollouts, people))
    return settings
