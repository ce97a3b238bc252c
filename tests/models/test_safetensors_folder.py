"""Folders as Transformers opens them: read from headers alone, and refused when damaged or dangerous."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench import models
from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models.described import from_mapping

CONFIG = {
    "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 48, "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}  # fmt: skip
SIZES = {"F32": 4, "BF16": 2, "I64": 8}


def _file(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    """A file of safetensors with zeros; only its header is ever read."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (kind, shape) in tensors.items():
        begin, count = end, 1
        for length in shape:
            count *= length
        end = begin + count * SIZES[kind]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return path


def _parameters() -> int:
    return from_mapping(CONFIG, "tiny", "test").parameters  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole little model in one file."""
    place = tmp_path / "tiny"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    _file(place / "model.safetensors", {"all.weight": ("BF16", [_parameters()])})
    return place


def test_a_folder_is_a_model(folder: Path) -> None:
    model = models.get(folder)
    assert (model.name, model.format, model.quantization, model.path) == ("tiny", "safetensors", "BF16", folder)
    assert model.parameters == _parameters() and model.weight_bytes == 2 * _parameters()
    assert models.describe(str(folder)) == model


def test_weights_of_32_bits_are_told_from_those_of_16(folder: Path) -> None:
    _file(folder / "model.safetensors", {"all.weight": ("F32", [_parameters()]), "steps": ("I64", [3])})
    assert models.get(folder).quantization == "FP32"


def test_several_files_are_one_model(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    half = _parameters() // 2
    _file(folder / "a.safetensors", {"first": ("BF16", [half])})
    _file(folder / "b.safetensors", {"second": ("BF16", [_parameters() - half])})
    index = {"weight_map": {"first": "a.safetensors", "second": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert models.get(folder).parameters == _parameters()
    (folder / "b.safetensors").unlink()
    with pytest.raises(BadModelFile, match=r"lacks b\.safetensors"):
        models.get(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"first": "../../a"}}))
    with pytest.raises(BadModelFile, match="lacks"):
        models.get(folder)


def test_missing_weights_are_noticed(folder: Path) -> None:
    _file(folder / "model.safetensors", {"some.weight": ("BF16", [100])})
    with pytest.raises(BadModelFile, match=f"holds 100 parameters of weights; .* describes {_parameters():,}"):
        models.get(folder)


@pytest.mark.parametrize("cut", [0, 5, 40, 1000])
def test_a_file_that_is_cut_short(folder: Path, cut: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(BadModelFile, match=r"model\.safetensors"):
        models.get(folder)


@pytest.mark.parametrize("header", [b"[]", b"{not json", b'{"a": 3}', b'{"a": {"dtype": "BF16", "shape": [-1, "x"]}}'])
def test_a_header_that_makes_no_sense(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadModelFile):
        models.get(folder)


def test_code_of_its_own_is_refused_and_never_run(folder: Path) -> None:
    (folder / "modeling_tiny.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(UnsupportedModel, match=r"modeling_tiny\.py.*Nothing of it was run"):
        models.get(folder)
    (folder / "modeling_tiny.py").unlink()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "auto_map": {"AutoModel": "elsewhere--model.Model"}}))
    with pytest.raises(UnsupportedModel, match="auto_map"):
        models.get(folder)


def test_pickles_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UnsupportedModel, match="pickled weights"):
        models.get(folder)


@pytest.mark.parametrize(
    ("scheme", "format_name"),
    [
        ({"quant_method": "gptq", "bits": 4}, "GPTQ-Int4"),
        ({"quant_method": "awq", "bits": 4}, "AWQ-Int4"),
        ({"quant_method": "fp8"}, "FP8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, "NF4-DQ"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "LLM.int8"),
    ],
)
def test_quantized_folders_say_how(folder: Path, scheme: dict[str, Any], format_name: str) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": scheme}))
    assert models.get(folder).quantization == format_name


def test_an_unknown_quantization_is_refused_by_name(folder: Path) -> None:
    scheme = {"quant_method": "magic", "bits": 3}
    (folder / "config.json").write_text(json.dumps({**CONFIG, "quantization_config": scheme}))
    with pytest.raises(UnsupportedModel, match=r"magic \(3 bits\)"):
        models.get(folder)
