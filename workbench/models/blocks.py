"""The tensors of a language model, named and shaped as llama.cpp stores them: (name, fastest dimension first).

One function per part of a layer (attention, latent attention, recurrent mixers, feed-forward, experts), put together as
a model's family says. Numbers come checked from config.py; nothing here looks into a config.json beyond switches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from workbench.models.families import Family

Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Experts:
    """Experts of a layer: how many, how wide, how wide the shared ones are together.

    latent: what they see is projected to this width and back (0: they see all of it).
    """

    count: int = 0
    used: int = 0
    width: int = 0
    shared: int = 0
    latent: int = 0


@dataclass(frozen=True, slots=True)
class Latent:
    """Latent attention: ranks of the compressed queries (0: not compressed) and keys, lengths without and with rope."""

    query_rank: int
    rank: int
    plain: int
    rope: int
    value: int


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A recurrent mixer: values it keeps per sequence, heads, groups (key heads), lengths of keys and values."""

    heads: int = 0
    groups: int = 0
    key_length: int = 0
    value_length: int = 0
    kernel: int = 0

    @property
    def inner(self) -> int:
        """Width of the values of all heads."""
        return self.heads * self.value_length

    @property
    def convolved(self) -> int:
        """Width of what passes the convolution: values, and keys and queries of each group."""
        return self.inner + 2 * self.groups * self.key_length


@dataclass(frozen=True, slots=True)
class Layout:
    """A model's numbers, checked. Of each layer: has it attention, a mixer, a dense feed-forward, experts."""

    hidden: int
    heads: int
    kv_heads: int
    head_length: int
    feed_forward: int
    vocabulary: int
    context: int
    tied: bool
    kinds: tuple[frozenset[str], ...]
    norms: tuple[str, ...]
    experts: Experts = Experts()
    latent: Latent | None = None
    recurrence: Recurrence = Recurrence()
    on: frozenset[str] = frozenset()  # switches of the family that are on
    rotary: tuple[tuple[str, int], ...] = ()  # tables of rotary frequencies that the converter computes


def shapes(family: Family, m: Layout) -> Shapes:
    """Every tensor of the model."""
    yield "token_embd.weight", (m.hidden, m.vocabulary)
    if family.positions is not None:
        yield "position_embd.weight", (m.hidden, m.context + family.positions)
    if family.embedding_norm:
        yield from _norm("token_embd_norm", m)
    yield from ((name, (size,)) for name, size in m.rotary)
    for number, kinds in enumerate(m.kinds):
        yield from ((f"blk.{number}.{name}", shape) for name, shape in _layer(family, m, kinds))
    if family.final_norm:
        yield from _norm("token_embd_norm" if family.mixer == "conv" else "output_norm", m)
    if not m.tied:
        yield "output.weight", (m.hidden, m.vocabulary)
    if "head_bias" in m.on:
        yield "output.bias", (m.vocabulary,)


def _layer(family: Family, m: Layout, kinds: frozenset[str]) -> Shapes:
    for name in m.norms:
        yield from _norm(name, m)
    if "attention" in kinds:
        yield from _latent(m, m.latent) if m.latent else _attention(family, m)
    if "mixer" in kinds:
        yield from _MIXERS[family.mixer](family, m)
    if "dense" in kinds:
        yield from _feed_forward(family, m)
    if "experts" in kinds:
        yield from _experts(family, m)


def _norm(name: str, m: Layout, width: int = 0) -> Shapes:
    yield f"{name}.weight", (width or m.hidden,)
    if "norm_bias" in m.on:
        yield f"{name}.bias", (width or m.hidden,)


def _linear(name: str, rows: int, columns: int, biased: bool) -> Shapes:
    yield f"{name}.weight", (rows, columns)
    if biased:
        yield f"{name}.bias", (columns,)


def _attention(family: Family, m: Layout) -> Shapes:
    queries, keys, biased = m.heads * m.head_length, m.kv_heads * m.head_length, "qkv_bias" in m.on
    if family.fused_qkv:
        yield from _linear("attn_qkv", m.hidden, queries + 2 * keys, biased)
    else:
        yield from _linear("attn_q", m.hidden, queries * (2 if family.gated_attention else 1), biased)
        yield from _linear("attn_k", m.hidden, keys, biased)
        yield from _linear("attn_v", m.hidden, keys, biased)
    yield from _linear("attn_output", queries, m.hidden, "o_bias" in m.on)
    if "qk_norm" in m.on:
        wide = family.qk_norm == "width"
        yield "attn_q_norm.weight", (queries if wide else m.head_length,)
        yield "attn_k_norm.weight", (keys if wide else m.head_length,)
    if family.sinks:
        yield "attn_sinks.weight", (m.heads,)


def _latent(m: Layout, a: Latent) -> Shapes:
    """Latent attention, its key-value matrix split in two as llama.cpp absorbs it."""
    queries = m.heads * (a.plain + a.rope)
    if a.query_rank:
        yield "attn_q_a.weight", (m.hidden, a.query_rank)
        yield "attn_q_a_norm.weight", (a.query_rank,)
        yield "attn_q_b.weight", (a.query_rank, queries)
    else:
        yield "attn_q.weight", (m.hidden, queries)
    yield "attn_kv_a_mqa.weight", (m.hidden, a.rank + a.rope)
    yield "attn_kv_a_norm.weight", (a.rank,)
    yield "attn_k_b.weight", (a.plain, a.rank, m.heads)
    yield "attn_v_b.weight", (a.rank, a.value, m.heads)
    yield "attn_output.weight", (m.heads * a.value, m.hidden)


def _feed_forward(family: Family, m: Layout, name: str = "", width: int = 0, kind: str = "") -> Shapes:
    """A feed-forward network, or the shared experts as one."""
    width, kind = width or m.feed_forward, kind or family.mlp
    biased = "mlp_bias" in m.on and not name
    if kind == "gated":
        yield from _linear(f"ffn_gate{name}", m.hidden, width, biased)
    yield from _linear(f"ffn_up{name}", m.hidden, 2 * width if kind == "fused" else width, biased)
    yield from _linear(f"ffn_down{name}", width, m.hidden, biased)


def _experts(family: Family, m: Layout) -> Shapes:
    e, biased = m.experts, family.router == "biases"
    yield from _linear("ffn_gate_inp", m.hidden, e.count, biased)
    if family.router == "bias":
        yield "exp_probs_b.bias", (e.count,)
    seen = e.latent or m.hidden
    if e.latent:
        yield "ffn_latent_down.weight", (m.hidden, e.latent)
        yield "ffn_latent_up.weight", (e.latent, m.hidden)
    parts = {"gate": (seen, e.width), "up": (seen, e.width), "down": (e.width, seen)}
    for part, (rows, columns) in parts.items():
        if part == "gate" and family.expert_mlp == "plain":
            continue
        yield f"ffn_{part}_exps.weight", (rows, columns, e.count)
        if biased:
            yield f"ffn_{part}_exps.bias", (columns, e.count)
    if e.shared:
        yield from _feed_forward(family, m, "_shexp", e.shared, family.expert_mlp)
        if family.shared_gate:
            yield "ffn_gate_inp_shexp.weight", (m.hidden,)


def _delta(family: Family, m: Layout) -> Shapes:
    """Gated delta net: a linear attention with a state per head."""
    r = m.recurrence
    yield "attn_qkv.weight", (m.hidden, r.convolved)
    yield "attn_gate.weight", (m.hidden, r.inner)
    if family.arch == "qwen3next":
        yield "ssm_ba.weight", (m.hidden, 2 * r.heads)
    else:
        yield "ssm_alpha.weight", (m.hidden, r.heads)
        yield "ssm_beta.weight", (m.hidden, r.heads)
    yield "ssm_conv1d.weight", (r.kernel, r.convolved)
    yield "ssm_dt.bias", (r.heads,)
    yield "ssm_a", (r.heads,)
    yield "ssm_norm.weight", (r.value_length,)
    yield "ssm_out.weight", (r.inner, m.hidden)


def _mamba2(family: Family, m: Layout) -> Shapes:
    r = m.recurrence
    yield from _linear("ssm_in", m.hidden, r.inner + r.convolved + r.heads, "mamba_proj_bias" in m.on)
    yield "ssm_conv1d.weight", (r.kernel, r.convolved)
    if "use_conv_bias" in m.on:
        yield "ssm_conv1d.bias", (r.convolved,)
    yield "ssm_dt.bias", (r.heads,)
    yield "ssm_a", (1, r.heads)
    yield "ssm_d", (1, r.heads)
    yield "ssm_norm.weight", (r.inner // r.groups, r.groups)
    yield from _linear("ssm_out", r.inner, m.hidden, "mamba_proj_bias" in m.on)


def _conv(family: Family, m: Layout) -> Shapes:
    """A short convolution between two gates."""
    biased = "conv_bias" in m.on
    yield from _linear("shortconv.in_proj", m.hidden, 3 * m.hidden, biased)
    yield from _linear("shortconv.conv", m.recurrence.kernel, m.hidden, biased)
    yield from _linear("shortconv.out_proj", m.hidden, m.hidden, biased)


_MIXERS = {"delta": _delta, "mamba2": _mamba2, "conv": _conv}
