"""Timing one request, on streams made up: what can be timed, and what cannot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import workbench.measurement.requests as timing
from workbench.errors import NotMeasurable
from workbench.measurement import run_request


def piece(text: str) -> Any:
    return SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content=text))], usage=None)


def usage(tokens: int) -> Any:
    return SimpleNamespace(choices=[], usage=SimpleNamespace(prompt_tokens=20, completion_tokens=tokens))


class Stream(list[Any]):
    """Chunks, as the client hands them out."""

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def answering(*chunks: Any) -> Any:
    """A deployment whose client streams these chunks, whatever it is asked."""
    completions = SimpleNamespace(create=lambda **_: Stream(chunks))
    client = SimpleNamespace(chat=SimpleNamespace(completions=completions))
    return SimpleNamespace(client=client, endpoint=SimpleNamespace(served_model="fake"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that the next looks at the clock show."""
    times: list[float] = []
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: times.pop(0)))
    return times


def test_times_are_those_of_the_first_text_and_the_last_piece(clock: list[float]) -> None:
    """What comes before any text is not yet an answer; a token without visible text at the end is one."""
    clock += [10.0, 10.2, 10.5, 10.75, 11.5]
    sample = run_request(answering(piece(""), piece("a"), piece("b"), piece(""), usage(3)), 16, 3, seed=0, options={})
    assert (sample.ttft_s, sample.decode_s, sample.prompt_tokens, sample.answer_tokens) == (0.5, 1.0, 20, 3)
    assert sample.tpot_s == 0.5


@pytest.mark.parametrize("texts", [["a b c"], ["a ", "b ", "c"]], ids=["one piece", "pieces in one instant"])
def test_an_answer_that_comes_at_once_cannot_be_timed(clock: list[float], texts: list[str]) -> None:
    clock += [10.0, *[10.5] * len(texts)]
    with pytest.raises(NotMeasurable, match=r"sent 3 tokens of its answer at once.* buffers"):
        run_request(answering(*map(piece, texts), usage(3)), 16, 3, seed=0, options={})


def test_an_answer_of_one_token_has_no_decode_to_time(clock: list[float]) -> None:
    clock += [10.0, 10.5, 10.6]
    with pytest.raises(NotMeasurable, match="sent 1 tokens"):
        run_request(answering(piece("a"), piece(""), usage(1)), 16, 1, seed=0, options={})


def test_reasoning_is_text_too(clock: list[float]) -> None:
    clock += [10.0, 10.5, 11.5]
    thought = SimpleNamespace(
        choices=[SimpleNamespace(delta=SimpleNamespace(content=None, reasoning_content="hm"))], usage=None
    )
    sample = run_request(answering(thought, piece("a"), usage(2)), 16, 2, seed=0, options={})
    assert (sample.ttft_s, sample.decode_s) == (0.5, 1.0)
