"""Answers that count less: bursts of one account, one text from many accounts, claims that outcomes contradict. Pure.

A weight from 0 to 1 with its reason; what nobody suspects counts 1. Nothing is thrown away: a burst counts as much as
its sender would on an ordinary day, copies as much as that text usually does, and contradicted claims as much as those
of others. Only what was received in the judged days is weighed, against the days before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import betabinom, poisson

from ratchet.feedback.near import groups, words_of

Array = NDArray[np.float64]
Reason = Literal["burst", "copies", "contradicts", "none"]

#: Another number whenever the same answers may get other weights.
WEIGHTS_VERSION = "1"
COLUMNS = (
    "feedback_id",
    "account",
    "unit_id",
    "received_date",
    "category",
    "duplicate_key",
    "label",
    "weight",
)
#: Of each of the three searches: something ordinary is found with this probability at most (Bonferroni; BH for claims).
ERROR = 0.01
LEAST_DAYS = 7  # before the judged ones; with fewer nobody knows what is usual
LEAST_BURST, LEAST_PEOPLE, LEAST_WORDS, LEAST_CLAIMS, LEAST_CLAIMS_OF_ALL = 5, 5, 4, 4, 50
NEW_SHARE = 0.1  # of its category, at most, is expected of a text that nobody has sent before
SLACK = 2.0  # days differ by more than chance: what is expected is taken that much larger
FIRST_CORRELATION = 0.1  # of two claims of one account, before it is measured


@dataclass(frozen=True)
class Found:
    """What one search found: answers that count less, and how many accounts or texts they came from."""

    rows: int
    sources: int


@dataclass(frozen=True)
class Weighed:
    """`weights`: feedback_id, received_date, weight, reason of the answers that count less than 1.

    `judged`: answers looked at; `days`: days before them, below `LEAST_DAYS` nothing was judged. `lost`: share of the
    judged answers that no longer counts.
    """

    weights: pd.DataFrame
    judged: int
    days: int
    lost: float
    found: Mapping[Reason, Found]

    @property
    def is_known(self) -> bool:
        return self.days >= LEAST_DAYS and self.judged > 0


def weigh(
    rows: pd.DataFrame, texts: Mapping[str, str], claims: Mapping[str, int], since: date, until: date
) -> Weighed:
    """The weights of the answers received from `since` to before `until`.

    Args:
        rows: `COLUMNS`, one row an answer, nothing of it received at or after `until`; `label` is the outcome of its
            unit if it was known by then, `weight` what the answer was said to count before. Of somebody without an
            account each unit counts as another person.
        texts: by duplicate key, the redacted text of what was written in the judged days; a text that is not here, or
            of fewer than four words, is no copy of anything: many people say thank you.
        claims: by category, the outcome that it asserts.

    Raises:
        KeyError: a column is missing.
        ValueError: an answer comes twice.
    """
    rows = rows[list(COLUMNS)].reset_index(drop=True)
    if rows["feedback_id"].duplicated().any():
        raise ValueError("an answer comes twice: give one version of each")
    day = np.array(list(pd.to_datetime(rows["received_date"]).dt.date), dtype=object)
    rows = rows.assign(
        day=day,
        is_judged=np.array([since <= d < until for d in day], dtype=bool),
        person=rows["account"]
        .where(rows["account"].notna(), "unit:" + rows["unit_id"].astype(str))
        .astype(str),
    )
    days = len({d for d in day if d < since})
    judged = int(rows["is_judged"].sum())
    weight, reason = np.ones(len(rows)), np.full(len(rows), "none", dtype=object)
    found: dict[Reason, Found] = {}
    if days >= LEAST_DAYS and judged:
        for name, (own, sources) in (
            ("burst", _bursts(rows)),
            ("copies", _copies(rows, texts, days)),
            ("contradicts", _contradicted(rows, claims)),
        ):
            lower = own < weight
            weight, reason = np.where(lower, own, weight), np.where(lower, name, reason)
            found[name] = Found(int((own < 1).sum()), sources)  # type: ignore[index]
    less = weight < 1
    weights = pd.DataFrame(
        {
            "feedback_id": rows.loc[less, "feedback_id"].astype(str),
            "received_date": day[less],
            "weight": np.round(weight[less], 6),
            "reason": reason[less],
        }
    ).sort_values("feedback_id", ignore_index=True)
    lost = float((1 - weight).sum() / judged) if judged else 0.0
    return Weighed(weights, judged, days, lost, found)


def _bursts(rows: pd.DataFrame) -> tuple[Array, int]:
    """Days on which an account writes far more than itself, and than others, on a day on which they write."""
    weight = np.ones(len(rows))
    own = rows[rows["account"].notna()]
    # What counted less already makes nobody's ordinary day larger.
    own = own.assign(counts=own["weight"].where(~own["is_judged"], 1.0))
    cells = own.groupby(["account", "day", "is_judged"], sort=True)["counts"].sum().reset_index(name="n")
    now, before = cells[cells["is_judged"]], cells[~cells["is_judged"]]
    suspects = now[now["n"] >= LEAST_BURST]
    if not len(suspects) or not len(before):
        return weight, 0
    usual = float(before.loc[before["n"] <= before["n"].quantile(0.99), "n"].mean())
    active = before.groupby("account")["n"].agg(["mean", "size"])
    known = active.loc[active["size"] >= LEAST_BURST, "mean"]
    expected = np.maximum(usual, known.reindex(suspects["account"]).fillna(0.0).to_numpy(dtype=float))
    n = suspects["n"].to_numpy(dtype=float)
    is_burst = poisson.sf(n - 1, SLACK * expected) < ERROR / len(now)
    counts: dict[Any, float] = {
        (account, day): max(1.0, rate) / count
        for account, day, rate, count in zip(
            suspects["account"][is_burst],
            suspects["day"][is_burst],
            expected[is_burst],
            n[is_burst],
            strict=True,
        )
    }
    for at, key in zip(own.index, zip(own["account"], own["day"], strict=True), strict=True):
        weight[at] = counts.get(key, 1.0)
    return weight, len({account for account, _ in counts})


def _copies(rows: pd.DataFrame, texts: Mapping[str, str], days: int) -> tuple[Array, int]:
    """Texts that many people send on a day, or in the judged days together, while others complain no more of the same.

    A text is expected as often as ever, or in its usual share of what is said in its category: a storm makes all of
    them more frequent, a campaign one. One that is new is expected as often as the category's texts are on average.
    """
    weight = np.ones(len(rows))
    long_enough = {key: text for key, text in texts.items() if len(words_of(text)) >= LEAST_WORDS}
    written = rows[rows["duplicate_key"].notna()]
    leader = groups(long_enough)
    written = written.assign(
        text=[leader.get(key, key) for key in written["duplicate_key"]],
        about=written["category"].where(written["category"].notna(), "none").astype(str),
    )
    before = written[~written["is_judged"]].drop_duplicates(["about", "text", "day", "person"])
    of_text: dict[Any, float] = before.groupby(["about", "text"])["weight"].sum().to_dict()
    of_category: dict[Any, float] = before.groupby("about")["weight"].sum().to_dict()
    kinds: dict[Any, int] = before.groupby("about")["text"].nunique().to_dict()
    now = written[written["is_judged"]]
    tested: list[tuple[Any, float, float]] = []
    cells = 0
    for period in ("day", "all"):
        part = now.assign(when=now["day"] if period == "day" else "all")
        people = part.drop_duplicates(["about", "text", "when", "person"])
        totals: dict[Any, int] = people.groupby(["about", "when"]).size().to_dict()
        sizes: dict[Any, int] = people.groupby(["about", "text", "when"]).size().to_dict()
        copies: dict[Any, int] = part.groupby(["about", "text", "when"]).size().to_dict()
        cells += len(sizes)
        for key, n in sizes.items():
            about, text, when = key
            if n < LEAST_PEOPLE or text not in leader:
                continue
            all_before = max(of_category.get(about, 0.0), 1.0)
            new = min(1 / max(kinds.get(about, 1), 1), NEW_SHARE)
            share = min(max(of_text.get((about, text), 0.0) / all_before, new), 0.99)
            length = 1 if period == "day" else max(now["day"].nunique(), 1)
            as_ever = of_text.get((about, text), 0.0) / days * length
            expected = max(as_ever, share / (1 - share) * (totals[about, when] - n))
            tested.append(
                (key, float(poisson.sf(n - 1, SLACK * expected + 1)), max(1.0, expected) / copies[key])
            )
    taken = {key: share for key, p, share in tested if p < ERROR / max(cells, 1) and share < 1}
    for at, about, text, day in zip(now.index, now["about"], now["text"], now["day"], strict=True):
        weight[at] = min(taken.get((about, text, day), 1.0), taken.get((about, text, "all"), 1.0))
    return weight, len({text for _, text, _ in taken})


def _contradicted(rows: pd.DataFrame, claims: Mapping[str, int]) -> tuple[Array, int]:
    """Accounts whose claims about an outcome are contradicted far more often than those of others.

    Everybody errs, and not equally often: contradictions of an account are beta-binomial with the moments of the others
    (Griffiths 1973, Biometrics 29:637-648), p-values are corrected by Benjamini and Hochberg (1995, JRSS B 57:289-300).
    """
    weight = np.ones(len(rows))
    said = rows[rows["category"].isin(list(claims)) & rows["label"].notna() & rows["account"].notna()]
    wrong = said["category"].map(claims).astype(float) != said["label"].astype(float)
    by = said.assign(wrong=wrong).groupby("account", sort=True)["wrong"].agg(["size", "sum"])
    n, k = by["size"].to_numpy(dtype=float), by["sum"].to_numpy(dtype=float)
    if n.sum() < LEAST_CLAIMS_OF_ALL or not (n >= LEAST_CLAIMS).any():
        return weight, 0
    tested = n >= LEAST_CLAIMS
    flagged = np.zeros(len(n), dtype=bool)
    rate = 0.0
    for is_first in (True, False):
        usual = ~flagged
        # At first those who are looked for are among the others: how far people differ is assumed, then measured.
        rate, spread = _moments(n[usual], k[usual], FIRST_CORRELATION if is_first else None)
        p = betabinom.sf(k - 1, n, rate / spread, (1 - rate) / spread)
        flagged = tested & _bh(p, tested)
    least: dict[Any, float] = {
        account: rate / (wrong_of / size)
        for account, size, wrong_of, bad in zip(by.index, n, k, flagged, strict=True)
        if bad
    }
    for at, account, is_judged in zip(said.index, said["account"], said["is_judged"], strict=True):
        if is_judged:
            weight[at] = min(1.0, least.get(account, 1.0))
    return weight, int(flagged.sum())


def _moments(n: Array, k: Array, correlation: float | None) -> tuple[float, float]:
    """Mean of a beta-binomial, and 1 / (alpha + beta); bounded, so that few accounts give no certainty."""
    rate = min(max((k.sum() + 0.5) / (n.sum() + 1.0), 1e-3), 0.999)
    if correlation is None:
        pairs = float((n * (n - 1)).sum())
        excess = float(((k - n * rate) ** 2).sum()) / (rate * (1 - rate)) - float(n.sum())
        correlation = min(max(excess / pairs if pairs else FIRST_CORRELATION, 0.02), 0.5)
    return rate, correlation / (1 - correlation)


def _bh(p: Array, tested: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the tested hypotheses Benjamini and Hochberg reject at `ERROR`."""
    found = np.sort(p[tested])
    limits = ERROR * np.arange(1, len(found) + 1) / len(found)
    passed = np.flatnonzero(found <= limits)
    return p <= (found[passed[-1]] if len(passed) else -math.inf)
