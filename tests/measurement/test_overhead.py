"""What `Deployment.chat` adds to the official client, counted in function calls: times differ, counts do not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import workbench
from workbench.deployment import Deployment
from workbench.planning import Plan

PACKAGE = str(Path(workbench.__file__).parent)


def calls_by(folder: str, work: Callable[[], Any]) -> int:
    """Calls (Python and C) into code below `folder` and out of it, while `work` runs in this thread.

    What the client does by itself is left out: how it cuts the stream into reads depends on the moment.
    """
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        ours = frame.f_code.co_filename.startswith(folder)
        by_us = frame.f_back is not None and frame.f_back.f_code.co_filename.startswith(folder)
        count += (event == "call" and (ours or by_us)) or (event == "c_call" and ours)

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


def per_token(work: Callable[[Deployment, int], str], folder: str, deployment: Deployment) -> float:
    """Calls that one more token costs; what a request costs once cancels out."""
    few, many = (calls_by(folder, lambda tokens=tokens: work(deployment, tokens)) for tokens in (10, 60))
    return (many - few) / 50


def test_the_same_answer_comes_through_both(deployment: Deployment) -> None:
    assert through_chat(deployment, 20) == through_the_client(deployment, 20) != ""


def test_chat_adds_one_call_per_token(deployment: Deployment) -> None:
    """Both ask the client's stream for the next chunk; `chat` is resumed once for it besides."""
    chat = per_token(through_chat, PACKAGE, deployment)
    loop = per_token(through_the_client, __file__, deployment)
    assert loop == 1
    assert chat - loop <= 1
