"""Word errors: the alignment, the rate, and what the normalizer makes equal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.measurement.quality import speech
from workbench.measurement.quality.speech import Word, word_errors

WORDS = st.lists(st.sampled_from(["a", "bee", "sea", "dee"]), min_size=1, max_size=8)


def test_the_alignment_names_every_error() -> None:
    found = word_errors("he was not an ill man", "He was knot an ill old man.")
    assert found.words == (
        Word("same", "he", "he"), Word("same", "was", "was"), Word("wrong", "not", "knot"), Word("same", "an", "an"),
        Word("same", "ill", "ill"), Word("added", "", "old"), Word("same", "man", "man"),
    )  # fmt: skip
    assert (found.errors, found.wanted) == (2, 6) and found.rate == pytest.approx(1 / 3)


def test_spelling_and_punctuation_are_no_errors() -> None:
    assert word_errors("Mr Dashwood realised twenty things!", "mister dashwood realized 20 things").errors == 0


def test_nothing_said_and_nothing_wanted() -> None:
    assert word_errors("one two", "").rate == 1.0
    with pytest.raises(UsageError, match="no word to compare"):
        word_errors("  ", "something")


@given(WORDS, WORDS)
def test_the_alignment_holds_both_texts_and_the_fewest_errors(wanted: list[str], said: list[str]) -> None:
    found = speech._aligned(wanted, said)
    assert [word.wanted for word in found if word.kind != "added"] == wanted
    assert [word.said for word in found if word.kind != "missing"] == said
    errors = sum(word.kind != "same" for word in found)
    assert abs(len(wanted) - len(said)) <= errors <= max(len(wanted), len(said))
    assert errors == sum(word.kind != "same" for word in speech._aligned(said, wanted))
    assert (errors == 0) == (wanted == said)
