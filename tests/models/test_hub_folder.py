"""Which files of a repository on the Hub become a pipeline, and what is done when the Hub cannot be reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench import models
from workbench.catalog import HubSource
from workbench.errors import AssetUnavailable, UnsupportedModel, UsageError
from workbench.models import ImageModel, hub
from workbench.models.hub_folder import of_pipeline, wanted

pytest.importorskip("diffusers")
#: As Stable Diffusion 1.5 is published: the same weights many times over.
SD15 = [
    "model_index.json", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "README.md", "safety_checker/model.safetensors",
    "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
    "text_encoder/model.fp16.safetensors", "text_encoder/pytorch_model.bin", "tokenizer/vocab.json",
    "tokenizer/merges.txt", "unet/config.json", "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors",
]  # fmt: skip
COMPONENTS = ["safety_checker", "scheduler", "text_encoder", "tokenizer", "unet", "vae"]


def test_each_weight_once_and_nothing_pickled() -> None:
    assert sorted(of_pipeline(SD15, COMPONENTS)) == [
        "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
        "tokenizer/merges.txt", "tokenizer/vocab.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors",
    ]  # fmt: skip


def test_all_parts_of_large_weights() -> None:
    parts = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    inside = ["config.json", "diffusion_pytorch_model.safetensors.index.json", *parts]
    files = [f"transformer/{one}" for one in inside]
    assert sorted(of_pipeline(files, ["transformer"])) == sorted(files)


def test_a_repository_of_pickles_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="unet is there only as pickled"):
        list(of_pipeline(["unet/config.json", "unet/diffusion_pytorch_model.bin"], ["unet"]))


def test_a_pipeline_is_brought_once_and_used_offline(pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bring(source: HubSource, *_: Any, **__: Any) -> tuple[Path, None]:
        assert source.repo == "someone/tiny-pictures"
        return pipeline / source.file, None

    def gone(*_: Any, **__: Any) -> Any:
        raise AssetUnavailable("The Hub cannot be reached.")

    monkeypatch.setattr(hub, "bring", gone)
    monkeypatch.setattr(hub, "files", gone)
    with pytest.raises(AssetUnavailable, match="cannot be reached"):
        models.get("hf:someone/tiny-pictures")
    monkeypatch.setattr(hub, "bring", bring)
    monkeypatch.setattr(hub, "files", lambda repo: [str(f.relative_to(pipeline)) for f in pipeline.rglob("*.*")])
    model = models.get("hf:someone/tiny-pictures")
    assert (
        isinstance(model, ImageModel)
        and model.name == "tiny-pictures"
        and model.source.endswith("someone/tiny-pictures")
    )
    monkeypatch.setattr(hub, "bring", gone)
    assert models.get("hf:someone/tiny-pictures") == model


def test_a_whisper_and_a_language_model_are_folders_too() -> None:
    whisper = ["README.md", "config.json", "model.bin", "tokenizer.json", "vocabulary.txt"]
    assert sorted(wanted("Systran/faster-whisper-small", whisper)) == whisper[1:]
    language = ["config.json", "generation_config.json", "model.safetensors", "onnx/model.onnx", "tokenizer.json"]
    assert sorted(wanted("a/b", [*language, "pytorch_model.bin"])) == [one for one in language if "onnx" not in one]


def test_what_is_no_folder_says_what_it_has() -> None:
    with pytest.raises(UsageError, match="holds no pipeline") as caught:
        wanted("a/b", ["README.md", "model-Q4_K_M.gguf"])
    assert "hf:a/b/model-Q4_K_M.gguf" in caught.value.fix
