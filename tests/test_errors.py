"""The tree of errors: what its drawing says is what there is."""

from __future__ import annotations

import re

import pytest

from workbench import errors
from workbench.errors import AmbiguousName, MissingExtra, UnknownName, UsageError, WorkbenchError

DRAWN = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
DEFINED = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and kind is not WorkbenchError
}


def test_every_class_is_drawn_and_every_drawn_class_exists() -> None:
    assert sorted(DRAWN) == sorted(DEFINED)
    assert len(DRAWN) == len(set(DRAWN))


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawn_class_is_a_workbench_error(name: str) -> None:
    assert issubclass(DEFINED[name], WorkbenchError)
    assert DEFINED[name].__doc__


def test_what_is_drawn_below_wrong_use_is_wrong_use() -> None:
    drawn = (errors.__doc__ or "").partition("── UsageError")[2].partition("\n    ├──")[0]
    below = re.findall(r"│   [├└]── (\w+)", drawn)
    assert below == ["UnknownName", "AmbiguousName", "PortTaken"]
    assert {name for name, kind in DEFINED.items() if issubclass(kind, UsageError)} == {"UsageError", *below}


def test_wrong_use_exits_with_2_and_nothing_else_does() -> None:
    wrong_use = {"UsageError", "UnknownName", "AmbiguousName", "PortTaken"}
    assert {name for name, kind in DEFINED.items() if kind.exit_status == 2} == wrong_use
    assert {kind.exit_status for kind in DEFINED.values()} == {1, 2}


def test_a_message_says_what_happened_and_what_to_do() -> None:
    error = WorkbenchError("The disk is full.", fix="Free some space.", details="ENOSPC")
    assert str(error) == "The disk is full. Free some space."
    assert (error.what, error.fix, error.details) == ("The disk is full.", "Free some space.", "ENOSPC")
    assert str(WorkbenchError("The disk is full.")) == "The disk is full."


def test_an_unknown_name_meets_the_nearest_ones() -> None:
    error = UnknownName("model", "SmolLM", ["qwen2.5-0.5b", "smollm2", "smollm2-135m"])
    assert isinstance(error, UsageError)
    assert str(error) == "There is no model called 'SmolLM'. Did you mean smollm2 or smollm2-135m?"


def test_nothing_near_lists_what_is_known_in_order() -> None:
    assert str(UnknownName("engine", "zzz", ["fake", "abc"])) == "There is no engine called 'zzz'. Known: abc, fake."


def test_an_ambiguous_name_meets_all_it_can_mean() -> None:
    error = AmbiguousName("accelerator", "M4 Pro", {"b", "a"})
    assert str(error) == "'M4 Pro' can be more than one accelerator. Name one of them: a, b."
    assert error.candidates == ("a", "b")


def test_nothing_known_is_said_in_words() -> None:
    """`workbench stop x` with nothing running must not end in an empty list."""
    message = str(UnknownName("running deployment", "x", []))
    assert "'x'" in message
    assert "Known: ." not in message


def test_a_missing_extra_gives_the_command() -> None:
    error = MissingExtra("voila", "lab", "The dashboard")
    assert "'voila'" in str(error)
    assert str(error).endswith('pip install "open-model-workbench[lab]"')
