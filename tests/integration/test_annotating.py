"""Labels from file to effect: taken once, known from their receipt on, used if they agree, gone with their answer."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.landing.land import land_range
from ratchet.ledger.store import migrate
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.annotating import apply, next_to_label, report, report_of_day
from ratchet.stages.annotation_inbox import LabelRefused, give, waiting_in_inbox
from ratchet.stages.annotation_labels import import_labels, labelled_by, standing, take_inbox
from ratchet.stages.enriching import enrich_landed, fit_model
from ratchet.stages.forget import forget
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

DAY = date(2013, 5, 14)
TEN = datetime(2013, 5, 14, 10)
EVENING = TEN + timedelta(hours=8)
USER = "quibble@planted.example"
SAID = (
    ("No warning at all, I missed my connection.", "false_reassurance"),
    ("The app crashed on the login screen.", "app_problem"),
    ("Too expensive, I want a refund.", "price"),
    ("False alarm, it left on time.", "false_alarm"),
)
HEADER = "feedback_id,annotator,category,rubric_version,event_at\n"


def quiet(_: str) -> None:
    return None


def land(loop: Loop, settings: Settings, wh: Warehouse, count: int = 40) -> None:
    path = settings.landing_dir / "flights" / "feedback" / f"received_date={DAY}" / "a.jsonl"
    path.parent.mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {
            "feedback_id": f"f{n:02}", "prediction_id": f"p{n}", "unit_id": f"UA{n}", "channel": "ticket",
            "comment": f"{SAID[n % 4][0]} {'abcdefghijklmnopqrst'[n // 2 % 20] * 3}",
            "consent": "none" if n == 39 else None, "user_id": USER if n == 1 else f"u{n}",
            "is_simulated": True, "event_at": f"{DAY}T09:00:00Z", "received_at": f"{DAY}T10:00:00Z",
        }
        for n in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    land_range(loop, settings, wh, DAY, DAY, quiet)
    enrich_landed(wh, settings, loop, quiet)
    wh.execute("delete from ops.dirty_partitions")


@pytest.fixture
def landed(loop: Loop, settings: Settings, wh: Warehouse) -> Warehouse:
    land(loop, settings, wh)
    return wh


def labels(path: Path, *people: str, wrong: frozenset[int] = frozenset(), count: int = 36) -> Path:
    """A file in which each of `people` labels the answers; of those in `wrong`, the last one differs."""
    lines = [
        f"f{n:02},{who},{'other' if n in wrong and who == people[-1] else SAID[n % 4][1]},1,{DAY}T12:00:{n:02}Z\n"
        for n in range(count)
        for who in people
    ]
    path.write_text(HEADER + "".join(lines), encoding="utf-8")
    return path


def test_labels_are_taken_once_and_each_refusal_has_its_line(
    loop: Loop, settings: Settings, landed: Warehouse, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    rows = [
        "f00,ana,price,1,2013-05-14T12:00:00Z",
        "f00,ana,price,1,2013-05-14T12:00:00Z",
        "f00,ana,praise,1,2013-05-14T12:00:00Z",
        "f00,ana,praise,1,2013-05-14T13:00:00Z",
        "gone,ana,price,1,2013-05-14T12:00:00Z",
        "f01,ana,nonsense,1,2013-05-14T12:00:00Z",
        "f01,ana,price,0,2013-05-14T12:00:00Z",
        "f01,ana,price,1,2013-05-14T19:00:00Z",
        "f01,ana,price,1,2013-05-14T09:30:00Z",
        "f01,ana'; drop table ops.annotations; --,price,1,2013-05-14T12:00:00Z",
    ]
    path.write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    found = import_labels(settings, loop, path, "csv", EVENING, quiet)
    assert {k: found[k] for k in ("read", "taken", "refused", "duplicate")} == {
        "read": 10, "taken": 2, "refused": 7, "duplicate": 1,
    }  # fmt: skip
    assert [(one["line"], one["reason"].split(" ")[0]) for one in found["refusals"]] == [
        (4, "ana"), (6, "no"), (7, "category"), (8, "rubric_version"), (9, "event_at"), (10, "event_at"),
        (11, "annotator"),
    ]  # fmt: skip
    again = import_labels(settings, loop, path, "csv", EVENING + timedelta(minutes=1), quiet)
    assert (again["taken"], again["duplicate"], again["refused"]) == (0, 3, 7)
    # A correction is a later row, and known only from its receipt on.
    assert landed.scalar("select count(*) from ops.annotations") == 2
    assert standing(landed, loop, EVENING).labels == []
    (label,) = standing(landed, loop, EVENING + timedelta(seconds=1)).labels
    assert (label.category, label.received_at, label.source) == ("praise", EVENING, "import:csv")


def test_a_queue_is_as_of_its_moment_and_leaves_out_what_is_settled_or_was_not_agreed_to(
    loop: Loop, settings: Settings, landed: Warehouse, tmp_path: Path
) -> None:
    assert next_to_label(settings, loop, TEN) == []
    found = next_to_label(settings, loop, EVENING)
    ids = {one.item.feedback_id for one in found}
    assert len(ids) == len(found) >= 30 and "f39" not in ids
    import_labels(
        settings, loop, labels(tmp_path / "a.csv", "ana", "ben", wrong=frozenset({5})), "csv", EVENING, quiet
    )
    later = EVENING + timedelta(minutes=1)
    left = next_to_label(settings, loop, later)
    assert {one.item.feedback_id for one in left} == {"f05", "f36", "f37", "f38"}
    assert left[0].item.feedback_id == "f05" and left[0].disagreement > 0
    assert {one.item.feedback_id for one in next_to_label(settings, loop, EVENING)} == ids


def test_labels_change_nothing_before_they_agree_and_then_by_a_version_of_their_own(
    loop: Loop, settings: Settings, landed: Warehouse, tmp_path: Path
) -> None:
    later = EVENING + timedelta(minutes=1)
    before = landed.scalar("select enrichment_version from ops.enrichment_versions where is_current")
    with pytest.raises(LabelRefused, match="0 items have two labels"):
        apply(settings, loop, later, quiet)
    apart = frozenset(range(36))
    import_labels(
        settings, loop, labels(tmp_path / "a.csv", "ana", "ben", wrong=apart), "csv", EVENING, quiet
    )
    with pytest.raises(LabelRefused, match="lower limit of alpha"):
        apply(settings, loop, later, quiet)
    model, _ = fit_model(settings, loop, [], 1, quiet)
    assert "texts_labelled_by_people" not in model["about"]
    assert enrich_landed(landed, settings, loop, quiet)["version"] == before

    # Ben corrects himself: on one answer both say what no machine would.
    text = (
        labels(tmp_path / "b.csv", "ben")
        .read_text()
        .replace("T12:", "T13:")
        .replace("f01,ben,app_problem", "f01,ben,price")
    )
    text += f"f01,ana,price,1,{DAY}T13:30:00Z\n"
    (tmp_path / "b.csv").write_text(text)
    assert import_labels(settings, loop, tmp_path / "b.csv", "csv", later, quiet)["taken"] == 37
    now = later + timedelta(minutes=1)
    done = apply(settings, loop, now, quiet)
    assert (done["answers"], done["is_new"]) == (36, True)
    assert apply(settings, loop, now, quiet) == {**done, "is_new": False}
    found = enrich_landed(landed, settings, loop, quiet)
    assert found["is_new"] and found["version"] != before and found["texts"] == 40
    rows = landed.frame(
        "select feedback_id, category, confidence, source, rubric_version from ops.feedback_enrichment "
        "where enrichment_version = ? order by feedback_id", (found["version"],),
    )  # fmt: skip
    assert rows["source"].tolist() == ["annotation"] * 36 + rows["source"].tolist()[36:]
    assert "annotation" not in rows["source"].tolist()[36:]
    assert tuple(rows.iloc[1])[:4] == ("f01", "price", 1.0, "annotation") and set(rows["rubric_version"]) == {
        "1"
    }
    assert (
        landed.scalar("select count(*) from ops.feedback_enrichment where enrichment_version = ?", (before,))
        == 40
    )
    assert enrich_landed(landed, settings, loop, quiet)["texts"] == 0
    model, _ = fit_model(settings, loop, [], 1, quiet)
    assert model["about"]["texts_labelled_by_people"] == 36
    # As known before the correction the labels did not agree, and no later fit of that moment uses them.
    model, _ = fit_model(settings, loop, [], 1, quiet, later)
    assert "texts_labelled_by_people" not in model["about"]
    # Under another rubric the set means something else.
    other = loop.feedback.model_copy(
        update={"annotation": loop.feedback.annotation.model_copy(update={"rubric_version": "2"})}
    )
    assert (
        enrich_landed(landed, settings, loop.model_copy(update={"feedback": other}), quiet)["version"]
        == before
    )


def test_a_label_of_the_page_is_kept_taken_once_and_corrected(
    loop: Loop, settings: Settings, landed: Warehouse
) -> None:
    found = report(settings, loop, EVENING, quiet)
    item = found["queue"][0]["feedback_id"]
    assert found["alpha"]["value"] is None and not found["is_usable"] and found["simulated"]
    for bad in (("gone", "ana", "price"), (item, "ana", "nonsense"), (item, "<script>", "price")):
        with pytest.raises(LabelRefused):
            give(settings, loop, *bad, EVENING)
    give(settings, loop, item, "ana", "price", EVENING)
    give(settings, loop, item, "ana", "praise", EVENING)
    give(settings, loop, item, "ben", "praise", EVENING)
    assert waiting_in_inbox(settings, "flights") == {(item, "ana"): "praise", (item, "ben"): "praise"}
    assert take_inbox(settings, landed, loop, quiet) == 2
    give(settings, loop, item, "ana", "other", EVENING)
    # A run that died after it had marked the files.
    (path,) = (settings.home / "annotations" / "flights").glob("*.json")
    path.rename(path.with_suffix(".taking"))
    assert take_inbox(settings, landed, loop, quiet) == 1 and take_inbox(settings, landed, loop, quiet) == 0
    assert labelled_by(landed, "flights") == {item: ["ana", "ben"]}
    now = standing(landed, loop, EVENING + timedelta(seconds=1)).labels
    assert [(one.annotator, one.category, one.source) for one in now] == [
        ("ana", "other", "page"),
        ("ben", "praise", "page"),
    ]
    assert report(settings, loop, EVENING, quiet)["queue"][0]["labelled_by"] in (["ana", "ben"], [])


def test_the_report_of_a_day_is_published_once_and_an_earlier_day_does_not_replace_it(
    loop: Loop, settings: Settings, landed: Warehouse, tmp_path: Path
) -> None:
    later = EVENING + timedelta(days=1)
    first = report_of_day(settings, loop, later, quiet)
    assert first["published"] and first["labels"] == 0 and first["queue"] > 20
    summary = read(settings, "flights", "annotation")
    assert report_of_day(settings, loop, later, quiet) == first
    assert read(settings, "flights", "annotation") == summary
    earlier = report_of_day(settings, loop, EVENING, quiet)
    assert not earlier["published"] and read(settings, "flights", "annotation") == summary
    item = (summary or {})["queue"][0]["feedback_id"]
    give(settings, loop, item, "ana", "price", EVENING)
    assert report_of_day(settings, loop, later, quiet)["labels"] == 1
    wordless = loop.model_copy(update={"feedback": loop.feedback.model_copy(update={"taxonomy": None})})
    assert report_of_day(settings, wordless, later, quiet)["labels"] is None


def test_nothing_of_a_forgotten_persons_labels_is_left(
    loop: Loop, settings: Settings, tmp_path: Path
) -> None:
    migrate(settings.ledger_url)
    with open_warehouse(settings, purpose="test") as wh:
        land(loop, settings, wh)
    path = labels(tmp_path / "a.csv", "ana", "ben")
    report(settings, loop, EVENING, quiet)
    give(settings, loop, "f01", "zoe", "price", EVENING)
    give(settings, loop, "f02", "zoe", "price", EVENING)
    import_labels(settings, loop, path, "csv", EVENING, quiet)
    apply(settings, loop, EVENING + timedelta(minutes=1), quiet)
    (done,) = forget(settings, loop, [USER], quiet)
    assert done["removed"]["ops.annotations"] == 2 and done["removed"]["ops.annotation_resolved"] == 1
    assert waiting_in_inbox(settings, "flights") == {("f02", "zoe"): "price"}
    summary = read(settings, "flights", "annotation")
    assert summary is not None and len(summary["queue"]) > 20
    for file in (
        p
        for p in settings.home.rglob("*")
        if p.is_file() and "f01" in p.name + p.read_bytes().decode(errors="ignore")
    ):
        assert "annotation" not in str(file), file
    # The same file again brings nothing of them back.
    again = import_labels(settings, loop, path, "csv", EVENING, quiet)
    assert (again["taken"], again["refused"], again["duplicate"]) == (0, 2, 70)


def test_the_commands(
    loop: Loop, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_HOME", str(settings.home))
    if settings.warehouse_url:
        monkeypatch.setenv("RATCHET_WAREHOUSE_URL", settings.warehouse_url)
    with open_warehouse(settings, purpose="test") as wh:
        land(loop, settings, wh)
    run = CliRunner().invoke
    moment = ["--as-of", "2013-05-14T18:01:00Z"]
    missing = run(app, ["annotate", "queue", "flights"])
    assert missing.exit_code == 1 and "--as-of" in missing.output
    out = tmp_path / "queue.json"
    written = run(
        app, ["annotate", "export", "flights", "--out", str(out), "--format", "labelstudio", *moment]
    )
    assert written.exit_code == 0 and len(json.loads(out.read_text())) > 30
    path = labels(tmp_path / "a.csv", "ana", "ben")
    path.write_text(path.read_text() + "gone,ana,price,1,2013-05-14T12:00:00Z\n")
    taken = run(app, ["annotate", "import", "flights", str(path), "--received", "2013-05-14T18:00:00Z"])
    assert taken.exit_code == 1 and "73 read, 72 taken, 1 refused, 0 duplicate" in taken.output
    assert f"{path}:74: no answer" in taken.output
    said = run(app, ["annotate", "report", "flights", *moment])
    assert said.exit_code == 0 and "36 agreed" in said.output and "used" in said.output
    assert run(app, ["annotate", "apply", "flights", *moment]).exit_code == 0
    listed = run(app, ["annotate", "queue", "flights", "--json", *moment])
    assert len(json.loads(listed.output)) == 3
