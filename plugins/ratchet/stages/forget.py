"""Forget people: their rows, texts, facts, receipts, and their part in training data; and keep them from coming back.

Each step of each request is written down when it is done, so a run that died goes on where it was. The order is:
nobody lands any more, what is derived goes, what was landed goes, the rest is built anew, the disk is rewritten, and
last the ledger says what was done. The ledger names people by the keyed hash only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pandas as pd
from filelock import FileLock

from ratchet.feedback.forgetting import Flagged, retrain_after
from ratchet.landing.contract import SourceContract
from ratchet.landing.people import key_of
from ratchet.ledger.chain import plain
from ratchet.loop import Loop
from ratchet.published import read
from ratchet.settings import Settings
from ratchet.stages import forget_rows, forget_snapshots
from ratchet.stages.annotation_labels import forget_labels
from ratchet.stages.build import collect, judge_features, publish, write_scope
from ratchet.stages.dbt_environment import build, warehouse_for_dbt
from ratchet.stages.pull import judge_days
from ratchet.stages.records import ledger_of, state_of
from ratchet.warehouse.connect import open_warehouse
from ratchet.warehouse.erase import erase_deleted
from ratchet.warehouse.protocol import Warehouse

Log = Callable[[str], None]
#: The steps of a request, in order.
STEPS = ("noted", "snapshots", "derived", "landed", "built", "erased")


class NobodyNamed(ValueError):
    """The loop's sources say of no row whom it is about, or no id was given."""


def forget(
    settings: Settings, loop: Loop, ids: Sequence[str], log: Log, *, actor: str = "on-call"
) -> list[dict[str, Any]]:
    """Forget the people of `ids` (as their sources name them, or their pseudonyms); what was done, one each.

    Returns:
        For each: person (the pseudonym), removed (rows by table), files (rows by source), left (files outside of
        the landing folder), snapshots, models, retrain (the request that was opened, or None).

    Raises:
        NobodyNamed: no source of the loop names people, or an id is blank.
        PersonKeyError: the key is not the one that the warehouse was filled under.
        BuildFailed, WarehouseLocked: as in a build; run it again, it goes on where it was.
    """
    if not ids or not all(text.strip() for text in ids):
        raise NobodyNamed("give the id of a person, as their feedback has it")
    settings.home.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.home / f"forget-{loop.loop}.lock", timeout=settings.lock_wait_seconds):
        return _Forgetting(settings, loop, log, actor).run(list(dict.fromkeys(ids)))


class _Forgetting:
    def __init__(self, settings: Settings, loop: Loop, log: Log, actor: str) -> None:
        self._settings, self._loop, self._log, self._actor = settings, loop, log, actor
        self._as_of = _as_of(settings, loop)

    def run(self, ids: list[str]) -> list[dict[str, Any]]:
        settings, loop = self._settings, self._loop
        with open_warehouse(settings, purpose=f"forgetting people of {loop.loop}") as wh:
            contracts = forget_rows.ensure(settings, loop, wh)
            key = key_of(settings, wh, contracts.values())
            if key is None:
                raise NobodyNamed(
                    f"no source of loop {loop.loop} names people: mark the column with `person: true` in its contract"
                )
            people = {key.pseudonym(loop.loop, text): text.strip() for text in ids}
            for person in people:
                self._block(wh, person)
            # Landings that began before hold the lock until their rows are there.
            with wh.lock(f"people:{loop.loop}"):
                pass
            for person, text in people.items():
                said: frozenset[str] = frozenset() if text == person else frozenset({text})
                name = loop.loop
                self._step(wh, person, "noted", partial(forget_rows.note_keys, wh, name, person, contracts))
                self._step(wh, person, "snapshots", partial(self._bury, wh, person))
                derived = partial(self._remove_derived, wh, person, contracts)
                self._step(wh, person, "derived", derived)
                landed = partial(forget_rows.remove_raw, settings, loop, wh, person, key, said, self._log)
                self._step(wh, person, "landed", landed)
        open_steps = {person: self._done(person) for person in people}
        if any("built" not in done for done in open_steps.values()):
            self._build(open_steps)
        if any("erased" not in done for done in open_steps.values()):
            self._erase(list(people))
        return [self._record(person) for person in people]

    def _block(self, wh: Warehouse, person: str) -> None:
        """From here on landing drops the person's rows."""
        ledger_of(self._settings).append(
            loop=self._loop.loop, kind="forget_requested", key=f"forget:{person}", as_of=self._as_of, actor=self._actor,
            payload={"person": person, "policy": self._loop.policy.privacy.forget.model_dump(mode="json")},
        )  # fmt: skip
        wh.execute(
            "insert into ops.forgotten_people values (?, ?, ?) on conflict do nothing",
            (self._loop.loop, person, self._as_of),
        )

    def _step(self, wh: Warehouse, person: str, step: str, run: Callable[[], Any]) -> None:
        if step in self._done(person):
            return
        # What is only in the warehouse is gone and counted at once; files are mended one partition at a time.
        with wh.transaction() if step in ("noted", "derived") else nullcontext():
            found = run()
            removed = asdict(found) if isinstance(found, forget_rows.Removed) else found
            wh.execute(
                "insert into ops.forgetting_steps values (?, ?, ?, ?) on conflict do nothing",
                (self._loop.loop, person, step, json.dumps(removed, sort_keys=True)),
            )

    def _done(self, person: str) -> dict[str, dict[str, Any]]:
        with open_warehouse(self._settings, purpose="forgetting: what is done") as wh:
            rows = wh.frame(
                "select step, removed from ops.forgetting_steps where loop = ? and person = ?",
                (self._loop.loop, person),
            )
        return {str(step): json.loads(removed) for step, removed in rows.itertuples(index=False)}

    def _remove_derived(
        self, wh: Warehouse, person: str, contracts: Mapping[str, SourceContract]
    ) -> forget_rows.Removed:
        """Rows in tables, and what the annotation page shows and keeps of the person's answers."""
        forget_labels(self._settings, wh, self._loop.loop, person)
        return forget_rows.remove_derived(wh, self._loop.loop, person, contracts)

    def _bury(self, wh: Warehouse, person: str) -> dict[str, Any]:
        forget_snapshots.write_tombstones(wh, self._loop, person)
        units = wh.frame(
            "select name from ops.forgetting where loop = ? and person = ? and kind = 'unit_id' order by name",
            (self._loop.loop, person),
        )["name"].tolist()
        return {
            "units": len(units),
            "snapshots": forget_snapshots.bury(self._settings, self._loop, units),
        }

    def _build(self, steps: dict[str, dict[str, dict[str, Any]]]) -> None:
        """Judge the partitions that lost rows, and build what they reach."""
        settings, loop = self._settings, self._loop
        days: dict[str, set[str]] = {}
        for done in steps.values():
            for source, found in done["landed"]["days"].items():
                days.setdefault(source, set()).update(found)
        if days:
            judge_days(settings, loop, {source: sorted(found) for source, found in days.items()}, self._log)
            as_of = max(
                self._as_of, datetime.fromisoformat(max(max(d) for d in days.values())) + timedelta(1)
            )
            with warehouse_for_dbt(settings, ["build", "--selector", loop.loop]):
                if _is_built(settings, loop) and self._scope(as_of):
                    build(settings, loop)
                    judge_features(settings, loop, as_of, self._log)
                    publish(settings, loop, as_of, self._log)
        with open_warehouse(settings, purpose=f"forgetting people of {loop.loop}") as wh:
            for person in steps:
                self._step(wh, person, "built", lambda: {"days": sum(map(len, days.values()))})

    def _scope(self, as_of: datetime) -> bool:
        """Write down what has to be built; False when nothing has to.

        Dirty partitions reach what the rows that they still have are about. The rows that are gone were about
        units whose dates have to be built anew as well.
        """
        settings, loop = self._settings, self._loop
        taken = collect(settings, loop, as_of, self._log)
        with open_warehouse(settings, purpose=f"forgetting people of {loop.loop}") as wh, wh.transaction():
            rows = wh.frame(
                "select distinct departure_date from marts.fct_predictions where loop = ? and unit_id in "
                "(select name from ops.forgetting where loop = ? and kind = 'unit_id')",
                (loop.loop, loop.loop),
            )
            days = [pd.Timestamp(day).date() for day in rows["departure_date"]]
            if taken is None and days:
                write_scope(wh, loop, dict.fromkeys(days, False), as_of)
            for day in days if taken is not None else []:
                wh.execute(
                    "insert into ops.build_scope (loop, departure_date, as_of, includes_features) "
                    "select loop, ?, max(as_of), false from ops.build_scope where loop = ? group by loop "
                    "on conflict do nothing",
                    (day, loop.loop),
                )
        return taken is not None or bool(days)

    def _erase(self, people: list[str]) -> None:
        """The keys of the person's rows are the last that names them; then the bytes go."""
        settings, loop = self._settings, self._loop
        with open_warehouse(settings, purpose=f"forgetting people of {loop.loop}") as wh:
            for person in people:
                wh.execute("delete from ops.forgetting where loop = ? and person = ?", (loop.loop, person))
            contracts = forget_rows.contracts_with_people(settings, loop)
            tables = ["raw.quarantine", *(c.table for c in contracts.values()), *forget_rows.OWN]
            tables += list(forget_rows.derived_tables(wh, contracts))
        size = erase_deleted(settings, sorted(set(tables)))
        with open_warehouse(settings, purpose=f"forgetting people of {loop.loop}") as wh:
            for person in people:
                self._step(wh, person, "erased", lambda: {"bytes": size})

    def _record(self, person: str) -> dict[str, Any]:
        """Flag the models, ask for a retrain where the loop file wants one, and close the request in the ledger."""
        settings, loop, ledger = self._settings, self._loop, ledger_of(self._settings)
        done = self._done(person)
        graves = done["snapshots"]["snapshots"]
        removed: dict[str, int] = {}
        for step in ("derived", "landed"):
            for table, rows in done[step]["rows"].items():
                removed[table] = removed.get(table, 0) + rows
        models = forget_snapshots.trained_versions(settings, loop, ledger.entries(loop.loop), graves)
        policy = loop.policy.privacy.forget.models
        for model in models:
            ledger.append(
                loop=loop.loop, kind="model_flagged", key=f"forget_model:{person}:{model['version']}",
                as_of=self._as_of, payload={**model, "person": person, "policy": policy},
            )  # fmt: skip
        retrain = self._retrain(person, [Flagged(int(m["version"]), int(m["rows"])) for m in models])
        found = {
            "person": person,
            "removed": dict(sorted(removed.items())),
            "files": done["landed"]["files"],
            "left": done["landed"]["left"],
            "units_left_out": done["snapshots"]["units"],
            "snapshots": graves,
            "models": models,
        }
        earlier = [e for e in ledger.entries(loop.loop, ["forgotten"]) if e.payload["person"] == person]
        # A later request that finds nothing any more adds nothing, nor does one that died right here.
        if not earlier or ((removed or graves or found["files"]) and earlier[-1].payload != plain(found)):
            ledger.append(
                loop=loop.loop, kind="forgotten", key=f"forgotten:{person}:{len(earlier) + 1}", as_of=self._as_of,
                payload=found, actor=self._actor,
            )  # fmt: skip
        with open_warehouse(settings, purpose=f"forgetting people of {loop.loop}") as wh:
            wh.execute("delete from ops.forgetting_steps where loop = ? and person = ?", (loop.loop, person))
        self._log(
            f"{person}: {sum(removed.values())} rows of {len(removed)} tables, {sum(found['files'].values())} rows of "
            f"files, {len(graves)} snapshots; {len(models)} models learned from them"
        )
        return {**found, "retrain": retrain, "policy": policy}

    def _retrain(self, person: str, models: list[Flagged]) -> str | None:
        settings, loop, ledger = self._settings, self._loop, ledger_of(self._settings)
        key = f"trigger:forget:{person}"
        known = ledger.find(loop.loop, key)
        if known is None:
            state = state_of(settings, loop)
            decided = retrain_after(loop.policy.privacy.forget.models, models, state.champion_version,
                                    is_busy=state.request is not None or state.rollout is not None)  # fmt: skip
            if decided.action != "request":
                return None
            known = ledger.append(
                loop=loop.loop, kind="trigger", key=key, as_of=self._as_of,
                payload={"tier": "event", "action": decided.action, "reason": decided.reason, "evidence": {},
                         "first": "none", "asked_by": "forget", "models": [asdict(m) for m in models],
                         "champion_version": state.champion_version,
                         "policy": loop.policy.privacy.forget.models},
            )  # fmt: skip
        return known.key


def _as_of(settings: Settings, loop: Loop) -> datetime:
    """The time of the newest build; of the clock before the first."""
    published = read(settings, loop.loop, "partitions")
    if published is None or not published.get("as_of"):
        return datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    return pd.Timestamp(published["as_of"]).to_pydatetime()


def _is_built(settings: Settings, loop: Loop) -> bool:
    """Whether anything was ever built: with no schedule there is nothing to build anew."""
    return read(settings, loop.loop, "partitions") is not None
