"""The pages in a real Airflow, seen by a real browser: who gets in, who may answer, and that it works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import requests
from tests.pages.fixtures import installation
from tests.pages.served import Served
from typer.testing import CliRunner

from ratchet.cli import app
from ratchet.stages.records import ledger_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SLUGS = (
    "overview",
    "data",
    "drift",
    "quality",
    "users",
    "themes",
    "annotation",
    "operations",
    "decisions",
    "approvals",
    "decisions/31",
)


def opened(browser: Browser, served: Served, user: str, **options: Any) -> tuple[Page, list[str]]:
    """A browser's page with the user's session, and what its console complains of."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.add_cookies([{"name": "_token", "value": served.tokens[user], "url": served.url}])
    page, said = context.new_page(), []
    page.on(
        "console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    return page, said


def test_who_is_not_signed_in_gets_nothing(served: Served) -> None:
    for slug in ("", "/flights", *(f"/flights/{slug}" for slug in SLUGS), "/flights/data-docs/index.html"):
        answer = served.get(f"/ratchet{slug or '/'}")
        assert answer.status_code == 401, slug
        assert "flights-exp" not in answer.text and "Sign in to Airflow" in answer.text
    forged = requests.get(f"{served.url}/ratchet/flights/overview", cookies={"_token": "x.y.z"}, timeout=30)
    assert forged.status_code in (401, 403) and "version" not in forged.text


def test_every_answer_forbids_what_a_page_does_not_need(served: Served) -> None:
    for path, user in (
        ("/ratchet/flights/overview", "viewer"),
        ("/ratchet/flights/none", "viewer"),
        ("/ratchet/", None),
    ):
        headers = served.get(path, user).headers
        policy = headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "frame-ancestors 'self'" in policy and "unsafe" not in policy
        )
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"


def test_there_is_no_way_out_of_the_folders(served: Served) -> None:
    docs = served.settings.gx_dir / "data_docs"
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "index.html").write_text("<p>gate results</p><script>window.planted = 1</script>")
    answer = served.get("/ratchet/flights/data-docs/index.html", "viewer")
    assert answer.status_code == 200 and "sandbox" in answer.headers["content-security-policy"]
    for path in (
        "..%2f..%2fairflow/passwords.json",
        "%2e%2e/%2e%2e/airflow/passwords.json",
        "%2fetc%2fpasswd",
    ):
        found = served.get(f"/ratchet/flights/data-docs/{path}", "viewer")
        assert found.status_code == 404 and served.passwords["viewer"] not in found.text, path
    assert served.get("/ratchet/static/..%2f..%2fsettings.py", "viewer").status_code == 404
    assert served.get("/ratchet/nothing/overview", "viewer").status_code == 404


def test_the_entry_in_airflows_navigation_opens_the_pages(served: Served, browser: Browser) -> None:
    page, said = opened(browser, served, "viewer")
    page.goto(f"{served.url}/")
    page.get_by_role("link", name="Ratchet").click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Overview").wait_for()
    frame.get_by_role("link", name="Drift", exact=True).click()
    frame.get_by_role("heading", name="Reference against now").wait_for()
    page.evaluate("document.documentElement.className = 'dark'")
    inner = next(f for f in page.frames if "/ratchet/flights" in f.url and f != page.main_frame)
    inner.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert inner.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 31)"
    page.evaluate("document.documentElement.className = 'light'")
    inner.wait_for_function("getComputedStyle(document.body).backgroundColor === 'rgb(255, 255, 255)'")
    frame.get_by_role("link", name="Overview").click()
    frame.get_by_role("link", name="flights__run_rollout").click()
    page.wait_for_url("**/dags/flights__run_rollout**")
    assert not [line for line in said if "ratchet" in line], said
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_pages_load_without_complaint_and_have_their_data(
    served: Served, browser: Browser, width: int, scheme: str
) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    page, said = opened(browser, served, "viewer", **options)
    marks = 0
    for slug in SLUGS:
        answer = page.goto(f"{served.url}/ratchet/flights/{slug}")
        assert answer is not None and answer.status == 200, slug
        wide, planted = page.evaluate("[document.documentElement.scrollWidth, window.planted]")
        assert wide <= width, f"{slug} scrolls sideways at {width} px: {wide}"
        assert planted is None, f"a stored script ran on {slug}"
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 24, 31)" if scheme == "dark" else "rgb(255, 255, 255)")
        hidden = page.evaluate(
            "[...document.querySelectorAll('svg.plot .mark')].filter(m => !m.getBoundingClientRect().width).length"
        )
        found = page.locator("svg.plot .mark").count()
        assert slug in ("decisions", "annotation") or (found and not hidden) or found > hidden, slug
        marks += found
    assert marks > 500 and not said, said
    page.context.close()


def test_the_keyboard_reaches_everything(served: Served, browser: Browser) -> None:
    page, _ = opened(browser, served, "viewer")
    page.goto(f"{served.url}/ratchet/flights/quality")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.locator("details[open] td").count() > 20
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.context.close()


def test_gate_results_open_in_the_frame_and_run_no_script(served: Served, browser: Browser) -> None:
    docs = served.settings.gx_dir / "data_docs"
    docs.mkdir(parents=True, exist_ok=True)
    planted = "<script>document.title = 'planted'</script>"
    (docs / "index.html").write_text(f"<title>docs</title>{planted}<a href='below.html'>one result</a>")
    (docs / "below.html").write_text(f"<title>docs</title>{planted}<p>17 of 17 met</p>")
    page, _ = opened(browser, served, "viewer")
    page.goto(f"{served.url}/plugin/ratchet")
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Data Docs").click()
    frame.get_by_role("link", name="one result").click()
    frame.get_by_text("17 of 17 met").wait_for()
    assert [f.title() for f in page.frames if "data-docs" in f.url and f != page.main_frame] == ["docs"]
    page.context.close()


def form_of(served: Served, user: str) -> tuple[requests.Session, dict[str, str], str]:
    """A session of `user` with the approvals page open: its fields, and where they go."""
    session = requests.Session()
    session.cookies.set("_token", served.tokens[user])
    address = f"{served.url}/ratchet/flights/approvals"
    html = session.get(address, timeout=30).text
    fields = {}
    for name in ("decision", "token"):
        _, _, rest = html.partition(f'name="{name}" value="')
        fields[name] = rest.partition('"')[0]
    return session, {**fields, "answer": "approve", "reason": "looked at it"}, address


def answers(served: Served) -> int:
    return len(ledger_of(served.settings).entries("flights", ["approval"]))


def test_people_sign_in_as_themselves_with_the_passwords_that_were_made(
    served: Served, browser: Browser
) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{served.url}/")
    page.get_by_label("Username").fill("Dana Reyes")
    page.get_by_label("Password").fill(served.passwords["Dana Reyes"])
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Ratchet").wait_for()
    page.goto(f"{served.url}/ratchet/flights/approvals")
    page.get_by_role("button", name="Approve").wait_for()
    page.context.close()
    wrong = {"username": "Dana Reyes", "password": served.passwords["viewer"]}
    assert requests.post(f"{served.url}/auth/token", json=wrong, timeout=30).status_code == 401


def test_who_only_looks_and_who_is_no_approver_cannot_answer(served: Served) -> None:
    owner, fields, address = form_of(served, "Dana Reyes")
    assert fields["token"] and fields["decision"]
    for user, why in (
        ("viewer", "lets you look"),
        ("ana", "lets you look"),
        ("eve", "names Dana Reyes, ana"),
        ("admin", "names Dana Reyes, ana"),
    ):
        page = served.get("/ratchet/flights/approvals", user).text
        assert why in page and "<form" not in page, user
        session, own, _ = form_of(served, user)
        assert not own["token"]
        # Even with a token that would be theirs: made here as the page would make it for the owner.
        session.cookies.set("ratchet_csrf", owner.cookies["ratchet_csrf"])
        sent = session.post(address, data=fields, headers={"Origin": served.url}, timeout=30)
        assert sent.status_code == 403, user
    assert answers(served) == 0


def test_another_site_cannot_answer_in_somebodys_name(served: Served) -> None:
    session, fields, address = form_of(served, "Dana Reyes")
    own = {"Origin": served.url}
    tries: list[tuple[dict[str, str], dict[str, str]]] = [
        (fields, {"Origin": "https://evil.example"}),
        (fields, {"Origin": "null"}),
        (fields, {}),
        (fields, {**own, "Sec-Fetch-Site": "cross-site"}),
        ({**fields, "token": "0" * 64}, own),
        ({name: value for name, value in fields.items() if name != "token"}, own),
        ({**fields, "token": "é"}, own),
    ]
    for data, headers in tries:
        assert session.post(address, data=data, headers=headers, timeout=30).status_code == 403, (
            data,
            headers,
        )
    session.cookies.set("ratchet_csrf", "another")
    assert session.post(address, data=fields, headers=own, timeout=30).status_code == 403
    assert session.post(address, data=b"x" * 30_000, headers=own, timeout=30).status_code == 413
    assert answers(served) == 0


def test_who_may_not_answer_may_not_release_either(served: Served) -> None:
    session, fields, address = form_of(served, "Dana Reyes")
    form = {"token": fields["token"], "cohort": "carrier=HA", "instead_of": "2", "reason": "r"}
    own = {"Origin": served.url}
    for data, headers, status in (
        (form, {"Origin": "https://evil.example"}, 403),
        ({**form, "token": "0" * 64}, own, 403),
        ({**form, "reason": ""}, own, 400),
        (form, own, 409),  # nothing is excluded here
    ):
        assert session.post(address, data=data, headers=headers, timeout=30).status_code == status, data
    other = requests.Session()
    other.cookies.update({"_token": served.tokens["viewer"], "ratchet_csrf": session.cookies["ratchet_csrf"]})
    assert other.post(address, data=form, headers=own, timeout=30).status_code == 403
    assert not ledger_of(served.settings).entries("flights", ["cohort_released"])


def test_pages_wait_for_nobody(served: Served) -> None:
    served.settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(served.settings.warehouse_path)), served.settings.warehouse_lock_path.open("w"):
        for slug in SLUGS:
            assert served.get(f"/ratchet/flights/{slug}", "viewer").status_code == 200, slug


def test_a_fallen_ledger_is_not_shown_and_says_why(served: Served) -> None:
    anchor = ledger_of(served.settings).anchor
    assert anchor is not None
    kept = anchor.read_text()
    anchor.write_text('{"seq": 999, "hash": "none"}')
    try:
        answer = served.get("/ratchet/flights/overview", "viewer")
        assert answer.status_code == 503 and "entry 999" in answer.text and "flights-exp" not in answer.text
    finally:
        anchor.write_text(kept)


def test_an_approval_in_the_browser_is_in_the_ledger(
    served: Served, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, said = opened(browser, served, "Dana Reyes")
    old, form, address = form_of(served, "Dana Reyes")
    page.goto(f"{served.url}/plugin/ratchet")
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Approvals").click()
    frame.get_by_label("Why?").fill("The gain <script>window.planted=1</script> is worth it")
    frame.get_by_role("button", name="Approve").click()
    frame.get_by_text("Your yes was recorded.").wait_for()
    frame.get_by_text("No decision waits for anybody.").wait_for()
    frame.get_by_text("is worth it").wait_for()
    assert [f.evaluate("window.planted") for f in page.frames] == [None] * len(page.frames)
    found = ledger_of(served.settings).entries("flights", ["approval"])
    assert [(e.actor, e.payload["by"], e.payload["answer"], e.payload["identity"]) for e in found] == [
        ("airflow:Dana Reyes", "Dana Reyes", "approve", "airflow")
    ]
    assert ledger_of(served.settings).verify().ok
    assert not [line for line in said if "ratchet" in line], said
    page.context.close()
    # A form that was open meanwhile, and one of a decision that needs nobody.
    looks = [e.key for e in ledger_of(served.settings).entries("flights", ["rollout_decision"])]
    for decision, status, why in (
        (form["decision"], 409, "waits no more: approved by Dana Reyes"),
        (looks[0], 403, "needs no approval"),
        ("look:none", 403, "the ledger has no decision"),
    ):
        late = old.post(address, data={**form, "decision": decision, "answer": "reject"},
                        headers={"Origin": served.url}, timeout=30)  # fmt: skip
        assert late.status_code == status and why in late.text, late.text
    assert answers(served) == 1
    # The command line leaves the same entry on the same ledger, but for who vouches for the name.
    other = installation(tmp_path / "home")
    monkeypatch.setenv("RATCHET_HOME", str(other.home))
    reason = found[0].payload["reason"]
    typed = CliRunner().invoke(app, ["approve", form["decision"], "--by", "Dana Reyes", "--reason", reason])
    assert typed.exit_code == 0, typed.output
    (same,) = ledger_of(other).entries("flights", ["approval"])
    assert same.payload == {**found[0].payload, "identity": "claimed"}
    assert (same.seq, same.key, same.as_of) == (found[0].seq, found[0].key, found[0].as_of)
    assert same.previous_hash == found[0].previous_hash and same.actor.startswith("cli:")
