"""A Whisper model's weights in another container, tensor by tensor: for openai-whisper, and for whisper.cpp.

From CTranslate2's folder, which CTranslate2's own converter makes of one of Transformers; nothing is rounded but what
the format asked for rounds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from workbench import folders
from workbench.errors import MissingExtra, UnsupportedModel
from workbench.models import ctranslate_file
from workbench.models.conversion_process import run
from workbench.models.download import require_space
from workbench.models.speech import SpeechModel
from workbench.models.speech_files import CTRANSLATE, GGML, TRANSFORMERS, WHISPER
from workbench.models.store import made_once
from workbench.models.verification import Progress, identity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAGIC = 0x67676D6C
_FFT = 201  # frequencies of a frame of 400 samples
#: What whisper.cpp wants in 32 bits whatever the rest is.
_FLOAT32 = frozenset({
    "encoder.conv1.bias", "encoder.conv2.bias", "encoder.positional_embedding", "decoder.positional_embedding",
})  # fmt: skip


def write_safetensors(model: SpeechModel, tensors: Mapping[str, NDArray[np.generic]], target: Path, kind: str) -> None:
    """OpenAI's names and dimensions in a file that cannot run anything; kind: a type of NumPy for all of them."""
    import numpy as np
    from safetensors.numpy import save_file

    dimensions = {
        "n_mels": model.mels, "n_audio_ctx": model.audio_context, "n_audio_state": model.audio_state,
        "n_audio_head": model.audio_heads, "n_audio_layer": model.audio_layers, "n_vocab": model.vocabulary,
        "n_text_ctx": model.text_context, "n_text_state": model.text_state, "n_text_head": model.text_heads,
        "n_text_layer": model.text_layers,
    }  # fmt: skip
    arrays = {name: np.ascontiguousarray(data, dtype=kind) for name, data in tensors.items()}
    save_file(arrays, target, metadata={name: str(value) for name, value in dimensions.items()})


def write_ggml(model: SpeechModel, tensors: Mapping[str, NDArray[np.generic]], target: Path) -> None:
    """whisper.cpp's file in F16, with the filters and the vocabulary of openai-whisper.

    Layout: whisper.cpp's models/convert-pt-to-ggml.py. Raises MissingExtra without openai-whisper.
    """
    assets = _assets()
    with target.open("wb") as out:
        m = model
        out.write(struct.pack(
            "<12i", _MAGIC, m.vocabulary, m.audio_context, m.audio_state, m.audio_heads, m.audio_layers,
            m.text_context, m.text_state, m.text_heads, m.text_layers, m.mels, 1,
        ))  # fmt: skip
        _write_filters(out, assets, m.mels)
        _write_vocabulary(out, assets, multilingual=m.multilingual)
        for name, data in tensors.items():
            _write_tensor(out, name, data)


def _assets() -> Path:
    spec = find_spec("whisper")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("openai-whisper", "engines", "Writing a model for whisper.cpp")
    return Path(spec.submodule_search_locations[0]) / "assets"


def _write_filters(out: BinaryIO, assets: Path, mels: int) -> None:
    import numpy as np

    with np.load(assets / "mel_filters.npz", allow_pickle=False) as kept:
        filters = kept[f"mel_{mels}"].astype("<f4")
    out.write(struct.pack("<2i", mels, _FFT) + filters.tobytes())


def _write_vocabulary(out: BinaryIO, assets: Path, *, multilingual: bool) -> None:
    lines = (assets / ("multilingual.tiktoken" if multilingual else "gpt2.tiktoken")).read_bytes().splitlines()
    words = [base64.b64decode(line.split()[0]) for line in lines if line]
    out.write(struct.pack("<i", len(words)))
    for word in words:
        out.write(struct.pack("<i", len(word)) + word)


def _write_tensor(out: BinaryIO, name: str, data: NDArray[Any]) -> None:
    """Sizes fastest first, the name, the numbers; biases of convolutions are columns."""
    half = data.ndim >= 2 and name not in _FLOAT32
    shape = (*data.shape, 1) if name in ("encoder.conv1.bias", "encoder.conv2.bias") else data.shape
    label = name.encode()
    out.write(struct.pack(f"<3i{len(shape)}i", len(shape), len(label), int(half), *reversed(shape)) + label)
    out.write(data.astype("<f2" if half else "<f4").tobytes())


# -- what can be made of what ----------------------------------------------------------------------------------

#: Formats that each container is written in here, from whole weights for CTranslate2.
TARGETS: Mapping[str, tuple[str, ...]] = {WHISPER: ("FP32", "FP16"), GGML: ("F16",)}
_NUMPY = {"FP32": "float32", "FP16": "float16"}
_VERSION = 1  # of what is written; raise it when that changes


def origin(model: SpeechModel) -> SpeechModel | None:
    """The model in a file that `model` is or can be made of."""
    return model if model.path else model.made_from


def can_convert(model: SpeechModel, container: str, format_name: str) -> bool:
    """Whether `convert` has a way. CTranslate2 quantizes while it loads: one file serves it in every format."""
    source = origin(model)
    if source is None:
        return False
    if source.container == container:
        return container == CTRANSLATE or source.format == format_name
    if source.container == TRANSFORMERS and container == CTRANSLATE:
        return True
    is_whole = source.container in (CTRANSLATE, TRANSFORMERS) and source.format != "INT8"
    return is_whole and format_name in TARGETS.get(container, ())


def convert(model: SpeechModel, container: str, format_name: str, *, progress: Progress | None = None) -> Path:
    """The file or folder with these weights, written into the cache if it is not there; a second or two.

    Raises UnsupportedModel where there is no way, MissingExtra, NoSpace.
    """
    source = origin(model)
    if source is None or source.path is None or not can_convert(model, container, format_name):
        raise UnsupportedModel(
            f"{model.name} cannot be written for {container} in {format_name}.",
            fix="Name a folder for CTranslate2 with float16 weights: the others are made of it.",
        )
    if source.container == container:
        return source.path
    if container == CTRANSLATE:
        format_name = source.format  # it quantizes while it loads
    elif source.container == TRANSFORMERS:
        whole = convert(source, CTRANSLATE, source.format, progress=progress)
        source = replace(source, path=whole, container=CTRANSLATE)
    target = place(source, container, format_name)
    return made_once(target, lambda place: _write(source, container, format_name, place, progress))


def place(source: SpeechModel, container: str, format_name: str) -> Path:
    """Where the cache keeps what is made of this source."""
    assert source.path is not None  # noqa: S101 - callers have seen it
    content = [str(source.path), identity(source.path)]
    key = hashlib.sha256(json.dumps([content, container, format_name, _VERSION]).encode()).hexdigest()[:12]
    folder = folders.cache() / "converted"
    folder.mkdir(parents=True, exist_ok=True)
    ending = {GGML: ".bin", CTRANSLATE: ""}.get(container, ".safetensors")
    return folder / f"{folders.file_name(f'{source.name}-{format_name}')}-{key}{ending}"


def _write(
    source: SpeechModel, container: str, format_name: str, target: Path, progress: Progress | None
) -> None:  # fmt: skip
    assert source.path is not None  # noqa: S101 - checked by convert
    require_space(target.parent, 2 * source.weight_bytes, f"{source.name} for {container}")
    if container == CTRANSLATE:
        _write_ctranslate(source, target, progress)
    elif container == GGML:
        write_ggml(source, ctranslate_file.under_openai_names(source.path), target)
    else:
        tensors = ctranslate_file.under_openai_names(source.path)
        write_safetensors(source, tensors, target, _NUMPY[format_name])


def _write_ctranslate(source: SpeechModel, target: Path, progress: Progress | None) -> None:
    """The folder of CTranslate2, of one of Transformers: in 16 bits where its weights are."""
    for module in ("ctranslate2", "transformers", "torch"):
        if find_spec(module) is None:
            raise MissingExtra(module, "engines", "Reading a Whisper of Transformers")
    request = {"what": "ctranslate2", "source": str(source.path), "target": str(target), "mels": source.mels,
               "half": source.format != "FP32"}  # fmt: skip
    run(request, f"writing {source.name} for CTranslate2", progress, weight_bytes=source.weight_bytes)
