"""The facts that follow from landed rows, and the reference as a whole; see flights.py."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from tests.reference.flights import (
    LATE_MINUTES,
    Features,
    Row,
    Table,
    by,
    latest,
    scheduled,
    within_reach,
)

LABEL_WINDOW = timedelta(hours=72)
ANSWER_WINDOW = timedelta(hours=168)
CLIP = 0.000001
#: Sources that say how far the world is known; what the loop logs itself says nothing about that.
FEEDS = ("schedule", "weather", "outcomes")


class Reference:
    """What the tables must hold when exactly the rows of `raw` have landed and are green.

    Args:
        raw: source -> landed rows.
        landed_until: by source, the end of the last received day of which anything has landed.
    """

    def __init__(self, raw: dict[str, list[Row]], landed_until: dict[str, datetime]) -> None:
        self._outcomes_until = landed_until.get("outcomes", datetime(1970, 1, 1))
        self._features = Features(raw, max(landed_until[feed] for feed in FEEDS if feed in landed_until))
        self._outcomes = by(raw["outcomes"], "unit_id")
        # What a row says of one flight must not depend on what another row with its id says of another flight.
        self._predictions = by(raw["predictions"], "prediction_id", "unit_id")
        self._feedback = by(raw["feedback"], "feedback_id", "prediction_id", "unit_id")
        self._telemetry = by(raw["telemetry"], "telemetry_id", "prediction_id", "unit_id")
        self.flights: dict[str, Row] = {}
        for unit, versions in by(raw["schedule"], "flight_id").items():
            stands = scheduled(versions)
            assert stands is not None
            self.flights[unit] = stands
        self.labels = self._labels()
        self.predictions = self._fct_predictions()
        self.feedback = self._fct_feedback()
        self.reactions = self._fct_reactions()

    def features(self) -> Table:
        """ftr_flights__pre_departure, by unit."""
        return self._features.rows()

    def _labels(self) -> Table:
        """fct_labels: the version last known when the label window closed; a late report only without one."""
        table: Table = {}
        for unit, flight in self.flights.items():
            closes = flight["scheduled_departure_at"] + LABEL_WINDOW
            versions = [v for v in self._outcomes.get(unit, []) if within_reach(v, flight)]
            in_window = latest(v for v in versions if v["received_at"] <= closes)
            stands = in_window or latest(versions)
            if stands is None:
                continue
            table[(unit,)] = {
                "unit_id": unit,
                "departure_date": flight["departure_date"],
                "label": int(stands["outcome_value"] >= LATE_MINUTES),
                "outcome_value": stands["outcome_value"],
                "outcome_event_at": stands["event_at"],
                "outcome_received_at": stands["received_at"],
                "is_in_window": in_window is not None,
            }
        return table

    def _fct_predictions(self) -> Table:
        """fct_predictions: the latest version of each prediction of a scheduled flight, and what came of it; of
        several of one unit and model version, the one that was received first."""
        table: Table = {}
        for key, stands in self._standing().items():
            flight = self.flights[key[1]]
            fact = self.labels.get((stands["unit_id"],))
            arrived = fact is not None and fact["is_in_window"]
            label = fact["label"] if fact and arrived else None
            if arrived:
                state = "arrived"
            elif fact is not None:
                state = "late_report"
            elif self._outcomes_until <= flight["scheduled_departure_at"] + LABEL_WINDOW:
                state = "open"
            else:
                state = "unresolved"
            score = stands["score"]
            log_loss = brier = None
            if label is not None and score is not None:
                clipped = min(max(score, CLIP), 1 - CLIP)
                log_loss = -math.log(clipped if label else 1 - clipped)
                brier = (clipped - label) ** 2
            table[key] = {
                "prediction_id": stands["prediction_id"],
                "unit_id": stands["unit_id"],
                "departure_date": flight["departure_date"],
                "experiment_id": stands["experiment_id"],
                "arm": stands["arm"],
                "model_version": stands["model_version"],
                "is_served": stands["is_served"],
                "score": score,
                "latency_ms": stands["latency_ms"],
                "predicted_at": stands["event_at"],
                "received_at": stands["received_at"],
                "origin": flight["origin"],
                "carrier": flight["carrier"],
                "label": label,
                "label_received_at": fact["outcome_received_at"] if fact and arrived else None,
                "outcome_state": state,
                "log_loss": log_loss,
                "brier": brier,
            }
        return table

    def _standing(self) -> Table:
        """The predictions that count, by their key; the others go to `self.doubled`."""
        said: dict[tuple[str, int], list[tuple[datetime, str, Row]]] = {}
        for (_, unit), versions in self._predictions.items():
            flight = self.flights.get(unit)
            about = [] if flight is None else [v for v in versions if within_reach(v, flight)]
            stands = latest(about)
            if stands is not None:
                first, row_hash = min((v["received_at"], v["row_hash"]) for v in about)
                said.setdefault((unit, stands["model_version"]), []).append((first, row_hash, stands))
        standing: Table = {}
        self.doubled: Table = {}
        names = ("prediction_id", "unit_id", "model_version", "is_served", "received_at")
        for candidates in said.values():
            (_, _, first_one), *others = sorted(candidates, key=lambda c: c[:2])
            standing[(first_one["prediction_id"], first_one["unit_id"])] = first_one
            for _, _, row in others:
                self.doubled[(row["prediction_id"], row["unit_id"])] = {
                    **{name: row[name] for name in names},
                    "standing_prediction_id": first_one["prediction_id"],
                }
        return standing

    def _answers_close(self, prediction: Row) -> datetime:
        closes: datetime = self.flights[prediction["unit_id"]]["scheduled_departure_at"] + ANSWER_WINDOW
        return closes

    def _fct_feedback(self) -> Table:
        """fct_feedback: the version last known when the answer's window closed; a late one only without that."""
        table: Table = {}
        for key, versions in self._feedback.items():
            prediction = self.predictions.get(key[1:])
            if prediction is None or not prediction["is_served"]:
                continue
            flight = self.flights[prediction["unit_id"]]
            about = [v for v in versions if within_reach(v, flight)]
            in_window = [v for v in about if v["received_at"] <= self._answers_close(prediction)]
            stands = latest(in_window) or latest(about)
            if stands is None:
                continue
            table[key] = {
                "feedback_id": stands["feedback_id"],
                "prediction_id": stands["prediction_id"],
                "unit_id": stands["unit_id"],
                "departure_date": prediction["departure_date"],
                "experiment_id": prediction["experiment_id"],
                "arm": prediction["arm"],
                "model_version": prediction["model_version"],
                "channel": stands["channel"],
                "rating": stands["rating"],
                "category": stands["category"],
                "has_comment": bool(stands["comment"]),
                "feedback_event_at": stands["event_at"],
                "feedback_received_at": stands["received_at"],
                "is_in_window": bool(in_window),
                "is_simulated": stands["is_simulated"],
            }
        return table

    def _fct_reactions(self) -> Table:
        """fct_reactions: what was received about each served prediction within the answers' window, counted."""
        answers = by(self.feedback.values(), "prediction_id", "unit_id")
        table: Table = {}
        for key, prediction in self.predictions.items():
            if not prediction["is_served"]:
                continue
            given = [a for a in answers.get(key, []) if a["is_in_window"]]
            ratings = [a["rating"] for a in given if a["channel"] == "rating" and a["rating"] is not None]
            row: Row = {
                "prediction_id": prediction["prediction_id"],
                "unit_id": prediction["unit_id"],
                "departure_date": prediction["departure_date"],
                "n_ratings": len(ratings),
                "sum_rating": sum(ratings),
                "sum_rating_squared": sum(r * r for r in ratings),
                "n_tickets": sum(a["channel"] == "ticket" for a in given),
            }
            counts = self._counts(prediction)
            for column, kind in (
                ("n_asked", "rating_asked"), ("n_dismissed", "alert_dismissed"),
                ("n_reopened", "screen_reopened"), ("n_errors", "app_error"),
            ):  # fmt: skip
                row[column] = counts.get(kind, 0)
            table[key] = row
        return table

    def _counts(self, prediction: Row) -> dict[str, int]:
        counts: dict[str, int] = {}
        closes, flight = self._answers_close(prediction), self.flights[prediction["unit_id"]]
        for key, versions in self._telemetry.items():
            if key[1:] != (prediction["prediction_id"], prediction["unit_id"]):
                continue
            about = [v for v in versions if within_reach(v, flight)]
            stands = latest(v for v in about if v["received_at"] <= closes)
            if stands is not None:
                kind = stands["event_type"]
                counts[kind] = counts.get(kind, 0) + stands["event_count"]
        return counts
