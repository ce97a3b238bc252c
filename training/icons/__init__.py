"""The embedded image model: a small latent diffusion model of icons in Stable Diffusion's own layout.

`python -m training.icons --icons icons.json` makes it from the npm package @iconify-json/fluent-emoji-flat (MIT), stage
by stage, on a CPU; every stage keeps what it made, and a stage that was interrupted goes on where it was.
"""
