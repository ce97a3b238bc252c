"""The engines the workbench knows, each in a file of its own, resolved when asked for.

Adding one is a file beside these and a line here.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from workbench.engines.contract import Availability, Endpoint, Engine, ImageShape, Launch, Settings, TextEngine
from workbench.engines.workload import CHAT, Workload
from workbench.errors import UnknownName

__all__ = [
    "APPS", "CHAT", "ENGINES", "IMAGE_APPS", "Availability", "Endpoint", "Engine", "ImageShape", "Launch", "Settings",
    "TextEngine", "Workload", "get",
]  # fmt: skip

#: name → "module:Class", in the order in which they are tried when no engine is named: the first that runs is taken.
ENGINES = {
    "llama.cpp": "workbench.engines.llamacpp:LlamaCpp",
    "transformers": "workbench.engines.transformers:Transformers",
    "transformers-serve": "workbench.engines.transformers:TransformersServe",
    "vllm": "workbench.engines.vllm:VLLM",
    "tensorrt-llm": "workbench.engines.tensorrt_llm:TensorRTLLM",
    "onnx-runtime": "workbench.engines.onnxruntime:OnnxRuntime",
    "diffusers": "workbench.engines.diffusers:Diffusers",
    "stable-diffusion.cpp": "workbench.engines.stable_diffusion_cpp:StableDiffusionCpp",
    "faster-whisper": "workbench.engines.faster_whisper:FasterWhisper",
    "whisper.cpp": "workbench.engines.whispercpp:WhisperCpp",
    "openai-whisper": "workbench.engines.openai_whisper:OpenAIWhisper",
    "vosk": "workbench.engines.vosk:Vosk",
    "fake": "workbench.engines.fake:FakeEngine",
}

#: All-in-one apps, which are engines with models of their own: only used when asked for by name.
APPS = {
    "ollama": "workbench.engines.apps.ollama:engine",
    "lm-studio": "workbench.engines.apps.lm_studio:engine",
    "text-generation-webui": "workbench.engines.apps.text_generation_webui:engine",
    "localai": "workbench.engines.apps.localai:engine",
    "jan": "workbench.engines.apps.jan:engine",
}

#: Apps that make pictures.
IMAGE_APPS = {
    "comfyui": "workbench.engines.apps.comfyui:engine",
    "invokeai": "workbench.engines.apps.invokeai:engine",
}


def get(name: str) -> Engine[Any]:
    """The engine or app called `name`; raises UnknownName with the nearest names."""
    known = {**ENGINES, **APPS, **IMAGE_APPS}
    if name not in known:
        raise UnknownName("engine", name, known)
    module, _, attribute = known[name].partition(":")
    engine: Engine[Any] = getattr(import_module(module), attribute)()
    return engine
