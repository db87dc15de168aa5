"""Cohorts that a loop excludes keep what they had: in scoring, in the flag, after a promotion, until let go."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.integration.served_world import FIRST, ServedWorld, killed, quiet
from tests.integration.test_holding_back import _fake_scores, _units
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.experiment.admission import Admission
from ratchet.ledger.store import Ledger
from ratchet.registry.models import Registry
from ratchet.scoring.child import ScoringFailed
from ratchet.stages import score, serving
from ratchet.stages.admitting import NotExcluded, left_out, release
from ratchet.stages.rollback import CannotWithdraw, roll_back, withdraw
from ratchet.stages.serving import project, terms_of
from ratchet.stages.status import status_of

WHY = "not enough evidence offline: 12 units, 3 clusters"


def first(world: ServedWorld) -> Admission:
    """All declared values but two carriers."""
    declared = world.loop.features.categorical
    values = {name: [v for v in declared[name] if v not in ("HA", "OO")] for name in ("origin", "carrier")}
    return Admission.of(values, {"carrier=HA": WHY, "carrier=OO": WHY})


@pytest.fixture
def trial(served: ServedWorld, monkeypatch: pytest.MonkeyPatch) -> ServedWorld:
    """Version 2 on trial in its second stage, without two carriers."""
    monkeypatch.setattr("ratchet.stages.rollback.score_in_child", lambda *_, **__: {})
    monkeypatch.setattr(score, "score_in_child", _fake_scores)
    cohorts = served.loop.cohorts.model_copy(update={"without_evidence": "exclude"})
    served.loop = served.loop.model_copy(update={"cohorts": cohorts})
    served.bootstrap()
    begin(served, 2, FIRST + timedelta(days=7), first(served))
    served.apply(served.decide("advance", FIRST + timedelta(days=10)), FIRST + timedelta(days=12))
    return served


def begin(world: ServedWorld, version: int, as_of: datetime, admission: Admission) -> None:
    experiment = f"flights-v{version}-{as_of:%Y%m%d}"
    world.append(
        "rollout_started", f"rollout:{experiment}", as_of, experiment_id=experiment, stage="shadow",
        champion_version=world.state().champion_version, challenger_version=version, request=f"request:{version}",
        model_sha256=world.sha256[version], terms=terms_of(world.loop), admission=admission.to_json(),
    )  # fmt: skip
    project(world.settings, world.loop)


def promote(world: ServedWorld, day: datetime, admission: Admission) -> None:
    world.apply(
        world.decide("promote", day, evidence={"admission": admission.to_json()}), day + timedelta(days=2)
    )


def scored(world: ServedWorld, n: int = 3000) -> tuple[pd.DataFrame, pd.DataFrame]:
    units = _units(world, n)
    return units, score._score_units(world.settings, world.loop, world.routing(), units, quiet)


def test_excluded_units_have_the_champion_and_both_models_score_them(trial: ServedWorld) -> None:
    units, rows = scored(trial)
    assert len(rows) == 6000, "both models, every unit"
    served = rows[rows["is_served"]].merge(units[["unit_id", "carrier"]], on="unit_id")
    assert len(served) == 3000
    out = served[served["carrier"].isin(["HA", "OO"])]
    assert len(out) > 200
    assert set(out["arm"]) == {"excluded"} and set(out["model_version"]) == {1}
    inside = served[~served["carrier"].isin(["HA", "OO"])]
    assert set(inside["arm"]) == {"challenger", "rest", "control"}
    assert set(inside.loc[inside["arm"] == "challenger", "model_version"]) == {2}
    told = dict(status_of(trial.settings, trial.loop)["lines"])
    assert told["excluded"] == f"from version 2: carrier=HA ({WHY}); carrier=OO ({WHY})"


def test_what_is_found_harmed_is_taken_out_at_once_and_what_is_new_or_missing_was_never_in(
    trial: ServedWorld,
) -> None:
    left = first(trial).without({"origin=JFK": "worse"})
    decision = trial.decide("exclude", FIRST + timedelta(days=14), evidence={"admission": left.to_json()})
    trial.apply(decision, FIRST + timedelta(days=15))
    rollout = trial.state().rollout
    assert rollout is not None and rollout.undone is None
    assert rollout.trial.stage_name == "canary_5", "the stage goes on"
    assert rollout.trial.admission is not None
    assert rollout.trial.admission.since == (FIRST + timedelta(days=15)).date()
    routing = trial.routing()
    values = {"origin": ["EWR", "JFK", "ZZZ", None], "carrier": ["AA"] * 4}
    assert (routing.arms(["a", "b", "c", "d"], values)[1:] == "excluded").all()
    assert trial.apply(decision, FIRST + timedelta(days=16))["again"]


def test_after_a_promotion_they_stay_on_the_version_they_had(trial: ServedWorld) -> None:
    promote(trial, FIRST + timedelta(days=20), first(trial))
    state = trial.state()
    assert (state.champion_version, [(k.version, k.promoted) for k in state.kept]) == (2, [(1, 2)])
    units, rows = scored(trial)
    served = rows[rows["is_served"]].merge(units[["unit_id", "carrier"]], on="unit_id")
    assert len(served) == 3000
    out = served["carrier"].isin(["HA", "OO"])
    assert set(served.loc[out, "model_version"]) == {1} and set(served.loc[out, "arm"]) == {"excluded"}
    assert set(served.loc[~out & (served["arm"] == "rest"), "model_version"]) == {2}
    # The next challenger is on trial with the others; they still have version 1, and version 2 keeps one more.
    begin(trial, 3, FIRST + timedelta(days=60), first(trial).without({"origin=LGA": "worse offline"}))
    promote(trial, FIRST + timedelta(days=80), first(trial).without({"origin=LGA": "worse offline"}))
    assert [(k.version, k.promoted) for k in trial.state().kept] == [(1, 2), (2, 3)]
    units, rows = scored(trial)
    served = rows[rows["is_served"]].merge(units[["unit_id", "origin", "carrier"]], on="unit_id")
    expected = np.where(served["carrier"].isin(["HA", "OO"]), 1, np.where(served["origin"] == "LGA", 2, 3))
    held = served["arm"] == "control"
    assert (served["model_version"] == np.where(held, 2, expected)).all()
    with pytest.raises(CannotWithdraw, match="serves cohorts"):
        withdraw(trial.settings, trial.loop, 1, reason="r", actor="a", log=quiet)
    done = roll_back(trial.settings, trial.loop, reason="r", actor="a", log=quiet)
    assert done["to"] == 2
    assert [(k.version, k.promoted) for k in trial.state().kept] == [(1, 2)], "as it was under version 2"
    assert roll_back(trial.settings, trial.loop, reason="r", actor="a", log=quiet)["to"] == 1
    assert trial.state().kept == ()
    assert trial.ledger.verify().ok


def test_a_version_that_keeps_units_and_can_not_score_them_stops_the_run(
    trial: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(trial, FIRST + timedelta(days=20), first(trial))

    def crash(models: dict[str, bytes], matrix: Any, **_: Any) -> Any:
        if "kept" in models:
            raise ScoringFailed("status -11")
        return _fake_scores(models, matrix)

    monkeypatch.setattr(score, "score_in_child", crash)
    with pytest.raises(ScoringFailed):
        scored(trial, 300)


def test_only_somebodys_decision_lets_a_cohort_go(
    trial: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(trial, FIRST + timedelta(days=20), first(trial))
    assert [(item.cohort, item.served_by) for item in left_out(trial.ledger.entries("flights"))] == [
        ("carrier=HA", 1), ("carrier=OO", 1)
    ]  # fmt: skip
    with pytest.raises(NotExcluded, match="carrier=HA, carrier=OO"):
        release(trial.settings, trial.loop, "carrier=AA", reason="r", actor="ana", log=quiet)
    monkeypatch.setenv("RATCHET_HOME", str(trial.settings.home))
    listed = CliRunner().invoke(app, ["cohort", "list"])
    assert listed.exit_code == 0 and "carrier=HA" in listed.output
    done = CliRunner().invoke(
        app, ["cohort", "release", "carrier=HA", "--reason", "seen enough", "--by", "ana"]
    )
    assert done.exit_code == 0, done.output
    units, rows = scored(trial)
    served = rows[rows["is_served"]].merge(units[["unit_id", "carrier"]], on="unit_id")
    assert (served.loc[served["carrier"] == "OO", "model_version"] == 1).all()
    assert (served.loc[served["carrier"] == "HA", "arm"] != "excluded").all()
    (entry,) = trial.ledger.entries("flights", ["cohort_released"])
    assert (entry.actor, entry.payload["reason"]) == ("ana", "seen enough")
    release(trial.settings, trial.loop, "carrier=OO", reason="r", actor="ana", log=quiet)
    assert trial.state().kept == ()
    none = CliRunner().invoke(app, ["cohort", "release", "carrier=OO", "--reason", "again"])
    assert none.exit_code == 1


def test_a_release_in_airflow_is_that_of_the_command_but_for_who_vouches_for_it(trial: ServedWorld) -> None:
    promote(trial, FIRST + timedelta(days=20), first(trial))
    authenticated = trial.loop.approvals.model_copy(update={"authenticated": True})
    strict = trial.loop.model_copy(update={"approvals": authenticated})
    with pytest.raises(NotExcluded, match="on the page Approvals"):
        release(trial.settings, strict, "carrier=HA", reason="r", actor="ana", log=quiet)
    with pytest.raises(NotExcluded, match=r"from version 2 by now: look again"):
        release(
            trial.settings, strict, "carrier=HA", reason="r", actor="airflow:ana", by="ana", identity="airflow",
            seen=[3], log=quiet,
        )  # fmt: skip
    assert not trial.ledger.entries("flights", ["cohort_released"])
    for cohort, more in (("carrier=HA", {"identity": "airflow", "seen": [2]}), ("carrier=OO", {})):
        loop = strict if more else trial.loop
        release(trial.settings, loop, cohort, reason="r", actor="a", by="ana", log=quiet, **more)  # type: ignore[arg-type]
    one, other = (e.payload for e in trial.ledger.entries("flights", ["cohort_released"]))
    assert (one.pop("cohort"), other.pop("cohort")) == ("carrier=HA", "carrier=OO")
    assert (one.pop("identity"), other.pop("identity")) == ("airflow", "claimed")
    assert one == other and one["by"] == "ana"


def test_the_pages_form_releases_for_whom_the_loop_file_names(trial: ServedWorld) -> None:
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import HTTPException

    from ratchet.airflow.page_access import Reader
    from ratchet.airflow.page_release import released
    from ratchet.pages.source import Source

    promote(trial, FIRST + timedelta(days=20), first(trial))
    fields = {"cohort": "carrier=HA", "instead_of": "2", "reason": "seen enough"}
    eve, dana = (Reader(SimpleAuthManagerUser(username=name, role="user")) for name in ("eve", "Dana Reyes"))
    for reader, change, status in (
        (eve, {}, 403),
        (dana, {"reason": " "}, 400),
        (dana, {"instead_of": ""}, 400),
        (dana, {"instead_of": "3"}, 409),
        (dana, {"cohort": "carrier=AA"}, 409),
    ):
        with pytest.raises(HTTPException) as refused:
            released(Source.of(trial.settings, trial.loop), reader, {**fields, **change})
        assert refused.value.status_code == status
    assert not trial.ledger.entries("flights", ["cohort_released"])
    released(Source.of(trial.settings, trial.loop), dana, fields)
    (entry,) = trial.ledger.entries("flights", ["cohort_released"])
    assert (entry.actor, entry.payload["by"], entry.payload["identity"]) == (
        "airflow:Dana Reyes", "Dana Reyes", "airflow",
    )  # fmt: skip
    assert [item.cohort for item in left_out(trial.ledger.entries("flights"))] == ["carrier=OO"]
    assert (trial.routing().arms(["HA1"], {"origin": ["JFK"], "carrier": ["HA"]}) != "excluded").all()


STEPS = {
    "append": (Ledger, "append"),
    "alias": (Registry, "set_alias"),
    "routing": (serving, "write_routing"),
}


@pytest.mark.parametrize(
    ("step", "when"), [("append", "before"), ("append", "after"), ("alias", "after"), ("routing", "after")]
)
def test_killed_between_any_two_steps_they_never_have_what_they_were_kept_from(
    trial: ServedWorld, step: str, when: str
) -> None:
    evidence = {"admission": first(trial).to_json()}
    decision = trial.decide("promote", FIRST + timedelta(days=20), evidence=evidence)
    at = FIRST + timedelta(days=22)
    assert killed(lambda: trial.apply(decision, at), *STEPS[step], when)
    for _ in range(2):
        routing = trial.routing()
        (arm,) = routing.arms(["HA1"], {"origin": ["JFK"], "carrier": ["HA"]})
        assert routing.version_of(arm) == 1
        trial.apply(decision, at)
    assert trial.state().champion_version == 2
