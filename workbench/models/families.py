"""What the families of language models have in common and where they differ: one record per `model_type`, no code.

A record says which parts a layer is made of and what transformers assumes where a config.json is silent. It was
written down from the model code of transformers 5.23 and llama.cpp (its tensor lists and converter, October 2026), and
the tests hold it against transformers. How tensors follow from it is told in blocks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: A switch: on, off, or the name of the field of config.json that says so (off when it is missing).
Switch = bool | str
TWO_NORMS = ("attn_norm", "ffn_norm")
FOUR_NORMS = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
NORMS_AFTER = ("post_attention_norm", "post_ffw_norm")


@dataclass(frozen=True, slots=True)
class Family:
    """How the layers of a model are made.

    arch: llama.cpp's name of the architecture. norms: of each layer; norm_bias: they are layer norms with a bias.
    qk_norm: of queries and keys: one per value of a head ("head"), of all heads ("width"), of queries' whole width and
    keys' ("width"), or none. fused_qkv, mlp = "fused": several matrices lie in one tensor, as in the GGUF.
    mlp: "gated", "plain" (no gate) or "fused". full_every: of so many layers one attends to everything, the others
    slide, where the config does not list them. defaults: what transformers assumes for a missing field.
    """

    arch: str
    norms: tuple[str, ...] = TWO_NORMS
    norm_bias: Switch = False
    final_norm: bool = True
    embedding_norm: bool = False
    qk_norm: str = ""
    qk_norm_if: Switch = True
    fused_qkv: bool = False
    qkv_bias: Switch = False
    o_bias: Switch = False
    mlp: str = "gated"
    mlp_bias: Switch = False
    head_bias: Switch = False
    positions: int | None = None  # rows of the table of learned positions beyond the context
    full_every: int = 0
    gated_attention: bool = False  # queries come with a gate of their size
    sinks: bool = False
    latent: bool = False
    router: str = ""  # "bias": corrects the choice of experts; "biases": experts and router have biases
    shared_gate: bool = False
    expert_mlp: str = "gated"
    mixer: str = ""  # of the layers without attention: "delta", "mamba2", "conv"
    single: bool = False  # a layer is a mixer or a feed-forward, not both
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _default(**values: Any) -> dict[str, Any]:
    return values


TIED = {"tie_word_embeddings": True}
LLAMA = Family("llama", qkv_bias="attention_bias", o_bias="attention_bias", mlp_bias="mlp_bias")
FULL = _default(use_sliding_window=False)
QWEN2 = Family("qwen2", qkv_bias=True, defaults=FULL)
QWEN3 = replace(LLAMA, arch="qwen3", qk_norm="head", mlp_bias=False, defaults=FULL | _default(head_dim=128))
GEMMA = replace(
    LLAMA, arch="gemma", mlp_bias=False,
    defaults=TIED | _default(hidden_size=3072, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=16,
                             head_dim=256, intermediate_size=24576, vocab_size=256000, max_position_embeddings=8192),
)  # fmt: skip
GEMMA2 = replace(
    GEMMA, arch="gemma2", norms=FOUR_NORMS, full_every=2,
    defaults=TIED | _default(hidden_size=2304, num_hidden_layers=26, num_attention_heads=8, num_key_value_heads=4,
                             head_dim=256, intermediate_size=9216, vocab_size=256000, max_position_embeddings=8192,
                             sliding_window=4096),
)  # fmt: skip
GEMMA3 = replace(
    GEMMA2, arch="gemma3", qk_norm="head", full_every=6,
    defaults=dict(GEMMA2.defaults) | _default(vocab_size=262208, max_position_embeddings=131072),
)  # fmt: skip
LAYER_NORMS = Family("", norm_bias=True, mlp="plain", qkv_bias=True, o_bias=True, mlp_bias=True)
OLMO2 = replace(LLAMA, arch="olmo2", norms=NORMS_AFTER, qk_norm="width", mlp_bias=False)
QWEN_MOE = _default(decoder_sparse_step=1)
DEEPSEEK = Family("deepseek2", latent=True, qkv_bias=False, o_bias="attention_bias",
                  defaults=_default(n_shared_experts=2))  # fmt: skip
DELTA = Family(
    "qwen35", norms=("attn_norm", "post_attention_norm"), qk_norm="head", qkv_bias="attention_bias",
    o_bias="attention_bias", gated_attention=True, mixer="delta",
    defaults=_default(full_attention_interval=4, linear_conv_kernel_dim=4, head_dim=256),
)  # fmt: skip
GRANITE = replace(LLAMA, arch="granite")
COHERE = replace(LLAMA, arch="command-r", norms=("attn_norm",), mlp_bias=False, qk_norm="width",
                 qk_norm_if="use_qk_norm", defaults=TIED)  # fmt: skip
LFM2 = Family("lfm2", qk_norm="head", mixer="conv", defaults=TIED | _default(conv_L_cache=3))

FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "ministral": LLAMA,
    "ministral3": replace(LLAMA, arch="mistral3"),
    "aquila": LLAMA,
    "yi": LLAMA,
    "mixtral": LLAMA,
    "internlm2": replace(LLAMA, arch="internlm2", qkv_bias="bias", o_bias="bias", mlp_bias=False),
    "internlm3": replace(LLAMA, qkv_bias="qkv_bias", o_bias="bias", mlp_bias="bias"),
    "baichuan": replace(LLAMA, arch="baichuan"),
    "exaone": replace(LLAMA, arch="exaone"),
    "exaone4": replace(LLAMA, arch="exaone4", norms=NORMS_AFTER, qk_norm="head", mlp_bias=False, full_every=4),
    "smollm3": replace(LLAMA, arch="smollm3", defaults=TIED),
    "seed_oss": replace(LLAMA, arch="seed_oss", o_bias="attention_out_bias",
                        defaults=_default(attention_bias=True, head_dim=128)),
    "ernie4_5": replace(LLAMA, arch="ernie4_5", qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias",
                        defaults=TIED | _default(head_dim=128)),
    "hunyuan_v1_dense": replace(LLAMA, arch="hunyuan-dense", qk_norm="head", mlp_bias=False),
    "arcee": replace(LLAMA, arch="arcee", mlp="plain"),
    "nemotron": replace(LLAMA, arch="nemotron", norm_bias=True, mlp="plain"),
    "granite": GRANITE,
    "qwen": Family("qwen", fused_qkv=True, qkv_bias=True, o_bias=False),
    "qwen2": QWEN2,
    "qwen2_moe": replace(QWEN2, arch="qwen2moe", shared_gate=True, defaults=FULL | QWEN_MOE),
    "qwen3": QWEN3,
    "qwen3_moe": replace(QWEN3, arch="qwen3moe", defaults=FULL | QWEN_MOE),
    "qwen3_next": replace(DELTA, arch="qwen3next", shared_gate=True, defaults={**DELTA.defaults, **QWEN_MOE}),
    "qwen3_5_text": DELTA,
    "qwen3_5_moe_text": replace(DELTA, arch="qwen35moe", shared_gate=True, defaults={**DELTA.defaults, **QWEN_MOE}),
    "phi3": Family("phi3", fused_qkv=True, mlp="fused"),
    "phi": replace(LAYER_NORMS, arch="phi2", norms=("attn_norm",), head_bias=True),
    "phimoe": replace(LLAMA, arch="phimoe", norm_bias=True, mlp_bias=False, head_bias="lm_head_bias"),
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "olmo": replace(LLAMA, arch="olmo", norms=(), final_norm=False, mlp_bias=False),
    "olmo2": OLMO2,
    "olmo3": replace(OLMO2, full_every=4),
    "olmoe": replace(LLAMA, arch="olmoe", qk_norm="width", mlp_bias=False),
    "cohere": COHERE,
    "cohere2": replace(COHERE, arch="cohere2", qk_norm="", full_every=4,
                       defaults=TIED | _default(sliding_window=4096)),
    "starcoder2": replace(LAYER_NORMS, arch="starcoder2", qkv_bias="use_bias", o_bias="use_bias", mlp_bias="use_bias",
                          defaults=TIED | _default(use_bias=True)),
    "stablelm": replace(LLAMA, arch="stablelm", norm_bias=True, qkv_bias="use_qkv_bias", o_bias=False, mlp_bias=False,
                        qk_norm="width", qk_norm_if="qk_layernorm"),
    "gpt2": replace(LAYER_NORMS, arch="gpt2", fused_qkv=True, positions=0, defaults=TIED),
    "gpt_bigcode": replace(LAYER_NORMS, arch="starcoder", fused_qkv=True, positions=0,
                           defaults=TIED | _default(multi_query=True)),
    "gpt_neox": replace(LAYER_NORMS, arch="gptneox", fused_qkv=True, qkv_bias="attention_bias", o_bias="attention_bias",
                        defaults=_default(attention_bias=True)),
    "gptj": replace(LAYER_NORMS, arch="gptj", norms=("attn_norm",), qkv_bias=False, o_bias=False, head_bias=True),
    "bloom": replace(LAYER_NORMS, arch="bloom", fused_qkv=True, embedding_norm=True, defaults=TIED),
    "mpt": Family("mpt", norm_bias=False, fused_qkv=True, mlp="plain", defaults=TIED),
    "falcon": replace(LAYER_NORMS, arch="falcon", norms=("attn_norm",), fused_qkv=True, qkv_bias="bias", o_bias="bias",
                      mlp_bias="bias", defaults=TIED | _default(multi_query=True, parallel_attn=True)),
    "opt": replace(LAYER_NORMS, arch="opt", positions=2, qkv_bias="enable_bias", o_bias="enable_bias",
                   mlp_bias="enable_bias", defaults=TIED | _default(enable_bias=True)),
    "gpt_oss": Family("gpt-oss", norms=("attn_norm", "post_attention_norm"), qkv_bias="attention_bias",
                      o_bias="attention_bias", sinks=True, router="biases", full_every=2,
                      defaults=_default(attention_bias=True, head_dim=64, sliding_window=128)),
    "deepseek_v2": DEEPSEEK,
    "deepseek_v3": replace(DEEPSEEK, router="bias",
                           defaults=_default(n_shared_experts=1, first_k_dense_replace=3, num_experts_per_tok=8)),
    "glm4": replace(LLAMA, arch="glm4", norms=FOUR_NORMS, mlp="fused", o_bias=False, mlp_bias=False,
                    defaults=_default(attention_bias=True, head_dim=128)),
    "glm4_moe": replace(LLAMA, arch="glm4moe", norms=("attn_norm", "post_attention_norm"), o_bias=False, mlp_bias=False,
                        qk_norm="head", qk_norm_if="use_qk_norm", router="bias",
                        defaults=_default(first_k_dense_replace=1, n_shared_experts=1)),
    "dots1": replace(LLAMA, arch="dots1", mlp_bias=False, qk_norm="head", router="bias"),
    "minimax_m2": replace(LLAMA, arch="minimax-m2", qkv_bias=False, o_bias=False, mlp_bias=False, qk_norm="width",
                          router="bias", defaults=_default(head_dim=128)),
    "llama4_text": replace(LLAMA, arch="llama4", mlp_bias=False, full_every=4,
                           defaults=_default(interleave_moe_layer_step=1, num_experts_per_tok=1, head_dim=128,
                                             attention_chunk_size=8192)),
    "granitemoe": replace(GRANITE, arch="granitemoe", mlp_bias=False),
    "granitemoeshared": replace(GRANITE, arch="granitemoe", mlp_bias=False),
    "granitemoehybrid": replace(GRANITE, arch="granitehybrid", mlp_bias=False, mixer="mamba2",
                               defaults=_default(use_conv_bias=True)),
    "nemotron_h": Family("nemotron_h", norms=("attn_norm",), qkv_bias="attention_bias", o_bias="attention_bias",
                         mlp="plain", mlp_bias="mlp_bias", expert_mlp="plain", router="bias", mixer="mamba2",
                         single=True, defaults=_default(use_conv_bias=True)),
    "lfm2": LFM2,
    "lfm2_moe": replace(LFM2, arch="lfm2moe", router="bias", defaults={**LFM2.defaults, "num_dense_layers": 2}),
}  # fmt: skip

#: Other names of the same records: wrappers around a text model, and names of older files.
SAME: Mapping[str, str] = {
    "gemma3": "gemma3_text", "llama4": "llama4_text", "qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen2_vl": "qwen2", "qwen2_vl_text": "qwen2", "qwen2_5_vl": "qwen2", "qwen2_5_vl_text": "qwen2",
    "qwen3_vl": "qwen3", "qwen3_vl_text": "qwen3", "qwen3_vl_moe": "qwen3_moe", "qwen3_vl_moe_text": "qwen3_moe",
    "mistral3": "mistral", "refinedweb": "falcon", "refinedwebmodel": "falcon", "phi-msft": "phi", "phi4": "phi3",
    "glm4_moe_lite": "deepseek_v3",
}  # fmt: skip

#: The field of a config.json → what other families call it.
FIELD_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "d_model", "n_embed"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("ffn_hidden_size", "n_inner", "ffn_dim", "block_ff_dim"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "n_ctx", "seq_length", "max_sequence_length"),
    "num_experts": ("num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": ("num_experts_per_token", "moe_top_k", "moe_k", "experts_per_token"),
    "moe_intermediate_size": ("expert_intermediate_size",),
    "shared_expert_intermediate_size": ("shared_intermediate_size", "moe_shared_expert_intermediate_size"),
    "n_shared_experts": ("num_shared_experts", "moe_num_shared_experts"),
    "mamba_num_heads": ("mamba_n_heads",),
    "mamba_head_dim": ("mamba_d_head",),
    "ssm_state_size": ("mamba_d_state",),
    "conv_kernel": ("mamba_d_conv",),
    "n_groups": ("mamba_n_groups",),
    "use_conv_bias": ("mamba_conv_bias",),
}
