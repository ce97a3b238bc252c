"""Reads the weights of a Whisper model for CTranslate2: model.bin and the sizes of its tensors, under OpenAI's names.

The file is a list of named arrays; nothing of it can run. Layout: CTranslate2's converters (ctranslate2 4.8,
specs/model_spec.py), version 6 of the format.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from workbench.errors import BadModelFile, UnsupportedModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION, KIND = 6, "WhisperSpec"
WEIGHTS = "model.bin"
_MOST_NAME, _MOST_RANK, _MOST_TENSORS = 512, 4, 20_000
#: CTranslate2's numbers of types.
_TYPES = {0: "float32", 1: "int8", 2: "int16", 3: "int32", 4: "float16"}
_AGAIN = "Get the model again."


@dataclass(frozen=True, slots=True)
class Stored:
    """One array in the file. shape: slowest dimension first; at: its first byte."""

    name: str
    type: str
    shape: tuple[int, ...]
    at: int
    bytes: int


def tensors(folder: Path) -> tuple[Stored, ...]:
    """Every array of the model in `folder`; raises BadModelFile or UnsupportedModel."""
    file = folder / WEIGHTS
    try:
        with file.open("rb") as stream:
            return tuple(_header(stream, file))
    except (OSError, struct.error, UnicodeDecodeError, OverflowError) as error:
        raise BadModelFile(f"{file} cannot be read as CTranslate2's: {error}.", fix=_AGAIN) from error


def _header(stream: BinaryIO, file: Path) -> Iterator[Stored]:
    size = file.stat().st_size
    (version,) = struct.unpack("<I", stream.read(4))
    kind = _text(stream) if version == VERSION else ""
    if kind != KIND:
        what = f"kind {kind!r}" if kind else f"version {version}"
        raise UnsupportedModel(
            f"{file} is of {what}; only Whisper models in version {VERSION} of CTranslate2's format are read.",
            fix="Convert the model again with a current ct2-transformers-converter.",
        )
    _, count = struct.unpack("<II", stream.read(8))
    if count > _MOST_TENSORS:
        raise BadModelFile(f"{file} says that it has {count} arrays.", fix=_AGAIN)
    for _ in range(count):
        one = _stored(stream, file)
        if one.at + one.bytes > size:
            raise BadModelFile(
                f"{file} ends inside {one.name}: {one.at + one.bytes} bytes are needed, it has {size}.", fix=_AGAIN
            )
        stream.seek(one.bytes, 1)
        yield one


def _stored(stream: BinaryIO, file: Path) -> Stored:
    name = _text(stream)
    (rank,) = struct.unpack("<B", stream.read(1))
    if rank > _MOST_RANK:
        raise BadModelFile(f"{file}: {name} has {rank} dimensions.", fix=_AGAIN)
    shape = struct.unpack(f"<{rank}I", stream.read(4 * rank))
    kind, length = struct.unpack("<BI", stream.read(5))
    if kind not in _TYPES:
        raise UnsupportedModel(f"{file}: {name} has type {kind}, which is not known here.")
    return Stored(name, _TYPES[kind], shape, stream.tell(), length)


def _text(stream: BinaryIO) -> str:
    (length,) = struct.unpack("<H", stream.read(2))
    if length > _MOST_NAME:
        raise struct.error(f"a name of {length} bytes")
    return stream.read(length)[:-1].decode()


# -- under OpenAI's names --------------------------------------------------------------------------------------

_WHOLE = (
    (r"decoder/embeddings/weight", "decoder.token_embedding.weight"),
    (r"(encoder|decoder)/position_encodings/encodings", r"\1.positional_embedding"),
    (r"encoder/(conv[12])/(weight|bias)", r"encoder.\1.\2"),
    (r"encoder/layer_norm/(\w+)", r"encoder.ln_post.\1"),
    (r"decoder/layer_norm/(\w+)", r"decoder.ln.\1"),
    (r"(\w+)/layer_(\d+)/self_attention/layer_norm/(\w+)", r"\1.blocks.\2.attn_ln.\3"),
    (r"(\w+)/layer_(\d+)/self_attention/linear_1/(\w+)", r"\1.blocks.\2.attn.out.\3"),
    (r"(\w+)/layer_(\d+)/attention/layer_norm/(\w+)", r"\1.blocks.\2.cross_attn_ln.\3"),
    (r"(\w+)/layer_(\d+)/attention/linear_0/(\w+)", r"\1.blocks.\2.cross_attn.query.\3"),
    (r"(\w+)/layer_(\d+)/attention/linear_2/(\w+)", r"\1.blocks.\2.cross_attn.out.\3"),
    (r"(\w+)/layer_(\d+)/ffn/layer_norm/(\w+)", r"\1.blocks.\2.mlp_ln.\3"),
    (r"(\w+)/layer_(\d+)/ffn/linear_0/(\w+)", r"\1.blocks.\2.mlp.0.\3"),
    (r"(\w+)/layer_(\d+)/ffn/linear_1/(\w+)", r"\1.blocks.\2.mlp.2.\3"),
)
#: One array there, several here, along the first dimension.
_FUSED = (
    (r"(\w+)/layer_(\d+)/self_attention/linear_0/(\w+)", r"\1.blocks.\2.attn.{}.\3", ("query", "key", "value")),
    (r"(\w+)/layer_(\d+)/attention/linear_1/(\w+)", r"\1.blocks.\2.cross_attn.{}.\3", ("key", "value")),
)
_SETTINGS = re.compile(r"\w+/(activation|alibi|alignment_\w+|num_\w+|pre_norm|scale_embeddings|.*_quantized.*)")


def under_openai_names(folder: Path) -> Mapping[str, NDArray[np.generic]]:
    """The model's arrays as openai-whisper names and splits them; raises UnsupportedModel for INT8 ones."""
    import numpy as np

    found: dict[str, NDArray[Any]] = {}
    for one in tensors(folder):
        if not one.shape or _SETTINGS.fullmatch(one.name):
            continue
        if one.type not in ("float32", "float16"):
            raise UnsupportedModel(
                f"{folder}: {one.name} is {one.type}; only whole weights can be converted.", fix="Take a float16 model."
            )
        data = np.memmap(folder / WEIGHTS, one.type, "r", one.at, one.shape)
        found |= dict(_renamed(one.name, data))
    return found


def _renamed(name: str, data: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Keys have no bias in Whisper: CTranslate2 writes zeros for it."""
    for pattern, new in _WHOLE:
        if re.fullmatch(pattern, name):
            yield _norm(re.sub(pattern, new, name)), data
            return
    for pattern, new, parts in _FUSED:
        if re.fullmatch(pattern, name):
            size = data.shape[0] // len(parts)
            for place, part in enumerate(parts):
                if not (part == "key" and name.endswith("/bias")):
                    yield re.sub(pattern, new, name).format(part), data[place * size : (place + 1) * size]
            return
    raise UnsupportedModel(f"{name} is no part of a Whisper model that is known here.")


def _norm(name: str) -> str:
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")
