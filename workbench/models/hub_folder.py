"""A repository of the Hugging Face Hub as a folder: the files that are opened of it, and no others.

Repositories hold the same weights several times over: pickled, in 32 and in 16 bits, as one file for other programs.
Taken are, in this order: a pipeline for images with the safetensors of each component, a Whisper for CTranslate2, a
language model or a Whisper in safetensors. Plain weights where they are there, else the FP16 ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from workbench import folders
from workbench.catalog import HubSource
from workbench.errors import AssetUnavailable, UnsupportedModel, UsageError
from workbench.models import ctranslate_file, hub
from workbench.models.pipeline_folder import INDEX, LEFT_OUT, VARIANT
from workbench.models.safetensors_folder import PICKLES, read_json
from workbench.models.verification import Progress

_STEM = r"(model|diffusion_pytorch_model)"
_PLAIN = re.compile(_STEM + r"((-\d+-of-\d+)?\.safetensors|\.safetensors\.index\.json)")
_SHORT = re.compile(_STEM + rf"(\.{VARIANT}(-\d+-of-\d+)?\.safetensors|\.safetensors\.index\.{VARIANT}\.json)")
_BESIDE = (".json", ".txt", ".model", ".jinja")


def bring(repo: str, progress: Progress | None = None) -> Path:
    """The folder; what was brought before is used when the Hub cannot be reached.

    Raises AssetUnavailable, UnsupportedModel for one without safetensors, UsageError for one that is none of the three.
    """
    folder = folders.cache() / "repositories" / folders.file_name(repo.replace("/", "--"))
    done = folder / ".complete"
    try:
        for name in wanted(repo, hub.files(repo), progress):
            path, _ = hub.bring(HubSource(repo, name), None, progress)
            _link(folder / name, path)
        done.touch()
    except AssetUnavailable:
        if not done.exists():
            raise
    return folder


def wanted(repo: str, files: list[str], progress: Progress | None = None) -> list[str]:
    """The names of the files that are opened."""
    if INDEX in files:
        index, _ = hub.bring(HubSource(repo, INDEX), None, progress)
        entries = read_json(index).items()
        named = [name for name, entry in entries if isinstance(entry, list) and entry != [None, None]]
        return [INDEX, *of_pipeline(files, named)]
    inside = [one for one in files if "/" not in one]
    if {ctranslate_file.WEIGHTS, "config.json"} <= set(inside):
        return [ctranslate_file.WEIGHTS, *_beside(inside)]
    if "config.json" in inside and (weights := _weights(inside)):
        return [*weights, *_beside(inside)]
    graphs = [one for one in files if one.endswith(".gguf")]
    shown = f"It has {', '.join(graphs[:3])}: write hf:{repo}/{graphs[0]}." if graphs else "Name another one."
    raise UsageError(f"{repo} holds no pipeline, no Whisper for CTranslate2 and no safetensors.", fix=shown)


def of_pipeline(files: list[str], components: list[str]) -> Iterator[str]:
    """The files of a pipeline's components; raises UnsupportedModel where only pickled weights are."""
    for component in (one for one in components if one not in LEFT_OUT):
        inside = [one.rpartition("/")[2] for one in files if one.rpartition("/")[0] == component]
        weights = _weights(inside)
        if not weights and any(one.endswith(PICKLES) for one in inside):
            raise UnsupportedModel(
                f"The {component} is there only as pickled weights, which can run code. Nothing was fetched of it.",
                fix="Choose a repository with safetensors.",
            )
        yield from (f"{component}/{one}" for one in (*weights, *_beside(inside)))


def _weights(inside: list[str]) -> list[str]:
    return [one for one in inside if _PLAIN.fullmatch(one)] or [one for one in inside if _SHORT.fullmatch(one)]


def _beside(inside: list[str]) -> list[str]:
    return [one for one in inside if one.endswith(_BESIDE) and ".index." not in one]


def _link(place: Path, path: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(path.resolve())
    part.replace(place)
