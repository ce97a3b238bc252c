"""Predicted against measured peak memory of real llama.cpp deployments on this machine, over a matrix of settings.

The embedded model is written again in eight formats, and models of other shapes are made of random weights with its
tokenizer. Each prediction is stored in a ledger of its own before its deployment starts; nothing measured goes back
into any of them. Deployments run one after the other. Weights of a type that `gguf` cannot make are zeros.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import workbench
from workbench import models
from workbench.evidence.ledger import Ledger
from workbench.models import Architecture, Model
from workbench.models.config import from_config
from workbench.units import MIB

EMBEDDED = "smollm2-135m-instruct"
MEDIAN_MOST, ERROR_MOST, UNDER_MOST = 0.03, 0.10, 0.02  # the figures to reach
THREADS = 2

_LLAMA = {"model_type": "llama", "hidden_act": "silu", "max_position_embeddings": 8192, "tie_word_embeddings": True}
#: Other shapes, as a config.json; the vocabulary is the embedded model's, cut or filled up.
SHAPES: dict[str, dict[str, Any]] = {
    "llama 0.3B": {
        **_LLAMA, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 16, "num_attention_heads": 16,
        "num_key_value_heads": 8, "vocab_size": 32000, "tie_word_embeddings": False,
    },
    "qwen2 0.5B": {
        **_LLAMA, "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 49152,
    },
    "qwen3 0.3B": {
        **_LLAMA, "model_type": "qwen3", "hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 20,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 96000,
    },
    "gemma3 0.3B": {
        **_LLAMA, "model_type": "gemma3_text", "hidden_size": 640, "intermediate_size": 2048, "num_hidden_layers": 18,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256, "sliding_window": 512,
        "vocab_size": 131072,
    },
    "qwen3moe 0.5B": {
        **_LLAMA, "model_type": "qwen3_moe", "hidden_size": 768, "moe_intermediate_size": 512, "num_experts": 16,
        "num_experts_per_tok": 4, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
        "head_dim": 64, "intermediate_size": 2048, "vocab_size": 49152,
    },
}  # fmt: skip


class Case(NamedTuple):
    """One deployment. shape: the embedded model, or a key of SHAPES."""

    shape: str
    format: str
    context: int
    cache_type: str = "f16"
    slots: int = 1
    flash_attention: bool = True


CASES = (
    Case(EMBEDDED, "F32", 512, "f16", 1),
    Case(EMBEDDED, "F32", 1536, "q8_0", 2),
    Case(EMBEDDED, "F32", 1024, "f32", 1, False),
    Case(EMBEDDED, "F16", 1024, "f16", 4),
    Case(EMBEDDED, "F16", 3072, "q4_0", 1),
    Case(EMBEDDED, "F16", 512, "f16", 2, False),
    Case(EMBEDDED, "F16", 2048, "f32", 2),
    Case(EMBEDDED, "BF16", 2048, "f16", 1),
    Case(EMBEDDED, "BF16", 512, "q8_0", 4),
    Case(EMBEDDED, "Q8_0", 4096, "q8_0", 1),
    Case(EMBEDDED, "Q8_0", 512, "f32", 4),
    Case(EMBEDDED, "Q8_0", 2048, "f16", 4, False),
    Case(EMBEDDED, "Q8_0", 1024, "q4_0", 2),
    Case(EMBEDDED, "Q4_0", 512, "f16", 1),
    Case(EMBEDDED, "Q4_0", 2048, "q4_0", 4),
    Case(EMBEDDED, "Q4_0", 1000, "f16", 2, False),
    Case(EMBEDDED, "Q4_0", 8192, "q8_0", 1),
    Case(EMBEDDED, "Q4_1", 8192, "f16", 1),
    Case(EMBEDDED, "Q4_1", 1024, "q8_0", 4),
    Case(EMBEDDED, "Q4_1", 4096, "f16", 1, False),
    Case(EMBEDDED, "Q4_1", 512, "q4_0", 1),
    Case(EMBEDDED, "Q5_0", 2048, "q8_0", 2),
    Case(EMBEDDED, "Q5_0", 512, "f16", 4, False),
    Case(EMBEDDED, "Q5_0", 1500, "f32", 1),
    Case(EMBEDDED, "Q5_1", 1024, "q4_0", 1),
    Case(EMBEDDED, "Q5_1", 4096, "f16", 2),
    Case(EMBEDDED, "Q5_1", 768, "bf16", 2),
    Case("llama 0.3B", "F16", 1024, "f16", 1),
    Case("llama 0.3B", "Q4_K_M", 2048, "q8_0", 2),
    Case("llama 0.3B", "Q4_K_M", 1024, "f16", 1, False),
    Case("qwen2 0.5B", "Q8_0", 1024, "f16", 2),
    Case("qwen2 0.5B", "Q4_0", 2048, "f16", 1, False),
    Case("qwen3 0.3B", "Q8_0", 1024, "q8_0", 1),
    Case("qwen3 0.3B", "BF16", 512, "f16", 4),
    Case("gemma3 0.3B", "Q8_0", 4096, "f16", 1),
    Case("qwen3moe 0.5B", "Q8_0", 1024, "f16", 1),
    Case("qwen3moe 0.5B", "Q4_0", 512, "q4_0", 2),
)


def run() -> dict[str, Any]:
    """A summary, and per deployment the settings, the prediction with its interval, the measurement and the error."""
    found = list(measured())
    return {"summary": summary(found), "cases": found}


def measured() -> Iterator[dict[str, Any]]:
    """Each case in turn, in a home, and so a ledger, that holds nothing yet."""
    embedded = models.get(EMBEDDED)
    with TemporaryDirectory() as folder, patch.dict(os.environ, WORKBENCH_HOME=f"{folder}/home"):
        for (shape, kind), group in groupby(CASES, key=lambda case: (case.shape, case.format)):
            path = Path(folder) / f"{shape.replace(' ', '-')}.{kind}.gguf"
            write_model(shape, kind, embedded, path)
            for case in group:
                row = _deployed(case, path)
                print(_line(row), flush=True)
                yield row
            path.unlink()  # there only as long as it is needed


def _deployed(case: Case, path: Path) -> dict[str, Any]:
    """Plan, store the prediction, deploy, measure; what the ledger then holds of the two."""
    plan = workbench.plan(
        str(path), machine=workbench.probe(), engine="llama.cpp", context=case.context, concurrency=case.slots,
        threads=THREADS, cache_type=case.cache_type, flash_attention=case.flash_attention,
    )  # fmt: skip
    Ledger().predict(plan.to_dict(), plan.predictions)
    with workbench.deploy(plan, share=False) as deployment:
        taken = workbench.measure(deployment, repeats=1)
    (pair,) = (one for one in Ledger().pairs() if one["prediction"] == plan.id and one["quantity"] == "memory_peak")
    return {
        **case._asdict(), "engine": plan.engine_version, "threads": THREADS, "predicted_at": plan.created,
        "measured_at": pair["measured_at"], "calibrated_by_ledger": bool(pair["calibrated_by_ledger"]),
        "parts_bytes": {name: round(part.known()) for name, part in plan.memory[0].parts.items()},
        "predicted_bytes": round(pair["predicted"]), "low_bytes": round(pair["low"]),
        "high_bytes": round(pair["high"]), "measured_bytes": round(pair["measured"]),
        "method": taken.values["memory_peak"].method, "error": pair["error"],
        "inside_interval": pair["low"] <= pair["measured"] <= pair["high"],
    }  # fmt: skip


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures over all deployments, and whether they are reached."""
    errors = [row["error"] for row in found]
    sizes = [abs(error) for error in errors]
    median, largest, under = statistics.median(sizes), max(sizes), max(0.0, -min(errors))
    return {
        "deployments": len(found), "median_error": median, "largest_error": largest, "most_under": under,
        "inside_interval": statistics.fmean(row["inside_interval"] for row in found),
        "reached": median <= MEDIAN_MOST and largest <= ERROR_MOST and under <= UNDER_MOST,
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    case = " ".join(str(row[name]) for name in Case._fields)
    return f"  {row['error']:+7.2%}  {row['predicted_bytes'] / MIB:8.1f} {row['measured_bytes'] / MIB:8.1f} MiB  {case}"


# -- models ----------------------------------------------------------------------------------------------------


def write_model(shape: str, kind: str, embedded: Model, target: Path) -> None:
    """A GGUF file of this shape in this format, with the embedded model's tokenizer."""
    import gguf

    reader = gguf.GGUFReader(embedded.path)
    if shape == EMBEDDED:
        writer = gguf.GGUFWriter(target, embedded.architecture.name)
        _copy_fields(reader, writer, "")
        for tensor in reader.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            _add(writer, tensor.name, values, kind if values.ndim > 1 else "F32")
    else:
        model = models.in_format(from_config(SHAPES[shape], name=shape, source=__name__), kind)
        writer = gguf.GGUFWriter(target, model.architecture.name)
        _copy_fields(reader, writer, "tokenizer.", model.architecture.vocabulary)
        _add_shape(writer, model.architecture)
        for tensor in model.tensors:
            kept = tensor.type if len(tensor.shape) > 1 else "F32"  # as llama.cpp's own converter keeps norms
            _add(writer, tensor.name, _random(tensor.name, tensor.shape[::-1]), kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: Any, name: str, values: Any, kind: str) -> None:
    """One tensor in this type; zeros where only llama.cpp itself can make it."""
    import gguf
    import numpy as np

    wanted = gguf.GGMLQuantizationType[kind]
    try:
        data = gguf.quantize(values, wanted)
    except NotImplementedError:
        data = np.zeros(gguf.quant_shape_to_byte_shape(values.shape, wanted), np.uint8)
    writer.add_tensor(name, data, raw_dtype=wanted)


def _random(name: str, shape: tuple[int, ...]) -> Any:
    import numpy as np

    if "norm" in name:
        return np.ones(shape, np.float32)
    return np.random.default_rng(0).standard_normal(shape, np.float32) * np.float32(0.02)


def _copy_fields(reader: Any, writer: Any, prefix: str, vocabulary: int | None = None) -> None:
    """The metadata whose names begin so; tokens cut to the vocabulary, or made up to fill it."""
    for key, field in reader.fields.items():
        if not key.startswith(prefix) or key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = field.contents()
        if vocabulary and key in _PER_TOKEN:
            value = [*value[:vocabulary], *(_PER_TOKEN[key](token) for token in range(len(value), vocabulary))]
        writer.add_key_value(key, value, field.types[0], sub_type=field.types[-1] if len(field.types) > 1 else None)


_PER_TOKEN: dict[str, Callable[[int], Any]] = {
    "tokenizer.ggml.tokens": lambda token: f"made up {token}", "tokenizer.ggml.token_type": lambda token: 1,
}  # fmt: skip


def _add_shape(writer: Any, a: Architecture) -> None:
    writer.add_vocab_size(a.vocabulary)
    writer.add_context_length(a.context_length)
    writer.add_block_count(a.layers)
    writer.add_embedding_length(a.hidden)
    writer.add_feed_forward_length(a.feed_forward)
    writer.add_head_count(a.heads)
    writer.add_head_count_kv(a.kv_heads)
    writer.add_key_length(a.key_length)
    writer.add_value_length(a.value_length)
    writer.add_rope_dimension_count(a.key_length)
    writer.add_layer_norm_rms_eps(1e-6)
    if a.experts:
        writer.add_expert_count(a.experts)
        writer.add_expert_used_count(a.experts_used)
        writer.add_expert_feed_forward_length(a.expert_feed_forward)
    if a.sliding_window:
        writer.add_sliding_window(a.sliding_window)
