"""Reads a pipeline as Diffusers opens it: model_index.json, configs of components, headers of their weights.

No weight is loaded and no code of the folder is run. Refused by name: pickled weights, pipelines and components that
bring their own Python, and components that are named and not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.catalog.image_components import ImageComponent
from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models.components import Described, components
from workbench.models.image import ImageModel, Part, in_format
from workbench.models.safetensors_folder import PICKLES, TYPES, plain_format, read_json, tensors

INDEX = "model_index.json"
_AGAIN = "Get the folder again."
#: What is never loaded: they look at finished pictures, and take more memory than some denoisers.
LEFT_OUT = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
#: The variant of weights that is taken where there are no plain ones.
VARIANT = "fp16"
#: Sides of pictures, in places of the latents, where a denoiser's config does not say: Diffusers' own default.
_USUAL_CELLS = 128


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A class of Diffusers. text_encoders, denoiser: its components by their folders; guided: each step runs the
    denoiser with the text and without it; steps: its default; upcasts: it runs its autoencoder in 32 bits where the
    autoencoder's config says that it overflows in 16."""

    text_encoders: tuple[str, ...]
    denoiser: str
    guided: bool
    steps: int
    guidance: float
    upcasts: bool = False


#: The pipelines that the workbench runs, by the class that their folders name.
PIPELINES: Mapping[str, Pipeline] = {
    "StableDiffusionPipeline": Pipeline(("text_encoder",), "unet", True, 50, 7.5),
    "LatentConsistencyModelPipeline": Pipeline(("text_encoder",), "unet", False, 4, 8.5),
    "StableDiffusionXLPipeline": Pipeline(("text_encoder", "text_encoder_2"), "unet", True, 50, 5.0, upcasts=True),
    "StableDiffusion3Pipeline": Pipeline(
        ("text_encoder", "text_encoder_2", "text_encoder_3"), "transformer", True, 28, 7.0
    ),
    "FluxPipeline": Pipeline(("text_encoder", "text_encoder_2"), "transformer", False, 28, 3.5),
}


def is_one(folder: Path) -> bool:
    """Whether a folder looks like a pipeline of Diffusers."""
    return (folder / INDEX).is_file()


def read(folder: Path, *, name: str = "", source: str = "") -> ImageModel:
    """The model in `folder`, in the format its weights have.

    Raises BadModelFile for damaged or missing parts, UnsupportedModel for what is not opened here, MissingExtra where a
    component has to be counted and cannot be.
    """
    index = read_json(folder / INDEX)
    kind = _kind(folder, index)
    there = _components(folder, index)
    _refuse_code(folder, there)
    for needed in (kind.denoiser, "vae", "scheduler"):
        if needed not in there:
            raise BadModelFile(f"{folder} names no {needed}, which a {index['_class_name']} needs.", fix=_AGAIN)
    shrink = _shrink(folder)
    cells = read_json(folder / kind.denoiser / "config.json").get("sample_size") or _USUAL_CELLS
    side = shrink * (cells if isinstance(cells, int) else max(cells))
    names = [one for one in (*kind.text_encoders, kind.denoiser, "vae") if one in there]
    stored = {one: [each for file in weight_files(folder / one) for each in tensors(file)] for one in names}
    described = [_described(folder / one, there[one], stored[one], side, shrink) for one in names]
    found = dict(zip(names, components(described), strict=True))
    for one in described:
        _check_complete(one, found[one.name.rpartition("/")[2]])
    made = ImageModel(
        name=name or folder.name,
        text_encoders=tuple(Part(found[one]) for one in kind.text_encoders if one in found),
        denoiser=Part(found[kind.denoiser]), vae=Part(found["vae"]), width=side, height=side, steps=kind.steps,
        guided=kind.guided, source=source or f"folder {folder}", path=folder, pipeline=index["_class_name"],
        float32_vae=kind.upcasts and bool(read_json(folder / "vae/config.json").get("force_upcast")),
        guidance=kind.guidance,
    )  # fmt: skip
    return in_format(made, plain_format(folder / kind.denoiser, stored[kind.denoiser]))


def _kind(folder: Path, index: Mapping[str, Any]) -> Pipeline:
    name = str(index.get("_class_name"))
    if name not in PIPELINES:
        raise UnsupportedModel(f"{folder} is a {name}, which is not run here.", fix=f"Known: {', '.join(PIPELINES)}.")
    return PIPELINES[name]


def _components(folder: Path, index: Mapping[str, Any]) -> dict[str, str]:
    """The class of each component that is named, all of them there."""
    found = {}
    for name, entry in index.items():
        if name.startswith("_") or not isinstance(entry, list) or entry == [None, None]:
            continue
        library, kind = (*entry, None, None)[:2]
        if library not in ("diffusers", "transformers"):
            raise UnsupportedModel(
                f"The {name} of {folder} is of {library!r}: a program of its own. Nothing of it was run.",
                fix="Choose a pipeline that Diffusers knows itself.",
            )
        if name not in LEFT_OUT and not (folder / name).is_dir():
            raise BadModelFile(f"{folder} lacks {name}, a {kind} that its {INDEX} names.", fix=_AGAIN)
        found[name] = str(kind)
    return found


def _refuse_code(folder: Path, there: Mapping[str, str]) -> None:
    programs = sorted(str(one.relative_to(folder)) for one in (*folder.glob("*.py"), *folder.glob("*/*.py")))
    mapped = [name for name in there if "auto_map" in _config(folder / name)]
    if programs or mapped:
        named = ", ".join(programs[:3]) or f"the config of {mapped[0]} names code elsewhere (auto_map)"
        raise UnsupportedModel(
            f"{folder} brings code of its own: {named}. Nothing of it was run.",
            fix="Choose a pipeline that Diffusers knows itself.",
        )


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    return read_json(file) if file.is_file() else {}


def _described(
    folder: Path, type_name: str, stored: list[tuple[str, str, int, int]], side: int, shrink: int
) -> Described:
    have = sum(elements for _, kind, elements, _ in stored if kind in TYPES)
    return Described(f"{folder.parent.name}/{folder.name}", type_name, _config(folder), have, side, shrink)


def _check_complete(one: Described, found: ImageComponent) -> None:
    if one.parameters < found.parameters:
        raise BadModelFile(
            f"{one.name} holds {one.parameters:,} parameters; its config.json describes {found.parameters:,}.",
            fix=_AGAIN,
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a component; of several variants only the plain one, or the FP16 one where that is all."""
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        pickled = sorted(one.name for one in folder.iterdir() if one.suffix in PICKLES)
        what = f"only pickled weights ({', '.join(pickled[:3])}), which can run code" if pickled else "no weights"
        error = UnsupportedModel if pickled else BadModelFile
        raise error(f"{folder} holds {what}.", fix="Get the pipeline as safetensors.")
    plain = [one for one in found if one.name.count(".") == 1]
    return plain or [one for one in found if f".{VARIANT}" in one.name] or found


def _shrink(folder: Path) -> int:
    config = _config(folder / "vae")
    blocks = config.get("block_out_channels") or config.get("decoder_block_out_channels") or ()
    return 2 ** max(0, len(blocks) - 1) if isinstance(blocks, list) else 1
