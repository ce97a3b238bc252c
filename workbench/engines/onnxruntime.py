"""ONNX Runtime GenAI: language models as ONNX graphs, on CPUs and accelerators. It predicts; the workbench cannot start
it yet.

Weights and cache follow from the model. What its arena grows to beside them nobody has published, and it grows in steps
that double: that part stays unknown, and so does the sum.
"""

from __future__ import annotations

from pathlib import Path

from workbench.engines.contract import Availability, Settings
from workbench.engines.device_memory import Needs, driver_context, weight_format
from workbench.engines.llamacpp_memory import RECURRENT, is_recurrent
from workbench.engines.predicted_engine import PredictedEngine
from workbench.engines.runtime import TextRuntime
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model
from workbench.models.architecture import kv_bytes

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
UNMEASURED = "nobody has published what ONNX Runtime's arena grows to; measure it"


class OnnxRuntime(PredictedEngine):
    """Predicts what of ONNX Runtime GenAI's memory follows from the model."""

    name = "onnx-runtime"
    title = "ONNX Runtime GenAI"
    formats = frozenset(NEEDS)
    capabilities = frozenset({"chat", "complete"})
    runtimes = _ALL
    container = "onnx"
    package = "onnxruntime-genai"
    published_as = "ONNX Runtime"
    needs = NEEDS

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

    def runtime(self, path: Path, settings: Settings) -> TextRuntime:
        """Load a folder of the model builder."""
        from workbench.engines.onnxruntime_runtime import OnnxTextRuntime

        return OnnxTextRuntime(path, settings)

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        cards = settings.accelerators(machine)
        parts = {"weights": _weights(model), "KV cache": _cache(model, settings, on_cpu=not cards),
                 "arena": Estimate.unknown("B", UNMEASURED)}  # fmt: skip
        if not cards:
            return (Breakdown("RAM", parts),)
        host = Breakdown("RAM", {"program": Estimate.unknown("B", "nobody has published it; measure it")})
        return (Breakdown(cards[0].name, {**parts, "driver": driver_context(cards[0])}), host)


def _weights(model: Model) -> Estimate:
    basis = Basis("bytes of all tensors", {"format": weight_format(model)}, "exact by architecture")
    return Estimate.within(model.weight_bytes, "B", basis, 0.0, 0.02)


def _cache(model: Model, settings: Settings, *, on_cpu: bool) -> Estimate:
    """The whole context, set aside at once (past and present share a buffer); on a CPU in 32 bits."""
    if is_recurrent(model.architecture):
        return Estimate.unknown("B", RECURRENT)
    per_value = 4.0 if on_cpu or weight_format(model) == "FP32" else 2.0
    count = settings.concurrency * kv_bytes(model.architecture, settings.context, per_value)
    basis = Basis("keys and values of the whole context", {"value": f"{per_value:.0f} B"},
                  "documentation of onnxruntime-genai: past_present_share_buffer")  # fmt: skip
    return Estimate.within(count, "B", basis, 0.0, 0.01)
