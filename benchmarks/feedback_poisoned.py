"""What a campaign of copies with a wrong label does to the text model, with and without the weights of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd

from benchmarks.feedback_topics import HELD_OUT
from benchmarks.judge_tables import ROOT
from benchmarks.report import Figure
from ratchet.feedback.enrich import Enricher, duplicate_key, fit_text_model, make_enricher
from ratchet.feedback.language import language_of
from ratchet.feedback.poisoning import weigh
from ratchet.feedback.redact import redact_text
from ratchet.feedback.taxonomy import Spoken
from ratchet.loop import load_loop
from ratchet.replay.complaints import SAID, topic_texts

TEXTS, SHARE, BOUND = 4_000, 0.05, 0.02
_START, _DAYS, _JUDGED = date(2013, 6, 1), 35, 7
#: Sentences that a campaign copies: what people will really write, said to be about something else.
SENTENCES = (1, 6, 12)
#: As many that each is said hardly more often than others: not found.
TOO_MANY = 24


def macro_f1(enricher: Enricher, texts: Sequence[tuple[str, str, str]]) -> float:
    """Mean over categories of F1 on (text, language, category); `unsure` counts as missed."""
    found = [
        one.category
        for one in enricher.enrich_all([t for t, _, _ in texts], [None] * len(texts), [None] * len(texts))
    ]
    truth = [category for _, _, category in texts]
    scores = []
    for kind in sorted(set(truth)):
        both = sum(a == b == kind for a, b in zip(found, truth, strict=True))
        scores.append(2 * both / (found.count(kind) + truth.count(kind)))
    return float(np.mean(scores))


def poisoned(seed: int) -> list[Figure]:
    """Macro F1 on held-out sentences of a model fitted on five weeks of texts: ordinary ones; with a campaign of one in
    twenty in the last week; the same with weights. The worst of the campaigns counts."""
    loop = load_loop(ROOT / "loops" / "flights.yml")
    taxonomy = loop.feedback.taxonomy
    if taxonomy is None:
        raise RuntimeError("the loop has no taxonomy")
    ordinary = _ordinary(seed)
    held_out = topic_texts(HELD_OUT, 1_600, seed)

    def f1(rows: pd.DataFrame, weights: Mapping[str, float]) -> float:
        spoken = [
            Spoken(text, language_of(text)[0], None, None, said)
            for text, said in zip(rows["text"], rows["category"], strict=True)
        ]
        counts = [weights.get(name, 1.0) for name in rows["feedback_id"]]
        model = fit_text_model(taxonomy, spoken, seed, {}, (), counts)
        return macro_f1(make_enricher(loop.feedback, model), held_out)

    clean = f1(ordinary, {})
    falls = []
    for sentences in (*SENTENCES, TOO_MANY):
        rows = pd.concat([ordinary, _campaign(ordinary, sentences)], ignore_index=True)
        since = _START + timedelta(days=_DAYS - _JUDGED)
        texts = dict(zip(rows["duplicate_key"], rows["text"], strict=True))
        weighed = weigh(rows, texts, {}, since, _START + timedelta(days=_DAYS))
        weights = dict(zip(weighed.weights["feedback_id"], weighed.weights["weight"], strict=True))
        planted = rows["feedback_id"].str.startswith("x")
        caught = rows.loc[planted, "feedback_id"].isin(list(weights)).mean()
        falls.append((clean - f1(rows, weights), clean - f1(rows, {}), float(caught)))
    *told, missed = falls
    note = (
        f"{len(ordinary)} texts of five weeks; in the last {SHARE:.0%} of all are copies of 1, 6 or 12 sentences that "
        f"the model is measured on, with a wrong label: the worst; macro F1 {clean:.3f} without them; simulated"
    )
    return [
        Figure("text model under a campaign, fall of F1 with weights", max(one[0] for one in told), "", BOUND,
               note=note),
        Figure("the same without weights: it would do harm", max(one[1] for one in told), "", BOUND, "higher",
               f"at least {100 * min(one[2] for one in told):.0f} % of the copies are found"),
        Figure(f"the same of {TOO_MANY} sentences, with weights", missed[0], "",
               note=f"{100 * missed[2]:.0f} % of the copies are found: each is said hardly more often than others"),
    ]  # fmt: skip


def _ordinary(seed: int) -> pd.DataFrame:
    """What 2,000 people write, of whom six in ten say what it is about, one in ten of them wrongly."""
    rng, rows = np.random.default_rng(seed), []
    kinds = sorted(SAID)
    for n, (text, _, truth) in enumerate(topic_texts(SAID, TEXTS, seed)):
        said: str | None = truth if rng.random() < 0.9 else str(rng.choice(kinds))
        said = said if rng.random() < 0.6 else None
        day = _START + timedelta(days=int(rng.integers(_DAYS)))
        rows.append(_row(f"f{n:05}", f"u{int(rng.integers(2_000))}", day, redact_text(text), said))
    return pd.DataFrame(rows)


def _campaign(ordinary: pd.DataFrame, sentences: int) -> pd.DataFrame:
    """Copies of so many sentences that the model is measured on, each said to be about the next category."""
    kinds = sorted(HELD_OUT)
    said = [
        (redact_text(spoken[0].format(x="Boston", n=40)), kinds[(at + 1) % len(kinds)])
        for language in ("en", "de", "fr", "es")
        for at, kind in enumerate(kinds)
        for spoken in [HELD_OUT[kind][language]]
    ][:sentences]
    count = round(SHARE * len(ordinary) / (1 - SHARE))
    first = _START + timedelta(days=_DAYS - _JUDGED)
    return pd.DataFrame(
        [
            _row(f"x{n:05}", f"bot{n}", first + timedelta(days=n % _JUDGED), *said[n % len(said)])
            for n in range(count)
        ]
    )


def _row(name: str, account: str, day: date, text: str, said: str | None) -> dict[str, object]:
    return {
        "feedback_id": name, "account": account, "unit_id": f"UA{name}", "received_date": day, "category": said,
        "duplicate_key": duplicate_key(text), "label": None, "weight": 1.0, "text": text,
    }  # fmt: skip
