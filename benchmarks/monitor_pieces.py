"""One measured piece of monitoring a process: `python -m benchmarks.monitor_pieces NAME HOME ...` says it as JSON.

A process of its own has its own peak of memory. All of it is the product's own code: the view that dbt made, the
profile of a training, the judges.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.clock import peak_megabytes, timed
from ratchet.landing.contract import load_contract
from ratchet.loop import Loop, load_loop
from ratchet.loop_measures import Inputs
from ratchet.monitoring.inputs import judge_inputs, table_of
from ratchet.monitoring.profile import feature_profiles, reference_bins
from ratchet.settings import Settings, load_settings
from ratchet.stages.profiles import adopt_bins
from ratchet.warehouse import ops
from ratchet.warehouse.connect import open_warehouse

FIRST = date(2013, 1, 1)
DAYS = 100
TABLE = "features.ftr_flights__pre_departure"
#: What the warehouse may take, whatever the rows: memory is flat when the peak is not above it by the rows' share.
WAREHOUSE_MEGABYTES = "500"
_REPORT = Inputs(reference="training", k_of_n_days=(DAYS, DAYS))


def _here(home: str) -> tuple[Settings, Loop]:
    settings = load_settings(
        {"RATCHET_HOME": str(Path(home) / "warehouse"), "RATCHET_DUCKDB_MEMORY_MB": WAREHOUSE_MEGABYTES}
    )
    return settings, load_loop(settings.loops_dir / "flights.yml")


def prepare(home: str, rows: str, sides: str = "both") -> dict[str, float]:
    """`rows` rows of random features over each of two spans of days, the second shifted a little, and Parquet for
    others; of a large one only the second."""
    from ratchet.stages.dbt_environment import run_dbt

    settings, loop = _here(home)
    count = int(rows)
    # What a run before left would be counted too.
    shutil.rmtree(settings.home, ignore_errors=True)
    with open_warehouse(settings, purpose="bench") as warehouse:
        ops.ensure(warehouse)
        for source in loop.sources:
            warehouse.execute(load_contract(settings.dbt_dir, source).ddl())
    run_dbt(settings, ["--quiet", "run", "--selector", loop.loop])
    numbers = ", ".join(
        f"cast(round(10 * ({1 + i % 3} * (random() + random() + random() + random() - 2) + shift), "
        f"{0 if name in ('departure_weekday', 'origin_flights_6h') else 6}) as double) as {name}"
        for i, name in enumerate(loop.features.numeric)
    )
    words = ", ".join(
        f"[{', '.join(repr(v) for v in values)}]"
        f"[1 + cast(floor(random() * random() * {len(values)}) as integer)] as {name}"
        for name, values in loop.features.categorical.items()
    )
    with open_warehouse(settings, purpose="bench") as warehouse:
        warehouse.execute("select setseed(0.5)")
        for side in (0, 1) if sides == "both" else (1,):
            first = FIRST + timedelta(days=side * DAYS)
            warehouse.execute(
                f"insert into {TABLE} by name select 'flights' as loop, 'u{side}-' || i as unit_id, "
                f"date '{first}' + cast(i % {DAYS} as integer) as departure_date, {numbers}, {words} "
                f"from (select i, {side} * 0.02 * (i % 2) as shift from range({count}) r(i))"
            )
        warehouse.execute("delete from ops.partition_gates where border = 'features'")
        warehouse.execute(
            "insert into ops.partition_gates select distinct 'flights', 'features', 'ftr_flights__pre_departure', "
            f"departure_date, 'pass', 1, '', 'bench', timestamp '2014-01-01' from {TABLE}"
        )
        if sides == "both":
            columns = ", ".join(loop.features.columns)
            for side, name in enumerate(("reference", "current")):
                first = FIRST + timedelta(days=side * DAYS)
                warehouse.execute(
                    f"copy (select {columns} from {TABLE} where departure_date >= date '{first}' and departure_date "
                    f"< date '{first + timedelta(days=DAYS)}') to '{Path(home) / name}.parquet' (format parquet)"
                )
    # What was just written is on its way to the disk while the next piece is timed.
    os.sync()
    return {"rows": (2.0 if sides == "both" else 1.0) * count}


def _reference(settings: Settings, loop: Loop) -> pd.DataFrame:
    columns = ", ".join(loop.features.columns)
    with open_warehouse(settings, purpose="bench", read_only=True) as warehouse:
        return warehouse.frame(
            f"select departure_date, {columns} from {TABLE} where departure_date < ?",
            (FIRST + timedelta(days=DAYS),),
        )


def profile(home: str) -> dict[str, float]:
    """The profile of the first span, as a training takes it."""
    settings, loop = _here(home)
    told: dict[str, float] = {}
    frame = _reference(settings, loop)
    with timed(told, "seconds"):
        bins = reference_bins(frame, loop, 1)
        profiles = feature_profiles(frame, loop, 1, bins, {})
        adopt_bins(settings, loop, 1, bins.to_dict("records"), profiles.to_dict("records"))  # type: ignore[arg-type]
    return told


def stored(home: str) -> dict[str, float]:
    """The second span against the stored profile: all distances of all features, and the verdict on each."""
    settings, _ = _here(home)
    told: dict[str, float] = {}
    first = FIRST + timedelta(days=DAYS)
    with timed(told, "seconds"):
        with open_warehouse(settings, purpose="bench", read_only=True) as warehouse:
            rows = warehouse.frame(
                "select * from monitoring.mon_feature_histograms where loop = ? and departure_date >= ?",
                ("flights", first),
            )
            bins = warehouse.frame("select * from ops.feature_bins")
            profiles = warehouse.frame("select * from ops.feature_profiles")
        days = sorted(pd.Timestamp(day).date() for day in rows["departure_date"].unique())
        shifts = judge_inputs(_REPORT, table_of(rows, bins), bins, profiles, days)
    told["features"] = len(shifts)
    told["rows"] = float(rows.loc[rows["feature"] == "origin", "n"].sum())
    told["largest_js"] = max(shift.js for shift in shifts)
    return told


def adopt(home: str, other: str) -> dict[str, float]:
    """The profile of another home is the champion's here."""
    (settings, loop), (source, _) = _here(home), _here(other)
    with open_warehouse(source, purpose="bench", read_only=True) as warehouse:
        bins, profiles = (
            warehouse.frame(f"select * from ops.{name}") for name in ("feature_bins", "feature_profiles")
        )
    adopt_bins(settings, loop, 1, bins.to_dict("records"), profiles.to_dict("records"))  # type: ignore[arg-type]
    return {"bins": float(len(bins))}


def both(home: str) -> dict[str, float]:
    """Profile and report in one process; the profile of a frame in memory, as a training holds it."""
    first, second = profile(home), stored(home)
    return {**second, "seconds": first["seconds"] + second["seconds"], "profile": first["seconds"]}


PIECES: dict[str, Callable[..., dict[str, Any]]] = {
    "prepare": prepare, "profile": profile, "stored": stored, "both": both, "adopt": adopt,
}  # fmt: skip


if __name__ == "__main__":
    answer = PIECES[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps({**answer, "megabytes": peak_megabytes()}) + "\n")
