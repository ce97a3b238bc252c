"""A pipeline of Diffusers in this process, from its folder: safetensors alone, no code of the folder's own.

What judges finished pictures (a safety checker) is not loaded: who shows pictures to others decides on that.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import diffusers
import torch

from workbench.engines.contract import Settings
from workbench.engines.pushed import Push, pushed
from workbench.engines.runtime import ImageRuntime, Imagining, Picture, Step
from workbench.engines.torch_device import torch_device
from workbench.errors import UsageError
from workbench.models.pipeline_folder import INDEX, LEFT_OUT, PIPELINES, VARIANT, weight_files
from workbench.models.safetensors_folder import read_json

DTYPES: Final = {"FP32": torch.float32, "FP16": torch.float16, "BF16": torch.bfloat16}
#: Ways through the noise that fit what most pipelines were trained for, by the names that people use.
SCHEDULERS: Final = {
    "ddim": "DDIMScheduler", "dpm++": "DPMSolverMultistepScheduler", "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler", "heun": "HeunDiscreteScheduler", "lcm": "LCMScheduler",
    "pndm": "PNDMScheduler", "unipc": "UniPCMultistepScheduler",
}  # fmt: skip
#: Those for pipelines that flow along straight lines: Stable Diffusion 3, FLUX.
FLOW_SCHEDULERS: Final = {"euler": "FlowMatchEulerDiscreteScheduler", "heun": "FlowMatchHeunDiscreteScheduler"}
#: Decoding takes longer than a step of a small model, and nobody sees more than a few pictures in a second.
PREVIEW_EVERY_S: Final = 0.25
#: Tokens that the last text encoder of a pipeline reads, where that is not its tokenizer's own limit.
LONGEST: Final = {"tokenizer_3": 256, "tokenizer_2": 512}


class DiffusersRuntime(ImageRuntime):
    """One request at a time: a scheduler remembers where it is."""

    def __init__(self, path: Path, settings: Settings) -> None:
        torch.set_num_threads(settings.prefill_threads)
        self._kind = PIPELINES[read_json(path / INDEX)["_class_name"]]
        self._pipe = _load(path, settings.format)
        _place(self._pipe, settings)
        self._own, self._vae_type = self._pipe.scheduler, self._pipe.vae.dtype
        self.multiple = self._pipe.vae_scale_factor * (2 if self._kind.denoiser == "transformer" else 1)
        self._schedulers = _schedulers(type(self._pipe).__name__, type(self._own).__name__)
        self._shows = not settings.offload  # to decode, the denoiser would leave the device and come back
        self.schedulers = tuple(self._schedulers)

    def left_out(self, prompt: str) -> str:
        name, tokenizer = self._last_tokenizer()
        longest = LONGEST.get(name, tokenizer.model_max_length)
        read = tokenizer(prompt, truncation=True, max_length=longest, return_offsets_mapping=True)
        end = max(stop for _, stop in read["offset_mapping"])
        return prompt[end:].strip()

    def imagine(self, asked: Imagining) -> Generator[Step | Picture, None, None]:
        given = self._arguments(asked)
        return pushed(lambda push: self._run(asked, given, push))

    def _run(self, asked: Imagining, given: dict[str, Any], push: Push) -> None:
        shown = float("-inf")

        def after_step(pipe: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            nonlocal shown
            preview, is_last = None, step + 1 == pipe.num_timesteps
            if asked.preview and self._shows and (is_last or time.monotonic() - shown > PREVIEW_EVERY_S):
                preview, shown = self._decoded(values["latents"], asked), time.monotonic()
            push(Step(step + 1, pipe.num_timesteps, preview))
            return values

        try:
            found = self._pipe(**given, callback_on_step_end=after_step).images
        finally:
            self._restore()
            self._pipe.maybe_free_model_hooks()
        for place, pixels in enumerate(_bytes(found)):
            push(Picture(pixels, asked.seed + place))

    def _arguments(self, asked: Imagining) -> dict[str, Any]:
        """The pipeline's own names; each picture has a generator of its own, on the CPU: the same noise everywhere."""
        shape = asked.shape
        self._pipe.scheduler = self._scheduler(asked.scheduler)
        given = {
            "prompt": asked.prompt, "width": shape.width, "height": shape.height, "num_inference_steps": shape.steps,
            "guidance_scale": self._kind.guidance if shape.guidance is None else shape.guidance,
            "num_images_per_prompt": shape.images, "output_type": "np",
            "generator": [torch.Generator("cpu").manual_seed(asked.seed + place) for place in range(shape.images)],
        }  # fmt: skip
        if asked.negative:
            known = inspect.signature(self._pipe.__call__).parameters
            if "negative_prompt" not in known or not self._kind.guided:
                raise UsageError(f"A {type(self._pipe).__name__} takes no negative prompt.", fix="Leave it out.")
            given["negative_prompt"] = asked.negative
        return given

    def _scheduler(self, name: str) -> Any:
        if name and name not in self._schedulers:
            raise UsageError(f"There is no scheduler {name!r} here.", fix=f"Known: {', '.join(self.schedulers)}.")
        kind = getattr(diffusers, self._schedulers[name]) if name else type(self._own)
        return kind.from_config(self._own.config)

    @torch.no_grad()
    def _decoded(self, latents: Any, asked: Imagining) -> Any:
        """The pictures as they would be now. SDXL's autoencoder overflows in 16 bits: it works in 32, as at the end."""
        pipe, vae = self._pipe, self._pipe.vae
        if hasattr(pipe, "upcast_vae") and vae.dtype == torch.float16 and vae.config.get("force_upcast"):
            vae.to(torch.float32)
        if hasattr(pipe, "_unpack_latents"):
            latents = pipe._unpack_latents(latents, asked.shape.height, asked.shape.width, pipe.vae_scale_factor)
        latents = latents / vae.config.scaling_factor + (getattr(vae.config, "shift_factor", None) or 0.0)
        image = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        self._restore()
        return _bytes(pipe.image_processor.postprocess(image, output_type="np"))

    def _restore(self) -> None:
        """The autoencoder as it was loaded: a pipeline that fails while it decodes leaves it in 32 bits."""
        if self._pipe.vae.dtype != self._vae_type:
            self._pipe.vae.to(self._vae_type)

    def _last_tokenizer(self) -> tuple[str, Any]:
        names = [one for one in ("tokenizer_3", "tokenizer_2") if getattr(self._pipe, one, None) and (
            one == "tokenizer_3" or self._kind.denoiser == "transformer")]  # fmt: skip
        name = names[0] if names else "tokenizer"
        return name, getattr(self._pipe, name)


def _schedulers(pipeline: str, own: str) -> dict[str, str]:
    """Those that a pipeline of this class gets along with."""
    if pipeline == "LatentConsistencyModelPipeline":
        return {"lcm": SCHEDULERS["lcm"]}
    if pipeline == "FluxPipeline":  # it names its sigmas, which the others do not take
        return {"euler": FLOW_SCHEDULERS["euler"]}
    return FLOW_SCHEDULERS if "FlowMatch" in own else SCHEDULERS


def _load(path: Path, format_name: str) -> Any:
    index = read_json(path / INDEX)
    without = {name: None for name in LEFT_OUT if name in index}
    if "safety_checker" in index:
        without["requires_safety_checker"] = False  # type: ignore[assignment]
    is_variant = all(f".{VARIANT}" in one.name for one in weight_files(path / PIPELINES[index["_class_name"]].denoiser))
    pipe = getattr(diffusers, index["_class_name"]).from_pretrained(
        path, dtype=DTYPES[format_name], local_files_only=True, use_safetensors=True, trust_remote_code=False,
        variant=VARIANT if is_variant else None, **without,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _place(pipe: Any, settings: Settings) -> None:
    """On the device, or in main memory with the parts moved to it while they work."""
    if settings.devices:
        device = torch_device(settings)
        if settings.tricks.sequential:
            pipe.enable_sequential_cpu_offload(device=device)
        elif settings.offload:
            pipe.enable_model_cpu_offload(device=device)
        else:
            pipe.to(device)
    if settings.tricks.sliced:
        pipe.vae.enable_slicing()
    if settings.tricks.tiled:
        pipe.vae.enable_tiling()


def _bytes(pictures: Any) -> Any:
    """(n, height, width, 3) of 0 to 1, as bytes."""
    return (pictures * 255).round().astype("uint8")
