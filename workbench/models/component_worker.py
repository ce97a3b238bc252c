"""Counts components of a pipeline for images on PyTorch's meta device, in a process of its own: no weight is loaded.

Run by path with a JSON list of requests on standard input (type and config of the component; side of the pictures that
the pipeline makes; shrink: pixels for each place of its latents) and a JSON list of answers on standard output: the
fields of `ImageComponent`.
"""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

TOKENS = 77
#: Of each attention score without fused attention: it, its scaled copy and the softmax of it, one of them in 32 bits.
UNFUSED_BYTES = 8
MATRIX, CONVOLUTION, ATTENTION = "matrix_flops", "convolution_flops", "attention_flops"
Amounts = dict[str, float]


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What a run starts, computes, reads, writes and holds, the model's own values apart (bytes of 16 bits)."""

    def __init__(self, model: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.amounts: Amounts = dict.fromkeys((MATRIX, CONVOLUTION, ATTENTION, "attention_scores", "traffic_bytes"), 0)
        self.kernels = 0
        self.live = self.peak = self.unfused = 0.0
        self._own = {_place(one) for one in (*model.parameters(), *model.buffers())}
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        made = [one for one in _tensors(out) if _place(one) not in self._own]
        returned = func._schema.returns[0].alias_info if func._schema.returns else None
        if returned is None or returned.is_write:  # not only another view of the same values
            self.kernels += 1
            read = [one for one in _tensors((args, kwargs)) if _place(one) not in self._own]
            self.amounts["traffic_bytes"] += sum(_bytes(one) for one in (*read, *made))
            self._count_flops(func, args, kwargs, out)
        for one in made:
            self._hold(one)
        return out

    def attend(self, query: Any, key: Any, value: Any) -> Any:
        """Fused attention: one kernel, and no scores in memory."""
        scores = query.shape[:-1].numel() * key.shape[-2]
        self.amounts[ATTENTION] += 2 * scores * (query.shape[-1] + value.shape[-1])
        self.amounts["attention_scores"] += scores
        self.amounts["traffic_bytes"] += _bytes(query) + _bytes(key) + _bytes(value)
        out = query.new_empty((*query.shape[:-1], value.shape[-1]))
        self.unfused = max(self.unfused, self.live + UNFUSED_BYTES * scores)
        return out

    def _count_flops(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        packet = func._overloadpacket
        if packet in flop_registry:
            kind = CONVOLUTION if "conv" in str(packet) else MATRIX
            self.amounts[kind] += flop_registry[packet](*args, **(kwargs or {}), out_val=out)

    def _hold(self, one: Any) -> None:
        place = _place(one)
        if place not in self._users:
            self.live += _bytes(one)
            self.peak = max(self.peak, self.live)
        self._users[place] = self._users.get(place, 0) + 1
        weakref.finalize(one, self._let_go, place, _bytes(one))

    def _let_go(self, place: int, size: float) -> None:
        self._users[place] -= 1
        if not self._users[place]:
            del self._users[place]
            self.live -= size


class _Fused(TorchFunctionMode):
    """Hands attention to the counter before it is taken apart."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            return self.counter.attend(given["query"], given["key"], given["value"])
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [one for part in parts for one in _tensors(part)]


def _place(one: Any) -> int:
    return int(one.untyped_storage()._cdata)


def _bytes(one: Any) -> int:
    return int(one.numel() * one.element_size())


# -- how each kind is run --------------------------------------------------------------------------------------


def _run_text(model: Any, _side: int, _shrink: int) -> None:
    longest = min(TOKENS, getattr(model.config, "max_position_embeddings", TOKENS))
    model(input_ids=torch.zeros((1, longest), dtype=torch.long, device="meta"))


def _run_unet(model: Any, side: int, shrink: int) -> None:
    c, cells = model.config, side // shrink
    added = None
    if c.addition_embed_type == "text_time":
        pooled = c.projection_class_embeddings_input_dim - 6 * c.addition_time_embed_dim
        added = {"text_embeds": _half(1, pooled), "time_ids": _half(1, 6)}
    width = c.encoder_hid_dim or c.cross_attention_dim
    width = width if isinstance(width, int) else width[0]
    condition = None if c.time_cond_proj_dim is None else _half(1, c.time_cond_proj_dim)
    model(_half(1, c.in_channels, cells, cells), _half(1), _half(1, TOKENS, width), added_cond_kwargs=added,
          timestep_cond=condition)  # fmt: skip


def _run_sd3(model: Any, side: int, shrink: int) -> None:
    c, cells = model.config, side // shrink
    model(hidden_states=_half(1, c.in_channels, cells, cells), timestep=_half(1),
          encoder_hidden_states=_half(1, 2 * TOKENS, c.joint_attention_dim),
          pooled_projections=_half(1, c.pooled_projection_dim))  # fmt: skip


def _run_flux(model: Any, side: int, shrink: int) -> None:
    c, cells, tokens = model.config, side // (2 * shrink), 512
    model(hidden_states=_half(1, cells**2, c.in_channels), timestep=_half(1),
          encoder_hidden_states=_half(1, tokens, c.joint_attention_dim), txt_ids=_half(tokens, 3),
          pooled_projections=_half(1, c.pooled_projection_dim), img_ids=_half(cells**2, 3),
          guidance=_half(1) if c.guidance_embeds else None)  # fmt: skip


def _run_decoder(model: Any, side: int, shrink: int) -> None:
    cells = side // shrink
    model.decode(_half(1, model.config.latent_channels, cells, cells))


def _run_encoder(model: Any, side: int, _: int) -> None:
    model.encode(_half(1, 3, side, side))


def _half(*shape: int) -> Any:
    return torch.empty(shape, dtype=torch.float16, device="meta")


#: By class: the kind, the library, how it is run.
KINDS: dict[str, tuple[str, str, Callable[[Any, int, int], None]]] = {
    "CLIPTextModel": ("text encoder", "transformers", _run_text),
    "CLIPTextModelWithProjection": ("text encoder", "transformers", _run_text),
    "T5EncoderModel": ("text encoder", "transformers", _run_text),
    "UNet2DConditionModel": ("denoiser", "diffusers", _run_unet),
    "SD3Transformer2DModel": ("denoiser", "diffusers", _run_sd3),
    "FluxTransformer2DModel": ("denoiser", "diffusers", _run_flux),
    "AutoencoderKL": ("vae", "diffusers", _run_decoder),
    "AutoencoderTiny": ("vae", "diffusers", _run_decoder),
}  # fmt: skip


#: Places of the latents that a denoiser takes as one.
PATCH = {"SD3Transformer2DModel": 2, "FluxTransformer2DModel": 2}


def build(type_name: str, config: dict[str, Any]) -> Any:
    """The component without weights, in 16 bits."""
    _, library, _ = KINDS[type_name]
    made = getattr(import_module(library), type_name)
    fields = {key: value for key, value in config.items() if not key.startswith("_")}
    with torch.device("meta"):
        model = made(made.config_class(**fields)) if library == "transformers" else made.from_config(fields)
    return model.eval().half()


def count(request: dict[str, Any]) -> dict[str, Any]:
    """Everything that is known of one component: its parameters, and polynomials in the pixels."""
    model = build(request["type"], request["config"])
    kind, library, run = KINDS[request["type"]]
    shrink = request["shrink"]
    sides = [request["side"] * n for n in ((1,) if kind == "text encoder" else (1, 2, 3))]
    counted = [_amounts(model, run, side, shrink) for side in sides]
    found: dict[str, Any] = {
        name: _polynomial([one[name] for one in counted], sides) for name in counted[0] if name != "kernels"
    }
    if kind == "vae":
        encoded = [_amounts(model, _run_encoder, side, shrink)["activation_bytes"] for side in sides]
        found["encode_bytes"] = _polynomial(encoded, sides)
        found["tile"] = int(getattr(model, "tile_sample_min_size", None) or model.tile_sample_min_height)
        found["decoder"] = _parameters(model.decoder) + _parameters(getattr(model, "post_quant_conv", None))
    if not counted[0]["attention_scores"] or kind != "denoiser":
        found.pop("unfused_bytes")
    version = metadata.version(library)
    return {
        "type": request["type"], "kind": kind, **_sizes(model), **found, "kernels": int(counted[0]["kernels"]),
        "pixels": shrink * PATCH.get(request["type"], 1) if kind != "text encoder" else 1,
        "source": f"counted on PyTorch's meta device with {library} {version}",
    }  # fmt: skip


@torch.no_grad()
def _amounts(model: Any, run: Callable[[Any, int, int], None], side: int, shrink: int) -> Amounts:
    counter = Counter(model)
    with counter, _Fused(counter):
        run(model, side, shrink)
    return {**counter.amounts, "activation_bytes": counter.peak, "unfused_bytes": max(counter.unfused, counter.peak),
            "kernels": counter.kernels}  # fmt: skip


def _sizes(model: Any) -> Amounts:
    by_layer = {"linear": torch.nn.Linear, "convolution": torch.nn.Conv2d, "embedding": torch.nn.Embedding}
    sums = {
        name: sum(one.weight.numel() for one in model.modules() if isinstance(one, layer))  # type: ignore[attr-defined]
        for name, layer in by_layer.items()
    }
    buffers = sum(one.numel() for one in model.buffers() if one.is_floating_point())
    return {"parameters": _parameters(model), **sums, "buffers": buffers}


def _parameters(module: Any) -> int:
    return sum(one.numel() for one in module.parameters()) if module is not None else 0


def _polynomial(values: list[float], sides: list[int]) -> list[float]:
    """Through all points, in the pixels, constant first; a line where a parabola would bend down."""
    places = [side**2 for side in sides]
    for points in (len(values), 2, 1):
        few = np.linspace(0, len(values) - 1, points).round().astype(int)
        found = np.linalg.solve(np.vander(np.array(places, float)[few], increasing=True), np.array(values, float)[few])
        shares = found * float(places[-1]) ** np.arange(points)
        found[abs(shares) < 1e-6 * max(values)] = 0
        if found[-1] > 0 or points == 1:
            break
    return [float(f"{one:.6g}") for one in np.trim_zeros(found, "b")]


if __name__ == "__main__":
    json.dump([count(request) for request in json.load(sys.stdin)], sys.stdout)
