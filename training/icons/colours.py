"""Colour words: painting an icon in one, and naming the one that a picture shows most of. All in OKLab."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Lightness, chroma and hue (degrees) of what a word means here.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.60, 0.21, 27), "orange": (0.76, 0.16, 58), "yellow": (0.88, 0.16, 95), "green": (0.68, 0.18, 144),
    "blue": (0.60, 0.18, 255), "purple": (0.54, 0.20, 303), "pink": (0.78, 0.14, 350), "brown": (0.45, 0.08, 52),
    "black": (0.25, 0.00, 0), "grey": (0.66, 0.00, 0),
}  # fmt: skip
WHITE = (1.0, 0.0, 0.0)
GREY_CHROMA = 0.045
LEAST_BODY = 0.45  # of what is drawn: less, and another colour would still be most of it
HUE_WIDTH = 40.0
DIFFERS = 0.08  # from white in OKLab: part of the drawing

_TO_LMS = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
_TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip


def to_lab(rgb: NDArray[np.uint8]) -> Floats:
    """OKLab of sRGB bytes, by Björn Ottosson's matrices (2020)."""
    value = rgb.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T)


def to_rgb(lab: Floats) -> NDArray[np.uint8]:
    """sRGB bytes of OKLab; what no screen shows is cut off."""
    linear = ((lab @ np.linalg.inv(_TO_LAB).T) ** 3) @ np.linalg.inv(_TO_LMS).T
    linear = np.clip(linear, 0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(value * 255), dtype=np.uint8)


def drawn(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pixels are not the white background."""
    return np.asarray(np.linalg.norm(to_lab(rgb) - np.array([1.0, 0, 0]), axis=-1) > DIFFERS)


def body(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The pixels of the colour that most of the drawing has, in all its shades."""
    lab, there = to_lab(rgb), drawn(rgb)
    chroma, hue = np.hypot(lab[..., 1], lab[..., 2]), np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))
    coloured = there & (chroma > GREY_CHROMA)
    if coloured.sum() < 0.35 * there.sum():
        return np.asarray(there & ~coloured)
    counts, edges = np.histogram(hue[coloured], bins=36, range=(-180, 180))
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    centre = edges[int(np.argmax(smooth))] + 5
    return np.asarray(coloured & (np.abs((hue - centre + 180) % 360 - 180) < HUE_WIDTH))


def paintable(rgb: NDArray[np.uint8]) -> bool:
    """Whether painting the body changes what colour one would say the icon has."""
    there = drawn(rgb).sum()
    return bool(there and body(rgb).sum() >= LEAST_BODY * there)


def paint(rgb: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """The icon with its body in another colour; light and shade stay."""
    lab, where = to_lab(rgb), body(rgb)
    light, chroma, hue = COLOURS[colour]
    old = lab[where]
    shade = old[:, 0] - np.median(old[:, 0])
    strength = np.clip(np.hypot(old[:, 1], old[:, 2]) / max(np.median(np.hypot(old[:, 1], old[:, 2])), 1e-6), 0.6, 1.2)
    strength = strength if np.median(np.hypot(old[:, 1], old[:, 2])) > GREY_CHROMA else np.ones_like(strength)
    angle = np.radians(hue)
    new = np.stack([np.clip(light + 0.6 * shade, 0.1, 0.97), chroma * strength * np.cos(angle),
                    chroma * strength * np.sin(angle)], axis=-1)  # fmt: skip
    lab = lab.copy()
    lab[where] = new
    return np.where(where[..., None], to_rgb(lab), rgb)


def dominant(rgb: NDArray[np.uint8]) -> str:
    """The colour word for most of the drawing."""
    names = list(COLOURS)
    known = np.array([_lab(*COLOURS[name]) for name in names] + [_lab(*WHITE)])
    pixels = to_lab(rgb)[drawn(rgb)]
    if not len(pixels):
        return "white"
    weights = np.array([0.5, 1, 1])  # hue says more than shade
    nearest = np.argmin((((pixels[:, None] - known) * weights) ** 2).sum(-1), axis=1)
    return [*names, "white"][int(np.argmax(np.bincount(nearest, minlength=len(known))))]


def _lab(light: float, chroma: float, hue: float) -> tuple[float, float, float]:
    return light, chroma * float(np.cos(np.radians(hue))), chroma * float(np.sin(np.radians(hue)))
