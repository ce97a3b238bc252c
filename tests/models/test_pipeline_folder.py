"""Pipelines for images in folders: what they are, and what is not opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench import models
from workbench.catalog.image_components import ImageComponent, at, image_components
from workbench.errors import BadModelFile, UnsupportedModel, UsageError
from workbench.models import ImageModel
from workbench.models.components import Described, components

pytest.importorskip("diffusers")
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
          "vocab_size": 49408, "hidden_act": "quick_gelu"}  # fmt: skip


@pytest.fixture
def folder(pipeline: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(pipeline, tmp_path / "pictures"))


def read(folder: Path) -> ImageModel:
    model = models.get(folder)
    assert isinstance(model, ImageModel)
    return model


def test_a_folder_is_a_model(folder: Path) -> None:
    model = read(folder)
    assert (model.name, model.format, model.pipeline) == ("pictures", "FP32", "StableDiffusionPipeline")
    assert (model.width, model.height, model.pixels) == (32, 32, 4)
    stored = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    assert model.weight_bytes == pytest.approx(stored, rel=0.1)  # the rest is headers
    assert model.guided and model.path == folder


def test_it_is_counted_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(folder)
    monkeypatch.setattr("workbench.models.components._count", lambda *_: pytest.fail("counted again"))
    assert read(folder) == first


def test_counting_agrees_with_the_catalog() -> None:
    """What the catalog has was counted by other means."""
    asked = {"taesd": ("AutoencoderTiny", {}), "clip-l": ("CLIPTextModel", CLIP_L)}
    described = [Described(name, kind, config, 0, 512, 8) for name, (kind, config) in asked.items()]
    for found in components(described):
        known = image_components()[found.name]
        assert (found.parameters, found.linear, found.convolution, found.embedding, found.decoder) == (
            known.parameters, known.linear, known.convolution, known.embedding, known.decoder
        )  # fmt: skip
        for amount in ("convolution_flops", "traffic_bytes", "activation_bytes", "encode_bytes"):
            assert _at(found, amount) == pytest.approx(_at(known, amount), rel=0.02)
        both = [_at(one, "matrix_flops") + _at(one, "attention_flops") for one in (found, known)]
        assert both[0] == pytest.approx(both[1], rel=0.001)
        assert found.kernels == pytest.approx(known.kernels, rel=0.05)


def _at(one: ImageComponent, amount: str) -> float:
    return at(getattr(one, amount), 768**2)


def test_a_component_of_the_catalog_is_known_by_its_size() -> None:
    known = image_components()["sd1-unet"]
    assert components([Described("x", "UNet2DConditionModel", {}, known.parameters, 512, 8)]) == [known]


# -- what is not opened ----------------------------------------------------------------------------------------


def _change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _pickled(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")


INDEX, WEIGHTS = "model_index.json", "diffusion_pytorch_model.safetensors"
REFUSED: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "no unet": (lambda f: shutil.rmtree(f / "unet"), BadModelFile, "lacks unet, a UNet2DConditionModel"),
    "no weights": (lambda f: (f / "vae" / WEIGHTS).unlink(), BadModelFile, "holds no weights"),
    "pickled": (_pickled, UnsupportedModel, "only pickled weights"),
    "cut short": (lambda f: _cut(f / "unet" / WEIGHTS), BadModelFile, "does not lie whole"),
    "own class": (lambda f: _change(f / INDEX, unet=["mine", "Net"]), UnsupportedModel, "a program of its own"),
    "own code": (lambda f: (f / "unet/net.py").write_text("1"), UnsupportedModel, r"code of its own: unet.net\.py"),
    "mapped": (lambda f: _change(f / "text_encoder/config.json", auto_map={"a": "b"}), UnsupportedModel, "auto_map"),
    "other kind": (lambda f: _change(f / INDEX, _class_name="MyPipeline"), UnsupportedModel, "is a MyPipeline"),
    "no JSON": (lambda f: (f / INDEX).write_text("{"), BadModelFile, "not valid JSON"),
    "no scheduler": (lambda f: _change(f / INDEX, scheduler=None), BadModelFile, "names no scheduler"),
    "other type": (
        lambda f: _change(f / "vae/config.json", latent_channels="four"),
        UnsupportedModel,
        "could not be counted",
    ),
}


@pytest.mark.parametrize(("damage", "error", "said"), REFUSED.values(), ids=list(REFUSED))
def test_what_is_refused(folder: Path, damage: Callable[[Path], Any], error: type[Exception], said: str) -> None:
    damage(folder)
    with pytest.raises(error, match=said):
        models.get(folder)


def test_a_pipeline_is_no_language_model(folder: Path) -> None:
    with pytest.raises(UsageError, match="is a model for images"):
        models.get_text(folder)
