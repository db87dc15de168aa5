"""What a page is made of, before it is HTML: plain values that a template writes out and escapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from ratchet.certificate.evidence import number

#: Who publishes the measured summaries.
MONITOR = "monitor_model"
Rows = Sequence[Mapping[str, Any]]
#: A cell of more characters than this is a sentence.
WORDY = 40
Tone = Literal["plain", "good", "warn", "bad", "faint"]


@dataclass(frozen=True)
class Cell:
    """A text with what it amounts to; `link` is an address, `is_outside` one that is not of these pages."""

    text: str
    tone: Tone = "plain"
    link: str | None = None
    is_outside: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under named columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    @property
    def is_wordy(self) -> bool:
        """Whether its cells hold sentences: on a phone such rows stand below each other, a line a cell."""
        return len(self.columns) > 2 and any(len(cell.text) > WORDY for row in self.rows for cell in row)


@dataclass(frozen=True)
class Plot:
    """A drawing with the same numbers as a table, for those who can't see it."""

    title: str
    svg: Markup
    table: Table
    note: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Form:
    """What a person is asked about a decision that waits. `why_not` is why this reader may not answer it."""

    decision: str
    why_not: str = ""


@dataclass(frozen=True)
class ReleaseForm:
    """What a person is asked about a cohort that is left out of the versions `instead_of`, "2" or "2,3"."""

    cohort: str
    instead_of: str
    why_not: str = ""


@dataclass(frozen=True)
class LabelForm:
    """What an annotator is asked about one answer: which of `categories`, (name, title)."""

    feedback_id: str
    categories: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Panel:
    """A part of a page under one heading."""

    title: str
    about: str = ""
    facts: tuple[tuple[str, Cell], ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    is_simulated: bool = False
    is_small: bool = False
    is_half: bool = False
    tone: Tone = "plain"
    form: Form | LabelForm | ReleaseForm | None = None


@dataclass(frozen=True)
class Page:
    """One page of a loop."""

    slug: str
    title: str
    panels: tuple[Panel, ...]
    lead: str = ""


TONES: Mapping[str, Tone] = {
    **dict.fromkeys(("ok", "pass", "green", "promote", "advance", "approve", "approved", "durable", "fresh"), "good"),
    "note": "faint",
    **dict.fromkeys(
        ("warn", "noted", "drifting", "late", "waiting", "unknown", "not enough evidence", "medium"), "warn"
    ),
    **dict.fromkeys(
        ("alert", "block", "blocked", "bad", "worse", "refuse", "reject", "rejected", "roll_back", "roll back",
         "critical", "high", "urgent", "timeout", "failed", "missing", "crossed"),
        "bad",
    ),
}  # fmt: skip


def state_cell(state: Any) -> Cell:
    """A state in its colour, never by colour alone."""
    text = "unknown" if state is None else str(state).replace("_", " ")
    return Cell(text, TONES.get(str(state), TONES.get(text, "plain")))


def cells(*values: Any) -> tuple[Cell, ...]:
    """A row; what is no cell is written as a number or text."""
    return tuple(value if isinstance(value, Cell) else Cell(told(value)) for value in values)


def told(value: Any) -> str:
    """A value in few characters; what is not known is said."""
    return "unknown" if value is None else number(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Table:
    """A table of values."""
    return Table(tuple(columns), tuple(cells(*row) for row in rows), caption)


def percent(value: Any, digits: int = 1) -> str:
    """A share in per cent."""
    return "unknown" if value is None else f"{float(value):.{digits}%}"


def of_1000(share: Any) -> str:
    """A share of people, as how many of 1,000."""
    return "unknown" if share is None else f"{1000 * float(share):.2f}"


def limits(found: Any, digits: int = 4) -> str:
    """An estimate with its interval."""
    if not isinstance(found, Mapping):
        return told(found)
    value, low, high = (found.get(name) for name in ("value", "low", "high"))
    if value is None:
        return "unknown"
    if low is None or high is None:
        return f"{value:.{digits}f} (no limits yet)"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def not_measured(title: str, summary: str, made_by: str) -> Panel:
    """What is said in place of numbers that nobody made yet."""
    return Panel(
        title,
        notes=(f"Not measured yet: {made_by} has not published `{summary}` for this loop.",),
        tone="warn",
    )


def as_of(found: Mapping[str, Any] | None) -> str:
    return (
        ""
        if found is None or not found.get("as_of")
        else f"As of {str(found['as_of'])[:16].replace('T', ' ')} UTC."
    )


def short_days(days: Sequence[str]) -> list[str]:
    """Dates without their year where all are of one."""
    return [day[5:] for day in days] if days and len({day[:4] for day in days}) == 1 else list(days)


def joined(reasons: Any) -> str:
    """Reasons in one line."""
    return (
        "; ".join(map(str, reasons)) if isinstance(reasons, (list, tuple)) else told(reasons or "no reason")
    )
