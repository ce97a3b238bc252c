"""The examination: three sets of prompts, fixed by a seed before anything was trained, and what counts as passed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.icons import colours, measures, words
from training.icons.dataset import paintable
from training.icons.pictures import Icons
from training.icons.poses import Poses

NAMES, PAIRS, SEEDS, SEED = 100, 60, 4, 20261128
#: An object is in the test of colours if its outline tells it from all others in so many of ten poses.
OUTLINE_TELLS = 8

SETS = Path(__file__).with_name("sets.json")

Draw = Callable[[Sequence[str], Sequence[int]], NDArray[np.uint8]]  # prompts and seeds to pictures


@dataclass(frozen=True)
class Sets:
    """names: indices of icons; variants: a prompt for each of them; pairs: icon and colour, never trained on."""

    names: list[int]
    variants: list[str]
    pairs: list[tuple[int, str]]

    @classmethod
    def read(cls) -> Sets:
        """As they were fixed."""
        read = json.loads(SETS.read_text(encoding="utf-8"))
        return cls(read["names"], read["variants"], [(index, colour) for index, colour in read["pairs"]])


def sets(icons: Icons) -> Sets:
    """What was written to sets.json before anything was trained."""
    random = np.random.default_rng(SEED)
    names = sorted(int(i) for i in random.choice(len(icons.names), NAMES, replace=False))
    variants = [_variant(icons.names[i], at, random) for at, i in enumerate(names)]
    distinct = _told_by_outline(icons, random)
    objects = random.choice(distinct, PAIRS, replace=False)
    painted = [_another(icons.draw(int(i)), random) for i in objects]
    return Sets(names, variants, [(int(i), colour) for i, colour in zip(objects, painted, strict=True)])


def _variant(name: str, at: int, random: np.random.Generator) -> str:
    """In turn: an article, 'icon of', another case, another order of words (an article where there is one word)."""
    ways: list[Callable[[], str]] = [
        lambda: words.filled("{a} {thing}", name),
        lambda: words.filled("icon of {thing}", name),
        name.upper,
        lambda: " ".join(reversed(name.split())) if " " in name else words.filled("the {thing}", name),
    ]
    return ways[at % len(ways)]()


def _another(picture: NDArray[np.uint8], random: np.random.Generator) -> str:
    """A colour that it has not."""
    return str(random.choice([name for name in colours.COLOURS if name != colours.dominant(picture)]))


def _told_by_outline(icons: Icons, random: np.random.Generator) -> list[int]:
    """Those things whose outline is their own in ten poses: a measure that fails on real pictures measures nothing."""
    known = np.stack([measures.outline(icons.draw(i)) for i in range(len(icons.keys))])
    told, poses = [], Poses(icons)
    for index in paintable(icons):
        hits = sum(measures.rank(measures.outline(poses.draw(index, random)), known, index) == 0 for _ in range(10))
        told += [index] if hits >= OUTLINE_TELLS else []
    return told


def examine(icons: Icons, draw: Draw, chosen: Sets, folder: Path) -> dict[str, Any]:
    """Draw all three sets, write a contact sheet of each, and count."""
    known = np.stack([measures.features(icons.draw(i)) for i in range(len(icons.keys))])
    outlines = np.stack([measures.outline(icons.draw(i)) for i in range(len(icons.keys))])
    return {
        **_names(icons, draw, chosen, known, folder),
        **_variants(draw, chosen, known, folder),
        **_pairs(icons, draw, chosen, outlines, folder),
    }


def _names(icons: Icons, draw: Draw, chosen: Sets, known: Any, folder: Path) -> dict[str, Any]:
    """Four seeds of each name; the first decides what is counted, all four whether they differ and name themselves."""
    prompts = [icons.names[i] for i in chosen.names]
    seeds = [draw(prompts, [seed] * len(prompts)) for seed in range(SEEDS)]
    ranks = np.array([[measures.rank(measures.features(p), known, i) for p, i in zip(one, chosen.names, strict=True)]
                      for one in seeds])  # fmt: skip
    apart = [min(measures.difference(seeds[a][at], seeds[b][at]) for a, b in combinations(range(SEEDS), 2))
             for at in range(len(prompts))]  # fmt: skip
    sheet(folder / "names.png", [[icons.draw(i), *(one[at] for one in seeds)] for at, i in enumerate(chosen.names)], 4)
    return {
        "names": {
            "of": len(prompts), "nearest": int((ranks[0] == 0).sum()), "among_first_five": int((ranks[0] < 5).sum()),
            "wrong": [prompts[at] for at in np.flatnonzero(ranks[0])],
        },
        "seeds": {
            "of": len(prompts), "differ": int((np.array(apart) >= measures.DIFFER_AT_LEAST).sum()),
            "nearest_of_all_seeds": float((ranks == 0).mean()), "median_least_difference": float(np.median(apart)),
        },
    }  # fmt: skip


def _variants(draw: Draw, chosen: Sets, known: Any, folder: Path) -> dict[str, Any]:
    made = draw(chosen.variants, [0] * len(chosen.variants))
    ranks = [measures.rank(measures.features(p), known, i) for p, i in zip(made, chosen.names, strict=True)]
    sheet(folder / "variants.png", [[one] for one in made], 20)
    wrong = [prompt for prompt, rank in zip(chosen.variants, ranks, strict=True) if rank]
    return {"variants": {"of": len(ranks), "nearest": sum(rank == 0 for rank in ranks), "wrong": wrong}}


def _pairs(icons: Icons, draw: Draw, chosen: Sets, outlines: Any, folder: Path) -> dict[str, Any]:
    prompts = [f"{colour} {icons.names[i]}" for i, colour in chosen.pairs]
    made = draw(prompts, [0] * len(prompts))
    right = [colours.dominant(p) == colour for p, (_, colour) in zip(made, chosen.pairs, strict=True)]
    shape = [measures.rank(measures.outline(p), outlines, i) == 0 for p, (i, _) in zip(made, chosen.pairs, strict=True)]
    sheet(folder / "pairs.png", [[icons.draw(i), p] for p, (i, _) in zip(made, chosen.pairs, strict=True)], 10)
    return {"pairs": {
        "of": len(prompts), "colour": sum(right), "outline": sum(shape),
        "wrong_colour": [p for p, ok in zip(prompts, right, strict=True) if not ok],
        "wrong_outline": [p for p, ok in zip(prompts, shape, strict=True) if not ok],
    }}  # fmt: skip


def sheet(file: Path, groups: Sequence[Sequence[NDArray[np.uint8]]], columns: int) -> None:
    """A contact sheet: each group side by side, `columns` groups in a row."""
    from PIL import Image

    blocks = [np.concatenate(group, axis=1) for group in groups]
    blocks += [np.full_like(blocks[0], 255)] * (-len(blocks) % columns)
    rows = [np.concatenate(blocks[at : at + columns], axis=1) for at in range(0, len(blocks), columns)]
    Image.fromarray(np.concatenate(rows)).quantize(256).save(file, optimize=True)
