"""What people and tools write where they name an accelerator, taken apart: counts, memory sizes, hosts, Apple's chips.

"Pi CM5 - 16GB (Nvidia RTX 4090)" names a card in a host, "Apple M3 Max (40-core GPU, 48GB)" a chip with the memory of
the machine, "NVIDIA A100-80GB (330 W limit)" a card with a remark. Nothing here knows which accelerators exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

#: Words that say nothing about which accelerator it is.
NOISE = frozenset(
    {"amd", "card", "corporation", "design", "desktop", "edition", "founders", "geforce", "generation", "google",
     "gpu", "graphics", "inc", "instinct", "intel", "nvidia", "radeon", "tesla", "with"}
)  # fmt: skip

_COUNT = (re.compile(r"^\s*(\d+)\s*[x×*]\s*(?=\D)(.+)$", re.I), re.compile(r"^(.+?)\s+\(?[x×*]\s*(\d+)\)?\s*$", re.I))
_MARKS = re.compile(r"\((?:r|tm|c)\)|[®™©]", re.I)
_MEMORY = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*(?:g|gb|gib)(?![\w])(?:\s*(?:v?ram|memory))?", re.I)
_PARENTHESES = re.compile(r"[(\[]([^()\[\]]*)[)\]]")
_SEPARATORS = re.compile(r"\s+(?:[-–+/|,]|w/|with|and|on|in)\s+|\s*[,;+]\s+", re.I)
_APPLE = re.compile(r"\bM([1-9])(?:\s*(Pro|Max|Ultra))?\b", re.I)
_OTHERS = re.compile(r"tesla|quadro|nvidia|amd|radeon", re.I)
_GPU_CORES = (re.compile(r"(\d+)[\s-]*(?:cores?)?[\s-]*gpu", re.I), re.compile(r"(\d+)\s*gpu[\s-]*cores?", re.I))
_CORES = re.compile(r"(\d+)[\s-]*(?:cores?|c)\b(?!\s*cpu)", re.I)

#: Ways to read a name, each a list of (name, memory in GB that belongs to it or None).
Reading = list[tuple[str, float | None]]


def split_count(text: str) -> tuple[int, str]:
    """How many, and of what: "2x Titan RTX 24GB" → (2, "Titan RTX 24GB"); 1 when nothing is said."""
    if first := _COUNT[0].match(text):
        return int(first[1]), first[2].strip()
    if last := _COUNT[1].match(text):
        return int(last[2]), last[1].strip()
    return 1, text.strip()


def readings(text: str) -> Iterator[Reading]:
    """What `text` can mean, most literal first: an Apple chip or all of it; without remarks; a card in its host."""
    text = re.sub(r"\bmobile\b", "Laptop", _MARKS.sub(" ", text), flags=re.I)
    if chip := _apple_chip(text):
        for name in chip:
            yield [(name, None)]
        return
    name, memory_gb = _taken_apart(text)
    outside, inside = _PARENTHESES.sub(" ", text), _PARENTHESES.findall(text)
    yield [(text, None)]
    yield [(name, memory_gb)]
    yield [(_taken_apart(outside)[0], memory_gb)]
    yield [_taken_apart(part) for part in (*inside, *_SEPARATORS.split(outside))]


def _taken_apart(text: str) -> tuple[str, float | None]:
    """A name without its size of memory, and that size."""
    found = _MEMORY.search(text)
    return _MEMORY.sub(" ", text), float(found[1]) if found else None


def _apple_chip(text: str) -> list[str]:
    """The chip with its number of GPU cores, then without; nothing when `text` names no Apple chip."""
    chip = _APPLE.search(text)
    if chip is None or _OTHERS.search(text):
        return []
    name = " ".join(filter(None, (f"Apple M{chip[1]}", chip[2])))
    cores = next((found[1] for pattern in _GPU_CORES if (found := pattern.search(text))), None)
    if cores:
        return [f"{name} {cores}-core"]
    # "M2 8-core" may mean its CPU; only the larger chips have more GPU cores than CPU cores.
    bare = _CORES.findall(text) if chip[2] else []
    return [*(f"{name} {count}-core" for count in bare), name]
