"""The pictures that the model learns from: every icon in many poses, and those that take paint in every colour.

Pairs of the test of colours are never among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
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
    """Draw them all, on every core; takes a few minutes."""
    work, can_be_painted = _Work(icons, Poses(icons), held_out), set(paintable(icons))
    asked = [(index, index in can_be_painted) for index in range(len(icons.keys))]
    rows: list[_Row] = []
    with get_context("fork").Pool() as pool:
        for done, found in enumerate(pool.imap(work, asked, chunksize=16), 1):
            rows += found
            if done % 200 == 0:
                progress(f"drawn {done} of {len(asked)} icons")
    pictures, icon, colour = zip(*rows, strict=True)
    return Dataset(np.stack(pictures), np.array(icon), np.array(colour))


_Row = tuple[NDArray[np.uint8], int, int]


@dataclass(frozen=True)
class _Work:
    icons: Icons
    poses: Poses
    held_out: set[tuple[int, str]]

    def __call__(self, asked: tuple[int, bool]) -> list[_Row]:
        """Every picture of one icon; the same each time."""
        index, is_painted = asked
        random = np.random.default_rng((0, index))
        rows = [(self.icons.draw(index), index, 0)]
        rows += [(self.poses.draw(index, random), index, 0) for _ in range(POSES - 1)]
        for number, colour in enumerate(colours.COLOURS if is_painted else (), 1):
            if (index, colour) not in self.held_out:
                rows += [(colours.paint(self.poses.draw(index, random), colour), index, number)
                         for _ in range(PAINTED_POSES)]  # fmt: skip
        return rows


def kept(file: Path, icons: Icons, held_out: set[tuple[int, str]], progress: Callable[[str], None]) -> Dataset:
    """From the file, or made and written there."""
    if not file.exists():
        made = make(icons, held_out, progress)
        np.savez(file, pictures=made.pictures, icon=made.icon, colour=made.colour)
    with np.load(file) as data:
        return Dataset(data["pictures"], data["icon"], data["colour"])


assert SIZE == 64  # noqa: S101 - measures.py counts on it
