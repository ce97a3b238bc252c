"""The pictures that the model learns from: every icon in many poses, and those that take paint in every colour.

Pairs of the test of colours are never among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.icons import colours, words
from training.icons.pictures import SIZE, Icons
from training.icons.poses import Poses

POSES, PAINTED_POSES = 10, 3


@dataclass(frozen=True)
class Dataset:
    """pictures: (n, 64, 64, 3); icon: index of each; colour: index of the word plus 1, 0 as it is."""

    pictures: NDArray[np.uint8]
    icon: NDArray[np.int64]
    colour: NDArray[np.int64]


def paintable(icons: Icons) -> list[int]:
    """The icons that can be asked for in a colour."""
    things = [
        index for index, name in enumerate(icons.names)
        if icons.category(index) in words.PAINTED and not words.has_colour(name)
    ]  # fmt: skip
    return [index for index in things if colours.paintable(icons.draw(index))]


def make(icons: Icons, held_out: set[tuple[int, str]], progress: Callable[[str], None]) -> Dataset:
    """Draw them all; takes a few minutes."""
    random, poses = np.random.default_rng(0), Poses(icons)
    rows: list[tuple[NDArray[np.uint8], int, int]] = []
    can_be_painted = set(paintable(icons))
    for index in range(len(icons.keys)):
        rows.append((icons.draw(index), index, 0))
        rows += [(poses.draw(index, random), index, 0) for _ in range(POSES - 1)]
        if index in can_be_painted:
            for number, colour in enumerate(colours.COLOURS, 1):
                if (index, colour) not in held_out:
                    rows += [(colours.paint(poses.draw(index, random), colour), index, number)
                             for _ in range(PAINTED_POSES)]  # fmt: skip
        if index % 200 == 0:
            progress(f"drawn {index} of {len(icons.keys)} icons")
    pictures, icon, colour = zip(*rows, strict=True)
    return Dataset(np.stack(pictures), np.array(icon), np.array(colour))


def kept(file: Path, icons: Icons, held_out: set[tuple[int, str]], progress: Callable[[str], None]) -> Dataset:
    """From the file, or made and written there."""
    if not file.exists():
        made = make(icons, held_out, progress)
        np.savez(file, pictures=made.pictures, icon=made.icon, colour=made.colour)
    with np.load(file) as data:
        return Dataset(data["pictures"], data["icon"], data["colour"])


assert SIZE == 64  # noqa: S101 - measures.py counts on it
