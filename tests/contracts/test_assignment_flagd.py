"""Batch scoring and a serving system put a unit into the same arm: ours against OpenFeature with flagd."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from ratchet.experiment.admission import Admission
from ratchet.experiment.assignment import assign
from ratchet.scoring.routing import KeptVersion, Routing

api = pytest.importorskip("openfeature.api")
IDS = [f"{c}{n}-{o}-2013{m:02d}14-0515" for c in ("UA", "9E") for o in ("EWR", "LGA") for m in (5, 6)
       for n in range(3125)]  # fmt: skip
#: Values by unit: some of no cohort that is known, some of a type that no cohort has, some absent.
ORIGINS = [("EWR", "JFK", "LGA", "XXX", None)[n % 5] for n in range(len(IDS))]
CARRIERS = [("UA", "9E", "HA", 7, "OO", "", "uA")[n % 7] for n in range(len(IDS))]
VALUES = {"origin": ORIGINS, "carrier": CARRIERS}
ADMITTED = Admission.of(
    {"origin": ["EWR", "JFK", "LGA"], "carrier": ["UA", "9E", "OO"]}, {"carrier=HA": "12 units"}
)
KEPT = KeptVersion(7, "c", Admission.of({"origin": ["EWR", "LGA", "JFK", "XXX"], "carrier": ["UA", "9E", "HA"]},
                                        {"carrier=OO": "3 units"}))  # fmt: skip


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


def _attributes(n: int) -> dict[str, str | int]:
    return {name: own[n] for name, own in VALUES.items() if own[n] is not None}


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
            client.get_integer_details(key_of[name], -1, EvaluationContext(unit, _attributes(n))).variant
            for n, unit in enumerate(IDS)
        ]
    api.shutdown()
    known = {"challenger", "rest", "control", "excluded", KEPT.variant}
    assert all(set(arms) <= known for arms in answers.values())
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


def test_excluded_cohorts_are_kept_apart_in_both_and_nobody_else_moves(tmp_path: Path) -> None:
    trial = replace(_routing(0.25), admission=ADMITTED, kept=(KEPT,))
    after = replace(
        _routing(0.0), experiment_id=None, challenger_version=None, challenger_sha256=None, kept=(KEPT,)
    )
    held = replace(_routing(0.05), challenger_version=None, challenger_sha256=None, champion_version=2,
                   holdback_version=1, holdback_sha256="a", kept=(KEPT, replace(KEPT, version=1)))  # fmt: skip
    routings = {"trial": trial, "shadow": replace(trial, share=0.0), "after": after, "held": held}
    resolved = _resolve(
        tmp_path,
        {name: routing.document() for name, routing in routings.items()},
        {name: routing.flag_key() for name, routing in routings.items()},
    )
    compared = 0
    for name, routing in routings.items():
        ours = routing.arms(IDS, VALUES).tolist()
        assert ours == resolved[name]
        compared += len(ours)
    assert compared == 100_000
    kept = [
        origin is None or carrier not in ("UA", "9E", "HA")
        for origin, carrier in zip(ORIGINS, CARRIERS, strict=True)
    ]
    out = [not k and (o == "XXX" or c == "HA") for k, o, c in zip(kept, ORIGINS, CARRIERS, strict=True)]
    free = assign(IDS, trial.flag_key(), trial.variants())
    expected = [
        KEPT.variant if k else "excluded" if x else arm for k, x, arm in zip(kept, out, free, strict=True)
    ]
    assert resolved["trial"] == expected
    assert {arm: trial.version_of(arm) for arm in set(expected)} == {
        "challenger": 2, "control": 1, "rest": 1, "excluded": 1, KEPT.variant: 7
    }  # fmt: skip
    (flag,) = trial.document()["flags"].values()
    assert flag["variants"] == {"challenger": 2, "rest": 1, "control": 1, "excluded": 1, "kept_7": 7}


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    routing = _routing(0.25)
    resolved = _resolve(tmp_path, {"one": routing.document()}, {"one": routing.flag_key()})["one"]
    assert assign(IDS, "another-key", routing.variants()).tolist() != resolved
