"""The denoiser, trained with the text encoder: v-prediction, a schedule that ends in pure noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.icons import stage, text
from training.icons.autoencoder import LATENTS
from training.icons.colours import COLOURS
from training.icons.dataset import Dataset
from training.icons.words import Prompts

CHANNELS, BATCH, RATE = (96, 120), 64, 1.2e-3
AVERAGE = 0.9995
WITHOUT_TEXT = 0.1
PAINTED = 0.2  # the first 75 minutes of the embedded model had 0.35
STEPS = 1000


def make() -> Any:
    """A UNet2DConditionModel, untrained; the text is read by attention at 4×4 and added to the time."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, in_channels=LATENTS, out_channels=LATENTS, layers_per_block=1, block_out_channels=CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8, cross_attention_dim=text.WIDTH, attention_head_dim=4, addition_embed_type="text",
        addition_embed_type_num_heads=4, encoder_hid_dim=text.WIDTH,
    ).to(memory_format=torch.channels_last)  # fmt: skip


def scheduler() -> Any:
    """DDIM as the pipeline will use it."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=STEPS, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False,
        set_alpha_to_one=True, steps_offset=1,
    )  # fmt: skip


def train(
    file: Path, data: Dataset, latents: torch.Tensor, *, encoder: Any, tokenizer: Any, prompts: Prompts, minutes: float
) -> dict[str, Any]:
    """Both, as moving averages: 'unet' and 'encoder'."""
    unet, random, noise_schedule = make(), np.random.default_rng(4), scheduler()
    words = list(COLOURS)
    rows = _rows(data)
    plain = [group for (_, colour), group in rows.items() if colour == 0]
    painted = [group for (_, colour), group in rows.items() if colour]

    def draw() -> int:
        groups = painted if random.random() < PAINTED else plain
        return int(random.choice(groups[int(random.integers(len(groups)))]))

    def ask(row: int) -> str:
        if random.random() < WITHOUT_TEXT:
            return ""
        colour = int(data.colour[row])
        return prompts.ask(int(data.icon[row]), words[colour - 1] if colour else None, random)

    def loss() -> torch.Tensor:
        chosen = [draw() for _ in range(BATCH)]
        state = encoder(text.ids(tokenizer, [ask(row) for row in chosen]))[0]
        wanted = latents[chosen]
        noise, times = torch.randn_like(wanted), torch.randint(STEPS, (BATCH,))
        noisy = noise_schedule.add_noise(wanted, noise, times)
        velocity = noise_schedule.get_velocity(wanted, noise, times)
        made = unet(noisy.contiguous(memory_format=torch.channels_last), times, state).sample
        return (made - velocity).square().mean()

    return stage.run(file, minutes, {"unet": unet, "encoder": encoder}, RATE, loss, average=AVERAGE)


def _rows(data: Dataset) -> dict[tuple[int, int], list[int]]:
    """The rows of each icon in each colour."""
    found: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(data.icon.tolist(), data.colour.tolist(), strict=True)):
        found.setdefault(key, []).append(row)
    return found
