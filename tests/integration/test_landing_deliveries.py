"""What is delivered, and how: formats and places, half-written and damaged files, new and missing columns."""

from __future__ import annotations

import gzip
import json
import multiprocessing
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.landing import files as places
from ratchet.landing.files import DeliveredFile, LocationError, location_of
from ratchet.landing.land import LandingError, land_range
from ratchet.landing.report import LandingReport, Progress
from ratchet.loop import Loop, Source, load_loop
from ratchet.quality.gates import gate_landing
from ratchet.settings import Settings, load_settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import Warehouse

DAY = date(2013, 5, 14)
AS_OF = datetime(2013, 5, 15)


def outcome(n: int, **changes: Any) -> dict[str, Any]:
    return {
        "outcome_id": f"o{n}",
        "unit_id": f"UA{n}-EWR-20130514-0515",
        "outcome_value": float(n % 300),
        "event_at": f"{DAY}T09:00:00Z",
        "received_at": f"{DAY}T10:00:{n % 60:02d}Z",
        **changes,
    }


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    return (
        "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]).encode() + b"\n"
    )


def parquet(path: Path, rows: list[dict[str, Any]], row_group: int = 1_000) -> None:
    frame = pd.DataFrame(rows)
    for name in ("event_at", "received_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, path, row_group_size=row_group, write_page_checksum=True)


def put(settings: Settings, source: str, name: str, data: bytes) -> Path:
    path = settings.landing_dir / "flights" / source / f"received_date={DAY}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def land(loop: Loop, settings: Settings, wh: Warehouse, log: Any = None) -> LandingReport:
    return land_range(loop, settings, wh, DAY, DAY, log or (lambda line: None))


def counts(report: LandingReport) -> tuple[int, int, int, int]:
    return report.rows_read, report.rows_landed, report.rows_quarantined, report.rows_duplicate


def with_source(loop: Loop, name: str, **keys: Any) -> Loop:
    source = Source.model_validate({**loop.sources[name].model_dump(exclude_unset=True), **keys})
    return loop.model_copy(update={"sources": {**loop.sources, name: source}})


def test_the_same_rows_in_five_formats_land_once(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    rows = [outcome(n) for n in range(400)]
    put(settings, "outcomes", "a.jsonl", jsonl(rows))
    put(
        settings,
        "outcomes",
        "b.jsonl.gz",
        gzip.compress(jsonl(rows[:200])) + gzip.compress(jsonl(rows[200:])),
    )
    put(settings, "outcomes", "c.csv", csv_of(rows))
    put(settings, "outcomes", "d.csv.gz", gzip.compress(csv_of(rows)))
    parquet(put(settings, "outcomes", "e.parquet", b""), rows)
    assert counts(land(loop, settings, wh)) == (2_000, 400, 0, 1_600)
    digest = wh.frame("select n_rows, digest from ops.partition_digests").values.tolist()
    hashes = wh.frame("select row_hash from raw.outcomes")["row_hash"]
    assert digest == [[400, f"{sum(int(h[:16], 16) for h in hashes) % 2**64:016x}"]]


def test_a_large_file_lands_in_chunks_with_true_lines(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.landing import blocks

    monkeypatch.setattr(blocks.blocks, "__defaults__", (4_096,))
    put(settings, "outcomes", "a.jsonl", jsonl([outcome(n) for n in range(3_000)]))
    seen: list[Progress] = []
    land_range(loop, settings, wh, DAY, DAY, lambda line: None, seen.append)
    found = wh.frame("select outcome_id, source_line from raw.outcomes")
    assert len(seen) > 50 and seen[-1].rows == 3_000
    assert (found["outcome_id"].str[1:].astype(int) + 1 == found["source_line"]).all() and len(found) == 3_000


def test_memory_is_bounded_by_a_chunk_and_not_by_the_file(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    """What Arrow holds after each chunk of a file of four chunks: none of it is kept until the commit."""
    rows = 200_000
    at = pa.array([datetime(2013, 5, 14, 9)] * rows, pa.timestamp("us"))
    names = pa.array([f"o{n}-a-name-of-some-length" for n in range(rows)])
    value = pa.array([1.0] * rows)
    columns = {
        "outcome_id": names,
        "unit_id": names,
        "outcome_value": value,
        "event_at": at,
        "received_at": at,
    }
    path = put(settings, "outcomes", "a.parquet", b"")
    pq.write_table(pa.table(columns), path)
    del at, names, value, columns
    held: list[int] = []
    land_range(
        loop, settings, wh, DAY, DAY, lambda line: None, lambda _: held.append(pa.total_allocated_bytes())
    )
    assert len(held) == 4
    assert max(held[2:]) < max(held[:2]) + 4 * 2**20, [size >> 20 for size in held]
    assert wh.scalar("select count(*) from raw.outcomes") == rows


def test_a_damaged_file_is_refused_whole_and_nothing_of_it_is_half_landed(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are found damaged after thousands of their rows were written; the good file beside them stays."""
    rows = [outcome(n) for n in range(200_000)]
    put(settings, "outcomes", "a.jsonl", jsonl(rows[:50]))
    put(settings, "outcomes", "b.jsonl.gz", gzip.compress(jsonl(rows[:60_000]), 1)[:-20])
    path = put(settings, "outcomes", "c.parquet", b"")
    parquet(path, rows[:60_000], 5_000)
    data = bytearray(path.read_bytes())
    middle = int(len(data) * 0.9)
    data[middle : middle + 200] = bytes(byte ^ 255 for byte in data[middle : middle + 200])
    path.write_bytes(bytes(data))
    lines: list[str] = []
    report = land(loop, settings, wh, lines.append)
    assert counts(report) == (52, 50, 2, 0)
    assert set(wh.frame("select source_file from raw.outcomes")["source_file"]) == {"a.jsonl"}
    held = wh.frame("select * from raw.quarantine order by source_file")
    assert held["source_line"].tolist() == [0, 0]
    assert "damaged gzip" in held["reason"][0] and "not a readable Parquet file" in held["reason"][1]
    assert (
        held["original_bytes"].isna().all()
        and held["location"].str.endswith(("b.jsonl.gz", "c.parquet")).all()
    )
    for sha256 in held["file_sha256"]:
        kept = settings.home / "quarantine" / "flights" / "outcomes" / sha256
        assert kept.stat().st_size in (len(data), (path.parent / "b.jsonl.gz").stat().st_size)
    assert len({line for line in lines if "quarantined as a whole" in line}) == 2


def test_a_file_of_free_text_is_never_copied(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    put(settings, "feedback", "a.jsonl.gz", gzip.compress(b'{"comment": "jo@example.com"}\n' * 50)[:-9])
    land(loop, settings, wh)
    assert not (settings.home / "quarantine").exists()
    (original,) = wh.frame("select original from raw.quarantine")["original"]
    assert "example.com" not in original


def test_half_written_and_then_whole_lands_once(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    data = jsonl([outcome(n) for n in range(10)])
    put(settings, "outcomes", "a.jsonl", data[: len(data) // 2 - 10])
    for name in (".b.jsonl", "_c.jsonl", "d.jsonl.tmp", "e.jsonl.part", "f.jsonl.inprogress"):
        put(settings, "outcomes", name, data)
    lines: list[str] = []
    first = land(loop, settings, wh, lines.append)
    assert first.rows_quarantined == 1 and first.rows_landed < 6
    assert sum("not finished" in line for line in lines) == 5
    put(settings, "outcomes", "a.jsonl", data)
    second = land(loop, settings, wh)
    assert first.rows_landed + second.rows_landed == 10 and second.rows_quarantined == 0
    assert wh.frame("select state from raw.quarantine")["state"].tolist() == ["superseded"]
    assert wh.scalar("select count(*) from raw.outcomes") == 10


def test_a_file_that_grows_while_it_is_read_stops_its_partition(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(settings, "outcomes", "a.jsonl", jsonl([outcome(1)]))
    real = DeliveredFile.sha256

    def growing(self: DeliveredFile) -> str:
        found = real(self)
        path.write_bytes(path.read_bytes() + jsonl([outcome(2)]))
        return found

    monkeypatch.setattr(DeliveredFile, "sha256", growing)
    with pytest.raises(LandingError, match="changed while it was read"):
        land(loop, settings, wh)
    assert wh.scalar("select count(*) from raw.outcomes") == 0
    monkeypatch.undo()
    assert land(loop, settings, wh).rows_landed == 2


def test_a_missing_required_column_blocks_the_partition_even_beside_a_good_file(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    rows = [outcome(n) for n in range(900)]
    put(settings, "outcomes", "a.jsonl", jsonl(rows))
    land(loop, settings, wh)
    before = {v.table: v for v in gate_landing(loop, settings, wh, DAY, DAY, AS_OF).verdicts}["outcomes"]
    assert before.verdict != "block", before
    put(
        settings,
        "outcomes",
        "b.csv",
        csv_of([{k: v for k, v in row.items() if k != "unit_id"} for row in rows]),
    )
    assert land(loop, settings, wh).rows_quarantined == 1
    after = {v.table: v for v in gate_landing(loop, settings, wh, DAY, DAY, AS_OF).verdicts}["outcomes"]
    assert after.verdict == "block"
    assert "file refused as a whole: b.csv" in after.reasons[0] and "missing unit_id" in after.reasons[0]
    # The same file with its column: what it was refused for is settled, and the day passes.
    put(settings, "outcomes", "b.csv", csv_of([outcome(n) for n in range(900, 950)]))
    assert land(loop, settings, wh).rows_landed == 50
    again = {v.table: v for v in gate_landing(loop, settings, wh, DAY, DAY, AS_OF).verdicts}["outcomes"]
    assert again.verdict == before.verdict


def test_a_new_column_is_kept_counted_and_a_warning(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    rows = [outcome(n) for n in range(900)]
    put(settings, "outcomes", "a.jsonl", jsonl(rows))
    put(settings, "outcomes", "b.csv", csv_of([outcome(n, gate=f"B{n}") for n in range(900, 950)]))
    path = put(settings, "outcomes", "c.parquet", b"")
    parquet(path, [outcome(n, gate=f"C{n}", belt=None) for n in range(950, 960)])
    lines: list[str] = []
    assert counts(land(loop, settings, wh, lines.append)) == (960, 960, 0, 0)
    spilled = wh.frame("select outcome_id, extra_fields from raw.outcomes where extra_fields is not null")
    assert len(spilled) == 60
    assert json.loads(spilled.set_index("outcome_id").loc["o955", "extra_fields"]) == {
        "belt": None,
        "gate": "C955",
    }
    assert sum("which the contract does not name" in line for line in lines) == 3
    found = {v.table: v for v in gate_landing(loop, settings, wh, DAY, DAY, AS_OF).verdicts}["outcomes"]
    assert found.verdict == "warn"
    assert "columns that the contract does not name: belt (10 rows), gate (60 rows)" in found.reasons[-1]
    # Redelivered without the new column it is the same row: no second version.
    put(settings, "outcomes", "d.jsonl", jsonl([outcome(n) for n in range(900, 960)]))
    assert counts(land(loop, settings, wh))[1] == 0


def test_a_contract_that_gains_a_column_keeps_its_rows(
    loop: Loop, settings: Settings, wh: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ratchet.landing import land as landing
    from ratchet.landing.contract import Column, SourceContract, load_contract

    put(settings, "outcomes", "a.jsonl", jsonl([outcome(n) for n in range(20)]))
    land(loop, settings, wh)

    def wider(folder: Path, source: str) -> SourceContract:
        found = load_contract(folder, source)
        more = (Column("arrival_gate", "varchar"),) if source == "outcomes" else ()
        return SourceContract(source, (*found.columns, *more))

    monkeypatch.setattr(landing, "load_contract", wider)
    more = [outcome(n, arrival_gate="B1") for n in range(10)]
    put(settings, "outcomes", "b.jsonl", jsonl([outcome(n) for n in range(20)] + more))
    assert counts(land(loop, settings, wh)) == (50, 10, 0, 40)
    assert wh.scalar("select count(*) from raw.outcomes where arrival_gate = 'B1'") == 10


def test_a_row_without_received_at_lands_only_with_a_declared_lag(
    loop: Loop, settings: Settings, wh: Warehouse
) -> None:
    bare = [{k: v for k, v in outcome(n).items() if k != "received_at"} for n in range(30)]
    bare[0]["event_at"] = None
    bare[1]["received_at"] = "yesterday"
    bare[2]["event_at"] = f"{DAY}T23:59:00Z"
    put(settings, "outcomes", "a.jsonl", jsonl(bare))
    assert counts(land(loop, settings, wh)) == (30, 0, 30, 0)
    put(settings, "outcomes", "b.jsonl", jsonl([*bare, outcome(99)]))
    put(settings, "outcomes", "c.csv", csv_of([{**bare[5], "event_at": f"{DAY}T08:00:00Z"}]))
    lagged = with_source(loop, "outcomes", received_lag_minutes=90)
    assert counts(land(lagged, settings, wh)) == (62, 29, 3, 30)
    found = wh.frame("select distinct received_at from raw.outcomes where outcome_id <> 'o99' order by 1")
    assert found["received_at"].astype(str).tolist() == [f"{DAY} 09:30:00", f"{DAY} 10:30:00"]
    reasons = set(wh.frame("select reason from raw.quarantine where source_file = 'b.jsonl'")["reason"])
    assert any("not on the partition's day" in reason for reason in reasons) and len(reasons) == 3


def _land_in_process(home: str, url: str, barrier: Any, answers: Any) -> None:
    settings = load_settings({"RATCHET_HOME": home, "RATCHET_WAREHOUSE_URL": url})
    loop = load_loop(settings.loops_dir / "flights.yml")
    barrier.wait()
    with open_warehouse(settings, purpose="landing at once") as wh:
        answers.put(counts(land(loop, settings, wh)))


def test_four_processes_at_once_land_each_row_once(loop: Loop, settings: Settings) -> None:
    rows = [outcome(n) for n in range(4_000)]
    put(settings, "outcomes", "a.jsonl", jsonl(rows[:3_000]) + b"{\n")
    put(settings, "outcomes", "b.jsonl", jsonl(rows[1_000:]))
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    url = settings.warehouse_url or ""
    started = [
        context.Process(target=_land_in_process, args=(str(settings.home), url, barrier, answers))
        for _ in range(4)
    ]
    for process in started:
        process.start()
    found = sorted(answers.get(timeout=120) for _ in started)
    for process in started:
        process.join(60)
    assert found == [(6_001, 0, 0, 6_001)] * 3 + [(6_001, 4_000, 1, 2_000)]
    with open_warehouse(settings, purpose="test") as wh:
        assert wh.scalar("select count(*) from raw.outcomes") == 4_000
        assert wh.scalar("select count(distinct row_hash) from raw.outcomes") == 4_000
        assert wh.scalar("select count(*) from raw.quarantine") == 1
        assert wh.scalar("select count(*) from ops.landings") == 2


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server that speaks HTTP."""
    server = pytest.importorskip("moto.server", reason="engine s3 (moto) is not installed")
    started = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


def test_files_land_from_an_object_store(
    loop: Loop, settings: Settings, wh: Warehouse, s3: str, tmp_path: Path
) -> None:
    from urllib.parse import quote

    bucket = f"landing-{abs(hash(tmp_path)) % 10**9}"
    url = f"aws://key:secret%2Fkey@/?region_name=us-east-1&endpoint_url={quote(s3, safe='')}"
    fs = fsspec.filesystem("s3", key="key", secret="secret/key", endpoint_url=s3)
    fs.mkdir(bucket)
    rows = [outcome(n) for n in range(300)]
    local = tmp_path / "e.parquet"
    parquet(local, rows[100:])
    for name, data in (
        ("a.jsonl", jsonl(rows[:50])),
        ("b.jsonl.gz", gzip.compress(jsonl(rows[50:100]))),
        ("e.parquet", local.read_bytes()),
        ("f.jsonl.tmp", jsonl(rows)),
    ):
        fs.pipe_file(f"{bucket}/in/received_date={DAY}/{name}", data)
    import dataclasses

    known = dataclasses.replace(settings, connections={"lake": url})
    remote = with_source(loop, "outcomes", location=f"s3://{bucket}/in", connection="lake")
    lines: list[str] = []
    assert counts(land(remote, known, wh, lines.append)) == (300, 300, 0, 0)
    assert counts(land(remote, known, wh)) == (300, 0, 0, 300)
    fs.pipe_file(f"{bucket}/in/received_date={DAY}/a.jsonl", jsonl([*rows[:50], outcome(900)]))
    assert counts(land(remote, known, wh)) == (301, 1, 0, 300)
    assert not any("secret" in line for line in lines)
    fs.pipe_file(f"{bucket}/in/received_date={DAY}/g.parquet", local.read_bytes()[:-30])
    assert land(remote, known, wh).rows_quarantined == 1
    assert (
        wh.scalar("select location from raw.quarantine") == f"s3://{bucket}/in/received_date={DAY}/g.parquet"
    )


def test_a_place_in_memory_and_a_folder_of_its_own(
    loop: Loop, settings: Settings, wh: Warehouse, tmp_path: Path
) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/{tmp_path.name}/received_date={DAY}/a.jsonl", jsonl([outcome(1)]))
    assert (
        land(with_source(loop, "outcomes", location=f"memory://{tmp_path.name}"), settings, wh).rows_landed
        == 1
    )
    folder = tmp_path / "elsewhere" / f"received_date={DAY}"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(jsonl([outcome(2)]))
    for location in (str(folder.parent), f"file://{folder.parent}"):
        land(with_source(loop, "outcomes", location=location), settings, wh)
    assert wh.scalar("select count(*) from raw.outcomes") == 2


def test_a_location_that_can_not_be_used_says_why(loop: Loop, settings: Settings) -> None:
    for location, words in (
        ("s3://key:secret@bucket/x", "holds a user or password"),
        ("nosuch://bucket/x", "nosuch"),
    ):
        with pytest.raises(LocationError, match=words) as caught:
            location_of(settings, "flights", "outcomes", Source(format="jsonl", location=location))
        assert "secret" not in str(caught.value)
    with pytest.raises(LocationError, match="kind postgresql"):
        places.storage_options("postgresql://u:p@h/d", "s3", "source outcomes")
    found = places.storage_options("aws://k:s%2F@/?region_name=eu-west-1&session_token=t", "s3", "x")
    assert found == {"key": "k", "secret": "s/", "token": "t", "client_kwargs": {"region_name": "eu-west-1"}}


def test_days_without_a_partition_folder_name_are_left(loop: Loop, settings: Settings, wh: Warehouse) -> None:
    put(settings, "outcomes", "a.jsonl", jsonl([outcome(1)]))
    (settings.landing_dir / "flights" / "outcomes" / "received_date=20130514").mkdir()
    lines: list[str] = []
    assert land(loop, settings, wh, lines.append).rows_landed == 1
    assert any("received_date=20130514" in line for line in lines)
