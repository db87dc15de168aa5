"""Cohorts that a loop excludes: who is admitted first, what narrows it, what is checked, and its replay."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.unit.test_certificate_replay import MADE, append, outcomes
from tests.unit.test_experiment_policies import changed
from tests.unit.test_experiment_verdict import (
    COHORTS,
    EXPERIMENT,
    START,
    exposure_of,
    flights_loop,
    state_on,
    world,
)

from ratchet.certificate import judges
from ratchet.certificate.contents import difference, recorded, sums_of
from ratchet.certificate.summary import certificate_of
from ratchet.experiment.admission import Admission, first_admission
from ratchet.experiment.state import Verdict
from ratchet.experiment.verdict import judge_day
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.stages.serving import terms_of

ALL = Admission.of(COHORTS)
HARMED = {"gain": 0.03, "cohort_loss": {"carrier=DL": 0.2}}


def excluding(**cohorts: Any) -> Loop:
    return changed(flights_loop(), "cohorts", without_evidence="exclude", **cohorts)


def apart(exposure: pd.DataFrame, admission: Admission) -> pd.DataFrame:
    """As it is counted when the champion serves what is excluded, from `since` on."""
    out = [
        not admission.allows(d, v)
        for d, v in zip(exposure["cohort_dimension"], exposure["cohort_value"], strict=True)
    ]
    out = np.array(out) & (exposure["departure_date"] >= admission.since).to_numpy()
    exposure = exposure.assign(arm=exposure["arm"].where(~out, "excluded"))
    keys = ["experiment_id", "departure_date", "cohort_dimension", "cohort_value", "arm"]
    return exposure.groupby(keys, as_index=False).sum()


def look(
    loop: Loop, offset: int, admission: Admission | None, exposure: pd.DataFrame | None = None, **made: Any
) -> Verdict:
    paired, arms = world(3, **made)
    state = replace(state_on(offset), admission=admission)
    exposure = exposure_of(arms) if exposure is None else exposure
    return judge_day(loop, state, paired, arms, START + timedelta(days=offset), exposure=exposure)


def gate(name: str, state: str, *pooled: str) -> dict[str, Any]:
    return {
        "name": f"cohort:{name}",
        "evidence": {"state": state, "pooled": list(pooled), "units": 12, "clusters": 3},
    }


def test_what_was_judged_offline_is_admitted_first_and_nothing_else() -> None:
    gates = [
        gate("origin=EWR", "not worse"),
        gate("origin=JFK", "worse"),
        gate("carrier=other", "not enough evidence", "HA"),
        gate("carrier=AA", "not worse"),
        {"name": "calibration", "evidence": {}},
        {"name": "cohort:carrier", "evidence": {}},
    ]
    declared = {"origin": ("EWR", "JFK"), "carrier": ("AA", "HA", "OO")}
    found = first_admission(gates, ("origin", "carrier"), declared)
    assert dict(found.by_dimension) == {"origin": ("EWR",), "carrier": ("AA",)}
    assert dict(found.excluded) == {
        "origin=JFK": "worse offline: 12 units, 3 clusters",
        "carrier=HA": "not enough evidence offline: 12 units, 3 clusters",
        "carrier=OO": "not enough evidence offline: no unit",
    }
    assert Admission.from_json(found.to_json()) == found
    pooled = first_admission([gate("origin=other", "not worse", "LGA", "JFK")], ("origin",), {})
    assert dict(pooled.by_dimension) == {"origin": ("JFK", "LGA")}
    assert not first_admission([], ("origin",), declared).is_possible


def test_a_unit_needs_each_of_its_values() -> None:
    found = Admission.of(
        {"origin": ["EWR"], "carrier": ["AA", "HA"]}, {"carrier=OO": "few"}, date(2013, 6, 1)
    )
    units = {"origin": ["EWR", "JFK", "EWR", None, "EWR"], "carrier": ["AA", "AA", "OO", "AA", float("nan")]}
    assert found.admits(units).tolist() == [True, False, False, False, False]
    narrowed = found.without({"carrier=HA": "worse"})
    assert dict(narrowed.excluded) == {"carrier=HA": "worse", "carrier=OO": "few"}
    assert not narrowed.allows("carrier", "HA")
    assert narrowed.allows("seat", "any"), "a dimension without cohorts excludes nobody"
    again = narrowed.released("carrier=OO", date(2013, 6, 5))
    assert again.allows("carrier", "OO") and again.since == date(2013, 6, 5)
    assert again.released("carrier=ZZ", date(2013, 6, 9)) == again, "what is not excluded is not released"
    with pytest.raises(KeyError):
        found.admits({"origin": ["EWR"]})


def test_harm_to_one_cohort_takes_it_out_and_the_others_go_on() -> None:
    verdict = look(excluding(), 30, ALL, **HARMED)
    assert verdict.action == "exclude"
    assert [reason[:25] for reason in verdict.reasons] == ["cohort carrier=DL is wors"]
    left = Admission.from_json(verdict.evidence["admission"])
    assert [name for name, _ in left.excluded] == ["carrier=DL"]
    since = START + timedelta(days=25)
    _, arms = world(3, **HARMED)
    exposure = apart(exposure_of(arms), replace(left, since=since))
    after = look(excluding(), 30, replace(left, since=since), exposure, **HARMED)
    assert after.action == "promote", after.reasons
    assert "the champion keeps carrier=DL" in after.reasons
    assert after.evidence["cohorts_left_out"]["carrier=DL"]["value"] < -0.1
    assert after.evidence["integrity"]["excluded_units"]["of_excluded_cohorts"] > 100
    assert after.evidence["admission"]["excluded"] == left.to_json()["excluded"]


def test_harm_to_all_or_to_the_last_cohort_rolls_back() -> None:
    assert look(excluding(), 30, ALL, gain=-0.08).action == "roll_back"
    alone = Admission.of({"origin": COHORTS["origin"], "carrier": ["DL"]}, {}, START + timedelta(days=31))
    assert look(excluding(), 30, alone, **HARMED).action == "roll_back"


def test_a_promotion_serves_what_the_rollout_judged_and_never_more() -> None:
    few = excluding(min_units=1500)  # F9 and HA together have fewer in thirty days
    verdict = look(few, 30, ALL, gain=0.03)
    assert verdict.action == "promote"
    final = Admission.from_json(verdict.evidence["admission"])
    assert [name for name, _ in final.excluded] == ["carrier=F9", "carrier=HA"]
    assert "not enough evidence in the rollout" in dict(final.excluded)["carrier=HA"]
    assert verdict.reasons[-1] == "the champion keeps carrier=F9, carrier=HA"
    since = START + timedelta(days=31)
    narrow = Admission.of({**COHORTS, "origin": ["EWR", "LGA"]}, {"origin=JFK": "few"}, since)
    wide = look(few, 30, narrow, gain=0.03)
    assert {name for name, _ in Admission.from_json(wide.evidence["admission"]).excluded} == {
        "origin=JFK", "carrier=F9", "carrier=HA"
    }  # fmt: skip
    assert wide.evidence["cohorts_left_out"]["origin=JFK"]["is_enough"], (
        "enough by now, and still not admitted"
    )
    none = look(excluding(min_units=10**6), 30, ALL, gain=0.03)
    assert none.action == "hold"
    assert none.reasons[:2] == tuple(
        f"no cohort of {d} has enough mature units to be judged" for d in COHORTS
    )


def test_an_excluded_cohort_with_units_in_an_arm_holds() -> None:
    since = START + timedelta(days=25)
    narrow = ALL.without({"carrier=DL": "worse"})
    verdict = look(excluding(), 30, replace(narrow, since=since), gain=0.03)
    assert verdict.action == "hold"
    assert "carrier=DL is excluded since" in verdict.reasons[0]
    _, arms = world(3, gain=0.03)
    strays = apart(exposure_of(arms), replace(narrow, since=since))
    # A loop that excludes nothing knows no such arm.
    stray = look(flights_loop(), 30, None, strays, gain=0.03)
    assert "arm excluded, which no stage has" in stray.reasons[0]


@pytest.mark.parametrize(("loop", "admission"), [(excluding(), None), (flights_loop(), ALL)])
def test_a_rollout_that_does_not_say_whom_it_serves_holds(loop: Loop, admission: Admission | None) -> None:
    verdict = look(loop, 30, admission, gain=0.03)
    assert verdict.action == "hold"
    assert "cohorts.without_evidence is" in verdict.reasons[0]


def ledger() -> list[Entry]:
    """A rollout with one harmed cohort, looked at until it is taken out, and on."""
    loop, entries = excluding(), []
    paired, arms = world(3, days=30, **HARMED)
    # The shadow goes on for the whole time: all units are the rest.
    arms = arms.drop(columns="arm").groupby(["experiment_id", "departure_date"], as_index=False).sum()
    arms = arms.assign(arm="rest")
    at = datetime.combine(START, datetime.min.time()).isoformat()
    started = append(
        entries, "rollout_started", f"rollout:{EXPERIMENT}", at,
        {"experiment_id": EXPERIMENT, "champion_version": 1, "challenger_version": 2, "stage": "shadow",
         "request": "r", "model_sha256": "m", "snapshot_sha256": "s", "terms": terms_of(loop),
         "admission": ALL.to_json()},
    )  # fmt: skip
    for offset in range(26):
        day = START + timedelta(days=offset)
        running = fold(entries).rollout
        assert running is not None and running.trial.admission is not None
        gone = bool(running.trial.admission.excluded)
        exposure = apart(exposure_of(arms), running.trial.admission) if gone else exposure_of(arms)
        sums = sums_of({"paired": paired, "arms": arms, "exposure": exposure}, START, day)
        verdict = judges.judge_look(loop, running, sums, day)
        told = difference(recorded(entries, EXPERIMENT), sums)
        late = (day + timedelta(days=1)).isoformat() + "T04:00:00"
        key = f"look:{EXPERIMENT}:{day}"
        append(
            entries, "rollout_decision", key, late,
            {**judges.look_record(running, verdict, day), "after": entries[-1].hash, "started": started.hash,
             "made": MADE, "sums": told},
        )  # fmt: skip
        if verdict.action == "exclude":
            append(
                entries, "rollout_applied", f"applied:{key}", late,
                {"experiment_id": EXPERIMENT, "decision": key, "champion_version": 1, "challenger_version": 2,
                 "action": "exclude", "admission": verdict.evidence["admission"]},
            )  # fmt: skip
    return entries


def test_an_exclusion_is_in_the_ledger_replays_to_the_bit_and_a_widened_one_is_found() -> None:
    entries = ledger()
    excluded = [e for e in entries if e.kind == "rollout_decision" and e.payload["action"] == "exclude"]
    assert len(excluded) == 1, "taken out once, not again"
    assert [e.payload["action"] for e in entries if e.seq > excluded[0].seq + 1].count("roll_back") == 0
    found = outcomes(entries)
    assert len([one for one in found["equal"] if one.entry.kind == "rollout_decision"]) == 26
    assert not [one for one in found.get("different", []) if one.entry.kind != "rollout_started"]
    shown = certificate_of(entries, excluded[0])
    assert shown.verdict == "exclude"
    (section,) = [s for s in shown.sections if s.title == "Cohorts left out"]
    assert section.rows[0][0] == "carrier=DL"
    index = next(i for i, e in enumerate(entries) if e.kind == "rollout_applied")
    wider = {**entries[index].payload, "admission": ALL.to_json()}
    entries[index] = replace(entries[index], payload=wider)
    (one,) = [r for r in outcomes(entries)["different"] if r.entry.kind == "rollout_applied"]
    assert "the cohorts that it admits are not the decision's" in one.detail
