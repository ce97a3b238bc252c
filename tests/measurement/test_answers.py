"""Answers as they grow: times, counts, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import workbench
from workbench.deployment.stream import Usage
from workbench.errors import ServerDied
from workbench.measurement import Answer, answers, ask
from workbench.planning import Plan


class Script:
    """Stands for a stream: says its pieces, and then how it ended."""

    def __init__(self, *pieces: str, finish_reason: str | None = "stop", usage: Any = None) -> None:
        self.pieces, self.finish_reason, self.usage = pieces, finish_reason, usage

    def __iter__(self) -> Iterator[str]:
        return iter(self.pieces)


def usage(tokens: int, prompt: int, cached: int = 0) -> Usage:
    return Usage(prompt, tokens, cached)


def ticks() -> Callable[[], float]:
    seconds = count()
    return lambda: float(next(seconds))


def read(*pieces: str, **end: Any) -> list[Answer]:
    return list(answers(Script(*pieces, **end), ticks()))  # type: ignore[arg-type]


def test_an_answer_grows_and_ends() -> None:
    grown = read("It ", "is ", "so.", usage=usage(4, 20, 16))
    assert [one.text for one in grown] == ["It ", "It is ", "It is so.", "It is so."]
    assert [one.ttft_s for one in grown] == [1, 1, 1, 1]
    assert [one.decode_s for one in grown] == [0, 1, 2, 3]  # the end of the text was a token too
    assert [one.pieces_per_s for one in grown[:3]] == [None, 1, 1]
    assert (grown[-1].tokens, grown[-1].prompt_tokens, grown[-1].cached_tokens) == (4, 20, 16)
    assert grown[-1].tok_per_s == 1
    assert (grown[-2].finish_reason, grown[-1].finish_reason) == (None, "stop")


def test_a_server_that_does_not_count() -> None:
    last = read("It ", "is.")[-1]
    assert (last.tokens, last.prompt_tokens, last.tok_per_s) == (None, None, None)
    assert last.pieces_per_s


def test_an_answer_without_words() -> None:
    (only,) = read(usage=usage(1, 5))
    assert (only.text, only.ttft_s, only.tok_per_s, only.finish_reason) == ("", None, None, "stop")


def test_an_answer_without_an_end() -> None:
    last = read("It ", "is ", finish_reason=None)[-1]
    assert (last.text, last.finish_reason, last.tokens, last.decode_s) == ("It is ", None, None, 1)


def test_what_came_stays_when_the_server_dies(fake_plan: Callable[..., Plan]) -> None:
    seen = []
    with workbench.deploy(fake_plan(die_after_tokens=2)) as deployment, deployment.stream("hi") as stream:
        with pytest.raises(ServerDied):
            for answer in answers(stream):
                seen.append(answer)
        assert seen[-1].text == "The quick "


def test_the_whole_answer(fake_plan: Callable[..., Plan]) -> None:
    with workbench.deploy(fake_plan(token_s=0.001)) as deployment:
        answer = ask(deployment, "hello there", max_tokens=5)
    assert answer.text == "The quick brown fox jumps "
    assert (answer.tokens, answer.prompt_tokens, answer.finish_reason) == (5, 2, "length")
    assert answer.tok_per_s
    assert answer.ttft_s
