"""Snapshots never change, know where they came from, and say what a backfill would change and why."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pytest
from tests.integration.small_world import BOOTSTRAP, LATE_DAY, SmallWorld, unwrapped
from typer.testing import CliRunner, Result

from ratchet.stages.provenance import code_version
from ratchet.stages.snapshot_diff import diff_rows, why
from ratchet.stages.snapshots import (
    NoSnapshot,
    SnapshotChanged,
    find_snapshot,
    read_partitions,
    read_snapshot,
    snapshots,
    write_snapshot,
)
from ratchet.warehouse.connect import open_warehouse

AS_OF, WINDOW = datetime(2013, 1, 13), (date(2013, 1, 1), date(2013, 1, 11))


def take(world: SmallWorld, as_of: datetime = AS_OF, window: tuple[date, date] = WINDOW) -> dict:
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        return write_snapshot(world.settings, world.loop, warehouse, as_of=as_of, window=window)


def ratchet(world: SmallWorld, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    from ratchet.cli import app

    monkeypatch.setenv("RATCHET_HOME", str(world.settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner().invoke(app, ["snapshot", *arguments])


def test_a_manifest_says_where_its_rows_came_from(world: SmallWorld) -> None:
    manifest = take(world)
    assert manifest["rows"] > 8000
    assert manifest["query"]["sql"].count("?") == len(manifest["query"]["parameters"]) == 5
    for key in ("invocation_id", "manifest_sha256", "models_sha256"):
        assert manifest["dbt"][key], key
    partitions = read_partitions(world.settings, world.loop, manifest)
    assert len(partitions) == manifest["partitions"]["count"] > 40
    assert {p["source"] for p in partitions} >= {
        "schedule",
        "weather",
        "outcomes",
        "planes",
        "served_features",
    }
    assert all(p["digest"] and p["n_rows"] >= 0 for p in partitions)
    with open_warehouse(world.settings, purpose="test", read_only=True) as warehouse:
        weather = warehouse.scalar("select count(*) from raw.weather where received_date = '2013-01-05'")
    assert [
        p["n_rows"] for p in partitions if (p["source"], p["received_date"]) == ("weather", "2013-01-05")
    ] == [weather]


def test_the_same_again_is_the_same_file_and_nothing_is_ever_written_twice(world: SmallWorld) -> None:
    first = take(world)
    folder = world.settings.snapshots_dir / "flights"
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode & 0o222) for path in folder.rglob("*.*")}
    assert len(before) >= 4
    assert take(world) == first
    assert {
        path: (path.stat().st_mtime_ns, path.stat().st_mode & 0o222) for path in folder.rglob("*.*")
    } == before
    assert {mode for _, mode in before.values()} == {0}, "read-only"
    later = take(world, datetime(2013, 1, 14))
    assert later["id"] != first["id"]


@pytest.mark.parametrize("which", ["rows", "manifest", "partitions"])
def test_a_changed_file_is_refused(world: SmallWorld, which: str) -> None:
    manifest = take(world)
    folder = world.settings.snapshots_dir / "flights"
    path = {
        "rows": folder / f"{manifest['sha256']}.parquet",
        "manifest": folder / f"{manifest['id']}.json",
        "partitions": folder / "partitions" / f"{manifest['partitions']['sha256']}.json",
    }[which]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(SnapshotChanged, match=path.name):
        read_snapshot(world.settings, world.loop, manifest)
        read_partitions(world.settings, world.loop, manifest)
        snapshots(world.settings, world.loop)
    with pytest.raises(SnapshotChanged, match="changed after it was taken"):
        take(world)


def test_a_snapshot_goes_by_the_beginning_of_its_id(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = take(world)
    assert find_snapshot(world.settings, world.loop, manifest["id"][:8])["id"] == manifest["id"]
    assert find_snapshot(world.settings, world.loop, manifest["sha256"])["id"] == manifest["id"]
    for prefix in ("", "zz"):
        with pytest.raises(NoSnapshot, match="snapshot list"):
            find_snapshot(world.settings, world.loop, prefix)
    listed = ratchet(world, monkeypatch, "list")
    assert manifest["id"][:12] in listed.output and "version 1" in listed.output
    found = json.loads(ratchet(world, monkeypatch, "list", "--json").stdout)
    assert [len(m["trained"]) for m in found] == [1, 0]
    shown = ratchet(world, monkeypatch, "show", found[0]["id"][:10])
    assert shown.exit_code == 0
    assert "trained" in shown.output and "source weather" in shown.output
    missing = ratchet(world, monkeypatch, "show", "zz")
    assert (missing.exit_code, "no snapshot of loop flights" in missing.output) == (1, True)


def test_a_backfill_shows_in_the_diff_with_its_reason(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = take(world)
    same = ratchet(world, monkeypatch, "diff", manifest["id"][:12], "now")
    assert same.exit_code == 0, same.output
    assert "0 added, 0 removed, 0 changed" in unwrapped(same.output)
    world.deliver_late()
    assert world.land_and_build(LATE_DAY, LATE_DAY)
    found = json.loads(ratchet(world, monkeypatch, "diff", manifest["id"][:12], "now", "--json").stdout)
    assert found["rows"]["changed"] > 100
    assert (found["rows"]["added"], found["rows"]["removed"]) == (0, 0)
    assert found["changed_by_column"]["temperature_f"] > 100
    assert found["explained"] is True
    assert [(p["source"], p["received_date"]) for p in found["changed_since"]] == [("weather", str(LATE_DAY))]
    assert found["landed_since"] == []
    assert len(found["changed_values"]) == 10
    told = ratchet(world, monkeypatch, "diff", manifest["id"][:12], "now")
    assert "weather: 1 partition got other rows since: 2013-01-11" in unwrapped(told.output)
    new = take(world)
    assert new["sha256"] != manifest["sha256"]
    two = json.loads(ratchet(world, monkeypatch, "diff", manifest["id"], new["id"], "--json").stdout)
    assert two["rows"] == found["rows"]
    assert len(read_snapshot(world.settings, world.loop, manifest)) == manifest["rows"], "the old one stays"


def test_a_change_that_nothing_explains_is_said_loudly(
    world: SmallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Uncommitted changes in the checkout would be an explanation.
    clean = code_version(world.settings.root) | {"is_clean": True}
    monkeypatch.setattr("ratchet.stages.snapshots.code_version", lambda _: clean)
    manifest = take(world)
    with open_warehouse(world.settings, purpose="test") as warehouse:
        warehouse.execute(
            "update features.ftr_flights__pre_departure set wind_speed_mph = wind_speed_mph + 1 "
            "where departure_date = '2013-01-05'"
        )
    found = ratchet(world, monkeypatch, "diff", manifest["id"][:12], "now")
    assert found.exit_code == 1
    assert "NOTHING EXPLAINS THIS" in unwrapped(found.output)


def frame(**columns: list) -> pd.DataFrame:
    return pd.DataFrame({"departure_date": [date(2013, 1, 1)] * len(columns["unit_id"]), **columns})


def test_rows_are_compared_by_unit_and_missing_equals_missing() -> None:
    old = frame(unit_id=["a", "b", "c"], x=[1.0, None, 3.0], label=[0, 1, 0])
    new = frame(unit_id=["b", "c", "d"], x=[None, 3.5, 1.0], label=[1, 0, 1])
    found = diff_rows(old, new)
    assert (found.added["unit_id"].tolist(), found.removed["unit_id"].tolist(), found.same) == (
        ["d"],
        ["a"],
        1,
    )
    assert found.changed[["unit_id", "column", "old", "new"]].values.tolist() == [["c", "x", 3.0, 3.5]]
    assert found.by_column() == {"x": 1}
    assert not diff_rows(old, old.iloc[::-1]).differs
    came = diff_rows(frame(unit_id=["a"], x=[None]), frame(unit_id=["a"], x=[1.0]))
    assert came.changed_units == 1
    wider = diff_rows(frame(unit_id=["a"]), frame(unit_id=["a"], y=[2.0]))
    assert wider.by_column() == {"y": 1}
    with pytest.raises(ValueError, match="more than once"):
        diff_rows(pd.concat([old, old]), new)


def manifest_with(**changes: object) -> dict:
    plain = {"window": ["2013-01-01", "2013-01-31"], "as_of": "2013-02-01T00:00:00", "query": {"sql": "q"},
             "dbt": {"models_sha256": "m"}, "loop_file_sha256": "l", "environment_sha256": "e",
             "code": {"commit": "c", "is_clean": True}}  # fmt: skip
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"window": ["2013-01-02", "2013-01-31"]}, "the window"),
        ({"as_of": "2013-02-02T00:00:00"}, "the as-of"),
        ({"query": {"sql": "p"}}, "the query"),
        ({"dbt": {"models_sha256": None}}, "dbt models"),
        ({"loop_file_sha256": "k"}, "the loop file"),
        ({"code": {"commit": "d", "is_clean": True}}, "the code's commit"),
        ({"code": {"commit": "c", "is_clean": False}}, "uncommitted changes"),
    ],
)
def test_each_difference_of_two_manifests_is_a_reason(changes: dict, text: str) -> None:
    rows = diff_rows(frame(unit_id=["a"], label=[0]), frame(unit_id=["a"], label=[1]))
    found = why(manifest_with(), manifest_with(**changes), [], [], rows)
    assert len(found.parts) == 1
    assert text in found.parts[0]
    assert not why(manifest_with(), manifest_with(), [], [], rows).explains


def test_the_commit_is_known_in_a_checkout_and_said_to_be_unknown_outside(tmp_path: Path) -> None:
    assert code_version(tmp_path) == {
        "commit": None, "is_clean": None, "note": "outside a git checkout: the commit is not known",
    }  # fmt: skip
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    clean = code_version(tmp_path)
    assert (len(clean["commit"]), clean["is_clean"], clean["note"]) == (40, True, None)
    (tmp_path / "new.py").write_text("")
    assert code_version(tmp_path)["is_clean"] is False
    (tmp_path / "inner").mkdir()
    assert code_version(tmp_path / "inner")["commit"] is None, (
        "another project's checkout around it says nothing"
    )


def test_the_bootstraps_snapshot_is_as_of_its_request(made_world: SmallWorld) -> None:
    (manifest,) = snapshots(made_world.settings, made_world.loop)
    rows = read_snapshot(made_world.settings, made_world.loop, manifest)
    assert pd.to_datetime(rows["label_received_at"]).max() < pd.Timestamp(BOOTSTRAP)
    elsewhere = replace(made_world.settings, home=made_world.settings.home / "nowhere")
    assert snapshots(elsewhere, made_world.loop) == []
