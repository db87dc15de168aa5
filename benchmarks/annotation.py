"""What the annotation report says of simulated annotators whose error rates are known."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from benchmarks.report import Figure
from ratchet.annotation.agreement import alpha, annotators
from ratchet.annotation.errors import Labelled, suspects
from ratchet.annotation.labels import Label, resolve
from ratchet.loop_feedback import Annotation
from ratchet.replay.complaints import SAID, topic_texts

_KINDS = tuple(sorted(SAID))
_START = datetime(2013, 5, 1)
_ROUNDS = 200


def _labels(items: int, errors: dict[str, tuple[float, float]], rng: np.random.Generator) -> list[Label]:
    """Labels of annotators who err with one rate in the first half and another in the second."""
    found = []
    for n in range(items):
        truth = int(rng.integers(len(_KINDS)))
        for name, (early, late) in errors.items():
            off = (
                int(rng.integers(1, len(_KINDS))) if rng.random() < (early if n < items / 2 else late) else 0
            )
            at = _START + timedelta(minutes=n)
            said = _KINDS[(truth + off) % len(_KINDS)]
            found.append(Label(f"f{n:05}", name, said, "1", at, at, "simulated"))
    return found


def agreement(seed: int) -> list[Figure]:
    """Alpha against the truth that the error rates make, drift found and wrongly found, planted label errors."""
    rng, terms = np.random.default_rng(seed), Annotation()
    same = 0.9**2 + 0.1**2 / (len(_KINDS) - 1)
    truth = 1 - (1 - same) / (1 - 1 / len(_KINDS))
    hits, off = 0, []
    for n in range(_ROUNDS):
        found = alpha(_labels(100, {"a": (0.1, 0.1), "b": (0.1, 0.1)}, rng), n, 30)
        if found.value is None or found.low is None or found.high is None:
            raise RuntimeError(f"no alpha: {found.reason}")
        hits += found.low <= truth <= found.high
        off.append(found.value - truth)
    calm = tired = others = 0
    for n in range(_ROUNDS):
        steady = _labels(160, {"a": (0.1, 0.1), "b": (0.1, 0.1), "c": (0.1, 0.1)}, rng)
        calm += sum(one.is_drifting for one in annotators(steady, resolve(steady, terms), (), n))
        moved = _labels(160, {"a": (0.1, 0.1), "b": (0.1, 0.1), "c": (0.05, 0.45)}, rng)
        told = annotators(moved, resolve(moved, terms), (), n)
        worst = min(told, key=lambda one: one.drift.value or 0.0)
        tired += worst.name == "c" and worst.is_drifting
        others += sum(one.is_drifting for one in told if one.name != "c")
    return [
        Figure("agreement, alpha minus truth", abs(float(np.mean(off))), "", 0.02, note=f"truth {truth:.3f}; "
               f"{_ROUNDS} simulations of 100 answers, two annotators who err 1 time in 10"),
        Figure("agreement, 95 % intervals that cover", 100 * hits / _ROUNDS, "%", 90, "higher"),
        Figure("drift said of who does not drift", 100 * calm / (3 * _ROUNDS), "%", 5,
               note="three annotators, 160 answers"),
        Figure("drift from 5 to 45 % errors found", 100 * tired / _ROUNDS, "%", 90, "higher",
               f"as the largest drop; of the two others {100 * others / (2 * _ROUNDS):.0f} % were named with it"),
        *_errors(rng, seed),
    ]  # fmt: skip


def _errors(rng: np.random.Generator, seed: int) -> list[Figure]:
    items, wrong = [], set()
    for n, (text, _, truth) in enumerate(topic_texts(SAID, 800, seed)):
        said = truth
        if rng.random() < 0.08:
            said = _KINDS[(_KINDS.index(truth) + int(rng.integers(1, len(_KINDS)))) % len(_KINDS)]
            wrong.add(f"f{n:05}")
        items.append(Labelled(f"f{n:05}", text, said, f"{n:05}"))
    found = suspects(items, seed)
    judged = {one.feedback_id for one in items[len(items) - found.judged :]}
    named = {one.feedback_id for one in found.found}
    there = wrong & judged
    return [
        Figure("planted label errors named", 100 * len(named & there) / len(there), "%", None, "higher",
               f"{len(there)} of {found.judged} judged labels were wrong; simulated texts"),
        Figure("named labels that were wrong", 100 * len(named & wrong) / max(len(named), 1), "%", None, "higher",
               f"{len(named)} named"),
    ]  # fmt: skip
