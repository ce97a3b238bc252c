"""vLLM: language models on servers, many requests at once. It predicts; the workbench cannot start it yet.

It takes a fixed share of each device whatever the model needs, so that the question is not what it takes but what the
share can hold: see `capacity`. Its memory terms are in `vllm_memory`.
"""

from __future__ import annotations

from importlib import metadata

from workbench.engines import vllm_memory as memory
from workbench.engines.contract import Availability, Settings
from workbench.engines.device_memory import Needs
from workbench.engines.predicted_engine import PredictedEngine
from workbench.engines.tensor_split import refusal, shard
from workbench.errors import UsageError
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model
from workbench.units import format_bytes

_ALL = frozenset({"cpu", "cuda", "rocm", "xpu"})
_NVIDIA = frozenset({"cuda"})
#: Where each format runs.
# Source, 2026-11-24: the hardware tables of quantization in the documentation of vLLM 0.11 to 0.15; FP8 runs on Ampere
# with 16-bit activations (Marlin). vLLM needs compute capability 7.0.
NEEDS = {
    "FP32": Needs(_ALL, 7.0),
    "FP16": Needs(_ALL, 7.0),
    "BF16": Needs(_ALL, 8.0),
    "FP8": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "FP8-row": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "FP8-tensor": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "MXFP4": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "GPTQ-Int8": Needs(_ALL - {"rocm"}, 7.0),
    "GPTQ-Int4": Needs(_ALL - {"rocm"}, 7.0),
    "GPTQ-Int4-g32": Needs(_ALL - {"rocm"}, 7.0),
    "AWQ-Int4": Needs(_ALL - {"rocm"}, 7.5),
    "LLM.int8": Needs(_NVIDIA, 7.5),
    "NF4": Needs(_NVIDIA, 7.0),
    "NF4-DQ": Needs(_NVIDIA, 7.0),
    "FP4": Needs(_NVIDIA, 7.0),
    "int8wo": Needs(_NVIDIA, 8.0),
    "int4wo-128": Needs(_NVIDIA, 8.0),
}


class VLLM(PredictedEngine):
    """Predicts what vLLM's server takes and holds.

    version: the release to predict, the one installed or the newest known when not given; utilization: the share of
    each device, the release's own when not given.
    """

    name = "vllm"
    title = "vLLM"
    formats = frozenset(NEEDS)
    capabilities = frozenset({"chat", "complete"})
    runtimes = _ALL
    package = "vllm"
    published_as = "vLLM"
    needs = NEEDS
    splits_layers = True

    def __init__(self, *, version: str = "", utilization: float | None = None) -> None:
        self.release = memory.release(version or _installed())
        self.utilization = self.release.utilization if utilization is None else utilization
        if not 0 < self.utilization <= 1:
            raise UsageError(f"A share of {utilization} was asked for.", fix="Ask for more than 0, and 1 at most.")

    def runs_on(self, model: Model, settings: Settings, machine: Machine) -> Availability:
        """Say whether these devices can run this format, can be split over, and hold the cache of one request."""
        able, cards = super().runs_on(model, settings, machine), settings.accelerators(machine)
        if not able.ok or not cards:
            return able
        if reason := refusal(model.architecture, len(cards)):
            return Availability(False, reason, "Choose another number of devices.")
        left = memory.pool(model, settings, machine, self.release, self.utilization)
        needed = memory.cache_bytes(shard(model, len(cards)), settings, settings.context)
        if left.value is not None and left.value < needed:
            return self._too_long(model, settings, machine, left.value, needed)
        return Availability(True)

    def _too_long(self, model: Model, settings: Settings, machine: Machine, left: float, needed: float) -> Availability:
        most = self.longest_context(model, settings, machine)
        return Availability(
            False,
            f"vLLM would not start: {settings.context} tokens need {format_bytes(needed)} of cache, and "
            f"{format_bytes(max(left, 0))} are left at --gpu-memory-utilization {self.utilization}.",
            f"Try --max-model-len {most}, or a larger share."
            if most
            else "The weights do not leave room for any cache.",
        )

    def capacity(self, model: Model, settings: Settings, machine: Machine) -> tuple[Estimate, Estimate]:
        """Bytes of KV pool on each device (the one with least), and tokens that all requests together may hold.

        Raises UsageError without devices: on a CPU the pool is what VLLM_CPU_KVCACHE_SPACE says.
        """
        if not settings.devices:
            raise UsageError("On a CPU the cache is what VLLM_CPU_KVCACHE_SPACE says.", fix="Name devices.")
        left = memory.pool(model, settings, machine, self.release, self.utilization)
        if left.value is None or left.low is None or left.high is None:
            return left, Estimate.unknown("tokens", left.reason)
        piece = shard(model, len(settings.devices))
        # Sliding layers hold no more than their window per request: longer requests share the pool better.
        per_token = memory.cache_bytes(piece, settings, settings.context) / settings.context
        value, low, high = (max(0, bound) / per_token for bound in (left.value, left.low, left.high))
        inputs = {"pool": str(left), "a token": f"{per_token:.0f} B in requests of {settings.context} tokens"}
        basis = Basis("KV pool ÷ bytes per token", inputs, left.basis.source)
        return left, Estimate(value, low, high, "tokens", basis)

    def longest_context(self, model: Model, settings: Settings, machine: Machine) -> int:
        """The longest --max-model-len that starts, in whole pages; 0 where none does or nobody can say."""
        left = memory.pool(model, settings, machine, self.release, self.utilization).value
        if left is None or left <= 0:
            return 0
        piece, most = shard(model, len(settings.devices)), model.architecture.context_length
        low, high = 0, most // memory.PAGE_TOKENS
        while low < high:
            middle = (low + high + 1) // 2
            fits = memory.cache_bytes(piece, settings, middle * memory.PAGE_TOKENS) <= left
            low, high = (middle, high) if fits else (low, middle - 1)
        return low * memory.PAGE_TOKENS

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        if not settings.devices:
            return memory.on_cpu(model, settings)
        return memory.on_devices(model, settings, machine, self.release, self.utilization)


def _installed() -> str:
    try:
        return metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return ""
