"""A Whisper as Transformers stores it: the embedded one put into that layout, and what becomes of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import workbench
from workbench import models
from workbench.errors import BadModelFile, UnsupportedModel
from workbench.models import SpeechModel, ctranslate_file, speech_conversion, speech_files

pytest.importorskip("ctranslate2")
transformers = pytest.importorskip("transformers")

#: OpenAI's names → those of Transformers, as its own script for the conversion has them.
NAMES = (
    (r"blocks", "layers"), (r"\bcross_attn\b", "encoder_attn"), (r"cross_attn_ln", "encoder_attn_layer_norm"),
    (r"\battn\b", "self_attn"), (r"\battn_ln", "self_attn_layer_norm"), (r"query", "q_proj"), (r"key", "k_proj"),
    (r"value", "v_proj"), (r"attn\.out", "attn.out_proj"), (r"mlp_ln", "final_layer_norm"), (r"mlp\.0", "fc1"),
    (r"mlp\.2", "fc2"), (r"token_embedding", "embed_tokens"), (r"positional_embedding", "embed_positions.weight"),
    (r"(encoder\.ln_post|decoder\.ln\b)", lambda found: found[0].partition(".")[0] + ".layer_norm"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(speech_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper tiny.en in the layout of its repository on the Hub, weights in 16 bits."""
    from safetensors.numpy import save_file

    made = tmp_path_factory.mktemp("whisper") / "whisper-tiny.en"
    config = transformers.WhisperConfig(
        vocab_size=51864, num_mel_bins=80, d_model=384, encoder_layers=4, encoder_attention_heads=6, decoder_layers=4,
        decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536, dtype="float16",
        architectures=["WhisperForConditionalGeneration"], bos_token_id=50257, eos_token_id=50256, pad_token_id=50256,
        decoder_start_token_id=50257,
    )  # fmt: skip
    config.save_pretrained(made)
    said = json.loads((speech_model_path / "config.json").read_text())
    transformers.GenerationConfig(
        alignment_heads=said["alignment_heads"], suppress_tokens=said["suppress_ids"],
        begin_suppress_tokens=said["suppress_ids_begin"],
    ).save_pretrained(made)  # fmt: skip
    shutil.copy(speech_model_path / "tokenizer.json", made)
    tokenizer = {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024}
    (made / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    weights = ctranslate_file.under_openai_names(speech_model_path)
    save_file(
        {_renamed(name): np.ascontiguousarray(data) for name, data in weights.items()}, made / "model.safetensors"
    )
    return made


def _renamed(name: str) -> str:
    for pattern, new in NAMES:
        name = re.sub(pattern, new, name)
    return f"model.{name}"


def test_it_is_what_its_config_says(folder: Path, speech_model_path: Path) -> None:
    model, own = models.get(folder), speech_files.read(speech_model_path)
    assert isinstance(model, SpeechModel)
    assert (model.name, model.format, model.container) == ("whisper-tiny.en", "FP16", "transformers")
    assert [(one.name, one.shape) for one in model.tensors] == [(one.name, one.shape) for one in own.tensors]


def test_every_tensor_arrives_in_every_container(
    folder: Path, speech_model_path: Path, speech_model: SpeechModel
) -> None:
    model = models.get(folder)
    assert isinstance(model, SpeechModel)
    whole = models.convert(model, "ctranslate2", "FP16")
    found, wanted = (ctranslate_file.under_openai_names(one) for one in (whole, speech_model_path))
    assert found.keys() == wanted.keys()
    assert all((found[name] == wanted[name]).all() for name in wanted)
    mine, own = (json.loads((one / "config.json").read_text()) for one in (whole, speech_model_path))
    assert mine["suppress_ids"] == own["suppress_ids"] and mine["alignment_heads"] == own["alignment_heads"]
    assert (whole / "tokenizer.json").read_bytes() == (speech_model_path / "tokenizer.json").read_bytes()
    assert json.loads((whole / "preprocessor_config.json").read_text()) == {"feature_size": 80}
    ggml, same = (models.convert(one, "ggml", "F16") for one in (model, speech_model))
    assert ggml.read_bytes() == same.read_bytes()


def test_an_engine_opens_it(folder: Path, clips: list[Path]) -> None:
    with workbench.deploy(workbench.plan(models.get(folder), engine="faster-whisper"), share=False) as running:
        assert "Mr." in running.transcribe(clips[0]).text


def test_eight_bits_are_made_of_it_while_it_is_loaded(folder: Path) -> None:
    model = models.get(folder)
    assert speech_conversion.can_convert(model, "ctranslate2", "INT8")
    assert not speech_conversion.can_convert(model, "ggml", "Q5_0")


def test_missing_weights_pickles_and_code_are_refused(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "config.json", bare)
    with pytest.raises(UnsupportedModel, match="no weights"):
        models.get(bare)
    (bare / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(UnsupportedModel, match="pickled weights"):
        models.get(bare)
    shutil.copy(folder / "model.safetensors", bare)
    (bare / "modeling.py").write_text("raise SystemExit")
    with pytest.raises(UnsupportedModel, match="code of its own"):
        models.get(bare)
    (bare / "modeling.py").unlink()
    config = json.loads((folder / "config.json").read_text())
    (bare / "config.json").write_text(json.dumps({**config, "decoder_layers": 6}))
    with pytest.raises(BadModelFile, match=r"have 7\d,\d+,\d+ bytes, and its config\.json asks for"):
        models.get(bare)
