"""Models without their weights: of the catalog, from a config.json, in any format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench import catalog, models
from workbench.errors import AssetUnavailable, BadModelFile, UnknownName, UnsupportedModel, UsageError
from workbench.models import ImageModel, Model, SpeechModel

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 1000, "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}  # fmt: skip


def write(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**CONFIG, **changes}))
    return path


def test_kinds_of_models() -> None:
    assert isinstance(models.describe("llama-3.1-8b"), Model)
    assert isinstance(models.describe("openai/whisper-tiny"), SpeechModel)
    assert isinstance(models.describe("SDXL"), ImageModel)


def test_every_model_of_the_catalog_is_described_or_refused_by_its_type() -> None:
    refused = []
    for name in catalog.models():
        try:
            assert models.describe(name).weight_bytes > 0
        except UnsupportedModel as error:
            refused.append(name)
            assert "is not described here" in str(error)
    assert len(catalog.models()) - len(refused) >= 250


@pytest.mark.parametrize("give_folder", [True, False])
def test_a_config_on_this_computer(tmp_path: Path, give_folder: bool) -> None:
    path = write(tmp_path)
    model = models.describe(str(tmp_path if give_folder else path), "Q8_0")
    assert isinstance(model, Model)
    assert (model.name, model.quantization, model.path) == (tmp_path.name, "Q8_0", None)
    assert model.parameters == 2 * 64 * 1000 + 2 * (64 * (64 + 64 + 64) + 3 * 64 * 128 + 2 * 64) + 64


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": None}, "no field 'hidden_size'"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"num_attention_heads": True}, "num_attention_heads is True"),
    ],
)
def test_a_config_that_cannot_be(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        models.describe(str(write(tmp_path, **changes)))


def test_files_that_are_no_config(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for text, error in (("{", BadModelFile), ('{"hidden_size": NaN}', BadModelFile), ("[1]", UsageError)):
        path.write_text(text)
        with pytest.raises(error):
            models.describe(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        models.describe(str(tmp_path / "none.json"))
    with pytest.raises(UnsupportedModel, match="'papyrus'"):
        models.describe(str(write(tmp_path, model_type="papyrus")))


def test_names_that_nobody_knows() -> None:
    with pytest.raises(UnknownName, match="Did you mean"):
        models.describe("llama-3.1-9b")
    with pytest.raises(AssetUnavailable, match="Hub cannot deliver"):
        models.describe("nobody/nothing")


@pytest.mark.parametrize("name", ["/no/where", "./nowhere", "~/nowhere-at-all", "../no/where"])
def test_a_path_that_is_not_there_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file or directory"):
        models.describe(name)
