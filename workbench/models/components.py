"""The components of a pipeline on disk: those of the catalog by what they are, others counted once and remembered."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench import folders
from workbench.catalog.image_components import ImageComponent, image_components
from workbench.errors import MissingExtra, UnsupportedModel

#: What decides how a component is counted, besides its config: a change of the program counts anew.
PROGRAM = Path(__file__).with_name("component_worker.py")
TIMEOUT_S = 300


@dataclass(frozen=True)
class Described:
    """A component as its files describe it. type: its class; parameters: of its weights; side: of the pictures it was
    made for; shrink: pixels for each place of the latents."""

    name: str
    type: str
    config: Mapping[str, Any]
    parameters: int
    side: int
    shrink: int

    @property
    def request(self) -> str:
        """What the counting program is asked."""
        fields = {"type": self.type, "config": self.config, "side": self.side, "shrink": self.shrink}
        return json.dumps(fields, sort_keys=True)


def components(described: Sequence[Described]) -> list[ImageComponent]:
    """What is known of each: from the catalog where its class and size are there, else counted on this machine.

    Raises UnsupportedModel for what cannot be counted, MissingExtra without the libraries that count.
    """
    found = {one.name: _of_catalog(one) or _remembered(one) for one in described}
    unknown = [one for one in described if found[one.name] is None]
    if unknown:
        _count(unknown)
    return [found[one.name] or _known(_remembered(one)) for one in described]


def _of_catalog(one: Described) -> ImageComponent | None:
    same = (each for each in image_components().values() if (each.type, each.parameters) == (one.type, one.parameters))
    return next(same, None)


def _remembered(one: Described) -> ImageComponent | None:
    if not (file := _kept(one)).exists():
        return None
    read = json.loads(file.read_text(encoding="utf-8"))
    made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in read.items()}
    return ImageComponent(**{**made, "name": one.name, "checked": date.fromisoformat(made["checked"])})


def _known(found: ImageComponent | None) -> ImageComponent:
    assert found is not None  # noqa: S101 - counted and written just before
    return found


def _kept(one: Described) -> Path:
    key = hashlib.sha256((one.request + PROGRAM.read_text(encoding="utf-8")).encode()).hexdigest()[:24]
    return folders.cache() / "components" / f"{key}.json"


def _count(unknown: Sequence[Described]) -> None:
    """Count all of them in one process, and remember what came out."""
    names = ", ".join(dict.fromkeys(one.type for one in unknown))
    for package in ("diffusers", "torch"):
        if find_spec(package) is None:
            raise MissingExtra(package, "engines", f"Counting what {names} takes")
    asked, argv = f"[{', '.join(one.request for one in unknown)}]", [sys.executable, "-I", str(PROGRAM)]
    done = subprocess.run(argv, input=asked, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UnsupportedModel(
            f"What {names} takes with this config could not be counted: {last[:300]}.", fix="Choose another model.",
            details=done.stderr[-4000:],
        )  # fmt: skip
    for one, fields in zip(unknown, json.loads(done.stdout), strict=True):
        file = _kept(one)
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({**fields, "checked": date.today().isoformat()}), encoding="utf-8")
        part.replace(file)
