"""Suites: what the world must look like at a border, in Great Expectations' own keys.

expectations/suites/<table>.yml holds `name`, `expectations` (type, kwargs, severity, meta) and `meta`
(border, table, partition_column, volume). A value `{$PARAMETER: name}` is filled from the loop when the gate
runs. Reading a suite does not import Great Expectations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ratchet.settings import Settings

BORDERS = ("landing", "features", "training")
SEVERITIES = ("critical", "warning")

# Which rows break the rule is known row by row, so a failure belongs to the partitions of those rows.
ROW_TYPES = frozenset(
    {
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_compound_columns_to_be_unique",
    }
)
# A number about a set of rows. It is taken of each partition by itself (see partitions.py), so that one
# backfill of a month and thirty daily runs come to the same verdicts.
AGGREGATE_TYPES: Mapping[str, str] = {
    "expect_table_row_count_to_be_between": "n_rows",
    "expect_column_mean_to_be_between": "mean",
    "expect_column_stdev_to_be_between": "stdev",
    "expect_column_unique_value_count_to_be_between": "unique_count",
    "expect_column_proportion_of_unique_values_to_be_between": "unique_share",
    "expect_column_proportion_of_non_null_values_to_be_between": "non_null_share",
}
# About the table as a whole: a failure is every partition's.
TABLE_TYPES = frozenset({"expect_column_to_exist", "expect_table_columns_to_match_set"})
# Numbers that landing counted, not columns of the table; rules about them carry meta grain: partition.
PARTITION_COLUMNS = ("n_rows", "n_quarantined", "quarantined_share")

_SUITE_KEYS = {"name", "expectations", "meta"}
_META_KEYS = {"border", "table", "partition_column", "volume", "reason"}
_VOLUME_KEYS = {"required_daily", "from", "reference"}
_RULE_KEYS = {"type", "kwargs", "severity", "meta"}
_RULE_META_KEYS = {"reason", "grain", "may_be_empty"}


class SuiteError(ValueError):
    """A suite that can't be run; the message names file, expectation and remedy."""


@dataclass(frozen=True)
class Rule:
    """One expectation. `grain`: row, partition (an aggregate of each partition) or table."""

    type: str
    kwargs: Mapping[str, Any]
    severity: Literal["critical", "warning"]
    reason: str
    grain: Literal["row", "partition", "table"]
    may_be_empty: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule looks at."""
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return tuple(named + list(self.kwargs.get("column_list", ())))

    @property
    def title(self) -> str:
        """The type with its columns, for a message."""
        return f"{self.type}({', '.join(self.columns)})"


@dataclass(frozen=True)
class Volume:
    """When a partition must be there: each day from `starts` on, once (a reference), or only if delivered."""

    required_daily: bool = False
    starts: date | None = None
    reference: bool = False


@dataclass(frozen=True)
class Suite:
    """The rules of one table at one border; `sha256` is the file's."""

    name: str
    border: Literal["landing", "features", "training"]
    table: str
    partition_column: str | None
    rules: tuple[Rule, ...]
    sha256: str
    volume: Volume = field(default_factory=Volume)


def _unknown(where: str, found: Mapping[str, Any], known: set[str]) -> None:
    extra = sorted(set(found) - known)
    if extra:
        raise SuiteError(f"{where}: unknown key {', '.join(extra)}; known: {', '.join(sorted(known))}")


def _rule(where: str, entry: Any, partitioned: bool) -> Rule:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise SuiteError(f"{where}: an expectation is a mapping with a type")
    where = f"{where}: {entry['type']}"
    _unknown(where, entry, _RULE_KEYS)
    meta = entry.get("meta") or {}
    _unknown(f"{where}.meta", meta, _RULE_META_KEYS)
    kwargs = entry.get("kwargs") or {}
    severity = entry.get("severity")
    if severity not in SEVERITIES:
        raise SuiteError(f"{where}: severity {severity!r}; critical blocks, warning passes with a note")
    reason = meta.get("reason")
    if not isinstance(reason, str) or len(reason) < 10:
        raise SuiteError(f"{where}: meta.reason must say why the rule is there")
    kind = entry["type"]
    grain: Literal["row", "partition", "table"]
    if meta.get("grain") == "partition":
        if kind != "expect_column_values_to_be_between" or kwargs.get("column") not in PARTITION_COLUMNS:
            raise SuiteError(f"{where}: grain partition is for bounds on {', '.join(PARTITION_COLUMNS)}")
        grain = "partition"
    elif kind in ROW_TYPES:
        grain = "row"
    elif kind in AGGREGATE_TYPES:
        grain = "partition" if partitioned else "table"
    elif kind in TABLE_TYPES:
        grain = "table"
    else:
        known = ", ".join(sorted({*ROW_TYPES, *AGGREGATE_TYPES, *TABLE_TYPES}))
        raise SuiteError(f"{where}: its failures can't be attributed to a partition; known types: {known}")
    if "row_condition" in kwargs:
        raise SuiteError(f"{where}: row_condition hides how many rows were looked at; split the rule")
    if "mostly" in kwargs and (grain != "row" or "column" not in kwargs):
        raise SuiteError(f"{where}: mostly is for rules on one column's values")
    return Rule(kind, kwargs, severity, reason, grain, bool(meta.get("may_be_empty")))


def parse_suite(text: str, where: str) -> Suite:
    """The suite in the YAML `text`; `where` names it in messages.

    Raises:
        SuiteError: not YAML, an unknown key or type, no expectation, no critical one, or no reason.
    """
    try:
        tree = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise SuiteError(f"{where}: not YAML: {error}") from None
    if not isinstance(tree, dict):
        raise SuiteError(f"{where}: a suite is a mapping of name, expectations and meta")
    _unknown(where, tree, _SUITE_KEYS)
    meta = tree.get("meta") or {}
    _unknown(f"{where}: meta", meta, _META_KEYS)
    border, table = meta.get("border"), meta.get("table")
    if border not in BORDERS:
        raise SuiteError(f"{where}: meta.border {border!r}; use one of {', '.join(BORDERS)}")
    if not isinstance(table, str) or not table or not isinstance(tree.get("name"), str):
        raise SuiteError(f"{where}: name and meta.table must be given")
    partition_column = meta.get("partition_column")
    if (partition_column is None) != (border == "training"):
        raise SuiteError(f"{where}: meta.partition_column is for landing and features, and needed there")
    rules = tuple(
        _rule(where, entry, partition_column is not None) for entry in tree.get("expectations") or []
    )
    if not any(rule.severity == "critical" for rule in rules):
        raise SuiteError(
            f"{where}: {len(rules)} expectations, none critical: a gate that can't block is no gate"
        )
    volume = meta.get("volume") or {}
    _unknown(f"{where}: meta.volume", volume, _VOLUME_KEYS)
    starts = volume.get("from")
    if starts is not None and not isinstance(starts, date):
        raise SuiteError(f"{where}: meta.volume.from must be a day, like 2013-01-01")
    return Suite(
        name=tree["name"],
        border=border,
        table=table,
        partition_column=partition_column,
        rules=rules,
        sha256=hashlib.sha256(text.encode("utf-8")).hexdigest(),
        volume=Volume(bool(volume.get("required_daily")), starts, bool(volume.get("reference"))),
    )


def load_suites(settings: Settings) -> dict[str, Suite]:
    """Every suite of expectations/suites by name, in name order.

    Raises:
        SuiteError: a suite can't be used, is not named like its file, or the folder holds none.
    """
    suites: dict[str, Suite] = {}
    for path in sorted(settings.suites_dir.glob("*.yml")):
        suite = parse_suite(path.read_text(encoding="utf-8"), str(path))
        if suite.name != path.stem:
            raise SuiteError(f"{path}: name is {suite.name!r}; make it the file's, {path.stem!r}")
        suites[suite.name] = suite
    if not suites:
        raise SuiteError(f"{settings.suites_dir} holds no suite: with no gate configured nothing may pass")
    return suites


def suite_for(suites: Mapping[str, Suite], border: str, table: str) -> Suite | None:
    """The suite of `table` at `border`, None if nobody wrote one."""
    found = [s for s in suites.values() if s.border == border and s.table == table]
    if len(found) > 1:
        raise SuiteError(f"{', '.join(s.name for s in found)}: more than one suite for {table} at {border}")
    return found[0] if found else None
