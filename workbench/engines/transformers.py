"""Hugging Face Transformers: language models on PyTorch. It predicts; the workbench cannot start it yet.

Its memory terms are in `transformers_memory`, its speed comes from `device_speed`.
"""

from __future__ import annotations

from workbench.engines import transformers_memory as memory
from workbench.engines.contract import Availability, Settings
from workbench.engines.device_memory import Needs
from workbench.engines.predicted_engine import PredictedEngine
from workbench.evidence import Breakdown
from workbench.machine import Machine
from workbench.models import Model

_ALL = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})
#: Where each format runs.
# Sources, 2026-11-24: Transformers' table of quantization methods; bitsandbytes 0.50's installation guide (which has
# Apple's GPUs since 0.50; compute capability 7.5 for LLM.int8, 6.0 for 4 bits); Transformers 5.23 unpacks FP8 to BF16
# below compute capability 8.9 and on what is neither NVIDIA's nor Intel's.
NEEDS = {
    "FP32": Needs(_ALL),
    "FP16": Needs(_ALL),
    "BF16": Needs(_ALL),
    "FP8": Needs(frozenset({"cuda", "xpu"}), 8.9),
    "LLM.int8": Needs(_ALL, 7.5),
    "NF4": Needs(_ALL, 6.0),
    "NF4-DQ": Needs(_ALL, 6.0),
    "FP4": Needs(_ALL, 6.0),
    "MXFP4": Needs(frozenset({"cuda"}), 7.5),
    "GPTQ-Int8": Needs(_ALL),
    "GPTQ-Int4": Needs(_ALL),
    "GPTQ-Int4-g32": Needs(_ALL),
    "GPTQ-Int3": Needs(_ALL),
    "AWQ-Int4": Needs(_ALL - {"metal"}),
    "int8wo": Needs(frozenset({"cpu", "cuda", "xpu"})),
    "int4wo-32": Needs(frozenset({"cpu", "cuda", "xpu"}), 8.0),
    "int4wo-64": Needs(frozenset({"cpu", "cuda", "xpu"}), 8.0),
    "int4wo-128": Needs(frozenset({"cpu", "cuda", "xpu"}), 8.0),
}


class Transformers(PredictedEngine):
    """Predicts the memory and speed of `model.generate`, all requests of a batch together."""

    name = "transformers"
    title = "Hugging Face Transformers"
    formats = frozenset(NEEDS)
    capabilities = frozenset({"chat", "complete"})
    runtimes = _ALL
    package = "transformers"
    published_as = "Transformers"
    needs = NEEDS

    def supports(self, model: Model) -> Availability:
        if model.format == "gguf":
            return Availability(
                False, f"Transformers would unpack the GGUF file of {model.name} to 16 or 32 bits.",
                "Choose BF16, or NF4 to need less.",
            )  # fmt: skip
        return super().supports(model)

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return memory.on_devices(model, settings, machine) if settings.devices else memory.on_cpu(model, settings)
