"""A model by its name or its config.json, without its weights: what planning needs, for a machine it may never be on.

describe("llama-3.1-8b", "Q4_K_M")      a model of the catalog, in any spelling, in a format
describe("path/to/config.json")         a config.json, or the folder it lies in
describe("path/to/model.gguf")          a file: its own tensors
describe("owner/name")                  a repository on the Hub: its config.json alone is fetched
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from workbench import catalog
from workbench.catalog import HubSource, ModelEntry
from workbench.errors import BadModelFile, UnknownName, UsageError
from workbench.models import config, formats, hub, image, speech
from workbench.models.getting import get
from workbench.models.image import ImageModel
from workbench.models.model import Model
from workbench.models.speech import SpeechModel

AnyModel = Model | SpeechModel | ImageModel
READERS: dict[str, Any] = {"whisper": speech.from_config, "diffusion": image.from_config}


def describe(name: str, format_name: str | None = None) -> AnyModel:
    """The model, in this format or as it comes: BF16 for a described one, its own for a file.

    Raises UnknownName, UsageError, UnsupportedModel, BadModelFile or AssetUnavailable.
    """
    model = _as_it_comes(name)
    return model if format_name is None else in_format(model, format_name)


def in_format(model: AnyModel, format_name: str) -> AnyModel:
    """The same model in another format; formats are named alike for all kinds of models."""
    if isinstance(model, SpeechModel):
        return speech.in_format(model, format_name)
    if isinstance(model, ImageModel):
        return image.in_format(model, format_name)
    return formats.in_format(model, format_name)


def _as_it_comes(name: str) -> AnyModel:
    if entry := catalog.find_model(name):
        return of_entry(entry.name)
    path = Path(name).expanduser()
    if path.is_dir() and (path / "config.json").is_file():
        whole = any(path.glob("*.safetensors"))
        return get(name) if whole else _from_config_file(path / "config.json", path.name)
    if path.suffix == ".json":
        return _from_config_file(path, path.parent.name or path.stem)
    if path.suffix == ".gguf" or path.exists() or name.startswith(("/", "./", "../", "~")):
        return get(name)
    with suppress(UsageError):
        return of_entry(catalog.model(name).name)
    if name.count("/") == 1 and not name.startswith((".", "~", "/")):
        file, _ = hub.bring(HubSource(name, "config.json"), None, None)
        return _from_config_file(file, name)
    raise UnknownName(
        "model", name, [one for entry in catalog.models().values() for one in (entry.name, *entry.aliases)]
    )


@lru_cache(maxsize=512)
def of_entry(name: str) -> AnyModel:
    """The described model of this name in the catalog; raises UsageError where its record says nothing of it."""
    entry: ModelEntry = catalog.models()[name]
    if entry.config is None:
        raise UsageError(
            f"The catalog does not describe {name}.", fix="Give the path of its file or of its config.json."
        )
    return from_mapping(entry.config, name, entry.source, licence=entry.licence)


def from_mapping(fields: Any, name: str, source: str, *, licence: str | None = None) -> AnyModel:
    """The model a config.json describes."""
    if not isinstance(fields, dict):
        raise UsageError(f"The config of {name} holds {type(fields).__name__}, not fields by name.")
    read = READERS.get(str(fields.get("model_type")), config.from_config)
    made: AnyModel = read(fields, name=name, source=source, licence=licence)
    return made


def _from_config_file(path: Path, name: str) -> AnyModel:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", fix="Check the path.") from error
    return from_mapping(_parsed(text, str(path)), name, f"file {path}")


def _parsed(text: str, what: str) -> Any:
    def refuse(value: str) -> Any:
        raise ValueError(f"{value} is no number")

    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError as error:
        raise BadModelFile(f"{what} is not valid JSON: {error}.", fix="Get the file again.") from error
