"""Hugging Face Diffusers: pipelines of PyTorch that make pictures. It predicts; the workbench cannot start it yet.

A pipeline runs on the first device that is asked for, or on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.catalog.media_coefficients import of_images
from workbench.engines import diffusion, diffusion_memory
from workbench.engines.contract import Availability, Engine, Settings
from workbench.engines.device_memory import prediction_only
from workbench.engines.diffusion_memory import Tricks
from workbench.engines.workload import Workload
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.image import ImageModel

#: Types of ggml that Diffusers reads for a denoiser, and the other formats of a denoiser's linear layers.
_DENOISERS = frozenset({
    "FP32", "FP16", "BF16", "FP8", "LLM.int8", "int8wo", "int4wo-128", "int4wo-64", "NF4", "NF4-DQ",
    "Q2_K", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0",
})  # fmt: skip
_TEXT_ENCODERS = frozenset({"FP16", "FP8", "LLM.int8", "int8wo", "int4wo-128", "NF4", "NF4-DQ"})


class Diffusers(Engine[ImageModel]):
    """Predicts the memory and speed of Diffusers.

    compiled: the denoiser goes through torch.compile; tricks: ways of needing less memory, none by default.
    """

    name = "diffusers"
    title = "Hugging Face Diffusers"
    formats = _DENOISERS | {f"{one}+{text}" for one in _DENOISERS for text in _TEXT_ENCODERS}
    capabilities = frozenset({"imagine"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})

    def __init__(self, *, compiled: bool = False, tricks: Tricks | None = None) -> None:
        self.compiled, self.tricks = compiled, tricks or Tricks()

    starts = False

    def available(self, machine: Machine | None = None) -> Availability:
        return prediction_only(self.title, "diffusers")

    def supports(self, model: ImageModel) -> Availability:
        if model.format not in self.formats:
            return Availability(
                False, f"Diffusers does not run {model.name} in {model.format}.", "Choose BF16, or NF4 to need less."
            )
        return Availability(True)

    def memory(self, model: ImageModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        workspace = of_images(self.name, "cuda").workspace
        return diffusion_memory.predict(model, settings, machine, workspace, self.tricks)

    def speed(
        self, model: ImageModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        if self.tricks.sequential:
            reason = "the time to move every layer in for every step is not modelled"
            return {name: Estimate.unknown("s", reason) for name in ("step", "image")}
        return diffusion.speeds(model, settings, machine, of_images(self.name, "cuda"), compiled=self.compiled)
