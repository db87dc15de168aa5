"""A rollout's looks are judged again from their records alone, and a changed record is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.test_experiment_verdict import EXPERIMENT, START, exposure_of, flights_loop, world

from ratchet.certificate import judges
from ratchet.certificate.contents import Sums, SumsUnreadable, after, difference, recorded, sums_of
from ratchet.certificate.replay import Replayed, replay
from ratchet.experiment.state import Verdict
from ratchet.ledger.chain import GENESIS, Entry, canonical, plain, sealed, verify_chain
from ratchet.ledger.state import fold
from ratchet.stages.serving import terms_of

MADE = {
    "code": {"commit": "a" * 40, "is_clean": True, "note": None},
    "dbt": {"invocation_id": "x", "manifest_sha256": "y", "models_sha256": "z"},
    "environment": {"lock_sha256": "l", "python": "3.11.1", "machine": "m", "packages": {"numpy": "2.0"}},
}
LOOKS = 50
AGAIN = 14  # looks of the rollout that is forged


def append(entries: list[Entry], kind: str, key: str, as_of: str, payload: dict[str, Any]) -> Entry:
    entry = sealed(
        seq=len(entries) + 1, loop="flights", kind=kind, key=key, as_of=as_of, actor="ratchet",
        recorded_at="2026-01-01T00:00:00.000+00:00", payload=json.loads(canonical(plain(payload))),
        previous_hash=entries[-1].hash if entries else GENESIS,
    )  # fmt: skip
    entries.append(entry)
    return entry


@cache
def rollout(gain: float = 0.02, days: int = LOOKS) -> tuple[Entry, ...]:
    """The ledger of one rollout that advances by itself, as the stage writes it."""
    loop, entries = flights_loop(), []
    paired, arms = world(3, days=days, gain=gain)
    frames = {"paired": paired, "arms": arms, "exposure": exposure_of(arms)}
    at = datetime.combine(START, datetime.min.time()).isoformat()
    started = append(
        entries, "rollout_started", f"rollout:{EXPERIMENT}", at,
        {"experiment_id": EXPERIMENT, "champion_version": 1, "challenger_version": 2, "stage": "shadow",
         "request": "r", "model_sha256": "m", "snapshot_sha256": "s", "terms": terms_of(loop)},
    )  # fmt: skip
    for offset in range(days):
        day = START + timedelta(days=offset)
        running = fold(entries).rollout
        if running is None:
            break
        sums = sums_of(frames, START, day)
        verdict = judges.judge_look(loop, running, sums, day)
        basis = {"after": entries[-1].hash, "started": started.hash, "made": MADE}
        told = difference(recorded(entries, EXPERIMENT), sums)
        late = (day + timedelta(days=1)).isoformat() + "T04:00:00"
        look = append(
            entries, "rollout_decision", f"look:{EXPERIMENT}:{day}", late,
            {**judges.look_record(running, verdict, day), **basis, "sums": told},
        )  # fmt: skip
        waits = fold(entries).rollout
        assert waits is not None
        ends = look.payload["to_apply"] and verdict.action != "advance"
        # The world's stages follow each other every seven days: an advance waits for the next.
        if ends or (waits.undone and (offset + 1) % 7 == 0):
            index = running.trial.stage_index + 1
            more = {} if ends else {"stage_index": index, "stage": loop.rollout.stages[index].name}
            append(
                entries, "rollout_applied", f"applied:{waits.undone}", late,
                {"experiment_id": EXPERIMENT, "decision": waits.undone, "champion_version": 1, "challenger_version": 2,
                 "action": verdict.action if ends else "advance", **more},
            )  # fmt: skip
    return tuple(entries)


def outcomes(entries: list[Entry] | tuple[Entry, ...], **more: Any) -> dict[str, list[Replayed]]:
    found: dict[str, list[Replayed]] = {}
    for one in replay(entries, **more):
        found.setdefault(one.outcome, []).append(one)
    return found


def looks(found: Mapping[str, list[Replayed]], outcome: str) -> list[Replayed]:
    return [one for one in found.get(outcome, []) if one.entry.kind == "rollout_decision"]


def test_each_look_is_judged_again_and_equal() -> None:
    entries = rollout()
    actions = [e.payload["action"] for e in entries if e.kind == "rollout_decision"]
    assert {"advance", "promote"} <= set(actions), "the rollout went nowhere: the test would look at little"
    found = outcomes(entries)
    assert len(looks(found, "equal")) == len(actions) > 15
    assert not looks(found, "different") + looks(found, "not replayable")
    assert sum(one.entry.kind == "rollout_applied" for one in found["equal"]) == 4


def test_the_records_are_small() -> None:
    sizes = [len(canonical(e.payload["sums"])) for e in rollout() if e.kind == "rollout_decision"]
    assert len(sizes) > 15
    # The last record alone would hold every day's rows again without the difference.
    assert max(sizes) < 10_000, sizes


def resealed(entries: tuple[Entry, ...], change: Callable[[dict[str, Any]], None], at: int) -> list[Entry]:
    """Someone who owns the ledger changes an entry and writes a chain that is whole again."""
    made: list[Entry] = []
    new = {GENESIS: GENESIS}
    for index, entry in enumerate(entries):
        payload = deepcopy(entry.payload)
        for name in ("after", "started"):
            if name in payload:
                payload[name] = new[payload[name]]
        if index == at:
            before = canonical(payload)
            change(payload)
            assert canonical(payload) != before, "nothing was changed: the test would look at nothing"
        fields = {k: v for k, v in entry.__dict__.items() if k not in ("hash", "payload", "previous_hash")}
        sealed_again = sealed(**fields, payload=payload, previous_hash=made[-1].hash if made else GENESIS)
        new[entry.hash] = sealed_again.hash
        made.append(sealed_again)
    assert verify_chain(made).ok
    return made


def nudge(payload: dict[str, Any]) -> None:
    row = payload["sums"]["paired"]["rows"][0]
    at = next(i for i, value in enumerate(row) if isinstance(value, float))
    row[at] = float(np.nextafter(row[at] * 1.01, np.inf))


FORGERIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "the action": lambda p: p.update(action="promote"),
    "whether it is carried out": lambda p: p.update(to_apply=True),
    "a reason": lambda p: p.update(reasons=["all is well"]),
    "a z in the last bit": lambda p: p["evidence"]["primary"].update(
        z=float(np.nextafter(p["evidence"]["primary"]["z"], np.inf))
    ),
    "a z written as a whole number": lambda p: p["evidence"]["primary"].update(z=1),
    "a sum": nudge,
    "a row left out": lambda p: p["sums"]["paired"]["rows"].pop(0),
    "a row twice": lambda p: p["sums"]["arms"]["rows"].append(p["sums"]["arms"]["rows"][0]),
    "a look": lambda p: p["looks"].update(promotion=[p["day"], 0.5, 9.0, True]),
    "the stage": lambda p: p.update(stage="ab"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forged_record_in_a_whole_chain_is_found(what: str) -> None:
    entries = rollout(0.0, AGAIN)
    at = next(
        i for i, e in enumerate(entries)
        if e.kind == "rollout_decision" and e.payload["action"] == "hold" and "primary" in e.payload["evidence"]
        and e.payload["evidence"]["primary"]["clusters"] > 3
    )  # fmt: skip
    forged = resealed(entries, FORGERIES[what], at)
    answers = replay(forged, only=lambda entry: entry.seq > at)
    assert any(one.outcome in ("different", "not replayable") for one in answers), "a forgery was agreed with"


def test_terms_that_were_loosened_afterwards_are_found() -> None:
    def loosen(payload: dict[str, Any]) -> None:
        payload["terms"]["rollout"]["alpha"] = 0.2

    assert looks(outcomes(resealed(rollout(0.0, AGAIN), loosen, 0)), "different")


def test_other_code_is_named_when_the_answer_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = deepcopy(MADE)
    now["code"]["commit"], now["environment"]["packages"] = "b" * 40, {"numpy": "3.0"}
    entries = rollout(0.0, AGAIN)
    assert not looks(outcomes(entries, code=now), "different"), (
        "other code with the same answer is no difference"
    )
    monkeypatch.setattr(judges, "judge_day", lambda *_, **__: Verdict("hold", ("other",), {}))
    (first, *_) = looks(outcomes(entries, code=now), "different")
    assert "recorded by commit aaaaaaaaaaaa, replayed by bbbbbbbbbbbb" in first.detail
    assert "numpy 2.0, now 3.0" in first.detail


def test_a_record_without_its_basis_is_not_counted_as_equal() -> None:
    entries = list(rollout(0.0, AGAIN))
    bare = {k: v for k, v in entries[3].payload.items() if k != "sums"}
    found = outcomes([*entries[:3], replace(entries[3], payload=bare), *entries[4:]])
    assert "without its sums" in looks(found, "not replayable")[0].detail
    assert len(looks(found, "equal")) == 2
    found = outcomes(entries[1:])
    assert not looks(found, "equal")
    assert not outcomes([])


@pytest.mark.parametrize(
    ("answers", "action", "is_right"),
    [
        (("approve",), "promote", True),
        ((), "promote", False),
        (("reject",), "promote", False),
        (("reject",), "reject", True),
        (("timeout",), "reject", True),
        (("approve",), "reject", False),
        (("approve",), "advance", False),
    ],
)
def test_what_was_carried_out_is_what_was_decided_and_approved(
    answers: tuple[str, ...], action: str, is_right: bool
) -> None:
    entries = [e for e in rollout() if e.kind != "rollout_applied"]
    told = {**entries[-1].payload, "approval": {"by": ["Dana"], "count": 1, "until": "2013-07-01T00:00:00"}}
    assert told["action"] == "promote"
    decision = append(entries, "rollout_decision", "look:approved", "2013-06-20T00:00:00", told)
    for answer in answers:
        payload = {"decision": decision.key, "answer": answer, "by": "Dana", "reason": "seen"}
        append(entries, "approval", f"approval:{answer}", "2013-06-21T00:00:00", payload)
    same = {name: told[name] for name in ("experiment_id", "champion_version", "challenger_version")}
    stage = {"stage_index": told["stage_index"] + 1} if action == "advance" else {}
    done = append(
        entries, "rollout_applied", "applied:approved", "2013-06-22T00:00:00",
        {**same, **stage, "decision": decision.key, "action": action},
    )  # fmt: skip
    (found,) = replay(entries, only=lambda entry: entry.hash == done.hash)
    assert (found.outcome == "equal") is is_right, found.detail


def test_terms_of_an_earlier_version_judge_what_does_not_need_the_rest() -> None:
    entries = rollout(0.0, AGAIN)

    def without(part: str, key: str) -> Callable[[dict[str, Any]], None]:
        return lambda payload: payload["terms"][part].pop(key)

    unneeded = resealed(entries, lambda p: p["terms"]["gates"]["evaluation"].pop("model_megabytes"), 0)
    assert len(looks(outcomes(unneeded), "equal")) == AGAIN
    needed = outcomes(resealed(entries, without("rollout", "spending_power"), 0))
    assert "lacks what this version reads" in looks(needed, "not replayable")[0].detail
    unknown = resealed(entries, lambda p: p["terms"].update(weather={}), 0)
    assert "'weather'" in looks(outcomes(unknown), "not replayable")[0].detail
    invalid = resealed(entries, lambda p: p["terms"]["rollout"].update(alpha="much"), 0)
    assert "rollout.alpha" in looks(outcomes(invalid), "not replayable")[0].detail


numbers = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.floats(allow_nan=True))
rows = st.lists(st.tuples(st.integers(0, 6), st.sampled_from("ab"), numbers, numbers), max_size=12)


def frame_of(values: list[tuple[Any, ...]]) -> pd.DataFrame:
    made = [(START + timedelta(days=v[0]), *v[1:]) for v in values]
    return pd.DataFrame(made, columns=["departure_date", "arm", "n", "x"], dtype="object")


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4))
def test_differences_give_back_what_was_judged(history: list[list[tuple[Any, ...]]]) -> None:
    """Rows that change, vanish, come twice or hold nothing: the record gives the frame that was judged."""
    live, folded = Sums(), Sums()
    for values in history:
        now = sums_of({"arms": frame_of(values)}, START, START + timedelta(days=9))
        told = json.loads(canonical(difference(live, now)))
        folded, live = after(folded, told), now
        pd.testing.assert_frame_equal(folded.frames("e")["arms"], live.frames("e")["arms"])
        assert len(live.frames("e")["arms"]) == len(values)


def test_sums_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SumsUnreadable, match="do not follow"):
        after(Sums(), {"arms": {"columns": ["departure_date"], "rows": [], "removed": [["2013-05-14"]]}})
    with pytest.raises(SumsUnreadable, match="2 values for 1 columns"):
        after(Sums(), {"arms": {"columns": ["departure_date"], "rows": [["2013-05-14", 1]]}})
    inside = sums_of({"arms": frame_of([(0, "a", 1, 2.0), (8, "a", 1, 2.0)])}, START, START)
    assert len(inside.frames("e")["arms"]) == 1, "days after the look are not judged"
    assert inside.frames("e")["arms"]["departure_date"].iloc[0] == date(2013, 5, 14)
