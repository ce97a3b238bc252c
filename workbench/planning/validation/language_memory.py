"""Published memory of language models: sizes of files, weights on devices, caches, buffers, and peaks."""

from __future__ import annotations

import re

from workbench.engines import Settings
from workbench.engines.llamacpp import LlamaCpp
from workbench.engines.transformers_memory import Load, habits_of, torch_parts
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import describe
from workbench.models import Model
from workbench.planning.validation import rows
from workbench.planning.validation.rows import Measured, Refused, Row
from workbench.units import GIB, KIB, MIB

COLUMNS = {"model", "quant", "engine", "component", "n_ctx", "batch", "kv_dtype", "device", "n_devices", "value",
           "unit", "bytes"}  # fmt: skip
UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "MB(2^20)": MIB, "GB(2^30)": GIB, "MB": 10**6, "GB": 10**9}
#: Sources that say GB and mean GiB: the weights alone are more than their GB would be.
BINARY_SOURCES = ("QwenLM/Qwen@",)
BINARY_FILES = ("qwopqwop200/GPTQ-for-LLaMa@",)
#: What programs on PyTorch are called; their peaks are what PyTorch's allocator counts, without the driver.
TORCH = ("HF Transformers", "GPTQ-for-LLaMa", "AutoAWQ 0", "ExLlama", "torchao")
#: A file's or a matrix' size follows from rules and has no interval but rounding.
EXACT = (0.006, 0.006)


def score(row: Row) -> Measured:
    """One row beside its prediction; raises Refused."""
    component = row["component"]
    engine = rows.engine_of(row)
    made = rows.model(row["model"], row["quant"], row["engine"])
    if component in ("file_size", "bits_per_weight", "weights_vram", "model_size_linear_plus_head"):
        predicted = _weights(component, made)
    elif component in ("kv_cache", "compute_buffer", "total_vram_engine") and engine == "llama.cpp":
        predicted = _llamacpp(row, component, made)
    elif component == "peak_vram" and row["engine"].startswith(TORCH):
        predicted = _torch(row, made)
    else:
        raise Refused(f"not predicted: {component} of {row['engine']}")
    if predicted.value is None:
        raise Refused(predicted.reason)
    return Measured(component, engine, "", "other", row["device"] or "none", predicted, _value(row, component))


def _value(row: Row, component: str) -> float:
    if component == "bits_per_weight":
        return rows.measured(row)
    if row["source"].startswith(BINARY_SOURCES + (BINARY_FILES if component == "file_size" else ())):
        return rows.measured(row) * GIB
    if row["bytes"]:
        return rows.measured(row, "bytes")
    if row["unit"] not in UNITS:
        raise Refused(f"unit not known: {row['unit']}")
    return rows.measured(row) * UNITS[row["unit"]]


def _weights(component: str, made: Model) -> Estimate:
    basis = Basis("bytes of every tensor in this format", {"model": made.name, "format": made.quantization})
    if component == "bits_per_weight":
        return Estimate.within(8 * made.weight_bytes / made.parameters, "bit", basis, *EXACT)
    if component == "weights_vram":  # the token embedding stays in main memory
        return Estimate.within(sum(made.bytes_by_layer), "B", basis, *EXACT)
    if component == "model_size_linear_plus_head":
        return Estimate.within(made.weight_bytes - made.lookup_bytes, "B", basis, *EXACT)
    return Estimate.within(made.file_bytes, "B", basis, *EXACT)


def _llamacpp(row: Row, component: str, made: Model) -> Estimate:
    """What llama.cpp's own log says; with several devices, their sum."""
    context = int(rows.number(row, "n_ctx", 0))
    if not context:
        raise Refused("context is not stated")
    settings = Settings(
        made.name, "gguf", context, cache_type=row["kv_dtype"] or "f16", flash_attention=False, devices=(0,)
    )
    card = describe(row["device"] or "RTX 3090")
    parts = LlamaCpp().memory(made, settings, card)[0].parts
    if component != "total_vram_engine":
        return parts["KV cache" if component == "kv_cache" else "compute buffer"]
    return Breakdown("", {name: part for name, part in parts.items() if name != "driver"}).total


def _torch(row: Row, made: Model) -> Estimate:
    if "Max1100" in row["device"] and "Base" not in row["quant"]:
        raise Refused("quantized in place: the peak is the original model's")
    settings = Settings(made.name, made.quantization, 1, cache_type="q8_0" if row["kv_dtype"] == "int8 KV" else "f16")
    count = int(rows.number(row, "n_devices", 1)) or 1
    parts = torch_parts(made, _load(row), settings, count, habits_of(row["engine"], row["source"]))
    totals = [Breakdown("", part).total for part in parts]
    missing = next((one for one in totals if one.value is None), None)
    if missing:
        return missing
    value, low, high = (sum(getattr(one, bound) for one in totals) for bound in ("value", "low", "high"))
    return Estimate(value, low, high, "B", Basis("sum over devices"))


def _load(row: Row) -> Load:
    tokens, batch = int(rows.number(row, "n_ctx", 0)), int(rows.number(row, "batch", 1)) or 1
    if found := re.search(r"prefill=(\d+), generate (\d+)", row["notes"]):
        return Load(int(found[1]), int(found[2]), batch)
    if not tokens:
        raise Refused("context is not stated")
    # AutoAWQ's benchmark processes a prompt of that many tokens and answers with as many; the others only generate.
    return Load(tokens, tokens, batch) if row["engine"].startswith("AutoAWQ") else Load(1, tokens, batch)
