"""From an open request to a challenger on trial: snapshot, gate, fit, evaluate, offer.

Each step leaves its result in the job's folder for the next one and may be repeated: the snapshot is
content-addressed, the fit byte-identical, the ledger keeps the first entry of a key.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ratchet.evaluation.gates import CandidateFacts, judge_candidate
from ratchet.evaluation.intervals import losses
from ratchet.experiment.paired import ratio_estimate
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.monitoring.profile import reference_bins
from ratchet.published import write_atomically
from ratchet.quality.gates import gate_training
from ratchet.registry.models import Registry
from ratchet.scoring.child import score_in_child
from ratchet.scoring.routing import Routing, write_routing
from ratchet.settings import Settings
from ratchet.stages.jobs import Job, training_window
from ratchet.stages.profiles import adopt_bins
from ratchet.stages.records import ledger_of, record_gate
from ratchet.stages.rollout import sha256_of
from ratchet.stages.snapshots import read_snapshot, write_snapshot
from ratchet.training.baselines import LogisticModel, constant_rate, fit_logistic
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model
from ratchet.training.recipe import Recipe, time_split
from ratchet.warehouse.duckdb import open_warehouse

Log = Callable[[str], None]


def take_snapshot(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Freeze the rows whose labels were known at the job's as-of, in visible partitions."""
    start, end = training_window(loop, job.as_of)
    with open_warehouse(settings, purpose=f"snapshot for {job.request}", read_only=True) as warehouse:
        columns = ", ".join(
            ("unit_id", "departure_date", "predict_at", *loop.features.columns, "label", "label_received_at")
        )
        rows = warehouse.frame(
            # Identifiers of the validated loop file; the values are bound.
            f"select {columns} from features.trn_flights where loop = ? and departure_date between ? and ? "  # noqa: S608
            "and label_received_at < ? order by departure_date, unit_id",
            (loop.loop, start, end, job.as_of),
        )
    manifest = write_snapshot(settings, loop, rows, as_of=job.as_of, window=(start, end))
    job.write(settings, "snapshot", manifest)
    log(f"snapshot {manifest['sha256'][:12]}: {len(rows)} rows, departures {start} to {end}")
    return {
        "sha256": manifest["sha256"],
        "rows": len(rows),
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
        _record_evaluation(
            settings,
            loop,
            job,
            {
                "verdict": "refuse",
                "reasons": [f"training gate: {line}" for line in summary["blocked"]],
                "gates": [],
                "metrics": {},
            },
        )
    return {"verdict": verdict, "reasons": summary["blocked"], "rows": len(frame)}


def fit(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Fit the judged candidate (rows before the holdout), its baselines, and the serving model (all rows)."""
    manifest = job.read(settings, "snapshot")
    frame = read_snapshot(settings, loop, manifest)
    split, recipe = time_split(frame, loop), Recipe.of(loop)
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
    ledger_of(settings).append(
        loop=loop.loop,
        kind="training",
        key=f"training:{job.request}",
        as_of=job.as_of,
        payload={**document, "request": job.request, "snapshot_sha256": manifest["sha256"]},
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
    """Judge the candidate on the holdout; the verdict with every gate's reason is a ledger entry."""
    manifest, fitted = job.read(settings, "snapshot"), job.read(settings, "fit")
    frame = read_snapshot(settings, loop, manifest)
    folder = job.folder(settings)
    judged = judge_frame(
        settings,
        loop,
        frame,
        model=(folder / "judged_model.json").read_bytes(),
        logistic=LogisticModel.from_json((folder / "logistic.json").read_text(encoding="utf-8")),
        constant=float(fitted["constant"]),
        is_first=job.mode == "bootstrap",
    )
    reasons = [f"{gate['name']}: {gate['reason']}" for gate in judged["gates"] if gate["verdict"] == "refuse"]
    if not reasons:
        reasons = [
            gate["reason"]
            for gate in judged["gates"]
            if gate["name"] in ("no_simpler_model_is_better", "not_worse_than_champion")
        ]
    _record_evaluation(settings, loop, job, {**judged, "reasons": reasons})
    log(f"evaluation: {judged['verdict']}: {'; '.join(reasons)}")
    return {"verdict": judged["verdict"], "reasons": reasons}


def judge_frame(
    settings: Settings,
    loop: Loop,
    frame: pd.DataFrame,
    *,
    model: bytes,
    logistic: LogisticModel,
    constant: float,
    is_first: bool,
) -> dict[str, Any]:
    """The evaluation of a model fitted on `frame`'s training rows, on its holdout rows, as plain data.

    The champion is what serves now: its bytes come from the registry after their hash was checked.
    """
    split = time_split(frame, loop)
    matrix = feature_matrix(split.holdout, loop)
    entries = ledger_of(settings).entries(loop.loop)
    champion = fold(entries).champion_version
    models, champion_end = {"candidate": model}, None
    if not is_first and champion is not None:
        models["champion"] = Registry(settings).model_bytes(loop.loop, champion, sha256_of(entries, champion))
        champion_end = _train_end(entries, champion)
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


def _train_end(entries: list[Any], version: int) -> date:
    """Where the training rows of the champion's judged fit ended: like for like with the candidate's."""
    offered = next(
        e
        for e in reversed(entries)
        if (e.kind == "bootstrap" and e.payload["model_version"] == version)
        or (e.kind == "rollout_started" and e.payload["challenger_version"] == version)
    )
    return date.fromisoformat(offered.payload["judged_train_end"])


def _record_evaluation(settings: Settings, loop: Loop, job: Job, verdict: dict[str, Any]) -> None:
    ledger_of(settings).append(
        loop=loop.loop,
        kind="evaluation",
        key=f"evaluation:{job.request}",
        as_of=job.as_of,
        payload={**verdict, "request": job.request},
    )


def offer(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Register the candidate that passed; the first champion serves at once, any other goes on trial.

    The candidate was judged when fitted before the holdout; what is offered is the same recipe on all rows.
    """
    ledger = ledger_of(settings)
    evaluation = ledger.find(loop.loop, f"evaluation:{job.request}")
    if evaluation is None or evaluation.payload["verdict"] != "pass":
        reason = (
            "no evaluation is recorded"
            if evaluation is None
            else "; ".join(evaluation.payload["reasons"][:3])
        )
        return {"offered": False, "reason": f"refused: {reason}"}
    fitted, manifest = job.read(settings, "fit"), job.read(settings, "snapshot")
    folder = job.folder(settings)
    model = (folder / "model.json").read_bytes()
    if hashlib.sha256(model).hexdigest() != fitted["model_sha256"]:
        raise RuntimeError(
            f"{folder / 'model.json'} is not what was fitted: clear fit_candidate and run it again"
        )
    registry = Registry(settings)
    metrics = {
        f"{scorer}_{name}": value
        for scorer, values in evaluation.payload["metrics"].items()
        for name, value in values.items()
        if value is not None
    }
    registered = registry.register(
        loop=loop.loop,
        request=job.request,
        model_json=model,
        inputs=loop.features.columns,
        documents={"manifest": manifest, "fit": fitted, "profile": job.read(settings, "profile")},
        params=loop.training.params,
        metrics=metrics,
    )
    offered = {
        "request": job.request,
        "model_sha256": registered.sha256,
        "run_id": registered.run_id,
        "snapshot_sha256": manifest["sha256"],
        "serving_train_end": fitted["serving_train_end"],
        "judged_train_end": fitted["train_end"],
        "evaluation": evaluation.hash,
    }
    version = registered.version
    if job.mode == "bootstrap":
        _serve_first(settings, loop, job, registry, version, offered)
    else:
        _start_trial(settings, loop, job, registry, version, offered)
    log(f"version {version} {'serves' if job.mode == 'bootstrap' else 'is on trial'}")
    return {"offered": True, "version": version, "as_of": job.as_of.isoformat()}


def _serve_first(
    settings: Settings, loop: Loop, job: Job, registry: Registry, version: int, offered: dict[str, Any]
) -> None:
    adopt_bins(settings, loop, version, job.read(settings, "profile")["bins"])
    key = job.request
    ledger_of(settings).append(
        loop=loop.loop,
        kind="bootstrap",
        key=key,
        as_of=job.as_of,
        actor=loop.owner.name,
        payload={
            **offered,
            "model_version": version,
            "owner": loop.owner.name,
            "approval": loop.approvals.bootstrap,
        },
    )
    registry.set_alias(loop.loop, "champion", version)
    write_routing(settings, Routing(loop.loop, version, offered["model_sha256"], job.as_of, key))


def _start_trial(
    settings: Settings, loop: Loop, job: Job, registry: Registry, version: int, offered: dict[str, Any]
) -> None:
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state = fold(entries)
    experiment_id = f"{loop.loop}-v{version}-{job.as_of:%Y%m%d}"
    known = next((e for e in entries if e.key == f"rollout:{experiment_id}"), None)
    if known is None and (state.rollout is not None or state.champion_version is None):
        raise RuntimeError(
            f"version {version} can't go on trial: "
            + ("another rollout is running" if state.rollout else "no champion serves")
        )
    champion = int(known.payload["champion_version"]) if known else int(state.champion_version or 0)
    shadow = loop.rollout.stages[0]
    with open_warehouse(settings, purpose=f"starting {experiment_id}") as warehouse, warehouse.transaction():
        warehouse.execute(
            "delete from ops.experiments where loop = ? and experiment_id = ?", (loop.loop, experiment_id)
        )
        warehouse.append(
            "ops.experiments",
            pd.DataFrame(
                [
                    {
                        "loop": loop.loop,
                        "experiment_id": experiment_id,
                        "champion_version": champion,
                        "challenger_version": version,
                    }
                ]
            ),
        )
    # The entry comes before alias and routing: a model that no entry names never has a share.
    ledger.append(
        loop=loop.loop,
        kind="rollout_started",
        key=f"rollout:{experiment_id}",
        as_of=job.as_of,
        payload={
            **offered,
            "experiment_id": experiment_id,
            "champion_version": champion,
            "challenger_version": version,
            "stage": shadow.name,
            "plan": loop.rollout.model_dump(),
            "guardrails": [guardrail.model_dump() for guardrail in loop.guardrails],
        },
    )
    registry.set_alias(loop.loop, "challenger", version)
    entries = ledger.entries(loop.loop)
    write_routing(
        settings,
        Routing(
            loop.loop,
            champion,
            sha256_of(entries, champion),
            job.as_of,
            f"rollout:{experiment_id}",
            experiment_id=experiment_id,
            challenger_version=version,
            challenger_sha256=offered["model_sha256"],
            stage=shadow.name,
            share=shadow.share,
        ),
    )
