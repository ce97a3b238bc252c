"""The components of a pipeline on disk: those of the catalog by what they are, others counted once and remembered."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
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


def component(type_name: str, config: Mapping[str, Any], parameters: int, *, name: str, side: int,
              shrink: int) -> ImageComponent:  # fmt: skip
    """What is known of a component: from the catalog where its class and size are there, else counted on this machine.

    parameters: of its files; side: of the pictures it was made for; shrink: pixels for each place of the latents.
    Raises UnsupportedModel for a class nobody can count, MissingExtra without the libraries that count.
    """
    for known in image_components().values():
        if (known.type, known.parameters) == (type_name, parameters):
            return known
    return _read(name, _counted({"type": type_name, "config": dict(config), "side": side, "shrink": shrink}))


def _read(name: str, fields: Mapping[str, Any]) -> ImageComponent:
    made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return ImageComponent(**{**made, "name": name, "checked": date.fromisoformat(made["checked"])})


def _counted(request: dict[str, Any]) -> dict[str, Any]:
    asked = json.dumps(request, sort_keys=True)
    key = hashlib.sha256((asked + PROGRAM.read_text(encoding="utf-8")).encode()).hexdigest()[:24]
    kept = folders.cache() / "components" / f"{key}.json"
    if not kept.exists():
        found = {**_count(asked, request["type"]), "checked": date.today().isoformat()}
        kept.parent.mkdir(exist_ok=True)
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(kept)
    read: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return read


def _count(asked: str, type_name: str) -> dict[str, Any]:
    for package in ("diffusers", "torch"):
        if find_spec(package) is None:
            raise MissingExtra(package, "engines", f"Counting what a {type_name} takes")
    argv = [sys.executable, "-I", str(PROGRAM)]
    done = subprocess.run(argv, input=asked, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UnsupportedModel(
            f"What a {type_name} with this config takes could not be counted: {last[:300]}.",
            fix="Choose another model.", details=done.stderr[-4000:],
        )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found
