"""The safe baseline: a constant at the training's share of positives serves, because nothing better can.

It is a model like any other: registered, its hash in the ledger, scored in a child process. It is held to what the one
before it promised, so that the policy goes on asking for a retrain; it is no target of a later rollback.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.registry.models import Registry
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.stages.rollback import NoTarget, takes_effect
from ratchet.stages.serving import offered, project

Log = Callable[[str], None]


def constant_model(features: tuple[str, ...], rate: float) -> bytes:
    """XGBoost's JSON of a model that gives every row the score `rate`.

    Raises:
        ValueError: `rate` does not lie between 0 and 1.
    """
    import xgboost

    if not 0 < rate < 1:
        raise ValueError(f"the share of positives is {rate}: a constant needs one between 0 and 1")
    data = xgboost.DMatrix(
        np.full((1, len(features)), np.nan), label=np.zeros(1), feature_names=list(features)
    )
    booster = xgboost.train({"objective": "binary:logistic", "base_score": rate}, data, num_boost_round=0)
    return bytes(booster.save_raw("json"))


def serve_constant(
    settings: Settings, loop: Loop, *, leaving: int, reason: str, decision: str, log: Log
) -> int:
    """Let a constant serve instead of version `leaving`, which is withdrawn; the constant's version. Twice is once.

    Raises:
        NoTarget: another version serves than `leaving`; nothing was changed.
    """
    ledger = ledger_of(settings)
    key = f"baseline:{decision}"
    entry = ledger.find(loop.loop, key)
    if entry is None:
        entries = ledger.entries(loop.loop)
        state = fold(entries)
        if state.champion_version != leaving:
            raise NoTarget(f"version {leaving} does not serve, version {state.champion_version} does")
        was = offered(entries, leaving).payload
        evaluation = next(
            e for e in entries if e.kind == "evaluation" and e.payload["request"] == was["request"]
        )
        rate = float(evaluation.payload["promise"]["training_rate"])
        registered = Registry(settings).register(
            loop=loop.loop, request=key, model_json=constant_model(loop.features.columns, rate),
            inputs=loop.features.columns, documents={}, params={"constant": rate}, metrics={},
        )  # fmt: skip
        kept = ("request", "snapshot_sha256", "serving_train_end", "judged_train_end", "evaluation")
        entry = ledger.append(
            loop=loop.loop, kind="baseline", key=key, as_of=takes_effect(settings, loop, state), actor=decision,
            payload={
                **{name: was.get(name) for name in kept},
                "categories": [[name, list(values)] for name, values in loop.features.categorical.items()],
                "model_version": registered.version, "model_sha256": registered.sha256, "run_id": registered.run_id,
                "from": leaving, "constant": rate, "reason": reason, "urgent": decision,
                "ended": [t.experiment_id for t in (state.rollout, state.holdback) if t is not None],
            },
        )  # fmt: skip
    routing = project(settings, loop)
    log(f"version {routing.champion_version}, the constant {entry.payload['constant']:.4f}, serves")
    return int(entry.payload["model_version"])
