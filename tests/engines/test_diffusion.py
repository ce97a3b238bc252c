"""Engines for images: what they need and how long they take, on paper."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import workbench
from tests.calls import calls
from workbench.catalog.accelerators import accelerator
from workbench.catalog.media_coefficients import of_images
from workbench.engines import ImageShape, Settings
from workbench.engines.contract import Tricks
from workbench.engines.diffusers import Diffusers
from workbench.engines.diffusion import seconds, work_of
from workbench.engines.stable_diffusion_cpp import StableDiffusionCpp
from workbench.engines.workload import CHAT
from workbench.errors import EngineUnavailable, UsageError
from workbench.evidence import Breakdown
from workbench.machine import Accelerator, Cpu, Disk, Machine, Memory
from workbench.models.image import ImageModel, from_config, in_format
from workbench.units import GIB

RECORDS = yaml.safe_load((Path(workbench.__file__).parent / "catalog/models/image.yaml").read_text())
NAMES = st.sampled_from(sorted(RECORDS))
SIDES = st.integers(8, 64).map(lambda count: 32 * count)
TWO_SIDES = st.tuples(SIDES, SIDES).map(sorted)
TWO_COUNTS = st.tuples(st.integers(1, 8), st.integers(1, 8)).map(sorted)
CPU = Cpu("Test CPU", "Test", "x86-64", physical_cores=2, logical_cores=2, usable_cores=2.0)
ENGINES = {"BF16": Diffusers(), "NF4": Diffusers(), "Q8_0+Q8_0": StableDiffusionCpp()}


def model(name: str, format_name: str = "FP16") -> ImageModel:
    return in_format(from_config(RECORDS[name]["config"], name, "test"), format_name)


def with_card(key: str, **changes: Any) -> Machine:
    """A described machine with one device."""
    spec = accelerator(key)
    card = Accelerator(
        spec.vendor, spec.title, 0, spec.memory_bytes, spec.memory_bytes, spec=spec, unified=spec.unified
    )
    return Machine(CPU, Memory(64 * GIB, 60 * GIB), Disk("/", GIB, GIB), (replace(card, **changes),))


CARD = with_card("RTX 4090")


def settings(width: Any = 1024, height: Any = 1024, steps: Any = 20, images: Any = 1, **more: Any) -> Settings:
    shape = ImageShape(width, height, steps, images)
    return Settings(**{"model": "m", "format": "FP16", "context": 0, "devices": (0,), "image": shape, **more})


def peak(one: ImageModel, asked: Settings, engine: Any = None, machine: Machine = CARD) -> float:
    return (engine or Diffusers()).memory(one, asked, machine)[0].total.known()


# -- memory ----------------------------------------------------------------------------------------------------


@given(NAMES, st.sampled_from(sorted(ENGINES)), TWO_SIDES, TWO_COUNTS)
def test_memory_grows_with_size_and_number_of_pictures(
    name: str, kind: str, sides: tuple[int, int], counts: tuple[int, int]
) -> None:
    (small, large), (fewer, more) = sides, counts
    for fused in (True, False):
        less = peak(model(name, kind), settings(small, small, images=fewer, flash_attention=fused), ENGINES[kind])
        assert less <= peak(
            model(name, kind), settings(large, large, images=more, flash_attention=fused), ENGINES[kind]
        )


@given(NAMES, st.sampled_from(sorted(ENGINES)), SIDES, st.integers(1, 4), st.booleans())
def test_offloading_never_needs_more(name: str, kind: str, side: int, images: int, fused: bool) -> None:
    asked = settings(side, side, images=images, flash_attention=fused)
    resident = ENGINES[kind].memory(model(name, kind), asked, CARD)[0].total
    moved = ENGINES[kind].memory(model(name, kind), replace(asked, offload=True), CARD)[0].total
    assert moved.known() <= resident.known()
    assert (moved.high or 0) <= (resident.high or 0)
    if kind != "Q8_0+Q8_0":
        layers = Diffusers().memory(model(name, kind), replace(asked, tricks=Tricks(sequential=True)), CARD)[0].total
        assert layers.known() <= moved.known()


@given(NAMES, SIDES, st.integers(1, 4))
def test_parts_sum_to_the_total_and_tricks_never_need_more(name: str, side: int, images: int) -> None:
    asked = settings(side, side, images=images)
    whole = Diffusers().memory(model(name), asked, CARD)[0]
    assert whole.total.known() == pytest.approx(sum(part.known() for part in whole.parts.values()))
    for tricks in (Tricks(sliced=True), Tricks(tiled=True), Tricks(sliced=True, tiled=True)):
        assert peak(model(name), replace(asked, tricks=tricks)) <= whole.total.known()


def test_fewer_bits_need_less_memory() -> None:
    sizes = [peak(model("flux.1-dev", kind), settings()) for kind in ("FP32", "BF16", "FP8", "NF4", "NF4+NF4")]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 5


def test_sdxl_upcasts_its_autoencoder_in_fp16_alone() -> None:
    assert peak(model("sdxl-base-1.0", "FP16"), settings()) > peak(model("sdxl-base-1.0", "BF16"), settings()) + 2e9


def test_two_text_encoders_meet_under_offload_with_guidance() -> None:
    """Stable Diffusion 3 medium in FP16 with model offload: 12.06 GiB on an A100 (huggingface/blog, sd3.md)."""
    found = Diffusers().memory(model("stable-diffusion-3-medium"), settings(offload=True), CARD)[0]
    without_driver = found.total.known() - found.parts["driver"].known()
    assert without_driver / GIB == pytest.approx(12.06, rel=0.03)


def test_where_the_weights_lie() -> None:
    one = model("sdxl-base-1.0")
    device, host = Diffusers().memory(one, settings(offload=True), CARD)
    assert host.parts["weights"].known() == one.weight_bytes
    assert device.parts["text encoders"].known() == 0
    (everything,) = Diffusers().memory(one, settings(devices=()), CARD)
    assert everything.device == "RAM" and "driver" not in everything.parts
    (shared,) = Diffusers().memory(one, settings(), with_card("GB10"))
    assert {"engine", "driver"} <= set(shared.parts)


def test_a_second_device_stays_empty() -> None:
    machine = replace(CARD, accelerators=CARD.accelerators * 2)
    found = Diffusers().memory(model("sdxl-base-1.0"), settings(devices=(0, 1)), machine)
    assert [breakdown.total.known() > 0 for breakdown in found] == [True, False, True]


def test_stable_diffusion_cpp_needs_what_its_readme_says() -> None:
    """Stable Diffusion 1.x, 512 × 512, without fused attention: f32 2.8 G, f16 2.3 G, q8_0 2.1 G, q4_0 2.0 G."""
    for kind, published in (("F32", 2.8), ("F16", 2.3), ("Q8_0", 2.1), ("Q4_0", 2.0)):
        asked = settings(512, 512, devices=(), flash_attention=False)
        found = StableDiffusionCpp().memory(model("stable-diffusion-1.5", f"{kind}+{kind}"), asked, CARD)[0].total
        assert found.known() / GIB == pytest.approx(published, rel=0.06) and found.contains(published * GIB)


# -- speed -----------------------------------------------------------------------------------------------------


@given(NAMES, TWO_SIDES, TWO_COUNTS, TWO_COUNTS)
def test_time_grows_with_size_pictures_and_steps(
    name: str, sides: tuple[int, int], counts: tuple[int, int], steps: tuple[int, int]
) -> None:
    (small, large), (fewer, more), (first, last) = sides, counts, steps
    fast = Diffusers().speed(model(name), settings(small, small, first, fewer), CARD, CHAT)
    slow = Diffusers().speed(model(name), settings(large, large, last, more), CARD, CHAT)
    assert fast["step"].known() <= slow["step"].known()
    assert fast["image"].known() <= slow["image"].known()
    assert fast["image"].known() > first * fast["step"].known()


def test_compiling_and_faster_cards_help() -> None:
    one, asked = model("sdxl-base-1.0"), settings()
    eager = Diffusers().speed(one, asked, CARD, CHAT)["step"].known()
    assert Diffusers(compiled=True).speed(one, asked, CARD, CHAT)["step"].known() < eager
    assert Diffusers().speed(one, asked, with_card("RTX 3060 12GB"), CHAT)["step"].known() > 2 * eager
    assert Diffusers().speed(model("sdxl-base-1.0", "FP32"), asked, CARD, CHAT)["step"].known() > 1.5 * eager


def test_moving_weights_takes_time() -> None:
    one = model("sdxl-base-1.0")
    kept, moved = (Diffusers().speed(one, settings(offload=o), CARD, CHAT)["image"].known() for o in (False, True))
    assert moved == pytest.approx(kept + one.weight_bytes * of_images("diffusers", "cuda").offload_s_per_byte)


def test_published_steps_lie_in_their_interval() -> None:
    """Diffusers' documentation (2023): iterations a second of Stable Diffusion 1.5 on a V100, eager, 4 pictures."""
    machine = with_card("v100-sxm2-16gb")
    found = Diffusers().speed(model("stable-diffusion-1.5"), settings(512, 512, images=4), machine, CHAT)["step"]
    assert found.contains(1 / 5.96)
    assert "published rows" in found.basis.source


def test_a_card_of_little_power_is_slower_than_its_rate_says() -> None:
    c, unet = of_images("diffusers", "cuda"), model("sdxl-base-1.0").denoiser
    t4 = accelerator("t4")
    work = work_of(unet, 1024**2, 2)
    assert seconds(work, t4, c) > 1.5 * seconds(work, replace(t4, tdp_w=None), c)


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (with_card("RX 7900 XTX"), "AMD"),
        (with_card("apple-m4-max-40-core"), "Apple"),
        (with_card("RTX 4090", spec=None, name="Unheard Of 9000"), "Unheard Of 9000"),
    ],
)
def test_what_nobody_measured_is_unknown(machine: Machine, reason: str) -> None:
    found = Diffusers().speed(model("sdxl-base-1.0"), settings(), machine, CHAT)
    assert {estimate.value for estimate in found.values()} == {None}
    assert reason in found["image"].reason


def test_a_cpu_is_predicted_once_it_is_calibrated(machine: Machine) -> None:
    one, asked = model("stable-diffusion-1.5", "FP32"), settings(512, 512, devices=(), prefill_threads=2)
    known = Diffusers().speed(one, asked, machine, CHAT)
    assert 5 < known["step"].known() < 30  # 1.6 TFLOP at 2 × 100 GFLOP/s
    sixteen = Diffusers().speed(model("stable-diffusion-1.5"), asked, machine, CHAT)["step"]
    assert sixteen.known() > 2 * known["step"].known() and sixteen.low < known["step"].known()  # without a unit for it
    unknown = Diffusers().speed(one, asked, replace(machine, calibration=None), CHAT)["image"]
    assert unknown.value is None and "--calibrate" in unknown.reason


def test_other_ways_are_unknown_and_say_why() -> None:
    one = model("sdxl-base-1.0")
    assert "fused" in Diffusers().speed(one, settings(flash_attention=False), CARD, CHAT)["step"].reason
    layers = Diffusers().speed(one, settings(tricks=Tricks(sequential=True)), CARD, CHAT)
    assert "every layer" in layers["image"].reason
    assert "stable-diffusion.cpp" in StableDiffusionCpp().speed(one, settings(), CARD, CHAT)["image"].reason


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [Diffusers(), StableDiffusionCpp()])
@pytest.mark.parametrize(
    ("asked", "value", "fix"),
    [
        (settings(width=0), "width of 0", "ask for 8"), (settings(height=1021), "height of 1021", "ask for 1024"),
        (settings(width=-512), "width of -512", "ask for 8"), (settings(width=math.nan), "width of nan", "1024"),
        (settings(width=True), "width of True", "multiple of 8"), (settings(width=1e9), "of 1000000000", "for 8192"),
        (settings(height=math.inf), "height of inf", "multiple of 8"), (settings(steps=0), "0 steps", "1 to 1000"),
        (settings(steps=2.5), "2.5 steps", "1 to 1000"), (settings(images=65), "65 images", "1 to 64"),
        (settings(image=None), "say nothing", "1024 × 1024"),
    ],
)  # fmt: skip
def test_impossible_pictures_are_refused_with_value_and_fix(engine: Any, asked: Settings, value: str, fix: str) -> None:
    for ask in (lambda: engine.memory(model("sdxl-base-1.0"), asked, CARD),
                lambda: engine.speed(model("sdxl-base-1.0"), asked, CARD, CHAT)):  # fmt: skip
        with pytest.raises(UsageError) as error:
            ask()
        assert value in error.value.what and fix in error.value.fix


def test_a_model_with_patches_asks_for_its_own_multiple() -> None:
    with pytest.raises(UsageError, match="multiple of 32"):
        Diffusers().memory(model("sana-1.6b"), settings(width=1000), CARD)


def test_formats_are_supported_or_refused() -> None:
    assert Diffusers().supports(model("flux.1-dev", "NF4+NF4")).ok
    assert not Diffusers().supports(model("flux.1-dev", "F16")).ok
    assert StableDiffusionCpp().supports(model("flux.1-dev", "Q4_0+Q8_0")).ok
    refused = StableDiffusionCpp().supports(model("flux.1-dev", "NF4"))
    assert not refused.ok and "NF4" in refused.reason and refused.fix


def test_what_is_only_described_cannot_be_started() -> None:
    available = Diffusers().available()
    assert available.ok or available.fix
    with pytest.raises(EngineUnavailable, match=r"only described|not installed"):
        Diffusers().launch(model("sdxl-base-1.0"), settings(), 1, "key")
    with pytest.raises(EngineUnavailable, match=r"stable-diffusion\.cpp"):
        StableDiffusionCpp().launch(model("sdxl-base-1.0"), settings(), 1, "key")


def test_an_answer_takes_few_calls() -> None:
    one, asked = model("flux.1-dev"), settings()

    def once() -> tuple[Breakdown, ...]:
        Diffusers().speed(one, asked, CARD, CHAT)
        return Diffusers().memory(one, asked, CARD)

    once()
    assert calls(once) < 1000
