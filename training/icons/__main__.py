"""`python -m training.icons --icons FOLDER/icons.json --work FOLDER [--minutes AUTOENCODER TEXT DENOISER]`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.icons import autoencoder, denoiser, examination, measures, pipeline, stage, text, tokens, words
from training.icons.card import card
from training.icons.dataset import Dataset, kept, paintable
from training.icons.pictures import Icons

MINUTES = (36.0, 3.0, 165.0)


def main(argv: Sequence[str] | None = None) -> None:
    """All stages; those that are finished are only read."""
    parser = argparse.ArgumentParser(prog="python -m training.icons", description=__doc__)
    parser.add_argument("--icons", type=Path, required=True, help="icons.json of the npm package")
    parser.add_argument("--work", type=Path, required=True, help="folder for what the stages make")
    parser.add_argument("--minutes", type=float, nargs=3, default=MINUTES, help="of the three stages")
    asked = parser.parse_args(argv)
    asked.work.mkdir(parents=True, exist_ok=True)
    icons = Icons.read(asked.icons)
    prompts = words.Prompts(icons.names)
    chosen = examination.Sets.read()
    data = kept(asked.work / "pictures.npz", icons, set(chosen.pairs), lambda told: print(f"  {told}", flush=True))
    print(f"  {len(data.pictures)} pictures of {len(icons.keys)} icons", flush=True)
    coder = autoencoder.train(asked.work / "autoencoder.pt", data, asked.minutes[0])
    result: dict[str, Any] = {}
    if not (asked.work / "tokenizer").exists():  # ties fall otherwise each time, and an encoder has learned its numbers
        tokens.make(words.vocabulary(icons.names), asked.work / "tokenizer")
    tokenizer = pipeline.tokenizer(asked.work / "tokenizer")
    encoder = text.train(asked.work / "text.pt", tokenizer, prompts, paintable(icons), asked.minutes[1])
    latents = _latents(asked.work / "latents.pt", coder, data)
    trained = denoiser.train(
        asked.work / "denoiser.pt", data, latents, encoder=encoder, tokenizer=tokenizer, prompts=prompts,
        minutes=asked.minutes[2],
    )  # fmt: skip
    result["bytes"] = pipeline.write(asked.work / "model", trained["unet"], trained["encoder"], tokenizer, coder)
    result["autoencoder_psnr_db"] = _psnr(icons, pipeline.coder(asked.work / "model"))
    draw = pipeline.drawer(asked.work / "model")
    result |= examination.examine(icons, draw, chosen, asked.work)
    begin = time.perf_counter()
    draw(["red apple"], [0])
    result |= {
        "seconds": time.perf_counter() - begin, "icons": len(icons.keys), "pictures": len(data.pictures),
        "minutes": stage.minutes(asked.work),
    }  # fmt: skip
    (asked.work / "model" / "README.md").write_text(card(result), encoding="utf-8")
    (asked.work / "examination.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


def _latents(file: Path, coder: Any, data: Dataset) -> torch.Tensor:
    """Of all pictures, from the file or made and written there."""
    if not file.exists():
        torch.save(autoencoder.encode(coder, data.pictures), file)
    found: torch.Tensor = torch.load(file, weights_only=True)
    print(f"  latents: mean {found.mean():.3f}, deviation {found.std():.3f}, most {found.abs().max():.2f}", flush=True)
    return found


def _psnr(icons: Icons, coder: Any) -> float:
    """Mean over all icons as they are."""
    real = np.stack([icons.draw(i) for i in range(len(icons.keys))])
    made = autoencoder.decode(coder, autoencoder.encode(coder, real))
    return float(np.mean([measures.psnr(a, b) for a, b in zip(real, made, strict=True)]))


main()
