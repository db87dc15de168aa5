"""The certificate in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ratchet.certificate.evidence import Section
from ratchet.certificate.summary import Certificate

STYLES = {"good": "bold green", "bad": "bold red", "plain": "bold"}


def rendered(certificate: Certificate) -> Iterator[RenderableType]:
    """Verdict, why, then the tables. A record's text is never taken for markup."""
    head = Text(certificate.verdict.upper(), style=STYLES[certificate.tone])
    head.append(f"\n{certificate.subject}", style="default")
    for reason in certificate.reasons:
        head.append(f"\n· {reason}", style="default")
    yield Panel(head, title=Text(certificate.title), title_align="left")
    for section in certificate.sections:
        yield _table(section)


def _table(section: Section) -> Table:
    title = Text(section.title)
    if section.note:
        title.append(f" ({section.note})", style="dim")
    has_names = any(section.columns)
    table = Table(title=title, title_justify="left", show_header=has_names)
    for index, name in enumerate(section.columns):
        table.add_column(Text(name), overflow="fold", no_wrap=index == 0 and not has_names)
    for row in section.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
