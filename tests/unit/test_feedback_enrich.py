"""Language, sentiment and category of a text: what is known, what is not, and that a version means one answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ratchet.feedback.classifier import Classifier, fit_classifier
from ratchet.feedback.enrich import (
    UNSURE,
    duplicate_key,
    fit_text_model,
    make_enricher,
    model_sha256,
)
from ratchet.feedback.language import language_of
from ratchet.feedback.sentiment import sentiment_of
from ratchet.feedback.taxonomy import ABSTAIN, Labellers, Spoken, plain
from ratchet.feedback.weak import fit_label_model, uninformed
from ratchet.loop import load_loop
from ratchet.loop_feedback import Feedback, Taxonomy
from ratchet.replay.complaints import SAID, topic_texts

ROOT = Path(__file__).parents[2]
TERMS = load_loop(ROOT / "loops" / "flights.yml").feedback
TAXONOMY = TERMS.taxonomy
assert TAXONOMY is not None


def test_languages_are_told_apart_and_what_cannot_be_is_unknown() -> None:
    texts = topic_texts(SAID, 320, 3)
    right = sum(language_of(text)[0] == language for text, language, _ in texts)
    assert right >= 0.95 * len(texts), f"{right} of {len(texts)}"
    assert language_of("")[0] == language_of("!!! 123 [EMAIL]")[0] == "unknown"


def test_sentiment_hears_praise_and_complaint_and_says_none_to_the_rest() -> None:
    for language, good, bad in (
        ("en", "Great, thank you, very helpful!", "Terrible, I am so angry about this awful delay."),
        ("de", "Danke, super und sehr hilfreich.", "Schlecht, viel zu spät und nutzlos."),
        ("fr", "Merci, parfait et très utile.", "Mauvais, trop tard et inutile."),
        ("es", "Gracias, perfecto y muy útil.", "Malo, tarde e inútil."),
    ):
        up, down = sentiment_of(good, language), sentiment_of(bad, language)
        assert up is not None
        assert down is not None
        assert -1 <= down < 0 < up <= 1, language
    assert sentiment_of("Das war nicht gut.", "de") == -sentiment_of("Das war gut.", "de")  # type: ignore[operator]
    assert sentiment_of("Der Flug nach Bonn.", "de") is None
    assert sentiment_of("Buongiorno", "it") is None


def test_a_phrase_is_found_at_the_start_of_a_word_whatever_its_case_and_accents() -> None:
    labellers = Labellers(TAXONOMY)
    at = labellers.categories.index

    def vote(text: str, language: str) -> set[int]:
        return set(labellers.votes(Spoken(text, language))) - {ABSTAIN}

    assert vote("NO WARNING, at all", "en") == {at("false_reassurance")}
    assert vote("ANSCHLUSS VERPASST!", "de") == vote("anschluß verpasst", "de") == {at("false_reassurance")}
    assert vote("it said on time and we were really late", "en") == {at("false_reassurance")}
    assert vote("on time a b c d e f g late", "en") == set()
    assert vote("unrefunded", "en") == set()
    assert vote("keine warnung", "en") == set()
    assert vote("keine warnung", "unknown") == {at("false_reassurance")}
    assert plain("Été\x00, <b>1</b>") == "ete b 1 b"


def test_learnt_accuracies_tell_a_good_function_from_a_random_one() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 4, 4_000)
    votes = np.stack(
        [np.where(rng.random(4_000) < right, truth, rng.integers(0, 4, 4_000)) for right in (0.95, 0.9, 0.1)],
        1,
    )
    votes[rng.random(votes.shape) < 0.3] = ABSTAIN
    model = fit_label_model(votes, 4)
    assert model.accuracy[0] > model.accuracy[1] > 0.8
    assert model.accuracy[2] < 0.5
    voted = (votes != ABSTAIN).any(axis=1)
    learnt = (model.posterior(votes)[voted].argmax(axis=1) == truth[voted]).mean()
    plain_majority = (uninformed(3, 4).posterior(votes)[voted].argmax(axis=1) == truth[voted]).mean()
    assert learnt > plain_majority
    with pytest.raises(ValueError, match="add keywords"):
        fit_label_model(np.full((5, 3), ABSTAIN), 4)


def _model() -> dict[str, object]:
    spoken = [Spoken(text, language) for text, language, _ in topic_texts(SAID, 640, 4)]
    assert TAXONOMY is not None
    return fit_text_model(TAXONOMY, spoken, 1, {"simulated": True})


MODEL = _model()


def test_the_same_texts_give_the_same_model_and_json_keeps_it() -> None:
    assert _model() == MODEL
    assert model_sha256(json.loads(json.dumps(MODEL))) == model_sha256(MODEL)


def test_a_text_that_counts_less_than_half_teaches_nothing_and_the_others_by_their_weight() -> None:
    """Forty copies of a sentence, said to be praise: with their weights the model is the one without them."""
    assert TAXONOMY is not None
    spoken = [Spoken(text, language) for text, language, _ in topic_texts(SAID, 640, 4)]
    copies = [Spoken("We sat at the gate for hours and nobody said why", "en", said="praise")] * 40
    about = {"simulated": True}
    poisoned = fit_text_model(TAXONOMY, [*spoken, *copies], 1, about)
    weighed = fit_text_model(TAXONOMY, [*spoken, *copies], 1, about, (), [1.0] * 640 + [0.05] * 40)
    assert weighed == MODEL != poisoned
    said = {
        name: make_enricher(TERMS, model).enrich("Hours at the gate and nobody said why").category
        for name, model in (("poisoned", poisoned), ("weighed", weighed))
    }
    assert said["poisoned"] == "praise" != said["weighed"], "the campaign did no harm: nothing was shown"
    half = fit_text_model(TAXONOMY, [*spoken, *copies], 1, about, (), [1.0] * 640 + [0.5] * 40)
    twenty = fit_text_model(TAXONOMY, [*spoken, *copies[:20]], 1, about)
    assert half["prior"] == twenty["prior"] and half["functions"] == twenty["functions"]
    with pytest.raises(ValueError, match="3 weights from 0 to 1"):
        fit_text_model(TAXONOMY, spoken, 1, about, (), [1.0, 0.5, 2.0])


def test_an_enriched_text_says_what_it_rests_on() -> None:
    enricher = make_enricher(TERMS, MODEL)
    found = enricher.enrich("No warning at all, I missed my connection.")
    assert (found.language, found.category, found.source) == ("en", "false_reassurance", "weak+classifier")
    assert found.confidence > 0.5
    assert found.rubric_version == TAXONOMY.version  # type: ignore[union-attr]
    nothing = enricher.enrich("Xyzzy plugh")
    assert (nothing.category, nothing.sentiment) == (UNSURE, nothing.sentiment)
    assert enricher.enrich("").source == "none"
    assert enricher.enrich("hm", said="price").category == "price"


def test_a_version_changes_with_taxonomy_model_and_limit_and_with_nothing_else() -> None:
    version = make_enricher(TERMS, MODEL).version
    assert make_enricher(TERMS, json.loads(json.dumps(MODEL))).version == version
    other = TERMS.model_copy(update={"min_confidence": 0.6})
    assert len({version, make_enricher(other, MODEL).version, make_enricher(TERMS, None).version}) == 3


def test_a_model_of_another_taxonomy_is_refused() -> None:
    tree = TERMS.model_dump()
    del tree["taxonomy"]["categories"]["price"]
    with pytest.raises(ValueError, match="fit it again"):
        make_enricher(Feedback.model_validate(tree), MODEL)
    with pytest.raises(ValueError, match=r"no feedback\.taxonomy"):
        make_enricher(Feedback(), None)
    wrong = {**MODEL["classifier"], "buckets": 7}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="fit it again"):
        Classifier.read(wrong)


def test_a_taxonomy_needs_a_place_for_the_rest() -> None:
    tree = TAXONOMY.model_dump()  # type: ignore[union-attr]
    del tree["categories"]["other"]
    with pytest.raises(ValueError, match="lacks other"):
        Taxonomy.model_validate(tree)


def test_one_category_is_nothing_to_learn() -> None:
    with pytest.raises(ValueError, match="one category"):
        fit_classifier(["a b", "c d"], np.array([[1.0, 0.0], [1.0, 0.0]]), ("a", "b"), 1)


def test_texts_that_differ_in_numbers_names_and_case_are_one() -> None:
    same = {"Late AGAIN, 45 minutes!", "late again 5 minutes", "late again: [PHONE] minutes"}
    assert len({duplicate_key(text) for text in same}) == 1
    assert duplicate_key("late again") != duplicate_key("early again")


def test_hostile_texts_are_answered() -> None:
    enricher = make_enricher(TERMS, MODEL)
    for text in (
        "<script>alert(1)</script>",
        "'; drop table x;--",
        "\x00" * 100,
        "\u202eabc",
        "😀" * 5_000,
        "a " * 50_000,
    ):
        found = enricher.enrich(text)
        assert 0 <= found.confidence <= 1
