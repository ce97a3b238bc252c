"""Whisper on paper: exact sizes, formats, caches and operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import workbench
from workbench.errors import UnsupportedModel, UsageError
from workbench.models import speech
from workbench.models.speech import SpeechModel, from_config, in_format

RECORDS = yaml.safe_load((Path(workbench.__file__).parent / "catalog/models/speech.yaml").read_text())
FORMATS = ("FP32", "FP16", "BF16", "INT8", "F16", "Q8_0", "Q6_K", "Q5_1", "Q5_0", "Q4_0")
#: Counted by openai-whisper 20250625's own code on PyTorch's meta device.
PARAMETERS = {
    "whisper-tiny": 37_184_640, "whisper-base": 71_825_920, "whisper-small": 240_582_912,
    "whisper-small.en": 240_582_144, "whisper-medium": 762_321_920, "whisper-large-v2": 1_541_384_960,
    "whisper-large-v3": 1_541_570_560, "whisper-large-v3-turbo": 806_958_080,
}  # fmt: skip


def model(name: str, format_name: str = "FP16") -> SpeechModel:
    return in_format(from_config(RECORDS[name]["config"], name, "test"), format_name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_exact(name: str) -> None:
    assert model(name).parameters == PARAMETERS[name]


def test_transformers_counts_the_table_of_positions_as_well() -> None:
    """WhisperForConditionalGeneration holds 1,543,490,560 parameters for large-v3."""
    large = model("whisper-large-v3")
    assert sum(tensor.elements for tensor in large.tensors) == 1_543_490_560


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whisper-tiny.en", "whisper-large-v3-turbo", "distil-small.en"])
def test_tensors_are_those_of_transformers(name: str) -> None:
    """Counted by the library itself, on PyTorch's meta device."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        built = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**RECORDS[name]["config"]))
    assert sum(p.numel() for p in built.parameters()) == sum(t.elements for t in model(name).tensors)
    assert len(list(built.parameters())) == len(model(name).tensors)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_record_describes_a_model_with_source_and_licence(name: str) -> None:
    record, one = RECORDS[name], model(name)
    assert record["task"] == "transcribe" and record["licence"] and record["source"] and record["checked"]
    assert sum(one.parameters_by_part.values()) == one.parameters
    assert one.audio_state % one.audio_heads == 0


def test_distilled_models_have_their_published_sizes() -> None:
    """Millions of parameters in distil-whisper's README, which counts the table of positions."""
    published = {"distil-large-v3": 756, "distil-medium.en": 394, "distil-small.en": 166}
    for name, millions in published.items():
        assert round(sum(t.elements for t in model(name).tensors) / 1e6) == millions


def test_files_of_ggml_have_their_published_sizes() -> None:
    """whisper.cpp's own log for base in f16; the sizes of two files on its model page."""
    assert round(model("whisper-base", "F16").weight_bytes / 1e6, 2) == 147.37
    assert round(model("whisper-large-v3-turbo", "Q5_0").weight_bytes / 2**20) == 547
    assert round(model("whisper-large-v3-turbo", "Q8_0").weight_bytes / 2**20) == pytest.approx(834, abs=1)


def test_caches_are_those_of_the_log() -> None:
    """whisper.cpp's log for large: 70.00 MiB for tokens, 234.38 MiB for the sound."""
    large = model("whisper-large-v3")
    assert large.self_cache_bytes() == 70 * 2**20
    assert round(large.cross_cache_bytes() / 2**20, 2) == 234.38
    assert large.self_cache_bytes(0) == 0


@given(st.sampled_from(sorted(RECORDS)), st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_fewer_bits_never_take_more_bytes(name: str, one: str, other: str) -> None:
    def bits(format_name: str) -> float:
        return speech._bytes_per_weight(format_name)

    first, second = model(name, one), model(name, other)
    if bits(one) < bits(other):
        assert first.weight_bytes < second.weight_bytes
    assert 0 < first.decode_read_bytes < first.weight_bytes
    assert sum(t.bytes for t in first.tensors) == first.weight_bytes


def test_a_step_reads_no_encoder_and_no_projection_of_the_sound() -> None:
    """Of turbo, 4 layers of 14 squares of its width, and the embedding."""
    turbo = model("whisper-large-v3-turbo")
    assert turbo.decode_read_bytes / 2 == pytest.approx(4 * 14 * 1280**2 + 51866 * 1280, rel=0.001)
    assert turbo.encoder_flops == pytest.approx(2 * 635_048_960 * 1500 + 4 * 1500**2 * 1280 * 32, rel=0.05)


def test_formats_are_found_whatever_the_case_and_unknown_ones_are_refused() -> None:
    assert model("whisper-tiny", "q5_0").format == "Q5_0"
    with pytest.raises(UsageError, match=r"'Q77'.*Q5_0"):
        model("whisper-tiny", "Q77")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"model_type": "wav2vec2"}, "wav2vec2"), ({"encoder_layers": 0}, "encoder_layers is 0"),
        ({"vocab_size": None}, "vocab_size is None"), ({"d_model": 384.5}, "d_model is 384.5"),
        ({"decoder_ffn_dim": 1000}, "1000"),
    ],
)  # fmt: skip
def test_what_is_no_whisper_is_refused_with_the_value(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(UnsupportedModel, match=what):
        from_config({**RECORDS["whisper-tiny"]["config"], **changes}, "broken", "test")
