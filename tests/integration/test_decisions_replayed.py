"""What the stages record is enough: looks, evaluations and triggers are judged again without their inputs."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from tests.integration.test_applying_a_decision import EXPERIMENT, STARTED, Installation, quiet
from tests.unit.test_experiment_verdict import START, exposure_of, world

from ratchet.certificate.replay import replay
from ratchet.ledger.export import from_bytes, to_lines
from ratchet.stages import rollout as stage
from ratchet.stages.records import ledger_of
from ratchet.warehouse.connect import open_warehouse

DAYS = 12
KEYS = ("loop", "experiment_id", "departure_date", "cohort_dimension", "cohort_value", "arm")


def _fill(installation: Installation, *, known_until: int) -> None:
    """The experiment's tables as a build leaves them: labels of the last days come in later."""
    paired, arms = world(3, days=DAYS, gain=0.02)
    frames = {"exp_paired_daily": paired, "exp_arm_daily": arms, "exp_exposure_daily": exposure_of(arms)}
    with open_warehouse(installation.settings, purpose="test") as warehouse:
        warehouse.execute("create schema if not exists experiments")
        for name, frame in frames.items():
            days = pd.to_datetime(frame["departure_date"])
            late = days > pd.Timestamp(START) + timedelta(days=known_until)
            frame = frame.assign(
                loop="flights",
                experiment_id=EXPERIMENT,
                departure_date=(days + (pd.Timestamp(STARTED) - pd.Timestamp(START))).dt.date,
                n_labelled=frame["n_labelled"].where(~late, frame["n_labelled"] // 2),
            )
            columns = [k for k in KEYS if k in frame.columns]
            columns += [c for c in frame.columns if c not in columns]
            types = {"departure_date": "date", "object": "varchar", "str": "varchar", "int64": "bigint"}
            declared = ", ".join(
                f"{c} {types.get(c) or types.get(str(frame[c].dtype), 'double')}" for c in columns
            )
            warehouse.execute(f"create or replace table experiments.{name} ({declared})")
            warehouse.append(f"experiments.{name}", frame[columns])


@pytest.fixture
def installation(served_template: Path, tmp_path: Path) -> Installation:
    made = Installation(served_template, tmp_path / "home")
    for known, days in ((4, 6), (8, 12)):
        _fill(made, known_until=known)
        stage.decide(made.settings, made.loop, STARTED + timedelta(days=days, hours=6), quiet)
    return made


def test_looks_that_the_stage_recorded_are_judged_again(installation: Installation) -> None:
    ledger = ledger_of(installation.settings)
    assert ledger.verify().ok
    entries = ledger.entries()
    looks = [e for e in entries if e.kind == "rollout_decision"]
    assert len(looks) >= 10
    assert any(e.payload["evidence"].get("primary") for e in looks), "no effect was ever judged"
    rows = [len(e.payload["sums"]["paired"]["rows"]) for e in looks]
    # The first look after the second build holds that build's changes of earlier days, too.
    assert max(rows) > min(rows) > 0
    # The warehouse, the registry and the routing file are gone; the export is all there is.
    installation.settings.warehouse_path.unlink()
    exported, verified = from_bytes(to_lines(entries).encode())
    assert verified.ok
    found = [one for one in replay(exported) if one.entry.kind == "rollout_decision"]
    assert [one.outcome for one in found] == ["equal"] * len(looks), [one.detail for one in found]
    made = looks[0].payload["made"]
    assert made["environment"]["packages"].keys() == {"numpy", "pandas", "scipy", "xgboost-cpu"}
    assert len(made["environment"]["lock_sha256"]) == 64


def test_a_dry_run_records_nothing(installation: Installation) -> None:
    before = len(installation.ledger.entries())
    stage.decide(installation.settings, installation.loop, datetime(2013, 7, 2), quiet, is_dry=True)
    assert len(installation.ledger.entries()) == before
