"""What `ratchet status` tells: from the ledger and published summaries, never from the warehouse."""

from __future__ import annotations

from typing import Any

from ratchet.ledger.chain import plain
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.conditions import CONDITIONS, check
from ratchet.stages.doubled import doubled_told
from ratchet.stages.incidents import told as incidents_told
from ratchet.stages.jobs import Wanted
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import stage_of
from ratchet.stages.skew import told as skew_told
from ratchet.stages.status_rollout import release_lines

#: Kinds of entry that changed what serves, or decided that it may.
DECISIVE = (
    "bootstrap", "evaluation", "rollout_started", "rollout_applied", "holdback_applied", "rollback", "withdrawn",
)  # fmt: skip


def status_of(settings: Settings, loop: Loop) -> dict[str, Any]:
    """The loop's state as plain data; `lines` are (name, text) pairs for a person."""
    entries = ledger_of(settings).entries(loop.loop) if _ledger_exists(settings) else []
    state = fold(entries)
    partitions = read(settings, loop.loop, "partitions")
    health = read(settings, loop.loop, "health")
    lines: list[tuple[str, str]] = []
    if state.champion_version is None:
        lines.append(("serves", "nothing: no champion was ever made (train_model with mode bootstrap)"))
    else:
        lines.append(("serves", f"version {state.champion_version} since {state.champion_since:%Y-%m-%d}"))
    if state.rollout is None:
        lines.append(("on trial", "nothing"))
    else:
        stage = stage_of(entries, state.rollout)
        lines.append(
            (
                "on trial",
                f"version {state.rollout.challenger_version} in {stage.name} ({stage.share:.0%}) since "
                f"{state.rollout.trial.stage_started_on}, last look {state.rollout.last_day or 'none yet'}",
            )
        )
    lines += release_lines(loop, entries, state, partitions)
    waiting: dict[str, str] = {}
    if state.request is not None:
        lines.append(
            ("request", f"{state.request.tier}, {state.request.as_of:%Y-%m-%d}: {state.request.reason}")
        )
        for condition in CONDITIONS:
            readiness = check(settings, loop, condition, Wanted())
            if not readiness.ready:
                waiting[condition] = readiness.reason
                lines.append((f"waits for {condition}", readiness.reason))
    else:
        lines.append(("request", "none is open"))
    if partitions is None:
        lines.append(("warehouse", "nothing was built yet"))
    else:
        features = partitions["features"]
        lines.append(
            ("features", f"{features['green']} partitions visible, {features['first']} to {features['last']}")
        )
        lines.append(("dirty", f"{partitions['dirty']} partitions wait for a build"))
        unplaced = partitions.get("unplaced") or []
        if unplaced:
            unknown = sum(int(item["n_unknown_unit"]) for item in unplaced)
            beyond = sum(int(item["n_out_of_reach"]) for item in unplaced)
            lines.append(
                (
                    "unplaced",
                    f"of the last build's rows {unknown} are about no known unit, {beyond} came too early or too late "
                    "to change a fact",
                )
            )
    doubled = read(settings, loop.loop, "doubled")
    if doubled is not None and doubled["predictions"]:
        lines.append(("doubled", doubled_told(doubled)))
    blocked = _blocked(partitions, read(settings, loop.loop, "landing"))
    lines += [("blocked", text) for text in _grouped(blocked)]
    lines += _beside(read(settings, loop.loop, "landing") or {})
    lines += [("not landed", text) for text in _not_landed(read(settings, loop.loop, "sources"))]
    lines += incidents_told(settings, loop)
    if health is not None:
        lines.append(("health", f"{health['status']} as of {health['as_of'][:10]}"))
    skew = read(settings, loop.loop, "skew")
    if skew is not None:
        lines.append(("skew", skew_told(skew)))
    decisions = [e for e in entries if e.kind in DECISIVE]
    for entry in decisions[-3:]:
        told = (
            entry.payload.get("action")
            or entry.payload.get("verdict")
            or entry.payload.get("reason")
            or "done"
        )
        lines.append(("decided", f"{entry.as_of[:10]} {entry.kind.replace('_', ' ')}: {told}"))
    found = {
        "loop": loop.loop,
        "champion_version": state.champion_version,
        "champion_since": state.champion_since,
        "rollout": None
        if state.rollout is None
        else {
            "experiment_id": state.rollout.experiment_id,
            "challenger_version": state.rollout.challenger_version,
            "stage": state.rollout.trial.stage_name,
            "since": state.rollout.trial.stage_started_on,
            "last_day": state.rollout.last_day,
            "to_apply": state.rollout.undone,
        },
        "holdback": None
        if state.holdback is None
        else {
            "experiment_id": state.holdback.experiment_id,
            "previous_version": state.holdback.previous_version,
            "share": state.holdback.share,
            "since": state.holdback.trial.started_on,
            "days": state.holdback.days,
            "last_day": state.holdback.last_day,
            "to_apply": state.holdback.undone,
        },
        "withdrawn_versions": state.withdrawn_versions,
        "request": None if state.request is None else state.request.__dict__,
        "waiting_for": waiting,
        "partitions": None
        if partitions is None
        else {
            "as_of": partitions["as_of"],
            "dirty": partitions["dirty"],
            "visible": partitions["features"]["green"],
            "blocked": blocked,
        },
        "skew": None
        if skew is None
        else {key: skew[key] for key in ("as_of", "state", "n_compared", "features", "dates", "problems")},
        "health": None if health is None else {"as_of": health["as_of"], "status": health["status"]},
        "lines": lines,
    }
    return dict(plain(found))


def _beside(landing: dict[str, Any]) -> list[tuple[str, str]]:
    """What landing put aside: rows in quarantine, fields that no contract names."""
    lines = []
    held = landing.get("held") or {}
    if held:
        counts = ", ".join(f"{source} {rows:,}" for source, rows in held.items())
        lines.append(("quarantine", f"rows held: {counts} (`ratchet quarantine list`)"))
    for item in (landing.get("undeclared") or [])[:5]:
        lines.append(
            (
                "undeclared",
                f"{item['source']} has {item['column']!r} in {item['rows']:,} rows, last on {item['last']}: kept in "
                "extra_fields",
            )
        )
    return lines


def _blocked(partitions: dict[str, Any] | None, landing: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Blocked partitions: of the landing as last judged, of the features as last published."""
    features = [item for item in (partitions or {}).get("blocked", []) if item["border"] == "features"]
    return [*(landing or {}).get("blocked", []), *features]


def _grouped(blocked: list[dict[str, Any]]) -> list[str]:
    """One line a table and reason, with its dates."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for item in blocked:
        groups.setdefault((item["border"], item["table_name"], item["reason"] or ""), []).append(
            item["partition_date"]
        )
    lines = []
    for (border, table, reason), days in groups.items():
        dates = ", ".join(days[:3]) + (f" and {len(days) - 3} more" if len(days) > 3 else "")
        lines.append(f"{border} {table} {dates}: {reason}")
    return lines


def _not_landed(sources: dict[str, Any] | None) -> list[str]:
    """A line for each table whose rows did not all land when it was last compared, and each queue that lost some."""
    lines = []
    for name, entry in (sources or {"sources": {}})["sources"].items():
        days = {day: found["missing"] for day, found in entry["days"].items() if found.get("missing", 0) > 0}
        if days:
            shown = ", ".join(f"{rows} of {day}" for day, rows in list(days.items())[:3])
            more = f" and {len(days) - 3} more days" if len(days) > 3 else ""
            lines.append(f"rows of table {name}: {shown}{more}; run ingest_events over their days")
        if entry.get("trimmed"):
            lines.append(f"queue {name} has lost {entry['trimmed']} messages before they were read")
    return lines


def _ledger_exists(settings: Settings) -> bool:
    from pathlib import Path

    prefix = "sqlite:///"
    return (
        not settings.ledger_url.startswith(prefix) or Path(settings.ledger_url.removeprefix(prefix)).exists()
    )
