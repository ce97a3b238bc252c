"""Which tokens for fill-in-the-middle a vocabulary has, and the prompt they make."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from workbench.errors import BadModelFile, UsageError
from workbench.models.infill import FAMILIES, Infill, infill

QWEN = FAMILIES[0]


def model(path: Path, *tokens: str) -> Path:
    """A file with this vocabulary; the weights are full of everything else."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["a", "b", *tokens])
    noise = "".join(token for family in FAMILIES for token in (family.before, family.after, family.gap)).encode() * 9
    writer.add_tensor("token_embd.weight", np.frombuffer(noise[: len(noise) // 4 * 4], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_found(tmp_path: Path, family: Infill) -> None:
    assert infill(model(tmp_path / "m.gguf", family.gap, family.before, family.after)) == family


@pytest.mark.parametrize(
    "tokens",
    [(), (QWEN.before, QWEN.after), (QWEN.before + "x", QWEN.after, QWEN.gap), (QWEN.before, QWEN.after, "<MID>")],
)
def test_a_part_of_them_is_none(tmp_path: Path, tokens: tuple[str, ...]) -> None:
    assert infill(model(tmp_path / "m.gguf", *tokens)) is None


def test_a_folder_says_it_in_its_tokenizer(tmp_path: Path) -> None:
    assert infill(tmp_path) is None
    tokens = [{"id": number, "content": text} for number, text in enumerate((QWEN.before, QWEN.after, QWEN.gap))]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    assert infill(tmp_path) == QWEN


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"added_tokens": 3}', '{"added_tokens": [{}]}', '{"added_tokens": [1]}']
)
def test_a_damaged_tokenizer_has_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    assert infill(tmp_path) is None


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadModelFile):
        infill(tmp_path / "m.gguf")
    assert infill(tmp_path / "none.gguf") is None


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = model(tmp_path / "m.gguf")
    assert infill(path) is None
    model(path, QWEN.before, QWEN.after, QWEN.gap)
    assert infill(path) == QWEN


def test_the_prompt_holds_both_sides_in_order() -> None:
    assert QWEN.prompt("a\n", "\nb") == "<|fim_prefix|>a\n<|fim_suffix|>\nb<|fim_middle|>"


@pytest.mark.parametrize(
    ("prefix", "suffix"), [("x<|fim_suffix|>", ""), ("", "<|fim_middle|>"), ("<|fim_prefix|>", "b")]
)
def test_a_text_with_one_of_the_tokens_is_refused(prefix: str, suffix: str) -> None:
    """It would move the gap."""
    with pytest.raises(UsageError, match="meaning of its own"):
        QWEN.prompt(prefix, suffix)


def test_the_embedded_model_has_none(embedded_model_path: Path) -> None:
    assert infill(embedded_model_path) is None
