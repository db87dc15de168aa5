"""What simulated travellers write: templates by category, some with contact data that must not be kept."""

from __future__ import annotations

import numpy as np
import pandas as pd

CATEGORIES = ("false_reassurance", "false_alarm", "late_alert", "app_problem", "price", "praise")

TEMPLATES = {
    "false_reassurance": (
        "The app said we'd be on time and we landed {minutes} minutes late.",
        "Told me not to worry about {carrier} to {dest}. I missed my connection.",
        "No warning at all, then a long wait at {origin}. What is the forecast for?",
        "On time, it said. It was not.",
    ),
    "false_alarm": (
        "Warned me about a delay that never came, I rebooked dinner for nothing.",
        "Got an alert for {dest} and we arrived as planned. Please don't scare people.",
        "Rushed to {origin} for an earlier flight because of your warning. Mine was on time.",
    ),
    "late_alert": (
        "The warning was right but two hours before is too late to change anything.",
        "I was already on my way to {origin} when the alert came.",
        "Right about the delay, but tell me in the morning next time.",
    ),
    "app_problem": (
        "The screen kept loading and I could not see the forecast.",
        "App crashed twice at the gate.",
        "The alert opened an empty page.",
        "I can't find where to switch the alerts off.",
    ),
    "price": (
        "Too expensive for {minutes} minutes late.",
        "Paid extra for {carrier} and still waited at {dest}.",
        "Not worth the fare.",
    ),
    "praise": (
        "Smooth trip to {dest}, forecast was spot on.",
        "Knew what to expect before I left home, thank you.",
        "All good with {carrier}.",
        "Nice and punctual.",
    ),
}

#: Reserved for examples: nobody has these addresses and numbers. Landing must still take them out.
CONTACTS = (
    " Write to me at traveller{n}@example.com",
    " Call me: +1 212-555-01{n:02d}",
    " My mail is t.{n}@example.org, phone (917) 555-01{n:02d}.",
)
CONTACT_SHARE = 0.02


def write_comments(answers: pd.DataFrame, choice: np.ndarray, contact: np.ndarray) -> list[str]:
    """One comment per row of `answers` (carrier, origin, dest, minutes, category).

    `choice` and `contact` are uniform draws in [0, 1), one each per row: which template, and whether and
    which contact data follow it.
    """
    texts = []
    columns = (answers[name].tolist() for name in ("category", "carrier", "origin", "dest", "minutes"))
    for category, carrier, origin, dest, minutes, pick, add in zip(
        *columns, choice.tolist(), contact.tolist(), strict=True
    ):
        templates = TEMPLATES[category]
        text = templates[int(pick * len(templates))].format(
            carrier=carrier, origin=origin, dest=dest, minutes=int(max(minutes, 0))
        )
        if add < CONTACT_SHARE:
            position = add / CONTACT_SHARE
            text += CONTACTS[int(position * len(CONTACTS))].format(n=int(position * 10_000) % 100)
        texts.append(text)
    return texts
