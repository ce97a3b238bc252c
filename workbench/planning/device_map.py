"""Asks accelerate which device each module of a model goes to, without weights and without PyTorch in this process.

accelerate deals modules out in their order, first fit; what the accelerators cannot hold goes to main memory and then
to the disk. What follows from its answer is `device_map_layout`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.errors import EngineUnavailable, MissingExtra, UnsupportedModel, UsageError

TIMEOUT_S = 180
CPU = "cpu"  # accelerate's word for main memory


@dataclass(frozen=True, slots=True)
class DeviceMap:
    """accelerate's answer. Devices go by its names: '0', '1', … for accelerators, 'cpu', 'disk'.

    places: module → device; layers, embedding, output, rest: where each layer, the tables of tokens, the head and
    everything else lie ('' where a layer was split); bytes: what accelerate counted for each device; max_memory: the
    limits behind this answer; split: the modules inside layers that were given places of their own.
    """

    places: Mapping[str, str]
    layers: tuple[str, ...]
    embedding: str
    output: str
    rest: str
    bytes: Mapping[str, int]
    max_memory: Mapping[str, int]
    split: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def call(self) -> str:
        """The argument behind this answer, as one writes it in Python."""
        given = (f"{name if name.isdigit() else repr(name)}: {count}" for name, count in self.max_memory.items())
        return f"max_memory={{{', '.join(given)}}}"


def device_map(
    config: Mapping[str, Any],
    max_memory: Mapping[str, int],
    *,
    dtype: str = "bfloat16",
    other_dtype: str = "",
    balanced: bool = False,
    whole_layers: bool = True,
    cache_bytes: Sequence[int] = (),
) -> DeviceMap:
    """Ask accelerate where the modules of the model with this config.json go; takes some seconds, then it is known.

    max_memory: bytes by device, accelerators as '0', '1', …; dtype: of all weights, or of the matrices of layers when
    `other_dtype` names that of the others ('int4' is a type here); balanced: as much on each accelerator as on any
    other (get_balanced_memory); whole_layers: never split a layer, which accelerate does unless told; cache_bytes: of
    each layer, to leave room for. Raises MissingExtra, UsageError, UnsupportedModel or EngineUnavailable.
    """
    _check(config, max_memory)
    request = {
        "config": dict(config), "max_memory": dict(max_memory), "dtype": dtype, "other_dtype": other_dtype,
        "balanced": balanced, "whole": whole_layers, "cache_bytes": list(cache_bytes),
    }  # fmt: skip
    answer = json.loads(_ask(json.dumps(request)))
    return DeviceMap(**{**answer, "layers": tuple(answer["layers"]), "split": tuple(answer["split"])})


def _check(config: Mapping[str, Any], max_memory: Mapping[str, int]) -> None:
    for package in ("accelerate", "torch", "transformers"):
        if find_spec(package) is None:
            raise MissingExtra(package, "engines", "A device map")
    if "model_type" not in config:
        raise UnsupportedModel("The config does not name its model_type.", fix="Give the model's own config.json.")
    wrong = [name for name in max_memory if not (name.isdigit() or name in (CPU, "disk", "mps"))]
    if wrong or any(count < 0 for count in max_memory.values()):
        raise UsageError(
            f"max_memory is {dict(max_memory)!r}.",
            fix="Name accelerators '0', '1', …, main memory 'cpu', and give bytes of 0 or more.",
        )


@lru_cache(maxsize=64)
def _ask(request: str) -> str:
    program = Path(__file__).with_name("device_map_worker.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(program)], input=request, capture_output=True, text=True, timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise EngineUnavailable(f"accelerate did not answer within {TIMEOUT_S} s.", fix="Try again.") from None
    if done.returncode == 0:
        return done.stdout
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise UnsupportedModel(
        f"Transformers cannot build this model: {last[:300]}", fix="Check the config.", details=done.stderr[-4000:]
    )
