"""A library that calls back becomes a generator: order, errors, and an end when nobody wants the rest."""

from __future__ import annotations

import threading

import pytest

from workbench.engines.pushed import Push, pushed


def test_events_come_in_order() -> None:
    def work(push: Push) -> None:
        for number in range(3):
            push(number)

    assert list(pushed(work)) == [0, 1, 2]


def test_an_error_of_the_work_reaches_who_asked() -> None:
    def work(push: Push) -> None:
        push("first")
        raise ValueError("broken")

    events = pushed(work)
    assert next(events) == "first"
    with pytest.raises(ValueError, match="broken"):
        next(events)


def test_closing_ends_the_work_and_waits_for_it() -> None:
    ended = threading.Event()

    def work(push: Push) -> None:
        try:
            while True:
                push("more")
        finally:
            ended.set()

    events = pushed(work)
    assert next(events) == "more"
    events.close()
    assert ended.is_set()
