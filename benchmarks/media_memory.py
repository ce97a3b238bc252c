"""Predicted against published memory of images and speech, and the workspace that autoencoders were seen to take.

What a source counts decides what is compared: PyTorch's own counters leave out the driver's context, and say GB where
they mean GiB; the times of PixArt-Sigma come with what stayed allocated after the picture was made, not with the peak.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from benchmarks import published_media
from benchmarks.published_media import device, image_model, speech_model
from workbench.engines.contract import ImageShape, Settings, Tricks
from workbench.engines.diffusion_memory import autoencoder, predict
from workbench.engines.faster_whisper import FasterWhisper
from workbench.engines.openai_whisper import OpenAIWhisper
from workbench.engines.stable_diffusion_cpp import StableDiffusionCpp
from workbench.engines.whispercpp import WhisperCpp
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory
from workbench.models.image import ImageModel
from workbench.units import GIB, MIB

GB = 1e9
#: Rows of the table of SDXL's optimisations → format, tricks, offload, model.
SDXL: dict[str, tuple[str, Tricks, bool]] = {
    "fp32 unoptimized": ("FP32", Tricks(), False),
    "fp16 vanilla attention": ("FP16", Tricks(), False),
    "fp16 + SDPA": ("FP16", Tricks(), False),
    "fp16 + SDPA + torch.compile": ("FP16", Tricks(), False),
    "fp16 + model CPU offload": ("FP16", Tricks(), True),
    "fp16 + sequential CPU offload": ("FP16", Tricks(sequential=True), False),
    "fp16 + VAE slicing": ("FP16", Tricks(sliced=True), False),
    "fp16 + VAE slicing + sequential CPU offload": ("FP16", Tricks(sliced=True, sequential=True), False),
    "fp16 + precomputed text embeddings": ("FP16", Tricks(), False),
    "fp16 + Tiny Autoencoder": ("FP16", Tricks(), False),
}
PIXART = {
    "FP16": "FP16", "FP8 DiT": "FP8+FP16", "FP8 DiT + TE": "FP8+FP8", "INT8 DiT + TE": "int8wo+int8wo",
    "INT4 DiT (bf16)": "int4wo-128", "INT4 DiT + TE (bf16)": "int4wo-128+int4wo-128",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A prediction beside what was published (bytes)."""

    what: str
    device: str
    predicted: Estimate
    measured: float


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Errors as fractions of what was published."""
    errors = [pair.predicted.known() / pair.measured - 1 for pair in pairs]
    worst = max(pairs, key=lambda pair: abs(pair.predicted.known() / pair.measured - 1))
    return {
        "rows": len(pairs), "mean": rounded(float(np.mean(np.abs(errors)))), "bias": rounded(float(np.mean(errors))),
        "p95": rounded(float(np.quantile(np.abs(errors), 0.95))),
        "in_interval": rounded(float(np.mean([pair.predicted.contains(pair.measured) for pair in pairs]))),
        "worst": f"{worst.what} on {worst.device}: {worst.predicted} for {worst.measured / GIB:.3g} GiB",
    }  # fmt: skip


def rounded(number: float) -> float:
    return float(f"{number:.4g}")


def machine(name: str) -> Machine:
    """A described machine with one device, or none."""
    spec = device(name) if name else None
    cards = (Accelerator(spec.vendor, spec.title, 0, spec.memory_bytes, spec=spec),) if spec else ()
    cpu = Cpu("Intel Core i7-12700K", "Intel", "x86-64", 12, 20, 20)
    return Machine(cpu, Memory(64 * GIB, 60 * GIB), Disk("/", GIB, GIB), cards)


# -- autoencoders ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decoding:
    """A published peak of an autoencoder alone, weights included."""

    model: ImageModel
    device: str
    task: str
    float32: bool
    tiled: bool
    pixels: int
    measured: float

    @property
    def kind(self) -> str:
        return f"{self.task} float32" if self.float32 else self.task

    def predicted(self, workspace: Mapping[str, float]) -> Estimate:
        part = self.model.vae
        work = autoencoder(part, self.pixels, 1, workspace, task=self.task, float32=self.float32, tiled=self.tiled)
        weights = part.component.parameters * (4 if self.float32 else 2)
        value, low, high = (weights + bound for bound in (work.known(), work.low or 0, work.high or 0))
        return Estimate(value, low, high, "B", work.basis)


@cache
def decodings() -> list[Decoding]:
    found = []
    for row in published_media.rows("diffusion_memory.csv"):
        if not row["component"].startswith("VAE"):
            continue
        side, task = int(row["resolution"].split("x")[0]), "encode" if "encoding" in row["component"] else "decode"
        float32 = row["precision"].startswith("fp32")
        model = image_model(row["model"], "FP32" if float32 else "FP16")
        tiled = "tiled" in row["component"]
        found.append(Decoding(model, row["device"], task, float32, tiled, side**2, float(row["value"]) * GB))
    return found


def workspaces(without: str = "") -> dict[str, float]:
    """Pictures' worth of workspace by task and precision: the mean over devices, of all or all but one."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in decodings():
        if one.device != without and not one.tiled:
            lives = one.predicted({}).known() - one.model.vae.component.parameters * (4 if one.float32 else 2)
            beside = one.measured - one.model.vae.component.parameters * (4 if one.float32 else 2)
            found[one.kind][one.device].append(beside / lives - 1)
    return {
        kind: rounded(max(0.0, float(np.mean([np.mean(mine) for mine in devices.values()]))))
        for kind, devices in sorted(found.items())
    }


# -- images ----------------------------------------------------------------------------------------------------


def of_images() -> dict[str, Any]:
    """The errors of every group of published memory of images; autoencoders by workspaces of other devices."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for one in decodings():
        kind = f"autoencoder, {one.kind}{', tiled' if one.tiled else ''}"
        workspace = workspaces(without=one.device)
        groups[kind].append(Pair(one.model.name, one.device, one.predicted(workspace), one.measured))
    workspace = workspaces()
    for row in published_media.rows("diffusion_memory.csv"):
        if row["model"] == "SDXL 1.0":
            groups["SDXL pipeline"].append(_sdxl(row, workspace))
        elif row["model"] == "PixArt-Sigma":
            groups["PixArt-Sigma, what stays allocated"].append(_pixart(row))
        elif row["component"].startswith("pipeline peak"):
            groups["stable-diffusion.cpp, SD 1.x pipeline"].append(_stable_diffusion_cpp(row))
    return {kind: summary(pairs) for kind, pairs in sorted(groups.items())}


def _sdxl(row: dict[str, str], workspace: Mapping[str, float]) -> Pair:
    format_name, tricks, offload = SDXL[row["precision"]]
    name = "sdxl-base-1.0-taesd" if "Tiny" in row["precision"] else row["model"]
    shape = ImageShape(1024, 1024, 50, int(row["batch"]))
    settings = Settings(model=name, format=format_name, context=0, devices=(0,), offload=offload, image=shape,
                        tricks=tricks)  # fmt: skip
    found = predict(image_model(name, format_name), settings, machine(row["device"]), workspace)
    return Pair(row["precision"], row["device"], without_driver(found[0]), float(row["value"]) * GIB)


def _pixart(row: dict[str, str]) -> Pair:
    model = image_model(row["model"], PIXART[row["precision"]])
    held = Estimate.within(model.weight_bytes, "B", Basis("weights"), 0.01, 0.02)
    return Pair(row["precision"], row["device"], held, float(row["value"]) * GIB)


def _stable_diffusion_cpp(row: dict[str, str]) -> Pair:
    kind = row["precision"].upper()
    shape = ImageShape(512, 512, 20)
    settings = Settings(model="sd", format=kind, context=0, flash_attention=False, image=shape)
    found = StableDiffusionCpp().memory(image_model(row["model"], f"{kind}+{kind}"), settings, machine(""))
    return Pair(kind, "CPU", found[0].total, float(row["value"]) * GIB)


def without_driver(breakdown: Breakdown) -> Estimate:
    """The total as PyTorch counts it."""
    parts = {name: part for name, part in breakdown.parts.items() if name != "driver"}
    return Breakdown(breakdown.device, parts).total


# -- speech ----------------------------------------------------------------------------------------------------


def of_speech() -> dict[str, Any]:
    """The errors of every engine's published memory; sizes of files apart."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for row in published_media.rows("whisper_memory.csv"):
        engine = next((name for name in _ENGINES if row["engine"].startswith(name)), None)
        if engine is None or "OpenVINO" in row["engine"]:
            continue
        if row["component"] == "disk size":
            model = speech_model(row["model"], "F16")
            exact = Estimate.within(model.weight_bytes, "B", Basis("weights"), 0.01, 0.02)
            unit = GIB if row["unit"] == "GiB" else MIB
            groups[f"{engine}, size of the file"].append(Pair(model.name, "", exact, float(row["value"]) * unit))
        else:
            groups[engine].append(_speech(row, engine))
    return {kind: summary(pairs) for kind, pairs in sorted(groups.items())}


_ENGINES = {"openai/whisper": OpenAIWhisper(), "faster-whisper": FasterWhisper(), "whisper.cpp": WhisperCpp()}


def _speech(row: dict[str, str], name: str) -> Pair:
    on_device = "VRAM" in row["component"]
    kind = {"fp16": "FP16", "fp32": "FP32", "int8": "INT8"}.get(row["quant"], row["quant"].upper())
    model = speech_model(row["model"], "F16" if name == "whisper.cpp" else kind)
    where = ("NVIDIA A100" if row["device"] == "A100" else row["device"].removesuffix(" 8GB")) if on_device else ""
    beam = 1 if row["component"] == "runtime memory" else 5
    settings = Settings(model=model.name, format=model.format, context=0, concurrency=int(row["batch"]), beam=beam,
                        devices=(0,) if on_device else (), flash_attention=on_device)  # fmt: skip
    unit = {"MB": MIB, "GB": GIB}[row["unit"]]
    if row["component"] == "runtime memory":  # whisper.cpp counts in millions
        unit = 10**6
    found = _ENGINES[name].memory(model, settings, machine(where))
    return Pair(f"{row['engine']} {row['model']} {kind}", where or "CPU", found[0].total, float(row["value"]) * unit)
