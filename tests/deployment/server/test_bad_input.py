"""Whatever is sent gets a clear answer in OpenAI's shape, and the server goes on."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2
import openai
import pytest

from tests.deployment.server.conftest import KEY, MODEL, USER, Running


def refused(response: httpx2.Response, status: int = 400) -> str:
    """The message of an error; checks its shape."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    return str(error["message"])


CHAT: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": ""}]}, "no message has any text"),
    ({"messages": USER * 3000}, "messages"),
    ({"messages": "hello"}, "got 'hello'"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "robot"),
    ({"messages": [{"role": "user"}]}, "content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        r"messages\.0\.content\.0\.type: .*'text', got 'image_url'",
    ),
    ({"messages": [{"role": "assistant", "content": "x"}]}, "wants the user to speak first"),
    ({"max_tokens": 0}, "max_tokens: .* got 0"),
    ({"max_tokens": -1}, "max_tokens: .* got -1"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_completion_tokens": "9"}, "max_completion_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature: .* got 'hot'"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": -1}, "top_k"),
    ({"seed": "x"}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"stream": "yes"}, "stream"),
    ({"stop": [""]}, "stop.0: .* at least 1 item"),
    ({"stop": ["x"] * 17}, "stop: .* at most 16"),
    ({"stop": "x" * 257}, "stop: .* at most 256"),
    ({"stop": 5}, "stop: .* got 5"),
    ({"stream_options": {"nonsense": 1}}, "nonsense"),
    ({"n": 2}, "'n' is not served here, got 2"),
    ({"n": True}, "'n' is not served"),
    ({"logprobs": True}, "'logprobs' is not served"),
    ({"tools": [{"type": "function"}]}, "'tools' is not served"),
    ({"response_format": {"type": "json_object"}}, "'response_format' is not served"),
    ({"presence_penalty": 0.5}, "'presence_penalty' is not served"),
    ({"temprature": 0}, "no parameter 'temprature'"),
]


@pytest.mark.parametrize(("fields", "said"), CHAT, ids=lambda value: str(value)[:40])
def test_a_chat_that_cannot_be_served(server: Running, fields: dict[str, Any], said: str) -> None:
    assert re.search(said, refused(server.chat(**fields)))
    assert re.search(said, refused(server.chat(**{**fields, "stream": fields.get("stream", True)})))


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("", "the prompt is empty"), ([], "the prompt is empty"), ([""], "the prompt is empty"), (["a", "b"], "got 2"),
     ([1, 1000], "no token 1000"), ([1, -5], "prompt"), ([1, "x"], "prompt"), (None, "prompt"), ([1.5], "prompt"),
     ({"a": 1}, "prompt")],
)  # fmt: skip
def test_a_prompt_that_cannot_be_continued(server: Running, prompt: Any, said: str) -> None:
    assert said in refused(server.complete(prompt=prompt))


@pytest.mark.parametrize(
    "body",
    [b"{nope", b"", b"\xff\xfe", b"[1]", b"null", b'"x"', b"[" * 100_000, b'{"model": "little"}',
     b'{"model": "little", "messages": [{"role": "user", "content": "\\ud800"}]}',
     b'{"model": "little", "messages": [{"role": "user", "content": "x"}], "stop": "\\udfff"}',
     b'{"model": "little", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
     b'{"model": "little", "messages": [{"role": "user", "content": "x"}], "top_p": 1e999}',
     b'{"model": "little", "max_tokens": ' + b"9" * 5000 + b"}"],
    ids=lambda body: repr(body[-30:]),
)  # fmt: skip
def test_a_body_that_is_no_request(server: Running, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert refused(server.http.post("/v1/chat/completions", content=body, headers=headers))


@pytest.mark.parametrize("says_length", [True, False])
def test_ten_megabytes_are_not_even_read(server: Running, says_length: bool) -> None:
    body = json.dumps({"model": MODEL, "prompt": "word " * 2_000_000}).encode()
    pieces: Any = body if says_length else (body[at : at + 65536] for at in range(0, len(body), 65536))
    try:
        response = server.http.post("/v1/completions", content=pieces, headers={"Content-Type": "application/json"})
    except httpx2.TransportError:  # the server may hang up while a client still sends
        return
    assert re.search(r"has \d+ (or more )?bytes", refused(response, 413))


def test_a_prompt_longer_than_the_context_is_refused_with_both_counts(server: Running) -> None:
    before = server.runtime.served
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError) as caught:
                client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "w " * 600}], stream=stream
                )
            body = caught.value.body
            assert isinstance(body, dict)
            assert (body["n_prompt_tokens"], body["n_ctx"], body["code"]) == (600, 512, "context_length_exceeded")
    assert server.runtime.served == before


def test_the_longest_prompt_leaves_room_for_one_token(server: Running) -> None:
    assert server.complete(prompt=[1] * 511).json()["usage"]["completion_tokens"] == 1
    assert "512 tokens" in refused(server.complete(prompt=[1] * 512))


def test_another_model(server: Running) -> None:
    assert "'gpt-4'" in refused(server.chat(model="gpt-4"), 404)
    assert "model" in refused(server.http.post("/v1/completions", json={"prompt": "x"}))


def test_json_that_is_not_said_to_be_json(server: Running) -> None:
    body = json.dumps({"model": MODEL, "prompt": "x"}).encode()
    assert "Content-Type" in refused(server.http.post("/v1/completions", content=body))


def test_no_such_route(server: Running) -> None:
    assert "/v1/chat/completions" in refused(server.http.get("/v1/embeddings"), 404)
    assert refused(server.http.get("/v1/completions"), 405)
    assert refused(server.http.get("/docs"), 404)


@pytest.mark.parametrize("key", [None, "", "Bearer wrong", KEY, f"Bearer  {KEY}", f"bearer {KEY}", "Bearer é"])
@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/chat/completions", "/nowhere"])
def test_without_the_key(server: Running, path: str, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": key.encode()}
    response = httpx2.get(f"{server.url}{path}", headers=headers)
    assert "key" in refused(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


def test_health_needs_no_key(server: Running) -> None:
    assert httpx2.get(f"{server.url}/health").status_code == 200
    assert "access-control-allow-origin" not in httpx2.get(f"{server.url}/health", headers={"Origin": "x"}).headers
