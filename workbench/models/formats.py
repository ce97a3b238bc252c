"""The formats models come in: which there are, which one a spelling means, and a model in another one.

GGUF file types follow llama.cpp's quantizer (gguf_mixes.py), the others the libraries that make them (quantized.py).
Sizes only: no weight is read or changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from workbench.catalog.names import Names
from workbench.errors import UnknownName
from workbench.models import gguf_mixes, quantized
from workbench.models.model import Architecture, Model, Tensor

ALIGNMENT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Format:
    """A format by its usual name. container: "gguf" or "safetensors"; bits_per_weight: of its linear layers."""

    name: str
    title: str
    container: str
    bits_per_weight: float
    aliases: tuple[str, ...] = ()


_TITLES = {
    "FP32": "32-bit floats", "FP16": "16-bit floats", "BF16": "16-bit brain floats",
    "FP8": "8-bit floats, a scale per 128 × 128", "FP8-tensor": "8-bit floats, a scale per matrix",
    "FP8-row": "8-bit floats, a scale per row", "LLM.int8": "bitsandbytes, 8 bits",
    "NF4": "bitsandbytes, NormalFloat 4", "FP4": "bitsandbytes, 4-bit floats",
    "NF4-DQ": "bitsandbytes, NormalFloat 4, scales quantized too",
    "MXFP4": "4-bit floats of the experts (gpt-oss)",
}  # fmt: skip
_FAMILIES = {
    "GPTQ": "GPTQ", "AWQ": "AWQ", "int": "torchao, weights only", "float8wo": "torchao, 8-bit floats",
    "FP6": "torchao, 6-bit floats", "HQQ": "HQQ", "codebook": "torchao, code book", "ONNX": "ONNX Runtime",
    "EXL2": "ExLlamaV2",
}  # fmt: skip
_GGUF_BF16 = "GGUF-BF16"  # BF16 alone means a checkpoint of transformers
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "FP32": ("float32", "fp 32"),
    "FP16": ("float16", "half", "Base (float16)", "16-bit"),
    "BF16": ("bfloat16", "Base (bfloat16)"),
    "FP8": ("float8", "fp8 block"),
    "FP8-tensor": ("float8dq (PerTensor)", "float8dq per tensor"),
    "FP8-row": ("float8dq (Per Row)",),
    "LLM.int8": ("bnb int8", "bitsandbytes 8-bit", "load_in_8bit"),
    "NF4": ("bitsandbytes 4-bit", "bnb 4-bit", "bnb nf4", "load_in_4bit"),
    "NF4-DQ": ("nf4-double_quant", "nf4 double quantization"),
    "GPTQ-Int8": ("GPTQ 8bit", "GPTQ int8", "GPTQ 8bit g128"),
    "GPTQ-Int4": ("GPTQ", "GPTQ 4bit", "GPTQ-4bit", "GPTQ int4 g128", "GPTQ 4bit g128", "GPTQ-128g"),
    "GPTQ-Int4-g32": ("GPTQ 4bit g32", "GPTQ-32g"),
    "GPTQ-Int4-row": ("GPTQ int4 g-", "GPTQ 4bit g-", "GPTQ 4bit g-1"),
    "GPTQ-Int3": ("GPTQ 3bit", "GPTQ 3bit g128"),
    "GPTQ-Int3-row": ("GPTQ 3bit g-", "GPTQ 3bit g-1"),
    "AWQ-Int4": ("AWQ", "AWQ 4bit", "AWQ int4 g128"),
    "int8wo": ("INT8 weight-only", "int8dq", "int8 dynamic"),
    "int4wo-32": ("INT4 g32", "int4wo-g32"),
    "int4wo-64": ("int4wo-g64", "int4wo-64-GPTQ", "int4wo-64-sparse-marlin", "autoquant-int4hqq"),
    "int4wo-128": ("int4wo", "int4wo-g128", "w4a8-g128"),
    "int4wo-256": ("int8_dynamic_activation_intx_weight-4-256-false",),
    "int3wo-256": ("int8_dynamic_activation_intx_weight-3-256-false",),
    "int4wo-row": ("w4a8",),
    "HQQ-4": ("HQQ", "uintx-4-64-hqq"),
    "HQQ-2": ("uintx-2-8-hqq",),
    "ONNX-int4": ("ONNX int4 b32", "MatMulNBits"),
    "ONNX-int4-128": ("ONNX int4 b128",),
    **{f"EXL2-{bits}": (f"EXL2 {bits}bpw", f"exl2 {bits} bpw") for bits in ("2.5", "3.0", "4.0", "5.0", "6.0", "8.0")},
    _GGUF_BF16: ("BF16 GGUF",),
    "Q2_K": ("Q2_K - Medium",),
    "Q3_K_M": ("Q3_K", "Q3_K - Medium"),
    "Q3_K_S": ("Q3_K - Small",),
    "Q3_K_L": ("Q3_K - Large",),
    "Q4_K_M": ("Q4_K", "Q4_K - Medium", "Ollama default"),
    "Q4_K_S": ("Q4_K - Small",),
    "Q5_K_M": ("Q5_K", "Q5_K - Medium"),
    "Q5_K_S": ("Q5_K - Small",),
    "MXFP4_MOE": ("MXFP4 MoE",),
}
#: Four bits of what? Several things; the name is refused with all of them.
_UNCLEAR = {
    "int4": ("Q4_0", "GPTQ-Int4", "AWQ-Int4", "int4wo-128", "ONNX-int4"),
    "int8": ("LLM.int8", "int8wo", "Q8_0"),
}
#: Words that say how a kernel computes, not what is stored.
_HOW = ("gemm", "gemv", "exllama", "bpw")


@cache
def known() -> tuple[Format, ...]:
    """Every format, whole ones first."""
    whole = [_format(name, 8 * size) for name, size in quantized.WHOLE.items()]
    schemes = [_format(name, scheme.bits_per_weight) for name, scheme in quantized.SCHEMES.items()]
    return (*whole, *schemes, *(_gguf_format(file_type) for file_type in gguf_mixes.FILE_TYPES))


def find(text: str, *, architecture: str = "") -> Format:
    """The format that goes by `text`; words before it (a model's name) and brackets after it do not count.

    architecture: llama.cpp's name of the model's, for names that mean one thing for gpt-oss and another for the rest.
    Raises UnknownName with the nearest names, AmbiguousName with all that it can be.
    """
    formats, names = {one.name: one for one in known()}, _names()
    words = re.sub(r"\([^()]*\)", " ", text).split()
    for candidate in (text, *(" ".join(words[start:]) for start in range(len(words)))):
        if names.claims(candidate):
            found = formats[names.find(candidate)]
            published = found.name == "Q4_K_M" and "ollama" in text.lower() and architecture == "gpt-oss"
            return formats["MXFP4_MOE"] if published else found
    raise UnknownName("format", text, formats)


@cache
def _names() -> Names:
    entries = {one.name: list(one.aliases) for one in known()}
    for unclear, keys in _UNCLEAR.items():
        for key in keys:
            entries[key].append(unclear)
    return Names("format", entries, ignore=_HOW)


def _format(name: str, bits: float) -> Format:
    family = next((title for start, title in _FAMILIES.items() if name.startswith(start)), name)
    title = _TITLES.get(name, f"{family}, {bits:.3g} bits")
    return Format(name, title, "safetensors", bits, _ALIASES.get(name, ()))


def _gguf_format(file_type: str) -> Format:
    name = _GGUF_BF16 if file_type == "BF16" else file_type
    values, size = gguf_mixes.block(gguf_mixes.base(file_type))
    return Format(name, f"GGUF, {file_type}", "gguf", 8 * size / values, _ALIASES.get(name, ()))


# -- a model in another format ---------------------------------------------------------------------------------


def in_format(model: Model, format_name: str, *, imatrix: bool | None = None, before_2026: bool | None = None) -> Model:
    """The same model in another format, described: it has no file.

    imatrix: a GGUF made with an importance matrix; when not given, for the file types that are not made without one
    (IQ4_XS, IQ4_NL and Q4_0 come either way and differ by up to 1 %). before_2026: as llama.cpp's
    quantizer of 2023 to 2025 chose for fused attention matrices; when not given, for architectures of that time.
    Raises UnknownName or AmbiguousName.
    """
    found = find(format_name, architecture=model.architecture.name)
    if found.container == "gguf":
        return _as_gguf(model, found, imatrix, before_2026)
    tied = model.architecture.tied_embeddings
    learned = (tensor for tensor in model.tensors if not tensor.is_computed)
    tensors = tuple(quantized.stored(tensor, found.name, tied=tied) for tensor in learned)
    return replace(
        model, path=None, sha256=None, made_from=origin(model), tensors=tensors,
        file_bytes=sum(one.bytes for one in tensors), quantization=found.name, format=found.container,
    )  # fmt: skip


def origin(model: Model) -> Model | None:
    """The model in a file that `model` is or can be made of; None for one that is only described."""
    return model if model.path else model.made_from


def _as_gguf(model: Model, found: Format, imatrix: bool | None, before_2026: bool | None) -> Model:
    file_type = "BF16" if found.name == _GGUF_BF16 else found.name
    made_with = file_type in gguf_mixes.NEEDS_IMATRIX if imatrix is None else imatrix
    older = model.architecture.name in _FUSED_BEFORE_2026 if before_2026 is None else before_2026
    kinds = gguf_mixes.types(model.architecture, model.tensors, file_type, imatrix=made_with, before_2026=older)
    tensors = tuple(_retyped(tensor, kind) for tensor, kind in zip(model.tensors, kinds, strict=True))
    header_bytes = _header_bytes(model)
    return replace(
        model, path=None, sha256=None, made_from=origin(model), architecture=_in_gguf(model.architecture),
        tensors=tensors, file_bytes=header_bytes + _aligned(tensors), quantization=file_type, format="gguf",
    )  # fmt: skip


def _retyped(tensor: Tensor, kind: str) -> Tensor:
    values, size = gguf_mixes.block(kind)
    return Tensor(tensor.name, kind, tensor.shape, tensor.elements, tensor.elements // values * size)


def _in_gguf(architecture: Architecture) -> Architecture:
    """llama.cpp keeps no sliding window for these: every layer caches the whole context."""
    return replace(architecture, sliding_window=None, windowed=()) if architecture.name in _NO_WINDOW else architecture


#: Architectures with a fused attention matrix whose files were made before 2026.
_FUSED_BEFORE_2026 = frozenset({"bloom", "falcon", "gpt2", "gptneox", "mpt", "phi3", "qwen", "starcoder"})
#: Architectures whose sliding window llama.cpp does not use.
_NO_WINDOW = frozenset({"llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "phi3", "starcoder2", "mistral3"})


def _aligned(tensors: tuple[Tensor, ...]) -> int:
    return sum(-(-tensor.bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for tensor in tensors)


#: Bytes of a header of tokens, scores and merges, by rows of the vocabulary: llama.cpp's own vocabulary files
# (models/ggml-vocab-*.gguf, October 2026).
_VOCABULARY_BYTES = {
    32000: 723_869, 32064: 726_019, 32256: 1_156_067, 49152: 1_719_346, 50257: 1_766_807, 50304: 1_771_431,
    50432: 1_771_431, 64000: 1_340_998, 65024: 2_287_728, 102400: 3_970_167, 128256: 7_818_140, 151936: 5_928_681,
    152064: 5_928_681,
}  # fmt: skip
# Elsewhere: bytes per token of pieces with scores, or of pieces with merges.
_PIECE_BYTES, _MERGED_BYTES = 23.5, 42.0
_PIECES = frozenset({"gemma", "gemma2", "gemma3", "internlm2", "baichuan", "phi3"})
_FIELDS_BYTES = 6000  # forty fields and a chat template
_TENSOR_FIELDS_BYTES = 24  # length of the name, number of dimensions, type and offset


def _header_bytes(model: Model) -> int:
    """What precedes the tensors; of a model in a file it is known."""
    if model.format == "gguf":
        return model.file_bytes - _aligned(model.tensors)
    rows = model.architecture.vocabulary
    each = _PIECE_BYTES if model.architecture.name in _PIECES or rows <= 32768 else _MERGED_BYTES
    vocabulary = _VOCABULARY_BYTES.get(rows, round(each * rows))
    fields = sum(_TENSOR_FIELDS_BYTES + len(one.name) + 8 * len(one.shape) for one in model.tensors)
    return vocabulary + fields + _FIELDS_BYTES
