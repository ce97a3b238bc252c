"""An answer as a stream: how it ended, what it counted, and that closing it gives the server back to others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx2
import psutil
import pytest

import workbench
from tests.deployment.conftest import wait_until
from workbench.deployment import Deployment
from workbench.errors import ServerDied, UsageError
from workbench.models import Model
from workbench.planning import Plan, plan

MakePlan = Callable[..., Plan]


def open_connections(deployment: Deployment) -> int:
    """Connections that the server's process holds open."""
    found = psutil.Process(deployment.state.server_pid).net_connections("tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED for one in found)


def test_a_whole_answer_says_how_it_ended(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment, deployment.stream("hello world", max_tokens=4) as stream:
        assert (stream.finish_reason, stream.usage) == (None, None)
        assert list(stream) == ["The ", "quick ", "brown ", "fox "]
        assert stream.finish_reason == "length"
        assert stream.usage
        assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (2, 4)


@pytest.mark.parametrize(
    ("option", "value"),
    [("temperature", -1), ("temperature", 2.1), ("temperature", "hot"), ("temperature", float("nan")), ("top_p", 7),
     ("max_tokens", 0), ("max_tokens", -1), ("max_tokens", True)],
)  # fmt: skip
def test_what_engines_do_not_agree_on_is_not_sent(fake_plan: MakePlan, option: str, value: Any) -> None:
    with workbench.deploy(fake_plan()) as running, pytest.raises(UsageError, match=f"{option} is {value!r}"):
        running.chat("Hi", **{option: value})


def test_closing_hangs_up(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(token_s=0.01)) as deployment:
        with deployment.stream("hello", max_tokens=100_000) as stream:
            assert next(iter(stream)) == "The "
            assert open_connections(deployment) == 1
        assert wait_until(lambda: open_connections(deployment) == 0, 5)
        assert list(stream) == []
        assert (stream.finish_reason, stream.usage) == (None, None)


def test_leaving_chat_hangs_up(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(token_s=0.01)) as deployment:
        pieces: Any = deployment.chat("hello", max_tokens=100_000)
        assert next(pieces) == "The "
        pieces.close()
        assert wait_until(lambda: open_connections(deployment) == 0, 5)


@pytest.mark.parametrize("first", [True, False], ids=["before the first piece", "between two"])
def test_closing_wakes_up_a_thread_that_waits(fake_plan: MakePlan, first: bool) -> None:
    """The server sends one token and then nothing for a minute; or nothing at all."""
    came = threading.Event()
    pieces: list[str] = []

    def read() -> None:
        for piece in stream:
            pieces.append(piece)
            came.set()

    with workbench.deploy(fake_plan(token_s=60.0, first_token_s=60.0 if first else 0.0)) as deployment:
        stream = deployment.stream("hello", max_tokens=3)
        reader = threading.Thread(target=read)
        reader.start()
        assert wait_until(lambda: open_connections(deployment) == 1, 5) if first else came.wait(5)
        stream.close()
        reader.join(5)
        assert not reader.is_alive()
        assert pieces == ([] if first else ["The "])


def test_a_stream_that_was_closed_asks_nothing(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        stream = deployment.stream("hello")
        stream.close()
        assert list(stream) == []


def test_a_server_that_dies_is_no_end(fake_plan: MakePlan) -> None:
    pieces = []
    with workbench.deploy(fake_plan(die_after_tokens=2)) as deployment:
        stream = deployment.stream("hello", max_tokens=9)
        with pytest.raises(ServerDied, match="exit code 3"):
            for piece in stream:
                pieces.append(piece)
        assert pieces == ["The ", "quick "]
        assert stream.finish_reason is None


@pytest.mark.engine
def test_a_closed_stream_frees_the_only_slot(embedded_model: Model, machine: Any) -> None:
    """llama.cpp with one slot: the next question is answered, and most of the first answer was never written."""
    made = plan(embedded_model, machine=machine, context=4096, threads=1)
    endless = {"max_tokens": 3500, "temperature": 0, "extra_body": {"ignore_eos": True}}
    with workbench.deploy(made) as deployment:
        with deployment.stream("Count to a million.", **endless) as stream:
            assert next(iter(stream))
        with deployment.stream("Hi", max_tokens=2, temperature=0) as stream:
            assert "".join(stream)
        assert stream.usage
        assert stream.usage.completion_tokens == 2
        counted = metric(deployment, "tokens_predicted_total"), metric(deployment, "requests_processing")
    assert 2 <= counted[0] < 1000
    assert counted[1] == 0


def metric(deployment: Deployment, name: str) -> float:
    """One of llama.cpp's own counters."""
    headers = {"Authorization": f"Bearer {deployment.endpoint.api_key}"}
    text = httpx2.get(f"{deployment.endpoint.root}/metrics", headers=headers).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"llamacpp:{name} ")))
