"""Answers beside predictions, and answers beside each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import workbench
from workbench import planning
from workbench.machine import describe
from workbench.measurement import Answer, Compared, ask_each, departures
from workbench.measurement.compared import memory_name
from workbench.planning import Plan, of_request

ANSWERED = Answer(("It ", "is."), 0.25, 0.1, "stop", tokens=3, prompt_tokens=200, cached_tokens=150)


def test_before_an_answer_the_prediction_is_the_plan_s(fake_plan: Callable[..., Plan]) -> None:
    made = fake_plan()
    alone = Compared(made)
    assert alone.predicted == made.predictions
    assert (alone.measured, alone.share_of_bound) == ({}, None)


def test_after_it_the_prediction_is_for_what_was_asked(fake_plan: Callable[..., Plan]) -> None:
    made = fake_plan()
    found = Compared(made, ANSWERED, 1000)
    asked = of_request(made, 200, 3, 150)
    assert (found.predicted["decode"], found.predicted["ttft"]) == (asked["decode"], asked["ttft"])
    assert found.predicted["memory_peak"] == made.predictions["memory_peak"]
    assert found.measured == pytest.approx({"decode": 20.0, "ttft": 0.25, "memory_peak": 1000.0})
    assert found.share_of_bound == pytest.approx(20 / found.bound.known())
    assert found.beside_bound.startswith(f"{found.share_of_bound:.0%} of the bound")
    assert Compared(made).beside_bound == ""


def test_a_stopped_answer_has_no_speed_in_tokens(fake_plan: Callable[..., Plan]) -> None:
    found = Compared(fake_plan(), Answer(("It ", "is."), 0.25, 0.1), 1000)
    assert set(found.measured) == {"ttft", "memory_peak"}


def test_each_plan_is_asked_the_same_and_let_go(fake_plan: Callable[..., Plan]) -> None:
    plans = [fake_plan(words="One two three "), fake_plan(words="Four five six ")]
    found = ask_each(plans, "Count.", max_tokens=2)
    assert [one.answer.text for one in found if one.answer] == ["One two ", "Four five "]
    assert all(one.memory_bytes for one in found)
    assert workbench.deployments() == []


def test_one_that_fails_says_why_and_the_others_go_on(fake_plan: Callable[..., Plan]) -> None:
    dead, alive = ask_each([fake_plan(load_s=60, exit_after_s=0.1), fake_plan()], "Hi.", max_tokens=2)
    assert "did not start" in dead.failure
    assert (dead.answer, dead.measured) == (None, {})
    assert alive.answer
    assert alive.failure == ""


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], []),
        ([["a", "b"]], [None]),
        ([["a", "b"], ["a", "b"]], [None, None]),
        ([["a", "b"], ["ab"]], [None, None]),  # cut in another way
        ([["a", "b"], ["a", "c"]], [1, 1]),
        ([["a", "bc", "d"], ["ab", "x", "d"]], [1, 1]),
        ([["a", "b"], ["a", "b", "c"]], [None, 2]),  # one ends where the other goes on
        ([["a", "b", "c"], ["a"], ["x"]], [0, None, 0]),
        ([[], ["a"]], [None, 0]),
    ],
)
def test_where_answers_part(answers: list[list[str]], expected: list[Any]) -> None:
    assert departures(answers) == expected


def test_memory_of_processes_is_not_that_of_a_card() -> None:
    """What a server holds in main memory is never put beside what its model takes on a card."""
    on_card = planning.estimate("llama-3.1-8b", machine=describe("RTX 3090"), format="Q4_K_M")
    assert on_card.predictions["host_memory_peak"] == on_card.memory[-1].total
    assert memory_name(on_card.predictions) == "host_memory_peak"
    shared = planning.estimate("llama-3.1-8b", machine=describe("Apple M2 Max (38-core GPU), 64GB"), format="Q4_K_M")
    assert memory_name(shared.predictions) == "memory_peak"
