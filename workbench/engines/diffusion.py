"""How long a denoising step, and a picture, take on an accelerator: a roofline whose floor is the host.

A run of a component multiplies matrices, convolves, attends, moves what lies between its kernels, and starts them. The
device works through the sum of these; the host must start every kernel too, and the slower of the two sets the pace.
`seconds` is this arithmetic on plain numbers; `python -m benchmarks fit_media` fits the coefficients by the same
function. Attention is fused. Nothing is known of devices of other makers than NVIDIA yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.coefficients import Spread, family
from workbench.catalog.image_components import at
from workbench.catalog.media_coefficients import ImageCoefficients
from workbench.engines.contract import ImageShape, Settings
from workbench.errors import UsageError
from workbench.evidence import Basis, Estimate
from workbench.machine import Machine
from workbench.machine.description import UNCALIBRATED
from workbench.models.image import ImageModel, Part

#: Multiply-adds that the matrix units of a multiprocessor start per clock: up to this many they are narrow.
NARROW = 256
#: From this compute capability on PyTorch has flash attention, where older cards have the memory-efficient kernel, and
#: convolves 32-bit pictures on the matrix units, at half their 16-bit rate.
AMPERE = 8.0
#: How sharply the slower of device and host takes over.
SHARPNESS = 4
#: A CPU's share of the matrix throughput it was measured to reach, and how far that may be off.
CPU_UTILISATION, CPU_SPREAD = 0.6, Spread(0.6, 3.0)
#: With 16-bit floats and no unit for them; a processor that has such a unit may be faster than with 32 bits.
CPU_SIXTEEN, CPU_SIXTEEN_SPREAD = 0.33, Spread(0.15, 3.0)
#: What a CPU takes to start a kernel, to gather threads for it, and beside all kernels for the pictures of a request:
#: nothing for large models, most of the time for tiny ones.
CPU_KERNEL_S, CPU_TEAM_S, CPU_REQUEST_S = 4e-5, 6e-5, 0.05
CPU_SOURCE = "SD 1.5 with random weights and the embedded model on one x86-64 machine (2 cores), 2026-11"
LARGEST_SIDE, MOST_STEPS, MOST_IMAGES = 8192, 1000, 64


@dataclass(frozen=True, slots=True)
class Work:
    """What one run asks of a device: operations, bytes moved besides weights, bytes of weights, kernels."""

    matrix_flops: float
    convolution_flops: float
    attention_flops: float
    scores: float
    traffic_bytes: float
    weight_bytes: float
    kernels: float

    @property
    def flops(self) -> float:
        """All operations."""
        return self.matrix_flops + self.convolution_flops + self.attention_flops


def work_of(part: Part, pixels: float, pictures: float, *, float32: bool = False) -> Work:
    """What a component asks for `pictures` pictures of `pixels` pixels at once."""
    c = part.component
    share = c.decoder / c.parameters if c.decoder else 1.0  # of an autoencoder only one half runs
    return Work(
        matrix_flops=pictures * at(c.matrix_flops, pixels),
        convolution_flops=pictures * at(c.convolution_flops, pixels),
        attention_flops=pictures * at(c.attention_flops, pixels),
        scores=pictures * at(c.attention_scores, pixels),
        traffic_bytes=pictures * at(c.traffic_bytes, pixels) * (2 if float32 else 1),
        weight_bytes=share * (4 * c.parameters if float32 else part.weight_bytes),
        kernels=c.kernels,
    )


def seconds(
    work: Work, device: AcceleratorSpec, c: ImageCoefficients, *, float32: bool = False, compiled: bool = False
) -> float:
    """Seconds of one run on a device that `obstacle` has nothing against."""
    matrix, convolution = _rates(device, c, float32)
    multiply = (work.matrix_flops + work.attention_flops) / matrix + work.convolution_flops / convolution
    softmax = work.scores * c.score_flops[_attention(device)] / (device.fp32_flops or math.inf)
    moved = work.traffic_bytes * (c.compiled_traffic if compiled else 1) + work.weight_bytes
    on_device = multiply + softmax + work.kernels * c.kernel_s
    on_device += moved / (c.bandwidth_efficiency * device.bandwidth_bytes_per_s)
    on_host = work.kernels * (c.compiled_host_s if compiled else c.host_s)
    slower: float = (on_device**SHARPNESS + on_host**SHARPNESS) ** (1 / SHARPNESS)
    return slower


def obstacle(device: AcceleratorSpec | None, name: str) -> str:
    """Why nobody can say how fast a device is; empty if somebody can."""
    if device is None:
        return f"nothing is known of {name}: its name is not in the catalog"
    if device.vendor != "NVIDIA":
        return f"no published measurement of this engine on {device.vendor} devices is known"
    if device.fp32_flops is None or family(device) is None:
        return f"the FP32 rate or compute capability of {device.title} is not in the catalog"
    return ""


def _rates(device: AcceleratorSpec, c: ImageCoefficients, float32: bool) -> tuple[float, float]:
    """FLOP/s that matrices and convolutions reach."""
    lanes = c.utilisation["float32"] * (device.fp32_flops or 0)
    units = _matrix_units(device, c)
    if units is None:
        return lanes, lanes
    if not float32:
        return units, units / c.convolution_cost
    return lanes, units / 2 / c.convolution_cost if _is_ampere(device) else lanes


def _is_ampere(device: AcceleratorSpec) -> bool:
    return float(device.compute_capability or 0) >= AMPERE


def _attention(device: AcceleratorSpec) -> str:
    return "flash" if _is_ampere(device) else "memory-efficient"


def _matrix_units(device: AcceleratorSpec, c: ImageCoefficients) -> float | None:
    """FLOP/s that the matrix units reach in 16 bits, as far as the board's power carries; None without such units."""
    kind = family(device)
    if kind is None or not device.fp16_tensor_flops or not device.fp32_flops:
        return None
    wide = kind.lanes * device.fp16_tensor_flops / device.fp32_flops > NARROW
    reached = c.utilisation["wide" if wide else "narrow"] * device.fp16_tensor_flops
    most = c.watt_flops.get(device.architecture)
    return min(reached, most * device.tdp_w) if most and device.tdp_w else reached


# -- estimates -------------------------------------------------------------------------------------------------


def checked_shape(settings: Settings, model: ImageModel) -> ImageShape:
    """What was asked for; raises UsageError naming the value that no picture can have."""
    shape = settings.image
    if shape is None:
        raise UsageError(
            f"{model.name} makes pictures, and the settings say nothing of them.",
            fix=f"Ask for a size, such as {model.width} × {model.height} and {model.steps} steps.",
        )
    check_shape(shape, model.pixels, model.name)
    return shape


def check_shape(shape: ImageShape, multiple: int, name: str) -> None:
    """Raise UsageError for sides that are no multiples, and for steps and numbers of pictures that nobody makes."""
    for side in ("width", "height"):
        value = getattr(shape, side)
        if not _is_whole(value) or not multiple <= value <= LARGEST_SIDE or value % multiple:
            near = _nearest(value, multiple)
            raise UsageError(
                f"A {side} of {value} pixels was asked for.",
                fix=f"{name} needs a multiple of {multiple} from {multiple} to {LARGEST_SIDE}; ask for {near}.",
            )
    for what, value, most in (("steps", shape.steps, MOST_STEPS), ("images", shape.images, MOST_IMAGES)):
        if not _is_whole(value) or not 1 <= value <= most:
            raise UsageError(f"{value} {what} were asked for.", fix=f"Ask for 1 to {most} {what}.")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _nearest(value: float, multiple: int) -> int:
    """The multiple that is nearest to what was asked for; a middling one when that was no number."""
    wanted = value if isinstance(value, int | float) and math.isfinite(value) else 1024
    return min(max(round(wanted / multiple), 1) * multiple, LARGEST_SIDE // multiple * multiple)


def speeds(
    model: ImageModel, settings: Settings, machine: Machine, c: ImageCoefficients, *, compiled: bool = False
) -> Mapping[str, Estimate]:
    """'step': seconds of one denoising step of all pictures; 'image': from the prompt to all pictures."""
    shape = checked_shape(settings, model)
    if not settings.devices:
        return _on_cpu(model, shape, settings, machine)
    card = settings.accelerators(machine)[0]
    reason = obstacle(card.spec, card.name)
    if not settings.flash_attention:
        reason = reason or "the speed without fused attention is not modelled"
    if reason or card.spec is None:
        return {name: Estimate.unknown("s", reason) for name in ("step", "image")}
    return _on_device(model, shape, settings, card.spec, c, compiled=compiled)


def _on_device(
    model: ImageModel, shape: ImageShape, settings: Settings, device: AcceleratorSpec, c: ImageCoefficients,
    *, compiled: bool,
) -> Mapping[str, Estimate]:  # fmt: skip
    works = _works(model, shape)
    float32 = model.denoiser.rest == "FP32"
    text = sum(seconds(work, device, c, float32=float32) for work in works.text)
    step = seconds(works.step, device, c, float32=float32, compiled=compiled)
    vae = seconds(works.vae, device, c, float32=float32 or works.float32_vae)
    moved = model.weight_bytes * c.offload_s_per_byte if settings.offload else 0.0
    inputs = {
        "a step": f"{works.step.flops / 1e12:.3g} TFLOP, {works.step.kernels:.0f} kernels",
        "device": f"{device.title}: {_rates(device, c, float32)[0] / 1e12:.3g} TFLOP/s reached",
        "text, steps, pictures": f"{text:.2g} s + {shape.steps} × {step:.2g} s + {vae:.2g} s",
    }
    if moved:
        inputs["moving weights"] = f"{moved:.2g} s"
    step_spread, image_spread = _spread(c, device, model, "step"), _spread(c, device, model, "image")
    basis = Basis("(operations ÷ rate + bytes ÷ bandwidth + kernels) or the host's time to start them", inputs,
                  _source(c))  # fmt: skip
    image = text + shape.steps * step + vae + moved
    return {"step": _within(step, step_spread, basis), "image": _within(image, image_spread, basis)}


@dataclass(frozen=True, slots=True)
class _Works:
    text: tuple[Work, ...]
    step: Work
    vae: Work
    float32_vae: bool


def _works(model: ImageModel, shape: ImageShape) -> _Works:
    """What text encoders, one step and the autoencoder ask for, all pictures together."""
    pixels, runs = shape.width * shape.height, model.runs_per_step
    float32 = model.denoiser.rest == "FP32"
    float32_vae = float32 or (model.float32_vae and model.vae.rest == "FP16")
    return _Works(
        text=tuple(work_of(part, pixels, runs, float32=float32) for part in model.text_encoders),
        step=work_of(model.denoiser, pixels, shape.images * runs, float32=float32),
        vae=work_of(model.vae, pixels, shape.images, float32=float32_vae),
        float32_vae=float32_vae,
    )


def _spread(c: ImageCoefficients, device: AcceleratorSpec, model: ImageModel, kind: str) -> Spread:
    """The spread of a kind of prediction; wider for architectures and formats that nobody published times of."""
    found = c.spreads[kind]
    for unseen in (device.architecture not in c.architectures, model.denoiser.linear not in ("FP32", "FP16", "BF16")):
        if unseen:
            extra = c.spreads["elsewhere"]
            found = Spread(found.low * extra.low, found.high * extra.high)
    return found


def _within(value: float, spread: Spread, basis: Basis) -> Estimate:
    return Estimate(value, value * spread.low, value * spread.high, "s", basis)


def _source(c: ImageCoefficients) -> str:
    return (
        f"fitted to {c.rows} published rows of {c.fitted_devices} devices, {c.checked}; "
        f"mean error on devices left out {c.error:.0%}"
    )


def _on_cpu(model: ImageModel, shape: ImageShape, settings: Settings, machine: Machine) -> Mapping[str, Estimate]:
    """From the measured matrix throughput; nobody publishes times of CPUs, so the interval is wide."""
    if machine.calibration is None:
        return {name: Estimate.unknown("s", UNCALIBRATED) for name in ("step", "image")}
    one_core = machine.calibration.matrix_throughput_one_core.value
    sixteen = model.denoiser.rest in ("FP16", "BF16")
    share, spread = (CPU_SIXTEEN, CPU_SIXTEEN_SPREAD) if sixteen else (1.0, CPU_SPREAD)
    rate = one_core * settings.prefill_threads * CPU_UTILISATION * share
    kernel_s = CPU_KERNEL_S + (CPU_TEAM_S if settings.prefill_threads > 1 else 0.0)
    works = _works(model, shape)
    step, vae, *text = (one.flops / rate + one.kernels * kernel_s for one in (works.step, works.vae, *works.text))
    image = sum(text) + shape.steps * step + vae + CPU_REQUEST_S
    inputs = {
        "a step": f"{works.step.flops / 1e12:.3g} TFLOP, {works.step.kernels:.0f} kernels",
        "matrix throughput": f"{one_core / 1e9:.3g} GFLOP/s a core × {settings.prefill_threads} threads",
        "utilisation": f"{CPU_UTILISATION * share:.2g}",
    }
    basis = Basis("operations ÷ (matrix throughput × utilisation) + kernels × time to start one", inputs, CPU_SOURCE)
    return {"step": _within(step, spread, basis), "image": _within(image, spread, basis)}
