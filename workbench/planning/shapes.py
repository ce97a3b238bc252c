"""A model in the format that an engine runs: as it lies in its file, or in another one that it can be written in."""

from __future__ import annotations

from typing import Any

from workbench import engines, models
from workbench.engines import Availability, Engine
from workbench.engines.device_memory import weight_format
from workbench.models import AnyModel, Model, SpeechModel

#: What is taken when nobody names a format: the usual one of each container.
USUAL_FORMAT = {"gguf": "Q4_K_M", "safetensors": "BF16", "onnx": "ONNX-int4"}
#: The same for what is written from a file, which nobody rounds once more without being asked to.
_WRITTEN_FORMAT = {**USUAL_FORMAT, "onnx": "FP32"}


def candidates(engine: str | Engine[Any], capability: str) -> list[Engine[Any]]:
    """The engine asked for, or with 'auto' all that the workbench starts and that are capable of this; the fake one is
    for tests."""
    if isinstance(engine, Engine):
        return [engine]
    if engine != "auto":
        return [engines.get(engine)]
    every = (engines.get(name) for name in engines.ENGINES if name != "fake")
    return [one for one in every if one.starts and capability in one.capabilities]


def can_take(engine: Engine[Any], model: AnyModel, format_name: str) -> bool:
    """Whether an engine runs a format at all, whatever the model."""
    if isinstance(model, Model):
        found = models.formats.find(format_name, architecture=model.architecture.name)
        return (found.container if "gguf" in engine.formats else found.name) in engine.formats
    return format_name in engine.formats


def shape(model: AnyModel, engine: Engine[Any], format_name: str | None) -> AnyModel:
    """The model in the format asked for, or in the one it has, or in the engine's usual one."""
    if isinstance(model, Model):
        return shape_text(model, engine, format_name)
    if format_name is None and model.format in engine.formats:
        return model
    return models.in_format(model, format_name or _plainest(engine))


def shape_text(model: Model, engine: Engine[Any], format_name: str | None) -> Model:
    """The same for a language model; a file that is in this format already stays what it is."""
    if format_name is None and _is_ready(model, engine):
        return model
    wanted = format_name or (_WRITTEN_FORMAT if model.path else USUAL_FORMAT)[engine.container]
    is_it = _is_ready(model, engine) and _is_named(model, wanted)
    return model if is_it else models.formats.in_format(model, wanted)


def _is_ready(model: Model, engine: Engine[Any]) -> bool:
    """Whether the engine opens the model's own file; what is only described is ready in any format it is in."""
    fits = engine.container == "gguf" if model.format == "gguf" else engine.container == model.format
    return weight_format(model) in engine.formats and (fits or model.path is None)


def _is_named(model: Model, format_name: str) -> bool:
    name = models.formats.find(format_name, architecture=model.architecture.name).name
    return model.path is not None and model.quantization == name


def obtainable(model: Model | SpeechModel, engine: Engine[Any]) -> Availability:
    """Say whether there is a file that the engine opens, or one that it can be made of."""
    stored = engine.stored_format(model_format(model))
    if model.path or engine.keeps_models or models.can_convert(model, engine.container, stored):
        return Availability(True)
    source = f"{model.made_from.path} cannot be written so" if model.made_from else "there is no file of it"
    return Availability(
        False, f"{engine.title} needs {model.name} as {engine.container}, {stored}; {source}.",
        "Name a file or folder that holds it so, or choose another format or engine.",
    )  # fmt: skip


def model_format(model: AnyModel) -> str:
    """The name of the format a model is in."""
    return model.quantization


def settings_format(model: Model) -> str:
    """The same as settings say it: 'gguf' for a GGUF file as it is."""
    return "gguf" if model.format == "gguf" and model.path else model.quantization


def _plainest(engine: Engine[Any]) -> str:
    return next((name for name in ("FP16", "F16", "BF16", "FP32") if name in engine.formats), min(engine.formats))
