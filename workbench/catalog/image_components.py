"""The parts that models for images are made of: text encoders, denoisers, autoencoders. Counted, not measured.

Each record of `image_components.yaml` was counted on PyTorch's meta device: the class of the library was built with the
published configuration and run without data. Amounts that grow with the picture are polynomials in its pixels, constant
first, for one picture in 16 bits; they are exact, and linear in the number of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.loader import load
from workbench.errors import UnknownName

#: Coefficients of a polynomial in the pixels of one picture, constant first.
Polynomial = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ImageComponent:
    """One part of a pipeline.

    kind: 'text encoder', 'denoiser' or 'vae'; parameters of which linear (in layers that formats quantize), convolution
    and embedding; buffers: values kept beside the parameters; float32: parameters kept in 32 bits when the rest is
    FP16; decoder: parameters of the half that makes pictures (vae).
    matrix_flops, convolution_flops, attention_flops: operations; attention_scores: of which the softmax is taken;
    traffic_bytes: read and written besides weights; kernels: operations started.
    activation_bytes: most that lives at once beside the weights; unfused_bytes: the same without fused attention.
    encode_bytes: the same for encoding a picture (vae). pixels: sides of a picture must be multiples of it.
    tile: side of the tiles that large pictures are cut into when tiling is on (vae).
    """

    name: str
    kind: str
    type: str
    parameters: int
    source: str
    checked: date
    linear: int = 0
    convolution: int = 0
    embedding: int = 0
    buffers: int = 0
    float32: int = 0
    decoder: int = 0
    matrix_flops: Polynomial = ()
    convolution_flops: Polynomial = ()
    attention_flops: Polynomial = ()
    attention_scores: Polynomial = ()
    traffic_bytes: Polynomial = ()
    activation_bytes: Polynomial = ()
    unfused_bytes: Polynomial = ()
    encode_bytes: Polynomial = ()
    kernels: int = 0
    pixels: int = 1
    tile: int = 0


@cache
def image_components() -> dict[str, ImageComponent]:
    """Every component by its name."""
    return load("image_components.yaml", ImageComponent)


def image_component(name: str) -> ImageComponent:
    """The component called `name`; raises UnknownName."""
    if name not in image_components():
        raise UnknownName("component of image models", name, image_components())
    return image_components()[name]


def at(polynomial: Polynomial, pixels: float) -> float:
    """The polynomial's value for a picture of so many pixels, and never less than nothing.

    The lines were drawn through usual sizes; for tiny pictures some of them cross zero.
    """
    value = 0.0
    for coefficient in reversed(polynomial):
        value = value * pixels + coefficient
    return max(value, 0.0)
