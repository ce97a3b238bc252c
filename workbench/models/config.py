"""Turns the config.json of a language model into a Model: its architecture and every tensor, without any weights.

The same fields come from the Hub, from a folder and from the catalog. Tensors have llama.cpp's names and shapes, in
BF16; what another format makes of them is told in formats.py. Parameters are exact. Predictors of further tokens
(MTP), vision and sound towers are left out: the language model alone is described.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from workbench.errors import UnsupportedModel, UsageError
from workbench.models import blocks
from workbench.models.blocks import Experts, Latent, Layout, Recurrence
from workbench.models.families import FAMILIES, FIELD_NAMES, SAME, TWO_NORMS, Family, Switch
from workbench.models.model import Architecture, Model, Tensor

_INNER = ("text_config", "llm_config", "language_config", "thinker_config")
_ATTENTION = frozenset({"attention", "full_attention", "sliding_attention", "chunked_attention", "*"})
_MIXER = frozenset({"linear_attention", "mamba", "conv", "M"})
_SLIDING = frozenset({"sliding_attention", "chunked_attention"})
_MOST = 2**32  # larger than any dimension of any model


def from_config(config: Mapping[str, Any], *, name: str, source: str, licence: str | None = None) -> Model:
    """The language model that `config` (the content of a config.json) describes, in BF16.

    Raises UnsupportedModel for a model_type nobody described, UsageError naming a field that is missing or impossible.
    """
    fields = _Fields(name, _language_part(config))
    layout = _layout(fields)
    tensors = tuple(_tensor(tensor, shape) for tensor, shape in blocks.shapes(fields.family, layout))
    weight_bytes = sum(tensor.bytes for tensor in tensors)
    return Model(
        name=name, path=None, architecture=_architecture(fields, layout), tensors=tensors, file_bytes=weight_bytes,
        quantization="BF16", source=source, format="safetensors", licence=licence,
    )  # fmt: skip


def _tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    elements = math.prod(shape)
    kind, size = ("F32", 4) if name.startswith("rope_") else ("BF16", 2)
    return Tensor(name, kind, shape, elements, size * elements)


def _language_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The text model of a wrapper, or the config itself."""
    for key in _INNER:
        if isinstance(inner := config.get(key), Mapping):
            kept = {one: config[one] for one in ("model_type", "tie_word_embeddings") if one in config}
            return _language_part({**kept, **inner})
    return config


class _Fields:
    """The fields of one config.json by their usual names, checked as they are asked for."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name, self.config = name, config
        given = config.get("model_type")
        key = str(given).lower() if given else ""
        self.family = FAMILIES.get(SAME.get(key, key), Family(""))
        if not self.family.arch:
            raise UnsupportedModel(
                f"{name} is of the model_type {given!r}, which is not described here.",
                fix=f"Known: {', '.join(sorted(FAMILIES))}.",
            )

    def get(self, key: str) -> Any:
        """The value of a field under any of its names, the family's default, or None."""
        for one in (key, *FIELD_NAMES.get(key, ())):
            if (value := self.config.get(one)) is not None:
                return value
        return self.family.defaults.get(key)

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number above 0; required when there is no default."""
        value = self.get(key)
        if value is None:
            if default is None:
                raise UsageError(f"{self.name}: its config.json has no field {key!r}.", fix="Add the field.")
            return default
        if type(value) is not int or not 0 < value < _MOST:
            self.bad(key, value, "a whole number above 0")
        return int(value)

    def optional(self, key: str) -> int:
        """A whole number, 0 when it is missing or 0."""
        return 0 if self.get(key) in (None, 0) and self.get(key) is not False else self.count(key)

    def flag(self, switch: Switch) -> bool:
        """Whether a switch is on."""
        value = switch if isinstance(switch, bool) else self.get(switch)
        if value is not None and not isinstance(value, bool):
            self.bad(str(switch), value, "true or false")
        return bool(value)

    def words(self, key: str) -> tuple[str, ...]:
        """A list of words, or a text of letters; empty when it is missing."""
        value = self.get(key) or ()
        if not isinstance(value, str | list | tuple) or not all(isinstance(one, str) for one in value):
            self.bad(key, value, "a list of words")
        return tuple(value)

    def numbers(self, key: str) -> tuple[int, ...] | None:
        """A list of whole numbers, or None."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(type(one) is int for one in value):
            self.bad(key, value, "a list of whole numbers")
        return tuple(value)

    def bad(self, key: str, value: object, expected: str) -> None:
        """Raise UsageError."""
        raise UsageError(f"{self.name}: {key} is {value!r}, expected {expected}.", fix="Correct its config.json.")


# -- numbers ---------------------------------------------------------------------------------------------------


def _layout(f: _Fields) -> Layout:
    family, hidden, heads = f.family, f.count("hidden_size"), f.count("num_attention_heads")
    experts = _experts(f)
    kinds = _kinds(f, experts)
    return Layout(
        hidden=hidden,
        heads=heads,
        kv_heads=_kv_heads(f, heads),
        head_length=_head_length(f, hidden, heads),
        feed_forward=_feed_forward(f, hidden),
        vocabulary=f.count("vocab_size"),
        context=f.count("max_position_embeddings", None if family.positions is not None else 2048),
        tied=f.flag("tie_word_embeddings"),
        kinds=kinds,
        norms=_norms(f),
        experts=experts,
        latent=_latent(f) if family.latent else None,
        recurrence=_recurrence(f) if any("mixer" in kind for kind in kinds) else Recurrence(),
        on=frozenset(one for one, switch in _switches(family).items() if f.flag(switch)),
        rotary=_rotary(f, hidden, heads),
    )


def _switches(family: Family) -> dict[str, Switch]:
    qk_norm = family.qk_norm_if if family.qk_norm else False
    return {
        "norm_bias": family.norm_bias, "qkv_bias": family.qkv_bias, "o_bias": family.o_bias,
        "mlp_bias": family.mlp_bias, "qk_norm": qk_norm, "use_conv_bias": "use_conv_bias", "conv_bias": "conv_bias",
        "mamba_proj_bias": "mamba_proj_bias", "head_bias": family.head_bias,
    }  # fmt: skip


def _norms(f: _Fields) -> tuple[str, ...]:
    """Attention and feed-forward that run side by side share a norm, or have one each."""
    if f.family.arch == "falcon":
        if f.flag("new_decoder_architecture") and f.count("num_ln_in_parallel_attn", 2) == 2:
            return ("attn_norm", "attn_norm_2")
        return ("attn_norm",) if f.flag("parallel_attn") else TWO_NORMS
    if f.family.arch == "stablelm" and f.flag("use_parallel_residual"):
        return ("attn_norm",)
    return f.family.norms


def _kv_heads(f: _Fields, heads: int) -> int:
    one = f.flag("multi_query") and not f.flag("new_decoder_architecture")
    kv_heads = 1 if one else f.count("num_key_value_heads", heads)
    if heads % kv_heads:
        f.bad("num_key_value_heads", kv_heads, f"a divisor of {heads} heads")
    return kv_heads


def _head_length(f: _Fields, hidden: int, heads: int) -> int:
    given = f.get("head_dim")
    if given is None and hidden % heads and not f.family.latent:  # latent attention has lengths of its own
        f.bad("num_attention_heads", heads, f"a divisor of hidden_size {hidden}")
    return f.count("head_dim", hidden // heads)


def _feed_forward(f: _Fields, hidden: int) -> int:
    """Width of the dense feed-forward layers."""
    arch = f.family.arch
    if arch == "llama4":
        return f.count("intermediate_size_mlp")
    if arch in ("lfm2", "lfm2moe"):
        return _rounded(f)
    if arch in ("gpt2", "starcoder", "gptj", "bloom", "mpt", "falcon"):
        return f.count("intermediate_size", 4 * hidden)
    if arch == "granitehybrid":
        return f.count("shared_intermediate_size", f.optional("intermediate_size"))
    width = f.count("intermediate_size", f.optional("moe_intermediate_size") or None)
    return width // 2 if arch == "qwen" else width


def _rounded(f: _Fields) -> int:
    """LFM2 takes two thirds of its width, scaled, and rounds them up."""
    width = f.count("intermediate_size")
    if f.family.arch == "lfm2moe" or not f.flag("block_auto_adjust_ff_dim"):
        return width
    factor, multiple = f.get("block_ffn_dim_multiplier"), f.count("block_multiple_of", 256)
    scaled = int((1.0 if factor is None else factor) * int(2 * width / 3))
    return multiple * -(-scaled // multiple)


def _experts(f: _Fields) -> Experts:
    count = f.optional("num_experts")
    if not count:
        return Experts()
    width = f.count("moe_intermediate_size", f.optional("intermediate_size") or None)
    shared = f.optional("shared_expert_intermediate_size") or f.optional("n_shared_experts") * width
    used = f.count("num_experts_per_tok")
    if used > count:
        f.bad("num_experts_per_tok", used, f"at most {count}, the number of experts")
    return Experts(count, used, width, width if f.family.arch == "llama4" else shared, f.optional("moe_latent_size"))


def _latent(f: _Fields) -> Latent:
    lengths = (f.count(f"{key}_head_dim") for key in ("qk_nope", "qk_rope", "v"))
    return Latent(f.optional("q_lora_rank"), f.count("kv_lora_rank"), *lengths)


def _recurrence(f: _Fields) -> Recurrence:
    if f.family.mixer == "delta":
        keys = ("linear_num_value_heads", "linear_num_key_heads", "linear_key_head_dim", "linear_value_head_dim")
        return Recurrence(*(f.count(key) for key in (*keys, "linear_conv_kernel_dim")))
    if f.family.mixer == "mamba2":
        keys = ("mamba_num_heads", "n_groups", "ssm_state_size", "mamba_head_dim")
        return Recurrence(*(f.count(key) for key in (*keys, "conv_kernel")))
    return Recurrence(kernel=f.count("conv_L_cache")) if f.family.mixer else Recurrence()


def _rotary(f: _Fields, hidden: int, heads: int) -> tuple[tuple[str, int], ...]:
    """Tables the converter computes for stretched contexts."""
    scaling = f.config.get("rope_parameters") or f.config.get("rope_scaling")
    kind = (scaling.get("rope_type") or scaling.get("type")) if isinstance(scaling, Mapping) else None
    half = _head_length(f, hidden, heads) // 2
    names = {"llama3": ("rope_freqs",), "longrope": ("rope_factors_long", "rope_factors_short")}
    return tuple((f"{name}.weight", half) for name in names.get(str(kind), ()))


# -- layers ----------------------------------------------------------------------------------------------------


def _kinds(f: _Fields, experts: Experts) -> tuple[frozenset[str], ...]:
    """What each layer is made of."""
    words = f.words("layers_block_type") or f.words("hybrid_override_pattern") or f.words("layer_types")
    layers = f.count("num_hidden_layers", len(words) or None)
    if words and len(words) != layers:
        f.bad("num_hidden_layers", layers, f"{len(words)}, as many as there are types of layers")
    return tuple(frozenset(_kind(f, experts, layer, words)) for layer in range(layers))


def _kind(f: _Fields, experts: Experts, layer: int, words: tuple[str, ...]) -> list[str]:
    word = words[layer] if words else ""
    if f.family.single and word not in _ATTENTION | _MIXER:
        return ["experts" if word in ("moe", "E") else "dense"]
    kinds = ["mixer" if _is_mixer(f, layer, word) else "attention"]
    if not f.family.single:
        kinds.append("experts" if experts.count and _is_sparse(f, layer) else "dense")
        if f.family.arch == "granitehybrid" and experts.count:
            return [*kinds[:1], "experts"]
    return kinds


def _is_mixer(f: _Fields, layer: int, word: str) -> bool:
    if not f.family.mixer:
        return False
    if word:
        return word in _MIXER
    if (full := f.numbers("full_attn_idxs")) is not None:
        return layer not in full
    return (layer + 1) % f.count("full_attention_interval") != 0


def _is_sparse(f: _Fields, layer: int) -> bool:
    """Whether a layer has experts, in a model that has some."""
    if words := f.words("mlp_layer_types"):
        return words[layer] == "sparse"
    if (listed := f.numbers("moe_layers")) is not None:
        return layer in listed
    dense = max(f.optional("first_k_dense_replace"), f.optional("num_dense_layers"))
    if layer < dense or layer in (f.numbers("mlp_only_layers") or ()):
        return False
    if layer % f.count("moe_layer_freq", 1):
        return False
    return (layer + 1) % f.count("decoder_sparse_step", f.count("interleave_moe_layer_step", 1)) == 0


def _windowed(f: _Fields, m: Layout) -> tuple[int | None, tuple[bool, ...]]:
    """The sliding window and which layers have it; None when every layer sees everything."""
    window = f.optional("sliding_window") or f.optional("attention_chunk_size")
    if not window or f.get("use_sliding_window") is False:
        return None, ()
    layers = len(m.kinds)
    pattern = f.get("sliding_window_pattern")  # a number, or a word such as LLLG
    every = len(pattern) if isinstance(pattern, str) else f.count("sliding_window_pattern", f.family.full_every)
    if words := f.words("layer_types"):
        slides = tuple(word in _SLIDING for word in words)
    elif every:
        slides = tuple(layer % every < every - 1 for layer in range(layers))
    else:
        slides = tuple(layer >= f.optional("max_window_layers") for layer in range(layers))
    return (window, slides) if any(slides) else (None, ())


def _architecture(f: _Fields, m: Layout) -> Architecture:
    window, windowed = _windowed(f, m)
    attended = tuple("attention" in kinds for kinds in m.kinds)
    a, e, kv_heads = m.latent, m.experts, 1 if m.latent else m.kv_heads
    return Architecture(
        name=f.family.arch,
        layers=len(m.kinds),
        hidden=m.hidden,
        heads=m.heads,
        kv_heads=kv_heads,
        key_length=a.rank + a.rope if a else m.head_length,
        value_length=a.rank if a else m.head_length,
        feed_forward=m.feed_forward,
        vocabulary=m.vocabulary,
        context_length=m.context,
        tied_embeddings=m.tied,
        experts=e.count,
        experts_used=e.used,
        expert_feed_forward=e.width,
        shared_feed_forward=e.shared,
        sliding_window=window,
        windowed=windowed,
        kv_heads_per_layer=() if all(attended) else tuple(kv_heads * one for one in attended),
        recurrent_values_per_layer=() if all(attended) else tuple(_state(f, m, kinds) for kinds in m.kinds),
        latent_cache=a is not None,
    )


def _state(f: _Fields, m: Layout, kinds: frozenset[str]) -> int:
    """Values a layer keeps per sequence, however long: the last inputs of its convolution, and a matrix per head."""
    if "mixer" not in kinds:
        return 0
    r = m.recurrence
    width = m.hidden if f.family.mixer == "conv" else r.convolved
    return (r.kernel - 1) * width + r.heads * r.key_length * r.value_length
