"""Pages without Airflow: what they show of any state, what they never show, and what they never do."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.pages.fixtures import (
    EVIL,
    installation,
    ledger_of_exclusion,
    ledger_of_rollouts,
    monitor_drift,
    monitor_quality,
    monitor_users,
    publish_all,
    write_ledger,
)
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.loop import Loop, load_loop
from ratchet.pages.book import PAGES, made
from ratchet.pages.decisions import approvals, certificate_page
from ratchet.pages.links import Links
from ratchet.pages.plots import Series, columns, forest, lines
from ratchet.pages.render import coded, page_html, report_html
from ratchet.pages.source import LedgerBroken, Source
from ratchet.published import publish
from ratchet.settings import Settings, load_settings


@pytest.fixture(scope="module")
def loop() -> Loop:
    return load_loop(load_settings({}).loops_dir / "flights.yml")


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return installation(tmp_path_factory.mktemp("full"))


def html_of(settings: Settings, loop: Loop, slug: str) -> str:
    source = Source.of(settings, loop)
    links = Links("flights", settings, own="/ratchet", airflow="")
    page = approvals(source, links, ("ana",)) if slug == "approvals" else made(slug, source, links)
    return page_html(page, source, links, ["flights"], current=slug)


EVERY = [*PAGES, "approvals"]


@pytest.mark.parametrize("slug", EVERY)
def test_a_page_of_an_empty_installation_says_so(slug: str, loop: Loop, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    html = html_of(settings, loop, slug)
    said = ("Not measured yet", "Nothing was", "None was", "No decision waits")
    assert any(text in html for text in said), html
    assert 'class="plot"' not in html
    assert not list(tmp_path.rglob("*")), "looking made something"


@pytest.mark.parametrize(
    "slug", ["overview", "data", "drift", "quality", "users", "themes", "operations", "approvals"]
)
def test_a_page_of_a_full_installation_has_drawings_and_tables_of_the_same_numbers(
    slug: str, loop: Loop, full: Settings
) -> None:
    html = html_of(full, loop, slug)
    drawn = re.findall(r'<svg class="plot".*?</svg>', html, flags=re.S)
    assert drawn
    for svg in drawn:
        assert "mark" in svg, svg[:300]
        assert re.search(r"<title id=\S+>[^<]+</title><desc id=\S+>[^<]+</desc>", svg)
    assert html.count("<details>") == len(drawn)
    assert "Not measured yet" not in html
    assert "NaN" not in html and "nan" not in re.findall(r'points="([^"]*)"', html)


@pytest.mark.parametrize("slug", EVERY)
def test_what_somebody_wrote_is_text(slug: str, loop: Loop, full: Settings) -> None:
    html = html_of(full, loop, slug)
    assert "<script>window" not in html
    assert "<img" not in html
    if slug in ("overview", "users", "themes", "approvals"):
        assert "&lt;script&gt;window.planted" in html, (
            "the planted text is not on this page: the test saw nothing"
        )


def test_a_plots_own_text_is_escaped() -> None:
    plot = lines(EVIL, [EVIL, "b"], [Series(EVIL, [1, 2]), Series("b", [1, None])])
    other = columns(EVIL, [EVIL], [Series(EVIL, [1.0])])
    assert "<script" not in plot.svg + other.svg and "&lt;script" in plot.svg


def test_a_plot_without_a_value_says_so() -> None:
    empty = [lines("a", ["1", "2"], [Series("a", [None, None])]), columns("a", ["1"], [Series("a", [None])])]
    for plot in empty:
        assert "no value yet" in plot.svg and "mark" not in plot.svg
    assert "no value yet" not in lines("a", ["1"], [Series("a", [1.0])]).svg
    assert "none has limits yet" in forest("a", [("x", None, None, None, "main", "too few")]).svg


def test_cohorts_have_an_auc_with_limits_or_the_reason_why_not(loop: Loop, full: Settings) -> None:
    quality = html_of(full, loop, "quality")
    rows = dict(re.findall(r"carrier=(\w\w)</td>(.*?)</tr>", quality, flags=re.S))
    assert "0.7123 (0.6655 to 0.7591)" in rows["AA"]
    assert "too few days: 5 of 7" in rows["MQ"] and "0.71" not in rows["MQ"]
    assert "5.3%" in rows["9E"], "of its 950 units 50 have no label"
    assert "label windows are over" in quality


def test_groups_below_k_show_no_number(loop: Loop, full: Settings) -> None:
    assert loop.monitoring.min_group == 10
    users, quality, drift = (html_of(full, loop, slug) for slug in ("users", "quality", "drift"))
    assert "1.23" not in users and "0.00037" not in users and ">0.37<" not in users
    assert users.count("fewer than 10") >= 3
    themes = html_of(full, loop, "themes")
    assert "1.23" not in themes and "0.0432" not in themes
    assert themes.count("fewer than 10") == 3
    # By cohort only what has a direction is named; a count could be had by subtraction, so there is none.
    assert "For whom? rollout ro-2" in themes and "origin EWR" in themes and "carrier YV" not in themes
    assert (
        "4 cohorts judged, 12 left out" in themes and "3 effects have 10 answers or more, 2 of them" in themes
    )
    row = re.search(r"carrier=HA</td>\s*<td[^>]*>(.*?)</tr>", quality, flags=re.S)
    assert row is not None and not re.search(r"\d\.\d", row[1]), row
    assert "0.7123" not in row[1], "what is hidden has no AUC either"
    scores = monitor_quality()
    scores["reliability"][-1].update(n=9, rate=0.98765)
    publish(full, "flights", "monitor_quality", scores)
    quality = html_of(full, loop, "quality")
    publish(full, "flights", "monitor_quality", monitor_quality())
    assert "0.9877" not in quality and "Left out: 1 ranges of scores with fewer than 10" in quality
    assert "0.29" not in re.findall(r"challenger</td>(.*?)</tr>", drift, flags=re.S)[0]
    # With a smaller k they are shown: it is k that hides them.
    open_loop = loop.model_copy(update={"monitoring": loop.monitoring.model_copy(update={"min_group": 2})})
    assert (
        "0.29" in re.findall(r"challenger</td>(.*?)</tr>", html_of(full, open_loop, "drift"), flags=re.S)[0]
    )


def test_a_certificate_hides_small_cohorts(loop: Loop, full: Settings) -> None:
    source = Source.of(full, loop)
    entry = source.entries[-1]
    units = {name: found["units"] for name, found in entry.payload["evidence"]["cohorts"].items()}
    name, smallest = min(units.items(), key=lambda item: item[1])
    large = loop.model_copy(
        update={"monitoring": loop.monitoring.model_copy(update={"min_group": smallest + 1})}
    )
    shown = certificate_page(Source(full, large, source.entries), Links("flights", full), entry)
    told = {row[0].text: [c.text for c in row] for p in shown.panels for t in p.tables for row in t.rows}
    assert any(key.startswith(name) and f"fewer than {smallest + 1}" in row for key, row in told.items()), (
        told
    )
    drawn = [row for p in shown.panels for plot in p.plots for row in plot.table.rows if row[0].text == name]
    assert not drawn
    before = certificate_page(source, Links("flights", full), entry)
    assert [row for p in before.panels for plot in p.plots for row in plot.table.rows if row[0].text == name]


def test_simulated_travellers_are_called_so_wherever_they_show(loop: Loop, full: Settings) -> None:
    html = html_of(full, loop, "users")
    assert html.count('class="badge"') == 4 and "not opinions of people" in html
    assert "(simulated)" in html_of(full, loop, "operations")
    assert "(feedback, telemetry) is simulated" in html_of(full, loop, "data")
    source = Source.of(full, loop)
    page = certificate_page(source, Links("flights", full), source.entries[-1])
    assert "travellers are simulated" in page.lead
    real = {**(source.summary("monitor_users") or {}), "simulated": False}
    publish(full, "flights", "monitor_users", real)
    try:
        assert not certificate_page(source, Links("flights", full), source.entries[-1]).lead
        assert "is simulated" not in html_of(full, loop, "data")
    finally:
        publish(full, "flights", "monitor_users", {**real, "simulated": True})


def test_no_table_has_a_column_without_a_name(loop: Loop, full: Settings) -> None:
    source, links = Source.of(full, loop), Links("flights", full)
    pages = [made(slug, source, links) for slug in PAGES]
    pages += [certificate_page(source, links, entry) for entry in source.entries]
    tables = [
        t for page in pages for p in page.panels for t in (*p.tables, *(plot.table for plot in p.plots))
    ]
    assert len(tables) > 100
    assert [t.columns for t in tables if not all(t.columns)] == []
    states = [
        row[-1].text for p in pages[-1].panels if p.title == "Harm, as e-values" for row in p.tables[0].rows
    ]
    assert states and set(states) <= {"crossed", "not crossed"}


def test_a_certificate_links_what_it_rests_on(loop: Loop, full: Settings) -> None:
    source = Source.of(full, loop)
    links = Links("flights", full, own="/ratchet", airflow="")
    applied = next(e for e in source.entries if e.kind == "rollout_applied")
    decided = next(e for e in source.entries if e.key == applied.payload["decision"])
    facts = dict(certificate_page(source, links, applied).panels[0].facts)
    assert facts["decision"].link == f"/ratchet/flights/decisions/{decided.seq}"
    # In a file to send around a link that leads nowhere is none.
    assert (
        dict(certificate_page(source, Links("flights", full), applied).panels[0].facts)["decision"].link
        is None
    )


def test_what_is_not_served_is_not_linked_and_says_what_to_start(loop: Loop, full: Settings) -> None:
    source = Source.of(full, loop)
    for settings, is_linked in (
        (full, False),
        (replace(full, mlflow_ui="http://localhost:5000", dbt_docs="http://localhost:8085"), True),
    ):
        beside = dict(Links("flights", settings, own="/ratchet", airflow="").beside())
        for name, command in (("Models", "make mlflow"), ("Tables", "ratchet dbt docs generate")):
            assert (beside[name].link is not None) == is_linked
            assert (command in beside[name].text) != is_linked
        assert beside["Gate results"].link is None, "no Data Docs were written here"
    assert source.entries


def test_commands_are_code_and_nothing_else_is_markup() -> None:
    assert coded("run `make up` now") == "run <code>make up</code> now"
    assert "<script" not in coded(f"`{EVIL}`") and "<img" not in coded(f"`{EVIL}` `x`")
    assert coded("one ` alone") == "one ` alone"


def test_a_table_of_sentences_names_its_cells_for_a_phone(loop: Loop, full: Settings) -> None:
    html = html_of(full, loop, "overview")
    assert 'data-name="first cause"' in html and 'class="wordy" role="table"' in html
    assert 'data-name="hours late"' not in html_of(full, loop, "data"), "numbers stay in columns"


def test_days_that_may_still_change_are_drawn_apart(loop: Loop, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    publish(settings, "flights", "monitor_users", monitor_users())
    whole = html_of(settings, loop, "users")
    publish(settings, "flights", "monitor_users", {**monitor_users(), "complete_until": "2013-06-02"})
    html = html_of(settings, loop, "users")
    assert "still coming in" in html and "after 2013-06-02 people may still answer" in html
    assert html.count('class="s-ink dashed mark"') == 3 and "still coming in" not in whole


def test_who_was_asked_is_shown_beside_who_answered(loop: Loop, full: Settings) -> None:
    html = html_of(full, loop, "users")
    assert "3.77 (3.71 to 3.83)" in html and "3.94 (3.88 to 4.00)" in html and "98.0%" in html


def test_a_summary_of_another_shape_is_said_and_hides_no_other_page(loop: Loop, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    publish_all(settings)
    publish(settings, "flights", "monitor_drift", {"features": "none", "outputs": [1]})
    html = html_of(settings, loop, "drift")
    assert "be read (" in html and 'class="plot"' not in html
    assert 'class="plot"' in html_of(settings, loop, "data")
    (settings.published_dir / "flights" / "monitor_data.json").write_text("{")
    assert "be read (" in html_of(settings, loop, "data")


def test_measures_without_a_value_are_gaps(loop: Loop, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    found = monitor_drift()
    for one in found["features"]:
        one.update(js=None, ks=None, psi=None, q_value=None, wobble=None, importance=None, days=[])
    found["multivariate"] = None
    publish(settings, "flights", "monitor_drift", found)
    html = html_of(settings, loop, "drift")
    assert "unknown" in html and "be read (" not in html


def test_cohorts_left_out_are_let_go_by_those_whom_the_loop_file_names(loop: Loop, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    write_ledger(settings, ledger_of_exclusion())
    source, links = Source.of(settings, loop), Links("flights", settings, own="/ratchet", airflow="")
    for reader, why_not, forms in (
        (("Dana Reyes",), "", 2),
        (("eve",), "", 0),
        (("Dana Reyes",), "Your role in Airflow lets you look, not answer.", 0),
    ):
        page = approvals(source, links, reader, why_not)
        html = page_html(page, source, links, ["flights"], current="approvals", token="t")
        assert html.count('name="cohort"') == forms and html.count("Left out: carrier=") == 2
        assert html.count("You can't answer it here.") == 2 - forms
        assert "<script>window" not in html and "&lt;script&gt;window.planted" in html
        assert 'name="instead_of" value="2"' in html or not forms
    assert "ratchet cohort release" in report_html(source)


def change(settings: Settings, statement: str) -> None:
    """As somebody would who owns the file: without the triggers that forbid it."""
    with sqlite3.connect(settings.ledger_url.removeprefix("sqlite:///")) as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f"drop trigger {name}")
        assert connection.execute(statement).rowcount == 1


def test_a_changed_ledger_is_not_shown(loop: Loop, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    entries = ledger_of_rollouts()
    write_ledger(settings, entries)
    assert len(Source.of(settings, loop).entries) == len(entries)
    change(settings, f"delete from ledger_entries where seq = {len(entries)}")
    with pytest.raises(LedgerBroken, match=f"entry {len(entries)} was in the ledger"):
        Source.of(settings, loop)
    other = load_settings({"RATCHET_HOME": str(tmp_path / "other")})
    write_ledger(other, entries)
    change(other, "update ledger_entries set payload = replace(payload, 'hold', 'held') where seq = 5")
    with pytest.raises(LedgerBroken):
        Source.of(other, loop)


def test_what_is_appended_is_shown_and_the_rest_not_read_again(loop: Loop, tmp_path: Path) -> None:
    settings = load_settings({"RATCHET_HOME": str(tmp_path)})
    entries = ledger_of_rollouts()
    write_ledger(settings, entries[:-1])
    first = Source.of(settings, loop).entries
    from ratchet.ledger.store import Ledger

    last = entries[-1]
    Ledger(settings.ledger_url).append(
        loop="flights", kind="health", key="h", as_of=Source.of(settings, loop).as_of or pytest.fail("no time"),
        payload={"status": "ok"},
    )  # fmt: skip
    second = Source.of(settings, loop).entries
    assert len(second) == len(first) + 1 and second[-1].kind == "health" != last.kind
    assert all(a is b for a, b in zip(first, second, strict=False))


def test_the_report_is_one_file_that_needs_nothing(
    full: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_HOME", str(full.home))
    out = tmp_path / "report.html"
    done = CliRunner().invoke(app, ["report", "--html", str(out)])
    assert done.exit_code == 0, done.output
    html = out.read_text(encoding="utf-8")
    for slug in EVERY:
        assert f'<article id="{slug}">' in html
    assert html.count('class="plot"') > 30
    assert "<script" not in html and "<form" not in html and "url(" not in html
    outside = [link for link in re.findall(r'(?:src|href)="([^"]*)"', html) if not link.startswith("#")]
    assert not outside
    for target in re.findall(r'href="#([^"]*)"', html):
        assert f'id="{target}"' in html, target


def test_pages_need_no_database_library_and_leave_a_locked_warehouse_alone(full: Settings) -> None:
    program = """
import json, sys
from ratchet.loop import load_loop
from ratchet.pages.render import report_html
from ratchet.pages.source import Source
from ratchet.settings import load_settings
settings = load_settings()
size = len(report_html(Source.of(settings, load_loop(settings.loops_dir / "flights.yml"))))
print(json.dumps([size, [m for m in ("duckdb", "airflow", "mlflow", "dbt", "matplotlib") if m in sys.modules]]))
"""
    import duckdb

    full.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(full.warehouse_path)):  # another process would be refused now
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin", "RATCHET_HOME": str(full.home), "PYTHONPATH": str(full.root / "plugins")},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    size, loaded = json.loads(done.stdout)
    assert size > 100_000 and not loaded
