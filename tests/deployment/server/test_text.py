"""Chat and text completions: what comes back, by the official client and by plain HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tests.deployment.server.conftest import KEY, MODEL, USER, Running, events
from workbench.engines.runtime import Sampling

ANSWER = "The quick brown fox jumps over the lazy dog. "


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as one:
        yield one


def test_the_official_client(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    chat = client.chat.completions.create(model=MODEL, messages=USER)
    assert chat.choices[0].message.content == ANSWER
    assert chat.choices[0].finish_reason == "stop"
    assert chat.usage and (chat.usage.prompt_tokens, chat.usage.completion_tokens) == (2, 9)
    text = client.completions.create(model=MODEL, prompt=[1, 2, 3], max_tokens=2)
    assert text.choices[0].text == "The quick "
    assert text.choices[0].finish_reason == "length"
    assert text.usage and text.usage.total_tokens == 5


def test_an_answer_goes_back_as_the_official_client_dumps_it(client: openai.OpenAI) -> None:
    said = client.chat.completions.create(model=MODEL, messages=USER).choices[0].message.model_dump()
    assert None in said.values()
    empty = {"role": "assistant", "content": None}
    asked: Any = [*USER, said, *USER, empty, *USER]
    assert client.chat.completions.create(model=MODEL, messages=asked).choices[0].message.content == ANSWER


def test_a_model_by_its_name(client: openai.OpenAI) -> None:
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError, match="there is 'little'"):
        client.models.retrieve("owner/other")


def test_sampling_that_nobody_asks_for_is_llama_cpp_s(monkeypatch: pytest.MonkeyPatch, server: Running) -> None:
    seen: list[Sampling] = []
    made = server.runtime.generate

    def generate(prompt: Any, sampling: Sampling, most: int) -> Any:
        seen.append(sampling)
        return made(prompt, sampling, most)

    monkeypatch.setattr(server.runtime, "generate", generate)
    assert server.chat().is_success and server.chat(temperature=0, top_k=0, seed=7).is_success
    assert seen == [Sampling(0.8, 0.95, 40), Sampling(0, 0.95, 0, seed=7)]


def test_a_completion_has_as_few_tokens_as_openai_s(serve: Callable[..., Running]) -> None:
    endless = serve(words="word " * 40)
    assert endless.complete().json()["usage"]["completion_tokens"] == 16
    assert endless.chat().json()["usage"]["completion_tokens"] == 40


def test_the_official_client_streams(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == ANSWER
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 9 + ["stop"]
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-1].usage.completion_tokens == 9
    texts = client.completions.create(model=MODEL, prompt="a", stream=True, max_tokens=3)
    assert "".join(chunk.choices[0].text for chunk in texts) == "The quick brown "


def test_a_stream_on_the_wire(server: Running) -> None:
    response = server.chat(stream=True, max_tokens=2)
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, last = events(response)
    assert last == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["The ", "quick ", ""]
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize(
    ("stop", "text", "tokens"),
    [("own f", "The quick br", 4), (["lazy", "fox"], "The quick brown ", 4), ("zzz", ANSWER, 9), ([], ANSWER, 9)],
)
def test_stop_sequences(server: Running, stop: Any, text: str, tokens: int) -> None:
    before = server.runtime.served
    whole = server.chat(stop=stop).json()
    assert whole["choices"][0]["message"]["content"] == text
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] == tokens  # and the model was not asked for more
    assert server.runtime.served - before == tokens
    pieces = [chunk["choices"][0]["delta"]["content"] for chunk in events(server.chat(stop=stop, stream=True))[:-1]]
    assert "".join(pieces) == text


def test_an_answer_ends_where_the_context_does(server: Running) -> None:
    found = server.complete(prompt=[7] * 500, max_tokens=10**6, ignore_eos=True).json()
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"] == {"prompt_tokens": 500, "completion_tokens": 12, "total_tokens": 512}
    assert found["choices"][0]["text"].startswith(ANSWER + "The ")


@pytest.mark.parametrize("both", [{"max_completion_tokens": 3}, {"max_tokens": 3, "max_completion_tokens": 8}])
def test_both_names_of_the_limit(server: Running, both: dict[str, int]) -> None:
    assert server.chat(**both).json()["usage"]["completion_tokens"] == 3


def test_parts_of_a_message_are_joined(server: Running) -> None:
    parts = [{"type": "text", "text": "a b "}, {"type": "text", "text": "c"}]
    assert server.chat(messages=[{"role": "developer", "content": parts}]).json()["usage"]["prompt_tokens"] == 3


def test_what_clients_send_by_default_is_taken(server: Running) -> None:
    harmless = {
        "n": 1, "user": "me", "logprobs": False, "tools": None, "tool_choice": "auto", "frequency_penalty": 0,
        "presence_penalty": 0.0, "logit_bias": {}, "response_format": {"type": "text"}, "metadata": {"a": "b"},
        "store": False, "parallel_tool_calls": True, "service_tier": "auto", "stop": None, "seed": None, "top_p": 1,
    }  # fmt: skip
    assert server.chat(**harmless).status_code == 200
    assert server.complete(prompt=["one"], echo=False, best_of=1, suffix="", logprobs=None).status_code == 200


def test_an_engine_that_fails_ends_one_answer_and_stays(serve: Callable[..., Running]) -> None:
    server = serve(die_after_tokens=2)
    whole = server.chat()
    assert (whole.status_code, whole.json()["error"]["code"]) == (500, "engine_failed")
    assert "the script says so" in whole.json()["error"]["message"]
    found = events(server.chat(stream=True))
    assert [chunk["choices"][0]["delta"]["content"] for chunk in found[:-1]] == ["The ", "quick "]
    assert found[-1]["error"]["type"] == "server_error"  # and no [DONE] after it
    assert server.chat(max_tokens=2).status_code == 200
    assert server.is_idle()
    assert server.counted('workbench_requests_total{outcome="failed"}') == 2


def test_the_official_client_sees_a_failure_in_mid_stream(serve: Callable[..., Running]) -> None:
    server = serve(die_after_tokens=2)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        stream = client.chat.completions.create(model=MODEL, messages=USER, stream=True)
        with pytest.raises(openai.APIError, match="the script says so"):
            list(stream)


def test_what_is_counted(serve: Callable[..., Running]) -> None:
    server = serve()
    server.chat()
    server.chat(n=2)
    server.complete(prompt="a b c d", max_tokens=4)
    assert server.counted('workbench_requests_total{outcome="completed"}') == 2
    assert server.counted('workbench_requests_total{outcome="refused"}') == 1
    assert server.counted("workbench_prompt_tokens_total") == 6
    assert server.counted("workbench_generated_tokens_total") == 13
    assert server.counted("workbench_time_to_first_token_seconds_count") == 2
    assert server.counted("workbench_time_per_output_token_seconds_count") == 11
    assert server.counted("workbench_requests_running") == 0
