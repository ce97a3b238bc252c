"""The text encoder: learns to tell icons and colours apart from all the ways of asking, before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from training.icons import stage
from training.icons.colours import COLOURS
from training.icons.tokens import LONGEST
from training.icons.words import Prompts

WIDTH, BATCH, RATE = 128, 192, 2e-3
COLOURED = 0.35


def make(tokenizer: Any) -> Any:
    """A CLIPTextModel of two layers, untrained."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=LONGEST, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def ids(tokenizer: Any, prompts: list[str]) -> torch.Tensor:
    """(n, 16), padded with the end as the pipeline pads."""
    asked = tokenizer(prompts, padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt")
    return asked.input_ids


def train(file: Path, tokenizer: Any, prompts: Prompts, painted: list[int], minutes: float) -> Any:
    """Against two heads that are thrown away: which icon, which colour; both read the mean over all places."""
    encoder, random = make(tokenizer), np.random.default_rng(3)
    icon = torch.nn.Linear(WIDTH, len(prompts.names))
    colour = torch.nn.Linear(WIDTH, len(COLOURS) + 1)
    words = list(COLOURS)

    def loss() -> torch.Tensor:
        which = random.integers(len(prompts.names), size=BATCH)
        paint = np.where(random.random(BATCH) < COLOURED, random.integers(len(words), size=BATCH) + 1, 0)
        which = np.where(paint > 0, random.choice(painted, BATCH), which)
        asked = [
            prompts.ask(int(i), words[p - 1] if p else None, random) for i, p in zip(which, paint, strict=True)
        ]  # fmt: skip
        state = encoder(ids(tokenizer, asked))[0].mean(1)
        return functional.cross_entropy(icon(state), torch.from_numpy(which)) + functional.cross_entropy(
            colour(state), torch.from_numpy(paint)
        )

    return stage.run(file, minutes, {"encoder": encoder, "icon": icon, "colour": colour}, RATE, loss)["encoder"]
