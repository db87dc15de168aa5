"""Simulated travellers: what they would say and do about the prediction that they were shown.

Every number here is an assumption of the demo, listed in docs/demo-world.md. A day's random draws depend only
on (seed, departure date) and on all flights of that date in flight_id order; what was served enters through
thresholds on those draws. So the same traveller meets either model, and answers do not depend on how the
replay is cut into weeks.
"""

from __future__ import annotations

import hashlib
from datetime import date

import numpy as np
import pandas as pd

from ratchet.replay.comments import write_comments

#: A traveller is warned when the served P(late) reaches this.
WARNING_THRESHOLD = 0.35
ASKED_MEAN = 100.0
MAX_ANSWERS = 16
#: So many people answer, some of them again and again.
TRAVELLERS = 40_000

#: Mean rating by minutes late: up to each bound, the mean. The 15 minutes are the label's threshold.
RATING_BY_LATENESS = ((0.0, 4.3), (15.0, 4.2), (45.0, 3.2), (120.0, 2.1), (240.0, 1.9), (np.inf, 1.6))
WARNED_AND_LATE = 0.5
UNWARNED_AND_LATE = -0.4
WARNED_AND_ON_TIME = -0.3
#: Points lost per nat of surprise (-log p of what happened) above what is usual for such a flight.
SURPRISE_WEIGHT = 0.2
USUAL_SURPRISE_LATE = 1.1
USUAL_SURPRISE_ON_TIME = 0.25
SURPRISE_FLOOR = 0.01
#: Ratings are beta-binomial on 1..5; a small concentration makes many ones and fives, as ratings are.
RATING_CONCENTRATION = 2.5

ANSWER_RATE_CONTENT = 0.02
ANSWER_RATE_UPSET = 0.04
COMMENT_SHARE = {1: 0.79, 2: 0.68, 3: 0.57, 4: 0.46, 5: 0.35}
TICKET_SHARE = 0.12
ANSWER_DELAY_MEDIAN_DAYS = 1.7
ANSWER_DELAY_SIGMA = float(np.log(4.8 / 1.7) / 1.2815515655446004)
ANSWER_DELAY_MAX_DAYS = 27.0

DISMISS_SHARE = 0.10
REOPEN_SHARE = 0.15
REOPEN_SHARE_SURPRISED = 0.60
APP_ERRORS_MEAN = 0.15

FEEDBACK_COLUMNS = (
    "feedback_id", "prediction_id", "unit_id", "channel", "rating", "comment", "category", "user_id", "is_simulated",
    "event_at", "received_at",
)  # fmt: skip
TELEMETRY_COLUMNS = (
    "telemetry_id", "prediction_id", "unit_id", "event_type", "event_count", "is_simulated", "event_at",
    "received_at",
)  # fmt: skip


def mean_rating(delay_minutes: np.ndarray, score: np.ndarray, late_from: float) -> np.ndarray:
    """Expected rating (1.1 to 4.9) of travellers who were told `score` and arrived `delay_minutes` late.

    A score that is no number tells the traveller nothing: no warning was given, and no surprise is counted.
    """
    bounds = np.array([bound for bound, _ in RATING_BY_LATENESS])
    means = np.array([mean for _, mean in RATING_BY_LATENESS])
    is_late = delay_minutes >= late_from
    # A delay equal to the label's threshold is late already; other bounds belong to the band below.
    band = np.searchsorted(bounds, delay_minutes, side="left")
    band = np.where(delay_minutes == late_from, np.searchsorted(bounds, late_from, side="right"), band)
    is_warned = score >= WARNING_THRESHOLD
    told = np.where(
        is_late,
        np.where(is_warned, WARNED_AND_LATE, UNWARNED_AND_LATE),
        np.where(is_warned, WARNED_AND_ON_TIME, 0.0),
    )
    happened = np.clip(np.where(is_late, score, 1.0 - score), SURPRISE_FLOOR, 1.0)
    usual = np.where(is_late, USUAL_SURPRISE_LATE, USUAL_SURPRISE_ON_TIME)
    surprise = np.nan_to_num(-np.log(happened) - usual, nan=0.0)
    return np.clip(means[band] + told - SURPRISE_WEIGHT * surprise, 1.1, 4.9)


def draw_rating(mean: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Ratings 1..5 by inverting the beta-binomial (n = 4) with the given mean at the given uniform draws."""
    share = (mean - 1.0) / 4.0
    up, down = share * RATING_CONCENTRATION, (1.0 - share) * RATING_CONCENTRATION
    total = np.prod([RATING_CONCENTRATION + i for i in range(4)])
    cumulative = np.zeros_like(mean)
    rating = np.ones(mean.shape, dtype="int64")
    for successes, ways in enumerate((1, 4, 6, 4)):
        rising = np.ones_like(mean)
        for i in range(successes):
            rising = rising * (up + i)
        for i in range(4 - successes):
            rising = rising * (down + i)
        cumulative = cumulative + ways * rising / total
        rating = rating + (uniform >= cumulative)
    return rating


def _answer_counts(mean: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Poisson counts, at most MAX_ANSWERS, by inversion: a larger mean never gives fewer answers."""
    term = np.exp(-mean)
    cumulative = term.copy()
    count = np.zeros(mean.shape, dtype="int64")
    for k in range(1, MAX_ANSWERS + 1):
        count += uniform >= cumulative
        term = term * mean / k
        cumulative = cumulative + term
    return count


def _counts(mean: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Whole, non-negative counts about `mean` with its square root as deviation."""
    return np.maximum(0, np.rint(mean + np.sqrt(mean) * normal)).astype("int64")


def _seconds(start: pd.Series, seconds: np.ndarray) -> pd.Series:
    return (start + pd.to_timedelta(np.rint(seconds).astype("int64"), unit="s")).dt.as_unit("us")


def _category(rating: np.ndarray, is_late: np.ndarray, is_warned: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """What an answer is about. Who is content praises; who is not, mostly names what went wrong."""
    blame = np.select(
        [is_late & ~is_warned, is_late & is_warned, ~is_late & is_warned],
        ["false_reassurance", "late_alert", "false_alarm"],
        default="app_problem",
    )
    other = np.where(draw >= 0.85, "price", "app_problem")
    return np.where(rating >= 4, np.where(draw < 0.95, "praise", other), np.where(draw < 0.7, blame, other))


def react(
    flights: pd.DataFrame, served: pd.DataFrame, departure_date: date, seed: int, late_from: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Feedback and telemetry about one departure date's served predictions, over all time.

    `flights`: every flight of the date, sorted by flight_id (flight_id, carrier, origin, dest,
    scheduled_departure_at, arrived_at, delay_minutes; asked_mean, where not ASKED_MEAN use the app). `served`: at
    most one row per unit (prediction_id, unit_id, score, event_at). `late_from`: minutes from which a flight counts
    as late. Returns frames with FEEDBACK_COLUMNS and TELEMETRY_COLUMNS. Who was cancelled or diverted is not asked,
    and answers nothing.
    """
    rng = np.random.default_rng([seed, departure_date.toordinal()])
    n, slots = len(flights), (len(flights), MAX_ANSWERS)
    draws = {
        "asked": rng.poisson(flights.get("asked_mean", ASKED_MEAN), n),
        "answers": rng.random(n),
        "dismissed": rng.standard_normal(n),
        "reopened": rng.standard_normal(n),
        "errors": rng.poisson(APP_ERRORS_MEAN, n),
        "transit": rng.uniform(5, 300, n),
    }
    per_answer = {
        name: rng.random(slots)
        for name in ("rating", "comments", "category", "template", "contact", "ticket", "transit")
    }
    delays = np.exp(rng.standard_normal(slots) * ANSWER_DELAY_SIGMA) * ANSWER_DELAY_MEDIAN_DAYS

    row = pd.Index(flights["flight_id"]).get_indexer(pd.Index(served["unit_id"]))
    if (row < 0).any():
        unknown = served["unit_id"].to_numpy()[row < 0][:3]
        raise ValueError(f"predictions of {departure_date} name flights that do not exist: {list(unknown)}")
    facts = flights.iloc[row].reset_index(drop=True)
    told = served.reset_index(drop=True)
    score = told["score"].to_numpy(dtype=float)
    delay = facts["delay_minutes"].to_numpy(dtype=float)
    has_arrived = ~np.isnan(delay)
    is_late, is_warned = delay >= late_from, score >= WARNING_THRESHOLD
    asked = np.where(has_arrived, draws["asked"][row], 0)

    mean = mean_rating(np.where(has_arrived, delay, 0.0), score, late_from)
    rate = ANSWER_RATE_CONTENT + ANSWER_RATE_UPSET * (5.0 - mean) / 4.0
    answers = _answer_counts(asked * rate, draws["answers"][row])
    i, slot = np.nonzero(np.arange(MAX_ANSWERS)[None, :] < answers[:, None])
    drawn = {name: values[row[i], slot] for name, values in per_answer.items()}

    feedback = _feedback(
        told.iloc[i], facts.iloc[i], slot, mean[i], is_late[i], is_warned[i], delays[row[i], slot], drawn
    )
    after = facts["arrived_at"].where(
        facts["arrived_at"].notna(), facts["scheduled_departure_at"] + pd.Timedelta(hours=3)
    )
    surprised = has_arrived & is_late & ~is_warned
    shares = np.where(surprised, REOPEN_SHARE_SURPRISED, REOPEN_SHARE)
    reopened = _counts(draws["asked"][row] * shares, draws["reopened"][row])
    dismissed = _counts(
        draws["asked"][row] * np.where(is_warned, DISMISS_SHARE, 0.0), draws["dismissed"][row]
    )
    events = {
        "rating_asked": (asked, after + pd.Timedelta(minutes=30)),
        "alert_dismissed": (dismissed, told["event_at"] + pd.Timedelta(minutes=30)),
        "screen_reopened": (reopened, after),
        "app_error": (draws["errors"][row], told["event_at"] + pd.Timedelta(minutes=10)),
    }
    telemetry = [
        pd.DataFrame(
            {
                "telemetry_id": told["prediction_id"] + "/" + event_type,
                "prediction_id": told["prediction_id"],
                "unit_id": told["unit_id"],
                "event_type": event_type,
                "event_count": counts,
                "is_simulated": True,
                "event_at": moments.dt.as_unit("us"),
                "received_at": _seconds(moments, draws["transit"][row]),
            }
        )[counts > 0]
        for event_type, (counts, moments) in events.items()
    ]
    return feedback, pd.concat(telemetry, ignore_index=True)


def _travellers(flights: pd.Series, slot: np.ndarray) -> list[str]:
    """Who sat there: the same one whoever predicts, out of TRAVELLERS."""
    return [
        f"traveller-{int.from_bytes(hashlib.sha256(f'{flight}/{seat}'.encode()).digest()[:8]) % TRAVELLERS:05d}"
        for flight, seat in zip(flights.tolist(), slot.tolist(), strict=True)
    ]


def _feedback(
    told: pd.DataFrame,
    facts: pd.DataFrame,
    slot: np.ndarray,
    mean: np.ndarray,
    is_late: np.ndarray,
    is_warned: np.ndarray,
    delay_days: np.ndarray,
    drawn: dict[str, np.ndarray],
) -> pd.DataFrame:
    """Ratings, one row per answer, and the tickets that some unhappy travellers open as well."""
    told, facts = told.reset_index(drop=True), facts.reset_index(drop=True)
    rating = draw_rating(mean, drawn["rating"])
    answered = _seconds(facts["arrived_at"], np.minimum(delay_days, ANSWER_DELAY_MAX_DAYS) * 86_400)
    category = _category(rating, is_late, is_warned, drawn["category"])
    about = pd.DataFrame(
        {
            "carrier": facts["carrier"],
            "origin": facts["origin"],
            "dest": facts["dest"],
            "minutes": facts["delay_minutes"],
            "category": category,
        }
    )
    text = pd.Series(write_comments(about, drawn["template"], drawn["contact"]), dtype="str")
    comments = drawn["comments"] < pd.Series(rating).map(COMMENT_SHARE).to_numpy(dtype=float)
    number = pd.Series(slot).astype(str).str.zfill(2)
    ratings = pd.DataFrame(
        {
            "feedback_id": told["prediction_id"] + "/rating-" + number,
            "prediction_id": told["prediction_id"],
            "unit_id": told["unit_id"],
            "channel": "rating",
            "rating": pd.array(rating, dtype="Int64"),
            "comment": text.where(comments, None),
            "category": pd.Series(category, dtype="str").where(comments, None),
            "user_id": _travellers(facts["flight_id"], slot),
            "is_simulated": True,
            "event_at": answered,
            "received_at": _seconds(answered, 1 + drawn["transit"] * 300),
        }
    )
    opens = (rating <= 2) & (drawn["ticket"] < TICKET_SHARE)
    wrote = _seconds(answered, 600 + drawn["ticket"] * 36_000)
    tickets = ratings.assign(
        feedback_id=told["prediction_id"] + "/ticket-" + number,
        channel="ticket",
        rating=pd.array([None] * len(ratings), dtype="Int64"),
        comment=text,
        category=category,
        event_at=wrote,
        received_at=_seconds(wrote, 1 + drawn["transit"] * 300),
    )[opens]
    return pd.concat([ratings, tickets], ignore_index=True)
