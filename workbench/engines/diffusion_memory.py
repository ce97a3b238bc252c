"""The memory a pipeline of Diffusers takes: the weights that lie on the device, and the phase that needs most beside.

Text is encoded, then the picture is denoised, then decoded, one after another, so the phases share their memory. What
lives at once is counted from the components' own code; convolutions take a workspace on top, which was fitted. With
model offload a part lies on the device only while it works, with two exceptions that measurements show: with guidance
two text encoders meet there, and the denoiser is still there when the picture is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.catalog.image_components import at
from workbench.engines.contract import ImageShape, Settings, Tricks
from workbench.engines.device_memory import driver_context
from workbench.engines.diffusion import checked_shape
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.image import ImageModel, Part
from workbench.units import MIB

#: Memory of a server that has imported PyTorch and Diffusers, and how far that may be off.
PROGRAM_BYTES, PROGRAM_SPREAD = 550 * MIB, (0.2, 1.0)
PROGRAM_SOURCE = "measured with PyTorch 2.13 (CPU), Diffusers 0.42 and a small model on x86-64 Linux, 2026-11-28"
COUNTED = "counted from the components' own code; see image_components.yaml"
#: Finished pictures, in 32 bits with three channels.
PICTURE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase: the weights it needs on the device, whatever is offloaded, and what lives beside them."""

    name: str
    parts: tuple[Part, ...]
    activation: Estimate


def phases(
    model: ImageModel,
    shape: ImageShape,
    workspace: Mapping[str, float],
    *,
    fused: bool = True,
    tricks: Tricks | None = None,
) -> tuple[Phase, ...]:
    """Encoding the text, denoising, decoding. workspace: see ImageCoefficients; empty for devices without any."""
    return (
        Phase("text", _meeting_encoders(model), _of_text(model, shape)),
        Phase("denoising", (model.denoiser,), _of_denoising(model, shape, fused=fused)),
        Phase("decoding", (model.denoiser, model.vae), _of_decoding(model, shape, workspace, tricks or Tricks())),
    )


def _meeting_encoders(model: ImageModel) -> tuple[Part, ...]:
    """The text encoders that lie on the device together under model offload."""
    by_size = sorted(model.text_encoders, key=lambda part: part.weight_bytes)
    return tuple(by_size[-2:] if model.guided else by_size[-1:])


def _precision(model: ImageModel) -> int:
    """Bytes of an activation over those of 16 bits."""
    return 2 if model.denoiser.rest == "FP32" else 1


def _of_text(model: ImageModel, shape: ImageShape) -> Estimate:
    pixels, runs = shape.width * shape.height, model.runs_per_step
    lives = max((at(part.component.activation_bytes, pixels) for part in model.text_encoders), default=0.0)
    basis = Basis("what lives at once in the largest text encoder", {"prompts": f"{runs}"}, COUNTED)
    return Estimate.within(lives * runs * _precision(model), "B", basis, 0.5, 1.0)


def _of_denoising(model: ImageModel, shape: ImageShape, *, fused: bool) -> Estimate:
    pixels, pictures = shape.width * shape.height, shape.images * model.runs_per_step
    c = model.denoiser.component
    one = at(c.activation_bytes, pixels)
    if not fused:
        one = max(one, at(c.unfused_bytes, pixels))
    basis = Basis(
        "what lives at once in the denoiser",
        {"pictures at once": f"{pictures}, guidance included", "attention": "fused" if fused else "not fused"},
        COUNTED,
    )
    convolves = c.convolution > c.linear / 10  # their workspaces can be several times what lives
    return Estimate.within(one * pictures * _precision(model), "B", basis, 0.1, 8.0 if convolves else 1.0)


def _of_decoding(model: ImageModel, shape: ImageShape, workspace: Mapping[str, float], tricks: Tricks) -> Estimate:
    pixels, at_once = shape.width * shape.height, 1 if tricks.sliced else shape.images
    float32 = model.vae.rest == "FP32" or (model.float32_vae and model.vae.rest == "FP16")
    upcast = 2 * model.vae.component.parameters if float32 and model.vae.rest != "FP32" else 0
    beside = upcast + PICTURE_BYTES * pixels * shape.images
    work = autoencoder(model.vae, pixels, at_once, workspace, float32=float32, tiled=tricks.tiled)
    value, low, high = (beside + bound for bound in (work.known(), work.low or 0.0, work.high or 0.0))
    return Estimate(value, low, high, "B", work.basis)


def autoencoder(
    part: Part, pixels: float, pictures: int, workspace: Mapping[str, float], *, task: str = "decode",
    float32: bool = False, tiled: bool = False,
) -> Estimate:  # fmt: skip
    """What lives beside the weights while pictures are decoded or encoded (`task`), with the convolutions' workspace.

    The workspace does not grow with the number of pictures; at least what lives is needed.
    """
    c = part.component
    inside = min(pixels, c.tile**2) if tiled else pixels
    one = at(c.activation_bytes if task == "decode" else c.encode_bytes, inside) * (2 if float32 else 1)
    extra = workspace.get(f"{task} float32" if float32 else task, 0.0)
    inputs = {
        "pixels at once": f"{pictures} × {inside:.0f}",
        "precision": "32 bits" if float32 else "16 bits",
        "workspace": f"{extra:.2g} pictures",
    }
    source = f"{COUNTED}; workspace fitted to published peaks" if extra else COUNTED
    basis = Basis("what lives at once in the autoencoder + workspace of its convolutions", inputs, source)
    lives = one * pictures
    return Estimate(lives + one * extra, lives, lives + one * (1.5 * extra + 0.3), "B", basis)


# -- on a machine ----------------------------------------------------------------------------------------------


def predict(
    model: ImageModel, settings: Settings, machine: Machine, workspace: Mapping[str, float]
) -> tuple[Breakdown, ...]:
    """The device and main memory, or main memory alone. Further devices stay empty: a pipeline uses one."""
    shape, tricks = checked_shape(settings, model), settings.tricks
    found = phases(model, shape, workspace if settings.devices else {}, fused=settings.flash_attention, tricks=tricks)
    program = Estimate.within(PROGRAM_BYTES, "B", Basis("the interpreter with its libraries", {}, PROGRAM_SOURCE),
                              *PROGRAM_SPREAD)  # fmt: skip
    if not settings.devices:
        return (Breakdown("RAM", {**_resident(model, found), "engine": program}),)
    cards = settings.accelerators(machine)
    offload = settings.offload or tricks.sequential
    parts = _offloaded(model, found, tricks) if offload else _resident(model, found)
    host = {"weights": _weights(model.parts if offload else (), "kept here while they do not work"), "engine": program}
    device = {**parts, "driver": driver_context(cards[0])}
    if cards[0].unified:
        return (Breakdown(cards[0].name, {**_resident(model, found), "driver": device["driver"], "engine": program}),)
    others = (Breakdown(card.name, {}) for card in cards[1:])
    return (Breakdown(cards[0].name, device), *others, Breakdown("RAM", host))


def _resident(model: ImageModel, found: Sequence[Phase]) -> dict[str, Estimate]:
    """Everything on the device, and the phase that needs most beside it."""
    return _parts(model, [Phase(phase.name, model.parts, phase.activation) for phase in found], "all the time")


def _offloaded(model: ImageModel, found: Sequence[Phase], tricks: Tricks) -> dict[str, Estimate]:
    """The phase that needs most, and the weights that lie on the device in it."""
    alone = [Phase(phase.name, (), phase.activation) for phase in found]
    return _parts(model, alone if tricks.sequential else found, "in that phase")


def _parts(model: ImageModel, found: Sequence[Phase], when: str) -> dict[str, Estimate]:
    """The parts of the largest phase."""
    place, activation = largest([(sum(part.weight_bytes for part in one.parts), one.activation) for one in found])
    there = found[place].parts
    return {
        "text encoders": _weights([part for part in there if part in model.text_encoders], when),
        "denoiser": _weights([part for part in there if part is model.denoiser], when),
        "VAE": _weights([part for part in there if part is model.vae], when),
        f"activations ({found[place].name})": activation,
    }


def largest(found: Sequence[tuple[float, Estimate]]) -> tuple[int, Estimate]:
    """The place of the phase that needs most, given the weights and activations of each, and its activations.

    They are as uncertain as the largest phase is: another one may turn out to need more.
    """
    place = max(range(len(found)), key=lambda one: found[one][0] + found[one][1].known())
    weights, most = found[place]
    value = most.known()
    low = max(there + (activation.low or 0.0) for there, activation in found) - weights
    high = max(there + (activation.high or 0.0) for there, activation in found) - weights
    return place, Estimate(value, min(low, value), max(high, value), "B", most.basis)


def _weights(parts: Sequence[Part], when: str) -> Estimate:
    count = sum(part.weight_bytes for part in parts)
    inputs = {part.component.name: f"{part.component.parameters / 1e6:.4g} M in {part.linear}" for part in parts}
    basis = Basis(f"parameters × bytes, {when}", inputs, "exact by architecture")
    return Estimate.within(count, "B", basis, 0.005, 0.02)
