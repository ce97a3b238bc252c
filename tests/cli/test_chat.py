"""A conversation in the terminal: system prompt, sampling, Ctrl-C for one answer, speed at the end of each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.conftest import Command
from workbench.errors import UsageError

pytestmark = pytest.mark.usefixtures("calm")
FAKE = ("--engine", "fake")


class Stream:
    """Stands for a stream; an item that is an exception is raised."""

    def __init__(self, items: Sequence[str | BaseException]) -> None:
        self.items, self.finish_reason, self.usage, self.closed = items, None, None, False
        self.warning = "It was probably cut." if "cut" in items else ""

    def __iter__(self) -> Iterator[str]:
        for item in self.items:
            if isinstance(item, BaseException):
                raise item
            yield item
        self.finish_reason = "stop"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def talk(command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """talk(questions, answers, *options) → what the command wrote, and what the model was sent."""

    def run(questions: str, answers: Sequence[Sequence[str | BaseException]], *options: object) -> Any:
        sent: list[dict[str, Any]] = []
        left = iter(answers)

        def stream(messages: Any, **sampling: Any) -> Stream:
            sent.append({"messages": [one["content"] for one in messages], **sampling})
            return Stream(next(left))

        @contextmanager
        def deploy(*_: Any, **__: Any) -> Iterator[Any]:
            yield SimpleNamespace(stream=stream)

        monkeypatch.setattr("workbench.deployment.deploy", deploy, raising=False)
        monkeypatch.setattr("sys.stdin", io.StringIO(questions))
        return command("run", tiny, *FAKE, *options), sent

    return run


def test_a_prompt_that_was_cut_is_said_to_be(talk: Any) -> None:
    for answer in (["cut"], ["whole"]):
        done, _ = talk("hi\n", [answer])
        assert ("workbench: It was probably cut." in done.err) == (answer == ["cut"])


def test_what_is_asked_for_is_sent(talk: Any) -> None:
    options = ("--system", "Be brief.", "--temperature", 0, "--top-p", 0.9, "--seed", 7, "--max-tokens", 5)
    done, sent = talk("hi\nwhy?\n", [["Hello."], ["So."]], *options)
    assert done.out == "Hello.\nSo.\n"
    assert sent[1] == {
        "messages": ["Be brief.", "hi", "Hello.", "why?"], "temperature": 0.0, "top_p": 0.9, "seed": 7, "max_tokens": 5,
    }  # fmt: skip


def test_what_is_not_asked_for_is_not_sent(talk: Any) -> None:
    _, sent = talk("hi\n", [["Hello."]])
    assert sent == [{"messages": ["hi"]}]


def test_ctrl_c_stops_the_answer_and_not_the_program(talk: Any) -> None:
    done, sent = talk("story\ngo on\n", [["Once ", "upon", KeyboardInterrupt()], [" a time."]])
    assert (done.status, done.out) == (0, "Once upon\n a time.\n")
    assert "2 pieces" in done.err
    assert "stopped]" in done.err
    assert sent[1]["messages"] == ["story", "Once upon", "go on"]


def test_an_answer_stopped_before_its_first_word_was_not_given(talk: Any) -> None:
    done, sent = talk("story\nhi\n", [[KeyboardInterrupt()], ["Hello."]])
    assert done.status == 0
    assert sent[1]["messages"] == ["hi"]


def test_a_conversation_too_long_goes_on_without_the_last_question(talk: Any) -> None:
    full = UsageError("The prompt has 900 tokens; the deployment was made for 512.")
    done, sent = talk("hi\nlong\nshort\n", [["Hello."], [full], ["Yes."]])
    assert (done.status, done.out) == (0, "Hello.\nYes.\n")
    assert "900 tokens" in done.err
    assert sent[2]["messages"] == ["hi", "Hello.", "short"]


def test_each_answer_ends_with_its_speed(command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\nand then?\n"))
    done = command("run", tiny, *FAKE, "--max-tokens", 3)
    assert done.out == "The quick brown \nThe quick brown \n"
    assert done.err.count("[3 tokens, the first after ") == 2
    assert "tok/s, cut]" in done.err


def test_one_shot_with_a_system_prompt(command: Command, tiny: Path) -> None:
    done = command("run", tiny, "hi", *FAKE, "--system", "Be brief.", "--max-tokens", 2)
    assert (done.status, done.out) == (0, "The quick \n")
