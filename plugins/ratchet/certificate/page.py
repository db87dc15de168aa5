"""The certificate as one page that needs nothing else: no network, no script, light or dark as its reader has it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from ratchet.certificate import plots
from ratchet.certificate.contents import LOOKS
from ratchet.certificate.summary import certificate_of, evaluation_of, looks_before, started
from ratchet.ledger.chain import Entry


@cache
def _template() -> Template:
    source = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    # Everything that a record says is escaped; only our own drawings are not.
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)


def page(entries: Sequence[Entry], entry: Entry) -> str:
    """The page of `entry`; `entries` are its loop's, in order."""
    certificate = certificate_of(entries, entry)
    drawings: list[tuple[str, str | None]] = []
    if entry.kind in LOOKS:
        looks, offer = looks_before(entries, entry), started(entries, entry)
        terms = {} if offer is None else offer.payload.get("terms", {})
        drawings = [
            ("Sequential boundary", plots.boundary_path(looks, terms)),
            ("Cohorts", plots.cohort_forest(entry.payload["evidence"])),
            ("Harm, as e-values", plots.evidence_path(looks)),
        ]
    drawings.append(("Reliability before the rollout", plots.reliability(evaluation_of(entries, entry))))
    shown = [(title, Markup(svg)) for title, svg in drawings if svg is not None]  # noqa: S704
    return _template().render(certificate=certificate, drawings=shown, entry=entry)
