"""What is planted in the story's world: one route late, and a loop that listens to those who complain of it.

Real flights to some airports, except that those of one route are late from a day on; travellers are simulated as in
the demo, and more of them use the app on that route.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import pandas as pd

from ratchet.loop import Loop
from ratchet.loop_feedback import RowWeights
from ratchet.loop_privacy import ReceiptChannel
from ratchet.loop_triggers import FeedbackLimit
from ratchet.replay.flights import load_flights
from ratchet.replay.travellers import ASKED_MEAN
from ratchet.replay.world import World
from ratchet.settings import Settings

CATEGORY = "false_reassurance"
#: Of the answers that say what they are about, so many may be about CATEGORY.
LIMIT = FeedbackLimit(share=0.14, k_of_n_days=(10, 14))
START = date(2013, 5, 28)
PLANTED_MINUTES = 90.0
#: On the planted route so many times as many people use the app.
USERS = 4.0
#: With fewer flights in all, one route is a larger part of what people say.
DESTINATIONS = ("ATL", "BOS", "CLT", "DCA", "DFW", "DTW", "FLL", "LAX", "MCO", "MIA", "ORD", "SFO")


@dataclass(frozen=True)
class Plot:
    """What is planted: all flights from `origin` to `dest` are late from the departure date `since` on."""

    origin: str = "LGA"
    dest: str = "ATL"
    since: date = START + timedelta(days=7)


class PlantedWorld(World):
    """The demo's world with fewer airports and one route late."""

    def __init__(self, settings: Settings, loop: Loop, seed: int, plot: Plot) -> None:
        super().__init__(settings, loop, seed)
        self._plot = plot

    @cached_property
    def flights(self) -> pd.DataFrame:
        """The year's flights to DESTINATIONS; those planted arrive PLANTED_MINUTES later than they did."""
        flights = load_flights()
        flights = flights[flights["dest"].isin(DESTINATIONS)].reset_index(drop=True)
        late = (
            (flights["origin"] == self._plot.origin)
            & (flights["dest"] == self._plot.dest)
            & (flights["departure_date"] >= pd.Timestamp(self._plot.since))
            & flights["arrived_at"].notna()
        )
        flights.loc[late, "delay_minutes"] += PLANTED_MINUTES
        for name in ("arrived_at", "outcome_received_at"):
            flights.loc[late, name] += pd.Timedelta(minutes=PLANTED_MINUTES)
        return flights.assign(asked_mean=np.where(late, USERS * ASKED_MEAN, ASKED_MEAN))


def story_loop(loop: Loop, channel: ReceiptChannel | None = None) -> Loop:
    """The loop with a limit on CATEGORY in place of its other events, rows weighed by complaints of their route, a
    longer comparison, and receipts to those who were never asked."""
    event = loop.triggers.event.model_copy(
        update={
            "feedback_limits": {CATEGORY: LIMIT},
            "drift_features": len(loop.features.columns) + 1,
            "log_loss_margin": 1.0,
        }
    )
    routine = loop.triggers.routine.model_copy(update={"max_age_days": 365})
    triggers = loop.triggers.model_copy(update={"event": event, "routine": routine})
    weights = RowWeights(feature="route_complaint_share_28d", boost=1.0, at_most=2.0)
    learn = loop.feedback.learn.model_copy(update={"weights": weights})
    feedback = loop.feedback.model_copy(update={"learn": learn})
    # Fewer steps and a longer comparison: what is to be seen is what complaints do.
    lasting = {"shadow": 3, "canary_25": 3, "ab": 14}
    stages = tuple(
        stage.model_copy(update={"min_days": lasting[stage.name]})
        for stage in loop.rollout.stages
        if stage.name in lasting
    )
    rollout = loop.rollout.model_copy(update={"stages": stages})
    told = loop.receipts.model_copy(update={"channel": channel, "without_consent": "answer"})
    return loop.model_copy(
        update={"triggers": triggers, "receipts": told, "feedback": feedback, "rollout": rollout}
    )
