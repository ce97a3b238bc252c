"""What `Deployment.chat` costs beside the official client, counted in function calls: times differ, counts do not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

import workbench
from workbench.deployment import Deployment
from workbench.planning import Plan


def calls(work: Callable[[], Any]) -> int:
    """Calls of Python and C while `work` runs in this thread."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(previous)
    return count


def through_chat(deployment: Deployment, tokens: int) -> str:
    answer = ""
    for piece in deployment.chat("hello", max_tokens=tokens):
        answer += piece
    return answer


def through_the_client(deployment: Deployment, tokens: int) -> str:
    answer = ""
    with deployment.client.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "hello"}], stream=True, max_tokens=tokens
    ) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                answer += chunk.choices[0].delta.content
    return answer


@pytest.fixture
def deployment(fake_plan: Callable[..., Plan]) -> Iterator[Deployment]:
    with workbench.deploy(fake_plan()) as running:
        through_chat(running, 2)  # imports and the client are made once
        through_the_client(running, 2)
        yield running


def cost(work: Callable[[Deployment, int], str], deployment: Deployment) -> tuple[float, float]:
    """Calls for a request, and for one more token of it."""
    few, many = (calls(lambda tokens=tokens: work(deployment, tokens)) for tokens in (10, 60))
    each = (many - few) / 50
    return few - 10 * each, each


def test_the_same_answer_comes_through_both(deployment: Deployment) -> None:
    assert through_chat(deployment, 20) == through_the_client(deployment, 20) != ""


def test_chat_costs_a_fraction_of_the_client(deployment: Deployment) -> None:
    """A reason not to go through the official client, which takes longer to the first token."""
    request, token = cost(through_chat, deployment)
    request_there, token_there = cost(through_the_client, deployment)
    assert request < request_there / 2 and token < token_there / 2
