"""ONNX Runtime GenAI: language models as ONNX graphs, on CPUs and accelerators; started on the CPU.

What is loaded is in `onnxruntime_runtime`, hosted by the workbench's server; the memory it takes on a CPU is in
`onnxruntime_memory`. On accelerators weights and cache follow from the model; what its arena grows to beside them
nobody has published, and it grows in steps that double: that part stays unknown there, and so does the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from workbench.engines import cpu_speed
from workbench.engines import onnxruntime_memory as cpu_memory
from workbench.engines.contract import Availability, Launch, Settings
from workbench.engines.device_memory import Needs, driver_context, weight_format
from workbench.engines.llamacpp_memory import RECURRENT, is_recurrent
from workbench.engines.predicted_engine import PredictedEngine
from workbench.engines.runtime import Hosted, TextRuntime, check_starts, installed
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model
from workbench.models.architecture import kv_bytes
from workbench.models.quantized import SCHEMES

_ALL = frozenset({"cpu", "cuda"})
#: Where each format runs.
# Source, 2026-11-24: README and model builder of onnxruntime-genai (precisions fp32, fp16, bf16 and int4; CPU, CUDA,
# DirectML, OpenVINO, QNN, WebGPU). Only the runtimes that the workbench knows are named.
NEEDS = {"FP32": Needs(_ALL), "FP16": Needs(frozenset({"cuda"})), "BF16": Needs(frozenset({"cuda"}), 8.0),
         "ONNX-int4": Needs(_ALL), "ONNX-int4-128": Needs(_ALL)}  # fmt: skip
#: Architectures its model builder knows, by llama.cpp's names.
# Source, 2026-11-24: the README of onnxruntime-genai.
ARCHITECTURES = frozenset({
    "olmo", "olmo2", "chatglm", "deepseek2", "ernie4_5", "gemma", "gemma2", "gemma3", "gpt-oss", "granite", "internlm2",
    "llama", "mistral", "nemotron", "phi2", "phi3", "qwen2", "qwen3", "smollm3", "hunyuan-dense",
})  # fmt: skip
#: Shares of a CPU's speed; requests take turns, and prompts have the threads of decode.
SPEED_SOURCE = "fitted to a llama model of 134 million parameters on two x86-64 machines (2 cores each), 2026-11-29"
INT4 = cpu_speed.Shares(prefill=1.19, decode=0.9, vector=0.64, attention=0.29, source=SPEED_SOURCE)
WHOLE = cpu_speed.Shares(prefill=0.98, decode=0.8, attention=0.31, source=SPEED_SOURCE)
UNMEASURED = "nobody has published what ONNX Runtime's arena grows to; measure it"


class OnnxRuntime(PredictedEngine):
    """One graph, hosted by the workbench's server; requests take turns, each with a cache of its own."""

    name = "onnx-runtime"
    title = "ONNX Runtime GenAI"
    formats = frozenset(NEEDS)
    capabilities = frozenset({"chat", "complete"})
    runtimes = _ALL
    container = "onnx"
    package = "onnxruntime-genai"
    published_as = "ONNX Runtime"
    needs = NEEDS
    starts = True
    part_tokens = cpu_memory.PART_TOKENS
    benchmark_options: Mapping[str, object] = MappingProxyType({"ignore_eos": True})

    # -- what runs here ----------------------------------------------------------------------------------------

    def available(self, machine: Machine | None = None) -> Availability:
        return installed({"onnxruntime_genai": self.package})

    def supports(self, model: Model) -> Availability:
        able, name = super().supports(model), model.architecture.name
        if able.ok and name not in ARCHITECTURES:
            return Availability(
                False, f"ONNX Runtime GenAI cannot build a graph of {name!r}, the architecture of {model.name}.",
                "Choose Transformers or llama.cpp.",
            )  # fmt: skip
        return able

    def runs_on(self, model: Model, settings: Settings, machine: Machine) -> Availability:
        """Say whether this device can run this format."""
        if len(settings.devices) > 1:
            return Availability(False, "ONNX Runtime GenAI runs on one device.", "Name one.")
        return super().runs_on(model, settings, machine)

    # -- predictions -------------------------------------------------------------------------------------------

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        cards = settings.accelerators(machine)
        cache = _cache(model, settings, on_cpu=not cards)
        if not cards:
            return cpu_memory.on_cpu(model, settings, cache)
        parts = {"weights": _weights_on_device(model), "KV cache": cache, "arena": Estimate.unknown("B", UNMEASURED)}
        host = Breakdown("RAM", {"program": Estimate.unknown("B", "nobody has published it; measure it")})
        return (Breakdown(cards[0].name, {**parts, "driver": driver_context(cards[0])}), host)

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        """On a CPU prompts are worked on in turns, with as many threads as decode has."""
        if settings.devices:
            return super().prefill(model, settings, machine, tokens, batch)
        alike = replace(settings, prefill_threads=settings.threads)
        return cpu_speed.prefill(_shares(model, machine), model, alike, machine, tokens=tokens, batch=batch)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        """On a CPU a token for each of `batch` requests is `batch` steps: they take turns."""
        if settings.devices:
            return super().decode(model, settings, machine, depth, batch)
        if is_recurrent(model.architecture):
            return Estimate.unknown("s", RECURRENT)
        cache = kv_bytes(model.architecture, depth, 4.0)
        step = cpu_speed.decode(
            _shares(model, machine), model, settings, machine, depth=depth, batch=1, cache_bytes=cache
        )
        return step.plus(step, times=batch - 1)

    # -- launching ---------------------------------------------------------------------------------------------

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        check_starts(self, settings)
        return Hosted(self.name, str(model.path), model.name, settings, port).launch(api_key)

    def runtime(self, path: Path, settings: Settings) -> TextRuntime:
        """Load a folder of the model builder."""
        from workbench.engines.onnxruntime_runtime import OnnxTextRuntime

        return OnnxTextRuntime(path, settings)


def _shares(model: Model, machine: Machine) -> cpu_speed.Shares:
    if weight_format(model) not in SCHEMES:
        return WHOLE
    return replace(INT4, prefill=cpu_speed.narrowed(INT4.prefill, machine))  # products of 8-bit integers


def _weights_on_device(model: Model) -> Estimate:
    """What a folder for CPUs has in 32 bits, one for accelerators has in 16."""
    kind = weight_format(model)
    count = model.weight_bytes if kind not in SCHEMES else sum(
        2 * t.elements if t.type == SCHEMES[kind].kept else t.bytes - 2 * (t.elements // SCHEMES[kind].group)
        for t in model.tensors)  # fmt: skip
    basis = Basis("bytes of all tensors", {"format": kind}, "exact by architecture")
    return Estimate.within(count, "B", basis, 0.0, 0.02)


def _cache(model: Model, settings: Settings, *, on_cpu: bool) -> Estimate:
    """The whole context, set aside at once (past and present share a buffer); on a CPU in 32 bits."""
    if is_recurrent(model.architecture):
        return Estimate.unknown("B", RECURRENT)
    per_value = 4.0 if on_cpu or weight_format(model) == "FP32" else 2.0
    count = settings.concurrency * kv_bytes(model.architecture, settings.context, per_value)
    basis = Basis("keys and values of the whole context", {"value": f"{per_value:.0f} B"},
                  "documentation of onnxruntime-genai: past_present_share_buffer")  # fmt: skip
    return Estimate.within(count, "B", basis, 0.0, 0.01)
