"""The real ONNX Runtime GenAI behind the server, on the embedded model in int4."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

import workbench
from tests.deployment.conftest import survivors, wait_until
from tests.deployment.server.test_process import client as client_of
from tests.deployment.server.test_process import health, process
from workbench.engines import Settings
from workbench.planning import Plan

pytestmark = pytest.mark.engine
SKY = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(scope="module")
def client(written: Callable[[str, str], Path]) -> Iterator[openai.OpenAI]:
    with process(written("onnx", "ONNX-int4"), slots=2, context=512, engine="onnx-runtime") as (_, url):
        assert wait_until(lambda: health(url) == 200, 120)
        with client_of(url) as one:
            yield one


def say(client: openai.OpenAI, **options: Any) -> str:
    made = client.chat.completions.create(model="little", messages=SKY, **{"max_tokens": 24, **options})  # type: ignore[call-overload]
    return str(made.choices[0].message.content)


def test_it_answers_the_same_in_one_and_in_pieces(client: openai.OpenAI) -> None:
    whole = say(client, temperature=0)
    assert "sky" in whole.lower()
    stream = client.chat.completions.create(  # type: ignore[call-overload]
        model="little", messages=SKY, max_tokens=24, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].delta.content for chunk in stream) == whole


def test_sampling_follows_its_seed_and_its_bounds(client: openai.OpenAI) -> None:
    hot = {"temperature": 1.5, "max_tokens": 16}
    assert say(client, seed=7, **hot) == say(client, seed=7, **hot)
    assert len({say(client, seed=seed, **hot) for seed in range(4)}) > 1
    greedy = say(client, temperature=0, max_tokens=16)
    assert say(client, seed=3, extra_body={"top_k": 1}, **hot) == greedy
    assert say(client, seed=3, top_p=1e-6, **hot) == greedy


def test_two_at_once_answer_as_they_do_alone(client: openai.OpenAI) -> None:
    alone = say(client, temperature=0, max_tokens=40)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: say(client, temperature=0, max_tokens=40), range(2))) == [alone] * 2


def test_an_answer_ends_by_itself_unless_that_is_ignored(client: openai.OpenAI) -> None:
    ask: Any = {"model": "little", "messages": [{"role": "user", "content": "Say hi."}], "temperature": 0}
    ended = client.chat.completions.create(**ask)
    assert ended.choices[0].finish_reason == "stop"
    assert ended.usage
    longer = client.chat.completions.create(
        **ask, max_tokens=ended.usage.completion_tokens + 20, extra_body={"ignore_eos": True}
    )
    assert longer.choices[0].finish_reason == "length"
    assert longer.usage and longer.usage.completion_tokens == ended.usage.completion_tokens + 20


def test_text_and_its_tokens_are_the_same_prompt(client: openai.OpenAI, written: Callable[[str, str], Path]) -> None:
    """The tokens by another library than the engine's own."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(written("onnx", "ONNX-int4") / "tokenizer.json"))
    ask: Any = {"model": "little", "max_tokens": 8, "temperature": 0}
    text = client.completions.create(prompt="Once upon a time", **ask)
    tokens = tokenizer.encode("Once upon a time").ids
    assert text.usage and text.usage.prompt_tokens == len(tokens)
    assert client.completions.create(prompt=tokens, **ask).choices[0].text == text.choices[0].text


def test_a_text_begins_as_its_tokenizer_says_and_a_chat_as_its_template_says(
    written: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """With a tokenizer that puts a token before every text, as Llama's and Gemma's do."""
    from workbench.engines.onnxruntime_runtime import OnnxTextRuntime

    for file in written("onnx", "ONNX-int4").iterdir():
        (tmp_path / file.name).symlink_to(file)
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    begin = {"type_id": 0, "id": "<|im_start|>"}
    described["post_processor"] = {
        "type": "TemplateProcessing", "single": [{"SpecialToken": begin}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    runtime = OnnxTextRuntime(tmp_path, Settings("little", "ONNX-int4", 64, threads=1))
    plain = runtime._tokens("Once upon", begins=False)
    assert runtime.text_tokens("Once upon") == [1, *plain]
    assert runtime.chat_tokens(SKY)[:2].count(1) == 1


@pytest.mark.parametrize(("prompt", "said"), [("a\0b", "NUL"), ("word " * 600, "601 tokens"), ([49152], "49152")])
def test_what_it_cannot_take(client: openai.OpenAI, prompt: Any, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        client.completions.create(model="little", prompt=prompt)


def test_a_deployment_of_it_takes_the_memory_that_was_predicted(engine_plan: Callable[..., Plan]) -> None:
    made = engine_plan("onnx-runtime", "ONNX-int4", context=512, threads=1)
    with workbench.deploy(made) as deployment:
        assert "".join(deployment.chat("Name three fruits.", max_tokens=8, temperature=0))
        measured = workbench.measure(deployment, repeats=1).values["memory_peak"].value
    assert survivors(deployment.id) == []
    assert made.predictions["memory_peak"].contains(measured)
