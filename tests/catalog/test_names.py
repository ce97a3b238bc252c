"""Names are found in any spelling, never guessed, and refused with all they can mean."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import catalog
from workbench.catalog.names import Names
from workbench.errors import AmbiguousName, UnknownName

NAMES = Names(
    "card",
    {"a-100": ["Big Card", "twin"], "b-200": ["Maker Small Card", "twin"], "twin-2": ["Llama 3 8B"]},
    ignore=["maker"],
)


@pytest.mark.parametrize(
    ("text", "key"),
    [("a-100", "a-100"), ("A 100", "a-100"), ("a100", "a-100"), ("BIG-card", "a-100"), ("bigcard", "a-100"),
     ("small card", "b-200"), ("maker b200", "b-200"), ("twin2", "twin-2"), ("llama-3_8b", "twin-2")],
)  # fmt: skip
def test_case_punctuation_and_empty_words_do_not_count(text: str, key: str) -> None:
    assert NAMES.find(text) == key


def test_numbers_side_by_side_stay_apart() -> None:
    with pytest.raises(UnknownName):
        NAMES.find("llama 38b")


def test_what_several_are_called_is_refused_with_all_of_them() -> None:
    with pytest.raises(AmbiguousName, match="'Twin' can be more than one card") as caught:
        NAMES.find("Twin")
    assert caught.value.candidates == ("a-100", "b-200")


def test_a_key_is_its_own_record_even_where_another_claims_it() -> None:
    assert Names("card", {"x": ["y"], "y": []}).find("y") == "y"


@pytest.mark.parametrize("text", ["", "   ", "maker", "c-300", "card"])
def test_what_nobody_is_called_is_unknown(text: str) -> None:
    with pytest.raises(UnknownName, match="no card called"):
        NAMES.find(text)


KEYS = sorted(catalog.accelerators())
# "Apple M2 8 core" may mean the CPU; only the key itself is as short as that.
CARDS = [key for key in KEYS if not key.startswith("apple-")]


# A point between numbers is a decimal point, and one parenthesis is half a remark.
MARKS = "".join(mark for mark in string.punctuation + " " if mark not in ".()")


@given(st.sampled_from(CARDS), st.sampled_from(MARKS))
def test_any_punctuation_finds_the_same_accelerator(key: str, mark: str) -> None:
    assert catalog.accelerator(key.upper().replace("-", mark)).key == key


@given(st.sampled_from(KEYS))
def test_a_title_finds_its_accelerator_and_finding_again_changes_nothing(key: str) -> None:
    spec = catalog.accelerators()[key]
    assert catalog.accelerator(spec.title) is catalog.accelerator(key) is spec
    assert catalog.accelerator(catalog.accelerator(spec.title).key) is spec


@given(st.text(max_size=40))
def test_any_text_is_found_or_refused_in_words(text: str) -> None:
    try:
        catalog.accelerator(text)
    except (UnknownName, AmbiguousName) as refusal:
        assert repr(text) in str(refusal)
