"""Which rows two snapshots do not share, and why: what landed, what was built and what was asked in between. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

KEY = "unit_id"


@dataclass(frozen=True)
class RowDiff:
    """Rows by unit. `changed` has one row a changed value: unit_id, departure_date, column, old, new."""

    added: pd.DataFrame
    removed: pd.DataFrame
    changed: pd.DataFrame
    same: int

    @property
    def differs(self) -> bool:
        return bool(len(self.added) or len(self.removed) or len(self.changed))

    @property
    def changed_units(self) -> int:
        return int(self.changed[KEY].nunique())

    def by_column(self) -> dict[str, int]:
        """How many values of each column changed, most first."""
        return {str(name): int(n) for name, n in self.changed["column"].value_counts().items()}


@dataclass(frozen=True)
class Why:
    """What differs between two manifests. `parts` are sentences; the lists name partitions."""

    parts: tuple[str, ...] = ()
    landed_since: list[dict[str, Any]] = field(default_factory=list)
    changed_since: list[dict[str, Any]] = field(default_factory=list)
    gone: list[dict[str, Any]] = field(default_factory=list)

    @property
    def explains(self) -> bool:
        """Whether anything that rows can depend on differs."""
        return bool(self.parts or self.landed_since or self.changed_since or self.gone)


def diff_rows(old: pd.DataFrame, new: pd.DataFrame) -> RowDiff:
    """The difference by unit; values are compared exactly, missing equals missing.

    Raises:
        ValueError: a unit stands twice in one of them.
    """
    for name, frame in (("the first", old), ("the second", new)):
        twice = frame[KEY][frame[KEY].duplicated()]
        if len(twice):
            raise ValueError(f"{name} snapshot has unit {twice.iloc[0]} more than once; it is no snapshot")
    before, after = old.set_index(KEY), new.set_index(KEY)
    both = before.index.intersection(after.index).sort_values()
    left, right = before.loc[both], after.loc[both]
    found: list[pd.DataFrame] = []
    for column in [*before.columns, *[c for c in after.columns if c not in before.columns]]:
        a = left[column] if column in left else pd.Series(pd.NA, index=both, dtype=object)
        b = right[column] if column in right else pd.Series(pd.NA, index=both, dtype=object)
        gone, came = a.isna().to_numpy(), b.isna().to_numpy()
        differs, present = gone != came, ~gone & ~came
        differs[present] = a.to_numpy(dtype=object)[present] != b.to_numpy(dtype=object)[present]
        if differs.any():
            date = right["departure_date"] if "departure_date" in right else pd.Series(None, index=both)
            part = {KEY: both[differs], "departure_date": date[differs].to_numpy(), "column": column}
            values = {
                "old": a[differs].astype(object).to_numpy(),
                "new": b[differs].astype(object).to_numpy(),
            }
            found.append(pd.DataFrame({**part, **values}))
    changed = (
        pd.concat(found, ignore_index=True)
        if found
        else pd.DataFrame(columns=[KEY, "departure_date", "column", "old", "new"])
    )
    return RowDiff(
        added=new[~new[KEY].isin(before.index)].reset_index(drop=True),
        removed=old[~old[KEY].isin(after.index)].reset_index(drop=True),
        changed=changed.sort_values(["departure_date", KEY, "column"]).reset_index(drop=True),
        same=len(both) - int(changed[KEY].nunique()),
    )


def why(
    old: dict[str, Any],
    new: dict[str, Any],
    old_partitions: list[dict[str, Any]],
    new_partitions: list[dict[str, Any]],
    rows: RowDiff,
) -> Why:
    """What differs between the manifests `old` and `new` that rows can depend on."""
    parts = _asked(old, new, rows)
    parts += [
        f"{what}: {_short(a)} -> {_short(b)}"
        for what, a, b in (
            ("the dbt models or macros changed", old["dbt"]["models_sha256"], new["dbt"]["models_sha256"]),
            ("the loop file changed", old["loop_file_sha256"], new["loop_file_sha256"]),
            ("the libraries' lock changed", old["environment_sha256"], new["environment_sha256"]),
            ("the code's commit changed", old["code"]["commit"], new["code"]["commit"]),
        )
        if a != b
    ]
    parts += [
        f"the {which} one was taken from a tree with uncommitted changes: its code is not known"
        for which, manifest in (("first", old), ("second", new))
        if manifest["code"]["is_clean"] is False
    ]
    before = {(p["source"], p["received_date"]): p for p in old_partitions}
    after = {(p["source"], p["received_date"]): p for p in new_partitions}
    return Why(
        tuple(parts),
        landed_since=[p for key, p in after.items() if key not in before],
        changed_since=[
            {**p, "old_rows": before[key]["n_rows"]}
            for key, p in after.items()
            if key in before and before[key]["digest"] != p["digest"]
        ],
        gone=[p for key, p in before.items() if key not in after],
    )


def _asked(old: dict[str, Any], new: dict[str, Any], rows: RowDiff) -> list[str]:
    """Differences of the questions themselves, with how many rows each accounts for."""
    parts = []
    if old["window"] != new["window"]:
        n = sum(_outside(frame, other["window"]) for frame, other in ((rows.added, old), (rows.removed, new)))
        parts.append(f"the window: {' to '.join(old['window'])} -> {' to '.join(new['window'])} ({n} rows)")
    if old["as_of"] != new["as_of"]:
        n = sum(
            int((pd.to_datetime(frame["label_received_at"]) >= pd.Timestamp(other["as_of"])).sum())
            for frame, other in ((rows.added, old), (rows.removed, new))
            if "label_received_at" in frame
        )
        parts.append(f"the as-of: {old['as_of']} -> {new['as_of']} (labels of {n} rows came in between)")
    gone = [(manifest.get("tombstones") or {"count": 0, "sha256": None}) for manifest in (old, new)]
    if gone[0] != gone[1]:
        parts.append(
            f"units left out because somebody asked to be forgotten: {gone[0]['count']} -> {gone[1]['count']}"
        )
    if old["query"]["sql"] != new["query"]["sql"]:
        parts.append("the query: other columns or another condition")
    return parts


def _outside(frame: pd.DataFrame, window: list[str]) -> int:
    days = pd.to_datetime(frame["departure_date"])
    return int(((days < pd.Timestamp(window[0])) | (days > pd.Timestamp(window[1]))).sum())


def _short(value: Any) -> str:
    return "not known" if value is None else str(value)[:12]
