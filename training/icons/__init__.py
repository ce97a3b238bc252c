"""The embedded image model: a small latent diffusion model of icons in Stable Diffusion's own layout.

    npm pack @iconify-json/fluent-emoji-flat@1.2.6 && tar xf iconify-json-fluent-emoji-flat-1.2.6.tgz
    pip install "open-model-workbench[training]"
    python -m training.icons --icons package/icons.json --work FOLDER

It is made on a CPU from the package of icons (MIT), stage by stage: pictures, autoencoder, text encoder, denoiser, a
pipeline in FP16, its examination. Every stage keeps what it made, and one that was interrupted goes on where it was.
"""
