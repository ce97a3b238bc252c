"""How many values a prompt's tokens hold at once inside the widest layer, as PyTorch programs run it.

Counted by following every tensor that Transformers 5.23 makes for one prompt, for ten families of models: a gated
feed-forward of width F holds 3 F values beside 4 vectors of the hidden width, one whose gate and up projection are
one matrix 4 F, one without a gate 2 F; experts hold copies of the hidden vector for each expert chosen.
"""

from __future__ import annotations

from workbench.models import Architecture, Model, Tensor

SOURCE = "every tensor of one prompt followed in Transformers 5.23 (benchmarks/transformers_activations.py)"
#: Bytes per attention score, head and pair of tokens, when scores are kept: 16 bits, and twice 32 bits for the softmax.
SCORE_BYTES = 10


def widest_layer(model: Model, devices: int = 1) -> int:
    """Values per token in the widest layer, its inputs included, when its matrices are split over `devices`."""
    a = model.architecture
    inside = max(_feed_forward(model) // devices, _experts(a, devices))
    return max(4 * a.hidden + inside, attention_values(a))


def attention_values(a: Architecture) -> int:
    """Values per token while queries and keys are made."""
    return 2 * a.hidden + 3 * a.key_length * (a.heads + a.kv_heads)


def score_bytes(model: Model, tokens: int) -> int:
    """Bytes of the attention scores of one layer and one prompt, when the attention is not fused."""
    return SCORE_BYTES * model.architecture.heads * tokens**2


def largest_matrix(model: Model) -> int:
    """Elements of the largest matrix inside the layers; of experts, one expert's."""
    experts = max(model.architecture.experts, 1)
    inside = [t.elements // (experts if t.is_expert else 1) for t in model.tensors if t.name.startswith("blk.")]
    return max(inside, default=0)


def _feed_forward(model: Model) -> int:
    """Values inside the widest feed-forward that all tokens pass: a dense layer's, or the shared experts'."""
    a, first = model.architecture, _feed_forwards(model)
    found = [0]
    for suffix, width in (("", a.feed_forward), ("_shexp", a.shared_feed_forward)):
        up = first.get(f"ffn_up{suffix}") or first.get(f"ffn_gate_up{suffix}")
        if up and f"ffn_gate{suffix}" in first:
            found.append(3 * width)
        elif up:
            found.append((4 if up.shape[-1] >= 2 * width else 2) * width)
    return max(found)


def _feed_forwards(model: Model) -> dict[str, Tensor]:
    """The matrices of feed-forwards by the word after the layer's number, of the first layer that has them."""
    found: dict[str, Tensor] = {}
    for tensor in model.tensors:
        words = tensor.name.split(".")
        if words[0] == "blk" and words[2].startswith("ffn_") and words[-1] == "weight":
            found.setdefault(words[2], tensor)
    return found


def _experts(a: Architecture, devices: int) -> int:
    width = a.expert_feed_forward // devices
    return a.experts_used * max(4 * width + a.hidden, 4 * a.hidden) if a.experts else 0
