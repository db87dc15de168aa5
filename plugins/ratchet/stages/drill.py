"""The gate drill: planted bad candidates go to the same gates and judge as a real one, and must be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pandas as pd

from ratchet.ledger.chain import canonical, plain
from ratchet.loop import Loop
from ratchet.quality.gates import gate_training
from ratchet.settings import Settings
from ratchet.stages.jobs import Job, NoJob
from ratchet.stages.judging import judge_frame, serving_champion
from ratchet.stages.records import ledger_of
from ratchet.stages.snapshots import read_snapshot
from ratchet.stages.train import take_snapshot
from ratchet.training.baselines import constant_rate, fit_logistic
from ratchet.training.candidate import Candidate, make_candidate
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model
from ratchet.training.plants import Planted, kinds_for, plant
from ratchet.training.recipe import time_split

Log = Callable[[str], None]


def drill(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Plant each fault in the snapshot of `as_of`, fit, judge; nothing is registered.

    `failed` names the plants that passed, or that were refused for another reason than their fault.

    Raises:
        NoJob: there is no champion to compare with.
    """
    champion = serving_champion(settings, loop)
    if champion is None:
        raise NoJob(f"loop {loop.loop} has no champion: the drill compares with one")
    job = Job(loop.loop, "retrain", f"drill:{as_of.isoformat()}", as_of)
    take_snapshot(settings, loop, job, log)
    manifest = job.read(settings, "snapshot")
    honest, last = read_snapshot(settings, loop, manifest), date.fromisoformat(manifest["window"][1])
    results = [_future_column(settings, loop, honest, as_of)]
    single = one_window(loop)
    made = make_candidate(single, honest, last, champion_rows_end=champion.rows_end, nthread=settings.threads)
    for kind in kinds_for(loop):
        planted = plant(kind, honest, single, loop.training.seed)
        bad = planted_candidate(single, planted, made, last, settings.threads)
        judged = judge_frame(single, planted.frame, bad, champion, last)
        refused_by = {gate["name"]: gate["reason"] for gate in judged["gates"] if gate["verdict"] == "refuse"}
        results.append(
            {
                "kind": kind,
                "verdict": judged["verdict"],
                "expected_gate": planted.expected_gate,
                "refused_by": sorted(refused_by),
                "reason": refused_by.get(planted.expected_gate, "the expected gate did not refuse"),
            }
        )
        log(f"planted {kind}: {judged['verdict']} by {', '.join(sorted(refused_by)) or 'no gate'}")
    failed = [
        r["kind"] for r in results if r["verdict"] != "refuse" or r["expected_gate"] not in r["refused_by"]
    ]
    digest = hashlib.sha256(canonical(plain(results)).encode()).hexdigest()[:12]
    ledger_of(settings).append(
        loop=loop.loop,
        kind="drill",
        key=f"{job.request}:{digest}",
        as_of=as_of,
        payload={"plants": results, "failed": failed},
    )
    return {"refused": len(results) - len(failed), "failed": failed}


def one_window(loop: Loop) -> Loop:
    """The loop as the drill judges it: the newest window, the declared parameters. Faults show in one as in three."""
    search = loop.training.search.model_copy(update={"trials": 0})
    training = loop.training.model_copy(update={"windows": 1, "min_windows": 1, "search": search})
    return loop.model_copy(update={"training": training})


def planted_candidate(loop: Loop, planted: Planted, honest: Candidate, last: date, nthread: int) -> Candidate:
    """The honest candidate with the planted rows' model in place of its own; what it is compared with stays."""
    split = time_split(planted.frame, loop, last)
    matrix, labels = feature_matrix(split.train, loop), label_vector(split.train)
    model = fit_model(
        matrix,
        labels,
        loop.training.params,
        seed=loop.training.seed,
        feature_names=loop.features.columns,
        nthread=nthread,
        monotone=loop.gates.evaluation.mutations.monotone if planted.is_constrained else {},
    )
    return replace(
        honest,
        judged=(model,),
        serving=model,
        constants=(constant_rate(labels),),
        logistic=fit_logistic(matrix, labels, loop),
    )


def _future_column(settings: Settings, loop: Loop, honest: pd.DataFrame, as_of: datetime) -> dict[str, Any]:
    """A snapshot with a column that is known only after departure, sent through the training gate."""
    column = loop.features.never[0]
    report = gate_training(loop, settings, honest.assign(**{column: honest["label"]}), as_of)
    reasons = [reason for verdict in report.blocked for reason in verdict.reasons]
    named = next((reason for reason in reasons if column in reason), None)
    return {
        "kind": "future_column",
        "verdict": "refuse" if report.blocked else "pass",
        "expected_gate": "training gate",
        "refused_by": ["training gate"] if named else [],
        "reason": named or "the training gate did not name the column",
    }
