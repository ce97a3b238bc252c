"""What the formats of transformers, vLLM and their like make of a tensor: bytes with scales, zero points and indexes.

Linear layers inside the blocks are quantized; embedding, norms and routers stay in 16 bits, the output head as well
unless the scheme says otherwise. Formulas count what a checkpoint stores; what is unpacked while running is the
engine's business. GGUF files are told in gguf_mixes.py.

Sources: bitsandbytes (absolute maxima per 64, 32 bits, or 8 with 32 per 256 of them), AutoGPTQ and AutoAWQ (16-bit
scales and packed zero points per group, 32-bit group index), torchao (16-bit scale and zero point per group, or per
row a scale, for int8 also a 64-bit zero point, as its published sizes show; the head too), Qwen's and DeepSeek's FP8
(32-bit scale per 128 × 128), MatMulNBits of ONNX Runtime (a scale per block in the type of all that is not quantized:
32 bits for CPUs, as here, 16 for CUDA), ExLlamaV2 (bits as asked for, 6 for the head), HQQ. Read 2026-11.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.models.model import Tensor


@dataclass(frozen=True, slots=True)
class Scheme:
    """How the values of a linear layer are stored.

    bits: of a value. group: inputs that share `group_bits` of scales and zero points (0: none do), over `rows` rows.
    row_bits: per output; column_bits: per input; tensor_bits: per matrix. head_bits: of the output head's values where
    it is quantized too. flat: groups run through the whole matrix, not along its rows. experts_only: other layers stay.
    """

    bits: float
    group: int = 0
    group_bits: float = 0
    rows: int = 1
    row_bits: int = 0
    column_bits: int = 0
    tensor_bits: int = 0
    head_bits: float = 0
    kept: str = "BF16"
    ties: bool = False
    flat: bool = False
    experts_only: bool = False

    @property
    def bits_per_weight(self) -> float:
        """Bits of a value and its share of what its group has, in a matrix that is large."""
        return self.bits + (self.group_bits / (self.group * self.rows) if self.group else 0)

    def stored_bytes(self, tensor: Tensor, bits: float) -> int:
        """Bytes of a matrix (or a stack of them) whose values take `bits`."""
        inputs, outputs = tensor.shape[0], tensor.shape[1]
        stack = tensor.elements // (inputs * outputs)
        beside = self.row_bits * outputs + self.column_bits * inputs + self.tensor_bits
        if self.group and self.flat:
            beside += math.ceil(self.group_bits * math.ceil(inputs * outputs / self.group))
        elif self.group:
            beside += math.ceil(self.group_bits * math.ceil(inputs / self.group) * math.ceil(outputs / self.rows))
        return stack * math.ceil((inputs * outputs * bits + beside) / 8)


#: Formats that store every value alike, with bytes per value.
WHOLE: Mapping[str, int] = {"FP32": 4, "FP16": 2, "BF16": 2}


def _gptq(bits: int, group: int) -> Scheme:
    return Scheme(bits, group, 16 + bits, column_bits=32)


def _torchao(bits: float, group: int = 0, group_bits: int = 32) -> Scheme:
    return Scheme(bits, group, group_bits if group else 0, row_bits=0 if group else 16, head_bits=bits)


SCHEMES: Mapping[str, Scheme] = {
    "FP8": Scheme(8, 128, 32, rows=128),
    "FP8-tensor": Scheme(8, tensor_bits=32),
    "FP8-row": Scheme(8, row_bits=32),
    "float8wo": _torchao(8),
    "FP6": _torchao(6),
    "LLM.int8": Scheme(8, row_bits=32),
    "NF4": Scheme(4, 64, 32, flat=True),
    "FP4": Scheme(4, 64, 32, flat=True),
    "NF4-DQ": Scheme(4, 64, 8 + 32 / 256, flat=True),
    "GPTQ-Int8": _gptq(8, 128),
    "GPTQ-Int4": _gptq(4, 128),
    "GPTQ-Int4-g32": _gptq(4, 32),
    "GPTQ-Int4-row": Scheme(4, row_bits=20, column_bits=32),
    "GPTQ-Int3": _gptq(3, 128),
    "GPTQ-Int3-row": Scheme(3, row_bits=19, column_bits=32),
    "AWQ-Int4": Scheme(4, 128, 20),
    "int8wo": Scheme(8, row_bits=80, head_bits=8),
    "int4wo-32": _torchao(4, 32),
    "int4wo-64": _torchao(4, 64),
    "int4wo-128": _torchao(4, 128),
    "int4wo-256": _torchao(4, 256, 96),
    "int3wo-256": _torchao(3, 256, 96),
    "int4wo-row": _torchao(4),
    "HQQ-4": Scheme(4, 64, 32),
    "HQQ-2": Scheme(2, 8, 32),
    "codebook-4-64": _torchao(5.31),
    "ONNX-int4": Scheme(4, 32, 32, head_bits=4, kept="FP32", ties=True),
    "ONNX-int4-128": Scheme(4, 128, 32, head_bits=4, kept="FP32", ties=True),
    "EXL2-2.5": Scheme(2.5, head_bits=6),
    "EXL2-3.0": Scheme(3, head_bits=6),
    "EXL2-4.0": Scheme(4, head_bits=6),
    "EXL2-5.0": Scheme(5, head_bits=6),
    "EXL2-6.0": Scheme(6, head_bits=6),
    "EXL2-8.0": Scheme(8, head_bits=8),
    "MXFP4": Scheme(4, 32, 8, experts_only=True),
}

#: Matrices of a block that no scheme touches: routers, short convolutions, tables.
_KEPT = ("ffn_gate_inp", "conv1d", "shortconv.conv", "_norm.", "altup", "attn_sinks", "ssm_a", "ssm_d")


def stored(tensor: Tensor, format_name: str, *, tied: bool = False) -> Tensor:
    """The tensor as a checkpoint of this format holds it. format_name: one of WHOLE or SCHEMES; tied: whether the
    token embedding is also the output head."""
    if format_name in WHOLE:
        return _retyped(tensor, format_name, tensor.elements * WHOLE[format_name])
    scheme = SCHEMES[format_name]
    is_head = tensor.name == "output.weight" or (tied and scheme.ties and tensor.name == "token_embd.weight")
    if is_head and scheme.head_bits:
        return _retyped(tensor, format_name, scheme.stored_bytes(tensor, scheme.head_bits))
    if _is_linear(tensor) and (tensor.is_expert or not scheme.experts_only):
        return _retyped(tensor, format_name, scheme.stored_bytes(tensor, scheme.bits))
    return _retyped(tensor, scheme.kept, WHOLE[scheme.kept] * tensor.elements)


def _retyped(tensor: Tensor, kind: str, size: int) -> Tensor:
    return Tensor(tensor.name, kind, tensor.shape, tensor.elements, size)


def _is_linear(tensor: Tensor) -> bool:
    """True for the matrices of the linear layers inside the blocks."""
    inside = tensor.name.startswith("blk.") and tensor.name.endswith(".weight") and len(tensor.shape) > 1
    return inside and not any(one in tensor.name for one in _KEPT)
