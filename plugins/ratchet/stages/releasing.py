"""What stands between a candidate that passed and its trial, besides its evaluation: the release calendar,
versions that were withdrawn, and a loop without guardrails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from ratchet.ledger.chain import Entry
from ratchet.ledger.state import fold
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages.jobs import Job
from ratchet.stages.records import ledger_of
from ratchet.stages.serving import effective_as_of, sha256_of
from ratchet.triggers.releases import release_block

Log = Callable[[str], None]


def why_not_started(
    settings: Settings, loop: Loop, job: Job, model_sha256: str, entries: Sequence[Entry]
) -> str | None:
    """Why the candidate of `job` must not go on trial now, or None.

    Waiting for a release day is noted in the ledger: the first `decide_rollout` on such a day offers it.
    """
    if not loop.guardrails:
        return "refused: the loop declares no guardrail, and no rollout starts without one"
    state = fold(entries)
    for version in state.withdrawn_versions:
        if sha256_of(entries, version) == model_sha256:
            return f"refused: it is version {version}, byte for byte, which was withdrawn"
    as_of = effective_as_of(read(settings, loop.loop, "partitions"), job.as_of)
    block = release_block(loop, "bootstrap" if job.mode == "bootstrap" else "start", as_of)
    if block is None:
        return None
    if job.mode == "retrain":
        ledger_of(settings).append(
            loop=loop.loop, kind="offer_waits", key=f"offer_waits:{job.request}", as_of=as_of,
            payload={"request": job.request, "reason": block},
        )  # fmt: skip
    return f"waits: {block}"


def offer_waiting(settings: Settings, loop: Loop, as_of: datetime, log: Log) -> None:
    """Offer the candidate that passed and waited for a release day, if `as_of` is one."""
    entries = ledger_of(settings).entries(loop.loop)
    request = fold(entries).request
    if request is None or not any(e.key == f"offer_waits:{request.key}" for e in entries):
        return
    if release_block(loop, "start", as_of) is not None:
        return
    # Offering asks this module first.
    from ratchet.stages.offering import offer

    log(f"the candidate of {request.key} waited for a release day")
    offer(settings, loop, Job(loop.loop, "retrain", request.key, request.as_of), log)
