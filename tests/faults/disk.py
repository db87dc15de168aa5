"""A disk of a few megabytes that really is full, and a folder that really is read-only.

Run as `python -m tests.faults.disk MODE HOME CHECKOUT DAY TASK` in a mount namespace of its own (`unshare --mount`):
the mounts are seen by this process alone and go with it. Prints one JSON list.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from tests.faults.checksums import changed, published
from tests.faults.day import do

from ratchet.loop import load_loop
from ratchet.settings import Settings, load_settings
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.protocol import checked_table


def available() -> bool:
    """Whether this user may mount here."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(probe, capture_output=True).returncode == 0


def trial(mode: str, home: Path, checkout: Path, day: date, task: str) -> list[str]:
    """Run one trial in its namespace: what went wrong."""
    command = [
        "unshare",
        "--mount",
        sys.executable,
        "-m",
        "tests.faults.disk",
        mode,
        str(home),
        str(checkout),
    ]
    done = subprocess.run([*command, day.isoformat(), task], capture_output=True, text=True, cwd=ROOT)
    last = (done.stdout.strip().splitlines() or ["[]"])[-1]
    if done.returncode != 0:
        return [f"ended with status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"]
    found: list[str] = json.loads(last)
    left = home / AFTER
    if left.exists():
        shutil.rmtree(home / "warehouse")
        left.rename(home / "warehouse")
    return found


ROOT = Path(__file__).parents[2]
#: Where the small disk's content is left when its namespace ends.
AFTER = "warehouse-after"


def main(mode: str, home: Path, checkout: Path, day: date, task: str) -> list[str]:
    """Let `task` fail for want of room or of leave, look, give way, retry: what went wrong."""
    settings = load_settings({"RATCHET_HOME": str(home), "RATCHET_ROOT": str(checkout)})
    loop = load_loop(settings.loops_dir / "flights.yml")
    folder = settings.warehouse_path.parent
    seen = published(settings)
    if mode == "full":
        kept = folder.with_name("kept")
        shutil.copytree(folder, kept)
        _mount("-t", "tmpfs", "-o", "size=64m", "none", str(folder))
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        free = shutil.disk_usage(folder).free
        (folder / "ballast").write_bytes(b"\0" * (free - 8192))
    else:
        _mount("--bind", str(folder), str(folder))
        _mount("-o", "remount,ro,bind", str(folder))
    problems = []
    try:
        do(settings, loop, task, day)
        problems.append(f"{task} did not fail: there was room, and this trial looked at nothing")
    except Exception as error:
        if not any(word in str(error).lower() for word in ("space", "read-only", "permission", "write")):
            problems.append(f"the error does not say why: {type(error).__name__}: {str(error)[:300]}")
    if mode == "full":
        (folder / "ballast").unlink()
    else:
        subprocess.run(["umount", str(folder)], check=True)
    problems += [f"half visible: {line}" for line in changed(seen, published(settings))]
    if task == "land":
        problems += _half_landed(settings)
    do(settings, loop, task, day)
    if mode == "full":
        shutil.copytree(folder, folder.with_name(AFTER))
    return problems


def _half_landed(settings: Settings) -> list[str]:
    """Received partitions whose raw rows are not those that the landing counted."""
    problems = []
    with open_warehouse(settings, purpose="counting", read_only=True) as warehouse:
        counted = warehouse.frame(
            "select source, received_date, sum(rows_landed) as n from ops.landings group by 1, 2"
        )
        for source in counted["source"].unique():
            rows = warehouse.frame(
                f"select received_date, count(*) as n from {checked_table(f'raw.{source}')} group by 1"
            )
            said = counted[counted["source"] == source].set_index("received_date")["n"]
            there = rows.set_index("received_date")["n"].reindex(said.index, fill_value=0)
            problems += [f"half landed: {source} {day}" for day in said.index[said != there]]
    return problems


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


if __name__ == "__main__":
    chosen, where, code, on, what = sys.argv[1:]
    print(json.dumps(main(chosen, Path(where), Path(code), date.fromisoformat(on), what)))  # noqa: T201
