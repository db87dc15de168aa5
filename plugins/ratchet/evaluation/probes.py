"""Rows made to try a candidate: scores that must not move, must move one way, or must stay usable.

A sample of the evaluation rows is changed in the ways that the loop file declares (Breck et al. 2017, the ML Test
Score, and metamorphic testing: Chen, Cheung and Yiu 1998). The rows are made here, scored wherever the candidate
is scored, and measured here; nothing is random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ratchet.evaluation.facts import GateResult, gate
from ratchet.evaluation.intervals import Floats
from ratchet.training.encode import feature_matrix

if TYPE_CHECKING:
    from ratchet.loop import Loop

ROWS = 400  # of the evaluation rows, evenly spaced
LAST_BITS = 1e-12  # relative change: some thousand times the spacing of float64
DIGITS = 9
SLACK = 1e-7  # a score is a float32: this much against the declared direction is rounding
UNSEEN = "(never seen)"


@dataclass(frozen=True)
class Probes:
    """The rows to score, and which of them are which (`start`, `stop` by name). `base` are the unchanged ones."""

    matrix: Floats
    blocks: Mapping[str, tuple[int, int]]


def probes_of(loop: Loop, frame: pd.DataFrame) -> Probes:
    """The probes made from evaluation rows: one matrix in the contract's column order.

    Raises:
        ValueError: no row, or a feature is absent or unusable.
    """
    if frame.empty:
        raise ValueError("no evaluation row to make probes from")
    sample = frame.iloc[:: -(-len(frame) // ROWS)]
    base = feature_matrix(sample, loop)
    names, numeric = list(loop.features.columns), len(loop.features.numeric)
    rules = loop.gates.evaluation.mutations
    parts: dict[str, Floats] = {"base": base}
    sign = np.where(np.arange(base.size).reshape(base.shape) % 2, 1.0, -1.0)
    jittered = base.copy()
    jittered[:, :numeric] *= 1 + LAST_BITS * sign[:, :numeric]
    parts["last_bits"] = jittered
    parts["float32"] = base.astype(np.float32).astype(np.float64)
    parts["extremes"] = _extremes(feature_matrix(frame, loop), base[0])
    for name, step in rules.invariant.items():
        for direction, word in ((1, "up"), (-1, "down")):
            parts[f"invariant:{name}:{word}"] = _shifted(base, names.index(name), direction * step)
    for name, way in rules.monotone.items():
        place = names.index(name)
        parts[f"monotone:{name}"] = _shifted(base, place, _step(base[:, place]) * (1 if way == "up" else -1))
    parts["missing"] = _missing(base)
    parts["unseen_category"] = _unseen(loop, sample)
    blocks, start = {}, 0
    for name, rows in parts.items():
        blocks[name] = (start, start + len(rows))
        start += len(rows)
    return Probes(np.vstack(list(parts.values())), blocks)


def _extremes(matrix: Floats, typical: Floats) -> Floats:
    """A typical row with each feature at its least and largest value seen, and all of them at once."""
    none = np.isnan(matrix)
    low = np.where(none, np.inf, matrix).min(axis=0)
    high = np.where(none, -np.inf, matrix).max(axis=0)
    low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
    rows = [low, high]
    for place in range(matrix.shape[1]):
        for value in (low[place], high[place]):
            row = typical.copy()
            row[place] = value
            rows.append(row)
    return np.vstack(rows)


def _shifted(base: Floats, place: int, step: float) -> Floats:
    changed = base.copy()
    changed[:, place] += step
    return changed


def _step(values: Floats) -> float:
    """How far a feature is moved to see its direction: its spread, or 1 when all values are equal."""
    known = values[~np.isnan(values)]
    spread = float(known.std()) if len(known) else 0.0
    return spread if spread > 0 else 1.0


def _missing(base: Floats) -> Floats:
    """Every feature missing at once, then each alone in up to 20 rows."""
    few = base[:20]
    parts = [np.full((1, base.shape[1]), np.nan)]
    for place in range(base.shape[1]):
        changed = few.copy()
        changed[:, place] = np.nan
        parts.append(changed)
    return np.vstack(parts)


def _unseen(loop: Loop, sample: pd.DataFrame) -> Floats:
    few = sample.iloc[:20]
    parts = [feature_matrix(few.assign(**dict.fromkeys(loop.features.categorical, UNSEEN)), loop)]
    parts += [feature_matrix(few.assign(**{name: UNSEEN}), loop) for name in loop.features.categorical]
    return np.vstack(parts)


def probe_evidence(loop: Loop, probes: Probes, scores: Floats) -> dict[str, Any]:
    """What the scores of `probes.matrix` show, plain and rounded: what `probe_gates` judges.

    Raises:
        ValueError: there are not as many scores as rows.
    """
    if scores.shape != (len(probes.matrix),):
        raise ValueError(f"{scores.shape} scores for {len(probes.matrix)} probes")

    def of(name: str) -> Floats:
        start, stop = probes.blocks[name]
        return np.asarray(scores[start:stop], dtype=np.float64)

    def span(name: str) -> list[float]:
        return [round(float(of(name).min()), DIGITS), round(float(of(name).max()), DIGITS)]

    base = of("base")
    rules = loop.gates.evaluation.mutations
    invariant, monotone = {}, {}
    for name in rules.invariant:
        moved = [np.abs(of(f"invariant:{name}:{word}") - base).mean() for word in ("up", "down")]
        invariant[name] = round(float(max(moved)), DIGITS)
    names = list(loop.features.columns)
    for name, direction in rules.monotone.items():
        start, _ = probes.blocks["base"]
        known = ~np.isnan(probes.matrix[start : start + len(base), names.index(name)])
        # Both directions move the feature so that the score must not fall.
        fall = (base - of(f"monotone:{name}"))[known]
        monotone[name] = {
            "direction": direction,
            "rows": int(known.sum()),
            "violations": int((fall > SLACK).sum()),
        }
    return {
        "rows": len(base),
        "probes": len(probes.matrix),
        "not_finite": int((~np.isfinite(scores)).sum()),
        "last_bits": round(float(np.abs(of("last_bits") - base).max()), DIGITS),
        "float32": round(float(np.abs(of("float32") - base).max()), DIGITS),
        "extremes": span("extremes"),
        "missing": span("missing"),
        "unseen_category": span("unseen_category"),
        "invariant": invariant,
        "monotone": monotone,
    }


def probe_gates(loop: Loop, sums: Mapping[str, Any]) -> list[GateResult]:
    """The answers on stability, and on each kind of mutation."""
    found = sums.get("mutations")
    if not found or not found["rows"] or found["not_finite"] != 0:
        reason = (
            f"{found['not_finite']} scores are not numbers"
            if found and found["rows"]
            else "nothing was tried"
        )
        return [gate(name, False, f"not judged: {reason}") for name in NAMES]
    rules, tolerance = loop.gates.evaluation.mutations, loop.gates.evaluation.stability
    tried = f"{found['probes']} rows made from {found['rows']}"
    moved = max(found["last_bits"], found["float32"])
    low, high = found["extremes"]
    results = [
        gate(
            "stability",
            moved <= tolerance and 0 <= low <= high <= 1,
            f"rounding of inputs moves a score by at most {moved:.2g}, limit {tolerance:g}; scores at the ends of "
            f"each feature's range lie in [{low:.4f}, {high:.4f}]; {tried}",
            last_bits=found["last_bits"],
            float32=found["float32"],
            extremes=found["extremes"],
        ),
        _invariant(rules.invariant, rules.invariant_tolerance, found["invariant"]),
        _monotone(rules.monotone, rules.monotone_violations, found["monotone"]),
    ]
    least, most = rules.score_bounds
    for kind in ("missing", "unseen_category"):
        low, high = found[kind]
        results.append(
            gate(
                f"mutation_{kind}",
                least <= low <= high <= most,
                f"scores lie in [{low:.4f}, {high:.4f}], allowed [{least:g}, {most:g}]",
                scores=found[kind],
            )
        )
    return results


NAMES = (
    "stability",
    "mutation_invariant",
    "mutation_monotone",
    "mutation_missing",
    "mutation_unseen_category",
)


def _invariant(declared: Mapping[str, float], limit: float, found: Mapping[str, float]) -> GateResult:
    bad = [name for name in declared if not found[name] <= limit]
    if not declared:
        return gate("mutation_invariant", True, "the loop file declares no change that must not matter")
    most = max(declared, key=lambda name: (found[name], name))
    return gate(
        "mutation_invariant",
        not bad,
        f"{', '.join(bad) or 'no feature'} moves the score more than it should: {most} changed by "
        f"{declared[most]:g} moves it by {found[most]:.4f} on average, limit {limit:g}",
        moved=dict(found),
    )


def _monotone(
    declared: Mapping[str, str], limit: float, found: Mapping[str, Mapping[str, Any]]
) -> GateResult:
    if not declared:
        return gate("mutation_monotone", True, "the loop file declares no direction")
    shares = {
        name: found[name]["violations"] / found[name]["rows"] if found[name]["rows"] else None
        for name in declared
    }
    bad = [name for name, share in shares.items() if share is None or not share <= limit]
    told = ", ".join(
        f"{name} {declared[name]}: {found[name]['violations']} of {found[name]['rows']} rows"
        for name in declared
    )
    return gate(
        "mutation_monotone",
        not bad,
        f"{', '.join(bad) or 'no feature'} goes against its declared direction: {told}; limit {limit:g}",
        monotone={name: dict(found[name]) for name in declared},
    )
