"""Rows of published measurements: what their words mean, and which of them cannot be used."""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workbench import catalog, models
from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.model_names import strip_format
from workbench.errors import AmbiguousName, UnknownName, UnsupportedModel, UsageError
from workbench.evidence import Estimate
from workbench.models import Model

Row = Mapping[str, str]

#: How engines are spelled, by how the spelling begins.
ENGINES = {
    "llama.cpp": "llama.cpp", "llamacpp": "llama.cpp", "llamafile": "llama.cpp", "ollama": "llama.cpp",
    "vllm": "vLLM", "sglang": "SGLang", "hf ": "Transformers", "transformers": "Transformers",
    "autogptq / transformers": "Transformers", "gpt-fast": "torch.compile", "torchao": "torch.compile",
    "tensorrt-llm": "TensorRT-LLM", "exllama": "ExLlama", "autoawq": "AutoAWQ",
}  # fmt: skip
#: Formats by how rows of engines that run no GGUF write them, where `models.formats` would ask back.
_LOOSE = ((r"bf16|bfloat16|fp16|float16|^base", "BF16"), (r"int4$", "AWQ-Int4"))
#: What Ollama gives who names no format.
OLLAMA = "Q4_K_M"
#: A size that differs from the catalog's by more than this is another file than the row says.
SIZE_TOLERANCE = 0.15


class Refused(Exception):
    """A row that is not scored; the text says why, and is counted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measurement beside its prediction, and the group it is scored in."""

    quantity: str
    engine: str
    backend: str
    scope: str
    device: str
    predicted: Estimate
    value: float

    @property
    def error(self) -> float:
        """The absolute error as a fraction of what was measured."""
        return abs((self.predicted.value or 0.0) - self.value) / self.value


def read(path: Path) -> tuple[list[dict[str, str]], set[str]]:
    """The rows of a table, and its columns; raises UsageError for a file that is no table."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
            return _with_formats(rows), set(reader.fieldnames or ())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", fix="Check the path.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no CSV file: {error}.", fix="Save it as CSV in UTF-8.") from error


def _with_formats(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows, with the format that the same source states for the same model elsewhere, if it states just one."""
    stated: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        if row.get("quant"):
            stated[row.get("source", ""), row.get("model", "")].add(row["quant"])
    for row in rows:
        known = stated.get((row.get("source", ""), row.get("model", "")), set())
        if not row.get("quant", "-") and len(known) == 1:
            row["quant"] = next(iter(known))
    return rows


def engine_of(row: Row) -> str:
    """The engine by our name for it, or as it is written."""
    written = row["engine"].lower()
    return next((ours for start, ours in ENGINES.items() if written.startswith(start)), row["engine"])


def number(row: Row, column: str, default: float | None = None) -> float:
    """A number above 0 or equal to it; Refused for anything else."""
    text = row.get(column, "").replace("~", "")
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise Refused(f"{column} is no number: {text!r}") from None
    if not math.isfinite(value) or value < 0:
        raise Refused(f"{column} cannot be {text}")
    return value


def measured(row: Row, column: str = "value") -> float:
    """What was measured: above 0."""
    value = number(row, column)
    if not value:
        raise Refused(f"{column} is 0")
    return value


def month(row: Row) -> str:
    """The month of a row's build or page, the year where that is all there is."""
    found = re.match(r"\d{4}(-\d{2})?", row.get("source_date", ""))
    return found[0] if found else ""


@lru_cache(maxsize=1024)
def device(text: str) -> tuple[AcceleratorSpec, int]:
    """The accelerator a row names, and how many of them its name says."""
    if not text:
        raise Refused("no device is named")
    count, name = catalog.split_count(text)
    try:
        return catalog.accelerator(name), count
    except AmbiguousName:
        raise Refused(f"ambiguous device: {text}") from None
    except UnknownName:
        raise Refused(f"device not in the catalog: {text}") from None
    except UsageError as error:
        raise Refused(f"device cannot be what it says: {text} ({error.what})") from None


@lru_cache(maxsize=2048)
def model(name: str, quantization: str, engine: str) -> Model:
    """The model of a row in its format."""
    try:
        entry = catalog.model(name)
    except UsageError:
        raise Refused(f"model not in the catalog: {name}") from None
    try:
        made = models.describe(entry.name, format_of(name, quantization, engine))
    except UnsupportedModel as error:
        raise Refused(f"model not described: {entry.name} ({error.what})") from None
    except UsageError as error:
        raise Refused(f"format not known: {quantization or name} ({error.what})") from None
    if not isinstance(made, Model):
        raise Refused(f"{name} is no language model")
    return made


def format_of(name: str, quantization: str, engine: str) -> str:
    """The format a row names, in its own column or in its model's name; Ollama's usual one where Ollama says none."""
    written = quantization or strip_format(name)[1] or ""
    ours = next((ours for start, ours in ENGINES.items() if engine.lower().startswith(start)), engine)
    if "gpt-oss" in name.lower() and ours == "llama.cpp":
        return "MXFP4_MOE"  # comes in no other
    if not written and "ollama" not in engine.lower():
        raise Refused("format is not stated")
    if ours == "llama.cpp":
        return re.sub(r"^(fp|bf)16$", "F16", written or OLLAMA, flags=re.IGNORECASE)
    return next((ours for theirs, ours in _LOOSE if re.search(theirs, written, re.IGNORECASE)), written)


def check_size(row: Row, made: Model) -> None:
    """Refuse a row whose file is of another size than this model has in this format."""
    if not row.get("size_gib"):
        return
    stated = number(row, "size_gib") * 2**30
    if stated and abs(made.file_bytes / stated - 1) > SIZE_TOLERANCE:
        raise Refused(f"size differs: {row['model']} {row['quant']} says {row['size_gib']} GiB")
