"""A second prediction of one unit by one model version, under another id: it changes no sum, and stops nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from tests.faults.checksums import Checksums, changed, published
from tests.faults.prepared import files_of
from tests.reference.play import Player, lenient_checkout, tables_without_tests
from tests.reference.worlds import File, Maker, Shape

from ratchet.published import read
from ratchet.stages.dbt_environment import BuildFailed, run_dbt
from ratchet.stages.doubled import doubled_told
from ratchet.stages.explain import explain_prediction
from ratchet.stages.status import status_of
from ratchet.warehouse.connect import open_warehouse

pytestmark = pytest.mark.slow

NAMES_THEM = "monitoring.mon_predictions_doubled"
SHAPE = Shape(date(2013, 5, 14), days=2, flights=8, late_share=0, corrected_share=0, seed=3)


@dataclass(frozen=True)
class Eve:
    """An installation before one prediction has landed, and that prediction and its double as files."""

    player: Player
    first: File
    again: File


@pytest.fixture(scope="module")
def eve(tmp_path_factory: pytest.TempPathFactory) -> Eve:
    folder = tmp_path_factory.mktemp("doubled")
    rows = Maker(SHAPE).rows
    rows["predictions"] = [row for row in rows["predictions"] if not row["prediction_id"].endswith("-again")]
    answered = {row["prediction_id"] for row in rows["feedback"]}
    first = next(
        row for row in rows["predictions"] if row["is_served"] and row["prediction_id"] in answered
        and row["unit_id"] != "NOWHERE" and row["score"] is not None
    )  # fmt: skip
    rows["predictions"].remove(first)
    again = {
        **first,
        "prediction_id": "made-again",
        "score": 1 - first["score"],
        "received_at": first["received_at"] + timedelta(minutes=20),
    }
    player = Player(folder / "home", lenient_checkout(folder / "checkout"))
    files = files_of(rows)
    for file in files:
        player.write(file)
    with tables_without_tests():
        player.land(min(f.received_date for f in files), max(f.received_date for f in files))
        assert player.build()
    day = lambda row: row["received_at"].date()  # noqa: E731
    return Eve(
        player,
        File("predictions", day(first), "first", (first,)),
        File("predictions", day(again), "again", (again,)),
    )


def landed(eve: Eve, home: Path, *files: File) -> tuple[Player, list[Checksums]]:
    """A copy of the installation in which the files landed one by one, and what readers saw after each."""
    shutil.copytree(eve.player.settings.home, home)
    player = Player(home, eve.player.settings.loops_dir.parent)
    player.as_of = eve.player.as_of
    seen = []
    for file in files:
        player.write(file)
        player.land(file.received_date, file.received_date)
        assert player.build(), f"{file.name} reached nothing"
        seen.append(published(player.settings))
    return player, seen


@pytest.fixture(scope="module")
def in_order(eve: Eve, tmp_path_factory: pytest.TempPathFactory) -> tuple[Player, list[Checksums]]:
    return landed(eve, tmp_path_factory.mktemp("in-order") / "home", eve.first, eve.again)


def test_the_first_received_counts_and_the_other_is_named(
    eve: Eve, in_order: tuple[Player, list[Checksums]], tmp_path: Path
) -> None:
    player, (before, after) = in_order
    assert {line.split(":")[0] for line in changed(before, after)} == {NAMES_THEM}
    assert after[NAMES_THEM][0] == 1
    said = dict(status_of(player.settings, player.loop)["lines"])["doubled"]
    counts = eve.first.rows[0]
    assert said.startswith("1 prediction does not count, departures 2013-05-1")
    assert f"made-again of {counts['unit_id']} by version 1, {counts['prediction_id']} counts" in said
    told = {
        name: explain_prediction(player.settings, player.loop, name)["outcome"]
        for name in ("made-again", counts["prediction_id"])
    }
    assert (told["made-again"]["fact"], told["made-again"]["counts_instead"]) == (
        None,
        counts["prediction_id"],
    )
    assert told[counts["prediction_id"]]["counts_instead"] is None
    assert told[counts["prediction_id"]]["fact"] is not None
    with tables_without_tests():
        _, (alone, other_way) = landed(eve, tmp_path / "late", eve.again, eve.first)
    assert "marts.fct_predictions" in " ".join(changed(alone, other_way))
    assert changed(after, other_way) == []


def test_nothing_is_said_where_every_prediction_counts(eve: Eve) -> None:
    summary = read(eve.player.settings, "flights", "doubled")
    assert summary is not None
    assert summary["predictions"] == 0
    assert doubled_told(summary) == ""
    assert "doubled" not in dict(status_of(eve.player.settings, eve.player.loop)["lines"])


def test_a_double_that_is_named_nowhere_stops_the_build(in_order: tuple[Player, list[Checksums]]) -> None:
    """The test that each prediction counts or is named can fail."""
    player, _ = in_order
    with open_warehouse(player.settings, purpose="test") as warehouse:
        warehouse.execute("delete from build_monitoring.mon_predictions_doubled")
    with pytest.raises(BuildFailed, match="assert_predictions_are_kept"):
        run_dbt(player.settings, ["--quiet", "test", "--select", "assert_predictions_are_kept"])
