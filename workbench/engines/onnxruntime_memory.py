"""The memory ONNX Runtime GenAI takes on a CPU.

Read from the kernel's count of a server's pages: matrices are packed when they are loaded and their originals given
back; what is packed for int4 (activations in 8 bits, the builder's default) keeps the scales a second time and a sum
per block. A token embedding that is also the head is packed as a matrix and stays as a table. The caches of all
requests are taken at the start, in 32 bits; each thread holds the scores of one part of a prompt.
"""

from __future__ import annotations

from workbench.engines.contract import Settings
from workbench.engines.device_memory import weight_format
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.models import Model
from workbench.models.quantized import SCHEMES
from workbench.units import MIB

PART_TOKENS = 256  # of a prompt that are worked on at once
SOURCE = (
    "PSS of one server (x86-64, 2 cores, onnxruntime-genai 0.18) with the embedded model: int4 at contexts of 512, "
    "2,048 and 4,096 within 1 MiB; with several requests at once up to 17 MiB less, fp32 up to 90 MiB less; 2026-11-28"
)
PACKED_GROUP_BYTES = 8  # a scale and a sum in 32 bits
PROGRAM_BYTES, TOKEN_BYTES = 94 * MIB, 430


def on_cpu(model: Model, settings: Settings, cache: Estimate) -> tuple[Breakdown, ...]:
    """Everything in main memory. cache: the keys and values of all requests."""
    parts = {
        "weights": _weights(model),
        "KV cache": cache,
        "working memory": _working_memory(settings),
        "vocabulary": _vocabulary(model),
        "engine": _program(),
    }
    return (Breakdown("RAM", parts),)


def _weights(model: Model) -> Estimate:
    a, scheme = model.architecture, SCHEMES.get(weight_format(model))
    group = scheme.group if scheme else 0
    packed = sum(t.elements // group * PACKED_GROUP_BYTES for t in model.tensors if t.type in SCHEMES) if group else 0
    table = model.embedding_bytes if a.tied_embeddings else 0
    rotary = a.context_length * a.key_length * 4
    basis = Basis(
        "bytes of all tensors + 8 B per packed block + the token embedding once more where it is the head too + "
        "tables of cosines and sines",
        {"format": weight_format(model), "packed blocks": f"{packed} B", "embedding": f"{table} B"}, SOURCE,
    )  # fmt: skip
    return Estimate.within(model.weight_bytes + packed + table + rotary, "B", basis, 0.15, 0.03)


def _working_memory(settings: Settings) -> Estimate:
    count = settings.threads * PART_TOKENS * settings.context * 4
    basis = Basis("threads × tokens of a part × context × 4 B", {"part": f"{PART_TOKENS} tokens"}, SOURCE)
    return Estimate.within(count, "B", basis, 0.5, 0.5)


def _vocabulary(model: Model) -> Estimate:
    basis = Basis(f"tokens × {TOKEN_BYTES} B", {"tokens": f"{model.architecture.vocabulary}"},
                  "one vocabulary of 49,152 tokens, 2026-11-28")  # fmt: skip
    return Estimate.within(model.architecture.vocabulary * TOKEN_BYTES, "B", basis, 0.5, 0.5)


def _program() -> Estimate:
    return Estimate.within(PROGRAM_BYTES, "B", Basis("interpreter, server, libraries and graph", {}, SOURCE), 0.2, 0.1)
