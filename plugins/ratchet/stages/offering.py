"""Offer a candidate that passed: register it, check that it can be served as it was judged, put it on trial."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from ratchet.experiment.admission import first_admission
from ratchet.experiment.paired import Estimate
from ratchet.experiment.planning import plan_from
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.registry.models import RegisteredModel, Registry, RegistryError
from ratchet.scoring.child import ScoringFailed, score_in_child
from ratchet.settings import Settings
from ratchet.stages.jobs import Job
from ratchet.stages.profiles import adopt_bins
from ratchet.stages.records import ledger_of
from ratchet.stages.releasing import why_not_started
from ratchet.stages.serving import categories_moved, effective_as_of, project, sha256_of, terms_of
from ratchet.stages.snapshots import read_snapshot
from ratchet.training.contract import TOLERANCE, sample_requests
from ratchet.training.fit import model_features
from ratchet.warehouse.connect import open_warehouse

Log = Callable[[str], None]
#: Entries that offered a model: it may serve from then on.
OFFERS = ("bootstrap", "rollout_started")


class ContractBroken(RuntimeError):
    """The registered model can't be served as it was judged; the message says in what it differs."""


def offer(settings: Settings, loop: Loop, job: Job, log: Log) -> dict[str, Any]:
    """Register the candidate that passed; the first champion serves at once, any other goes on trial.

    The candidate was judged when fitted before the holdout; what is offered is the same recipe on all rows, once
    the registered model, loaded in a fresh process, gave the scores that it gave in training. Offering again, at
    any later time, changes nothing: what serves follows from the ledger.
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
    refusal = _why_not(job, evaluation, state) or why_not_started(
        settings, loop, job, job.read(settings, "fit")["model_sha256"], entries
    )
    if refusal is not None:
        log(refusal)
        return {"offered": False, "reason": refusal}
    registered, recorded = _register(settings, loop, job, evaluation)
    try:
        recorded["serving_contract"] = check_contract(
            settings, loop, registered, job.read(settings, "samples"), job.read(settings, "snapshot"), entries
        )
    except (ContractBroken, RegistryError, ScoringFailed) as broken:
        return _refuse(settings, loop, job, f"refused: serving contract: {broken}", log)
    as_of = effective_as_of(read(settings, loop.loop, "partitions"), job.as_of)
    if job.mode == "bootstrap":
        kept = job.read(settings, "profile")
        adopt_bins(settings, loop, registered.version, kept["bins"], kept.get("profiles"))
        ledger.append(
            loop=loop.loop, kind="bootstrap", key=job.request, as_of=as_of,
            payload={**recorded, "model_version": registered.version, "owner": loop.owner.name,
                     "approval": loop.approvals.bootstrap},
        )  # fmt: skip
    else:
        if loop.cohorts.without_evidence == "exclude" and evaluation is not None:
            admission = first_admission(
                evaluation.payload["gates"], loop.cohorts.dimensions, loop.features.categorical
            )
            recorded["admission"] = admission.to_json()
        recorded["holdback_ended"] = None if state.holdback is None else state.holdback.experiment_id
        _start_trial(
            settings, loop, job, registered.version, int(state.champion_version or 0), recorded, as_of
        )
    project(settings, loop)
    log(f"version {registered.version} {'serves' if job.mode == 'bootstrap' else 'is on trial'}")
    return {"offered": True, "version": registered.version, "as_of": as_of.isoformat()}


def check_contract(
    settings: Settings,
    loop: Loop,
    registered: RegisteredModel,
    samples: dict[str, Any],
    manifest: dict[str, Any],
    entries: list[Entry],
) -> dict[str, Any]:
    """What was compared and how near it came; the model is loaded from the registry, in a process of its own.

    Its signature and its own feature names have to be the loop's, and the champion's; rows of the snapshot and
    rows at the edges have to get the scores that they got in training, to `TOLERANCE`.

    Raises:
        ContractBroken: a name or a score differs, or nothing was compared.
        RegistryError: it is not there, or not the one that was registered.
        ScoringFailed: it can't be loaded or scored with.
    """
    registry, agreed = Registry(settings), tuple(loop.features.columns)
    content = registry.model_bytes(loop.loop, registered.version, registered.sha256)
    told = {
        "signature in the registry": registry.signature(loop.loop, registered.version),
        "model's own features": model_features(content),
    }
    champion = fold(entries).champion_version
    if champion is not None:
        moved = categories_moved(loop, entries, champion)
        if moved is not None:
            raise ContractBroken(moved)
        serving = registry.model_bytes(loop.loop, champion, sha256_of(entries, champion))
        told[f"features of version {champion}, which serves"] = model_features(serving)
    for what, names in told.items():
        if names != agreed:
            differ = sorted(set(names) ^ set(agreed)) or ["their order"]
            raise ContractBroken(f"the {what} are not the loop file's features: {', '.join(differ)} differ")
    matrix = sample_requests(loop, read_snapshot(settings, loop, manifest))
    expected = np.asarray(samples["scores"], dtype=np.float64)
    if len(matrix) != len(expected) or not len(matrix):
        raise ContractBroken(f"{len(matrix)} sample requests, {len(expected)} of them scored in training")
    scores = score_in_child({"offered": content}, matrix)["offered"].scores
    largest = float(np.abs(scores - expected).max())
    if not largest <= TOLERANCE:
        row = int(np.abs(scores - expected).argmax())
        raise ContractBroken(
            f"sample request {row} is scored {scores[row]:.9f}, in training it was {expected[row]:.9f}"
        )
    return {
        "requests": len(matrix),
        "largest_difference": largest,
        "tolerance": TOLERANCE,
        "features": len(agreed),
        "compared": sorted(told),
    }


def _refuse(settings: Settings, loop: Loop, job: Job, reason: str, log: Log) -> dict[str, Any]:
    """Answer the request: what can't be served as it was judged is not offered, and not tried for ever."""
    log(reason)
    if job.mode == "retrain":
        ledger_of(settings).append(
            loop=loop.loop, kind="request_closed", key=f"closed:{job.request}", as_of=job.as_of,
            payload={"request": job.request, "reason": reason},
        )  # fmt: skip
    return {"offered": False, "reason": reason}


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
        params=fitted["recipe"]["params"], metrics=metrics,
    )  # fmt: skip
    return registered, {
        "request": job.request,
        "model_sha256": registered.sha256,
        "run_id": registered.run_id,
        "snapshot_sha256": manifest["sha256"],
        "serving_train_end": fitted["serving_train_end"],
        "judged_train_end": fitted["train_end"],
        "evaluation": evaluation.hash,
        "plan": _planned(loop, evaluation),
        # As pairs: their order is what the model learnt, and a ledger entry keeps no order of keys.
        "categories": [[name, list(values)] for name, values in loop.features.categorical.items()],
    }


def _planned(loop: Loop, evaluation: Entry) -> dict[str, Any] | None:
    """What the horizon is expected to buy, by the spread of the evaluation's days; None where that is not known."""
    for gate in evaluation.payload["gates"]:
        if gate["name"] == "not_worse_than_champion" and "standard_error" in gate["evidence"]:
            plan = plan_from(loop, Estimate.from_evidence(gate["evidence"]))
            return None if plan is None else plan.evidence()
    return None


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
