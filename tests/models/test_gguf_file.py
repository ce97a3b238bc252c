"""What is read from sound files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models import gguf_file
from workbench.models.gguf_header import Skipped, read_header

Writer = Callable[..., Path]


def test_reads_what_the_file_says(tiny: Path) -> None:
    model = gguf_file.read(tiny)
    shape = model.architecture
    assert (model.name, model.licence, model.chat_template) == ("Tiny", "mit", "{{ messages }}")
    assert (model.quantization, model.format, model.sha256) == ("Q8_0", "gguf", None)
    assert (shape.name, shape.layers, shape.hidden, shape.heads, shape.kv_heads) == ("llama", 2, 32, 4, 2)
    assert (shape.key_length, shape.value_length, shape.feed_forward) == (8, 8, 64)
    assert (shape.vocabulary, shape.merges, shape.context_length) == (48, 3, 128)
    assert shape.tied_embeddings
    assert (shape.experts, shape.sliding_window, shape.windowed) == (0, None, ())
    assert model.file_bytes == tiny.stat().st_size


def test_agrees_with_the_official_reader(tiny: Path) -> None:
    ours, official = read_header(tiny), gguf.GGUFReader(tiny)
    for tensor, other in zip(ours.tensors, official.tensors, strict=True):
        assert tensor.name == other.name
        assert tensor.type == other.tensor_type.name
        assert list(tensor.shape) == other.shape.tolist()
        assert (tensor.elements, tensor.bytes) == (other.n_elements, other.n_bytes)
    assert ours.data_offset == official.data_offset
    for key, value in ours.values.items():
        field = official.fields[key]
        if isinstance(value, Skipped):
            assert value.count == len(field.data)
        else:
            assert (list(value) if isinstance(value, tuple) else value) == field.contents()


def test_sizes_add_up(tiny: Path) -> None:
    model = gguf_file.read(tiny)
    assert sum(tensor.bytes for tensor in model.tensors) == model.weight_bytes <= model.file_bytes
    assert model.parameters == 48 * 32 + 32 + 2 * (32 * 32 + 64 * 32 + 32)
    assert model.active_parameters == model.parameters
    assert model.embedding_bytes == 48 * 32 // 32 * 34


def test_a_tied_embedding_is_read_as_the_head(tmp_path: Path, write_gguf: Writer) -> None:
    tied = gguf_file.read(write_gguf(tmp_path / "tied.gguf"))
    apart = gguf_file.read(write_gguf(tmp_path / "apart.gguf", tied=False))
    assert tied.decode_read_bytes == tied.weight_bytes
    assert not apart.architecture.tied_embeddings
    assert apart.decode_read_bytes == apart.weight_bytes - apart.embedding_bytes == tied.decode_read_bytes


def test_of_experts_only_those_chosen_are_read(tmp_path: Path, write_gguf: Writer) -> None:
    keys = {"expert_count": 4, "expert_used_count": 1, "expert_feed_forward_length": 64}
    model = gguf_file.read(write_gguf(tmp_path / "moe.gguf", experts=4, keys=keys))
    all_experts = sum(tensor.bytes for tensor in model.tensors if tensor.is_expert)
    assert (model.architecture.experts, model.architecture.experts_used) == (4, 1)
    assert all_experts > 0
    assert model.decode_read_bytes == model.weight_bytes - all_experts * 3 // 4
    assert model.active_parameters == model.parameters - 2 * 3 * 64 * 32


def test_layers_may_differ(tmp_path: Path, write_gguf: Writer) -> None:
    keys = {"attention.head_count_kv": [2, 0, 1], "feed_forward_length": [64, 32, 64]}
    shape = gguf_file.read(write_gguf(tmp_path / "a.gguf", layers=3, keys=keys)).architecture
    assert (shape.kv_heads, shape.kv_heads_per_layer) == (2, (2, 0, 1))
    assert (shape.feed_forward, shape.feed_forward_per_layer) == (64, (64, 32, 64))


def test_equal_numbers_per_layer_are_one_number(tmp_path: Path, write_gguf: Writer) -> None:
    shape = gguf_file.read(write_gguf(tmp_path / "a.gguf", keys={"attention.head_count_kv": [2, 2]})).architecture
    assert (shape.kv_heads, shape.kv_heads_per_layer) == (2, ())


@pytest.mark.parametrize(
    ("architecture", "keys", "windowed"),
    [
        ("gemma3", {}, (True,) * 5 + (False, True)),
        ("gpt-oss", {}, (True, False, True, False, True, False, True)),
        ("llama", {"attention.sliding_window_pattern": [True, False] * 3 + [True]}, (True, False) * 3 + (True,)),
        ("phi3", {}, ()),
    ],
)
def test_which_layers_slide(
    tmp_path: Path, write_gguf: Writer, architecture: str, keys: dict[str, object], windowed: tuple[bool, ...]
) -> None:
    keys = {"attention.sliding_window": 16} | keys
    path = write_gguf(tmp_path / "a.gguf", architecture=architecture, layers=7, keys=keys)
    shape = gguf_file.read(path).architecture
    assert (shape.sliding_window, shape.windowed) == (16, windowed)


def test_latent_attention_is_noticed(tmp_path: Path, write_gguf: Writer) -> None:
    keys = {"attention.kv_lora_rank": 16, "attention.key_length": 20, "attention.value_length": 16}
    older = write_gguf(tmp_path / "a.gguf", architecture="deepseek2", keys=keys)
    newer = write_gguf(tmp_path / "b.gguf", architecture="deepseek2", keys=keys | {"attention.key_length_mla": 12})
    assert not gguf_file.read(older).architecture.latent_cache
    assert gguf_file.read(newer).architecture.latent_cache


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"block_count": None}, "llama.block_count is missing"),
        ({"block_count": 0}, "claims 0 layers"),
        ({"block_count": 10**9}, "claims 1000000000 layers"),
        ({"context_length": None}, "llama.context_length is missing"),
        ({"attention.head_count_kv": [2, 1, 1]}, "has 3 numbers for 2 layers"),
        ({"embedding_length": 1.5}, "llama.embedding_length is 1.5"),
        ({"expert_count": 2, "expert_used_count": 3}, "use 3 of 2 experts"),
    ],
)
def test_impossible_shapes_are_refused(
    tmp_path: Path, write_gguf: Writer, keys: dict[str, object], complaint: str
) -> None:
    with pytest.raises(BadModelFile, match=complaint):
        gguf_file.read(write_gguf(tmp_path / "bad.gguf", keys=keys))


def test_a_part_of_a_model_is_refused(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
    writer.add_uint16("split.count", 3)
    _close(writer)
    with pytest.raises(UnsupportedModel, match="one of 3 files"):
        gguf_file.read(tmp_path / "part.gguf")


def test_a_vocabulary_is_no_model(tmp_path: Path) -> None:
    _close(gguf.GGUFWriter(tmp_path / "vocabulary.gguf", "llama"))
    with pytest.raises(BadModelFile, match="holds no weights"):
        gguf_file.read(tmp_path / "vocabulary.gguf")


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_big_endian_file_is_named(tmp_path: Path, write_gguf: Writer) -> None:
    path = write_gguf(tmp_path / "big.gguf", endian=gguf.GGUFEndian.BIG)
    with pytest.raises(BadModelFile, match="big-endian"):
        gguf_file.read(path)
