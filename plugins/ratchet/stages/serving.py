"""What serves is a projection of the ledger: aliases and routing file follow from its entries, nothing else.

`project` may be called at any time and as often as one likes: after a crash between an entry and its effect,
before each scoring run, or by repeating a task of an old run. It always ends in what the ledger says now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from ratchet.ledger.chain import Entry
from ratchet.ledger.state import LoopState, fold
from ratchet.ledger.trials import Holdback, Rollout
from ratchet.loop import Loop, Stage
from ratchet.registry.models import Alias, Registry
from ratchet.scoring.routing import KeptVersion, Routing, RoutingError, read_routing, write_routing
from ratchet.settings import Settings
from ratchet.stages.records import ledger_of


class TermsOutdated(RuntimeError):
    """A rollout that began under another version of Ratchet can't be judged by this one; it goes on serving."""


class NothingServes(RuntimeError):
    """The ledger names no champion, or one that nobody offered."""


class CategoriesMoved(RuntimeError):
    """A version would be given other codes for its categories than it was fitted with; nothing was scored."""


class Aliases(Protocol):
    """Where aliases of a loop's model are kept: the registry, or a drill's own."""

    def aliases(self, loop: str) -> dict[str, int]: ...

    def set_alias(self, loop: str, alias: Alias, version: int) -> None: ...

    def drop_alias(self, loop: str, alias: Alias) -> None: ...


def offered(entries: Sequence[Entry], version: int) -> Entry:
    """The entry that offered `version`: the first champion's or its rollout's.

    Raises:
        NothingServes: no entry names it; it can't serve.
    """
    for entry in reversed(entries):
        if entry.kind in ("bootstrap", "baseline") and entry.payload["model_version"] == version:
            return entry
        if entry.kind == "rollout_started" and entry.payload["challenger_version"] == version:
            return entry
    raise NothingServes(f"the ledger never offered version {version}")


def sha256_of(entries: Sequence[Entry], version: int) -> str:
    """SHA-256 of a version's model.json, as the ledger recorded it when it was offered."""
    return str(offered(entries, version).payload["model_sha256"])


def categories_moved(loop: Loop, entries: Sequence[Entry], version: int) -> str | None:
    """Why `version` does not read the loop file's categories as it learnt them, or None.

    A category is encoded by its position in the list. Values may be added at the end, or taken from there: no other
    value's code changes. What was offered without its lists is compared with those it was evaluated by.
    """
    entry = offered(entries, version)
    known = entry.payload.get("categories")
    if known is None:
        evaluation = next((e for e in entries if e.hash == entry.payload.get("evaluation")), None)
        known = (
            evaluation.payload.get("terms", {}).get("features", {}).get("categorical", ())
            if evaluation
            else ()
        )
    for name, learnt in dict(known).items():
        now = list(loop.features.categorical.get(name, ()))
        moved = next((pair for pair in zip(learnt, now, strict=False) if pair[0] != pair[1]), None)
        if moved is not None:
            place = list(learnt).index(moved[0])
            return (
                f"version {version} learnt {name} with {moved[0]!r} at place {place}, where the loop file now has "
                f"{moved[1]!r}: put the list back in its order, new values at its end"
            )
    return None


def terms_of(loop: Loop) -> dict[str, Any]:
    """The parts of a loop file that judge a rollout; they are fixed in the ledger when it starts."""
    parts = {"rollout", "guardrails", "metrics", "cohorts", "gates", "label", "prediction", "unit", "cluster"}
    return loop.model_dump(mode="json", include=parts)


def loop_as_agreed(loop: Loop, entries: Sequence[Entry], rollout: Rollout | Holdback) -> Loop:
    """`loop` with the terms that were recorded when the rollout started: no later edit moves a boundary.

    A holdback keeps the terms of the rollout that led to it.

    Raises:
        TermsOutdated: this version of Ratchet asks for terms that were not recorded then.
    """
    terms = offered(entries, rollout.challenger_version).payload["terms"]
    # Part by part: the edited file and the old terms need not make one valid file.
    fixed = {}
    for name, value in terms.items():
        try:
            declared: Any = Loop.model_fields[name].annotation
            fixed[name] = TypeAdapter(declared).validate_python(value)
        except (KeyError, ValidationError) as error:
            raise TermsOutdated(
                f"{rollout.experiment_id} began with terms that this version can't read ({name}: {error}): it is not "
                "judged; end it with `ratchet rollback`, or judge it with the version that it began with"
            ) from None
    return loop.model_copy(update=fixed)


def stage_of(entries: Sequence[Entry], rollout: Rollout) -> Stage:
    """The stage that a running rollout is in, by the terms it began with."""
    terms = offered(entries, rollout.challenger_version).payload["terms"]
    return Stage.model_validate(terms["rollout"]["stages"][rollout.trial.stage_index])


def routing_from(loop: Loop, entries: Sequence[Entry]) -> Routing:
    """What serves by the ledger.

    Raises:
        NothingServes: there is no champion yet.
    """
    state: LoopState = fold(entries)
    if state.champion_version is None or state.serving_as_of is None or state.serving_decision is None:
        raise NothingServes(f"loop {loop.loop} has no champion; train one with mode bootstrap")
    champion = state.champion_version
    kept = tuple(
        KeptVersion(own.version, sha256_of(entries, own.version), own.admission) for own in state.kept
    )
    plain = Routing(
        loop.loop,
        champion,
        sha256_of(entries, champion),
        state.serving_as_of,
        state.serving_decision,
        kept=kept,
    )
    if state.holdback is not None:
        held = state.holdback
        return replace(
            plain, experiment_id=held.experiment_id, stage="holdback", share=held.share,
            holdback_version=held.previous_version, holdback_sha256=sha256_of(entries, held.previous_version),
        )  # fmt: skip
    if state.rollout is None:
        return plain
    stage = stage_of(entries, state.rollout)
    challenger = state.rollout.challenger_version
    return replace(
        plain, experiment_id=state.rollout.experiment_id, challenger_version=challenger,
        challenger_sha256=sha256_of(entries, challenger), stage=stage.name, share=stage.share,
        admission=state.rollout.trial.admission,
    )  # fmt: skip


def project(settings: Settings, loop: Loop, aliases: Aliases | None = None) -> Routing:
    """Bring aliases (the registry's, unless others are given) and routing file in line with the ledger.

    Returns the routing in force.

    Raises:
        NothingServes: there is no champion yet.
    """
    ledger = ledger_of(settings)
    registry: Aliases = Registry(settings) if aliases is None else aliases
    routing = routing_from(loop, ledger.entries(loop.loop))
    while True:
        _bring_in_line(settings, loop, registry, routing)
        # Somebody may have decided meanwhile, and projected before this did: what was written last must be the newest.
        newest = routing_from(loop, ledger.entries(loop.loop))
        if newest == routing:
            return routing
        routing = newest


def _bring_in_line(settings: Settings, loop: Loop, registry: Aliases, routing: Routing) -> None:
    wanted = {"champion": routing.champion_version}
    if routing.challenger_version is not None:
        wanted["challenger"] = routing.challenger_version
    found = registry.aliases(loop.loop)
    if found.get("champion") != wanted["champion"]:
        registry.set_alias(loop.loop, "champion", wanted["champion"])
    if "challenger" in wanted and found.get("challenger") != wanted["challenger"]:
        registry.set_alias(loop.loop, "challenger", wanted["challenger"])
    if "challenger" not in wanted and "challenger" in found:
        registry.drop_alias(loop.loop, "challenger")
    try:
        in_force: Routing | None = read_routing(settings, loop.loop)
    except RoutingError:
        in_force = None
    if in_force != routing:
        write_routing(settings, routing)


def effective_as_of(built: dict[str, Any] | None, as_of: datetime) -> datetime:
    """`as_of`, or the newest published build's if that is later: work on the past does not turn the clock back."""
    return as_of if built is None else max(as_of, datetime.fromisoformat(built["as_of"]))
