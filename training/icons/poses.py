"""Poses: what makes two seeds of one name differ, and still leaves the picture its name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.icons import measures
from training.icons.pictures import Icons

MIRRORED, SMALLEST, LARGEST, DEGREES, MOVED = 0.3, 0.90, 1.04, 9.0, 0.6
#: How much further than its own icon every other icon has to be.
MARGIN = 1.12
MILDER, TRIES = 0.85, 12


class Poses:
    """Draws icons in poses of chance, each as strong as its icon allows: small ones look alike sooner than others."""

    def __init__(self, icons: Icons) -> None:
        self.icons = icons
        self.features = np.stack([measures.features(icons.draw(index)) for index in range(len(icons.keys))])
        self.squares = (self.features**2).sum(1)

    def draw(self, index: int, random: np.random.Generator) -> NDArray[np.uint8]:
        """The first pose that is still told from all other icons; each try is milder than the one before."""
        for at in range(TRIES):
            picture = self._any(index, MILDER**at, random)
            if self._named(picture, index):
                return picture
        return self.icons.draw(index)

    def _any(self, index: int, strength: float, random: np.random.Generator) -> NDArray[np.uint8]:
        scale = 1 + strength * (random.uniform(SMALLEST, LARGEST) - 1)
        x, y = strength * random.uniform(-MOVED, MOVED, 2)
        mirrored = self.icons.may_be_mirrored(index) and random.random() < MIRRORED
        angle = strength * random.uniform(-DEGREES, DEGREES)
        return self.icons.draw(index, angle=angle, scale=scale, x=x, y=y, mirrored=mirrored)

    def _named(self, picture: NDArray[np.uint8], index: int) -> bool:
        seen = measures.features(picture)
        squares = self.squares - 2 * self.features @ seen + seen @ seen  # of the distances
        own, squares[index] = squares[index], np.inf
        return bool(squares.min() > MARGIN**2 * own)
