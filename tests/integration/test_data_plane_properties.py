"""Whatever comes late, twice, corrected or in any order: the tables are those of a slow reference in plain Python.

A few worlds here, derandomised; `make test-faults` plays a hundred more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.reference.compare import differences, reference_of
from tests.reference.play import lenient_checkout, tables_without_tests
from tests.reference.trial import Bench
from tests.reference.worlds import STARTS, TICK, File, Maker, Shape, local_date, steps_of

from ratchet.loop import load_loop
from ratchet.loop_days import end_of_day, last_complete_day
from ratchet.warehouse.connect import open_warehouse

pytestmark = pytest.mark.slow

SHAPES = st.builds(
    Shape,
    start=st.sampled_from(STARTS),
    days=st.integers(3, 8),
    flights=st.integers(5, 40),
    late_share=st.sampled_from((0.0, 0.2, 0.5)),
    corrected_share=st.sampled_from((0.0, 0.2, 0.5)),
    longest_delay_days=st.sampled_from((1, 10, 40)),
    seed=st.integers(0, 2**32 - 1),
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("worlds")
    yield Bench(folder, lenient_checkout(folder / "checkout"))


@settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(shape=SHAPES, deliveries=st.integers(1, 3))
def test_any_order_and_lateness_gives_the_tables_of_the_reference(
    bench: Bench, shape: Shape, deliveries: int
) -> None:
    example = bench.play(shape, deliveries)
    assert example.cells > 200, "the world is too small: nothing was compared"
    assert example.differences == ()


def test_the_comparison_can_fail(bench: Bench) -> None:
    """One cell, one row and one feature's last bit, each changed by hand, are each named."""
    player = bench.player("spoiled")
    rows = Maker(Shape(seed=3, flights=8, days=3)).rows
    with tables_without_tests():
        for step in steps_of(Shape(seed=3), rows, 1):
            player.play(replace(step, then="build"))
    bench.keep_parse(player)
    reference = reference_of(player)
    assert differences(player, reference)[0] == []
    unit = next(iter(reference.labels))[0]
    with open_warehouse(player.settings, purpose="test") as warehouse:
        warehouse.execute("update marts.fct_labels set label = 1 - label where unit_id = ?", (unit,))
        warehouse.execute("delete from monitoring.mon_label_windows where departure_date = "
                          "(select min(departure_date) from monitoring.mon_label_windows)")  # fmt: skip
        warehouse.execute(
            "update features.ftr_flights__pre_departure set distance_miles = distance_miles + 5e-13"
        )
    found, _ = differences(player, reference)
    assert any(f"marts.fct_labels ('{unit}',) label" in line for line in found)
    assert any("mon_label_windows" in line and "missing" in line for line in found)
    assert any("distance_miles" in line for line in found)


@pytest.mark.parametrize(
    "first", [date(2013, 3, 8), date(2013, 11, 1), date(2012, 2, 27), date(2012, 12, 29)]
)
def test_days_of_23_24_and_25_hours_follow_each_other_without_gap_or_overlap(
    bench: Bench, first: date
) -> None:
    loop = load_loop(bench.checkout / "loops" / "flights.yml")
    lengths = []
    for n in range(6):
        day = first + timedelta(days=n)
        begins, ends = end_of_day(loop, day - timedelta(days=1)), end_of_day(loop, day)
        lengths.append((ends - begins) / timedelta(hours=1))
        assert (local_date(begins), local_date(ends - TICK)) == (day, day)
        assert last_complete_day(loop, ends) == day
        assert last_complete_day(loop, ends - TICK) == day - timedelta(days=1)
    assert sum(lengths) == 24 * 6 + {3: -1, 11: 1}.get(first.month, 0)


def test_rows_received_at_or_after_the_prediction_change_no_feature(bench: Bench) -> None:
    """Everything that happened is delivered again as a correction: a microsecond before the as-of it changes
    features, at the as-of and after it none."""
    shape = Shape(seed=11, flights=10, days=3, late_share=0.0, corrected_share=0.0)
    rows = Maker(shape).rows
    player = bench.player("as-of")
    with tables_without_tests():
        for step in steps_of(shape, rows, 1):
            player.play(replace(step, then="build"))
        table = "features.ftr_flights__pre_departure"
        before = {row["unit_id"]: row for row in player.rows(table)}
        # The flight before whose prediction the most is known.
        unit = max(before, key=lambda u: (before[u]["origin_flights_6h"], before[u]["predict_at"]))
        moment = before[unit]["predict_at"]
        origin = before[unit]["origin"]
        known = max((r for r in rows["weather"] if r["origin"] == origin and r["received_at"] < moment),
                    key=lambda r: r["event_at"])  # fmt: skip
        for late, name in ((timedelta(0), "at"), (TICK, "after")):
            changed = {**known, "temperature_f": 77.25, "received_at": moment + late}
            player.write(File("weather", moment.date(), name, (changed,)))
            player.land(moment.date(), moment.date())
            player.build()
            after = {row["unit_id"]: row for row in player.rows(table)}
            assert after[unit] == before[unit], name
        seen = {**known, "temperature_f": 78.5, "received_at": moment - TICK}
        player.write(File("weather", seen["received_at"].date(), "before", (seen,)))
        player.land(seen["received_at"].date(), seen["received_at"].date())
        player.build()
        after = {row["unit_id"]: row for row in player.rows(table)}
    assert after[unit] != before[unit], "the planted row was not seen: this test would pass on anything"
    assert after[unit]["temperature_f"] == 78.5
