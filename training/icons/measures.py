"""How a picture is told to be the one that was asked for; fixed before the model was trained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.icons.colours import drawn

Floats = NDArray[np.float64]

LEVELS = 4  # of each channel: 64 bins of colour
OUTLINE = 24
#: Root mean square of the difference of two seeds' pictures, of 0 to 1: below it they look the same.
DIFFER_AT_LEAST = 0.04


def features(rgb: NDArray[np.uint8]) -> Floats:
    """16×16 RGB of 0 to 1, and the shares of 64 colours: 832 numbers."""
    small = rgb.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3)) / 255
    bins = (rgb.astype(np.int64) * LEVELS // 256) @ np.array([LEVELS * LEVELS, LEVELS, 1])
    return np.concatenate([small.ravel(), np.bincount(bins.ravel(), minlength=LEVELS**3) / bins.size])


def outline(rgb: NDArray[np.uint8]) -> Floats:
    """What is drawn, cut to its box and brought to 24×24, each 0 to 1."""
    from PIL import Image

    there = drawn(rgb)
    if not there.any():
        return np.zeros(OUTLINE * OUTLINE)
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    box = there[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(box.shape)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - box.shape[0]) // 2, (side - box.shape[1]) // 2
    square[top : top + box.shape[0], left : left + box.shape[1]] = box * np.uint8(255)
    small = Image.fromarray(square).resize((OUTLINE, OUTLINE), Image.Resampling.BOX)
    return np.asarray(small, np.float64).ravel() / 255


def rank(one: Floats, all_: Floats, wanted: int) -> int:
    """0 when `wanted` is the nearest of all by L2, 1 when one is nearer, and so on."""
    distances = np.linalg.norm(all_ - one, axis=1)
    return int((distances < distances[wanted]).sum())


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Root mean square of the difference, of 0 to 1."""
    return float(np.sqrt(np.mean(((one.astype(np.float64) - other) / 255) ** 2)))


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Peak signal to noise, in dB."""
    return -20 * float(np.log10(max(difference(one, other), 1e-6)))
