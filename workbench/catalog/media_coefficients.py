"""Coefficients of speed for images and speech, fitted to published measurements by `python -m benchmarks fit_media`.

One record holds one engine on one kind of device and is never edited by hand. What the numbers multiply is written in
`workbench.engines.diffusion` and `workbench.engines.whisper`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.coefficients import Spread
from workbench.catalog.loader import load
from workbench.errors import UnknownName


@dataclass(frozen=True, slots=True)
class ImageCoefficients:
    """One engine for images on one runtime.

    utilisation: fraction of the rate that is reached by matrix units which are 'wide' (a data centre's) and 'narrow' (a
    GeForce card's, halved with FP32 accumulation), and by 'float32' lanes; watt_flops: most FLOP/s per watt of the
    board that an architecture was seen to keep up; bandwidth_efficiency: fraction of the bandwidth that is reached.
    kernel_s: once per kernel; host_s: time the host needs to start one, compiled_host_s: in a compiled denoiser, whose
    traffic is compiled_traffic times as much. convolution_cost: time of a convolution's operation in those of a matrix;
    score_flops: FP32 operations that the softmax of one attention score costs, by kernel.
    offload_s_per_byte: moving weights in and out; workspace: memory of convolutions besides what lives, in pictures, by
    task and precision of the autoencoder. architectures: those that were fitted; spreads: by kind of prediction.
    """

    name: str
    engine: str
    runtime: str
    utilisation: dict[str, float]
    watt_flops: dict[str, float]
    bandwidth_efficiency: float
    kernel_s: float
    host_s: float
    compiled_host_s: float
    compiled_traffic: float
    convolution_cost: float
    score_flops: dict[str, float]
    offload_s_per_byte: float
    workspace: dict[str, float]
    architectures: tuple[str, ...]
    spreads: dict[str, Spread]
    rows: int
    fitted_devices: int
    error: float
    source: str
    checked: date


@dataclass(frozen=True, slots=True)
class SpeechCoefficients:
    """One engine for speech on one runtime.

    utilisation: fraction of the matrix rate that the encoder reaches; frame_bytes: its memory traffic per layer, frame
    and channel; encoder_layer_s, encoder_s: per layer, and once a window; score_bytes: memory traffic of an attention
    score without fused attention.
    bandwidth_efficiency, cache_efficiency: fractions of the bandwidth reached when reading weights and caches;
    shared_sound: part of the sound's cache that every further beam reads anew; unfused_cache: how many times longer
    caches take without fused attention; decoder_layer_s, batch_layer_s, step_s: per layer, per layer on top once there
    are several beams, and once a step.
    spreads: by kind of prediction; error: mean on devices left out, None where nothing of the engine was published.
    """

    name: str
    engine: str
    runtime: str
    utilisation: float
    frame_bytes: float
    encoder_layer_s: float
    encoder_s: float
    score_bytes: float
    bandwidth_efficiency: float
    cache_efficiency: float
    shared_sound: float
    unfused_cache: float
    decoder_layer_s: float
    batch_layer_s: float
    step_s: float
    spreads: dict[str, Spread]
    rows: int
    fitted_devices: int
    source: str
    checked: date
    error: float | None = None


@cache
def image_coefficients() -> dict[str, ImageCoefficients]:
    """Every record for images by its name."""
    return load("image_coefficients.yaml", ImageCoefficients)


@cache
def speech_coefficients() -> dict[str, SpeechCoefficients]:
    """Every record for speech by its name."""
    return load("speech_coefficients.yaml", SpeechCoefficients)


def of_images(engine: str, runtime: str) -> ImageCoefficients:
    """The record of an engine on a runtime; raises UnknownName."""
    name = f"{engine} on {runtime}"
    if name not in image_coefficients():
        raise UnknownName("set of image coefficients", name, image_coefficients())
    return image_coefficients()[name]
