"""Judge a candidate on a frame's later rows: score it in a child, sum, and let the gates answer from the sums."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from ratchet.evaluation.facts import CandidateFacts
from ratchet.evaluation.gates import judge, reasons_of
from ratchet.evaluation.intervals import Floats
from ratchet.evaluation.leak import leak_evidence
from ratchet.evaluation.probes import probe_evidence, probes_of
from ratchet.evaluation.sums import (
    CANDIDATE,
    CHAMPION,
    CONSTANT,
    LOGISTIC,
    OLD_ROWS,
    Window,
    day_sums,
    losses,
    summarise,
)
from ratchet.evaluation.terms import loop_with, terms_of_evaluation
from ratchet.experiment.paired import ratio_estimate
from ratchet.ledger.chain import canonical, plain
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.registry.models import Registry
from ratchet.scoring.child import Pair, Scored, score_pairs
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import offered, sha256_of
from ratchet.training.candidate import Candidate
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.recipe import Split, rolling_splits

PROBES = "probes"


@dataclass(frozen=True)
class Champion:
    """What a candidate is compared with: the model that serves now.

    `judged_end` is the last training day of its own evaluation, `rows_end` the last day of all rows it knows.
    """

    version: int
    model: bytes
    judged_end: date
    rows_end: date


def serving_champion(settings: Settings, loop: Loop) -> Champion | None:
    """What serves now, its bytes after their hash was compared with the ledger; None when nothing ever did.

    Raises:
        ArtifactRefused: it is not the one that the ledger recorded.
    """
    entries = ledger_of(settings).entries(loop.loop)
    version = fold(entries).champion_version
    if version is None:
        return None
    # Like for like: where the champion's judged fit ended; what serves was fitted on all its rows.
    terms = offered(entries, version).payload
    return Champion(
        version,
        Registry(settings).model_bytes(loop.loop, version, sha256_of(entries, version)),
        date.fromisoformat(terms["judged_train_end"]),
        date.fromisoformat(terms["serving_train_end"]),
    )


def judge_frame(
    loop: Loop, frame: pd.DataFrame, candidate: Candidate, champion: Champion | None, last: date | None = None
) -> dict[str, Any]:
    """The evaluation of a candidate made from `frame`, as plain data: verdict, gates, and all that they rest on.

    `terms`, `sums` and `facts` are what the verdict follows from: `ratchet.evaluation.gates.judge_recorded` gives
    it again from them.

    Raises:
        ScoringFailed: a model crashed, hung or gave unusable scores.
        TooLittleData: the frame can't be split.
    """
    splits = rolling_splits(frame, loop, last)
    if len(candidate.judged) != len(splits):
        raise ValueError(f"{len(candidate.judged)} judged models for {len(splits)} windows: fit it again")
    newest = splits[-1]
    scored = _scored(loop, splits, candidate, champion)
    matrix = feature_matrix(newest.holdout, loop)
    windows = [
        Window(
            train_start=split.train_start,
            train_end=split.train_end,
            start=split.holdout_start,
            end=split.holdout_end,
            train_rows=len(split.train),
            overlapping_units=_overlap(split),
            frame=split.holdout,
            scores=_scores(i, split, candidate, scored),
        )
        for i, split in enumerate(splits)
    ]
    name = f"window_{len(splits) - 1}"
    logistic = {**windows[-1].scores, LOGISTIC: candidate.logistic.predict(matrix)}
    windows[-1] = Window(**{**windows[-1].__dict__, "scores": logistic})
    probes = probes_of(loop, newest.holdout)
    labels = label_vector(newest.holdout)
    found = {
        "leak": leak_evidence(newest.holdout, loop.features.columns),
        "mutations": probe_evidence(loop, probes, scored[name, PROBES].scores),
        "ablation": {
            "rows": candidate.ablation.rows,
            "seconds": dict(candidate.ablation.seconds),
            "absent": dict(candidate.ablation.absent),
            "losses": {
                group: day_sums(
                    newest.holdout,
                    losses(loop.metrics.primary, labels, scored[f"without_{i}", name].scores),
                )
                for i, group in enumerate(candidate.ablation.models)
            },
        },
    }
    facts = CandidateFacts(
        train_start=newest.train_start,
        train_end=newest.train_end,
        eval_start=newest.holdout_start,
        eval_end=newest.holdout_end,
        champion_train_end=None if champion is None else champion.judged_end,
        champion_rows_end=None if champion is None else champion.rows_end,
        feature_columns=tuple(loop.features.columns),
        train_rows=len(newest.train),
        overlapping_units=windows[-1].overlapping_units,
        model_bytes=len(candidate.serving),
        latency_ms_per_1000=_latency(scored[name, name], matrix),
        training_seconds=round(candidate.seconds, 3),
        training_megabytes=round(candidate.megabytes, 1),
        champion_bytes=0 if champion is None else len(champion.model),
        champion_latency_ms_per_1000=np.nan if champion is None else _latency(scored[CHAMPION, name], matrix),
    )
    # What is judged is what the record gives back, to the last digit and in the order of its keys.
    given = {"terms": terms_of_evaluation(loop), "sums": summarise(loop, windows, found)}
    record = json.loads(canonical(plain({**given, "facts": facts.evidence()})))
    evaluation = judge(loop_with(record["terms"]), record["sums"], record["facts"])
    return {
        **evaluation.to_json(),
        **record,
        "reasons": reasons_of(evaluation),
        "champion_version": None if champion is None else champion.version,
        "promise": _promise(newest.holdout, scored[name, name].scores, candidate.constants[-1]),
    }


def _scored(
    loop: Loop, splits: tuple[Split, ...], candidate: Candidate, champion: Champion | None
) -> dict[Pair, Scored]:
    """Every score that is needed, from one child."""
    models: dict[str, bytes] = {f"window_{i}": model for i, model in enumerate(candidate.judged)}
    matrices = {f"window_{i}": feature_matrix(split.holdout, loop) for i, split in enumerate(splits)}
    newest = f"window_{len(splits) - 1}"
    matrices[PROBES] = probes_of(loop, splits[-1].holdout).matrix
    pairs: list[Pair] = [(name, name) for name in matrices if name != PROBES]
    pairs.append((newest, PROBES))
    if champion is not None:
        models[CHAMPION] = champion.model
        pairs += [
            (CHAMPION, f"window_{i}")
            for i, split in enumerate(splits)
            if split is splits[-1] or split.holdout_start > champion.rows_end
        ]
    if candidate.old_rows is not None:
        models[OLD_ROWS] = candidate.old_rows
        pairs.append((OLD_ROWS, newest))
    for i, content in enumerate(candidate.ablation.models.values()):
        models[f"without_{i}"] = content
        pairs.append((f"without_{i}", newest))
    return score_pairs(models, matrices, pairs, time_limit_seconds=300)


def _scores(
    i: int, split: Split, candidate: Candidate, scored: dict[Pair, Scored]
) -> dict[str, Floats | None]:
    name = f"window_{i}"
    found: dict[str, Floats | None] = {
        CANDIDATE: scored[name, name].scores,
        CONSTANT: np.full(len(split.holdout), candidate.constants[i]),
    }
    for other in (CHAMPION, OLD_ROWS):
        if (other, name) in scored:
            found[other] = scored[other, name].scores
    return found


def _overlap(split: Split) -> int:
    return len(set(split.train["unit_id"]) & set(split.holdout["unit_id"]))


def _latency(scored: Scored, matrix: Floats) -> float:
    return 1e6 * scored.seconds / max(len(matrix), 1)


def _promise(holdout: pd.DataFrame, scores: Floats, training_rate: float) -> dict[str, Any]:
    """The candidate's log loss on the holdout with its error over days: what monitoring holds it to."""
    loss = losses("log_loss", label_vector(holdout), scores)
    estimate = ratio_estimate(day_sums(holdout, loss), day_sums(holdout, np.ones(len(loss))))
    return {
        "log_loss": estimate.value,
        "standard_error": estimate.standard_error,
        "training_rate": training_rate,
        "until": max(holdout["departure_date"]),
    }
