"""What feedback was worth to a model, read from the evaluations that left it out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ratchet.ledger.chain import Entry
from ratchet.training.weights import LABELS, WEIGHTS

if TYPE_CHECKING:
    from ratchet.loop import Loop


@dataclass(frozen=True)
class FeedbackPart:
    """One part of feedback in one evaluation: how the loss changes without it, with its interval over days.

    `state`: helps, harms, not shown to matter, or `not judged: ...`, which has no numbers.
    """

    as_of: str
    part: str
    worth: float | None
    low: float | None
    high: float | None
    state: str


def feedback_groups(loop: Loop) -> tuple[str, ...]:
    """Groups of the ablation with a feature that the loop file says is made of feedback."""
    made = set(loop.monitoring.alerts.feeds.get("feedback", ()))
    return tuple(
        name for name, columns in loop.gates.evaluation.ablation.groups.items() if made & set(columns)
    )


def feedback_worth(loop: Loop, entries: Iterable[Entry]) -> list[FeedbackPart]:
    """Each evaluation's parts, oldest first; none of an evaluation that left nothing of feedback out."""
    wanted, found = (*feedback_groups(loop), WEIGHTS, LABELS), []
    for entry in entries:
        if entry.kind != "evaluation":
            continue
        gate = next((g for g in entry.payload["gates"] if g["name"] == "feature_ablation"), None)
        evidence = {} if gate is None else gate["evidence"]
        for part in wanted:
            if (row := evidence.get("groups", {}).get(part)) is not None:
                found.append(
                    FeedbackPart(entry.as_of, part, row["worth"], row["low"], row["high"], row["state"])
                )
            elif (why := evidence.get("absent", {}).get(part)) is not None:
                found.append(FeedbackPart(entry.as_of, part, None, None, None, f"not judged: {why}"))
    return found


def told_of(found: Sequence[FeedbackPart]) -> str:
    """What the newest evaluation says of feedback, in a sentence."""
    last = max((part.as_of for part in found), default="")
    helps = [part.part for part in found if part.as_of == last and part.state == "helps"]
    if helps:
        return f"feedback helps the model: {', '.join(helps)}"
    return "feedback is not shown to help the model; it still opens incidents, asks for retrains and ranks themes"
