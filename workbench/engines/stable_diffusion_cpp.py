"""stable-diffusion.cpp: pipelines in ggml's formats, as its program `sd`. It predicts memory; it cannot be started yet.

Convolutions stay in 16 bits whatever the format; of the autoencoder only the decoder is kept. Weights are given back as
soon as their phase is over, so the peak is the largest of loading, denoising and decoding. Pictures and the two runs of
a guided step go one after another. Nobody's published times are known, so speed is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.catalog.image_components import at
from workbench.engines.contract import Availability, Engine, ImageShape, Settings
from workbench.engines.device_memory import driver_context, prediction_only
from workbench.engines.diffusion import checked_shape
from workbench.engines.diffusion_memory import largest
from workbench.engines.workload import Workload
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.image import ImageModel, Part, bits_per_weight
from workbench.units import MIB

#: ggml computes in 32 bits: activations over those of 16 bits, and an attention score over PyTorch's unfused one.
FLOAT32, SCORE = 2.0, 0.5
#: The autoencoder's compute buffer over what lives in PyTorch in 16 bits: 1,664 MiB for a picture of 512 × 512.
DECODER = 6656 / 1536
PROGRAM_BYTES = 100 * MIB
SOURCE = "stable-diffusion.cpp's README (SD 1.x, 512 × 512) and logs (issues 395 and 1044)"
_TYPES = ("F32", "F16", "Q8_0", "Q6_K", "Q5_0", "Q5_1", "Q5_K", "Q4_0", "Q4_1", "Q4_K", "Q3_K", "Q2_K")


class StableDiffusionCpp(Engine[ImageModel]):
    """Predicts the memory of stable-diffusion.cpp."""

    name = "stable-diffusion.cpp"
    title = "stable-diffusion.cpp"
    formats = frozenset({*_TYPES, *(f"{one}+{text}" for one in _TYPES for text in _TYPES)})
    capabilities = frozenset({"imagine"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})

    starts = False

    def available(self, machine: Machine | None = None) -> Availability:
        return prediction_only(self.title)

    def supports(self, model: ImageModel) -> Availability:
        if model.format not in self.formats:
            return Availability(
                False, f"stable-diffusion.cpp runs ggml's formats, not {model.format}.", "Choose Q8_0 or Q8_0+Q8_0."
            )
        return Availability(True)

    def memory(self, model: ImageModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        parts = _peak(model, checked_shape(settings, model), settings)
        program = Basis("program, libraries and pictures", {}, SOURCE)
        host = {"engine": Estimate.within(PROGRAM_BYTES, "B", program, 0.8, 2.0)}
        if not settings.devices:
            return (Breakdown("RAM", {**parts, **host}),)
        card, *others = settings.accelerators(machine)
        device = {**parts, "driver": driver_context(card)}
        if card.unified:
            return (Breakdown(card.name, {**device, **host}),)
        empty = (Breakdown(other.name, {}) for other in others)
        kept = _weights(model.parts if settings.offload else (), "kept here while they do not work")
        return (Breakdown(card.name, device), *empty, Breakdown("RAM", {"weights": kept, **host}))

    def speed(
        self, model: ImageModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        checked_shape(settings, model)
        reason = "no published times of stable-diffusion.cpp are known"
        return {name: Estimate.unknown("s", reason) for name in ("step", "image")}


def _peak(model: ImageModel, shape: ImageShape, settings: Settings) -> dict[str, Estimate]:
    """The phase that needs most: its weights, and its compute buffer."""
    phases: list[tuple[str, tuple[Part, ...], Estimate]] = [
        ("denoising", (model.denoiser, model.vae), _denoising(model, shape, fused=settings.flash_attention)),
        ("decoding", (model.vae,), _decoding(model, shape)),
    ]
    if not settings.offload:
        phases.append(("loading", model.parts, Estimate(0.0, 0.0, 0.0, "B", Basis("nothing is computed yet"))))
    place, buffer = largest([(sum(map(_stored_bytes, parts)), activation) for _, parts, activation in phases])
    most, there, _ = phases[place]
    return {
        "text encoders": _weights([part for part in there if part in model.text_encoders], f"while {most}"),
        "denoiser": _weights([part for part in there if part is model.denoiser], f"while {most}"),
        "VAE": _weights([part for part in there if part is model.vae], f"while {most}"),
        f"compute buffer ({most})": buffer,
    }


def _denoising(model: ImageModel, shape: ImageShape, *, fused: bool) -> Estimate:
    pixels, c = shape.width * shape.height, model.denoiser.component
    lives = at(c.activation_bytes, pixels)
    scores = 0.0 if fused else max(0.0, at(c.unfused_bytes, pixels) - lives)
    inputs = {"pixels": f"{pixels}", "attention": "fused" if fused else "not fused"}
    basis = Basis("what lives at once in the denoiser in 32 bits", inputs, f"counted; {SOURCE}")
    return Estimate.within(FLOAT32 * lives + SCORE * scores, "B", basis, 0.3, 0.6)


def _decoding(model: ImageModel, shape: ImageShape) -> Estimate:
    pixels = shape.width * shape.height
    basis = Basis("bytes per pixel of the autoencoder's graph × pixels", {"pixels": f"{pixels}"}, SOURCE)
    return Estimate.within(DECODER * at(model.vae.component.activation_bytes, pixels), "B", basis, 0.6, 0.2)


def _stored_bytes(part: Part) -> float:
    """Linear layers and embeddings in the format, convolutions in 16 bits, the rest in 32; of a VAE the decoder."""
    c = part.component
    if c.kind == "vae":
        return 2.0 * c.decoder
    quantized = (c.linear + c.embedding) * bits_per_weight(part.linear) / 8
    return quantized + 2 * c.convolution + 4 * (c.parameters - c.linear - c.embedding - c.convolution + c.buffers)


def _weights(parts: tuple[Part, ...] | list[Part], when: str) -> Estimate:
    count = sum(_stored_bytes(part) for part in parts)
    inputs = {part.component.name: f"{part.component.parameters / 1e6:.4g} M in {part.linear}" for part in parts}
    basis = Basis(f"bytes of the tensors, {when}", inputs, "ggml's types for linear layers, 16 bits for convolutions")
    return Estimate.within(count, "B", basis, 0.02, 0.03)
