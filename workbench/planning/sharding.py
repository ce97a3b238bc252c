"""One model over several devices, three ways side by side: what lies where, what spills, how long a token takes.

    device map       whole layers, first fit, what is left over is copied to an accelerator for every token
    tensor parallel  every layer divided, two sums over all devices a layer, nothing can be left over
    layer split      whole layers in shares of free memory, what is left over works on the CPU

Each way is a module of its own, and each of its numbers says in its basis where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench import engines
from workbench.catalog.links import Link
from workbench.engines import TextEngine
from workbench.errors import EngineUnavailable, MissingExtra, UnsupportedModel
from workbench.machine import Machine
from workbench.models import Model
from workbench.planning import device_map_layout, layer_split, tensor_parallel
from workbench.planning.language import check_context
from workbench.planning.layouts import Layout


def compare(
    model: Model,
    machine: Machine,
    *,
    context: int | None = None,
    config: Mapping[str, Any] | None = None,
    gguf: Model | None = None,
    link: Link | None = None,
    host_link: Link | None = None,
    disk_bytes_per_s: float | None = None,
    engine: TextEngine | None = None,
) -> tuple[Layout, Layout, Layout]:
    """The three layouts of `model`: Transformers' device map, vLLM's tensor parallel, llama.cpp's layer split.

    model: in the format it would run in; gguf: the same model as llama.cpp runs it, where that is another format;
    config: its config.json, which accelerate needs; link, host_link: between accelerators, and between them and main
    memory (the same, when `link` reaches main memory); engine: who predicts the speed of each device, each layout's
    own engine when not given.
    """
    tokens = check_context(model, context)
    host_link = host_link or (link if link and link.host else None)
    transformers, vllm, llamacpp = (engine or _engine(name) for name in ("transformers", "vllm", "llama.cpp"))
    try:
        mapped = device_map_layout.layout(
            model, config, machine, transformers, context=tokens, link=link, host_link=host_link,
            disk_bytes_per_s=disk_bytes_per_s,
        )  # fmt: skip
    except (EngineUnavailable, MissingExtra, UnsupportedModel) as error:
        mapped = Layout(device_map_layout.NAME, device_map_layout.TITLE, False, str(error))
    parallel = tensor_parallel.layout(model, machine, vllm, context=tokens, link=link)
    split = layer_split.layout(gguf or model, machine, llamacpp, context=tokens, disk_bytes_per_s=disk_bytes_per_s)
    return _told(mapped, transformers, "transformers"), _told(parallel, vllm, "vllm"), split


def _engine(name: str) -> TextEngine:
    """The engine of that name; llama.cpp where the workbench has none yet."""
    found = engines.get(name if name in engines.ENGINES else "llama.cpp")
    if not isinstance(found, TextEngine):
        raise UnsupportedModel(f"{found.title} does not run language models.", fix="Name another engine.")
    return found


def _told(layout: Layout, engine: TextEngine, wanted: str) -> Layout:
    """The layout, saying whose speed it was worked out with where that is not its own engine's."""
    if not layout.possible or engine.name == wanted:
        return layout
    return replace(layout, notes=(*layout.notes, f"the speed of each device is {engine.title}'s"))
