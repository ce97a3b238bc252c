"""Fill-in-the-middle: which tokens a model's vocabulary has for it, and the prompt they make.

A model that was trained for it writes what belongs between two pieces of text, when it is given both with its own
tokens around them. Each family has other tokens; the sets here are those that llama.cpp looks for (its
src/llama-vocab.cpp) and whose order the models' cards give. That a vocabulary has them does not say that the model
was trained to use them: fine-tuned models often keep the tokens and lose the skill.
"""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from workbench.errors import UsageError
from workbench.models.gguf_header import read_header


@dataclass(frozen=True, slots=True)
class Infill:
    """The tokens before the text, before what follows the gap, and before what is to be written."""

    before: str
    after: str
    gap: str

    def prompt(self, prefix: str, suffix: str) -> str:
        """The prompt for what belongs between; raises UsageError for a text that holds one of the tokens."""
        for token in (self.before, self.after, self.gap):
            if token in prefix or token in suffix:
                raise UsageError(f"The text holds {token!r}, which has a meaning of its own for this model.",
                                 fix="Take it out.")  # fmt: skip
        return f"{self.before}{prefix}{self.after}{suffix}{self.gap}"


FAMILIES = (
    Infill("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma
    Infill("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite, Stable Code
    Infill("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    Infill("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder
    Infill("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
)


def infill(path: Path) -> Infill | None:
    """The tokens for it in the vocabulary of the model at `path`, a GGUF file or a folder with a tokenizer.json.

    None where there are none or nobody can say. Raises BadModelFile for a damaged GGUF file.
    """
    vocabulary = path / "tokenizer.json" if path.is_dir() else path
    if not vocabulary.is_file():
        return None
    return _infill(vocabulary, vocabulary.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _infill(vocabulary: Path, _changed: int) -> Infill | None:
    has = _in_tokenizer(vocabulary) if vocabulary.suffix == ".json" else _in_gguf(vocabulary)
    return next((family for family in FAMILIES if {family.before, family.after, family.gap} <= has), None)


def _in_tokenizer(path: Path) -> set[str]:
    """The tokens with a meaning of their own in a tokenizer.json."""
    try:
        tokens = json.loads(path.read_text(encoding="utf-8")).get("added_tokens", [])
        return {str(token["content"]) for token in tokens}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return set()


def _in_gguf(path: Path) -> set[str]:
    """Those of our tokens that are in the header: each text there has its length before it, so no longer one fits."""
    end = read_header(path).data_offset
    wanted = {token for family in FAMILIES for token in (family.before, family.after, family.gap)}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return {token for token in wanted if data.find(_stored(token), 0, end) >= 0}


def _stored(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded
