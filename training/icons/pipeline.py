"""The finished model as a StableDiffusionPipeline in FP16, and drawing with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.icons import denoiser
from training.icons.pictures import SIZE

STEPS, GUIDANCE, BATCH = 20, 1.75, 25


def tokenizer(folder: Path) -> Any:
    """The CLIPTokenizer in a folder."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder)


def write(folder: Path, unet: Any, encoder: Any, words: Any, coder: Any) -> int:
    """Write it and return the bytes of the folder. Calls `half`, so what comes in is FP16 afterwards."""
    from diffusers import StableDiffusionPipeline

    made = StableDiffusionPipeline(
        vae=coder.half(), text_encoder=encoder.half(), tokenizer=words, unet=unet.half(),
        scheduler=denoiser.scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    made.save_pretrained(folder, safe_serialization=True)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def coder(folder: Path) -> Any:
    """The autoencoder as it was written."""
    from diffusers import AutoencoderTiny

    return AutoencoderTiny.from_pretrained(folder / "vae", low_cpu_mem_usage=False).float()


def drawer(folder: Path) -> Any:
    """A function from prompts and seeds to pictures."""
    import torch
    from diffusers import StableDiffusionPipeline

    made = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    made.set_progress_bar_config(disable=True)

    def draw(prompts: Sequence[str], seeds: Sequence[int]) -> NDArray[np.uint8]:
        found = []
        for at in range(0, len(prompts), BATCH):
            noise = [torch.Generator().manual_seed(seed) for seed in seeds[at : at + BATCH]]
            asked = list(prompts[at : at + BATCH])
            pictures = made(asked, num_inference_steps=STEPS, guidance_scale=GUIDANCE, height=SIZE, width=SIZE,
                            generator=noise, output_type="np").images  # fmt: skip
            found.append((pictures * 255).round().astype(np.uint8))
        return np.concatenate(found)

    return draw
