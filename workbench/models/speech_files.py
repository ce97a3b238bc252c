"""Reads Whisper models: a folder of Transformers or for CTranslate2, or a file of whisper.cpp. Headers, no weights.

Pickled checkpoints (.pt) are refused: opening one can run anything.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models import ctranslate_file, safetensors_folder
from workbench.models.speech import SpeechModel, from_config, in_format

HEAD = 64  # Whisper's width of a head, in all its sizes
CTRANSLATE, GGML, WHISPER, TRANSFORMERS = "ctranslate2", "ggml", "whisper", "transformers"
_TYPES = {"float32": "FP32", "float16": "FP16", "int8": "INT8"}
#: whisper.cpp's numbers of file types.
_GGML_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 14: "Q6_K"}
_MAGIC = b"lmgg"  # 'ggml', as a number of four bytes lies in the file
_GGML_FIELDS = ("vocabulary", "audio_context", "audio_state", "audio_heads", "audio_layers", "text_context",
                "text_state", "text_heads", "text_layers", "mels")  # fmt: skip
_QUANTIZED_FLAG = 1000  # the file type is counted on from here for each version of the blocks
_AGAIN = "Get the file again."


def is_one(path: Path) -> bool:
    """Whether a path looks like a model for speech."""
    if path.is_dir():
        return (path / "config.json").is_file() and (_is_ctranslate(path) or _is_of_transformers(path))
    return _begins(path, _MAGIC) or path.suffix == ".pt"


def read(path: Path, *, name: str = "", source: str = "") -> SpeechModel:
    """The model at `path`; raises BadModelFile or UnsupportedModel."""
    about: dict[str, Any] = {
        "name": name or (path.name if path.is_dir() else path.stem),
        "source": source or f"file {path}",
    }
    if path.is_dir():
        return _folder(path, about) if _is_ctranslate(path) else _of_transformers(path, about)
    if path.suffix == ".pt" or zipfile.is_zipfile(path):
        raise UnsupportedModel(
            f"{path} is a pickled checkpoint: opening one can run any code that it holds. It was not opened.",
            fix="Get the model for CTranslate2 (a folder with model.bin), or as a ggml file of whisper.cpp.",
        )
    return _ggml(path, about)


def _is_ctranslate(folder: Path) -> bool:
    return (folder / ctranslate_file.WEIGHTS).is_file()


def _is_of_transformers(folder: Path) -> bool:
    try:
        return safetensors_folder.read_json(folder / "config.json").get("model_type") == "whisper"
    except BadModelFile:
        return False  # whoever opens it as a language model says what is wrong


def _of_transformers(folder: Path, about: dict[str, Any]) -> SpeechModel:
    """As OpenAI publishes it on the Hub; complete when its weights have the bytes of all tensors."""
    config, _, stored = safetensors_folder.opened(folder)
    made = in_format(from_config(config, **about), safetensors_folder.plain_format(folder, stored))
    held, needed = sum(one[3] for one in stored), made.weight_bytes
    if held < needed:
        raise BadModelFile(
            f"The weights of {folder} have {held:,} bytes, and its config.json asks for {needed:,}.", fix=_AGAIN
        )
    return replace(made, path=folder, container=TRANSFORMERS)


def _folder(folder: Path, about: dict[str, Any]) -> SpeechModel:
    stored = {one.name: one for one in ctranslate_file.tensors(folder)}
    shapes = {name: one.shape for name, one in stored.items()}
    embedding = "decoder/embeddings/weight"
    try:
        width, mels, _ = shapes["encoder/conv1/weight"]
        vocabulary, text_width = shapes[embedding]
        made = SpeechModel(
            **about, mels=mels, audio_state=width, audio_context=shapes["encoder/position_encodings/encodings"][0],
            audio_heads=width // HEAD, audio_layers=_layers(shapes, "encoder"), vocabulary=vocabulary,
            text_context=shapes["decoder/position_encodings/encodings"][0], text_state=text_width,
            text_heads=text_width // HEAD, text_layers=_layers(shapes, "decoder"),
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise BadModelFile(f"{folder} lacks a part of a Whisper model: {error}.", fix="Get the folder again.") from None
    kind = stored[embedding].type
    if kind not in _TYPES:
        raise UnsupportedModel(f"{folder} has weights of type {kind}.", fix="Take a float16 or int8 model.")
    return replace(in_format(made, _TYPES[kind]), path=folder, container=CTRANSLATE)


def _layers(shapes: Mapping[str, object], part: str) -> int:
    return len({name.split("/")[1] for name in shapes if name.startswith(f"{part}/layer_") and name.count("/") > 2})


def _ggml(file: Path, about: dict[str, Any]) -> SpeechModel:
    try:
        with file.open("rb") as stream:
            numbers = struct.unpack("<12i", stream.read(48))
    except (OSError, struct.error) as error:
        raise BadModelFile(f"{file} cannot be read as a file of whisper.cpp: {error}.", fix=_AGAIN) from None
    sizes = dict(zip(_GGML_FIELDS, numbers[1:11], strict=True))
    if not _begins(file, _MAGIC) or min(sizes.values()) < 1 or max(sizes.values()) > 1_000_000:
        raise BadModelFile(f"{file} is no file of whisper.cpp: its sizes are {sizes}.", fix=_AGAIN)
    kind = _GGML_TYPES.get(numbers[11] % _QUANTIZED_FLAG)
    if kind is None:
        raise UnsupportedModel(f"{file} has weights of type {numbers[11]}, which is not known here.")
    made = in_format(SpeechModel(**about, **sizes), kind)
    if file.stat().st_size < made.weight_bytes:
        raise BadModelFile(
            f"{file} ends early: its weights take {made.weight_bytes} bytes, the file has {file.stat().st_size}.",
            fix=_AGAIN,
        )
    return replace(made, path=file, container=GGML)


def _begins(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError:
        return False
