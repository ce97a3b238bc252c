"""Predictions as properties: they grow with what they should grow with, and their parts add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.engines.llamacpp import LlamaCpp
from workbench.evidence import Measured
from workbench.machine import Calibration, Cpu, Disk, Machine, Memory
from workbench.models import Architecture, Model, Tensor
from workbench.planning import CHAT, Plan, Workload, plan
from workbench.planning.language import LEAST_CONTEXT
from workbench.units import GIB


def rate(value: float, unit: str) -> Measured:
    return Measured((value,), unit, "made up")


CALIBRATION = Calibration(
    rate(80e9, "B/s"), rate(20e9, "B/s"), rate(8e11, "FLOP/s"), rate(1e11, "FLOP/s"),
    date="2026-01-01", threads=8, busy_cores=0.0,
)  # fmt: skip
MACHINE = Machine(
    Cpu("Test CPU", "Test", "x86-64", physical_cores=16, logical_cores=16, usable_cores=16.0),
    Memory(512 * GIB, 500 * GIB), Disk("/", GIB, GIB), calibration=CALIBRATION,
)  # fmt: skip

counts = st.integers(1, 64)
lengths = st.sampled_from([64, 128, 256])


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A LLaMA-like model on paper, from a toy to a giant."""
    kv_heads, groups, length = draw(counts), draw(st.integers(1, 8)), draw(lengths)
    heads = kv_heads * groups
    hidden, vocabulary, layers = heads * length, draw(st.integers(100, 300_000)), draw(st.integers(1, 130))
    shape = Architecture(
        "llama", layers=layers, hidden=hidden, heads=heads, kv_heads=kv_heads, key_length=length, value_length=length,
        feed_forward=4 * hidden, vocabulary=vocabulary, context_length=131_072, tied_embeddings=draw(st.booleans()),
        merges=draw(st.integers(0, 500_000)),
    )  # fmt: skip
    embedding, body = vocabulary * hidden, layers * 12 * hidden * hidden
    tensors = (
        Tensor("token_embd.weight", "F16", (hidden, vocabulary), embedding, 2 * embedding),
        Tensor("blk.weight", "F16", (body,), body, 2 * body),
    )
    return Model("paper", Path("paper.gguf"), shape, tensors, file_bytes=2 * (embedding + body), quantization="F16",
                 source="test")  # fmt: skip


class Always(LlamaCpp):
    """llama.cpp's predictions, also where it is not installed."""

    def available(self, machine: Machine | None = None) -> object:  # type: ignore[override]
        return replace(super().available(machine), ok=True, version="any")


def make(model: Model, context: int = 2048, concurrency: int = 1, threads: int = 4, flash: bool = True) -> Plan:
    return plan(model, machine=MACHINE, engine=Always(), context=context, concurrency=concurrency, threads=threads,
                flash_attention=flash)  # fmt: skip


def memory(made: Plan) -> tuple[float, ...]:
    """Value, low and high of the total."""
    total = made.memory[0].total
    assert total.low is not None
    assert total.high is not None
    return total.low, total.known(), total.high


@given(models(), st.integers(LEAST_CONTEXT, 131_072), st.integers(LEAST_CONTEXT, 131_072), st.booleans())
def test_more_context_never_takes_less_memory(model: Model, one: int, other: int, flash: bool) -> None:
    less, more = sorted((one, other))
    for small, large in zip(
        memory(make(model, less, flash=flash)), memory(make(model, more, flash=flash)), strict=True
    ):
        assert small <= large


@given(models(), st.integers(1, 256), st.integers(1, 256), st.booleans())
def test_more_requests_at_once_never_take_less_memory(model: Model, one: int, other: int, flash: bool) -> None:
    less, more = sorted((one, other))
    few, many = make(model, concurrency=less, flash=flash), make(model, concurrency=more, flash=flash)
    assert all(small <= large for small, large in zip(memory(few), memory(many), strict=True))


@given(models(), st.integers(1, 16), st.integers(1, 16))
def test_more_threads_are_never_predicted_to_be_slower(model: Model, one: int, other: int) -> None:
    less, more = sorted((one, other))
    few, many = make(model, threads=less), make(model, threads=more)
    assert few.prefill.known() <= many.prefill.known()
    assert few.decode.known() <= many.decode.known()
    assert few.ttft.known() >= many.ttft.known()
    assert memory(few) == memory(many)


@given(models(), st.integers(1, 4096), st.integers(1, 4096))
def test_longer_prompts_and_deeper_caches_take_longer(model: Model, one: int, other: int) -> None:
    less, more = sorted((one, other))
    settings, engine = make(model).settings, Always()
    for predict in (engine.prefill, engine.decode):
        assert predict(model, settings, MACHINE, less).known() <= predict(model, settings, MACHINE, more).known()


@given(models(), st.booleans())
def test_smaller_elements_of_the_cache_take_less_memory_and_time(model: Model, flash: bool) -> None:
    engine, settings = Always(), make(model, flash=flash).settings
    by_size = [replace(settings, cache_type=kind) for kind in ("q4_0", "q8_0", "f16")]
    totals = [engine.memory(model, one, MACHINE)[0].total.known() for one in by_size]
    times = [engine.decode(model, one, MACHINE, 1024).known() for one in by_size]
    assert totals == sorted(totals)
    assert times == sorted(times)


@given(models(), st.integers(LEAST_CONTEXT, 131_072), st.integers(1, 64))
def test_parts_sum_to_the_total_and_none_is_negative(model: Model, context: int, concurrency: int) -> None:
    (breakdown,) = make(model, context, concurrency).memory
    assert sum(part.known() for part in breakdown.parts.values()) == pytest.approx(breakdown.total.known())
    assert all(part.known() >= 0 for part in breakdown.parts.values())
    assert breakdown.parts["weights"].value == model.weight_bytes


@given(models())
def test_time_to_first_token_and_prefill_are_one_number(model: Model) -> None:
    made = make(model)
    assert made.prefill.known() * made.ttft.known() == pytest.approx(made.workload.prompt_tokens)


@given(st.integers(2, 200_000), st.integers(1, 5000), st.integers(1, 5000))
def test_a_workload_is_cut_to_the_context(context: int, prompt: int, answer: int) -> None:
    cut = Workload(prompt, answer).within(context)
    assert cut.prompt_tokens + cut.answer_tokens <= context
    assert 1 <= cut.prompt_tokens <= prompt
    assert 1 <= cut.answer_tokens <= answer
    assert cut.within(context) == cut


def test_the_usual_workload_fits_the_usual_context() -> None:
    assert CHAT.within(2048) == CHAT
    assert CHAT.decode_depth == CHAT.prompt_tokens + CHAT.answer_tokens // 2


# -- what is not a LLaMA ---------------------------------------------------------------------------------------


def recurrent() -> Model:
    """A model without attention, as its converter writes it: no heads."""
    shape = Architecture(
        "mamba", layers=24, hidden=768, heads=0, kv_heads=0, key_length=0, value_length=0, feed_forward=0,
        vocabulary=50_000, context_length=4096, tied_embeddings=True,
    )  # fmt: skip
    tensors = (
        Tensor("token_embd.weight", "F16", (768, 50_000), 38_400_000, 76_800_000),
        Tensor("blk.0.ssm_in.weight", "F16", (768, 3072), 2_359_296, 4_718_592),
    )
    return Model("recurrent", Path("m.gguf"), shape, tensors, 81_518_592, "F16", "test")


def hybrid() -> Model:
    """A model with attention in some layers and a state in the others."""
    shape = replace(
        recurrent().architecture, name="jamba", layers=4, heads=12, kv_heads=4, key_length=64, value_length=64,
        feed_forward=2048, kv_heads_per_layer=(0, 4, 0, 0),
    )  # fmt: skip
    return replace(recurrent(), architecture=shape)


@pytest.mark.parametrize("model", [recurrent(), hybrid()], ids=["recurrent", "hybrid"])
def test_a_model_with_recurrent_layers_can_be_planned_and_what_is_not_known_is_said(model: Model) -> None:
    made = make(model)
    (breakdown,) = made.memory
    for estimate in (breakdown.parts["KV cache"], breakdown.total, made.decode):
        assert estimate.value is None
        assert "recurrent layers is not modelled" in estimate.reason
    assert [name for name, part in breakdown.parts.items() if part.value is None] == ["KV cache"]
    assert made.predictions["memory_peak"] == breakdown.total
    made.check_fits()  # nobody knows that it does not


def test_sliding_layers_are_not_counted_in_full() -> None:
    """Where the file says which layers slide, a long context costs them their window only."""
    shape = Architecture(
        "gemma3", layers=6, hidden=1024, heads=4, kv_heads=1, key_length=256, value_length=256, feed_forward=4096,
        vocabulary=1000, context_length=131_072, tied_embeddings=True, sliding_window=512,
        windowed=(True, True, True, True, True, False),
    )  # fmt: skip
    tensors = (Tensor("token_embd.weight", "F16", (1024, 1000), 1_024_000, 2_048_000),)
    slides = Model("slides", Path("s.gguf"), shape, tensors, 2_048_000, "F16", "test")
    full = replace(slides, architecture=replace(shape, sliding_window=None, windowed=()))
    cache, all_of_it = (make(model, 32_768).memory[0].parts["KV cache"] for model in (slides, full))
    assert cache.low is not None
    assert cache.low < all_of_it.known() / 2
