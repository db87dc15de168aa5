"""From an open request to a verdict on a candidate: snapshot, gate, fit, evaluate. `offering` does the rest.

Each step leaves its result in the job's folder for the next one and may be repeated: the snapshot is
content-addressed, the fit byte-identical, the ledger keeps the first entry of a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.ledger.chain import plain
from ratchet.loop import Loop
from ratchet.monitoring.profile import feature_profiles, gains, reference_bins
from ratchet.published import write_atomically
from ratchet.quality.gates import gate_training
from ratchet.scoring.child import ScoringFailed
from ratchet.settings import Settings
from ratchet.stages.jobs import Job, training_window
from ratchet.stages.judging import Champion, judge_frame, serving_champion
from ratchet.stages.offering import offer
from ratchet.stages.provenance import judging
from ratchet.stages.records import ledger_of, record_gate
from ratchet.stages.requested import as_requested
from ratchet.stages.snapshots import read_snapshot, write_snapshot
from ratchet.training.baselines import LogisticModel
from ratchet.training.candidate import Ablation, Candidate, make_candidate
from ratchet.training.contract import sample_requests
from ratchet.training.fit import predict_scores
from ratchet.training.recipe import Recipe, TooLittleData, rolling_splits
from ratchet.warehouse.connect import open_warehouse

__all__ = ["ChampionChanged", "evaluate", "fit", "judge_snapshot", "offer", "take_snapshot"]

Log = Callable[[str], None]


class ChampionChanged(RuntimeError):
    """Another model serves than when the candidate was fitted; what it would be compared with is another's."""


def take_snapshot(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Freeze the rows whose labels were known at the job's as-of, in visible partitions."""
    start, end = training_window(loop, job.as_of)
    with open_warehouse(settings, purpose=f"snapshot for {job.request}", read_only=True) as warehouse:
        manifest = write_snapshot(settings, loop, warehouse, as_of=job.as_of, window=(start, end))
    job.write(settings, "snapshot", manifest)
    log(f"snapshot {manifest['id'][:12]}: {manifest['rows']} rows, departures {start} to {end}")
    return {
        "id": manifest["id"],
        "sha256": manifest["sha256"],
        "rows": manifest["rows"],
        "start": start.isoformat(),
        "end": end.isoformat(),
    }


def judge_snapshot(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Judge the snapshot with the training suite; a blocked one refuses the candidate in the ledger."""
    frame = read_snapshot(settings, loop, job.read(settings, "snapshot"))
    report = gate_training(loop, settings, frame, job.as_of)
    summary = record_gate(settings, loop, report, f"training:{job.request}", log)
    verdict = "block" if summary["blocked"] or not report.verdicts else "pass"
    if verdict == "block":
        _refuse(
            settings, loop, job, "training gate: " + "; ".join(summary["blocked"] or ["nothing was judged"])
        )
    return {"verdict": verdict, "reasons": summary["blocked"], "rows": len(frame)}


def fit(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Make the candidate: parameters, a fit before each window, and the model that is offered, on all rows."""
    manifest = job.read(settings, "snapshot")
    frame = read_snapshot(settings, loop, manifest)
    champion = _champion(settings, loop, job)
    last = date.fromisoformat(manifest["window"][1])
    try:
        candidate = make_candidate(
            loop,
            frame,
            last,
            champion_rows_end=None if champion is None else champion.rows_end,
            nthread=settings.threads,
        )
        splits = rolling_splits(frame, loop, last)
    except TooLittleData as lacking:
        # Retrying would not help: the judge refuses it, in the ledger, so that the request is answered.
        log(str(lacking))
        job.write(settings, "fit", {"refusal": str(lacking)})
        return {"refusal": str(lacking)}
    newest = splits[-1]
    log(
        f"fitted {len(frame)} rows in {candidate.seconds:.1f} s and before {len(splits)} windows, the newest from "
        f"{newest.holdout_start} on rows up to {newest.train_end}; at most {candidate.megabytes:.0f} MB"
    )
    recipe = Recipe.of(loop, candidate.params)
    searched = None if candidate.searched is None else candidate.searched.to_json()
    if searched is not None:
        log(
            f"search: trial {searched['best']} of {len(searched['trials'])} is best, loss {searched['loss']:.4f}; "
            f"as declared {searched['declared_loss']:.4f}"
        )
    document = {
        "recipe": recipe.to_json(),
        "recipe_sha256": recipe.fingerprint(),
        "search": searched,
        "constants": list(candidate.constants),
        "judged_sha256": _sha256(candidate.judged[-1]),
        "windows": [
            {
                "start": s.holdout_start.isoformat(),
                "end": s.holdout_end.isoformat(),
                "model_sha256": _sha256(m),
            }
            for s, m in zip(splits, candidate.judged, strict=True)
        ],
        "model_sha256": _sha256(candidate.serving),
        "train_start": newest.train_start.isoformat(),
        "train_end": newest.train_end.isoformat(),
        "holdout_start": newest.holdout_start.isoformat(),
        "holdout_end": newest.holdout_end.isoformat(),
        "serving_train_end": max(pd.to_datetime(frame["departure_date"]).dt.date).isoformat(),
        "train_rows": len(newest.train),
        "champion_version": None if champion is None else champion.version,
    }
    cost = {
        "seconds": candidate.seconds,
        "cpu_seconds": round(candidate.cpu_seconds, 3),
        "megabytes": candidate.megabytes,
        "ablation": {
            "rows": candidate.ablation.rows,
            "seconds": dict(candidate.ablation.seconds),
            "absent": dict(candidate.ablation.absent),
        },
    }
    _keep(job.folder(settings), candidate)
    requests = sample_requests(loop, frame)
    scores = predict_scores(candidate.serving, requests)
    job.write(settings, "samples", {"scores": scores.tolist()})
    job.write(settings, "cost", cost)
    job.write(settings, "fit", document)
    # The version is not known before the registry gives it; the profile is adopted under it.
    bins = reference_bins(frame, loop, 0)
    profiles = feature_profiles(frame, loop, 0, bins, gains(candidate.serving))
    job.write(settings, "profile", {"bins": _records(bins), "profiles": _records(profiles)})
    if not job.is_dry:
        ledger_of(settings).append(
            loop=loop.loop,
            kind="training",
            key=f"training:{job.request}",
            as_of=job.as_of,
            payload={
                **document,
                "cost": cost,
                "request": job.request,
                "snapshot_id": manifest["id"],
                "snapshot_sha256": manifest["sha256"],
            },
        )
    return {"model_sha256": document["model_sha256"], "rows": len(frame), "train_end": document["train_end"]}


def _champion(settings: Settings, loop: Loop, job: Job) -> Champion | None:
    return None if job.mode == "bootstrap" else serving_champion(settings, loop)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows in plain types; what is no number is None."""
    held = rows.astype(object)
    return [
        {str(name): value for name, value in row.items()}
        for row in held.where(held.notna(), None).to_dict("records")
    ]


def _keep(folder: Path, candidate: Candidate) -> None:
    """The candidate's models as files, for the task that judges it."""
    kept = {f"judged_{i}": model for i, model in enumerate(candidate.judged)} | {"model": candidate.serving}
    kept |= {f"ablation_{group}": model for group, model in candidate.ablation.models.items()}
    if candidate.old_rows is not None:
        kept["old_rows"] = candidate.old_rows
    for path in (*folder.glob("judged_*.json"), *folder.glob("ablation_*.json"), folder / "old_rows.json"):
        if path.stem not in kept:
            path.unlink(missing_ok=True)  # of an earlier fit, with other windows
    for stem, content in kept.items():
        write_atomically(folder / f"{stem}.json", content)
    write_atomically(folder / "logistic.json", candidate.logistic.to_json().encode())


def _kept(settings: Settings, job: Job) -> Candidate:
    """The candidate that `fit` left."""
    folder, fitted, cost = job.folder(settings), job.read(settings, "fit"), job.read(settings, "cost")
    groups = list(cost["ablation"]["seconds"])
    old = folder / "old_rows.json"
    return Candidate(
        params=fitted["recipe"]["params"],
        searched=None,
        judged=tuple((folder / f"judged_{i}.json").read_bytes() for i in range(len(fitted["windows"]))),
        constants=tuple(fitted["constants"]),
        logistic=LogisticModel.from_json((folder / "logistic.json").read_text(encoding="utf-8")),
        serving=(folder / "model.json").read_bytes(),
        old_rows=old.read_bytes() if old.exists() else None,
        ablation=Ablation(
            {group: (folder / f"ablation_{group}.json").read_bytes() for group in groups},
            cost["ablation"]["seconds"],
            int(cost["ablation"]["rows"]),
            cost["ablation"]["absent"],
        ),
        seconds=float(cost["seconds"]),
        megabytes=float(cost["megabytes"]),
        cpu_seconds=float(cost["cpu_seconds"]),
    )


def evaluate(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Judge the candidate on its windows; the verdict with every gate's reason and sums is a ledger entry.

    A candidate that crashes, hangs or gives no usable scores is refused, not retried for ever. The first
    recorded verdict of a request stands.

    Raises:
        ChampionChanged: another model serves than when it was fitted.
    """
    refusal = job.read(settings, "fit").get("refusal")
    if refusal:
        recorded = _refuse(settings, loop, job, refusal)
    else:
        manifest = job.read(settings, "snapshot")
        frame = read_snapshot(settings, loop, manifest)
        last = date.fromisoformat(manifest["window"][1])
        champion = _champion(settings, loop, job)
        now, then = champion and champion.version, job.read(settings, "fit")["champion_version"]
        if now != then:
            # What it was fitted on without the new rows belongs to the champion of then.
            raise ChampionChanged(
                f"version {now} serves, it was {then} at the fit: clear fit_candidate and rerun"
            )
        try:
            judged = judge_frame(
                as_requested(settings, loop, job), frame, _kept(settings, job), champion, last
            )
        except ScoringFailed as failed:
            recorded = _refuse(settings, loop, job, str(failed))
        else:
            recorded = _record_evaluation(settings, loop, job, judged)
    log(f"evaluation: {recorded['verdict']}: {'; '.join(recorded['reasons'])}")
    return {"verdict": recorded["verdict"], "reasons": recorded["reasons"]}


def _refuse(settings: Settings, loop: Loop, job: Job, reason: str) -> dict[str, Any]:
    return _record_evaluation(
        settings, loop, job,
        {"verdict": "refuse", "reasons": [reason], "gates": [], "metrics": {}, "champion_version": None,
         "terms": None, "sums": None, "facts": None},
    )  # fmt: skip


def _record_evaluation(settings: Settings, loop: Loop, job: Job, verdict: dict[str, Any]) -> dict[str, Any]:
    """Record the verdict of the job's request; what the ledger says of it (the first verdict stands)."""
    job.write(settings, "evaluation", plain(verdict))
    if job.is_dry:
        return verdict
    entry = ledger_of(settings).append(
        loop=loop.loop, kind="evaluation", key=f"evaluation:{job.request}", as_of=job.as_of,
        payload={**verdict, "request": job.request, "made": judging(settings, loop)},
    )  # fmt: skip
    return entry.payload
