"""The environment that a process of ours gets: none of the secrets of the shell it was started from, and the wish that
nothing is reported to the makers of what runs in it."""

from __future__ import annotations

from collections.abc import Mapping

_SECRET_NAMES = ("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_ACCESS_KEY", "_CREDENTIALS")
#: vLLM, TensorRT-LLM, ONNX Runtime, bitsandbytes, the Hub's client and Gradio send what they run, and on what, home
#: unless told not to. The first is heeded by all but two of them.
#: Sources: vllm 0.32 envs.py; NVIDIA/TensorRT-LLM tensorrt_llm/usage/usage_lib.py; onnxruntime-genai@00d66ef
#: src/ort_genai_c.h; huggingface_hub 2.4 constants.py; Gradio's analytics.py.
_UNREPORTED = {"DO_NOT_TRACK": "1", "ORT_DISABLE_TELEMETRY": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def private_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables whose names say that they hold a key, a token or a password, and with those
    that keep engines from reporting; what the user has set of these stays."""
    kept = {name: value for name, value in inherited.items() if not name.upper().endswith(_SECRET_NAMES)}
    return {**_UNREPORTED, **kept}
