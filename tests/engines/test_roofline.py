"""The roofline: what a model asks, what a device gives, and the seconds that follow."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import calls
from workbench.catalog.accelerators import accelerator
from workbench.catalog.coefficients import coefficients, speed_coefficients
from workbench.engines import roofline
from workbench.engines.roofline import Rates, corrected, decode_step, prefill, rates, work_of
from workbench.errors import UnknownName
from workbench.evidence import Basis, Estimate
from workbench.models import Architecture, Model, Tensor

LLAMA = coefficients("llama.cpp", "cuda")
CARD = accelerator("RTX 4090")


def model(experts: int = 0, used: int = 0, tied: bool = False) -> Model:
    """A model on paper of two layers, 64 wide, in Q8_0 with a head in Q6_K."""
    shape = Architecture(
        "llama", layers=2, hidden=64, heads=4, kv_heads=2, key_length=16, value_length=16, feed_forward=128,
        vocabulary=1000, context_length=4096, tied_embeddings=tied, experts=experts, experts_used=used,
    )  # fmt: skip
    matrix = [
        Tensor(f"blk.{layer}.{name}.weight", "Q8_0", (64, 64), 4096, 4352)
        for layer in (0, 1)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output")
    ]
    feed = "ffn_up_exps" if experts else "ffn_up"
    many = max(experts, 1)
    matrix += [Tensor(f"blk.{layer}.{feed}.weight", "Q8_0", (64, 128), 8192 * many, 8704 * many) for layer in (0, 1)]
    head = [] if tied else [Tensor("output.weight", "Q6_K", (64, 1000), 64000, 52500)]
    table = Tensor("token_embd.weight", "Q6_K", (64, 1000), 64000, 52500)
    tensors = (table, *matrix, *head)
    return Model("paper", None, shape, tensors, sum(t.bytes for t in tensors), "Q8_0", "test")  # type: ignore[arg-type]


def llama_2_7b(kind: str, bits: float) -> Model:
    """Llama-2-7B with all its matrices in one format."""
    shape = Architecture(
        "llama", layers=32, hidden=4096, heads=32, kv_heads=32, key_length=128, value_length=128, feed_forward=11008,
        vocabulary=32000, context_length=4096, tied_embeddings=False,
    )  # fmt: skip
    sizes = {"attn_q": 4096**2, "attn_k": 4096**2, "attn_v": 4096**2, "attn_output": 4096**2}
    sizes |= dict.fromkeys(("ffn_gate", "ffn_up", "ffn_down"), 4096 * 11008)
    names = {f"blk.{layer}.{name}.weight": size for layer in range(32) for name, size in sizes.items()}
    names |= {"token_embd.weight": 32000 * 4096, "output.weight": 32000 * 4096}
    tensors = tuple(Tensor(name, kind, (size,), size, int(size * bits / 8)) for name, size in names.items())
    return Model("Llama-2-7B", None, shape, tensors, 0, kind, "test")  # type: ignore[arg-type]


# -- what a model asks -----------------------------------------------------------------------------------------


def test_a_token_reads_every_matrix_but_the_embedding() -> None:
    work = work_of(model())
    assert work.dense_bytes == 8 * 4352 + 2 * 8704 + 52500
    assert work.dense_weights == (0, 8 * 4096 + 2 * 8192, 0, 64000)
    assert work.head_weights == (0, 0, 0, 64000)
    assert (work.expert_bytes, work.expert_layers, work.cache_bytes) == (0, 0, 0)
    assert work.kernels == 10


def test_a_tied_embedding_is_read_as_the_head() -> None:
    assert work_of(model(tied=True)).dense_bytes == work_of(model()).dense_bytes


def test_of_experts_only_those_used_count() -> None:
    work = work_of(model(experts=8, used=2))
    assert work.expert_bytes == 2 * 2 * 8704
    assert work.expert_weights == (0, 2 * 2 * 8192, 0, 0)
    assert (work.experts, work.experts_used, work.expert_layers) == (8, 2, 2)
    assert work.kernels == 10 + 2 * roofline.EXPERT_KERNELS


def test_the_cache_grows_with_the_depth_and_the_type() -> None:
    paper = model()
    assert work_of(paper, 100).cache_bytes == 100 * 2 * 2 * (16 + 16) * 2
    assert work_of(paper, 100, "q8_0").cache_bytes == work_of(paper, 100).cache_bytes * 34 / 64


# -- what a device gives ---------------------------------------------------------------------------------------


def test_every_record_can_be_used() -> None:
    for record in speed_coefficients().values():
        assert record.spreads
        assert all(0 < spread.low < 1 < spread.high for spread in record.spreads.values()), record.name
        assert 0.3 < record.efficiency < 1.6, record.name
        assert record.left_out in ("devices", "models")


def test_the_record_of_a_month_is_the_newest_that_old() -> None:
    assert coefficients("llama.cpp", "cuda").since == coefficients("llama.cpp", "cuda", "2026-11").since
    assert coefficients("llama.cpp", "cuda", "2024-07").since == "2024-05"
    assert coefficients("llama.cpp", "cuda", "2023-01").since == "2023-08"  # older than all: the oldest


def test_an_engine_without_a_record_is_unknown() -> None:
    with pytest.raises(UnknownName, match="papyrus on cuda"):
        coefficients("papyrus", "cuda")


@pytest.mark.parametrize("change", [{"fp32_flops": None}, {"architecture": "Charcoal", "compute_capability": "99.9"}])
def test_what_the_catalog_does_not_know_makes_the_speed_unknown(change: dict[str, object]) -> None:
    device = replace(CARD, **change)  # type: ignore[arg-type]
    for estimate in (decode_step(work_of(model()), device, LLAMA), prefill(work_of(model()), device, LLAMA, 100)):
        assert estimate.value is None
        assert "catalog" in estimate.reason


def test_error_correction_inside_the_memory_costs_bandwidth() -> None:
    with_it, without = (rates(replace(CARD, key=key), LLAMA) for key in ("l40s", "rtx-4090"))
    assert isinstance(with_it, Rates)
    assert isinstance(without, Rates)
    assert with_it.dense_bytes_per_s < without.dense_bytes_per_s


def test_a_card_without_graphs_pays_for_every_launch() -> None:
    old = replace(CARD, compute_capability="7.5")
    assert decode_step(work_of(model()), old, LLAMA).known() > decode_step(work_of(model()), CARD, LLAMA).known()


def test_an_architecture_nobody_measured_widens_the_interval() -> None:
    measured, not_measured = (
        decode_step(work_of(model()), device, LLAMA) for device in (CARD, replace(CARD, architecture="Rubin"))
    )
    assert _width(not_measured) > _width(measured)
    assert "no device of this architecture" in not_measured.basis.source


# -- estimates -------------------------------------------------------------------------------------------------


#: Llama-2-7B in Q4_0: tokens/s of published runs of llama.cpp builds of 2025 (ggml-org/llama.cpp discussion 15013).
PUBLISHED = {"RTX 3090 Ti": 171.2, "RTX 4080": 142.5, "RTX 5070 Ti": 176.9, "RTX A6000": 138.7, "Tesla V100": 129.1}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_runs_lie_in_the_interval(name: str) -> None:
    step = decode_step(work_of(llama_2_7b("Q4_0", 4.5), 64), accelerator(name), LLAMA)
    assert step.rate(1).contains(PUBLISHED[name])
    assert step.known() == pytest.approx(1 / PUBLISHED[name], rel=0.15)


def test_a_kind_nobody_measured_widens_the_interval() -> None:
    work = work_of(model(8, 2), 64)
    without = replace(LLAMA, spreads={"decode": LLAMA.spreads["batch"]})
    measured, not_measured = (decode_step(work, CARD, record, batch=4) for record in (LLAMA, without))
    assert _width(not_measured) > _width(measured)
    assert "no batch" in not_measured.basis.source


def test_the_basis_says_where_the_number_comes_from() -> None:
    step = decode_step(work_of(model(), 512), CARD, LLAMA)
    assert "GB/s" in step.basis.inputs["bandwidth"]
    assert f"{LLAMA.rows} published rows of {LLAMA.fitted_devices} devices" in step.basis.source
    assert "left out" in step.basis.source


positive = st.floats(min_value=1e9, max_value=1e13)


@given(bandwidth=positive, factor=st.floats(min_value=1.01, max_value=4), depth=st.integers(0, 4000))
def test_more_bandwidth_never_slows_and_more_depth_never_speeds_up(bandwidth: float, factor: float, depth: int) -> None:
    slow, fast = (replace(CARD, tdp_w=None, bandwidth_bytes_per_s=rate) for rate in (bandwidth, bandwidth * factor))
    work, deeper = work_of(model(), depth), work_of(model(), depth + 64)
    assert decode_step(work, fast, LLAMA).known() < decode_step(work, slow, LLAMA).known()
    assert decode_step(deeper, slow, LLAMA).known() > decode_step(work, slow, LLAMA).known()


@given(batch=st.integers(1, 128), experts=st.sampled_from([(0, 0), (8, 2), (128, 8)]))
def test_a_larger_batch_takes_longer_but_less_a_token(batch: int, experts: tuple[int, int]) -> None:
    work = work_of(model(*experts), 256)
    one, two = (decode_step(work, CARD, LLAMA, batch=many).known() for many in (batch, 2 * batch))
    assert one < two <= 2 * one * (1 + 1e-9)


@given(tokens=st.integers(1, 20_000))
def test_a_longer_prompt_takes_longer(tokens: int) -> None:
    work = work_of(model())
    assert prefill(work, CARD, LLAMA, tokens + 600).known() > prefill(work, CARD, LLAMA, tokens).known()
    assert prefill(work, CARD, LLAMA, tokens, start=500).known() > prefill(work, CARD, LLAMA, tokens).known()


def test_splitting_layers_divides_the_work_and_dealing_them_out_does_not() -> None:
    work = work_of(llama_2_7b("F16", 16))
    assert decode_step(work, CARD, LLAMA, devices=2).known() > decode_step(work, CARD, LLAMA).known()
    vllm = coefficients("vLLM", "cuda")
    assert decode_step(work, CARD, vllm, devices=2).known() < decode_step(work, CARD, vllm).known()
    assert decode_step(work, CARD, vllm, devices=2, split="layer").known() > decode_step(work, CARD, vllm).known()


def test_arrays_give_what_numbers_give() -> None:
    """The fit runs the same arithmetic on arrays."""
    work, given_rates = work_of(model(8, 2), 256), rates(CARD, LLAMA)
    assert isinstance(given_rates, Rates)
    batches = np.array([1.0, 2.0, 8.0])
    assert roofline.duration_s(work, given_rates, batches) == pytest.approx(  # type: ignore[arg-type]
        [roofline.duration_s(work, given_rates, batch) for batch in batches]
    )
    assert roofline.prompt_s(work, given_rates, batches * 500) == pytest.approx(  # type: ignore[arg-type]
        [roofline.prompt_s(work, given_rates, batch * 500) for batch in batches]
    )


def test_an_estimate_takes_few_calls() -> None:
    large = llama_2_7b("Q4_0", 4.5)
    decode_step(work_of(large, 64), CARD, LLAMA)
    assert calls(lambda: decode_step(work_of(large, 65), CARD, LLAMA)) < 1000


# -- correction by measurements --------------------------------------------------------------------------------


ESTIMATE = Estimate(1.0, 0.8, 1.3, "s", Basis("test"))


def test_measurements_move_the_estimate_and_narrow_it() -> None:
    once, often = corrected(ESTIMATE, [(1.0, 1.2)], 0.05), corrected(ESTIMATE, [(1.0, 1.2)] * 5, 0.05)
    assert 1 < once.known() < often.known() < 1.2
    assert _width(often) < _width(once) < _width(ESTIMATE)
    assert "calibrated by 5 measurements here" in often.basis.inputs["correction"]


def test_one_measurement_is_no_surer_than_two_of_its_kind_are_equal() -> None:
    wide = Estimate(1.0, 0.5, 2.0, "s", Basis("test"))
    once = corrected(wide, [(1.0, 1.2)], 0.15)
    assert once.low is not None and once.high is not None
    assert once.low < once.known() * 0.75 and once.high > once.known() * 1.3


def test_one_measurement_among_many_moves_nothing_and_is_seen_in_the_interval() -> None:
    """A disturbed one, say: the middle of all counts, and their spread."""
    quiet, outlier = [(1.0, 1.0)] * 4, (1.0, 10.0)
    moved = corrected(ESTIMATE, [*quiet, outlier], 0.05)
    assert moved.known() == ESTIMATE.known()
    assert _width(moved) > _width(ESTIMATE) > _width(corrected(ESTIMATE, quiet, 0.05))


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), max_size=6))
def test_a_correction_never_widens_beyond_what_was_measured(pairs: list[tuple[float, float]]) -> None:
    moved = corrected(ESTIMATE, pairs, 0.05)
    assert moved.low is not None
    assert moved.high is not None
    assert moved.low <= moved.known() <= moved.high
    logs = [math.log(measured / predicted) for predicted, measured in pairs]
    apart = statistics.stdev(logs) if len(logs) > 1 else 0.0
    assert math.log(_width(moved)) <= max(math.log(_width(ESTIMATE)), 2 * 1.645 * apart) * (1 + 1e-9)


def test_nothing_measured_changes_nothing() -> None:
    unknown = Estimate.unknown("s", "no device")
    assert corrected(ESTIMATE, [], 0.05) is ESTIMATE
    assert corrected(unknown, [(1.0, 2.0)], 0.05) is unknown


def _width(estimate: Estimate) -> float:
    return (estimate.high or 0) / (estimate.low or 1)
