"""From an open request to a challenger on trial: snapshot, gate, fit, evaluate, offer.

Each step leaves its result in the job's folder for the next one and may be repeated: the snapshot is
content-addressed, the fit byte-identical, the ledger keeps the first entry of a key.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from ratchet.evaluation.gates import CandidateFacts, judge_candidate
from ratchet.evaluation.intervals import losses
from ratchet.experiment.paired import ratio_estimate
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.loop import Loop
from ratchet.monitoring.profile import reference_bins
from ratchet.published import read, write_atomically
from ratchet.quality.gates import gate_training
from ratchet.registry.models import RegisteredModel, Registry
from ratchet.scoring.child import ScoringFailed, score_in_child
from ratchet.settings import Settings
from ratchet.stages.jobs import Job, training_window
from ratchet.stages.profiles import adopt_bins
from ratchet.stages.records import ledger_of, record_gate
from ratchet.stages.serving import effective_as_of, offered, project, sha256_of, terms_of
from ratchet.stages.snapshots import read_snapshot, write_snapshot
from ratchet.training.baselines import LogisticModel, constant_rate, fit_logistic
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model
from ratchet.training.recipe import Recipe, TooLittleData, time_split
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]
#: Entries that offered a model: it may serve from then on.
OFFERS = ("bootstrap", "rollout_started")
#: Gates whose numbers are told when every gate passed.
TOLD_WHEN_PASSED = ("no_simpler_model_is_better", "not_worse_than_champion")


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
    """Fit the judged candidate (rows before the holdout), its baselines, and the serving model (all rows)."""
    manifest = job.read(settings, "snapshot")
    frame = read_snapshot(settings, loop, manifest)
    try:
        split, recipe = time_split(frame, loop, date.fromisoformat(manifest["window"][1])), Recipe.of(loop)
    except TooLittleData as lacking:
        # Retrying would not help: the judge refuses it, in the ledger, so that the request is answered.
        log(str(lacking))
        job.write(settings, "fit", {"refusal": str(lacking)})
        return {"refusal": str(lacking)}
    matrix, labels = feature_matrix(split.train, loop), label_vector(split.train)
    started = time.perf_counter()
    judged = _fit(settings, loop, matrix, labels)
    log(f"fitted on {len(labels)} rows up to {split.train_end} in {time.perf_counter() - started:.1f} s")
    serving = _fit(settings, loop, feature_matrix(frame, loop), label_vector(frame))
    folder = job.folder(settings)
    write_atomically(folder / "judged_model.json", judged)
    write_atomically(folder / "model.json", serving)
    write_atomically(folder / "logistic.json", fit_logistic(matrix, labels, loop).to_json().encode())
    document = {
        "recipe": recipe.to_json(),
        "recipe_sha256": recipe.fingerprint(),
        "constant": constant_rate(labels),
        "judged_sha256": hashlib.sha256(judged).hexdigest(),
        "model_sha256": hashlib.sha256(serving).hexdigest(),
        "train_start": split.train_start.isoformat(),
        "train_end": split.train_end.isoformat(),
        "holdout_start": split.holdout_start.isoformat(),
        "holdout_end": split.holdout_end.isoformat(),
        "serving_train_end": max(pd.to_datetime(frame["departure_date"]).dt.date).isoformat(),
        "train_rows": len(split.train),
    }
    job.write(settings, "fit", document)
    # The version is not known before the registry gives it; the profile is adopted under it.
    bins = reference_bins(frame, loop, 0).astype(object)
    job.write(settings, "profile", {"bins": bins.where(bins.notna(), None).to_dict("records")})
    if not job.is_dry:
        ledger_of(settings).append(
            loop=loop.loop,
            kind="training",
            key=f"training:{job.request}",
            as_of=job.as_of,
            payload={
                **document,
                "request": job.request,
                "snapshot_id": manifest["id"],
                "snapshot_sha256": manifest["sha256"],
            },
        )
    return {"model_sha256": document["model_sha256"], "rows": len(frame), "train_end": document["train_end"]}


def _fit(settings: Settings, loop: Loop, matrix: Any, labels: Any) -> bytes:
    return fit_model(
        matrix,
        labels,
        loop.training.params,
        seed=loop.training.seed,
        feature_names=loop.features.columns,
        nthread=settings.threads,
    )


def evaluate(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Judge the candidate on the holdout; the verdict with every gate's reason is a ledger entry.

    A candidate that crashes, hangs or gives no usable scores is refused, not retried for ever. The first
    recorded verdict of a request stands.
    """
    refusal = job.read(settings, "fit").get("refusal")
    if refusal:
        recorded = _refuse(settings, loop, job, refusal)
    else:
        manifest, fitted = job.read(settings, "snapshot"), job.read(settings, "fit")
        frame, folder = read_snapshot(settings, loop, manifest), job.folder(settings)
        try:
            judged = judge_frame(
                settings, loop, frame,
                last=date.fromisoformat(manifest["window"][1]),
                model=(folder / "judged_model.json").read_bytes(),
                logistic=LogisticModel.from_json((folder / "logistic.json").read_text(encoding="utf-8")),
                constant=float(fitted["constant"]),
                is_first=job.mode == "bootstrap",
            )  # fmt: skip
        except ScoringFailed as failed:
            recorded = _refuse(settings, loop, job, str(failed))
        else:
            told = [f"{g['name']}: {g['reason']}" for g in judged["gates"] if g["verdict"] == "refuse"]
            told = told or [g["reason"] for g in judged["gates"] if g["name"] in TOLD_WHEN_PASSED]
            recorded = _record_evaluation(settings, loop, job, {**judged, "reasons": told})
    log(f"evaluation: {recorded['verdict']}: {'; '.join(recorded['reasons'])}")
    return {"verdict": recorded["verdict"], "reasons": recorded["reasons"]}


def _refuse(settings: Settings, loop: Loop, job: Job, reason: str) -> dict[str, Any]:
    return _record_evaluation(
        settings, loop, job,
        {"verdict": "refuse", "reasons": [reason], "gates": [], "metrics": {}, "champion_version": None},
    )  # fmt: skip


def judge_frame(
    settings: Settings,
    loop: Loop,
    frame: pd.DataFrame,
    *,
    last: date,
    model: bytes,
    logistic: LogisticModel,
    constant: float,
    is_first: bool,
) -> dict[str, Any]:
    """The evaluation of a model fitted on `frame`'s training rows, on its holdout rows, as plain data.

    The champion is what serves now: its bytes come from the registry after their hash was checked.
    """
    split = time_split(frame, loop, last)
    matrix = feature_matrix(split.holdout, loop)
    entries = ledger_of(settings).entries(loop.loop)
    champion = fold(entries).champion_version
    models, champion_end, champion_rows_end = {"candidate": model}, None, None
    if not is_first and champion is not None:
        models["champion"] = Registry(settings).model_bytes(loop.loop, champion, sha256_of(entries, champion))
        terms = offered(entries, champion).payload
        # Like for like: where the champion's judged fit ended; what serves was fitted on all its rows.
        champion_end = date.fromisoformat(terms["judged_train_end"])
        champion_rows_end = date.fromisoformat(terms["serving_train_end"])
    scored = score_in_child(models, matrix)
    scores: dict[str, Any] = {name: result.scores for name, result in scored.items()}
    scores["constant"] = np.full(len(matrix), constant)
    scores["logistic"] = logistic.predict(matrix)
    facts = CandidateFacts(
        train_start=split.train_start,
        train_end=split.train_end,
        eval_start=split.holdout_start,
        eval_end=split.holdout_end,
        champion_train_end=champion_end,
        champion_rows_end=champion_rows_end,
        feature_columns=tuple(loop.features.columns),
        train_rows=len(split.train),
        overlapping_units=len(set(split.train["unit_id"]) & set(split.holdout["unit_id"])),
        model_bytes=len(model),
        latency_ms_per_1000=1e6 * scored["candidate"].seconds / max(len(matrix), 1),
    )
    cohorts = split.holdout[list(loop.cohorts.dimensions)]
    evaluation = judge_candidate(loop, split.holdout, scores, cohorts, facts)
    return {
        **evaluation.to_json(),
        "facts": facts.evidence(),
        "champion_version": None if is_first else champion,
        "promise": _promise(split.holdout, scores["candidate"], constant),
    }


def _promise(holdout: pd.DataFrame, scores: Any, training_rate: float) -> dict[str, Any]:
    """The candidate's log loss on the holdout with its error over days: what monitoring holds it to."""
    labels = label_vector(holdout)
    daily = pd.DataFrame(
        {"day": holdout["departure_date"], "loss": losses("log_loss", labels, scores)}
    ).groupby("day")
    sums = daily["loss"].agg(["sum", "count"])
    estimate = ratio_estimate(sums["sum"], sums["count"])
    return {
        "log_loss": estimate.value,
        "standard_error": estimate.standard_error,
        "training_rate": training_rate,
        "until": max(holdout["departure_date"]),
    }


def _record_evaluation(settings: Settings, loop: Loop, job: Job, verdict: dict[str, Any]) -> dict[str, Any]:
    """Record the verdict of the job's request; what the ledger says of it (the first verdict stands)."""
    if job.is_dry:
        return verdict
    entry = ledger_of(settings).append(
        loop=loop.loop, kind="evaluation", key=f"evaluation:{job.request}", as_of=job.as_of,
        payload={**verdict, "request": job.request},
    )  # fmt: skip
    return entry.payload


def offer(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Register the candidate that passed; the first champion serves at once, any other goes on trial.

    The candidate was judged when fitted before the holdout; what is offered is the same recipe on all rows.
    Offering again, at any later time, changes nothing: what serves follows from the ledger.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    known = next((e for e in entries if e.kind in OFFERS and e.payload["request"] == job.request), None)
    if known is not None:
        project(settings, loop)
        version = known.payload.get("model_version") or known.payload["challenger_version"]
        return {"offered": True, "version": int(version), "as_of": known.as_of}
    evaluation = ledger.find(loop.loop, f"evaluation:{job.request}")
    state = fold(entries)
    refusal = _why_not(job, evaluation, state)
    if refusal is not None:
        log(refusal)
        return {"offered": False, "reason": refusal}
    registered, recorded = _register(settings, loop, job, evaluation)
    as_of = effective_as_of(read(settings, loop.loop, "partitions"), job.as_of)
    if job.mode == "bootstrap":
        adopt_bins(settings, loop, registered.version, job.read(settings, "profile")["bins"])
        ledger.append(
            loop=loop.loop, kind="bootstrap", key=job.request, as_of=as_of,
            payload={**recorded, "model_version": registered.version, "owner": loop.owner.name,
                     "approval": loop.approvals.bootstrap},
        )  # fmt: skip
    else:
        _start_trial(
            settings, loop, job, registered.version, int(state.champion_version or 0), recorded, as_of
        )
    project(settings, loop)
    log(f"version {registered.version} {'serves' if job.mode == 'bootstrap' else 'is on trial'}")
    return {"offered": True, "version": registered.version, "as_of": as_of.isoformat()}


def _why_not(job: Job, evaluation: Entry | None, state: LoopState) -> str | None:
    """Why the candidate can't be offered, or None."""
    if evaluation is None:
        return "refused: no evaluation is recorded"
    if evaluation.payload["verdict"] != "pass":
        return "refused: " + "; ".join(evaluation.payload["reasons"][:3])
    if job.mode == "bootstrap":
        return None if state.champion_version is None else "refused: the loop has a champion"
    if state.request is None or state.request.key != job.request:
        return f"refused: request {job.request} is no longer open"
    if state.rollout is not None:
        return f"refused: rollout {state.rollout.experiment_id} is running; offer it again after its verdict"
    if evaluation.payload["champion_version"] != state.champion_version:
        return (
            f"refused: it was judged against version {evaluation.payload['champion_version']}, "
            f"version {state.champion_version} serves now"
        )
    return None


def _register(
    settings: Settings, loop: Loop, job: Job, evaluation: Entry | None
) -> tuple[RegisteredModel, dict[str, Any]]:
    fitted, manifest = job.read(settings, "fit"), job.read(settings, "snapshot")
    path = job.folder(settings) / "model.json"
    model = path.read_bytes()
    if evaluation is None or hashlib.sha256(model).hexdigest() != fitted["model_sha256"]:
        raise RuntimeError(f"{path} is not what was fitted: clear fit_candidate and run it again")
    metrics = {
        f"{scorer}_{name}": value
        for scorer, values in evaluation.payload["metrics"].items()
        for name, value in values.items()
        if value is not None
    }
    registered = Registry(settings).register(
        loop=loop.loop, request=job.request, model_json=model, inputs=loop.features.columns,
        documents={"manifest": manifest, "fit": fitted, "profile": job.read(settings, "profile")},
        params=loop.training.params, metrics=metrics,
    )  # fmt: skip
    return registered, {
        "request": job.request,
        "model_sha256": registered.sha256,
        "run_id": registered.run_id,
        "snapshot_sha256": manifest["sha256"],
        "serving_train_end": fitted["serving_train_end"],
        "judged_train_end": fitted["train_end"],
        "evaluation": evaluation.hash,
    }


def _start_trial(
    settings: Settings,
    loop: Loop,
    job: Job,
    version: int,
    champion: int,
    recorded: dict[str, Any],
    as_of: datetime,
) -> None:
    experiment_id = f"{loop.loop}-v{version}-{job.as_of:%Y%m%d}"
    with open_warehouse(settings, purpose=f"starting {experiment_id}") as warehouse, warehouse.transaction():
        warehouse.execute(
            "delete from ops.experiments where loop = ? and experiment_id = ?", (loop.loop, experiment_id)
        )
        row = {"loop": loop.loop, "experiment_id": experiment_id, "champion_version": champion,
               "challenger_version": version}  # fmt: skip
        warehouse.append("ops.experiments", pd.DataFrame([row]))
    ledger_of(settings).append(
        loop=loop.loop, kind="rollout_started", key=f"rollout:{experiment_id}", as_of=as_of,
        payload={**recorded, "experiment_id": experiment_id, "champion_version": champion,
                 "challenger_version": version, "stage": loop.rollout.stages[0].name, "terms": terms_of(loop)},
    )  # fmt: skip
