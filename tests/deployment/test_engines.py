"""Every engine that starts here behind the same contract: the same calls, the same errors, and the same clean end."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

import workbench
from benchmarks.same_text import EQUAL, PROMPTS
from tests.deployment.conftest import survivors
from workbench import engines
from workbench.deployment import Deployment
from workbench.errors import UsageError, WorkbenchError
from workbench.measurement import run_request
from workbench.planning import Plan

pytestmark = pytest.mark.engine
MakePlan = Callable[..., Plan]

#: Engines with formats that run on a CPU out of the main environment; slow ones belong to `make test-all`.
RUNNING = [
    pytest.param("llama.cpp", "Q4_1", id="llama.cpp"),
    pytest.param("transformers", "BF16", id="transformers-BF16", marks=pytest.mark.slow),
    pytest.param("onnx-runtime", "ONNX-int4", id="onnx-int4"),
    pytest.param("transformers", "FP32", id="transformers-FP32", marks=pytest.mark.slow),
    pytest.param("transformers", "NF4", id="transformers-NF4", marks=pytest.mark.slow),
    pytest.param("transformers", "LLM.int8", id="transformers-int8", marks=pytest.mark.slow),
    pytest.param("onnx-runtime", "FP32", id="onnx-FP32", marks=pytest.mark.slow),
]
CLIENTS = 16


def _plan(engine_plan: MakePlan, engine: str, format_name: str, **options: Any) -> Plan:
    return engine_plan(engine, format_name, **{"context": 512, "threads": 1, **options})


@pytest.mark.parametrize(("engine", "format_name"), RUNNING)
def test_the_same_contract(engine_plan: MakePlan, engine: str, format_name: str) -> None:
    with workbench.deploy(_plan(engine_plan, engine, format_name, concurrency=4)) as running:
        _talks(running)
        _refuses(running)
        _serves_many_at_once(running, seconds=10)
    assert survivors(running.id) == []


def _talks(running: Deployment) -> None:
    stream = running.stream("Name three colours.", max_tokens=12, temperature=0)
    text = "".join(stream)
    assert text.strip() and stream.usage and stream.usage.completion_tokens == 12
    assert stream.finish_reason == "length"
    assert "".join(running.chat("Name three colours.", max_tokens=12, temperature=0)) == text
    assert "".join(running.complete("1, 2, 3, 4, 5,", max_tokens=6, temperature=0)).startswith(" 6")
    cut = running.client.completions.create(
        model=running.endpoint.served_model, prompt="1, 2, 3, 4, 5,", max_tokens=16, temperature=0, stop=["8"]
    )
    assert cut.choices[0].text == " 6, 7, " and cut.choices[0].finish_reason == "stop"


def _refuses(running: Deployment) -> None:
    """What cannot be served is refused in a sentence, and the next request is served."""
    with pytest.raises(UsageError, match=r"has \d+ tokens; the deployment was made for 512"):
        list(running.chat("word " * 2000))
    for unsent in ("", "\ud800", "x" * 10_000_000):
        with pytest.raises(UsageError):
            running.chat(unsent)
    for odd in ("a\0b", "\u202e" * 3):
        try:
            list(running.chat(odd, max_tokens=2))
        except WorkbenchError as error:
            assert str(error)
    wrong = openai.OpenAI(base_url=running.endpoint.base_url, api_key="not the key", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        wrong.chat.completions.create(model="any", messages=[{"role": "user", "content": "hi"}])
    assert "".join(running.chat("Hi", max_tokens=2))


def _serves_many_at_once(running: Deployment, *, seconds: float) -> None:
    """No error; and everybody is served: nobody gets less than a third of what the luckiest gets."""
    options = engines.get(running.plan_dict["engine"]).benchmark_options
    end = time.monotonic() + seconds

    def client(number: int) -> int:
        served = 0
        while served == 0 or time.monotonic() < end:
            served += run_request(running, 16, 8, seed=100 * number + served, options=options).answer_tokens
        return served

    run_request(running, 16, 8, seed=99, options=options)  # weights that nothing has read yet do not count
    before = running.memory().bytes
    with ThreadPoolExecutor(CLIENTS) as pool:
        served = list(pool.map(client, range(CLIENTS)))
    assert len(served) == CLIENTS and 3 * min(served) >= max(served), served
    assert running.memory().bytes < before + 100 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "format_name"), RUNNING)
def test_a_minute_of_sixteen_clients(engine_plan: MakePlan, engine: str, format_name: str) -> None:
    with workbench.deploy(_plan(engine_plan, engine, format_name, concurrency=4)) as running:
        _serves_many_at_once(running, seconds=60)
    assert survivors(running.id) == []


@pytest.mark.slow
def test_the_library_s_own_server(engine_plan: MakePlan) -> None:
    """No keys, no context; but it answers, is held to the context of the plan, and ends with its last user."""
    with workbench.deploy(_plan(engine_plan, "transformers-serve", "BF16")) as running:
        stream = running.stream("Name three colours.", max_tokens=12, temperature=0)
        assert "".join(stream).strip() and stream.usage and stream.usage.completion_tokens == 12
        with pytest.raises(openai.APIError):
            running.client.completions.create(model=running.endpoint.served_model, prompt="Hi", max_tokens=-1)
        with pytest.raises(UsageError, match=r"has \d+ tokens; the deployment was made for 512"):
            running.chat("word " * 2000)
        stream = running.stream("word " * 500, max_tokens=10**9)
        list(stream)
        assert stream.usage and stream.usage.completion_tokens <= 12
        assert "".join(running.chat("Hi", max_tokens=2))
        options = engines.get("transformers-serve").benchmark_options
        for seed in range(6):  # some of these the model would rather not answer at all
            assert run_request(running, 24, 16, seed=seed, options=options).answer_tokens == 16
        _serves_many_at_once(running, seconds=60)
    assert survivors(running.id) == []


@pytest.mark.slow
def test_engines_that_compute_in_32_bits_say_the_same(engine_plan: MakePlan) -> None:
    """The same weights and no rounding: the same greedy text, on every engine."""
    said = []
    for engine, format_name, options in EQUAL:
        with workbench.deploy(_plan(engine_plan, engine, format_name, **options)) as running:
            said.append(["".join(running.chat(prompt, max_tokens=32, temperature=0)) for prompt in PROMPTS])
    assert said[0] == said[1] == said[2]
