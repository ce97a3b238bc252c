"""Published times and memory of images and speech.

What a source counts decides what is compared: PyTorch's own counters leave out the driver's context, and blogs that say
GB mean GiB. A source that names only a family of devices is taken for the member in FAMILIES.
"""

from __future__ import annotations

import re
from typing import Any

from workbench import catalog, models
from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.media_coefficients import of_images, speech_coefficients
from workbench.engines import CHAT, Engine, ImageShape, Settings, whisper
from workbench.engines.contract import Tricks
from workbench.engines.diffusers import Diffusers
from workbench.engines.diffusion_memory import autoencoder
from workbench.engines.faster_whisper import FasterWhisper
from workbench.engines.openai_whisper import OpenAIWhisper
from workbench.engines.stable_diffusion_cpp import StableDiffusionCpp
from workbench.engines.whispercpp import WhisperCpp
from workbench.errors import UsageError
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine, describe, probe
from workbench.machine.description import RUNTIMES
from workbench.models import ImageModel, SpeechModel
from workbench.planning.validation import rows
from workbench.planning.validation.rows import Measured, Refused, Row
from workbench.units import GIB, MIB

IMAGE_SPEED = {"model", "task", "precision", "device", "engine", "resolution", "batch", "metric", "value", "unit"}
IMAGE_MEMORY = {"model", "component", "precision", "resolution", "batch", "device", "value", "unit"}
SPEECH_SPEED = {"model", "quant", "device", "backend", "engine", "metric", "value", "unit", "flash_attn"}
SPEECH_MEMORY = {"model", "quant", "engine", "batch", "component", "value", "unit", "device"}
#: Sources that name a family: the member that was sold when they were written, or the largest.
FAMILIES = {
    "NVIDIA A100": "a100-sxm4-40gb", "A100": "a100-sxm4-40gb", "NVIDIA V100": "v100-sxm2-16gb",
    "NVIDIA H100": "h100-sxm5-80gb", "M1 Pro": "apple-m1-pro-16-core", "M4 Max": "apple-m4-max-40-core",
}  # fmt: skip
#: Rows of a pipeline's optimisations → ways of needing less, and whether components are moved in and out.
TRICKS = {
    "fp16 + model CPU offload": (Tricks(), True),
    "fp16 + sequential CPU offload": (Tricks(sequential=True), False),
    "fp16 + VAE slicing": (Tricks(sliced=True), False),
    "fp16 + VAE slicing + sequential CPU offload": (Tricks(sliced=True, sequential=True), False),
}
QUANTIZED = {
    "fp16": "FP16", "fp8 dit": "FP8+FP16", "fp8 dit + te": "FP8+FP8", "int8 dit + te": "int8wo+int8wo",
    "int4 dit (bf16)": "int4wo-128", "int4 dit + te (bf16)": "int4wo-128+int4wo-128",
}  # fmt: skip
SPEECH_ENGINES: dict[str, Engine[SpeechModel]] = {
    "openai/whisper": OpenAIWhisper(), "faster-whisper": FasterWhisper(), "whisper.cpp": WhisperCpp(),
}  # fmt: skip
SPEECH_KINDS = {
    "encoder time per 30 s window": 0, "decode time per token (batch 1)": 1, "decode time per token (batch of 5)": 5,
}  # fmt: skip


def device(row: Row) -> AcceleratorSpec:
    """The accelerator of a row."""
    text = row["device"]
    return catalog.accelerators()[FAMILIES[text]] if text in FAMILIES else rows.device(text)[0]


# -- images ----------------------------------------------------------------------------------------------------


def image_speed(row: Row) -> Measured:
    """One time of a denoising step or of a picture."""
    if row["task"] in ("controlnet", "inpaint") or "VAE" in row["task"]:
        raise Refused(f"not predicted: {row['task']}")
    spec, value = device(row), rows.measured(row)
    batch = int(rows.number(row, "batch", 1)) or 1
    is_step, steps = row["metric"].startswith("UNet"), re.search(r"(\d+) (?:DDIM )?steps", row["metric"])
    if not is_step and not steps:
        raise Refused("steps are not stated")
    if "vanilla" in row["precision"] or ("Titan" in row["device"] and "memory efficient" not in row["precision"]):
        raise Refused("attention was not fused")
    model = image(row["model"], "FP32" if "fp32" in row["precision"] else "FP16")
    shape = ImageShape(model.width, model.height, int(steps[1]) if steps else model.steps, batch)
    engine = Diffusers(compiled="compile" in row["engine"] + row["precision"])
    found = engine.speed(model, _settings(model, shape), on(spec), CHAT)
    predicted = found["step" if is_step else "image"]
    if predicted.value is None:
        raise Refused(predicted.reason)
    return Measured(row["metric"], row["engine"], "", "other", spec.key, predicted, 1 / value if is_step else value)


def image_memory(row: Row) -> Measured:
    """One peak of an autoencoder or of a pipeline."""
    component = row["component"]
    if component.startswith("VAE"):
        predicted = _autoencoder(row)
    elif component == "pipeline peak":
        predicted = _pipeline(row)
    elif component.startswith("pipeline peak txt2img"):
        kind = row["precision"].upper()
        model = image(row["model"], f"{kind}+{kind}")
        shape = Settings(model.name, kind, 0, flash_attention=False, image=ImageShape(512, 512, 20))
        predicted = StableDiffusionCpp().memory(model, shape, probe())[0].total
    else:
        raise Refused(f"not predicted: {component}")
    if predicted.value is None:
        raise Refused(predicted.reason)
    # Hugging Face's blog and stable-diffusion.cpp say GB and mean GiB.
    size = 1e9 if component.startswith("VAE") else GIB
    return Measured(component, "", "", "other", row["device"], predicted, rows.measured(row) * size)


def _autoencoder(row: Row) -> Estimate:
    float32 = row["precision"].startswith("fp32")
    model, side = image(row["model"], "FP32" if float32 else "FP16"), re.match(r"\d+", row["resolution"])
    if side is None:
        raise Refused("resolution is not stated")
    task = "encode" if "encoding" in row["component"] else "decode"
    workspace = of_images("diffusers", "cuda").workspace
    tiled = "tiled" in row["component"]
    work = autoencoder(model.vae, int(side[0]) ** 2, 1, workspace, task=task, float32=float32, tiled=tiled)
    weights = model.vae.component.parameters * (4 if float32 else 2)
    return Estimate(work.known() + weights, (work.low or 0) + weights, (work.high or 0) + weights, "B", work.basis)


def _pipeline(row: Row) -> Estimate:
    precision = row["precision"]
    if row["model"].startswith("PixArt"):  # its table is of what stays allocated, not of the peak
        if precision.lower() not in QUANTIZED:
            raise Refused(f"format not known: {precision}")
        held = image(row["model"], QUANTIZED[precision.lower()]).weight_bytes
        return Estimate.within(held, "B", Basis("weights of all components"), 0.01, 0.02)
    tricks, offload = TRICKS.get(precision, (Tricks(), False))
    name = "sdxl-base-1.0-taesd" if "Tiny" in precision else row["model"]
    model = image(name, "FP32" if precision.startswith("fp32") else "FP16")
    shape = ImageShape(model.width, model.height, model.steps, int(rows.number(row, "batch", 1)) or 1)
    settings = _settings(model, shape, offload=offload, tricks=tricks)
    memory = Diffusers().memory(model, settings, on(device(row)))[0]
    return Breakdown("", {name: part for name, part in memory.parts.items() if name != "driver"}).total


def image(name: str, format_name: str) -> ImageModel:
    """The image model of a row in a format."""
    try:
        made = models.describe(catalog.model(name).name, format_name)
    except UsageError:
        raise Refused(f"model or format not in the catalog: {name} {format_name}") from None
    if not isinstance(made, ImageModel):
        raise Refused(f"{name} makes no images")
    return made


def _settings(model: ImageModel, shape: ImageShape, **ways: Any) -> Settings:
    return Settings(model.name, model.format, 0, devices=(0,), image=shape, **ways)


def on(spec: AcceleratorSpec) -> Machine:
    """A machine with this accelerator and room enough."""
    return describe(spec.key, memory_bytes=256 * GIB)


# -- speech ----------------------------------------------------------------------------------------------------


def speech_speed(row: Row) -> Measured:
    """One time of whisper.cpp's encoder or of a step of its decoder."""
    beams = SPEECH_KINDS.get(row["metric"])
    if beams is None or not row["engine"].startswith("whisper.cpp"):
        raise Refused(f"not predicted: {row['metric']} of {row['engine']}")
    spec, model, fused = device(row), speech(row["model"], row["quant"]), row["flash_attn"] == "1"
    name = f"whisper.cpp on {RUNTIMES.get(spec.vendor, '')}"
    if name not in speech_coefficients():
        raise Refused(f"no published coefficients for {name}")
    c = speech_coefficients()[name]
    predicted = (
        whisper.step(model, spec, c, beams, fused=fused) if beams else whisper.encoder(model, spec, c, fused=fused)
    )
    seconds = rows.measured(row) * 1e-3 * max(beams, 1)
    return Measured(row["metric"], "whisper.cpp", row["backend"], "other", spec.key, predicted, seconds)


def speech_memory(row: Row) -> Measured:
    """One peak of a program that runs Whisper, or the size of its file."""
    name = next((name for name in SPEECH_ENGINES if row["engine"].startswith(name)), None)
    if name is None or "OpenVINO" in row["engine"]:
        raise Refused(f"not predicted: {row['engine']}")
    size = {"MB": MIB, "MiB": MIB, "GB": GIB, "GiB": GIB}.get(row["unit"])
    if size is None:
        raise Refused(f"unit not known: {row['unit']}")
    kind = "F16" if name == "whisper.cpp" else {"int8": "INT8"}.get(row["quant"], row["quant"].upper())
    model = speech(row["model"], kind)
    if row["component"] == "disk size":
        predicted = Estimate.within(model.weight_bytes, "B", Basis("weights"), 0.01, 0.02)
    else:
        predicted = _of_program(row, name, model)
    if row["component"] == "runtime memory":  # whisper.cpp counts in millions
        size = 10**6
    return Measured(row["component"], name, "", "other", row["device"] or "none", predicted, rows.measured(row) * size)


def _of_program(row: Row, name: str, model: SpeechModel) -> Estimate:
    on_device = "VRAM" in row["component"]
    machine = on(device({**row, "device": row["device"].removesuffix(" 8GB")})) if on_device else probe()
    settings = Settings(
        model.name, model.format, 0, concurrency=int(rows.number(row, "batch", 1)) or 1,
        beam=1 if row["component"] == "runtime memory" else 5, devices=(0,) if on_device else (),
        flash_attention=on_device,
    )  # fmt: skip
    return SPEECH_ENGINES[name].memory(model, settings, machine)[0].total


def speech(name: str, format_name: str) -> SpeechModel:
    """The speech model of a row in a format."""
    try:
        made = models.describe(catalog.model(name).name, format_name.upper())
    except UsageError:
        raise Refused(f"model or format not in the catalog: {name} {format_name}") from None
    if not isinstance(made, SpeechModel):
        raise Refused(f"{name} transcribes nothing")
    return made
