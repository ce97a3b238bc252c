"""Models by name or by file: fetching the file if need be, verifying it, and reading what it is.

models.get("smollm2")                      a model of the catalog
models.get("path/to/model.gguf")           a file
models.get("path/to/folder")               a folder with config.json and safetensors, with model.bin for CTranslate2,
                                           or with model_index.json: a pipeline for images
models.get("hf:owner/repo")                a repository on the Hugging Face Hub that is such a folder
models.get("hf:owner/repo/model.gguf")     a file on the Hugging Face Hub, also written owner/repo:model.gguf
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from workbench import catalog
from workbench.catalog import HubSource, ModelEntry
from workbench.errors import AssetUnavailable, BadModelFile, UnknownName, UsageError
from workbench.models import assets, gguf_file, hub, hub_folder, pipeline_folder, safetensors_folder, speech_files
from workbench.models.image import ImageModel
from workbench.models.model import Model
from workbench.models.speech import SpeechModel
from workbench.models.verification import Progress, is_intact

_HUB_NAME = re.compile(r"(?:hf:)?(?P<repo>[\w.-]+/[\w.-]+):(?P<file>.+)")
_HUB_REPO = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)")
_HUB_PATH = re.compile(r"hf:(?P<repo>[^/:]+/[^/:]+)/(?P<file>.+)")


def known() -> list[ModelEntry]:
    """The models of the catalog, by name."""
    return sorted(catalog.models().values(), key=lambda entry: entry.name)


def get(name_or_path: str | os.PathLike[str], *, progress: Progress | None = None) -> Model | SpeechModel | ImageModel:
    """The model with this name, in this file, or in this file on the Hub; fetched if need be, verified and read.

    progress: called with (bytes done, bytes in total, what is going on) while a file is fetched or checked.
    Raises UsageError (no such file, a folder), UnknownName, BadModelFile, UnsupportedModel, AssetUnavailable, NoSpace.
    """
    text = os.fspath(name_or_path)
    if entry := catalog.find_model(text):
        return _from_catalog(entry, progress)
    if match := _HUB_PATH.fullmatch(text) or _HUB_NAME.fullmatch(text):
        return _from_hub(HubSource(match["repo"], match["file"]), progress)
    if match := _HUB_REPO.fullmatch(text):
        return _from_repository(match["repo"], progress)
    if text.startswith("hf:"):
        raise UsageError(f"{text} names no file on the Hub.", fix="Write hf:owner/repository/file.gguf.")
    if _looks_like_path(text):
        return _from_file(Path(text).expanduser(), progress)
    names = [name for entry in known() for name in (entry.name, *entry.aliases)]
    raise UnknownName("model", text, names)


def get_text(name_or_path: str | os.PathLike[str], *, progress: Progress | None = None) -> Model:
    """The same for a language model; raises UsageError for a model of another kind."""
    found = get(name_or_path, progress=progress)
    if not isinstance(found, Model):
        kind = "speech" if isinstance(found, SpeechModel) else "images"
        raise UsageError(f"{found.name} is a model for {kind}.", fix="Name a language model: `workbench models`.")
    return found


def at_hand(name: str) -> Model | SpeechModel | ImageModel | None:
    """The model that the catalog has under this name, where its file is on this computer; nothing is fetched."""
    entry = catalog.find_model(name)
    return get(name) if entry and entry.asset and assets.cached(entry.asset) else None


def _from_catalog(entry: ModelEntry, progress: Progress | None) -> Model | SpeechModel | ImageModel:
    if entry.folder:
        return _embedded(entry)
    if entry.asset is None and entry.repo and entry.task in ("imagine", "transcribe"):
        return replace(_from_repository(entry.repo, progress), name=entry.name, licence=entry.licence)
    if entry.asset is None:
        raise AssetUnavailable(
            f"The workbench knows what {entry.name} is and not where a file of it lies.",
            fix="Get a .gguf file of it and give its path; `workbench estimate` needs none.",
        )
    asset = catalog.asset(entry.asset)
    path = assets.fetch(asset, progress=progress)
    if entry.task == "transcribe":
        return replace(speech_files.read(path, name=entry.name, source=asset.source), licence=entry.licence)
    return gguf_file.read(path, name=entry.name, source=asset.source, sha256=asset.sha256)


def _embedded(entry: ModelEntry) -> ImageModel:
    """A pipeline that comes with the package, with what its record says of how it is used."""
    made = pipeline_folder.read(catalog.EMBEDDED / entry.folder, name=entry.name, source=entry.source)
    usual = {key: value for key, value in (entry.config or {}).items() if key in ("steps", "guidance")}
    return replace(made, licence=entry.licence, **usual)


def _from_repository(repo: str, progress: Progress | None) -> Model | SpeechModel | ImageModel:
    found = _from_file(hub_folder.bring(repo, progress), progress)
    return replace(found, name=repo.rpartition("/")[2], source=f"Hugging Face Hub, {repo}")


def _from_hub(source: HubSource, progress: Progress | None) -> Model:
    if not source.file.endswith(".gguf"):
        raise UsageError(f"{source.file} is not a .gguf file.", fix="Name a .gguf file of the repository.")
    path, sha256 = hub.bring(source, None, progress)
    return gguf_file.read(path, source=f"Hugging Face Hub, {source.repo}:{source.file}", sha256=sha256)


def _from_file(path: Path, progress: Progress | None) -> Model | SpeechModel | ImageModel:
    try:
        size_bytes = path.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"The file {path} cannot be read: {reason}.",
            fix="Check the path; a file on the Hub is written hf:owner/repository/file.gguf.",
        ) from error
    if speech_files.is_one(path):
        return speech_files.read(path)
    if path.is_dir():
        if pipeline_folder.is_one(path):
            return pipeline_folder.read(path)
        if safetensors_folder.is_one(path):
            return safetensors_folder.read(path)
        raise UsageError(f"{path} is a folder.", fix=_files_inside(path))
    asset = catalog.asset_of_file(path.name, size_bytes)
    if asset is None or asset.sha256 is None:
        return gguf_file.read(path)
    if not is_intact(path, asset.sha256, progress=progress):
        raise BadModelFile(
            f"{path} has the name and size of {asset.name}, but another SHA-256: at least one byte differs.",
            fix="Get it again; rename the file if the change was meant.",
        )
    return gguf_file.read(path, name=_name_of(asset.name), source=f"file {path}", sha256=asset.sha256)


def _name_of(asset_name: str) -> str | None:
    return next((entry.name for entry in known() if entry.asset == asset_name), None)


def _looks_like_path(text: str) -> bool:
    separators = {"/", "\\"} if os.name == "nt" else {"/"}
    endings = (".gguf", ".safetensors", ".pt", ".bin")
    return text.endswith(endings) or bool(separators & set(text)) or _is_here(text)


def _is_here(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long, or not a path at all
        return False


def _files_inside(folder: Path) -> str:
    """Name the model files in a folder, so that one can be chosen."""
    try:
        names = sorted(one.name for one in folder.iterdir() if one.suffix == ".gguf")
    except OSError:
        names = []
    if not names:
        return "It holds no .gguf file, and no config.json beside safetensors; give the path of one."
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"Give one of the files inside: {shown}."
