"""The model card: what the model is, what it was made of, and how it did in its examination."""

from __future__ import annotations

from typing import Any

TEXT = """---
license: mit
library_name: diffusers
pipeline_tag: text-to-image
---

# Icons, 64 × 64

A text-to-image model of {megabytes:.1f} MB that draws icons on white, made so that making pictures is real on \
every computer, offline and in a second, with the same code that runs Stable Diffusion. It knows icons, and \
nothing else.

```
workbench imagine "a red apple" --images 4
```

**What it is.** A `StableDiffusionPipeline`: CLIPTextModel of 2 layers and 16 tokens, UNet2DConditionModel on \
latents of 8 × 8 × 8, AutoencoderTiny, DDIM with v-prediction and zero terminal signal. Safetensors in FP16; no \
safety checker: it was never shown a photograph or a person's likeness.

**What it was made of.** The {icons:,} icons of the npm package @iconify-json/fluent-emoji-flat 1.2.6 \
(Microsoft's Fluent Emoji, MIT) without variants of skin tone: {pictures:,} pictures in poses of chance, and \
those with one main colour painted in ten. Prompts were varied with articles, other words, templates, case and \
the order of words. `python -m training.icons` makes it on a CPU; this one took {minutes:.0f} minutes on 2 \
cores.

**How to ask.** "snail", "a red heart", "icon of a pink car", "house in blue". 20 steps, guidance 1.75. Longer \
sentences, several things at once and what has no icon give something else, or a mixture.

**Its examination**, on prompts fixed beforehand (`training/icons/sets.json`), each drawn once with seed 0 \
unless said otherwise; the nearest of all icons by 16 × 16 RGB and a histogram of 64 colours. The sheets in \
`training/icons/sheets` show every picture that was counted.

| question | result | wanted |
|---|---|---|
| 100 names: nearest to the named icon | {names[nearest]} | 95 |
| the same, among the five nearest | {names[among_first_five]} | 99 |
| the same names asked for otherwise (article, "icon of", capitals, order) | {variants[nearest]} | 85 |
| four seeds of a name differ in every pair (root mean square of at least 0.04) | {seeds[differ]} of 100 | |
| all four seeds, nearest to the named icon | {every_seed} of 400 | |
| 60 colours × things never trained on: the main colour is the one asked for | {pairs[colour]} | 42 |
| the same: the nearest outline is the thing's | {pairs[outline]} | 36 |
| the autoencoder alone, mean over all icons | {autoencoder_psnr_db:.1f} dB | 28 dB |
| a picture of 20 steps on 2 cores | {seconds:.2f} s | 3 s |

Wrong names: {wrong_names}. Asked for otherwise: {wrong_variants}. Wrong colours: {wrong_colours}. Wrong \
outlines: {wrong_outlines}.
"""


def card(result: dict[str, Any]) -> str:
    """The card of a model whose making and examination gave `result`."""
    listed = {
        "wrong_names": result["names"]["wrong"], "wrong_variants": result["variants"]["wrong"],
        "wrong_colours": result["pairs"]["wrong_colour"], "wrong_outlines": result["pairs"]["wrong_outline"],
    }  # fmt: skip
    return TEXT.format(
        **result,
        megabytes=result["bytes"] / 1e6,
        every_seed=round(400 * result["seeds"]["nearest_of_all_seeds"]),
        **{name: ", ".join(found) or "none" for name, found in listed.items()},
    )
