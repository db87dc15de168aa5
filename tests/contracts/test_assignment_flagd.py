"""Batch scoring and a serving system put a unit into the same arm: ours against OpenFeature with flagd."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from ratchet.experiment.assignment import assign
from ratchet.scoring.routing import Routing

api = pytest.importorskip("openfeature.api")
IDS = [f"{c}{n}-{o}-2013{m:02d}14-0515" for c in ("UA", "9E") for o in ("EWR", "LGA") for m in (5, 6)
       for n in range(3125)]  # fmt: skip


def _routing(share: float) -> Routing:
    return Routing(
        loop="flights",
        champion_version=1,
        champion_sha256="a",
        decided_as_of=datetime(2013, 5, 14),
        decision="d",
        experiment_id="flights-v2-20130514",
        challenger_version=2,
        challenger_sha256="b",
        stage="s",
        share=share,
    )


def _resolve(folder: Path, documents: dict[str, dict], key_of: dict[str, str]) -> dict[str, list[str | None]]:
    """The variant of each id, per document, as the SDK with flagd's file resolver gives it."""
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType
    from openfeature.evaluation_context import EvaluationContext

    answers: dict[str, list[str | None]] = {}
    for name, document in documents.items():
        path = folder / f"{name}.flagd.json"
        path.write_text(json.dumps(document))
        api.set_provider_and_wait(
            FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(path)), domain=name
        )
        client = api.get_client(domain=name)
        answers[name] = [
            client.get_integer_details(key_of[name], -1, EvaluationContext(targeting_key=unit)).variant
            for unit in IDS
        ]
    api.shutdown()
    assert all(set(arms) <= {"challenger", "rest", "control"} for arms in answers.values())
    return answers


def test_the_copy_agrees_with_flagd_and_never_swaps_arms(tmp_path: Path) -> None:
    assert len(IDS) == len(set(IDS)) == 25_000
    held = replace(_routing(0.05), experiment_id="flights-v2-20130514-holdback", challenger_version=None,
                   challenger_sha256=None, champion_version=2, holdback_version=1, holdback_sha256="a")  # fmt: skip
    routings = {"canary": _routing(0.05), "wide": _routing(0.25), "ab": _routing(0.5), "held": held}
    resolved = _resolve(
        tmp_path,
        {name: routing.document() for name, routing in routings.items()},
        {name: routing.flag_key() for name, routing in routings.items()},
    )
    compared = 0
    for name, routing in routings.items():
        ours = assign(IDS, routing.flag_key(), routing.variants()).tolist()
        assert ours == resolved[name]
        compared += len(ours)
    assert compared == 100_000
    for before, after in (("canary", "wide"), ("wide", "ab")):
        moved = [
            (x, y)
            for x, y in zip(resolved[before], resolved[after], strict=True)
            if x in ("challenger", "control") and x != y
        ]
        assert moved == []


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    routing = _routing(0.25)
    resolved = _resolve(tmp_path, {"one": routing.document()}, {"one": routing.flag_key()})["one"]
    assert assign(IDS, "another-key", routing.variants()).tolist() != resolved
