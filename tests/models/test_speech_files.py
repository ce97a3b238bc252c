"""Whisper's weights in three containers: what is read, what is written, and damaged files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import models
from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models import SpeechModel, ctranslate_file, speech_conversion, speech_files

WIDTH, MELS, VOCABULARY, FRAMES, TOKENS = 64, 8, 100, 20, 12


def arrays() -> dict[str, np.ndarray[Any, Any]]:
    """A Whisper of one layer, as CTranslate2 names its parts."""
    random = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray[Any, Any]:
        return random.normal(size=shape).astype(np.float16)

    found = {
        "encoder/conv1/weight": some(WIDTH, MELS, 3), "encoder/conv1/bias": some(WIDTH),
        "encoder/conv2/weight": some(WIDTH, WIDTH, 3), "encoder/conv2/bias": some(WIDTH),
        "encoder/position_encodings/encodings": some(FRAMES, WIDTH),
        "decoder/embeddings/weight": some(VOCABULARY, WIDTH),
        "decoder/position_encodings/encodings": some(TOKENS, WIDTH),
        "decoder/activation": np.int8(0),
    }  # fmt: skip
    for part in ("encoder", "decoder"):
        layer = f"{part}/layer_0"
        found |= {f"{part}/layer_norm/{name}": some(WIDTH) for name in ("gamma", "beta")}
        found |= _attention(f"{layer}/self_attention", 3, some)
        found |= {f"{layer}/ffn/layer_norm/{name}": some(WIDTH) for name in ("gamma", "beta")}
        found |= {
            f"{layer}/ffn/linear_0/weight": some(4 * WIDTH, WIDTH),
            f"{layer}/ffn/linear_0/bias": some(4 * WIDTH),
            f"{layer}/ffn/linear_1/weight": some(WIDTH, 4 * WIDTH),
            f"{layer}/ffn/linear_1/bias": some(WIDTH),
        }
    cross = "decoder/layer_0/attention"
    found |= {f"{cross}/layer_norm/{name}": some(WIDTH) for name in ("gamma", "beta")}
    for number, size in enumerate((1, 2, 1)):
        found |= {f"{cross}/linear_{number}/weight": some(size * WIDTH, WIDTH),
                  f"{cross}/linear_{number}/bias": some(size * WIDTH)}  # fmt: skip
    return found


def _attention(prefix: str, size: int, some: Any) -> dict[str, Any]:
    made = {f"{prefix}/layer_norm/{name}": some(WIDTH) for name in ("gamma", "beta")}
    made |= {f"{prefix}/linear_0/weight": some(size * WIDTH, WIDTH), f"{prefix}/linear_0/bias": some(size * WIDTH)}
    return made | {f"{prefix}/linear_1/weight": some(WIDTH, WIDTH), f"{prefix}/linear_1/bias": some(WIDTH)}


def write(folder: Path, data: dict[str, np.ndarray[Any, Any]], version: int = 6, kind: str = "WhisperSpec") -> Path:
    numbers = {"float32": 0, "int8": 1, "float16": 4}

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    body = struct.pack("<I", version) + text(kind) + struct.pack("<II", 3, len(data))
    for name, values in data.items():
        stored = np.asarray(values)
        body += text(name) + struct.pack(f"<B{stored.ndim}I", stored.ndim, *stored.shape)
        body += struct.pack("<BI", numbers[stored.dtype.name], stored.nbytes) + stored.tobytes()
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(body + struct.pack("<I", 0))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "little-whisper", arrays())


def test_dimensions_follow_from_the_shapes(folder: Path) -> None:
    model = models.get(folder)
    assert isinstance(model, SpeechModel)
    sizes = (model.mels, model.audio_context, model.audio_state, model.audio_layers, model.vocabulary)
    assert sizes == (MELS, FRAMES, WIDTH, 1, VOCABULARY)
    assert (model.text_context, model.text_layers, model.text_heads) == (TOKENS, 1, 1)
    assert (model.format, model.container, model.multilingual) == ("FP16", "ctranslate2", False)


def test_every_tensor_gets_its_name(folder: Path) -> None:
    """Names and shapes are those that the description of the model asks for, and fused ones are split in order."""
    model, found = models.get(folder), ctranslate_file.under_openai_names(folder)
    assert {name: tuple(reversed(data.shape)) for name, data in found.items()} == {
        t.name: t.shape for t in model.tensors
    }
    fused = arrays()["decoder/layer_0/attention/linear_1/weight"]
    assert (found["decoder.blocks.0.cross_attn.value.weight"] == fused[WIDTH:]).all()


def test_what_is_written_for_openai_whisper_reads_back(folder: Path) -> None:
    from safetensors import safe_open

    path = models.convert(models.get(folder), "whisper", "FP32")
    assert path == models.convert(models.get(folder), "whisper", "FP32")  # and is kept
    with safe_open(path, "np") as file:
        assert file.metadata()["n_audio_state"] == str(WIDTH)
        want = arrays()["encoder/layer_0/ffn/linear_0/weight"].astype(np.float32)
        assert (file.get_tensor("encoder.blocks.0.mlp.0.weight") == want).all()


def test_what_is_written_for_whispercpp_reads_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    np.savez(tmp_path / "mel_filters.npz", **{f"mel_{MELS}": np.zeros((MELS, 201), np.float32)})
    (tmp_path / "gpt2.tiktoken").write_bytes(b"IQ== 0\nIg== 1\n")
    monkeypatch.setattr(speech_conversion, "_assets", lambda: tmp_path)
    path = models.convert(models.get(folder), "ggml", "F16")
    model = models.get(path)
    assert (model.format, model.container, model.audio_state, model.vocabulary) == ("F16", "ggml", WIDTH, VOCABULARY)
    assert not list(path.parent.glob("*.part"))
    whole = path.read_bytes()
    cut = tmp_path / "cut.bin"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadModelFile, match="ends early"):
        models.get(str(cut))


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.99])
def test_a_cut_file_is_said(folder: Path, share: float) -> None:
    file = folder / "model.bin"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    with pytest.raises((BadModelFile, UnsupportedModel)):
        models.get(folder)


def test_other_kinds_and_versions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="version 5"):
        models.get(write(tmp_path / "old", arrays(), version=5))
    with pytest.raises(UnsupportedModel, match="'TransformerSpec'"):
        models.get(write(tmp_path / "other", arrays(), kind="TransformerSpec"))
    lacking = {name: data for name, data in arrays().items() if "conv1" not in name}
    with pytest.raises(BadModelFile, match="lacks a part"):
        models.get(write(tmp_path / "lacking", lacking))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    path.write_bytes(b"\x80\x04ctouch\n")
    with pytest.raises(UnsupportedModel, match="pickled checkpoint"):
        models.get(str(path))


def test_eight_bits_cannot_become_whole(tmp_path: Path) -> None:
    data = arrays()
    data["decoder/embeddings/weight"] = np.zeros((VOCABULARY, WIDTH), np.int8)
    model = models.get(write(tmp_path / "int8", data))
    assert isinstance(model, SpeechModel) and model.format == "INT8"
    assert not models.can_convert(model, "ggml", "F16") and models.can_convert(model, "ctranslate2", "INT8")
    with pytest.raises(UnsupportedModel, match="cannot be written"):
        models.convert(model, "whisper", "FP32")


def test_reading_is_separate_from_having(folder: Path) -> None:
    model = models.get(folder)
    other = models.in_format(model, "INT8")
    assert isinstance(other, SpeechModel) and other.path is None and other.made_from == model
    assert speech_files.is_one(folder) and not speech_files.is_one(folder / "config.json")
