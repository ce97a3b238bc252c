"""What one prompt holds inside Transformers, counted tensor by tensor, against the rule for the widest layer.

Little models with random weights of ten families are asked for one prompt on the CPU, and every tensor they make is
followed from its birth to its end: the same tensors live on a GPU. Kernels' own workspaces are not seen.
"""

from __future__ import annotations

import weakref
from typing import Any

from workbench.engines import activations
from workbench.models.config import from_config

_BASE = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 3, "num_attention_heads": 8,
         "num_key_value_heads": 2, "vocab_size": 2000, "tie_word_embeddings": False, "rms_norm_eps": 1e-5,
         "max_position_embeddings": 4096, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
_EXPERTS = {"num_experts": 32, "num_experts_per_tok": 8, "moe_intermediate_size": 384}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 64},
    "wide heads": {"model_type": "llama", "intermediate_size": 512, "hidden_size": 1024, "num_attention_heads": 16,
                   "num_key_value_heads": 16},
    "olmo2": {},
    "phi3": {"num_key_value_heads": 8},
    "gpt_neox": {"num_key_value_heads": 8},
    "qwen3_moe": {**_EXPERTS, "head_dim": 64},
    "olmoe": {**_EXPERTS, "intermediate_size": 384, "num_key_value_heads": 8},
    "mixtral": {"intermediate_size": 1024, "num_local_experts": 8, "num_experts_per_tok": 2},
}  # fmt: skip
PROMPT_TOKENS, VALUE_BYTES = 512, 2


def run() -> dict[str, Any]:
    """Per family and way of attention: values per token counted and by the rule, and the error of the rule."""
    found = {name: _case(name, fields, "sdpa") for name, fields in FAMILIES.items()}
    return {**found, "llama, scores kept": _case("llama", {}, "eager")}


def _case(name: str, fields: dict[str, Any], attention: str) -> dict[str, float]:
    config = {"model_type": name, **_BASE, **fields}
    described = from_config(config, name=name, source=__name__)
    predicted = PROMPT_TOKENS * VALUE_BYTES * activations.widest_layer(described)
    if attention == "eager":
        values = activations.attention_values(described.architecture)
        predicted = activations.score_bytes(described, PROMPT_TOKENS) + PROMPT_TOKENS * VALUE_BYTES * values
    counted = _counted(config, attention)
    return {"counted_bytes": counted, "predicted_bytes": predicted, "error": predicted / counted - 1}


def _counted(config: dict[str, Any], attention: str) -> int:
    """Most bytes of tensors that lived at once, beside the weights and the cache of the layers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    built = AutoConfig.for_model(**config)
    model = AutoModelForCausalLM.from_config(built, dtype=torch.bfloat16, attn_implementation=attention).eval()
    prompt = torch.randint(0, config["vocab_size"], (1, PROMPT_TOKENS))
    with torch.no_grad(), _follower(model) as live:
        answer = model(prompt, use_cache=True, logits_to_keep=1)
    layers = answer.past_key_values.layers
    cache = sum(tensor.numel() * VALUE_BYTES for layer in layers for tensor in (layer.keys, layer.values))
    most: int = live.most
    return most - cache


def _follower(model: Any) -> Any:
    """A context in which every new tensor's storage is counted while it lives."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Follower(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.now, self.most = 0, 0
            self.holders: dict[int, int] = {}
            self.weights = {one.untyped_storage()._cdata for one in (*model.parameters(), *model.buffers())}

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(made):
                if isinstance(tensor, Tensor) and not hasattr(tensor, "followed"):
                    self._follow(tensor)
            return made

        def _follow(self, tensor: Tensor) -> None:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self.weights:
                return
            tensor.followed = True  # type: ignore[attr-defined]
            self.now += 0 if self.holders.get(key) else size
            self.most = max(self.most, self.now)
            self.holders[key] = self.holders.get(key, 0) + 1
            weakref.finalize(tensor, self._end, key, size)

        def _end(self, key: int, size: int) -> None:
            self.holders[key] -= 1
            self.now -= 0 if self.holders[key] else size

    return Follower()
