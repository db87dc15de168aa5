"""Recipes trained and judged side by side on a snapshot, with nothing of it in reach of what serves.

It reads a snapshot and the champion's bytes; it writes its own folder and its own MLflow experiment. It opens no
warehouse, appends to no ledger, and imports nothing that writes a routing file, an alias or an offer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from ratchet.certificate.page import comparison_page
from ratchet.evaluation.intervals import losses
from ratchet.evaluation.sums import CANDIDATE, day_sums
from ratchet.ledger.chain import canonical, plain
from ratchet.loop import Loop
from ratchet.published import write_atomically
from ratchet.registry.runs import SandboxRuns
from ratchet.sandbox.comparison import compared
from ratchet.sandbox.spec import DECLARED, CandidateSpec, Spec, SpecError, has_all_features, variant
from ratchet.scoring.child import ScoringFailed, score_in_child
from ratchet.settings import Settings
from ratchet.stages.judging import Champion, judge_frame, serving_champion
from ratchet.stages.provenance import code_version, environment
from ratchet.stages.snapshots import NoSnapshot, find_snapshot, read_snapshot, snapshots
from ratchet.training.candidate import make_candidate
from ratchet.training.encode import feature_matrix, label_vector
from ratchet.training.recipe import rolling_splits

Log = Callable[[str], None]
CHAMPION = "champion"


def folder(settings: Settings, loop: Loop, name: str) -> Path:
    """Where an experiment's results lie."""
    return settings.home / "sandbox" / loop.loop / name


def run(
    settings: Settings, loop: Loop, spec: Spec, log: Log, step: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Train and judge every candidate of `spec` and the loop file's own recipe; what was found, as plain data.

    The same experiment on the same snapshot, champion and code has the same name, and gives the same answer.
    `step` is told each candidate that was finished.

    Raises:
        SpecError: the snapshot that it names is not there.
        TooLittleData: the snapshot can't be split.
    """
    manifest = _snapshot(settings, loop, spec)
    frame, last = read_snapshot(settings, loop, manifest), date.fromisoformat(manifest["window"][1])
    champion = serving_champion(settings, loop)
    version = None if champion is None else champion.version
    asked = {
        "spec": spec.model_dump(mode="json"),
        "snapshot": manifest["id"],
        "champion_version": version,
        "code": code_version(settings.root)["commit"],
        "loop": hashlib.sha256(canonical(loop.model_dump(mode="json")).encode()).hexdigest(),
    }
    name = hashlib.sha256(canonical(asked).encode()).hexdigest()[:12]
    runs, results, sums = SandboxRuns(settings, loop.loop), [], {}
    # The loop file's own recipe is fitted as declared: a search would make it another one.
    declared = CandidateSpec.model_construct(
        name=DECLARED, params={}, features=(), drop=(), seed=None, search_trials=0
    )
    for candidate in (declared, *spec.candidates):
        result, windows = _tried(settings, loop, candidate, frame, last, champion)
        log(f"{candidate.name}: {result['verdict']}: {'; '.join(result['reasons'][:2])}")
        metrics = {k: v for k, v in result["metrics"].items() if v is not None}
        result["run_id"] = runs.log(
            sandbox=name,
            name=candidate.name,
            params=result["params"],
            metrics=metrics,
            verdict=result["verdict"],
        )
        results.append(result)
        if windows:
            sums[candidate.name] = windows
        step(candidate.name)
    found = {
        "name": name,
        **asked,
        "environment": environment(settings.root),
        "rows": len(frame),
        "metric": loop.metrics.primary,
        "alpha": loop.gates.evaluation.alpha,
        "candidates": results,
        "comparisons": _comparisons(loop, frame, last, sums, champion),
    }
    document = plain(found)
    content = json.dumps(document, sort_keys=True, indent=1).encode()
    own = folder(settings, loop, name)
    write_atomically(own / "page.html", comparison_page(document).encode())
    write_atomically(own / "result.json", content)
    return dict(document)


def _snapshot(settings: Settings, loop: Loop, spec: Spec) -> dict[str, Any]:
    if spec.snapshot != "latest":
        try:
            return find_snapshot(settings, loop, spec.snapshot)
        except NoSnapshot as error:
            raise SpecError(str(error)) from None
    known = snapshots(settings, loop)
    if not known:
        raise SpecError(f"loop {loop.loop} has no snapshot yet: a training takes the first")
    return known[-1]


def _tried(
    settings: Settings,
    loop: Loop,
    spec: CandidateSpec,
    frame: pd.DataFrame,
    last: date,
    champion: Champion | None,
) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """One candidate's result, and its sums by window (none if it could not be scored)."""
    own, beside = variant(loop, spec), champion if has_all_features(spec, loop) else None
    candidate = make_candidate(
        own,
        frame,
        last,
        champion_rows_end=None if beside is None else beside.rows_end,
        nthread=settings.threads,
    )
    told: dict[str, Any] = {
        "name": spec.name,
        "features": list(own.features.columns),
        "params": dict(candidate.params),
        "seed": own.training.seed,
        "seconds": candidate.seconds,
        "model_bytes": len(candidate.serving),
        "model_sha256": hashlib.sha256(candidate.serving).hexdigest(),
        "champion_gates": beside is not None,
    }
    try:
        judged = judge_frame(own, frame, candidate, beside, last)
    except ScoringFailed as failed:
        refused = {"verdict": "refuse", "reasons": [str(failed)], "gates": [], "metrics": {}}
        return {**told, **refused}, []
    refusals = [gate["name"] for gate in judged["gates"] if gate["verdict"] == "refuse"]
    kept = {
        "verdict": judged["verdict"],
        "reasons": judged["reasons"],
        "refused_by": refusals,
        "gates": len(judged["gates"]),
        "metrics": judged["metrics"].get(CANDIDATE, {}),
    }
    return {**told, **kept}, list(judged["sums"]["windows"])


def _comparisons(
    loop: Loop,
    frame: pd.DataFrame,
    last: date,
    sums: Mapping[str, list[Mapping[str, Any]]],
    champion: Champion | None,
) -> list[dict[str, Any]]:
    """Every candidate against the champion, the declared recipe and the others, on the windows of the snapshot."""
    metric, alpha = loop.metrics.primary, loop.gates.evaluation.alpha
    usable = {
        name: {w["start"]: w["scorers"][CANDIDATE][metric] for w in windows if CANDIDATE in w["scorers"]}
        for name, windows in sums.items()
    }
    if not usable:
        return []
    rows = {w["start"]: w["rows"] for w in next(iter(sums.values()))}
    references = {DECLARED: usable[DECLARED]} if DECLARED in usable else {}
    if champion is not None:
        known: dict[str, list[float]] = {}
        for split in rolling_splits(frame, loop, last):
            # On rows that it learnt from the champion would look better than it is.
            if split.holdout_start <= champion.rows_end:
                continue
            scores = score_in_child({CHAMPION: champion.model}, feature_matrix(split.holdout, loop))[
                CHAMPION
            ].scores
            start = split.holdout_start.isoformat()
            known[start] = day_sums(split.holdout, losses(metric, label_vector(split.holdout), scores))
        references = {CHAMPION: known, **references}
    return [one.to_json(alpha) for one in compared(rows, usable, references, alpha)]
