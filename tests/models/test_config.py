"""Models described by a config.json: their parameters against transformers', and everything a config can get wrong."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from workbench.errors import UnsupportedModel, UsageError
from workbench.models.architecture import kv_bytes_per_token, recurrent_bytes
from workbench.models.config import from_config
from workbench.models.families import FAMILIES
from workbench.models.model import Model

SMALL = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "vocab_size": 130, "max_position_embeddings": 128,
}  # fmt: skip
GPT = {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 130, "n_positions": 128}
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 2}
SHARED = MOE | {"shared_expert_intermediate_size": 40}
DELTA = {"num_hidden_layers": 4, "head_dim": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
         "linear_key_head_dim": 8, "linear_value_head_dim": 16}  # fmt: skip
LATENT = ROUTED | {"num_key_value_heads": 4, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8,
                   "v_head_dim": 16, "first_k_dense_replace": 1}  # fmt: skip
FALCON = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 130}

#: model_type (and what makes the case special) → what differs from SMALL; None takes a field away.
CASES: dict[str, dict[str, Any]] = {
    "llama": {}, "llama biases": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "mistral": {"head_dim": 32}, "ministral3": {"head_dim": 16}, "mixtral": LOCAL, "smollm3": {"pad_token_id": 0},
    "seed_oss": {"head_dim": 24}, "ernie4_5": {"head_dim": 16}, "hunyuan_v1_dense": {"head_dim": 16}, "arcee": {},
    "nemotron": {}, "granite": {}, "qwen2": {}, "qwen2_moe": SHARED, "qwen3": {"head_dim": 32},
    "qwen3_moe": MOE | {"head_dim": 32, "mlp_only_layers": [1]}, "qwen3_next": SHARED | DELTA, "qwen3_5_text": DELTA,
    "qwen3_5_moe_text": SHARED | DELTA | {"intermediate_size": None}, "phi3": {"pad_token_id": 0}, "phi": {},
    "phimoe": LOCAL | {"attention_bias": True, "lm_head_bias": True}, "gemma": {"head_dim": 32},
    "gemma2": {"head_dim": 32}, "gemma3_text": {"head_dim": 32}, "olmo": {}, "olmo2": {}, "olmo3": {},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2}, "cohere": {}, "cohere norms": {"use_qk_norm": True},
    "cohere2": {}, "exaone4": {}, "starcoder2": {}, "stablelm": {},
    "stablelm parallel": {"use_parallel_residual": True, "qk_layernorm": True, "use_qkv_bias": True},
    "gpt_neox": {"num_key_value_heads": None}, "gpt_oss": LOCAL | {"head_dim": 16},
    "deepseek_v2": LATENT | {"q_lora_rank": 24},
    "deepseek_v3": LATENT | {"q_lora_rank": 24, "n_group": 2, "topk_group": 1},
    "glm4": {"head_dim": 16, "pad_token_id": 0},
    "glm4_moe": ROUTED | {"head_dim": 16, "attention_bias": True, "use_qk_norm": True, "first_k_dense_replace": 1},
    "dots1": ROUTED | {"head_dim": 16, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1},
    "minimax_m2": LOCAL | {"head_dim": 16},
    "llama4_text": {"head_dim": 16, "intermediate_size_mlp": 80, "num_local_experts": 4, "num_experts_per_tok": 1,
                    "interleave_moe_layer_step": 2, "num_hidden_layers": 4},
    "granitemoe": LOCAL, "granitemoeshared": LOCAL | {"shared_intermediate_size": 48},
    "granitemoehybrid": LOCAL | {
        "shared_intermediate_size": 48, "layer_types": ["mamba", "attention", "mamba"], "mamba_n_heads": 8,
        "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 8, "mamba_d_conv": 4, "mamba_expand": 2},
    "nemotron_h": ROUTED | {
        "num_hidden_layers": 4, "hybrid_override_pattern": "M*-E", "head_dim": 16, "mamba_num_heads": 8,
        "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 8, "conv_kernel": 4, "n_shared_experts": 1,
        "moe_shared_expert_intermediate_size": 40, "tie_word_embeddings": False},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"], "block_auto_adjust_ff_dim": True,
             "block_multiple_of": 16, "block_ffn_dim_multiplier": 1.0},
    "lfm2_moe": MOE | {"layer_types": ["conv", "full_attention", "conv"], "num_dense_layers": 1},
}  # fmt: skip
#: Families with names of their own for everything.
OTHERS: dict[str, dict[str, Any]] = {
    "gpt2": GPT, "gpt_bigcode": GPT, "gpt_bigcode heads": GPT | {"multi_query": False}, "gptj": GPT,
    "bloom": {"hidden_size": 64, "n_layer": 3, "n_head": 4, "vocab_size": 130},
    "mpt": {"d_model": 64, "n_layers": 3, "n_heads": 4, "max_seq_len": 128, "vocab_size": 130},
    "falcon": FALCON, "falcon new": FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon rw": FALCON | {"multi_query": False, "parallel_attn": False, "bias": True, "alibi": True},
    "opt": {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 96, "vocab_size": 130,
            "max_position_embeddings": 128, "word_embed_proj_dim": 64},
}  # fmt: skip
#: Described, but not part of transformers (code in their repositories).
ELSEWHERE = {"aquila", "baichuan", "exaone", "internlm2", "internlm3", "ministral", "qwen", "yi"}


def config_of(case: str) -> dict[str, Any]:
    fields = OTHERS.get(case) or SMALL | CASES[case]
    return {"model_type": case.partition(" ")[0]} | {key: value for key, value in fields.items() if value is not None}


def described(config: dict[str, Any]) -> Model:
    return from_config(config, name="one", source="a test")


def trained_values(config: dict[str, Any]) -> int:
    """Parameters of transformers' model, and what it saves beside them."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {key: value for key, value in config.items() if key != "model_type"}
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **fields))
    saved = set(model.state_dict())
    buffers = sum(one.numel() for name, one in model.named_buffers() if name in saved)
    return sum(one.numel() for one in model.parameters()) + buffers


@pytest.mark.parametrize("case", [*CASES, *OTHERS])
def test_parameters_are_those_of_transformers(case: str) -> None:
    pytest.importorskip("transformers")
    config = config_of(case)
    assert described(config).parameters == trained_values(config)


def test_every_family_has_a_case() -> None:
    assert {case.partition(" ")[0] for case in (*CASES, *OTHERS)} | ELSEWHERE == set(FAMILIES)


@pytest.mark.parametrize("case", [*CASES, *OTHERS])
def test_tensors_are_named_once_and_sum_up(case: str) -> None:
    model = described(config_of(case))
    assert len({tensor.name for tensor in model.tensors}) == len(model.tensors)
    assert model.weight_bytes == 2 * model.parameters
    assert (model.path, model.quantization) == (None, "BF16")
    blocks = {tensor.name.split(".")[1] for tensor in model.tensors if tensor.name.startswith("blk.")}
    assert len(blocks) == model.architecture.layers


def llama(*numbers: int, **more: Any) -> Model:
    """Hidden, layers, heads, KV heads, feed-forward, vocabulary."""
    hidden, layers, heads, kv_heads, wide, vocabulary = numbers
    return described({
        "model_type": "llama", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": wide, "vocab_size": vocabulary,
        "max_position_embeddings": 4096, **more,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(llama(4096, 32, 32, 32, 11008, 32000), 6_738_415_616), (llama(4096, 32, 32, 8, 14336, 128256), 8_030_261_248),
     (llama(576, 30, 9, 3, 1536, 49152, tie_word_embeddings=True), 134_515_008),
     (llama(4096, 32, 32, 8, 14336, 32000, model_type="mixtral", num_local_experts=8, num_experts_per_tok=2),
      46_702_792_704)],
)  # fmt: skip
def test_published_parameter_counts(model: Model, parameters: int) -> None:
    assert model.parameters == parameters


def test_of_experts_only_those_chosen_are_active() -> None:
    model = llama(4096, 32, 32, 8, 14336, 32000, model_type="mixtral", num_local_experts=8, num_experts_per_tok=2)
    assert model.active_parameters == 12_879_925_248  # 12.9 B, as published
    assert (model.architecture.experts, model.architecture.experts_used) == (8, 2)


def test_latent_attention_caches_one_vector() -> None:
    shape = described(config_of("deepseek_v3")).architecture
    assert (shape.latent_cache, shape.kv_heads) == (True, 1)
    assert kv_bytes_per_token(shape) == 3 * (32 + 8) * 2
    assert shape.shared_feed_forward == 2 * 32


def test_recurrent_layers_keep_a_state_and_no_cache() -> None:
    shape = described(config_of("qwen3_5_text")).architecture
    assert shape.kv_heads_per_layer == (0, 0, 0, 2)
    state = 3 * (64 + 2 * 2 * 8) + 4 * 8 * 16
    assert shape.recurrent_values_per_layer == (state, state, state, 0)
    assert recurrent_bytes(shape) == 4 * 3 * state
    assert recurrent_bytes(shape, layers={3}) == 0
    assert described(config_of("llama")).architecture.recurrent_values_per_layer == ()


@pytest.mark.parametrize(
    ("case", "more", "windowed"),
    [
        ("gemma3_text", {"sliding_window": 16, "num_hidden_layers": 7}, (True,) * 5 + (False, True)),
        ("gpt_oss", {}, (True, False, True)),
        ("gpt_oss", {"layer_types": ["full_attention"] * 2 + ["sliding_attention"]}, (False, False, True)),
        ("mistral", {"sliding_window": 16}, (True, True, True)),
        ("mistral", {"sliding_window": None}, ()),
        ("qwen2", {"sliding_window": 16, "max_window_layers": 2}, ()),
        ("qwen2", {"sliding_window": 16, "max_window_layers": 2, "use_sliding_window": True}, (False, False, True)),
        ("exaone4", {"sliding_window": 16, "sliding_window_pattern": "LG"}, (True, False, True)),
        ("llama", {}, ()),
    ],
)
def test_which_layers_slide(case: str, more: dict[str, Any], windowed: tuple[bool, ...]) -> None:
    shape = described(config_of(case) | more).architecture
    assert shape.windowed == windowed
    assert (shape.sliding_window is None) == (windowed == ())


def test_the_language_part_of_a_wrapper_is_described() -> None:
    inner = config_of("gemma3_text")
    whole = described({"model_type": "gemma3", "text_config": inner, "vision_config": {"hidden_size": 8}})
    assert whole.parameters == described(inner).parameters
    unnamed = {key: value for key, value in inner.items() if key != "model_type"}
    assert described({"model_type": "gemma3", "text_config": unnamed}).parameters == whole.parameters


def test_tables_of_frequencies_are_no_parameters() -> None:
    plain, scaled = config_of("llama"), config_of("llama") | {"rope_scaling": {"rope_type": "llama3"}}
    assert described(scaled).parameters == described(plain).parameters
    assert [tensor.elements for tensor in described(scaled).tensors if tensor.is_computed] == [8]


def test_an_unknown_model_type_is_named_with_those_known() -> None:
    with pytest.raises(UnsupportedModel, match=r"'mystery'.*llama.*qwen3_moe"):
        described(SMALL | {"model_type": "mystery"})
    with pytest.raises(UnsupportedModel, match="None"):
        described(SMALL)


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_missing_field_is_named(field: str) -> None:
    config = config_of("llama")
    del config[field]
    with pytest.raises(UsageError, match=f"no field '{field}'"):
        described(config)


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size", "head_dim"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "64", 64.0, [64], 2**40])
def test_an_impossible_number_is_named(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{field} is "):
        described(config_of("llama") | {field: value})


@pytest.mark.parametrize(
    ("case", "more", "complaint"),
    [
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads is 3, expected a divisor of 4"),
        (
            "llama",
            {"num_attention_heads": 7, "num_key_value_heads": 7},
            "num_attention_heads is 7, expected a divisor of hidden_size 64",
        ),
        ("llama", {"attention_bias": "yes"}, "attention_bias is 'yes'"),
        ("mixtral", {"num_experts_per_tok": 9}, "num_experts_per_tok is 9, expected at most 4"),
        ("mixtral", {"num_local_experts": True}, "num_experts is True"),
        ("lfm2", {"layer_types": ["conv"]}, "num_hidden_layers is 3, expected 1"),
        ("lfm2", {"layer_types": [1, 2, 3]}, "layer_types is"),
        ("qwen3_moe", {"mlp_only_layers": ["a"]}, "mlp_only_layers is"),
        ("deepseek_v3", {"kv_lora_rank": 0}, "kv_lora_rank is 0"),
    ],
)
def test_an_impossible_field_is_named(case: str, more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        described(config_of(case) | more)
