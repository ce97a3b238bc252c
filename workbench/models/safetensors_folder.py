"""Reads a folder of safetensors as Transformers and vLLM open it: its config.json and the headers of its weights.

No weight is loaded and no code of the folder is run. Refused by name: pickled weights, and models that bring their own
Python, whose files could do anything to whoever loads them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models import formats
from workbench.models.config import from_config
from workbench.models.model import Model

_AGAIN = "Get the folder again."
_MOST_HEADER_BYTES = 100_000_000  # the format's own limit
TYPES = {"F32": "FP32", "F16": "FP16", "BF16": "BF16"}
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
          "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U64": 8, "U32": 4, "U16": 2}  # fmt: skip
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def is_one(folder: Path) -> bool:
    """Whether a folder looks like a model of Transformers."""
    return (folder / "config.json").is_file()


def read(folder: Path, *, name: str = "") -> Model:
    """The model in `folder`, in the format its weights have.

    Raises BadModelFile for damaged or missing parts, UnsupportedModel for what is not opened here.
    """
    config, files, stored = opened(folder)
    described = from_config(config, name=name or folder.name, source=f"folder {folder}")
    model = formats.in_format(described, _format(folder, config, stored))
    _check_complete(folder, model, stored, quantized="quantization_config" in config)
    return replace(model, path=folder, file_bytes=sum(file.stat().st_size for file in files))


def opened(folder: Path) -> tuple[dict[str, Any], list[Path], list[tuple[str, str, int, int]]]:
    """The config, the files, and name, type, elements and bytes of every tensor in them; raises as `read` does."""
    config = read_json(folder / "config.json")
    _refuse_code(folder, config)
    files = _weight_files(folder)
    return config, files, [tensor for file in files for tensor in tensors(file)]


def _refuse_code(folder: Path, config: Mapping[str, Any]) -> None:
    programs = sorted(one.name for one in folder.glob("*.py"))
    if programs or "auto_map" in config:
        named = ", ".join(programs) or "its config.json names code elsewhere (auto_map)"
        raise UnsupportedModel(
            f"{folder} brings code of its own: {named}. Nothing of it was run.",
            fix="Choose a model whose architecture the engine knows itself.",
        )


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
    else:
        names = sorted(one.name for one in folder.glob("*.safetensors"))
    files = [folder / str(one) for one in names]
    strange = [one for one in files if one.parent != folder]
    if missing := [one.name for one in files if not one.is_file()] or [str(one) for one in strange]:
        raise BadModelFile(f"{folder} lacks {', '.join(missing[:5])}.", fix=_AGAIN)
    if not files:
        pickled = sorted(one.name for one in folder.iterdir() if one.suffix in PICKLES)
        what = f"only pickled weights ({', '.join(pickled[:3])}), which can run code" if pickled else "no weights"
        raise UnsupportedModel(f"{folder} holds {what}.", fix="Get the model as safetensors.")
    return files


def tensors(file: Path) -> Iterator[tuple[str, str, int, int]]:
    """Name, type, elements and bytes of each tensor in the header of a file, checked against its size."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(_MOST_HEADER_BYTES, size - 8):
            raise BadModelFile(f"{file} is cut short or no safetensors file.", fix=_AGAIN)
        header = _parsed(stream.read(length), file)
    header.pop("__metadata__", None)
    for name, entry in header.items():
        try:
            kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            elements = math.prod(int(one) for one in shape)
        except (TypeError, KeyError, ValueError) as error:
            raise BadModelFile(f"The header of {file} describes {name} wrongly.", fix=_AGAIN) from error
        if not 0 <= begin <= end <= size - 8 - length or _BYTES.get(kind, 1) * elements != end - begin:
            raise BadModelFile(f"{file} is {size:,} bytes long, and {name} does not lie whole in it.", fix=_AGAIN)
        yield name, kind, elements, end - begin


def _format(folder: Path, config: Mapping[str, Any], stored: list[tuple[str, str, int, int]]) -> str:
    if isinstance(scheme := config.get("quantization_config"), Mapping):
        return _quantized(folder, scheme)
    return plain_format(folder, stored)


def plain_format(folder: Path, stored: Iterable[tuple[str, str, int, int]]) -> str:
    """The format that most elements of these tensors are in; raises UnsupportedModel for a type nobody runs."""
    count: Counter[str] = Counter()
    for _, kind, elements, _ in stored:
        count[kind] += elements
    kind = count.most_common(1)[0][0] if count else ""
    if kind not in TYPES:
        raise UnsupportedModel(
            f"The weights of {folder} are of type {kind or 'none'}.", fix=f"Known: {', '.join(TYPES)}."
        )
    return TYPES[kind]


def _quantized(folder: Path, scheme: Mapping[str, Any]) -> str:
    method, bits = str(scheme.get("quant_method", "")).lower(), scheme.get("bits")
    if method == "bitsandbytes":
        four = "NF4-DQ" if scheme.get("bnb_4bit_use_double_quant") else "NF4"
        return four if scheme.get("load_in_4bit") else "LLM.int8"
    names = {("fp8", None): "FP8", ("gptq", 4): "GPTQ-Int4", ("gptq", 8): "GPTQ-Int8", ("awq", 4): "AWQ-Int4"}
    if (found := names.get((method, bits if method != "fp8" else None))) is None:
        raise UnsupportedModel(
            f"{folder} is quantized by {method or 'an unnamed method'} ({bits} bits), which is not described here.",
            fix="Known: fp8, gptq (4 and 8 bits), awq (4 bits), bitsandbytes.",
        )
    return found


def _check_complete(folder: Path, model: Model, stored: list[tuple[str, str, int, int]], *, quantized: bool) -> None:
    """Every parameter of the architecture must be there; quantized ones are packed, so their bytes are counted."""
    have = sum(size for *_, size in stored) if quantized else sum(elements for _, _, elements, _ in stored)
    need = 0.9 * model.weight_bytes if quantized else model.parameters
    if have < need:
        unit = "bytes" if quantized else "parameters"
        raise BadModelFile(
            f"{folder} holds {have:,} {unit} of weights; its config.json describes {need:,.0f}.", fix=_AGAIN
        )


def read_json(file: Path) -> dict[str, Any]:
    try:
        return _parsed(file.read_bytes(), file)
    except OSError as error:
        raise BadModelFile(f"{file} cannot be read: {error.strerror}.", fix=_AGAIN) from error


def _parsed(text: bytes, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadModelFile(f"{file} is not valid JSON: {error}.", fix=_AGAIN) from error
    if not isinstance(found, dict):
        raise BadModelFile(f"{file} holds {type(found).__name__}, not fields by name.", fix=_AGAIN)
    return found
