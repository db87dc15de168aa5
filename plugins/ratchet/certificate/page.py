"""The certificate as one page that needs nothing else: no network, no script, light or dark as its reader has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from ratchet.certificate import plots
from ratchet.certificate.contents import LOOKS
from ratchet.certificate.evidence import Section, interval, number
from ratchet.certificate.summary import Certificate, certificate_of, evaluation_of, looks_before, started
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
    return rendered(certificate, drawings)


def comparison_page(found: Mapping[str, Any]) -> str:
    """The page of an experiment in the sandbox (`ratchet.stages.sandbox.run`)."""
    candidates = tuple(
        (
            one["name"],
            number(one["metrics"].get(found["metric"])),
            ", ".join(f"{name} {number(value)}" for name, value in sorted(one["params"].items())),
            str(len(one["features"])),
            one["verdict"] + ("" if one["champion_gates"] else ", without the champion's gates"),
            "; ".join(one["reasons"]),
        )
        for one in found["candidates"]
    )
    pairs = [
        (f"{one['name']} over {one['reference']}", one, one["told"] != "not comparable")
        for one in found["comparisons"]
    ]
    told = tuple((name, interval(one), number(one["clusters"]), one["told"]) for name, one, _ in pairs)
    certificate = Certificate(
        title=f"Experiment {found['name']} in the sandbox",
        verdict=f"{len(found['candidates'])} recipes side by side",
        tone="plain",
        subject=f"snapshot {found['snapshot'][:12]}, {found['rows']:,} rows; champion: {found['champion_version']}",
        reasons=("Nothing of it serves: a recipe is offered by a training that a request asked for.",),
        sections=(
            Section(
                "Candidates", ("name", found["metric"], "parameters", "features", "gates", "why"), candidates
            ),
            Section(
                "Paired differences",
                ("pair", "gain per unit", "days", ""),
                told,
                "errors over days, Holm's correction",
            ),
        ),
    )
    return rendered(
        certificate, [("Paired differences", plots.forest(pairs, f"gain in {found['metric']} per unit"))]
    )


def rendered(certificate: Certificate, drawings: Sequence[tuple[str, str | None]]) -> str:
    """The page of a certificate with its drawings; those that are None are left out."""
    shown = [(title, Markup(svg)) for title, svg in drawings if svg is not None]  # noqa: S704
    return _template().render(certificate=certificate, drawings=shown)
