"""What a model for images is: text encoders, a denoiser and an autoencoder, each in a format, and their arithmetic.

Parameters are exact; operations and activations are those of the components' own code for a picture of any size. What
an engine keeps where, and when, is its own business.

Formats: FP32, FP16 and BF16 for the whole pipeline; anything else is the format of the denoiser's linear layers (FP8,
NF4, a type of ggml …), and after a plus that of the text encoders', which stay in 16 bits otherwise: NF4, NF4+FP8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench.catalog.image_components import ImageComponent, image_component
from workbench.errors import UnsupportedModel, UsageError
from workbench.models.architecture import bytes_per_element

#: Bits a weight takes in a linear layer, scales included; ggml's types are asked of the gguf library.
# 8-bit formats keep a scale per row, which is nothing here; NF4 one of 32 bits per 64, of 8 after double quantization.
_BITS = {
    "FP32": 32.0, "FP16": 16.0, "BF16": 16.0, "FP8": 8.0, "LLM.int8": 8.0, "int8wo": 8.0, "NF4": 4.5, "NF4-DQ": 4.127,
    "int4wo-128": 4.25, "int4wo-64": 4.5,
}  # fmt: skip
_WHOLE = ("FP32", "FP16", "BF16")


@dataclass(frozen=True, slots=True)
class Part:
    """A component in a format. linear: format of its linear layers; rest: of everything else."""

    component: ImageComponent
    linear: str = "BF16"
    rest: str = "BF16"

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, with tables kept beside them."""
        c = self.component
        others = (c.parameters - c.linear + c.buffers) * bits_per_weight(self.rest) / 8
        # Transformers keeps some linear layers of T5 in 32 bits when the rest is FP16, and only then.
        kept = c.float32 * 2 if self.linear == "FP16" else 0
        return round(c.linear * bits_per_weight(self.linear) / 8 + others + kept)


@dataclass(frozen=True)
class ImageModel:
    """A pipeline that makes pictures from text.

    guided: every step runs the denoiser twice, with the text and without it; width, height and steps: what it was made
    for; float32_vae: the autoencoder overflows in FP16 and is run in 32 bits then; guidance: how strongly the text is
    followed when nobody says, None where the catalog does not know.
    """

    name: str
    text_encoders: tuple[Part, ...]
    denoiser: Part
    vae: Part
    width: int
    height: int
    steps: int
    guided: bool
    source: str
    format: str = "BF16"
    float32_vae: bool = False
    pipeline: str = ""
    guidance: float | None = None
    licence: str | None = None
    path: Path | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part, in the order in which they work."""
        return (*self.text_encoders, self.denoiser, self.vae)

    @property
    def quantization(self) -> str:
        """The format, as models of other kinds call it."""
        return self.format

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return sum(part.component.parameters for part in self.parts)

    @property
    def parameters_by_part(self) -> Mapping[str, int]:
        """Parameters by the name of the component, which sum to all."""
        return {part.component.name: part.component.parameters for part in self.parts}

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of all weights in this format."""
        return sum(part.weight_bytes for part in self.parts)

    @cached_property
    def pixels(self) -> int:
        """Sides of a picture must be multiples of this."""
        return max(self.denoiser.component.pixels, self.vae.component.pixels)

    @property
    def runs_per_step(self) -> int:
        """How often the denoiser runs for one picture and step."""
        return 2 if self.guided else 1


def bits_per_weight(format_name: str) -> float:
    """Bits of one weight of a linear layer; raises UsageError for a format nobody knows."""
    if format_name in _BITS:
        return _BITS[format_name]
    try:
        return 8 * bytes_per_element(format_name)
    except UsageError as error:
        raise UsageError(
            f"There is no format called {format_name!r} for models of images.",
            fix=f"Known: {', '.join(_BITS)} and the types of ggml, such as Q8_0 and Q4_0.",
        ) from error


def in_format(model: ImageModel, format_name: str) -> ImageModel:
    """The same model with the denoiser, and the text encoders if named after a plus, in another format."""
    denoiser, _, text = format_name.partition("+")
    if denoiser in _WHOLE and not text:
        rest = text = denoiser
    else:
        rest, text = "BF16", text or "BF16"
    bits_per_weight(denoiser), bits_per_weight(text)
    return replace(
        model,
        format=format_name,
        text_encoders=tuple(replace(part, linear=text, rest=rest) for part in model.text_encoders),
        denoiser=replace(model.denoiser, linear=denoiser, rest=rest),
        vae=replace(model.vae, linear=rest, rest=rest),
    )


def from_config(config: Mapping[str, Any], name: str, source: str, *, licence: str | None = None) -> ImageModel:
    """The model of a catalog record, in BF16.

    config: model_type 'diffusion', the names of its components (text_encoders, denoiser, vae), width, height, steps,
    guided, pipeline and float32_vae. Raises UnsupportedModel when something is missing, UnknownName for a component.
    """
    if config.get("model_type") != "diffusion":
        raise UnsupportedModel(f"{name} is a {config.get('model_type')!r} model, not one for images.")
    needed = ("text_encoders", "denoiser", "vae", "width", "height", "steps", "guided")
    if missing := [key for key in needed if key not in config]:
        raise UnsupportedModel(f"The record of {name} lacks {', '.join(missing)}.")
    encoders: Sequence[str] = config["text_encoders"]
    return ImageModel(
        name=name,
        text_encoders=tuple(Part(image_component(encoder)) for encoder in encoders),
        denoiser=Part(image_component(config["denoiser"])),
        vae=Part(image_component(config["vae"])),
        **{key: config[key] for key in ("width", "height", "steps", "guided")},
        source=source,
        float32_vae=config.get("float32_vae", False),
        pipeline=config.get("pipeline", ""),
        guidance=config.get("guidance"),
        licence=licence,
    )
