"""Which pages a loop has, and how each is made whatever state the installation is in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from ratchet.pages.annotation import annotation
from ratchet.pages.data import data
from ratchet.pages.decisions import decisions
from ratchet.pages.drift import drift
from ratchet.pages.links import Links
from ratchet.pages.operations import operations
from ratchet.pages.overview import overview
from ratchet.pages.parts import Page, Panel
from ratchet.pages.quality import quality
from ratchet.pages.source import Source
from ratchet.pages.themes import themes
from ratchet.pages.users import users

_log = logging.getLogger(__name__)

#: In the order of the navigation; approvals depend on who looks and are made by the app.
PAGES: Mapping[str, Callable[[Source, Links], Page]] = {
    "overview": overview,
    "data": data,
    "drift": drift,
    "quality": quality,
    "users": users,
    "themes": themes,
    "annotation": annotation,
    "operations": operations,
    "decisions": decisions,
}
TITLES: Mapping[str, str] = {
    "overview": "Overview", "data": "Data", "drift": "Drift", "quality": "Quality", "users": "Users",
    "themes": "Themes", "annotation": "Annotation", "operations": "Operations", "decisions": "Decisions",
    "approvals": "Approvals",
}  # fmt: skip


def made(slug: str, source: Source, links: Links, by: Callable[[], Page] | None = None) -> Page:
    """The page; one that says so where a summary is not what its maker promised. No number is guessed.

    `by` makes it where it depends on who looks.

    Raises:
        KeyError: there is no such page.
    """
    make = PAGES[slug]
    try:
        return make(source, links) if by is None else by()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        _log.exception("page %s of loop %s", slug, source.loop.loop)
        said = f"What was published for this page can't be read ({type(error).__name__}: {error})."
        panel = Panel(
            "Not shown",
            notes=(said, "Run monitor_model anew; the ledger is not touched by this."),
            tone="bad",
        )
        return Page(slug, TITLES[slug], (panel,))
