"""A pipeline for images from the Hugging Face Hub: the files that are opened of it, and no others, in one folder.

Repositories hold the same weights several times over: pickled, in 32 and in 16 bits, as one file for other programs.
Taken are the safetensors of each component, the plain ones where they are there, else the FP16 ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from workbench import folders
from workbench.catalog import HubSource
from workbench.errors import AssetUnavailable, UnsupportedModel
from workbench.models import hub, pipeline_folder
from workbench.models.image import ImageModel
from workbench.models.pipeline_folder import INDEX, LEFT_OUT, VARIANT
from workbench.models.safetensors_folder import read_json
from workbench.models.verification import Progress

_STEM = r"(model|diffusion_pytorch_model)"
_PLAIN = re.compile(_STEM + r"((-\d+-of-\d+)?\.safetensors|\.safetensors\.index\.json)")
_SHORT = re.compile(_STEM + rf"(\.{VARIANT}(-\d+-of-\d+)?\.safetensors|\.safetensors\.index\.{VARIANT}\.json)")
_BESIDE = (".json", ".txt", ".model")


def get(repo: str, progress: Progress | None = None) -> ImageModel:
    """The pipeline in this repository; what was brought before is used when the Hub cannot be reached.

    Raises AssetUnavailable, UnsupportedModel for one without safetensors, and what reading the folder raises.
    """
    folder = folders.cache() / "pipelines" / folders.file_name(repo.replace("/", "--"))
    try:
        _bring(repo, folder, progress)
    except AssetUnavailable:
        if not (folder / INDEX).exists():
            raise
    return pipeline_folder.read(folder, name=repo.rpartition("/")[2], source=f"Hugging Face Hub, {repo}")


def _bring(repo: str, folder: Path, progress: Progress | None) -> None:
    """The index last: a folder that has one has the rest."""
    index, _ = hub.bring(HubSource(repo, INDEX), None, progress)
    components = [
        name for name, entry in read_json(index).items() if isinstance(entry, list) and entry != [None, None]
    ]  # fmt: skip
    for name in (*chosen(hub.files(repo), components), INDEX):
        path, _ = hub.bring(HubSource(repo, name), None, progress)
        _link(folder / name, path)


def chosen(files: list[str], components: list[str]) -> Iterator[str]:
    """The files of a repository that are opened; raises UnsupportedModel where only pickled weights are."""
    for component in (one for one in components if one not in LEFT_OUT):
        inside = [one.rpartition("/")[2] for one in files if one.rpartition("/")[0] == component]
        weights = [one for one in inside if _PLAIN.fullmatch(one)] or [one for one in inside if _SHORT.fullmatch(one)]
        if not weights and any(one.endswith((".bin", ".ckpt", ".pt")) for one in inside):
            raise UnsupportedModel(
                f"The {component} is there only as pickled weights, which can run code. Nothing was fetched of it.",
                fix="Choose a repository with safetensors.",
            )
        beside = [one for one in inside if one.endswith(_BESIDE) and ".index." not in one]
        yield from (f"{component}/{one}" for one in (*weights, *beside))


def _link(place: Path, path: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(path.resolve())
    part.replace(place)
