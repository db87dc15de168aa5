"""The site of validation results that people read."""

from __future__ import annotations

from pathlib import Path

from ratchet.quality.session import open_context
from ratchet.settings import Settings


class DocsError(RuntimeError):
    """There is nothing to build the site from."""


def build_data_docs(settings: Settings) -> Path:
    """Build Great Expectations' Data Docs from the kept results; the path of its index page.

    Raises:
        DocsError: no gate has run yet.
    """
    kept = settings.gx_dir / "validations"
    if not any(kept.glob("*/*/*/*.json")):
        raise DocsError(f"{kept} holds no result; run a gate first (ingest_events)")
    open_context(settings.gx_dir).build_data_docs()
    return settings.gx_dir / "data_docs" / "local_site" / "index.html"
