"""One configuration anywhere: where it is laid, what it predicts, and the laws that predictions keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import catalog, models
from workbench.engines import ImageShape
from workbench.errors import UnsupportedModel, UsageError
from workbench.machine import Machine, describe
from workbench.planning import Plan, estimate

LLAMA_8B, LLAMA_70B = "llama-3.1-8b", "llama-2-70b"
CARDS = sorted(key for key, one in catalog.accelerators().items() if one.memory_bytes and not one.unified)


def on(device: str, model: str = LLAMA_8B, count: int = 1, host: Machine | None = None, **wanted: Any) -> Plan:
    return estimate(model, machine=describe(device, count=count, host=host), **wanted)


# -- where it runs ---------------------------------------------------------------------------------------------


def test_what_fits_on_one_card_takes_one() -> None:
    made = on("A100 80GB", LLAMA_70B, count=2, format="Q4_K_M")
    assert (made.settings.devices, made.settings.device_layers) == ((0,), None)


def test_what_does_not_fit_on_one_card_takes_them_all(machine: Machine) -> None:
    made = on("RTX 3090", LLAMA_70B, count=2, format="Q4_K_M", host=machine)
    assert made.settings.devices == (0, 1)
    assert [fit.verdict for fit in made.fits] == ["fits"] * 3
    weights = sum(breakdown.parts["weights"].known() for breakdown in made.memory)
    assert weights == pytest.approx(made.model.weight_bytes)


def test_what_fits_on_no_card_leaves_layers_to_the_cpu(machine: Machine) -> None:
    roomy = replace(machine, memory=replace(machine.memory, total_bytes=2**37, available_bytes=2**37))
    made = on("RTX 3090", LLAMA_70B, format="Q4_K_M", host=roomy)
    layers = made.settings.device_layers
    assert layers is not None
    assert 0 < layers < 80
    assert made.verdict in ("fits", "tight")
    whole = on("A100 80GB", LLAMA_70B, format="Q4_K_M")
    assert made.decode.known() < whole.decode.known()  # the CPU reads its layers slowly


def test_nothing_fits_and_the_plan_says_what_is_missing(machine: Machine) -> None:
    made = on("RTX 3060", LLAMA_70B, format="F16", host=machine)
    assert made.verdict == "does not fit"
    assert made.fits[0].device == "GeForce RTX 3060 12GB"


def test_tensor_parallel_engines_split_every_layer() -> None:
    made = on("g5.12xlarge", LLAMA_70B, engine="vllm", format="AWQ-Int4")
    assert made.settings.devices == (0, 1, 2, 3)
    assert made.settings.tensor_parallel


def test_an_instance_is_planned_like_its_cards() -> None:
    rented, bought = on("g5.xlarge"), on("A10G")
    assert rented.decode.known() == bought.decode.known()


def test_pipelines_move_in_and_out_when_they_do_not_fit_at_once(machine: Machine) -> None:
    roomy = replace(machine, memory=replace(machine.memory, total_bytes=2**37, available_bytes=2**37))
    made = on("RTX 5090", "FLUX.1-dev", format="BF16", host=roomy)
    assert not on("A100 80GB", "FLUX.1-dev", format="BF16", host=roomy).settings.offload
    assert made.settings.offload
    assert made.verdict in ("fits", "tight")


@pytest.mark.parametrize(
    ("model", "quantities"),
    [
        (LLAMA_8B, {"prefill", "decode", "ttft"}),
        ("SDXL", {"step", "image"}),
        ("whisper-large-v3", {"window", "real_time_factor"}),
    ],
)
def test_models_of_every_kind_have_their_speeds(model: str, quantities: set[str]) -> None:
    made = on("RTX 4090", model)
    assert set(made.speed) == quantities
    assert all(one.known() > 0 for one in made.speed.values())


def test_requests_at_once_have_a_throughput() -> None:
    made = on("RTX 4090", concurrency=8, format="Q4_K_M")
    assert made.speed["throughput"].known() > made.decode.known()


# -- what cannot be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"context": 0}, "context of 0 tokens is too small"),
        ({"context": -5}, "context of -5 tokens is too small"),
        ({"context": 10**9}, "too large"),
        ({"concurrency": 0}, "concurrency of 0"),
        ({"devices": (3,)}, "Device 3 was asked for"),
        ({"format": "Q4_K_Z"}, "no format called 'Q4_K_Z'"),
        ({"engine": "vlllm"}, "Did you mean vllm"),
        ({"cache_type": "f17"}, "no tensor type called 'f17'"),
    ],
)
def test_values_that_cannot_be(wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        on("RTX 3090", **wanted)


@pytest.mark.parametrize("shape", [(0, 512, 20), (512, -8, 20), (512, 513, 20), (512, 512, 0)])
def test_pictures_that_cannot_be(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError):
        on("RTX 3090", "SDXL", image=ImageShape(*shape))


def test_formats_that_a_card_cannot_run_are_refused_with_the_reason() -> None:
    with pytest.raises(UnsupportedModel, match=r"compute capability 8\.9 for FP8"):
        on("RTX 3090", engine="tensorrt-llm", format="FP8")


# -- laws ------------------------------------------------------------------------------------------------------


def needs(made: Plan) -> float:
    return sum(breakdown.total.known() for breakdown in made.memory)


@given(st.sampled_from(CARDS), st.integers(128, 8192), st.integers(128, 8192))
@settings(max_examples=40, deadline=None)
def test_more_context_never_takes_less(card: str, one: int, other: int) -> None:
    less, more = sorted((one, other))
    small, large = (on(card, context=context, format="Q4_K_M", devices=(0,)) for context in (less, more))
    assert needs(small) <= needs(large)


@given(st.sampled_from(CARDS), st.integers(1, 64), st.integers(1, 64))
@settings(max_examples=40, deadline=None)
def test_more_requests_at_once_never_take_less(card: str, one: int, other: int) -> None:
    less, more = sorted((one, other))
    few, many = (on(card, concurrency=count, format="Q4_K_M", devices=(0,)) for count in (less, more))
    assert needs(few) <= needs(many)


@given(st.sampled_from(CARDS), st.sampled_from(["Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"]))
@settings(max_examples=40, deadline=None)
def test_more_bits_never_take_less(card: str, name: str) -> None:
    whole, quantized = on(card, format="F16", devices=(0,)), on(card, format=name, devices=(0,))
    assert needs(quantized) <= needs(whole)


@given(st.sampled_from(CARDS), st.sampled_from(CARDS), st.sampled_from(["Q4_K_M", "Q8_0", "F16"]))
@settings(max_examples=60, deadline=None)
def test_a_larger_card_never_fits_less(one: str, other: str, name: str) -> None:
    sizes = catalog.accelerators()
    small, large = sorted((one, other), key=lambda key: sizes[key].memory_bytes or 0)
    if sizes[small].vendor != sizes[large].vendor:
        return  # their drivers take different shares
    order = ["does not fit", "tight", "fits"]
    verdicts = [order.index(on(card, format=name, devices=(0,)).verdict) for card in (small, large)]
    assert verdicts == sorted(verdicts)


@given(st.sampled_from(CARDS))
@settings(max_examples=40, deadline=None)
def test_the_parts_sum_to_the_total(card: str) -> None:
    for breakdown in on(card, format="Q4_K_M", devices=(0,)).memory:
        assert sum(part.known() for part in breakdown.parts.values()) == pytest.approx(breakdown.total.known())


def test_more_layers_take_more() -> None:
    config = dict(catalog.models()[LLAMA_8B].config or {})
    sizes = []
    for layers in (8, 16, 32):
        model = models.described.from_mapping({**config, "num_hidden_layers": layers}, "cut", "a test")
        sizes.append(needs(estimate(model, machine=describe("RTX 3090"), format="Q4_K_M")))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
