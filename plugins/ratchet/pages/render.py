"""Pages as HTML: one template, everything that anybody wrote is escaped, no address outside of the installation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ratchet.pages.book import PAGES, TITLES, made
from ratchet.pages.decisions import approvals, certificate_page
from ratchet.pages.links import Links
from ratchet.pages.overview import DECISIVE
from ratchet.pages.parts import Page
from ratchet.pages.source import Source
from ratchet.stages.approvals import waiting

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
#: Certificates that a report holds itself: the newest that changed something.
CERTIFICATES = 12


_COMMAND = re.compile(r"`([^`\n]{1,80})`")


def coded(text: object) -> Markup:
    """The text with what stands between backticks as code; all of it is escaped first."""
    # The pattern can't meet a bracket or quote: only entities are left of them.
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.filters["coded"] = coded
    return made


def page_html(
    page: Page,
    source: Source,
    links: Links,
    loops: Sequence[str],
    *,
    current: str,
    token: str = "",
    said: str = "",
    said_tone: str = "good",
) -> str:
    """One page of a loop, within Airflow."""
    name = source.loop.loop
    return (
        _environment()
        .get_template("page.html")
        .render(
            page=page, loop_name=name, current=current, token=token, said=said, said_tone=said_tone,
            static=f"{links.own}/static", action=links.page(page.slug), waits=waiting(source.entries) is not None,
            loops=[(one, f"{links.own}/{one}/overview") for one in loops],
            navigation=[(slug, title, links.page(slug)) for slug, title in TITLES.items()],
        )
    )  # fmt: skip


def refused_html(
    title: str, said: str, static: str, link: str = "", link_text: str = "", is_outside: bool = False
) -> str:
    """The page of somebody who may not see, or of something that can't be shown."""
    return (
        _environment()
        .get_template("refused.html")
        .render(title=title, said=said, static=static, link=link, link_text=link_text, is_outside=is_outside)
    )


def report_html(source: Source) -> str:
    """All pages of a loop as one file that needs nothing else: no network, no script."""
    told = [e for e in source.entries if e.kind in DECISIVE and e.payload.get("action") != "none"][
        -CERTIFICATES:
    ]
    links = Links(source.loop.loop, source.settings, shown=frozenset(entry.seq for entry in told))
    pages = [made(slug, source, links) for slug in PAGES]
    pages.append(approvals(source, links))
    certificates = [certificate_page(source, links, entry) for entry in reversed(told)]
    # A style sheet is ours, and a browser reads no escapes in it.
    css = Markup((STATIC / "ratchet.css").read_text(encoding="utf-8"))  # noqa: S704
    as_of = "nothing yet" if source.as_of is None else f"{source.as_of:%Y-%m-%d %H:%M} UTC"
    return (
        _environment()
        .get_template("report.html")
        .render(
            loop_name=source.loop.loop, as_of=as_of, css=css, pages=[*pages, *certificates],
            navigation=[(page.slug, TITLES[page.slug]) for page in pages],
        )
    )  # fmt: skip
