"""A received day is killed at a few places and retried: the same tables, and readers never see half of it.

The same harness kills a hundred times, also on Postgres, in `make test-faults`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from tests.faults.checksums import changed, checksums, published
from tests.faults.day import FIRST
from tests.faults.kill import Kill, Trials, Undisturbed
from tests.faults.prepared import prepare
from tests.reference.worlds import Shape

pytestmark = pytest.mark.slow

DAY = date(2013, 3, 12)
SHAPE = Shape(DAY - timedelta(days=5), days=8, flights=40, longest_delay_days=3, seed=5)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    folder = tmp_path_factory.mktemp("kills")
    return Trials(
        prepare(folder / "prepared", shape=SHAPE, day=DAY), FIRST, folder / "trials", with_tests=False
    )


@pytest.fixture(scope="module")
def expected(trials: Trials) -> Iterator[Undisturbed]:
    yield trials.undisturbed()


def test_an_undisturbed_day_changes_what_readers_see_at_once(trials: Trials, expected: Undisturbed) -> None:
    before, after = expected.visible
    assert len(changed(before, after)) > 8
    assert expected.statements["publish"] > 10
    assert expected.statements["land"] > 10


@pytest.mark.parametrize(
    ("task", "kind", "share"),
    [
        ("land", "statement", 0.6),
        ("judge_landing", "after", 0),
        ("collect", "statement", 0.9),
        ("build_models", "statement", 0.6),
        ("judge_features", "after", 0),
        ("publish", "statement", 0.5),
        ("publish", "statement", 0.99),
    ],
)
def test_a_killed_task_is_healed_by_its_retry(
    trials: Trials, expected: Undisturbed, task: str, kind: str, share: float
) -> None:
    kill = Kill(task, kind, int(share * expected.statements[task]), share * expected.seconds[task])
    result = trials.trial(kill, expected, 1)
    assert result.killed, f"{kill} killed nothing: this trial looked at nothing"
    assert result.problems == ()


def test_the_trial_sees_a_half_and_a_difference(trials: Trials, expected: Undisturbed) -> None:
    """A row that a publication would lose, and one that a retry would leave changed, are both named."""
    from ratchet.warehouse.connect import open_warehouse

    settings = trials.prepared.copy(trials.scratch / "spoiled")
    with open_warehouse(settings, purpose="test") as warehouse:
        warehouse.execute(
            "delete from marts.fct_labels where unit_id = (select min(unit_id) from marts.fct_labels)"
        )
    assert published(settings) not in expected.visible
    assert any("marts.fct_labels" in line for line in changed(expected.final, checksums(settings)))
    trials.prepared.drop(settings.home)
