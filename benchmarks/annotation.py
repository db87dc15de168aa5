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
_ROUNDS, _INTERVALS = 200, 1_000


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
        *_alphas(rng),
        Figure("drift said of who does not drift", 100 * calm / (3 * _ROUNDS), "%", 5,
               note="three annotators, 160 answers"),
        Figure("drift from 5 to 45 % errors found", 100 * tired / _ROUNDS, "%", 90, "higher",
               f"as the largest drop; of the two others {100 * others / (2 * _ROUNDS):.0f} % were named with it"),
        *_errors(rng, seed),
    ]  # fmt: skip


def _alphas(rng: np.random.Generator) -> list[Figure]:
    """How far alpha is off, and how often its interval covers, for few and many answers and errors."""
    rows = []
    for items, rate, people in ((100, 0.1, "ab"), (30, 0.02, "ab"), (300, 0.3, "abc")):
        same = (1 - rate) ** 2 + rate**2 / (len(_KINDS) - 1)
        truth = 1 - (1 - same) / (1 - 1 / len(_KINDS))
        hits, off = 0, []
        for _ in range(_INTERVALS):
            found = alpha(_labels(items, dict.fromkeys(people, (rate, rate)), rng), 30)
            if found.value is None or found.low is None or found.high is None:
                raise RuntimeError(f"no alpha: {found.reason}")
            hits += found.low <= truth <= found.high
            off.append(found.value - truth)
        if not rows:
            rows.append(
                Figure("agreement, alpha minus truth", abs(float(np.mean(off))), "", 0.02, note=f"truth {truth:.3f}; "
                       f"{_INTERVALS} simulations of 100 answers, two annotators who err 1 time in 10")
            )  # fmt: skip
        said = f"agreement, 95 % intervals that cover: {items} answers, {len(people)} annotators, {rate:.0%} errors"
        rows.append(Figure(said, 100 * hits / _INTERVALS, "%", 94, "higher", f"{_INTERVALS} simulations"))
    return rows


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
