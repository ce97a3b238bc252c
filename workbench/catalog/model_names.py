"""What people and tools write where they name a model, taken apart: makers, formats and the endings of files.

"bartowski/Qwen_Qwen3-8B-GGUF:Q4_K_M" and "Qwen3-8B-Q4_K_M.gguf" name one model in one format. Nothing here knows which
models exist, or what a format is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

#: Words that say how a model was trained to answer, or who sent it, and nothing about its shape.
NOISE = frozenset({"chat", "hf", "instruct", "it", "meta"})

_ENDINGS = re.compile(r"(?:-\d{5}-of-\d{5})?\.(?:gguf|safetensors)$", re.I)
_BITS = r"(?:[-_]?(?:int|w)?\d(?:[-_]?bits?)?(?:[-_]\d+g|[-_]g\d+)?)?"
_FORMATS = (
    r"(?:IQ|TQ|Q)\d(?:_\w+)?", r"MXFP4(?:_MOE)?", r"NVFP4", r"FP\d+", r"BF16", r"F(?:16|32)", r"b?float\d+",
    rf"GPTQ{_BITS}", rf"AWQ{_BITS}", rf"bnb{_BITS}", r"NF4(?:-DQ)?", r"INT\d(?:wo)?", r"LLM\.int8", r"w\d+a\d+",
    r"\d-?bits?", r"EXL[23](?:[-_ ]\d+(?:\.\d+)?bpw)?", r"\d+(?:\.\d+)?bpw",
)  # fmt: skip
#: Marks of a quantized release that name no format: containers, calibrated mixes, training for quantization.
_MARKS = ("GGUF", "GGML", "MLX", "QAT", "UD", r"i\d", "quantized")
_FORMAT = re.compile(rf"(?<=[-_.:/ (])(?:{'|'.join(_FORMATS)})(?![A-Za-z0-9])", re.I)
_END = re.compile(rf"[-_.:/ (]+(?:{'|'.join((*_FORMATS, *_MARKS))})(?![A-Za-z0-9]).*$", re.I)


def strip_format(text: str) -> tuple[str, str | None]:
    """A model's name without the format of its weights, and that format as it is written (None: none is).

    "Qwen2.5-Coder-7B-Q8_0" → ("Qwen2.5-Coder-7B", "Q8_0"). What follows a format is dropped with it.
    """
    text = _ENDINGS.sub("", text.strip())
    name = _END.sub("", text)
    if not name or name == text:
        return text, None
    found = _FORMAT.search(text, len(name))
    return name, found[0] if found else None


def readings(text: str, makers: Collection[str]) -> Iterator[str]:
    """Names that `text` can mean, most literal first: all of it, without its format, without who published it.

    makers: who publishes models, in lower case; "maker_model" is read as "maker/model" only for them.
    """
    plain = strip_format(text)[0]
    for name in (text, plain):
        yield name
        model = name.rpartition("/")[2]
        yield model
        maker, _, rest = model.partition("_")
        if rest and maker.casefold() in makers:
            yield rest
