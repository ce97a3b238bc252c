"""Models for images on paper: exact sizes, formats, and the records of the catalog."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import workbench
from workbench.catalog.image_components import at, image_components
from workbench.errors import UnknownName, UnsupportedModel, UsageError
from workbench.models.image import ImageModel, bits_per_weight, from_config, in_format

RECORDS = yaml.safe_load((Path(workbench.__file__).parent / "catalog/models/image.yaml").read_text())
DENOISERS = ("FP32", "FP16", "BF16", "FP8", "LLM.int8", "int8wo", "NF4", "NF4-DQ", "Q8_0", "Q4_0", "Q2_K")
#: Published totals: the sums of components that diffusers and transformers build from the published configurations.
PARAMETERS = {
    "stable-diffusion-1.5": 1_066_235_307, "stable-diffusion-2.1": 1_289_952_427, "sdxl-base-1.0": 3_468_837_867,
    "stable-diffusion-3-medium": 7_692_768_483, "flux.1-dev": 16_870_599_139, "flux.1-schnell": 16_860_369_379,
}  # fmt: skip


def model(name: str, format_name: str = "BF16") -> ImageModel:
    return in_format(from_config(RECORDS[name]["config"], name, "test"), format_name)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_exact(name: str) -> None:
    one = model(name)
    assert one.parameters == PARAMETERS[name]
    assert sum(one.parameters_by_part.values()) == one.parameters


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_record_describes_a_model_with_source_and_licence(name: str) -> None:
    record, one = RECORDS[name], model(name)
    assert record["task"] == "imagine" and record["licence"] and record["source"] and record["checked"]
    assert one.width % one.pixels == one.height % one.pixels == 0
    assert one.denoiser.component.kind == "denoiser" and one.vae.component.kind == "vae"
    assert {part.component.kind for part in one.text_encoders} == {"text encoder"}


@pytest.mark.parametrize("name", sorted(image_components()))
def test_parts_of_a_component_are_no_more_than_the_whole(name: str) -> None:
    c = image_components()[name]
    assert 0 < c.linear + c.convolution + c.embedding <= c.parameters
    assert c.decoder < c.parameters and c.float32 <= c.linear


def test_operations_agree_with_published_counts() -> None:
    """T-GATE counts 0.678 T multiply-adds a guided step of Stable Diffusion 1.5, 5.978 T of SDXL, attention apart."""
    for name, side, macs in (("sd1-unet", 512, 0.678e12), ("sdxl-unet", 1024, 5.978e12)):
        c = image_components()[name]
        flops = at(c.matrix_flops, side**2) + at(c.convolution_flops, side**2)
        assert 2 * flops / 2 == pytest.approx(macs, rel=0.005)


def test_formats_take_the_bytes_that_files_and_counters_show() -> None:
    """FLUX.1 [dev] as GGUF: 12,068 and 6,394 MiB; PixArt-Sigma in FP16 holds 12.04 GiB, T5 partly in 32 bits."""
    assert model("flux.1-dev", "Q8_0").denoiser.weight_bytes / 2**20 == pytest.approx(12_068, rel=0.001)
    assert model("flux.1-dev", "Q4_0").denoiser.weight_bytes / 2**20 == pytest.approx(6_394, rel=0.001)
    assert model("pixart-sigma", "FP16").weight_bytes / 2**30 == pytest.approx(12.086, rel=0.01)
    assert model("pixart-sigma", "FP8+FP8").weight_bytes / 2**30 == pytest.approx(5.363, rel=0.02)


def test_text_encoders_stay_in_16_bits_unless_named() -> None:
    plain, both = model("flux.1-dev", "NF4"), model("flux.1-dev", "NF4+FP8")
    assert {part.linear for part in plain.text_encoders} == {"BF16"}
    assert {part.linear for part in both.text_encoders} == {"FP8"}
    assert plain.vae.linear == both.vae.linear == "BF16"
    assert {part.linear for part in model("flux.1-dev", "FP32").parts} == {"FP32"}


@given(st.sampled_from(sorted(RECORDS)), st.sampled_from(DENOISERS), st.sampled_from(DENOISERS))
def test_fewer_bits_never_take_more_bytes(name: str, one: str, other: str) -> None:
    if bits_per_weight(one) < bits_per_weight(other):
        first, second = model(name, one), model(name, other)
        assert first.denoiser.weight_bytes < second.denoiser.weight_bytes
        assert first.weight_bytes == sum(part.weight_bytes for part in first.parts)


@given(st.sampled_from(sorted(image_components())), st.integers(64, 4096), st.integers(64, 4096))
def test_more_pixels_never_ask_for_less(name: str, one: int, other: int) -> None:
    c, (small, large) = image_components()[name], sorted((one**2, other**2))
    for polynomial in (c.matrix_flops, c.attention_flops, c.traffic_bytes, c.activation_bytes, c.encode_bytes):
        assert 0 <= at(polynomial, small) <= at(polynomial, large)


def test_wrong_formats_and_records_are_refused_with_the_value() -> None:
    with pytest.raises(UsageError, match=r"'NF3'.*NF4"):
        model("sdxl-base-1.0", "NF3")
    with pytest.raises(UsageError, match="'Q9'"):
        model("sdxl-base-1.0", "NF4+Q9")
    config = RECORDS["sdxl-base-1.0"]["config"]
    with pytest.raises(UnsupportedModel, match="llama"):
        from_config({**config, "model_type": "llama"}, "x", "test")
    with pytest.raises(UnsupportedModel, match="denoiser, steps"):
        from_config({k: v for k, v in config.items() if k not in ("denoiser", "steps")}, "x", "test")
    with pytest.raises(UnknownName, match="sdxl-unett"):
        from_config({**config, "denoiser": "sdxl-unett"}, "x", "test")
