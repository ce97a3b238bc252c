"""A pipeline for images with random weights: Diffusers' own classes and layout, a few hundred kilobytes."""

from __future__ import annotations

from pathlib import Path

WORDS = ["a red apple", "the house of a cat", "icon of green trees"]


def write_pipeline(folder: Path) -> Path:
    """A StableDiffusionPipeline for pictures of 32×32 in `folder`."""
    import diffusers
    import torch
    import transformers

    from training.icons import denoiser, tokens

    torch.manual_seed(0)
    tokens.make(WORDS, folder / "words")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "words")
    text = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=tokens.LONGEST, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4,
    )  # fmt: skip
    channels = (8, 8, 8)
    vae = diffusers.AutoencoderTiny(
        encoder_block_out_channels=channels, decoder_block_out_channels=channels, num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=transformers.CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=denoiser.scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder / "tiny-pictures")
    return folder / "tiny-pictures"
