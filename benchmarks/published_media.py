"""The published rows of images and speech, each as the work it stands for, the device it ran on and what was measured.

A row that does not say enough to be predicted is left out, with the reason. Where a source names only a family of
devices, the device it is taken for is in DEVICES.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import workbench
from workbench import catalog
from workbench.catalog.accelerators import AcceleratorSpec
from workbench.engines.diffusion import Work, work_of
from workbench.models import image, speech
from workbench.models.image import ImageModel
from workbench.models.speech import SpeechModel

FOLDER = Path(__file__).with_name("published")
MODELS = Path(workbench.__file__).parent / "catalog" / "models"
#: Sources that name a family: the member that was sold when they were written, or the largest.
DEVICES = {
    "NVIDIA A100": "a100-sxm4-40gb", "NVIDIA V100": "v100-sxm2-16gb", "M1 Pro": "apple-m1-pro-16-core",
    "M4 Max": "apple-m4-max-40-core", "NVIDIA H100": "h100-sxm5-80gb",
}  # fmt: skip
IMAGE_MODELS = {
    "SD 1.5": "stable-diffusion-1.5", "Stable Diffusion v1.5": "stable-diffusion-1.5", "SD 1.x": "stable-diffusion-1.5",
    "SD 2.1": "stable-diffusion-2.1", "SDXL 1.0": "sdxl-base-1.0", "SDXL": "sdxl-base-1.0",
    "PixArt-Alpha": "pixart-alpha", "PixArt-Sigma": "pixart-sigma",
}  # fmt: skip
#: Steps of T-GATE's table and of the table of optimisations for Titan RTX.
TGATE_STEPS, TITAN_STEPS = 25, 50
SPEECH_KINDS = {
    "encoder time per 30 s window": "encoder", "decode time per token (batch 1)": "step",
    "decode time per token (batch of 5)": "batch",
}  # fmt: skip
BATCH = 5


@dataclass(frozen=True, slots=True)
class Term:
    """A run of a component, and how often it happens."""

    work: Work
    times: int = 1
    float32: bool = False
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One measured time: kind 'step', 'vae' or 'image'."""

    device: AcceleratorSpec
    model: str
    kind: str
    setting: str
    terms: tuple[Term, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class SpeechRow:
    """One measured time of whisper.cpp: kind 'encoder', 'step' or 'batch' (seconds of a step with BATCH beams)."""

    device: AcceleratorSpec
    model: SpeechModel
    kind: str
    fused: bool
    seconds: float


def rows(file: str) -> list[dict[str, str]]:
    """All rows of a published file."""
    with (FOLDER / file).open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def device(name: str) -> AcceleratorSpec:
    return catalog.accelerator(DEVICES.get(name, name))


@cache
def entries(file: str) -> dict[str, dict[str, Any]]:
    """The records of a file of models in the catalog."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((MODELS / file).read_text(encoding="utf-8"))
    return found


def image_model(name: str, format_name: str = "FP16") -> ImageModel:
    key = IMAGE_MODELS.get(name, name)
    return image.in_format(image.from_config(entries("image.yaml")[key]["config"], key, "catalog"), format_name)


def speech_model(name: str, format_name: str) -> SpeechModel:
    key = {"whisper-large": "whisper-large-v1", "whisper-turbo": "whisper-large-v3-turbo"}.get(name, name)
    return speech.in_format(speech.from_config(entries("speech.yaml")[key]["config"], key, "catalog"), format_name)


# -- images ----------------------------------------------------------------------------------------------------


def image_rows() -> tuple[list[ImageRow], Counter[str]]:
    """Every row that can be predicted, and how many were left out for which reason."""
    found, left_out = [], Counter[str]()
    for row in rows("diffusion_speed.csv"):
        if reason := _not_predicted(row):
            left_out[reason] += 1
        else:
            found.append(_image_row(row))
    return found, left_out


def _not_predicted(row: dict[str, str]) -> str:
    if row["task"] == "controlnet":
        return "a second network runs beside the denoiser"
    if "tiled" in row["task"]:
        return "tiles overlap"
    if row["device"] == "NVIDIA Titan RTX" and "memory efficient" not in row["precision"]:
        return "attention was not fused"
    if row["device"] == "NVIDIA A100 40GB":
        return "steps are not stated"
    return ""


def _image_row(row: dict[str, str]) -> ImageRow:
    value, card = float(row["value"]), device(row["device"])
    if row["metric"].startswith("UNet"):
        model, pictures = image_model(row["model"]), int(row["batch"])
        compiled = "compile" in row["engine"]
        term = Term(work_of(model.denoiser, _pixels(model), 2 * pictures), compiled=compiled)
        return ImageRow(card, row["model"], "step", "compiled" if compiled else "eager", (term,), 1 / value)
    float32 = "fp32" in row["precision"] or row["precision"] == "unstated"
    model = image_model(row["model"], "FP32" if float32 else "FP16")
    if "VAE" in row["task"]:
        pixels = int(row["resolution"].split("x")[0]) ** 2
        return ImageRow(card, row["model"], "vae", row["precision"], (_decoding(model, pixels, float32),), value)
    steps = TITAN_STEPS if "50 DDIM" in row["metric"] else TGATE_STEPS
    text = tuple(Term(work_of(part, 0, 2, float32=float32), float32=float32) for part in model.text_encoders)
    step = Term(work_of(model.denoiser, _pixels(model), 2, float32=float32), steps, float32)
    terms = (*text, step, _decoding(model, _pixels(model), float32))
    return ImageRow(card, row["model"], "image", row["precision"], terms, value)


def _decoding(model: ImageModel, pixels: int, float32: bool) -> Term:
    return Term(work_of(model.vae, pixels, 1, float32=float32), float32=float32)


def _pixels(model: ImageModel) -> int:
    return model.width * model.height


# -- speech ----------------------------------------------------------------------------------------------------


def speech_rows() -> tuple[list[SpeechRow], Counter[str]]:
    """Every row of whisper.cpp on an accelerator, and how many were left out for which reason."""
    found, left_out = [], Counter[str]()
    for row in rows("whisper_speed.csv"):
        kind = SPEECH_KINDS.get(row["metric"])
        if kind is None:
            left_out[f"{row['metric']} is not predicted"] += 1
            continue
        model = speech_model(row["model"], row["quant"])
        seconds = float(row["value"]) * 1e-3 * (BATCH if kind == "batch" else 1)
        found.append(SpeechRow(device(row["device"]), model, kind, row["flash_attn"] == "1", seconds))
    return found, left_out


#: Cards below 100 W whose prompts were published; the power of the others does not bind.
LOW_POWER = {"Tesla T4": "t4", "NVIDIA L4": "l4"}


def sustained_flops() -> Iterator[tuple[AcceleratorSpec, float]]:
    """The most FLOP/s that prompts of dense language models show a card of little power to keep up."""
    best = dict.fromkeys(LOW_POWER, 0.0)
    for row in rows("llm_speed.csv"):
        dense = row["metric"] == "prefill" and row["n_devices"] == "1" and "8x" not in row["model"]
        if row["device"] in best and dense and row["params_b"]:
            best[row["device"]] = max(best[row["device"]], 2e9 * float(row["params_b"]) * float(row["value"]))
    return ((device(LOW_POWER[name]), rate) for name, rate in best.items())
