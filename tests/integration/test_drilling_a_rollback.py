"""The drill rolls back on a shadow with the real models: measured, recorded, and nothing that serves is touched."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.integration.served_world import FIRST, FOREIGN, ServedWorld, quiet
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.registry.models import Registry
from ratchet.stages import drill_rollback
from ratchet.stages.drill_rollback import drill
from ratchet.stages.score import ScoringFailed

AS_OF = FIRST + timedelta(days=30)


@pytest.fixture
def promoted(served: ServedWorld) -> ServedWorld:
    """Version 2 serves after version 1, and the newest scored units are logged."""
    served.bootstrap()
    served.promote(2, FIRST + timedelta(days=7))
    loop, rng = served.loop, np.random.default_rng(1)
    units: dict[str, Any] = {name: rng.normal(size=600) for name in loop.features.numeric}
    units |= {name: rng.choice(values, 600) for name, values in loop.features.categorical.items()}
    day = pd.Timestamp("2013-06-10")
    units |= {"unit_id": [f"U{n}" for n in range(600)], "received_at": day, "event_at": day}
    folder = served.settings.landing_dir / "flights" / "served_features" / "received_date=2013-06-10"
    folder.mkdir(parents=True)
    pd.DataFrame(units).to_parquet(folder / "part-0001.parquet", index=False)
    return served


def everything(world: ServedWorld) -> tuple[Any, ...]:
    routing = world.settings.routing_dir / "flights.flagd.json"
    others = [e for e in world.ledger.entries() if e.kind != "drill"]
    return routing.read_bytes(), routing.stat().st_mtime_ns, world.aliases(), others, world.state()


def test_it_measures_and_touches_nothing_that_serves(
    promoted: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(promoted)

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the drill moved an alias of the registry")

    monkeypatch.setattr(Registry, "set_alias", forbidden)
    monkeypatch.setattr(Registry, "drop_alias", forbidden)
    found = drill(promoted.settings, promoted.loop, AS_OF, quiet)
    assert (found["outcome"], found["from"], found["to"], found["scored"]) == ("passed", 2, 1, 500)
    assert 0 < found["seconds"]["decide"] < found["seconds"]["all"] < 60
    assert set(found["seconds"]) == {"decide", "project", "first_score", "all"}
    (entry,) = promoted.ledger.entries("flights", ["drill"])
    assert entry.payload["subject"] == "rollback"
    assert everything(promoted) == before
    assert promoted.ledger.verify().ok


def test_the_check_that_nothing_was_touched_can_fail(promoted: ServedWorld) -> None:
    before = everything(promoted)
    promoted.start(3, AS_OF)
    assert everything(promoted) != before


def test_a_target_that_cannot_serve_fails_it(promoted: ServedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Registry.model_bytes

    def cut(self: Registry, loop: str, version: int, sha256: str) -> bytes:
        return content(self, loop, version, "0" * 64 if version == 1 else sha256)

    with monkeypatch.context() as patch:
        patch.setattr(Registry, "model_bytes", cut)
        found = drill(promoted.settings, promoted.loop, AS_OF, quiet)
    assert found["outcome"] == "failed"
    assert "changed after it was registered" in found["problems"][0]

    def crash(*_: object, **__: object) -> None:
        raise ScoringFailed("scoring ended with status -11")

    monkeypatch.setattr("ratchet.stages.rollback.score_in_child", lambda *_, **__: {})
    monkeypatch.setattr(drill_rollback, "score_in_child", crash)
    found = drill(promoted.settings, promoted.loop, AS_OF, quiet)
    assert found["outcome"] == "failed"
    assert "status -11" in found["problems"][0]
    assert len(promoted.ledger.entries("flights", ["drill"])) == 2


def test_one_that_fits_no_more_is_named(
    served: ServedWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ratchet.stages.rollback.score_in_child", lambda *_, **__: {})
    served.bootstrap(FOREIGN)
    served.promote(2, FIRST + timedelta(days=7))
    found = drill(served.settings, served.loop, AS_OF, quiet)
    assert found["outcome"] == "failed"
    assert "feature contract" in found["problems"][0]


def test_without_a_former_champion_there_is_nothing_to_rehearse(
    served: ServedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.bootstrap()
    assert drill(served.settings, served.loop, AS_OF, quiet)["outcome"] == "no target"
    monkeypatch.setenv("RATCHET_HOME", str(served.settings.home))
    told = CliRunner().invoke(app, ["drill", "rollback"])
    assert told.exit_code == 0, told.output
    assert "no former champion is left" in " ".join(told.output.split())
