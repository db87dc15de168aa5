"""A look's contributions are counted from the sums that were judged, by source, and name nobody."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.certificate.contents import Sums, difference, sums_of
from ratchet.certificate.credits import contributions, section
from ratchet.ledger.chain import Entry
from ratchet.ledger.store import Ledger, migrate

DAY = date(2013, 5, 28)


def _ledger(tmp_path: Path, arms: pd.DataFrame | None) -> list[Entry]:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    migrate(url)
    ledger, as_of = Ledger(url), datetime(2013, 5, 29)

    def add(kind: str, key: str, **payload: Any) -> Entry:
        return ledger.append(loop="flights", kind=kind, key=key, as_of=as_of, payload=payload)

    add("training", "t", request="r", train_rows=20_000)
    started = add(
        "rollout_started", "s", request="r", experiment_id="e", challenger_version=2, champion_version=1
    )
    sums = {} if arms is None else difference(Sums(), sums_of({"arms": arms}, DAY, DAY))
    add("rollout_decision", "d", experiment_id="e", started=started.hash, action="promote", sums=sums)
    add("rollout_decision", "other", experiment_id="another", started=None, action="hold", sums={})
    return ledger.entries("flights")


def test_ratings_tickets_and_labels_are_counted_over_days_and_arms(tmp_path: Path) -> None:
    arms = pd.DataFrame(
        {"departure_date": [DAY, DAY], "arm": ["control", "challenger"], "n_ratings": [7, 5], "n_tickets": [1, None],
         "n_labelled": [100, 90]}
    )  # fmt: skip
    entries = _ledger(tmp_path, arms)
    look = next(e for e in entries if e.key == "d")
    assert [(source, count) for source, _, count in contributions(entries, look)] == [
        ("feedback", 12), ("feedback", 1), ("outcomes", 190), ("outcomes", 20_000),
    ]  # fmt: skip
    assert section(entries, look).rows[0] == ("feedback", "ratings of served predictions", "12")


def test_what_a_record_does_not_have_is_left_out(tmp_path: Path) -> None:
    entries = _ledger(tmp_path, None)
    look = next(e for e in entries if e.key == "d")
    assert [source for source, _, _ in contributions(entries, look)] == ["outcomes"]
    assert contributions(entries, entries[0]) == []
    assert section(entries, next(e for e in entries if e.key == "other")).rows == ()
