"""Let an excluded cohort have what serves the others: somebody's decision, recorded, and never made by a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet.certificate.contents import LOOKS
from ratchet.ledger.approvals import Identity
from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.loop import Loop
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of
from ratchet.stages.rollback import takes_effect
from ratchet.stages.serving import project

Log = Callable[[str], None]


class NotExcluded(RuntimeError):
    """No such cohort is excluded; nothing was changed."""


@dataclass(frozen=True)
class LeftOut:
    """An excluded cohort: who serves it instead of whom, why, and what the newest look knows of it."""

    cohort: str
    served_by: int
    instead_of: int
    why: str
    known: dict[str, Any] | None


def left_out(entries: Sequence[Entry]) -> tuple[LeftOut, ...]:
    """Every cohort that is excluded now, of what is on trial first, then of what was promoted."""
    state = fold(entries)
    found = []
    for served_by, instead_of, admission in _exclusions(state):
        looks = [e for e in entries if e.kind in LOOKS and e.payload["challenger_version"] == instead_of]
        known = looks[-1].payload["evidence"].get("cohorts_left_out", {}) if looks else {}
        found += [
            LeftOut(name, served_by, instead_of, why, known.get(name)) for name, why in admission.excluded
        ]
    return tuple(found)


def _exclusions(state: LoopState) -> list[tuple[int, int, Any]]:
    rollout = state.rollout
    found = []
    if rollout is not None and rollout.trial.admission is not None:
        found.append((rollout.champion_version, rollout.challenger_version, rollout.trial.admission))
    return found + [(kept.version, kept.promoted, kept.admission) for kept in state.kept]


def release(
    settings: Settings,
    loop: Loop,
    cohort: str,
    *,
    reason: str,
    actor: str,
    log: Log,
    by: str = "",
    identity: Identity = "claimed",
    seen: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Record that `cohort` (`dimension=value`) is excluded no more; it is served like the others from now on.

    `by` is who decided it (the actor if left out), `identity` how that is known. `seen` are the versions that the
    person saw it excluded from: where they are others by now, they decided something else.

    Raises:
        NotExcluded: it is not excluded (names those that are), not from the versions that were `seen`, or the loop
            takes nothing from a command line.
    """
    ledger = ledger_of(settings)
    entries = ledger.entries(loop.loop)
    state, out = fold(entries), left_out(entries)
    own = [item for item in out if item.cohort == cohort]
    if loop.approvals.authenticated and identity != "airflow":
        raise NotExcluded(
            "the loop wants people whom Airflow knows (approvals.authenticated): release it on the page Approvals there"
        )
    if not own:
        told = ", ".join(dict.fromkeys(item.cohort for item in out)) or "none is"
        raise NotExcluded(f"cohort {cohort!r} is not excluded; {told}")
    now = sorted(item.instead_of for item in own)
    if seen is not None and sorted(seen) != now:
        told = ", ".join(map(str, now))
        raise NotExcluded(
            f"cohort {cohort!r} is excluded from version {told} by now: look again before you decide"
        )
    payload = {
        "cohort": cohort,
        "reason": reason,
        "by": by or actor,
        "identity": identity,
        "released": [
            {"served_by": item.served_by, "instead_of": item.instead_of, "why": item.why, "known": item.known}
            for item in own
        ],
    }
    entry = ledger.append(
        loop=loop.loop, kind="cohort_released", key=f"released:{cohort}:{state.serving_seq}",
        as_of=takes_effect(settings, loop, state), payload=payload, actor=actor,
    )  # fmt: skip
    routing = project(settings, loop)
    log(f"{cohort} is served like the others from the next scoring run on (units due from {entry.as_of})")
    return {**entry.payload, "as_of": entry.as_of, "serves": routing.champion_version}
