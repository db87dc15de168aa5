"""An acknowledged row is on disk, once; a half line is not; clients have their share."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ratchet.capture import inbox as inbox_module
from ratchet.capture.inbox import Inbox, InboxError, KeyReused
from ratchet.capture.limits import RateLimit

DAY = date(2013, 5, 14)


def made(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "inbox", tmp_path / "landing", "feedback_id")


def row(n: int, **changes: Any) -> dict[str, Any]:
    return {"feedback_id": f"f{n}", "comment": "late", "received_at": f"{DAY}T10:00:{n:02d}Z", **changes}


def landed(tmp_path: Path) -> list[str]:
    files = sorted((tmp_path / "landing").rglob("*.jsonl"))
    return [json.loads(line)["feedback_id"] for file in files for line in file.read_text().splitlines()]


def test_a_row_is_kept_once_and_lands_with_its_day(tmp_path: Path) -> None:
    inbox = made(tmp_path)
    assert inbox.append(row(1), DAY)
    assert not inbox.append(row(1, received_at="later"), DAY)
    with pytest.raises(KeyReused):
        inbox.append(row(1, comment="other"), DAY)
    assert inbox.append(row(2), date(2013, 5, 15))
    inbox.close()
    assert landed(tmp_path) == ["f1", "f2"]
    assert len(list((tmp_path / "landing").iterdir())) == 2


def test_what_a_dead_process_left_lands_and_is_still_known(tmp_path: Path) -> None:
    dead = made(tmp_path)
    dead.append(row(1), DAY)
    dead._lock.close()  # the kernel does it for a process that is killed
    segment = next((tmp_path / "inbox").glob("api-*"))
    segment.write_bytes(segment.read_bytes() + b'{"feedback_id": "f9", "half')
    again = made(tmp_path)
    assert landed(tmp_path) == ["f1"]
    assert not again.append(row(1), DAY)
    assert again.append(row(2), DAY)
    again.close()
    assert landed(tmp_path) == ["f1", "f2"]


def test_a_crash_between_landing_and_removing_changes_nothing(tmp_path: Path) -> None:
    first = made(tmp_path)
    first.append(row(1), DAY)
    segment = next((tmp_path / "inbox").glob("api-*"))
    kept = segment.read_bytes()
    first.close()
    segment.write_bytes(kept)
    made(tmp_path).close()
    assert landed(tmp_path) == ["f1"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = made(tmp_path)
    with pytest.raises(InboxError, match="another process"):
        made(tmp_path)
    first.close()
    made(tmp_path).close()


def test_a_disk_that_fails_acknowledges_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = made(tmp_path)
    inbox.append(row(1), DAY)
    real = inbox_module.os.fsync

    def fails(_: int) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(inbox_module.os, "fsync", fails)
    with pytest.raises(InboxError, match="input/output"):
        inbox.append(row(2), DAY)
    monkeypatch.setattr(inbox_module.os, "fsync", real)
    with pytest.raises(InboxError, match="anew"):
        inbox.append(row(3), DAY)


def test_a_client_has_its_bucket_and_the_table_is_bounded() -> None:
    limit = RateLimit(per_second=2.0, burst=3, most=5)
    assert [limit.wait("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limit.wait("b", 0.0) == 0.0
    assert limit.wait("a", 0.5) == 0.0
    for n in range(100):
        limit.wait(f"c{n}", 1.0)
    assert len(limit._buckets) == 5
