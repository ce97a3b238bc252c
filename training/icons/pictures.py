"""The icons as pictures: names, and drawings at any place, size and angle on white, 64×64."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE = 64
_SKIN = re.compile(r"-(light|medium-light|medium|medium-dark|dark)$")
#: Names that end like skin tones and are none.
_NO_SKIN = frozenset({"horizontal-traffic-light", "vertical-traffic-light"})
#: What is drawn upright and unmirrored only: text, clocks, arrows, faces that look somewhere, people.
UPRIGHT = ("People & Body", "Smileys & Emotion", "Symbols", "Flags")

Pictures = NDArray[np.uint8]  # (pictures, SIZE, SIZE, 3)


@dataclass(frozen=True)
class Icons:
    """The icons of the package without variants of skin tone, in alphabetical order."""

    data: dict[str, Any]
    categories: dict[str, str]

    @classmethod
    def read(cls, file: Path) -> Icons:
        """From icons.json, with metadata.json beside it."""
        listed = json.loads(file.with_name("metadata.json").read_text(encoding="utf-8"))["categories"]
        categories = {name: category for category, names in listed.items() for name in names}
        return cls(json.loads(file.read_text(encoding="utf-8")), categories)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The package's own names."""
        return tuple(sorted(k for k in self.data["icons"] if k in _NO_SKIN or not _SKIN.search(k)))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names as words."""
        return tuple(key.replace("-", " ") for key in self.keys)

    def category(self, index: int) -> str:
        """One of the package's groups, '' where it names none."""
        return self.categories.get(self.keys[index], "")

    def draw(self, index: int, *, angle: float = 0, scale: float = 1, x: float = 0, y: float = 0,
             mirrored: bool = False) -> Pictures:  # fmt: skip
        """One picture: turned by `angle` degrees, scaled, and moved by x and y, in 32nds of its width."""
        import resvg_py
        from PIL import Image

        flip = "scale(-1 1)" if mirrored else ""
        pose = f"translate({16 + x} {16 + y}) rotate({angle}) scale({scale}) {flip} translate(-16 -16)"
        body = self.data["icons"][self.keys[index]]["body"]
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 32 32">'
            f'<rect width="32" height="32" fill="#fff"/><g transform="{pose}">{body}</g></svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, skip_system_fonts=True)
        return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))

    def may_be_mirrored(self, index: int) -> bool:
        """Whether it means the same seen in a mirror."""
        return self.category(index) not in UPRIGHT
