"""Why two engines write different texts on the same question: on what terms each of them answered.

With a temperature of 0 an engine takes the likeliest token each time. Numbers that are rounded differently make another
token the likeliest where two are almost equally likely, and all that follows is another text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from workbench.errors import AmbiguousName, UnknownName
from workbench.measurement.compared import label
from workbench.models import formats

#: The same floats by llama.cpp's name.
_SAME: Final = {"F32": "FP32", "F16": "FP16"}
_ROUNDS_INPUTS: Final = "rounds the inputs of every matrix to 8 bits"
_BRAIN: Final = "computes in BF16, whose floats have 8 bits for their digits"
#: What is computed with, by the format of the weights: bitsandbytes unpacks its 4 bits to BF16, and what is packed for
#: ONNX Runtime or by llama.cpp's quantizer is multiplied by inputs of 8 bits.
_ARITHMETIC: Final[Mapping[str, str]] = {
    "FP32": "computes in 32-bit floats", "FP16": "computes in FP16, whose floats have 11 bits for their digits",
    "BF16": _BRAIN, "NF4": _BRAIN, "NF4-DQ": _BRAIN, "FP4": _BRAIN, "LLM.int8": _ROUNDS_INPUTS,
    "ONNX-int4": _ROUNDS_INPUTS, "ONNX-int4-128": _ROUNDS_INPUTS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms an engine answered.

    weights: the format of its weights, bits: of each of them (None: nobody knows), made_from: the format they were
    written from; arithmetic: what it computes with, in words; history: engines with the same number were sent the same
    conversation.
    """

    label: str
    weights: str
    bits: float | None = None
    made_from: str = ""
    arithmetic: str = ""
    temperature: float = 0.0
    history: int = 0

    @property
    def numbers(self) -> str:
        """The format whose numbers the weights are: nothing is lost where they are written in 32 bits."""
        return self.made_from or self.weights if self.weights == "FP32" else self.weights


def terms(plan: Any, *, temperature: float = 0.0, history: int = 0) -> Terms:
    """The terms of a plan's engine."""
    model, source = plan.model, getattr(plan.model, "made_from", None)
    weights, bits = _SAME.get(model.quantization, model.quantization), _bits(model.quantization)
    arithmetic = _ARITHMETIC.get(weights, "")
    if model.format == "gguf" and bits is not None:  # read by llama.cpp, alone or inside an app
        arithmetic = arithmetic or _ROUNDS_INPUTS
        arithmetic += f" and keeps keys and values as {plan.settings.cache_type}"
    made_from = _SAME.get(source.quantization, source.quantization) if source else ""
    return Terms(label(plan), weights, bits, made_from, arithmetic, temperature, history)


def _bits(quantization: str) -> float | None:
    try:
        return formats.find(quantization).bits_per_weight
    except (UnknownName, AmbiguousName):
        return None


def reasons(one: Terms, other: Terms, read: tuple[int | None, int | None] = (None, None)) -> list[str]:
    """Why answers on these terms differ, in sentences; those that matter most come first.

    read: the tokens of the prompt that each engine counted.
    """
    found = [_sampling(one), _reading(one, other, read), _weights(one, other), _arithmetic(one, other)]
    return [*filter(None, found), _ALWAYS if any(found[2:]) else _ORDER]


_ALWAYS: Final = (
    "Where two words are almost equally likely, that is enough to choose the other one, and all after it differs."
)
_ORDER: Final = (
    "As far as is known they compute with the same numbers; but sums in another order round differently in their last "
    "digit. Where two words are almost equally likely, that is enough, and all after it differs."
)


def _sampling(one: Terms) -> str:
    if one.temperature == 0:
        return ""
    return (
        f"Their words were drawn, at temperature {one.temperature:g}, and each engine draws in its own way, whatever "
        "the seed; only at 0 do the other reasons decide alone."
    )


def _reading(one: Terms, other: Terms, read: tuple[int | None, int | None]) -> str:
    if one.history != other.history:
        return "They did not read the same: each was sent its own earlier answers, and those differ."
    if None in read or read[0] == read[1]:
        return ""
    return (
        f"They did not read the same: {read[0]} and {read[1]} tokens, so their chat templates or vocabularies differ."
    )


def _weights(one: Terms, other: Terms) -> str:
    if unknown := [each.label for each in (one, other) if each.bits is None]:
        return f"Nobody says how the weights of {' and '.join(unknown)} are rounded."
    if one.numbers == other.numbers:
        return ""
    return f"The weights are not the same numbers: {_rounded(one)}, {_rounded(other)}."


def _rounded(one: Terms) -> str:
    again = f", rounded once more from {one.made_from}" if one.made_from not in ("", "FP32", one.numbers) else ""
    return f"{one.label} has {one.bits:.3g} bits for each{again}"


def _arithmetic(one: Terms, other: Terms) -> str:
    if one.arithmetic == other.arithmetic or not (one.arithmetic and other.arithmetic):
        return ""
    return f"{one.label} {one.arithmetic}; {other.label} {other.arithmetic}."
