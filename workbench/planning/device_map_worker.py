"""Asks accelerate for a device map, in a process of its own: PyTorch stays out of whoever wants to know.

Run by path with one JSON request on standard input and one JSON answer on standard output. The model is built on the
meta device from its config: it has shapes and no weights, so 70 billion parameters take no memory and two seconds.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module, metadata
from typing import Any

#: How often the limits are lowered until weights and cache fit together; each round takes hundredths of a second.
ROUNDS = 12

Device = int | str


def main() -> None:
    """Answer one request: config, max_memory, dtype, other_dtype, balanced, whole, cache_bytes (per layer)."""
    request = json.load(sys.stdin)
    model = build(request["config"])
    answer = place(model, request)
    versions = {name: metadata.version(name) for name in ("accelerate", "torch", "transformers")}
    json.dump({**answer, "versions": versions}, sys.stdout)


def build(config: dict[str, Any]) -> Any:
    """The model without weights, tied as it will be."""
    transformers, accelerate = import_module("transformers"), import_module("accelerate")
    fields = {key: value for key, value in config.items() if key not in ("model_type", "quantization_config")}
    described = transformers.AutoConfig.for_model(config["model_type"], **fields)
    wide = import_module("torch").float32  # sizes are counted at the smaller of this and what is asked for
    with accelerate.init_empty_weights(include_buffers=True):  # else each matrix is allocated for a moment
        model = transformers.AutoModelForCausalLM.from_config(described, dtype=wide)
    model.tie_weights()
    return model


def place(model: Any, request: dict[str, Any]) -> dict[str, Any]:
    """accelerate's map under the limits, and where the modules with a name of their own lie in it."""
    layers = layer_names(model)
    places, sizes, given = fitted(model, layers, request)
    return {
        "places": {name: str(device) for name, device in places.items()},
        "bytes": {str(device): count for device, count in bytes_by_device(places, sizes).items()},
        "layers": [device_of(name, places) for name in layers],
        "embedding": device_of(name_of(model, model.get_input_embeddings()), places),
        "output": device_of(name_of(model, model.get_output_embeddings()), places),
        "rest": device_of(last_name(model, layers), places),
        "max_memory": {str(device): count for device, count in given.items()},
        "split": [name for name in places if inside(name, layers)],
    }


def fitted(model: Any, layers: list[str], request: dict[str, Any]) -> tuple[Any, Any, dict[Device, int]]:
    """Lower the limits until every accelerator holds its weights and its cache; the first round is the user's own."""
    room = limits(request["max_memory"])
    cache = request["cache_bytes"] or [0] * len(layers)
    given, over = dict(room), dict.fromkeys(room, 0)
    for _ in range(ROUNDS):
        given = {device: max(0, count - over[device]) for device, count in given.items()}
        places, sizes = infer(model, given, layers, request)
        need = need_of(places, sizes, layers, cache)
        over = {device: max(0, need[device] - count) for device, count in room.items()}
        if not any(over.values()):
            break
    return places, sizes, given


def infer(model: Any, room: dict[Device, int], layers: list[str], request: dict[str, Any]) -> tuple[Any, Any]:
    """accelerate's own answer, and the sizes it counted with: `dtype` for the matrices of layers, or for everything."""
    modeling = import_module("accelerate.utils.modeling")
    whole = sorted({type(model.get_submodule(name)).__name__ for name in layers}) if request["whole"] else None
    count: dict[str, Any] = {"dtype": kind(request["dtype"]), "special_dtypes": None}
    if request["other_dtype"]:
        other = kind(request["other_dtype"])
        kept = [name for name, values in model.named_parameters() if not (inside(name, layers) and values.dim() > 1)]
        count["special_dtypes"] = dict.fromkeys(kept, other)
    given = dict(room)
    if request["balanced"]:
        given = modeling.get_balanced_memory(model, given, whole, **count)
    places = modeling.infer_auto_device_map(model, given, whole, **count)
    return places, modeling.compute_module_sizes(model, **count)


def kind(dtype: str) -> Any:
    """A PyTorch type, or one of accelerate's own for what PyTorch has no type for ('int4')."""
    custom = import_module("accelerate.utils").CustomDtype
    return custom.INT4 if dtype == "int4" else getattr(import_module("torch"), dtype)


def limits(max_memory: dict[str, int]) -> dict[Device, int]:
    """accelerate numbers accelerators."""
    return {int(device) if device.isdigit() else device: count for device, count in max_memory.items()}


def need_of(places: Any, sizes: Any, layers: list[str], cache: list[int]) -> Counter[Device]:
    """Weights and cache of each accelerator; layers that lie elsewhere work on the first, and their cache is there."""
    need = Counter({device: count for device, count in bytes_by_device(places, sizes).items() if on_card(device)})
    first = next((device for device in places.values() if on_card(device)), None)
    for name, count in zip(layers, cache, strict=True):
        device = next((places[key] for key in parents(name) if key in places), "cpu")  # "cpu": its parts lie apart
        if first is not None:
            need[device if on_card(device) else first] += count
    return need


def on_card(device: Device) -> bool:
    return device not in ("cpu", "disk")


def bytes_by_device(places: Any, sizes: Any) -> Counter[Device]:
    found: Counter[Device] = Counter()
    for name, device in places.items():
        found[device] += int(sizes[name])
    return found


def layer_names(model: Any) -> list[str]:
    """The modules of the longest list in the model: its layers."""
    lists = [(name, module) for name, module in model.named_modules() if type(module).__name__ == "ModuleList"]
    name, longest = max(lists, key=lambda pair: len(pair[1]))
    return [f"{name}.{index}" for index in range(len(longest))]


def inside(name: str, layers: list[str]) -> bool:
    return any(parent in layers for parent in list(parents(name))[1:])


def parents(name: str) -> list[str]:
    """A module's name and those of all around it, nearest first; '' is the model."""
    words = name.split(".") if name else []
    return [".".join(words[:count]) for count in range(len(words), -1, -1)]


def device_of(name: str, places: Any) -> str:
    """Where a module lies; '' if only its parts have a place."""
    return next((str(places[key]) for key in parents(name) if key in places), "")


def name_of(model: Any, wanted: Any) -> str:
    names: Iterator[str] = (name for name, module in model.named_modules() if module is wanted)
    return next(names)


def last_name(model: Any, layers: list[str]) -> str:
    """The module of the last parameter that is in no layer and no head: the final norm, beside which tables lie."""
    heads = {name_of(model, module) for module in (model.get_input_embeddings(), model.get_output_embeddings())}
    owners = [name.rpartition(".")[0] for name, _ in model.named_parameters() if not inside(name, layers)]
    rest = [name for name in owners if name not in heads]
    return rest[-1] if rest else layers[-1]


if __name__ == "__main__":
    main()
