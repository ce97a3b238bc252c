"""Timing one request, on streams made up: what can be timed, and what cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from workbench.deployment.stream import Usage
from workbench.errors import NotMeasurable
from workbench.measurement import Sample, answers, run_request
from workbench.measurement.requests import long_enough


class Stream:
    """Pieces that come when the clock says so, and the server's count."""

    def __init__(self, clock: list[float], pieces: list[tuple[float, str]], end: float, tokens: int | None) -> None:
        self.clock, self.pieces, self.end, self.tokens = clock, pieces, end, tokens
        self.finish_reason: str | None = None
        self.usage: Usage | None = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Any:
        for moment, text in self.pieces:
            self.clock[0] = moment
            yield text
        self.clock[0] = self.end
        if self.tokens is not None:
            self.finish_reason, self.usage = "length", Usage(20, self.tokens)


def timed(monkeypatch: pytest.MonkeyPatch, *pieces: tuple[float, str], end: float, tokens: int | None) -> Any:
    """The sample of one request that begins at 10 s."""
    clock = [10.0]
    monkeypatch.setattr(answers, "__defaults__", (lambda: clock[0],))
    stream = Stream(clock, list(pieces), end, tokens)
    deployment: Any = SimpleNamespace(stream=lambda prompt, **_: stream, state=None)
    return run_request(deployment, 16, 3, seed=0, options={})


def test_times_are_those_of_the_first_text_and_of_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token without visible text at the end is one too."""
    sample = timed(monkeypatch, (10.5, "a"), (10.75, "b"), end=11.5, tokens=3)
    assert (sample.ttft_s, sample.decode_s, sample.prompt_tokens, sample.answer_tokens) == (0.5, 1.0, 20, 3)
    assert sample.tpot_s == 0.5


@pytest.mark.parametrize("texts", [["a b c"], ["a ", "b ", "c"]], ids=["one piece", "pieces in one instant"])
def test_an_answer_that_comes_at_once_cannot_be_timed(monkeypatch: pytest.MonkeyPatch, texts: list[str]) -> None:
    with pytest.raises(NotMeasurable, match=r"sent 3 tokens of its answer at once.* buffers"):
        timed(monkeypatch, *((10.5, text) for text in texts), end=10.5, tokens=3)


def test_an_answer_of_one_token_has_no_decode_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotMeasurable, match="sent 1 tokens"):
        timed(monkeypatch, (10.5, "a"), end=10.6, tokens=1)


def test_the_rate_is_that_of_the_tokens_that_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that cannot be told to go on after the end of text sends fewer than were asked for."""
    sample = timed(monkeypatch, (10.5, "a"), (10.75, "b"), end=11.5, tokens=2)
    assert sample.tpot_s == 1.0


@pytest.mark.parametrize(("tokens", "asked"), [(16, 64), (3, 3), (64, 64)])
def test_an_answer_that_is_long_enough(tokens: int, asked: int) -> None:
    sample = Sample(0.5, 1.0, 20, tokens)
    assert long_enough(sample, asked) is sample


@pytest.mark.parametrize(("tokens", "asked"), [(15, 64), (2, 3)])
def test_an_answer_that_ended_too_soon(tokens: int, asked: int) -> None:
    with pytest.raises(NotMeasurable, match=f"after {tokens} of {asked} tokens: too few to time.*such as llama.cpp"):
        long_enough(Sample(0.5, 1.0, 20, tokens), asked)


def test_a_server_that_does_not_count_cannot_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotMeasurable, match="does not say how many tokens"):
        timed(monkeypatch, (10.5, "a"), (10.6, "b"), end=10.6, tokens=None)


def test_an_answer_without_any_text_cannot_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotMeasurable, match="3 tokens that have no text"):
        timed(monkeypatch, end=10.6, tokens=3)
