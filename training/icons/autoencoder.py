"""The autoencoder: 64×64 pixels to 8×8 places of 8 numbers and back, with latents of mean 0 and variance 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from training.icons import stage
from training.icons.dataset import Dataset

CHANNELS, LATENTS, BATCH, RATE = 40, 8, 32, 1.5e-3
#: At first it sees quarters of pictures: convolutions do not care, and a step takes a quarter of the time.
PIXELS, CROP, FEW = 8, 32, 8
#: Noise on the latents while the decoder learns: a denoiser never hits them exactly.
NOISE, DECODER_NOISE = 0.05, 0.10


def make() -> Any:
    """An AutoencoderTiny, untrained."""
    from diffusers import AutoencoderTiny

    torch.manual_seed(0)
    return AutoencoderTiny(
        latent_channels=LATENTS, encoder_block_out_channels=(CHANNELS,) * 4, decoder_block_out_channels=(CHANNELS,) * 4,
        num_encoder_blocks=(0, 1, 2, 2), num_decoder_blocks=(3, 3, 3, 1),
    ).to(memory_format=torch.channels_last)  # fmt: skip


def batch(data: Dataset, random: np.random.Generator) -> torch.Tensor:
    """Whole pictures by chance, -1 to 1; few, since it is steps that count."""
    where = random.integers(len(data.pictures), size=FEW)
    return scaled(data.pictures[where])


def crops(data: Dataset, random: np.random.Generator) -> torch.Tensor:
    """Parts of pictures by chance, cut where a place of the latents begins."""
    where = random.integers(len(data.pictures), size=BATCH)
    corners = PIXELS * random.integers((data.pictures.shape[1] - CROP) // PIXELS + 1, size=(BATCH, 2))
    return scaled(
        np.stack([data.pictures[i, y : y + CROP, x : x + CROP] for i, (y, x) in zip(where, corners, strict=True)])
    )


def scaled(pictures: Any) -> torch.Tensor:
    """(n, 3, 64, 64) of -1 to 1."""
    made = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return made.contiguous(memory_format=torch.channels_last)


def _error(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squared error, and edges: lines are what an icon is made of."""
    plain = functional.mse_loss(made, wanted)
    edges = sum(functional.l1_loss(made.diff(dim=d), wanted.diff(dim=d)) for d in (2, 3))
    return plain + 0.02 * edges


def train(file: Path, data: Dataset, minutes: float) -> Any:
    """Both halves together on parts of pictures, then the decoder alone on whole ones."""
    model, random = make(), np.random.default_rng(1)

    def loss() -> torch.Tensor:
        wanted = crops(data, random)
        latents = model.encoder(wanted)
        flat = latents.transpose(0, 1).reshape(LATENTS, -1)
        norm = flat.mean(1).square().mean() + (flat.std(1) - 1).square().mean()
        made = model.decoder(latents + NOISE * torch.randn_like(latents))
        tail = functional.relu(latents.abs() - 3).square().mean()
        return _error(made, wanted) + 0.01 * norm + 0.1 * tail

    model = stage.run(file, minutes, {"model": model}, RATE, loss, average=0.998)["model"]
    return _decoder_alone(file.with_name("decoder.pt"), model, data, minutes / 5)


def _decoder_alone(file: Path, model: Any, data: Dataset, minutes: float) -> Any:
    random = np.random.default_rng(2)
    model.encoder.requires_grad_(False)

    def loss() -> torch.Tensor:
        wanted = batch(data, random)
        with torch.no_grad():
            latents = model.encoder(wanted)
        made = model.decoder(latents + DECODER_NOISE * float(random.random()) * torch.randn_like(latents))
        return _error(made, wanted)

    model.decoder = stage.run(file, minutes, {"decoder": model.decoder}, RATE, loss, average=0.998)["decoder"]
    return model


@torch.no_grad()
def encode(model: Any, pictures: Any) -> torch.Tensor:
    """The latents of pictures, (n, 8, 8, 8)."""
    return torch.cat([model.encoder(scaled(pictures[at : at + 256])) for at in range(0, len(pictures), 256)]).clamp(
        -4, 4
    )


@torch.no_grad()
def decode(model: Any, latents: torch.Tensor) -> Any:
    """Pictures of latents."""
    made = torch.cat([model.decoder(latents[at : at + 256]) for at in range(0, len(latents), 256)])
    return ((made.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
