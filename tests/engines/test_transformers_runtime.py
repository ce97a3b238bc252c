"""Transformers in a process, asked for tokens: the library's own answers, one step at a time, in turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.engines.contract import Settings
from workbench.engines.runtime import Sampling, TextRuntime, Token
from workbench.errors import UsageError

torch = pytest.importorskip("torch")
from tokenizers import Tokenizer  # noqa: E402 - comes with Transformers

from workbench.engines.transformers_runtime import TransformersRuntime, _Chooser, _Text  # noqa: E402

pytestmark = pytest.mark.engine
MESSAGES = [{"role": "user", "content": "Name three colours."}]
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def folder(written: Callable[[str, str], Path]) -> Path:
    """The embedded model as Transformers opens it."""
    return written("safetensors", "FP32")


@pytest.fixture(scope="module")
def runtime(folder: Path) -> Iterator[TextRuntime]:
    """It, loaded once."""
    threads = torch.get_num_threads()
    yield TransformersRuntime(folder, Settings("tiny", "FP32", 1024, threads=1, prefill_threads=1))
    torch.set_num_threads(threads)


def _tokens(runtime: TextRuntime, prompt: list[int], sampling: Sampling, count: int) -> list[Token]:
    return [token for token in runtime.generate(prompt, sampling, count) if token]


def test_greedy_is_what_the_library_itself_generates(runtime: Any, folder: Path) -> None:
    prompt = runtime.chat_tokens(MESSAGES)
    found = _tokens(runtime, prompt, GREEDY, 12)
    with torch.inference_mode():
        whole = runtime._model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    assert [token.id for token in found] == whole[0, len(prompt) :].tolist()
    assert "".join(token.text for token in found) == runtime._tokenizer.decode([token.id for token in found])


def test_several_answers_in_turns_are_the_same_as_one_after_the_other(runtime: TextRuntime) -> None:
    prompts = [runtime.text_tokens(text) for text in ("The sea is", "Once upon a time", "1, 2, 3,")]
    alone = [_tokens(runtime, prompt, GREEDY, 6) for prompt in prompts]
    streams = [runtime.generate(prompt, GREEDY, 6) for prompt in prompts]
    turns: list[list[Token]] = [[], [], []]
    for round_ in itertools.zip_longest(*streams):
        for place, token in zip(turns, round_, strict=True):
            place.extend([token] if token else [])
    assert turns == alone


def test_a_long_prompt_comes_in_parts_and_gives_the_same_answer(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = runtime.text_tokens("The quick brown fox jumps over the lazy dog. " * 12)
    whole = list(runtime.generate(prompt, GREEDY, 4))
    monkeypatch.setattr("workbench.engines.transformers_runtime.PART_TOKENS", 50)
    parts = list(runtime.generate(prompt, GREEDY, 4))
    assert whole.count(None) == 1
    assert parts.count(None) == -(-len(prompt) // 50)
    assert [token for token in parts if token] == [token for token in whole if token]


def test_the_same_seed_is_the_same_answer_and_another_is_another(runtime: TextRuntime) -> None:
    prompt = runtime.chat_tokens(MESSAGES)

    def drawn(seed: int, **options: Any) -> list[Token]:
        return _tokens(runtime, prompt, Sampling(temperature=1.5, seed=seed, **options), 8)

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1, top_k=1) == drawn(2, top_k=1) == _tokens(runtime, prompt, GREEDY, 8)
    assert drawn(1, top_p=1e-6) == drawn(2, top_p=1e-6) == _tokens(runtime, prompt, GREEDY, 8)


def test_an_answer_ends_by_itself_unless_told_to_go_on(runtime: Any) -> None:
    prompt = runtime.chat_tokens([{"role": "user", "content": "Say yes."}])
    ended = _tokens(runtime, prompt, GREEDY, 200)
    assert len(ended) < 200 and not {token.id for token in ended} & runtime._ends
    longer = _tokens(runtime, prompt, Sampling(temperature=0, ignore_eos=True), len(ended) + 5)
    assert longer[: len(ended)] == ended and len(longer) == len(ended) + 5


def test_characters_of_several_tokens_come_whole(runtime: TextRuntime) -> None:
    prompt = runtime.text_tokens("🙂🙃🙂🙃🙂🙃🙂🙃")
    found = _tokens(runtime, prompt, Sampling(temperature=0, ignore_eos=True), 12)
    text = "".join(token.text for token in found)
    assert any(token.text == "" for token in found) and "\ufffd" not in text.rstrip("\ufffd")


@pytest.fixture
def of_words() -> Tokenizer:
    """A tokenizer as Llama 2's: words begin with a bar, and bytes that no token has are tokens of their own."""
    from tokenizers import decoders, models

    words = ["<unk>", "▁return", "▁x", "<0x0A>", "<0xF0>"]
    found = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True))
    found.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return found


def test_a_word_after_the_prompt_keeps_its_space(of_words: Tokenizer) -> None:
    assert _Text(of_words, [1]).push(2) == " x"


def test_bytes_that_are_no_character_do_not_end_an_answer(of_words: Tokenizer) -> None:
    text = _Text(of_words, [1])
    said = [text.push(token) for token in (3, 4, 2, 2)]
    assert said[-1] == " x"


def test_the_end_of_text_is_never_said_when_an_answer_is_to_go_on() -> None:
    logits = torch.tensor([1.0, 3.0, 2.0])
    assert [_Chooser(GREEDY, without).next(logits) for without in ((), (1,), (1, 2))] == [1, 2, 0]


def test_a_template_that_is_not_there(runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime._tokenizer, "chat_template", None)
    with pytest.raises(UsageError, match="no chat template"):
        runtime.chat_tokens(MESSAGES)
    monkeypatch.setattr(runtime._tokenizer, "chat_template", "{{ raise_exception('only one message') }}")
    with pytest.raises(UsageError, match="only one message"):
        runtime.chat_tokens(MESSAGES)
