"""Categories are encoded by their place in the list: one that moved is noticed before anything is scored."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from tests.integration.served_world import FIRST, ServedWorld, quiet

from ratchet.loop import Loop
from ratchet.registry.models import RegisteredModel, Registry
from ratchet.stages import offering, score
from ratchet.stages.rollback import why_unfit
from ratchet.stages.serving import CategoriesMoved, categories_moved


def listing(loop: Loop, carriers: tuple[str, ...]) -> Loop:
    features = loop.features.model_copy(
        update={"categorical": {**loop.features.categorical, "carrier": carriers}}
    )
    return loop.model_copy(update={"features": features})


@pytest.fixture
def learnt(served: ServedWorld) -> ServedWorld:
    """Version 1 serves, and the ledger says with which lists it was fitted."""
    pairs = [[name, list(values)] for name, values in served.loop.features.categorical.items()]
    served.append("bootstrap", "bootstrap:1", FIRST, model_version=1, request="request:1",
                  model_sha256=served.sha256[1], categories=pairs)  # fmt: skip
    return served


def reordered(loop: Loop) -> Loop:
    first, second, *rest = loop.features.categorical["carrier"]
    return listing(loop, (second, first, *rest))


def test_a_list_in_another_order_stops_scoring(learnt: ServedWorld) -> None:
    day = date(2013, 6, 1)
    with pytest.raises(score.NotBuilt):  # in its order: it waits for the build, as ever
        score.score(learnt.settings, learnt.loop, day, day, quiet)
    with pytest.raises(
        CategoriesMoved, match="learnt carrier with '9E' at place 0, where the loop file now has 'AA'"
    ):
        score.score(learnt.settings, reordered(learnt.loop), day, day, quiet)


def test_nothing_is_offered_beside_it_and_nobody_goes_back_to_it(learnt: ServedWorld) -> None:
    loop, entries, registry = (
        reordered(learnt.loop),
        learnt.ledger.entries("flights"),
        Registry(learnt.settings),
    )
    candidate = RegisteredModel("flights", 2, "run", learnt.sha256[2])
    with pytest.raises(offering.ContractBroken, match="put the list back in its order"):
        offering.check_contract(learnt.settings, loop, candidate, {}, {}, entries)
    assert "learnt carrier" in (why_unfit(registry, loop, entries, 1) or "")


def test_values_at_the_end_change_no_code(learnt: ServedWorld) -> None:
    carriers = learnt.loop.features.categorical["carrier"]
    entries = learnt.ledger.entries("flights")
    assert categories_moved(listing(learnt.loop, (*carriers, "ZZ")), entries, 1) is None
    assert categories_moved(listing(learnt.loop, carriers[:-1]), entries, 1) is None
    assert categories_moved(listing(learnt.loop, carriers[1:]), entries, 1) is not None


def test_what_was_offered_without_its_lists_has_those_of_its_evaluation(served: ServedWorld) -> None:
    features = served.loop.model_dump(mode="json")["features"]
    pairs = {**features, "categorical": [[k, v] for k, v in features["categorical"].items()]}
    served.append("evaluation", "evaluation:1", FIRST - timedelta(days=1), verdict="pass", request="request:1",
                  terms={"features": pairs})  # fmt: skip
    evaluation = served.ledger.entries("flights", ["evaluation"])[0]
    served.append("bootstrap", "bootstrap:1", FIRST, model_version=1, request="request:1",
                  model_sha256=served.sha256[1], evaluation=evaluation.hash)  # fmt: skip
    entries = served.ledger.entries("flights")
    assert categories_moved(served.loop, entries, 1) is None
    assert categories_moved(reordered(served.loop), entries, 1) is not None
