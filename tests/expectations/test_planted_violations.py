"""Every rule of every suite is shown failing on a violation made for it, and passing without."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.loop import Loop
from ratchet.quality.gates import suite_parameters
from ratchet.quality.judge import Finding, judge
from ratchet.quality.session import Session
from ratchet.quality.suites import Rule, Suite, load_suites
from ratchet.settings import load_settings

SUITES = load_suites(load_settings({}))
DAY = date(2013, 5, 14)
AS_OF = pd.Timestamp("2013-05-21").to_pydatetime()
CASES = [(suite.name, n) for suite in SUITES.values() for n in range(len(suite.rules))]
LEAKS_PERSONAL_DATA = ["write to jo@example.com", "card 4111 1111 1111 1111 charged"]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(Path(tmp_path_factory.mktemp("gx")))


@pytest.fixture(scope="module")
def frames(request: pytest.FixtureRequest) -> dict[str, pd.DataFrame]:
    builders = request.getfixturevalue("builders")
    return {name: build() for name, build in builders.items()}


def run(
    session: Session, loop: Loop, suite: Suite, frame: pd.DataFrame, quarantined: int = 0
) -> tuple[list[Finding], Any]:
    if suite.partition_column is None:
        days = pd.Series(pd.Timestamp(DAY), index=range(len(frame)))
    else:
        days = frame[suite.partition_column]
    return judge(
        session,
        suite,
        frame,
        days=days,
        judged=[DAY],
        quarantined={DAY: quarantined},
        parameters=suite_parameters(loop, frame.columns, AS_OF),
    )


def violations(rule: Rule, frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, int]]:
    """(what was planted, frame, rows in quarantine): one for each bound that the rule has."""
    kwargs = rule.kwargs
    column = kwargs.get("column")
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    n = len(frame)
    if rule.type == "expect_table_row_count_to_be_between":
        if isinstance(low, dict):
            low = 20_000
        if low is not None:
            yield "too few rows", frame.iloc[: int(low) - 1], 0
        if high is not None:
            yield "too many rows", frame.iloc[np.arange(int(high) + 1) % n].reset_index(drop=True), 0
    elif rule.grain == "partition" and column == "quarantined_share":
        yield "quarantined rows", frame, int(n * (high + 0.01) / (1 - high - 0.01)) + 2
    elif rule.type == "expect_column_values_to_not_be_null":
        yield "missing values", frame.assign(**{column: None}), 0
    elif rule.type == "expect_column_proportion_of_non_null_values_to_be_between":
        yield "missing values", frame.assign(**{column: np.nan}), 0
    elif rule.type in ("expect_column_values_to_be_between", "expect_column_mean_to_be_between"):
        if isinstance(high, dict):
            yield (
                "after the as-of",
                frame.assign(**{column: pd.Timestamp(AS_OF) + pd.Timedelta(microseconds=1)}),
                0,
            )
            return
        if low is not None:
            yield "below", frame.assign(**{column: float(low) - 1}), 0
        if high is not None:
            yield "above", frame.assign(**{column: float(high) + 1}), 0
    elif rule.type == "expect_column_stdev_to_be_between":
        if low is not None:
            yield "constant", frame.assign(**{column: 7.0}), 0
        if high is not None:
            yield "spread", frame.assign(**{column: np.arange(n) % 2 * high * 4.0}), 0
    elif rule.type == "expect_column_values_to_be_in_set":
        other: Any = 2 if column == "label" else "ZZ9"
        yield "unknown value", frame.assign(**{column: other}), 0
    elif rule.type == "expect_column_values_to_match_regex":
        yield "another form", frame.assign(**{column: "+01:00 ?"}), 0
    elif rule.type == "expect_column_values_to_not_match_regex":
        found = [
            text for text in LEAKS_PERSONAL_DATA if pd.Series([text]).str.contains(kwargs["regex"]).all()
        ]
        assert len(found) == 1
        yield "personal data", frame.assign(**{column: found[0]}), 0
    elif rule.type == "expect_column_pair_values_a_to_be_greater_than_b":
        yield "at the same time", frame.assign(**{kwargs["column_A"]: frame[kwargs["column_B"]]}), 0
    elif rule.type == "expect_compound_columns_to_be_unique":
        yield "twice", frame.iloc[np.arange(n + 1) % n].reset_index(drop=True), 0
    elif rule.type == "expect_column_unique_value_count_to_be_between":
        if low is not None and low > 1:
            yield "one value", frame.assign(**{column: frame[column].iloc[0]}), 0
        if high is not None:
            yield "many values", frame.assign(**{column: np.arange(n) % (int(high) + 1)}), 0
    elif rule.type == "expect_column_proportion_of_unique_values_to_be_between":
        yield "repeated", frame.assign(**{column: frame[column].iloc[np.arange(n) // 2].to_numpy()}), 0
    elif rule.type == "expect_table_columns_to_match_set":
        yield "another column", frame.assign(arr_delay=1.0), 0
        yield "a column less", frame.drop(columns=frame.columns[-3]), 0
    else:
        raise AssertionError(f"no violation is planted for {rule.type}: write one")


@pytest.mark.parametrize(("name", "position"), CASES, ids=[f"{name}-{n}" for name, n in CASES])
def test_rule_fails_on_the_violation_made_for_it(
    session: Session, loop: Loop, frames: dict[str, pd.DataFrame], name: str, position: int
) -> None:
    suite = SUITES[name]
    rule = suite.rules[position]
    alone = dataclasses.replace(suite, rules=(rule,))
    planted = list(violations(rule, frames[name]))
    assert planted, "a rule that nothing can break checks nothing"
    for what, frame, quarantined in planted:
        found, _ = run(session, loop, alone, frame, quarantined)
        assert len(found) == 1
        assert DAY in found[0].failures, f"{rule.title} passed: {what}"


@pytest.mark.parametrize("name", sorted(SUITES))
def test_good_frame_keeps_every_rule_warnings_included(
    session: Session, loop: Loop, frames: dict[str, pd.DataFrame], name: str
) -> None:
    found, result = run(session, loop, SUITES[name], frames[name])
    assert len(found) == len(SUITES[name].rules)
    assert [(f.rule.title, dict(f.failures)) for f in found if f.failures] == []
    assert all(f.rows_looked_at > 0 for f in found if not f.rule.may_be_empty)
    assert result.success
    assert len(result.results) == len(SUITES[name].rules)


@pytest.mark.parametrize("name", sorted(SUITES))
def test_column_that_is_gone_or_empty_is_never_a_pass(
    session: Session, loop: Loop, frames: dict[str, pd.DataFrame], name: str
) -> None:
    suite = SUITES[name]
    looked_at = sorted({c for rule in suite.rules for c in rule.columns if c in frames[name].columns})
    looked_at = [c for c in looked_at if c != suite.partition_column]
    assert looked_at
    for column in looked_at:
        rules = tuple(rule for rule in suite.rules if column in rule.columns)
        alone = dataclasses.replace(suite, rules=rules)
        for found in run(session, loop, alone, frames[name].drop(columns=column))[0]:
            assert DAY in found.failures, f"{found.rule.title} passed without its column"
        nothing = frames[name].assign(**{column: None})
        strict = [rule for rule in rules if not rule.may_be_empty and rule.type.startswith("expect_column_v")]
        for found in run(session, loop, dataclasses.replace(suite, rules=tuple(strict)), nothing)[0]:
            assert DAY in found.failures, f"{found.rule.title} passed on nothing"
