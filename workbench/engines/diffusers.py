"""Hugging Face Diffusers: pipelines of PyTorch that make pictures, hosted by the workbench's server.

A pipeline runs on the first device that is asked for, or on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.catalog.media_coefficients import of_images
from workbench.engines import diffusion, diffusion_memory
from workbench.engines.contract import Availability, Engine, Launch, Settings
from workbench.engines.device_memory import pytorch_uses
from workbench.engines.runtime import Hosted, ImageRuntime, installed
from workbench.engines.workload import Workload
from workbench.errors import EngineUnavailable
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models.image import ImageModel

#: Formats in which the workbench starts a pipeline; the others are predicted.
STARTED = ("FP32", "BF16", "FP16")
#: Types of ggml that Diffusers reads for a denoiser, and the other formats of a denoiser's linear layers.
_DENOISERS = frozenset({
    "FP32", "FP16", "BF16", "FP8", "LLM.int8", "int8wo", "int4wo-128", "int4wo-64", "NF4", "NF4-DQ",
    "Q2_K", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0",
})  # fmt: skip
_TEXT_ENCODERS = frozenset({"FP16", "FP8", "LLM.int8", "int8wo", "int4wo-128", "NF4", "NF4-DQ"})


class Diffusers(Engine[ImageModel]):
    """Predicts the memory and speed of Diffusers. compiled: the denoiser goes through torch.compile."""

    name = "diffusers"
    title = "Hugging Face Diffusers"
    formats = _DENOISERS | {f"{one}+{text}" for one in _DENOISERS for text in _TEXT_ENCODERS}
    capabilities = frozenset({"imagine"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})
    container = "pipeline"

    def __init__(self, *, compiled: bool = False) -> None:
        self.compiled = compiled

    def available(self, machine: Machine | None = None) -> Availability:
        return installed({"diffusers": "diffusers", "torch": "torch", "transformers": "transformers", "PIL": "pillow"})

    def uses(self, card: Accelerator | None, machine: Machine) -> bool:
        return pytorch_uses(card, machine)

    def supports(self, model: ImageModel) -> Availability:
        if model.format not in self.formats:
            return Availability(
                False, f"Diffusers does not run {model.name} in {model.format}.", "Choose BF16, or NF4 to need less."
            )
        return Availability(True)

    def launch(self, model: ImageModel, settings: Settings, port: int, api_key: str) -> Launch:
        availability = self.available()
        if not availability.ok:
            raise EngineUnavailable(availability.reason, fix=availability.fix)
        if model.path is None:
            raise EngineUnavailable(f"{model.name} is only described: no folder holds it.", fix="Name its folder.")
        if settings.format not in STARTED:
            raise EngineUnavailable(
                f"The workbench predicts {self.title} in {settings.format} and does not start it so.",
                fix=f"Choose {', '.join(STARTED)}.",
            )
        return Hosted(self.name, str(model.path), self.served_model(model), settings, port).launch(api_key)

    def runtime(self, path: Path, settings: Settings) -> ImageRuntime:
        from workbench.engines.diffusers_runtime import DiffusersRuntime

        return DiffusersRuntime(path, settings)

    def memory(self, model: ImageModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return diffusion_memory.predict(model, settings, machine, of_images(self.name, "cuda").workspace)

    def speed(
        self, model: ImageModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        if settings.tricks.sequential:
            reason = "the time to move every layer in for every step is not modelled"
            return {name: Estimate.unknown("s", reason) for name in ("step", "image")}
        return diffusion.speeds(model, settings, machine, of_images(self.name, "cuda"), compiled=self.compiled)
