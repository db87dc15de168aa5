"""The page of what people say that feedback is about: how far they agree, and for those who may, answers to label.

Without a reader who may label no answer's words are shown, so a report that is sent on has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.pages import plots
from ratchet.pages.links import Links
from ratchet.pages.parts import Cell, LabelForm, Page, Panel, as_of, not_measured, state_cell, table
from ratchet.pages.source import Source
from ratchet.stages.annotation_inbox import waiting_in_inbox

#: Answers to label on one page.
HEAD = 10
_MAKER = "the DAG `answer_feedback`, or `ratchet annotate report`,"


def annotation(source: Source, links: Links, reader: str = "", why_not: str = "Open it in Airflow.") -> Page:
    """Agreement, drift and probable errors; `reader` is who may label, empty: nobody, and `why_not` says why."""
    found = source.summary("annotation")
    if found is None:
        return Page("annotation", "Annotation", (not_measured("Annotation", "annotation", _MAKER),))
    panels = [_agreement(found), _people(found), _suspects(found, bool(reader))]
    panels += _queue(source, found, reader, why_not)
    return Page("annotation", "Annotation", tuple(panels), as_of(found))


def _told(one: Mapping[str, Any]) -> Cell:
    if one["value"] is None:
        return Cell(f"not enough evidence: {one['reason']}", "warn")
    return Cell(f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f}), {one['items']} answers")


def _agreement(found: Mapping[str, Any]) -> Panel:
    states = ", ".join(f"{n} {state}" for state, n in found["states"].items()) or "none"
    usable = Cell("yes", "good") if found["is_usable"] else Cell(f"no: {found['reason']}", "warn")
    return Panel(
        "Agreement",
        about="Krippendorff's alpha: 1 is agreement, 0 what chance gives. Labels are used only above the limit.",
        facts=(
            ("labels", Cell(f"{found['labels']} on {found['items']} answers")),
            ("answers", Cell(states)),
            ("alpha", _told(found["alpha"])),
            ("limit", Cell(f"{found['min_alpha']}, for the lower end")),
            ("used", usable),
            ("in force", Cell(found["in_force"] or "no label set")),
            ("rubric", Cell(str(found["rubric_version"]))),
        ),
        is_simulated=bool(found["simulated"]),
    )


def _people(found: Mapping[str, Any]) -> Panel:
    people = found["annotators"]
    if not people:
        return Panel("Annotators", notes=("None was asked yet: nobody has labelled anything.",))
    rows = [
        (one["name"], str(one["labels"]), _told(one["agreement"]), _told(one["drift"]),
         state_cell("drifting") if one["is_drifting"] else Cell("none shown", "faint"))
        for one in people
    ]  # fmt: skip
    body = table(("annotator", "labels", "agrees with others", "later half less earlier", "drift"), rows)
    pairs = sorted(
        (
            (n, one["name"], truth, said)
            for one in people
            for truth, said, n in one["confusion"]
            if truth != said
        ),
        key=lambda row: (-row[0], *row[1:]),
    )
    confused = table(
        ("annotator", "settled as", "they said", "answers"),
        [(name, truth, said, str(n)) for n, name, truth, said in pairs[:15]],
        "Most confused",
    )
    drawn = [
        (one["name"], one["agreement"]["value"], one["agreement"]["low"], one["agreement"]["high"],
         "bad" if one["is_drifting"] else "main", "drifting" if one["is_drifting"] else "")
        for one in people
        if one["agreement"]["value"] is not None
    ]  # fmt: skip
    plot = plots.forest("Agreement with others, 95 %", drawn, zero=None) if drawn else None  # type: ignore[arg-type]
    return Panel(
        "Annotators", tables=(body, confused) if pairs else (body,), plots=() if plot is None else (plot,),
        about="Who errs more as time goes by lowers the agreement of those who label with them, too.",
        is_simulated=bool(found["simulated"]),
    )  # fmt: skip


def _suspects(found: Mapping[str, Any], may_see: bool) -> Panel:
    told = found["suspects"]
    if told["reason"]:
        return Panel("Labels that are probably wrong", notes=(f"Not enough evidence: {told['reason']}.",))
    rows = [
        (one["feedback_id"] if may_see else "", one["category"], one["rather"], f"{one['quality']:.3f}")
        for one in told["found"][:20]
    ]
    body = (table(("answer", "settled as", "earlier texts speak for", "quality"), rows),) if rows else ()
    note = f"{len(told['found'])} of {told['judged']} that could be judged, of {told['items']} settled."
    return Panel("Labels that are probably wrong", notes=(note,), tables=body)


def _queue(source: Source, found: Mapping[str, Any], reader: str, why_not: str) -> list[Panel]:
    waiting = found["queue"]
    note = f"{len(waiting)} answers wait for a label."
    if not reader:
        return [Panel("To label", notes=(note, why_not))]
    given = waiting_in_inbox(source.settings, source.loop.loop)
    open_ = [
        one
        for one in waiting
        if reader not in one["labelled_by"] and (one["feedback_id"], reader) not in given
    ]
    own = sum(name == reader for _, name in given)
    notes = (note, f"{len(open_)} of them wait for you; {own} of your labels wait for the next report.")
    return [Panel("To label", notes=notes), *(_asked(source, one) for one in open_[:HEAD])]


def _asked(source: Source, one: Mapping[str, Any]) -> Panel:
    taxonomy = source.loop.feedback.taxonomy
    kinds: Sequence[tuple[str, str]] = (
        [(name, kind.title) for name, kind in taxonomy.categories.items()] if taxonomy else []
    )
    return Panel(
        "What is this about?", about=one["text"], is_half=True, is_simulated=bool(one["simulated"]),
        form=LabelForm(one["feedback_id"], tuple(kinds)),
    )  # fmt: skip
