"""Which type llama.cpp's quantizer gives each tensor of a file type such as Q4_K_M. The facts as a table, no weights.

Written down from the behaviour of llama.cpp's src/llama-quant.cpp (October 2026) and held against the quantizer itself
by the tests. Older builds differ in one place: until 2026 a fused attention matrix had a rule of its own, which
`FUSED_BEFORE_2026` keeps for files of that time. What a converter does before (which tensors stay F32) is here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from workbench.models.model import Architecture, Tensor

#: File type → its base type, and for parts of the model what they have instead: the first type whose condition holds.
# Conditions, joined by &, after a colon: see `_CONDITIONS`. ! negates.
_MIXES: Mapping[str, tuple[str, dict[str, str]]] = {
    "F32": ("F32", {}),
    "F16": ("F16", {}),
    "BF16": ("BF16", {}),
    "Q4_0": ("Q4_0", {"down": "Q4_1:imatrix&eighth"}),
    "Q4_1": ("Q4_1", {}),
    "Q5_0": ("Q5_0", {"down": "Q5_1:imatrix&eighth"}),
    "Q5_1": ("Q5_1", {}),
    "Q8_0": ("Q8_0", {}),
    "Q2_K": ("Q2_K", {"v": "Q4_K:gqa Q3_K", "down": "Q3_K", "output": "Q5_K:experts8 Q3_K"}),
    "Q2_K_S": ("Q2_K", {"v": "Q4_K:gqa", "down": "Q4_K:eighth"}),
    "Q3_K_S": ("Q3_K", {"output": "Q5_K:experts8"}),
    "Q3_K_M": ("Q3_K", {"v": "Q5_K:first2 Q4_K", "down": "Q5_K:sixteenth Q4_K:!falcon Q4_K:more",
                        "output": "Q5_K:experts8 Q4_K"}),
    "Q3_K_L": ("Q3_K", {"v": "Q5_K", "down": "Q4_K:falcon Q5_K", "output": "Q4_K:falcon Q5_K:!experts8"}),
    "Q4_K_S": ("Q4_K", {"v": "Q5_K:first4", "down": "Q5_K:!falcon&eighth", "output": "Q5_K:experts8"}),
    "Q4_K_M": ("Q4_K", {"v": "Q6_K:more",
                        "down": "Q6_K:falcon&sixteenth Q5_K:falcon&more Q4_K:falcon Q6_K:more",
                        "output": "Q5_K:experts8"}),
    "Q5_K_S": ("Q5_K", {}),
    "Q5_K_M": ("Q5_K", {"v": "Q6_K:more", "down": "Q6_K:more"}),
    "Q6_K": ("Q6_K", {}),
    "IQ1_S": ("IQ1_S", {"embedding": "Q2_K", "v": "Q4_K:gqa Q4_K:experts4 Q2_K", "k": "Q4_K:experts8",
                        "down": "Q2_K:eighth", "output": "Q5_K:experts8 IQ2_XXS"}),
    "IQ1_M": ("IQ1_M", {"embedding": "Q2_K", "v": "Q4_K:gqa Q4_K:experts4 Q2_K", "k": "Q4_K:experts8",
                        "down": "Q2_K:eighth", "output": "Q5_K:experts8 IQ2_XXS"}),
    "IQ2_XXS": ("IQ2_XXS", {"embedding": "Q2_K", "v": "Q4_K:gqa Q4_K:experts4 Q2_K", "k": "Q4_K:experts8",
                            "down": "Q2_K:eighth", "output": "Q5_K:experts8"}),
    "IQ2_XS": ("IQ2_XS", {"embedding": "Q2_K", "v": "Q4_K:gqa Q4_K:experts4 Q2_K", "k": "Q4_K:experts8",
                          "down": "Q2_K:eighth", "output": "Q5_K:experts8"}),
    "IQ2_S": ("IQ2_XS", {"embedding": "IQ3_S", "v": "Q4_K:gqa Q4_K:experts4 IQ3_S", "k": "Q4_K:experts8",
                         "down": "IQ3_S:eighth", "output": "Q5_K:experts8 IQ3_S"}),
    "IQ2_M": ("IQ2_S", {"embedding": "IQ3_S", "v": "Q4_K:gqa Q4_K:experts4 IQ3_S", "k": "Q4_K:experts8",
                        "down": "IQ3_S:eighth", "output": "Q5_K:experts8 IQ3_S"}),
    "IQ3_XXS": ("IQ3_XXS", {"embedding": "IQ3_S", "v": "Q4_K:gqa IQ3_S:!imatrix", "k": "IQ2_S", "q": "IQ2_S",
                            "down": "Q4_K:!imatrix&eighth Q3_K:!imatrix", "output": "Q5_K:experts8 IQ3_S"}),
    "IQ3_XS": ("IQ3_S", {"v": "Q4_K:gqa", "k": "IQ3_XXS", "q": "IQ3_XXS", "gate": "IQ3_XXS:middle",
                         "up": "IQ3_XXS:middle", "output": "Q5_K:experts8"}),
    "IQ3_S": ("IQ3_S", {"v": "Q4_K:gqa", "output": "Q5_K:experts8"}),
    "IQ3_M": ("IQ3_S", {"v": "Q4_K", "down": "Q4_K:eighth Q4_K:experts8&more", "output": "Q5_K:experts8 Q4_K"}),
    "IQ4_NL": ("IQ4_NL", {"v": "Q5_K:gqa", "down": "Q5_K:!imatrix&eighth", "output": "Q5_K:experts8"}),
    "IQ4_XS": ("IQ4_XS", {"v": "Q5_K:gqa", "down": "Q5_K:!imatrix&eighth", "output": "Q5_K:experts8"}),
    "TQ1_0": ("TQ1_0", {"embedding": "Q4_K"}),
    "TQ2_0": ("TQ2_0", {"embedding": "Q4_K"}),
    "MXFP4_MOE": ("Q8_0", {}),
}  # fmt: skip

FILE_TYPES = tuple(_MIXES)
#: File types that the quantizer refuses without an importance matrix.
NEEDS_IMATRIX = frozenset(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "Q2_K_S"))
#: What a fused attention matrix had until 2026, where that differs from the rule of attn_v.
FUSED_BEFORE_2026 = {"Q3_K_M": "Q4_K", "Q3_K_L": "Q4_K", "IQ3_M": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}

_COARSEST = ("IQ1_", "IQ2_")  # these have rules of their own, without the general exceptions
_HEAD_Q5 = (*_COARSEST, "IQ3_XXS")
#: Rows that are no whole blocks of 256 get a type with blocks of 32.
_FALLBACKS = {
    "IQ1_S": "IQ4_NL", "IQ1_M": "IQ4_NL", "IQ2_XXS": "IQ4_NL", "IQ2_XS": "IQ4_NL", "IQ2_S": "IQ4_NL",
    "IQ3_XXS": "IQ4_NL", "IQ3_S": "IQ4_NL", "IQ4_XS": "IQ4_NL", "Q2_K": "Q4_0", "Q3_K": "Q4_0", "TQ1_0": "Q4_0",
    "TQ2_0": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
}  # fmt: skip
#: Matrices the quantizer leaves as the converter made them: in 32 bits, or in 16.
_KEPT_F32 = ("ffn_gate_inp.weight", "ssm_conv1d", "shortconv.conv.weight", "altup_correct_coef", "altup_predict_coef",
             "position_embd.weight", "token_types.weight")  # fmt: skip
_KEPT_F16 = ("altup", "laurel", "per_layer_model_proj", "indexer.")
_ROLES = (("attn_qkv.weight", "qkv"), ("attn_kv_b.weight", "v"), ("attn_v.weight", "v"), ("attn_k.weight", "k"),
          ("attn_q.weight", "q"), ("attn_output.weight", "output"), ("ffn_up", "up"), ("ffn_gate", "gate"),
          ("ffn_down", "down"))  # fmt: skip
#: Files of these architectures list KV heads per layer; the quantizer looks at the first one.
_LISTS_KV_HEADS = frozenset({"nemotron_h", "nemotron_h_moe", "granitehybrid", "lfm2", "lfm2moe", "jamba"})
_SEVENTY_B = {"llama", "qwen2", "olmo", "deci"}


@dataclass(slots=True)
class _Model:
    """What the rules ask about a model, and how many matrices of a kind have been seen."""

    gqa: int
    experts: int
    layers: int
    falcon: bool
    seventy_b: bool
    imatrix: bool
    fused_apart: bool


def base(file_type: str) -> str:
    """The type most tensors of a file of this type have."""
    return _MIXES[file_type][0]


def types(
    architecture: Architecture, tensors: tuple[Tensor, ...], file_type: str, *, imatrix: bool, before_2026: bool = False
) -> tuple[str, ...]:
    """The type of each tensor in a file of this type. imatrix: it is made with an importance matrix."""
    model = _model(architecture, imatrix, before_2026)
    order = sorted(range(len(tensors)), key=lambda index: _place(tensors[index].name))
    chosen = dict(zip(order, _choose(model, [tensors[index] for index in order], file_type), strict=True))
    return tuple(chosen[index] for index in range(len(tensors)))


def _model(a: Architecture, imatrix: bool, before_2026: bool) -> _Model:
    kv_heads = a.kv_heads_per_layer[0] if a.name in _LISTS_KV_HEADS and a.kv_heads_per_layer else a.kv_heads
    seventy_b = a.name in _SEVENTY_B and a.layers == 80 and (a.name != "llama" or a.heads != a.kv_heads)
    gqa = a.heads // kv_heads if kv_heads else 0
    return _Model(gqa, a.experts, a.layers, a.name == "falcon", seventy_b, imatrix, before_2026)


def _place(name: str) -> tuple[int, str]:
    """The order in which the quantizer goes through a model."""
    return (int(name.split(".", 2)[1]) if name.startswith("blk.") else -1, name)


def _choose(model: _Model, tensors: list[Tensor], file_type: str) -> Iterator[str]:
    base = _MIXES[file_type][0]
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    like_v = ("v",) if model.fused_apart else ("v", "qkv")
    total = sum(_role(tensor.name) in ("v", "qkv") for tensor in tensors)
    seen: dict[str, int] = {}
    for tensor in tensors:
        kept, role = _kept(tensor, base), _role(tensor.name)
        if kept:
            yield kept
            continue
        if base in ("F32", "F16", "BF16"):
            yield base
            continue
        counted = "v" if role in like_v else role
        index = seen[counted] = seen.get(counted, -1) + 1
        of = total if counted == "v" else model.layers
        if model.experts > 1 and role in ("down", "gate", "up") and not file_type.startswith(_COARSEST):
            index = _place(tensor.name)[0]
        head = role == "head" or (tied and role == "embedding")
        if head:
            kind = _head(model, tensor, base, file_type)
        elif file_type == "MXFP4_MOE":
            kind = "MXFP4" if len(tensor.shape) > 2 and tensor.shape[2] > 1 else base
        else:
            kind = _ruled(model, file_type, counted, index, of)
        yield _fitting(kind, tensor)


def _role(name: str) -> str:
    if name == "output.weight":
        return "head"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "embedding"
    return next((role for part, role in _ROLES if part in name), "other")


def _kept(tensor: Tensor, base: str) -> str:
    """The type of a tensor that the converter decides alone; empty for those that are quantized."""
    name, dimensions = tensor.name, len(tensor.shape)
    if dimensions < 2 or not name.endswith("weight") or "_norm.weight" in name or any(one in name for one in _KEPT_F32):
        return "F32"
    if any(one in name for one in _KEPT_F16):
        return base if base in ("F32", "F16", "BF16") else "F16"
    return ""


def _head(model: _Model, tensor: Tensor, base: str, file_type: str) -> str:
    """The output matrix, or the embedding that doubles as one."""
    if file_type == "MXFP4_MOE" or model.falcon or tensor.shape[0] % block(base)[0]:
        return "Q8_0"
    if file_type.startswith(_HEAD_Q5):
        return "Q5_K"
    return "Q8_0" if base == "Q8_0" else "Q6_K"


def _ruled(model: _Model, file_type: str, role: str, index: int, of: int) -> str:
    """The type of matrix number `index` of `of` with this role."""
    base, rules = _MIXES[file_type]
    coarse = file_type.startswith(_COARSEST)
    if role == "qkv":
        return FUSED_BEFORE_2026.get(file_type, base)
    if role == "output" and model.falcon and not coarse and file_type != "Q3_K_L":
        return base
    kind = next(
        (kind for kind, conditions in _parsed(rules.get(role, "")) if _hold(conditions, model, index, of)), base
    )
    if coarse:
        return kind
    if role == "v" and model.seventy_b and kind in ("Q3_K", "Q4_K"):
        kind = "Q5_K"
    return "Q8_0" if role in ("v", "k") and model.experts == 8 else kind


@cache
def _parsed(rule: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    parts = (part.partition(":") for part in rule.split())
    return tuple((kind, tuple(conditions.split("&")) if conditions else ()) for kind, _, conditions in parts)


def _hold(conditions: tuple[str, ...], model: _Model, index: int, of: int) -> bool:
    """Whether all conditions hold for the matrix number `index` of `of`."""
    return all(_CONDITIONS[one.removeprefix("!")](model, index, of) is not one.startswith("!") for one in conditions)


_CONDITIONS: Mapping[str, Callable[[_Model, int, int], bool]] = {
    "imatrix": lambda model, index, of: model.imatrix,
    "falcon": lambda model, index, of: model.falcon,
    "gqa": lambda model, index, of: model.gqa >= 4,
    "experts4": lambda model, index, of: model.experts >= 4,
    "experts8": lambda model, index, of: model.experts == 8,
    "first2": lambda model, index, of: index < 2,
    "first4": lambda model, index, of: index < 4,
    "sixteenth": lambda model, index, of: index < of // 16,
    "eighth": lambda model, index, of: index < of // 8,
    "middle": lambda model, index, of: of // 8 <= index < 7 * of // 8,
    # The first and last eighth, and every third layer between them.
    "more": lambda model, index, of: not of // 8 <= index < 7 * of // 8 or (index - of // 8) % 3 == 2,
}


def _fitting(kind: str, tensor: Tensor) -> str:
    """The type, or one whose blocks fit the length of a row."""
    row = tensor.shape[0]
    if row % block(kind)[0]:
        kind = _FALLBACKS.get(kind, kind)
    return "F16" if row % block(kind)[0] else kind


@cache
def block(kind: str) -> tuple[int, int]:
    """Values and bytes of a block of a type."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    values, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    return int(values), int(size)
