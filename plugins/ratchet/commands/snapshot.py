"""`ratchet snapshot list|show|diff`: what models learned from, and what would be different today."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from typing import Annotated, Any

import pandas as pd
import typer
from rich.table import Table

from ratchet.commands.terminal import LoopName, console, loop_named, stop
from ratchet.ledger.chain import plain
from ratchet.loop import Loop
from ratchet.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Training snapshots: what models learned from.")

AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
NOW = "now"


def _text(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@app.command("list")
def list_(loop: LoopName = "flights", as_json: AsJson = False) -> None:
    """Every snapshot, and the models that were trained on it."""
    from ratchet.stages.records import ledger_of
    from ratchet.stages.snapshots import SnapshotChanged, snapshots, trained_on

    settings = load_settings()
    described = loop_named(settings, loop)
    try:
        found = snapshots(settings, described)
        entries = ledger_of(settings).entries(loop) if found else []
    except SnapshotChanged as error:
        raise stop(str(error)) from None
    if as_json:
        rows = [{**manifest, "trained": trained_on(entries, manifest)} for manifest in found]
        sys.stdout.write(json.dumps(rows, indent=2, sort_keys=True) + "\n")
        return
    if not found:
        console.print(f"loop {loop} has no snapshot yet: a training takes the first")
        return
    table = Table(title=f"snapshots of loop {loop}", title_justify="left")
    for heading in ("id", "as of", "departures", "rows", "late", "models"):
        table.add_column(heading, justify="right" if heading in ("rows", "late") else "left", overflow="fold")
    for manifest in found:
        models = [
            f"version {t['version']}" if t["version"] else f"none ({t['verdict'] or 'not judged'})"
            for t in trained_on(entries, manifest)
        ]
        first, last = manifest["window"]
        table.add_row(
            manifest["id"][:12], manifest["as_of"][:10], f"{first} to {last}", f"{manifest['rows']:,}",
            f"{manifest['positives'] / max(manifest['rows'], 1):.1%}", ", ".join(models) or "none",
        )  # fmt: skip
    console.print(table)


@app.command()
def show(
    snapshot: Annotated[str, typer.Argument(help="Its id; the beginning is enough.")],
    loop: LoopName = "flights",
    as_json: AsJson = False,
) -> None:
    """One snapshot's manifest: query, build, code, partitions; and the trainings that used it."""
    from ratchet.stages.records import ledger_of
    from ratchet.stages.snapshots import (
        NoSnapshot,
        SnapshotChanged,
        find_snapshot,
        read_partitions,
        read_snapshot,
        trained_on,
    )

    settings = load_settings()
    described = loop_named(settings, loop)
    try:
        manifest = find_snapshot(settings, described, snapshot)
        partitions = read_partitions(settings, described, manifest)
        read_snapshot(settings, described, manifest)
    except (NoSnapshot, SnapshotChanged) as error:
        raise stop(str(error)) from None
    trained = trained_on(ledger_of(settings).entries(loop), manifest)
    if as_json:
        found = {**manifest, "partition_list": partitions, "trained": trained}
        sys.stdout.write(json.dumps(found, indent=2, sort_keys=True) + "\n")
        return
    code, dbt = manifest["code"], manifest["dbt"]
    table = Table(title=f"snapshot {manifest['id']}", show_header=False, title_justify="left")
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    table.add_row("rows", f"{manifest['rows']:,}, {manifest['positives']:,} of them late; hash checked")
    table.add_row("departures", " to ".join(manifest["window"]))
    table.add_row("as of", manifest["as_of"])
    table.add_row("query", manifest["query"]["sql"])
    table.add_row("parameters", json.dumps(manifest["query"]["parameters"]))
    table.add_row("dbt build", f"invocation {dbt['invocation_id'] or 'not known'}")
    table.add_row("dbt models", f"{dbt['models_sha256'] or 'not known'}")
    table.add_row("dbt manifest", f"{dbt['manifest_sha256'] or 'not known'}")
    table.add_row(
        "code", f"commit {code['commit'] or 'not known'}" + (f"; {code['note']}" if code["note"] else "")
    )
    table.add_row("loop file", manifest["loop_file_sha256"] or "not known")
    table.add_row("lock file", manifest["environment_sha256"] or "not known")
    for source in sorted({p["source"] for p in partitions}):
        own = [p for p in partitions if p["source"] == source]
        days = [p["received_date"] for p in own]
        rows = sum(p["n_rows"] for p in own)
        table.add_row(f"source {source}", f"{len(own)} partitions, {min(days)} to {max(days)}, {rows:,} rows")
    for training in trained:
        version = f"version {training['version']}" if training["version"] else "no version"
        table.add_row("trained", f"{training['request']}: {training['verdict'] or 'not judged'}, {version}")
    console.print(table)


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="A snapshot's id; the beginning is enough.")],
    second: Annotated[
        str, typer.Argument(help="Another one, or `now`: the same question asked today.")
    ] = NOW,
    loop: LoopName = "flights",
    rows: Annotated[int, typer.Option(min=0, help="How many rows to show of each kind.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Which rows differ, in which columns, and why."""
    from ratchet.stages.snapshot_diff import diff_rows, why
    from ratchet.stages.snapshots import (
        NoSnapshot,
        SnapshotChanged,
        find_snapshot,
        read_partitions,
        read_snapshot,
    )
    from ratchet.warehouse.protocol import WarehouseError

    settings = load_settings()
    described = loop_named(settings, loop)
    try:
        old = find_snapshot(settings, described, first)
        before, listed = read_snapshot(settings, described, old), read_partitions(settings, described, old)
        if second == NOW:
            new, after, now_listed = _now(settings, described, old)
        else:
            new = find_snapshot(settings, described, second)
            after, now_listed = (
                read_snapshot(settings, described, new),
                read_partitions(settings, described, new),
            )
    except (NoSnapshot, SnapshotChanged, WarehouseError) as error:
        raise stop(str(error)) from None
    found = diff_rows(before, after)
    reasons = why(old, new, listed, now_listed, found)
    document = {
        "first": old["id"],
        "second": NOW if second == NOW else new["id"],
        "rows": {"first": len(before), "second": len(after), "same": found.same, "added": len(found.added),
                 "removed": len(found.removed), "changed": found.changed_units},
        "changed_by_column": found.by_column(),
        "why": list(reasons.parts),
        "landed_since": reasons.landed_since,
        "changed_since": reasons.changed_since,
        "gone": reasons.gone,
        "explained": reasons.explains or not found.differs,
    }  # fmt: skip
    if as_json:
        shown = {
            "added_rows": _records(found.added, rows),
            "removed_rows": _records(found.removed, rows),
            "changed_values": _records(found.changed, rows),
        }
        sys.stdout.write(
            json.dumps(plain({**document, **shown}), indent=2, sort_keys=True, default=str) + "\n"
        )
    else:
        _print_rows(document, found, rows)
        _print_why(document)
    if not document["explained"]:
        raise stop(
            "NOTHING EXPLAINS THIS: the same partitions, models, loop file and question gave other rows. Do not "
            "train on it; rebuild (`ratchet rebuild`), compare again, and keep both snapshots for whoever looks."
        )


def _records(frame: pd.DataFrame, limit: int) -> list[dict[str, Any]]:
    head = frame.head(limit).astype(object)
    return [{str(k): v for k, v in row.items()} for row in head.where(head.notna(), None).to_dict("records")]


def _now(settings: Settings, loop: Loop, old: dict[str, Any]) -> Any:
    from ratchet.stages.snapshot_rows import frame_of_rows
    from ratchet.stages.snapshots import snapshot_of
    from ratchet.warehouse.connect import open_warehouse

    window = (date.fromisoformat(old["window"][0]), date.fromisoformat(old["window"][1]))
    with open_warehouse(
        settings, purpose=f"comparing snapshot {old['id'][:12]}", read_only=True
    ) as warehouse:
        taken = snapshot_of(
            settings, loop, warehouse, as_of=datetime.fromisoformat(old["as_of"]), window=window
        )
    return taken.manifest, frame_of_rows(taken.rows), taken.partitions


def _print_rows(document: dict[str, Any], found: Any, limit: int) -> None:
    counts = document["rows"]
    console.print(
        f"{document['first'][:12]} has {counts['first']:,} rows, {document['second'][:12]} has {counts['second']:,}: "
        f"{counts['same']:,} the same, {counts['added']:,} added, {counts['removed']:,} removed, "
        f"{counts['changed']:,} changed",
        highlight=False,
    )
    if document["changed_by_column"]:
        table = Table(title="Changed values", title_justify="left")
        table.add_column("column")
        table.add_column("rows", justify="right")
        for name, n in document["changed_by_column"].items():
            table.add_row(name, f"{n:,}")
        console.print(table)
    if limit and len(found.changed):
        table = Table(title=f"The first {min(limit, len(found.changed))} of them", title_justify="left")
        for heading in ("unit", "date", "column", "old", "new"):
            table.add_column(heading, overflow="fold")
        for row in found.changed.head(limit).to_dict("records"):
            table.add_row(
                str(row["unit_id"]), str(row["departure_date"])[:10], str(row["column"]),
                _text(row["old"]), _text(row["new"]),
            )  # fmt: skip
        console.print(table)
    for kind, frame in (("added", found.added), ("removed", found.removed)):
        for row in frame.head(limit).to_dict("records"):
            console.print(
                f"{kind}: {row['unit_id']} of {str(row['departure_date'])[:10]}, label {row['label']}",
                highlight=False,
            )
        if len(frame) > limit:
            console.print(f"... and {len(frame) - limit:,} more {kind}", highlight=False)


def _print_why(document: dict[str, Any]) -> None:
    console.print("Why:", style="bold")
    for text in document["why"]:
        console.print(f"- {text}", markup=False, highlight=False)
    for kind, title in (
        ("landed_since", "landed since"), ("changed_since", "got other rows since"), ("gone", "no longer there"),
    ):  # fmt: skip
        by_source: dict[str, list[dict[str, Any]]] = {}
        for partition in document[kind]:
            by_source.setdefault(partition["source"], []).append(partition)
        for source, own in sorted(by_source.items()):
            days = [p["received_date"] for p in own]
            span = days[0] if len(days) == 1 else f"{min(days)} to {max(days)}"
            console.print(
                f"- {source}: {len(own)} partition{'s' if len(own) > 1 else ''} {title}: {span}",
                highlight=False,
            )
    if not any(document[kind] for kind in ("why", "landed_since", "changed_since", "gone")):
        console.print("- nothing differs: partitions, models, loop file, code and question are the same")
