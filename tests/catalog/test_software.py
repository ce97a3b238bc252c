"""The guide's engines and applications are all there, under every name they go by."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import catalog
from workbench.catalog.loader import load
from workbench.errors import UnknownName, UsageError


def test_the_guides_eight_frameworks_are_there() -> None:
    guide = {name for name, one in catalog.engines().items() if one.in_guide}
    assert guide == {
        "transformers", "ggml", "vllm", "tensorrt-llm", "onnx-runtime", "llama.cpp", "whisper.cpp", "diffusers",
    }  # fmt: skip


def test_the_guides_seven_solutions_are_there() -> None:
    assert list(catalog.apps()) == [
        "ollama", "lm-studio", "text-generation-webui", "localai", "comfyui", "invokeai", "jan",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name"),
    [("vLLM 0.6.3", "vllm"), ("llama.cpp build 1691", "llama.cpp"), ("llamacpp", "llama.cpp"),
     ("llamafile (LocalScore)", "llama.cpp"), ("HF Transformers 4.46.0", "transformers"),
     ("TensorRT-LLM v0.5/v0.6.1 static batch", "tensorrt-llm"), ("whisper.cpp 8a67c55c", "whisper.cpp"),
     ("openai/whisper v20240930", "openai-whisper"), ("diffusers torch 2.0 eager", "diffusers")],
)  # fmt: skip
def test_an_engine_is_found_whatever_follows_its_name(text: str, name: str) -> None:
    assert catalog.engine(text).name == name


def test_an_app_is_found_by_its_old_and_new_names() -> None:
    assert catalog.app("oobabooga") is catalog.app("TextGen") is catalog.app("text-generation-webui")


@pytest.mark.parametrize("text", ["", "SGLang 0.4", "cpp"])
def test_unknown_engines_are_refused(text: str) -> None:
    with pytest.raises(UnknownName, match="no engine called"):
        catalog.engine(text)


def test_ports_are_ports_and_pages_are_secure() -> None:
    for one in (*catalog.engines().values(), *catalog.apps().values()):
        assert one.homepage.startswith("https://"), one.name
        assert one.port is None or 1024 <= one.port < 65536, one.name


def test_an_app_serves_only_what_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "apps.yaml"
    path.write_text(
        "x: {title: X, licence: MIT, homepage: h, platforms: [], interface: [], serves: [dance], engines: [], api: [],"
        " port: 1, source: s, checked: 2026-01-31}"
    )
    with pytest.raises(UsageError, match="serves 'dance', expected some of chat"):
        load(path, catalog.AppEntry)
