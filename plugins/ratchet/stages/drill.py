"""The gate drill: planted bad candidates go to the same gates and judge as a real one, and must be refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import pandas as pd

from ratchet.ledger.chain import canonical, plain
from ratchet.loop import Loop
from ratchet.quality.gates import gate_training
from ratchet.settings import Settings
from ratchet.stages.jobs import Job, NoJob
from ratchet.stages.records import ledger_of, state_of
from ratchet.stages.snapshots import read_snapshot
from ratchet.stages.train import judge_frame, take_snapshot
from ratchet.training.baselines import constant_rate, fit_logistic
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.fit import fit_model
from ratchet.training.plants import KINDS, plant
from ratchet.training.recipe import time_split

Log = Callable[[str], None]


def drill(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> dict[str, Any]:
    """Plant each fault in the snapshot of `as_of`, fit, judge; nothing is registered.

    `failed` names the plants that passed, or that were refused for another reason than their fault.

    Raises:
        NoJob: there is no champion to compare with.
    """
    if state_of(settings, loop).champion_version is None:
        raise NoJob(f"loop {loop.loop} has no champion: the drill compares with one")
    job = Job(loop.loop, "retrain", f"drill:{as_of.isoformat()}", as_of)
    take_snapshot(settings, loop, job, log)
    manifest = job.read(settings, "snapshot")
    honest, last = read_snapshot(settings, loop, manifest), date.fromisoformat(manifest["window"][1])
    results = [_future_column(settings, loop, honest, as_of)]
    for kind in KINDS:
        planted = plant(kind, honest, loop, loop.training.seed)
        split = time_split(planted.frame, loop, last)
        matrix, labels = feature_matrix(split.train, loop), label_vector(split.train)
        model = fit_model(
            matrix,
            labels,
            loop.training.params,
            seed=loop.training.seed,
            feature_names=loop.features.columns,
            nthread=settings.threads,
        )
        judged = judge_frame(
            settings,
            loop,
            planted.frame,
            last=last,
            model=model,
            logistic=fit_logistic(matrix, labels, loop),
            constant=constant_rate(labels),
            is_first=False,
        )
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
