"""Where runtimes put a model, and in what it computes there; no accelerator is needed to tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import workbench
from workbench import engines, models
from workbench.engines import ImageShape, Settings
from workbench.engines.runtime import Imagining, Step
from workbench.errors import EngineUnavailable, UsageError

torch = pytest.importorskip("torch")


def settings(*devices: int, **more: Any) -> Settings:
    return Settings(**{"model": "m", "format": "FP16", "context": 0, "devices": devices, **more})


def sees(monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: kind is not None)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: SimpleNamespace(type=kind))


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_pytorch_names_the_device_that_was_planned_for(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    from workbench.engines.torch_device import torch_device

    sees(monkeypatch, kind)
    assert torch_device(settings(1)) == f"{kind}:1"
    assert torch_device(settings()) == "cpu"


def test_a_build_without_accelerators_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.engines.torch_device import torch_device

    sees(monkeypatch, None)
    with pytest.raises(EngineUnavailable, match=r"PyTorch 2\S* sees no accelerator here\.[\s\S]*plan without devices"):
        torch_device(settings(0))


def test_ctranslate_computes_in_what_was_asked_on_a_device_and_in_32_bits_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = pytest.importorskip("workbench.engines.faster_whisper_runtime")
    monkeypatch.setattr(runtime.ctranslate2, "get_cuda_device_count", lambda: 2)
    assert runtime._place(settings(1)) == {"device": "cuda", "device_index": 1, "compute_type": "float16"}
    assert runtime._place(settings()) == {"device": "cpu", "compute_type": "float32"}
    assert runtime._place(settings(format="INT8"))["compute_type"] == "int8"
    monkeypatch.setattr(runtime.ctranslate2, "get_cuda_device_count", lambda: 0)
    with pytest.raises(EngineUnavailable, match=r"sees no CUDA device here\."):
        runtime._place(settings(0))


@pytest.mark.parametrize("name", ["openai-whisper", "faster-whisper"])
def test_whisper_is_started_on_a_device(name: str, tmp_path: Path) -> None:
    model = replace(models.describe("whisper-tiny"), path=tmp_path)
    (tmp_path / "tokenizer.json").touch()
    launch = engines.get(name).launch(model, settings(0), 1, "key")
    assert '"devices": [0]' in launch.argv[-1]


def test_a_preview_of_an_autoencoder_that_overflows_is_decoded_in_32_bits(pipeline_path: Path) -> None:
    asked = Imagining("a red apple", ImageShape(32, 32, 2, 1, 1.0), preview=True)
    runtime: Any = engines.get("diffusers").runtime(pipeline_path, settings(image=asked.shape))
    vae, used = runtime._pipe.vae, []
    vae.register_to_config(force_upcast=True)
    runtime._pipe.upcast_vae = None  # as SDXL's pipeline has it, which turns to 32 bits
    decode = vae.decode
    vae.decode = lambda latents, **more: (used.append((latents.dtype, vae.dtype)), decode(latents, **more))[1]
    steps = [one for one in runtime.imagine(asked) if isinstance(one, Step)]
    assert steps[0].preview is not None and steps[0].preview.shape == (1, 32, 32, 3)
    assert used[0] == (torch.float32, torch.float32)
    assert vae.dtype == torch.float16  # as it was, for the next picture


def test_a_picture_that_fails_while_it_is_decoded_does_not_spoil_the_next_one(pipeline_path: Path) -> None:
    asked = Imagining("a red apple", ImageShape(32, 32, 2, 1, 1.0))
    runtime: Any = engines.get("diffusers").runtime(pipeline_path, settings(image=asked.shape))
    vae = runtime._pipe.vae
    decode = vae.decode

    def fails(*_: Any, **__: Any) -> None:
        vae.to(torch.float32)
        raise MemoryError("out of memory")

    vae.decode = fails
    with pytest.raises(MemoryError):
        list(runtime.imagine(asked))
    vae.decode = decode
    assert vae.dtype == torch.float16 and len(list(runtime.imagine(asked))) == 3


@pytest.mark.parametrize(
    ("pipeline", "own", "known"),
    [("FluxPipeline", "FlowMatchEulerDiscreteScheduler", {"euler"}),
     ("StableDiffusion3Pipeline", "FlowMatchEulerDiscreteScheduler", {"euler", "heun"}),
     ("LatentConsistencyModelPipeline", "LCMScheduler", {"lcm"})],
)  # fmt: skip
def test_a_pipeline_is_offered_the_schedulers_that_it_takes(pipeline: str, own: str, known: set[str]) -> None:
    from workbench.engines.diffusers_runtime import _schedulers

    assert set(_schedulers(pipeline, own)) == known


def test_several_windows_at_once_are_predicted_and_not_started(tmp_path: Path) -> None:
    model = replace(models.describe("whisper-tiny"), path=tmp_path)
    with pytest.raises(EngineUnavailable, match="8 windows at once are predicted and not started"):
        engines.get("openai-whisper").launch(model, settings(concurrency=8), 1, "key")
    with pytest.raises(UsageError, match="4 recordings at once"):
        workbench.plan(model, concurrency=4)


def test_a_folder_without_a_tokenizer_is_refused_before_another_one_is_fetched(tmp_path: Path) -> None:
    model = replace(models.describe("whisper-tiny"), path=tmp_path)
    with pytest.raises(EngineUnavailable, match=r"has no tokenizer\.json"):
        engines.get("faster-whisper").launch(model, settings(), 1, "key")
