"""After a promotion the former champion keeps a share: who is served, what is scored, how it ends, crash and all."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.integration.served_world import FIRST, ServedWorld, killed, quiet

from ratchet.experiment.assignment import assign
from ratchet.experiment.state import Verdict
from ratchet.ledger.store import Ledger
from ratchet.registry.models import Registry
from ratchet.scoring.child import Scored, ScoringFailed
from ratchet.stages import applying, rollout, score, serving
from ratchet.stages.profiles import keep_profile
from ratchet.stages.rollback import withdraw
from ratchet.stages.serving import project
from ratchet.stages.status import status_of
from ratchet.warehouse.connect import open_warehouse

PROMOTED = FIRST + timedelta(days=14)


@pytest.fixture
def held(served: ServedWorld) -> ServedWorld:
    served.bootstrap()
    served.promote(2, FIRST + timedelta(days=7))
    assert served.state().holdback is not None
    return served


def look(world: ServedWorld, action: str, day: date) -> str:
    """A look of the holdback with this action; the decision's key."""
    state = world.state().holdback
    assert state is not None
    key = f"look:{state.experiment_id}:{day}"
    world.append(
        "holdback_decision", key, datetime.combine(day + timedelta(days=1), datetime.min.time()),
        experiment_id=state.experiment_id, day=day.isoformat(), action=action, to_apply=action != "hold", looks={},
        reasons=["for the test"], stage="holdback", stage_index=0,
        champion_version=state.champion_version, challenger_version=state.challenger_version,
    )  # fmt: skip
    return key


def bins(world: ServedWorld) -> set[int]:
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        return set(warehouse.frame("select model_version from ops.feature_bins")["model_version"])


def test_a_promotion_begins_it(held: ServedWorld) -> None:
    state, routing = held.state(), held.routing()
    assert state.holdback is not None
    assert (state.champion_version, state.holdback.previous_version, state.holdback.share) == (2, 1, 0.05)
    assert held.aliases() == {"champion": 2}
    assert routing.variants() == (("challenger", 50), ("rest", 900), ("control", 50))
    (flag,) = routing.document()["flags"].values()
    assert flag["variants"] == {"challenger": 2, "rest": 2, "control": 1}
    assert flag["defaultVariant"] == "rest"
    with open_warehouse(held.settings, purpose="test", read_only=True) as warehouse:
        rows = warehouse.frame(
            "select * from ops.experiments where experiment_id = ?", (routing.experiment_id,)
        )
    assert rows[["champion_version", "challenger_version", "rest_version"]].to_numpy().tolist() == [[1, 2, 2]]
    told = dict(status_of(held.settings, held.loop)["lines"])
    assert told["held back"].startswith("version 1 keeps 5%")
    assert told["rollback drill"].startswith("never run")


def _units(world: ServedWorld, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    values: dict[str, Any] = {name: rng.normal(size=n) for name in world.loop.features.numeric}
    values |= {name: rng.choice(known, n) for name, known in world.loop.features.categorical.items()}
    when = pd.Timestamp("2013-06-20")
    return pd.DataFrame(
        {
            "unit_id": [f"UA{i}-EWR-20130620" for i in range(n)],
            "predict_at": when,
            "received_at": when,
            **values,
        }
    )


def _fake_scores(models: dict[str, bytes], matrix: Any, **_: Any) -> dict[str, Scored]:
    return {name: Scored(np.full(len(matrix), 0.4 if name == "champion" else 0.2), 0.001) for name in models}


def test_both_models_score_and_each_arm_gets_its_own(
    held: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "score_in_child", _fake_scores)
    routing, units = held.routing(), _units(held, 4000)
    rows = score._score_units(held.settings, held.loop, routing, units, quiet)
    assert len(rows) == 8000, "both models, every unit"
    served = rows[rows["is_served"]]
    assert len(served) == served["unit_id"].nunique() == 4000
    assert served.groupby("arm")["model_version"].unique().map(list).to_dict() == {
        "challenger": [2], "control": [1], "rest": [2]
    }  # fmt: skip
    expected = assign(units["unit_id"].tolist(), routing.flag_key(), routing.variants())
    assert (served.set_index("unit_id")["arm"].reindex(units["unit_id"]).to_numpy() == expected).all()
    assert 120 < (served["arm"] == "control").sum() < 280


def test_a_former_champion_that_crashes_takes_nobody_down(
    held: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(models: dict[str, bytes], matrix: Any, **_: Any) -> dict[str, Scored]:
        if "other" in models:
            raise ScoringFailed("status -11")
        return _fake_scores(models, matrix)

    monkeypatch.setattr(score, "score_in_child", crash)
    rows = score._score_units(held.settings, held.loop, held.routing(), _units(held, 500), quiet)
    assert len(rows) == 500
    assert rows["is_served"].all()
    assert set(rows["model_version"]) == {2}


def test_harm_puts_the_former_champion_back(held: ServedWorld) -> None:
    done = held.apply(look(held, "roll_back", date(2013, 6, 20)), PROMOTED + timedelta(days=14))
    assert done["action"] == "roll_back"
    state = held.state()
    assert (state.champion_version, state.withdrawn_versions, state.holdback) == (1, (2,), None)
    assert held.aliases() == {"champion": 1}
    assert held.routing().variants() == (("rest", 1000),)
    assert bins(held) == {1}
    assert held.apply(look_key(held), PROMOTED + timedelta(days=15))["again"]
    # The withdrawn version is no baseline, no target and not offered again.
    assert state.targets() == ()
    held.start(2, PROMOTED + timedelta(days=20))
    assert held.state().rollout is None


def look_key(world: ServedWorld) -> str:
    return world.ledger.entries("flights", ["holdback_decision"])[-1].key


def test_its_end_changes_who_is_served_and_not_who_is_champion(held: ServedWorld) -> None:
    done = held.apply(look(held, "inconclusive", date(2013, 7, 20)), PROMOTED + timedelta(days=40))
    assert done["action"] == "inconclusive"
    state = held.state()
    assert (state.champion_version, state.withdrawn_versions, state.holdback) == (2, (), None)
    assert held.routing().variants() == (("rest", 1000),)
    assert state.targets() == (1,)


def test_the_next_rollout_and_a_withdrawal_end_it(held: ServedWorld) -> None:
    held.start(3, PROMOTED + timedelta(days=7))
    state = held.state()
    assert state.holdback is None
    assert state.rollout is not None
    assert held.routing().challenger_version == 3


def test_withdrawing_the_former_champion_ends_it(held: ServedWorld) -> None:
    done = withdraw(held.settings, held.loop, 1, reason="leaks", actor="ana", log=quiet)
    assert done["ended"] == [
        f"{held.ledger.entries('flights', ['rollout_started'])[0].payload['experiment_id']}-holdback"
    ]
    assert held.state().holdback is None
    assert held.routing().holdback_version is None


def test_its_days_are_judged_by_the_terms_of_the_rollout(
    held: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each day one look, in date order; harm is the last."""
    seen: list[tuple[str, int | None]] = []

    def judged(loop: Any, trial: Any, sums: Any, day: date) -> Verdict:
        seen.append((day.isoformat(), loop.rollout.holdback.days))
        return Verdict("roll_back" if len(seen) == 3 else "hold", ("r",), {})

    for name in ("_frames", "sums_of", "difference", "after"):
        monkeypatch.setattr(rollout, name, lambda *_: {"paired": None, "arms": None})
    monkeypatch.setattr(rollout, "publish_comparison", lambda *_: None)
    monkeypatch.setattr(rollout, "judge_look", judged)
    edited = held.loop.rollout.model_copy(update={"holdback": None})
    held.loop = held.loop.model_copy(update={"rollout": edited})
    decided = rollout.decide(held.settings, held.loop, PROMOTED + timedelta(days=7), quiet)
    assert [day for day, _ in seen] == ["2013-06-11", "2013-06-12", "2013-06-13"]
    assert {days for _, days in seen} == {28}
    assert decided is not None
    assert "waits" not in decided
    assert len(held.ledger.entries("flights", ["holdback_decision"])) == 3
    assert held.apply(decided["decision"], PROMOTED + timedelta(days=7))["action"] == "roll_back"


def test_a_profile_that_is_another_versions_is_replaced(held: ServedWorld) -> None:
    assert bins(held) == {2}
    keep_profile(held.settings, held.loop, held.ledger.entries("flights"), 1, quiet)
    assert bins(held) == {1}
    for path in held.settings.candidates_dir.rglob("profile.json"):
        path.unlink()
    said: list[str] = []
    keep_profile(held.settings, held.loop, held.ledger.entries("flights"), 2, said.append)
    assert "has no training profile" in said[0]
    assert bins(held) == {1}, "nothing is lost"


STEPS: dict[str, tuple[object, str]] = {
    "experiment": (applying, "declare_experiment"), "append": (Ledger, "append"), "set_alias": (Registry, "set_alias"),
    "drop_alias": (Registry, "drop_alias"), "routing": (serving, "write_routing"),
    "profile": (applying, "adopt_profile"), "summary": (applying, "publish_running"),
}  # fmt: skip
#: The steps that each action takes, in order.
TAKEN = {
    "advance": ("append", "routing", "summary"),
    "promote": ("experiment", "append", "set_alias", "drop_alias", "routing", "profile", "summary"),
    "roll_back": ("append", "drop_alias", "routing", "summary"),
    "holdback_roll_back": ("append", "set_alias", "routing", "profile", "summary"),
    "holdback_end": ("append", "routing", "summary"),
}


@pytest.mark.parametrize("action", TAKEN)
def test_killed_between_any_two_steps_it_serves_what_a_decision_names(
    served: ServedWorld, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """SIGKILL before each step and after the last: what is not recorded never happened, what is gets finished."""
    monkeypatch.setattr("ratchet.stages.rollback.score_in_child", lambda *_, **__: {})
    served.bootstrap()
    if action.startswith("holdback"):
        served.promote(2, FIRST + timedelta(days=7))
        decision = look(
            served, "roll_back" if action == "holdback_roll_back" else "inconclusive", date(2013, 6, 20)
        )
    else:
        served.start(2, FIRST + timedelta(days=7))
        decision = served.decide(action, FIRST + timedelta(days=12))
    as_of, kills = PROMOTED + timedelta(days=14), 0
    before = (served.routing(), served.aliases()["champion"])
    wanted = {"promote": 2, "holdback_roll_back": 1, "holdback_end": 2}.get(action, 1)
    for step in TAKEN[action]:
        assert killed(lambda: served.apply(decision, as_of), *STEPS[step], "before"), (
            f"{action} takes no step {step}"
        )
        kills += 1
        recorded = any(e.key == f"applied:{decision}" for e in served.ledger.entries("flights"))
        assert recorded == (TAKEN[action].index(step) > TAKEN[action].index("append"))
        if not recorded:
            assert (served.routing(), served.aliases()["champion"]) == before
        # Whoever is served, a decision of the ledger names that version, and its file can be had.
        assert served.routing().champion_version in (before[0].champion_version, wanted)
        assert served.aliases()["champion"] in (before[1], wanted)
    assert kills == len(TAKEN[action])
    assert killed(lambda: served.apply(decision, as_of), applying, "publish_running", "after")
    assert served.apply(decision, as_of)["again"]
    assert served.routing().champion_version == served.aliases()["champion"] == wanted
    assert project(served.settings, served.loop) == served.routing()
    assert len([e for e in served.ledger.entries("flights") if e.key == f"applied:{decision}"]) == 1
    assert served.ledger.verify().ok
