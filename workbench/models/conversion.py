"""A model's weights in another container: GGUF unpacked for Transformers, graphs built for ONNX Runtime.

Made once, in a process of its own, and kept in the cache by what they were made of. Unpacking restores no precision:
what a quantized file lost stays lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench import folders
from workbench.errors import MissingExtra, UnsupportedModel, UsageError
from workbench.models import speech_conversion
from workbench.models.conversion_process import run
from workbench.models.download import require_space
from workbench.models.formats import in_format, origin
from workbench.models.model import Model
from workbench.models.speech import SpeechModel
from workbench.models.store import made_once
from workbench.models.verification import Progress, identity

#: Formats that each container can be written in here; a GGUF file only from another one.
TARGETS: Mapping[str, tuple[str, ...]] = {
    "gguf": ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"),
    "safetensors": ("FP32", "FP16", "BF16"),
    "onnx": ("FP32", "ONNX-int4"),
}
#: Of a prompt only the last token's logits are of use; those of all would take vocabulary × 4 B for each token.
_LAST_LOGITS = ("--extra_options", "prune_lm_head=true")
#: Architectures of GGUF files that Transformers unpacks, by llama.cpp's names.
# Source, 2026-11-28: the tables of transformers 5.23 (modeling_gguf_pytorch_utils, integrations.gguf).
UNPACKED = frozenset({
    "bloom", "deci", "falcon", "gemma2", "gemma3", "gpt-oss", "gpt2", "lfm2", "llama", "mamba", "minimax-m2", "mistral",
    "nemotron", "phi3", "qwen2", "qwen2moe", "qwen3", "qwen35", "qwen35moe", "qwen3moe", "stablelm", "starcoder2",
})  # fmt: skip
#: The builder's name of each precision, and its options.
ONNX_BUILDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "FP32": ("fp32", _LAST_LOGITS), "ONNX-int4": ("int4", _LAST_LOGITS),
}  # fmt: skip
#: What each way is done with: named in the cache's key, since another version may write something else.
PACKAGES = {
    "gguf": ("gguf",),
    "safetensors": ("transformers", "torch"),
    "onnx": ("onnxruntime-genai", "onnx", "onnx-ir", "torch"),
}
_MODULES = {"onnxruntime-genai": "onnxruntime_genai", "onnx-ir": "onnx_ir"}


def can_convert(model: Model | SpeechModel, container: str, format_name: str) -> bool:
    """Whether `convert` has a way, as far as names tell."""
    if isinstance(model, SpeechModel):
        return speech_conversion.can_convert(model, container, format_name)
    source = origin(model)
    if source is None:
        return False
    if (source.format, source.quantization) == (container, format_name):
        return True
    if format_name not in TARGETS.get(container, ()):
        return False
    opened = source.format == "safetensors" or source.architecture.name in UNPACKED
    return source.format == "gguf" if container == "gguf" else opened


def convert(model: Model | SpeechModel, container: str, format_name: str, *, progress: Progress | None = None) -> Path:
    """The file or folder with the weights of `model` in this container and format, made if it is not there yet.

    container: 'gguf', 'safetensors' or 'onnx'; format_name: one of TARGETS, or the one the model is in. `progress` may
    raise to cancel. Raises UsageError for a model without a file, UnsupportedModel, MissingExtra or NoSpace.
    Models for speech have containers of their own: see `speech_conversion`.
    """
    if isinstance(model, SpeechModel):
        return speech_conversion.convert(model, container, format_name, progress=progress)
    source = origin(model)
    if source is None or source.path is None:
        raise UsageError(f"{model.name} is only described: there is no file to convert.", fix="Name a model's file.")
    if (source.format, source.quantization) == (container, format_name):
        return source.path
    if not can_convert(source, container, format_name):
        raise UnsupportedModel(
            f"{source.name} ({source.format}, {source.quantization}) cannot be written as {container} {format_name}.",
            fix=f"As {container}: {', '.join(TARGETS.get(container, ())) or 'nothing'}.",
        )
    _check_packages(container)
    target = _place(source, container, format_name)
    return made_once(target, lambda place: _make(source, container, format_name, place, progress))


def weight_files(path: Path) -> list[Path]:
    """The files that hold the weights of a model: the path itself, or those of a folder."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".data", ".onnx"))


def _place(source: Model, container: str, format_name: str) -> Path:
    assert source.path is not None  # noqa: S101 - checked by convert
    content = source.sha256 or [str(source.path), identity(source.path)]
    versions = [metadata.version(name) for name in PACKAGES[container]]
    key = json.dumps([content, container, format_name, versions, ONNX_BUILDS.get(format_name, ())])
    folder = folders.cache() / "converted"
    folder.mkdir(exist_ok=True)
    ending = ".gguf" if container == "gguf" else f"-{container}"
    stem = folders.file_name(f"{source.name}-{format_name}")
    return folder / f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}{ending}"


def _check_packages(container: str) -> None:
    for package in PACKAGES[container]:
        if find_spec(_MODULES.get(package, package)) is None:
            raise MissingExtra(package, "engines", f"Writing {container}")


def _make(source: Model, container: str, format_name: str, target: Path, progress: Progress | None) -> None:
    needed = in_format(source, format_name).weight_bytes
    require_space(target.parent, needed, f"{source.name} as {container} {format_name}")
    request = {**_request(source, container, format_name, progress), "target": str(target)}
    run(request, f"writing {source.name} as {container} {format_name}", progress, weight_bytes=needed)


def _request(source: Model, container: str, format_name: str, progress: Progress | None) -> dict[str, Any]:
    if container == "safetensors":
        return {"what": "safetensors", "source": str(source.path), "format": format_name}
    if container == "onnx":
        precision, options = ONNX_BUILDS[format_name]
        whole = convert(source, "safetensors", "FP32", progress=progress)
        return {"what": "onnx", "source": str(whole), "precision": precision, "options": list(options)}
    types = {tensor.name: tensor.type for tensor in in_format(source, format_name).tensors}
    return {"what": "gguf", "source": str(source.path), "file_type": _file_type(format_name), "types": types}


def _file_type(format_name: str) -> str:
    """llama.cpp's name of a file type, as the gguf library spells it."""
    return "ALL_F32" if format_name == "F32" else f"MOSTLY_{format_name}"
