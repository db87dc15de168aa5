"""Where the ledger ended when it was last written, kept outside of it: a cut end breaks no chain by itself.

The file names one entry, by number and hash. It is replaced in one step after an entry is committed, and only ever
by a later one: after a crash it lags, and the next entry brings it up.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock


class AnchorUnreadable(RuntimeError):
    """The anchor file is there and says nothing usable; the message names it."""


@dataclass(frozen=True)
class Anchor:
    """An entry that was committed."""

    seq: int
    hash: str


def read_anchor(path: Path) -> Anchor | None:
    """What the file says, None where there is none.

    Raises:
        AnchorUnreadable: it is not what `advance` writes.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Anchor(int(found["seq"]), str(found["hash"]))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise AnchorUnreadable(
            f"{path} is no anchor of a ledger ({error}): compare the ledger with its backup, then write the anchor "
            "anew with `ratchet ledger anchor`"
        ) from None


def advance(path: Path, anchor: Anchor, *, back: bool = False) -> None:
    """Let the file name `anchor`, unless it names a later entry already (with `back`: whatever it names)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not back:
            known = read_anchor(path)
            if known is not None and known.seq >= anchor.seq:
                return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with temporary.open("w", encoding="utf-8") as handle:
            json.dump(asdict(anchor), handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
