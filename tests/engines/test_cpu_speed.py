"""Speed on a CPU: one set of coefficients, and what two very different processors were measured at."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from workbench import engines, planning
from workbench.evidence import Measured
from workbench.machine import Calibration, Machine
from workbench.models import Model
from workbench.planning.threads import Threads

XEON = ("GenuineIntel", ("AVX2", "FMA", "F16C", "AVX-512F", "AVX-512 VNNI"), 8.4e9, 63.5e9)  # two hyper-threads
ZEN4 = ("AuthenticAMD", ("AVX2", "FMA", "F16C", "AVX-512F", "AVX-512 VNNI", "AVX-512 BF16"), 32.1e9, 98.2e9)


class Row(NamedTuple):
    """tok/s of a prompt with two threads and of decode with one, and the sum over requests at once (2026-11-29)."""

    cpu: tuple[str, tuple[str, ...], float, float]
    engine: str
    format: str
    prefill: float
    decode: float
    requests: int = 1
    throughput: float = 0


MEASURED = [
    Row(XEON, "llama.cpp", "Q4_1", 102, 28.2, 4, 40.7),
    Row(ZEN4, "llama.cpp", "Q4_1", 333, 67.1, 4, 113),
    Row(XEON, "llama.cpp", "Q8_0", 185, 27),
    Row(ZEN4, "llama.cpp", "Q8_0", 561, 78.6),
    Row(XEON, "llama.cpp", "F32", 140, 10.6),
    Row(ZEN4, "llama.cpp", "F32", 344, 40.5),
    Row(XEON, "transformers", "BF16", 149, 7.25, 4, 7.03),
    Row(ZEN4, "transformers", "BF16", 1025, 17.3, 4, 16.7),
    Row(XEON, "transformers", "NF4", 149, 2.92),
    Row(ZEN4, "transformers", "NF4", 852, 24.2),
    Row(XEON, "transformers", "LLM.int8", 182, 3.8),
    Row(ZEN4, "transformers", "LLM.int8", 547, 10.1),
    Row(XEON, "onnx-runtime", "ONNX-int4", 144, 36.7, 4, 29.6),
    Row(ZEN4, "onnx-runtime", "ONNX-int4", 480, 115, 4, 87.7),
    Row(XEON, "onnx-runtime", "FP32", 295, 14.6, 4, 13.7),
    Row(ZEN4, "onnx-runtime", "FP32", 448, 36.6, 4, 32.8),
]  # fmt: skip


def calibrated(machine: Machine, vendor: str, sets: tuple[str, ...], bandwidth: float, flops: float) -> Machine:
    read, multiply = Measured((bandwidth,), "B/s", "dot product"), Measured((flops,), "FLOP/s", "product")
    both = Measured((2 * flops,), "FLOP/s", "product")
    calibration = Calibration(read, read, both, multiply, date="2026-11-29", threads=2, busy_cores=0.0)
    return replace(machine, cpu=replace(machine.cpu, vendor=vendor, instruction_sets=sets), calibration=calibration)


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: f"{row.cpu[0]}-{row.engine}-{row.format}")
def test_what_was_measured_is_near_what_is_predicted(embedded_model: Model, machine: Machine, row: Row) -> None:
    made = planning.plan(
        embedded_model, machine=calibrated(machine, *row.cpu), engine=row.engine, format=row.format,
        concurrency=row.requests, threads=Threads(1, 2, ""),
    )  # fmt: skip
    assert made.speed["prefill"].known() == pytest.approx(row.prefill, rel=0.2)
    assert made.speed["decode"].known() == pytest.approx(row.decode, rel=0.3)
    if row.requests > 1:
        assert made.speed["throughput"].known() == pytest.approx(row.throughput, rel=0.25)


@pytest.mark.parametrize(
    ("vendor", "sets", "wide", "halves"),
    [
        ("GenuineIntel", ("AVX2",), False, False),
        ("GenuineIntel", ("AVX2", "AVX-512F"), True, False),
        ("AuthenticAMD", ("AVX2",), False, False),
        ("AuthenticAMD", ("AVX2", "AVX-512F", "AVX-512 BF16"), False, True),  # Zen 4
        ("AuthenticAMD", ("AVX2", "AVX-VNNI", "AVX-512F", "AVX-512 BF16"), True, True),  # Zen 5
        ("GenuineIntel", ("AVX2", "AVX-512F", "AVX-512 BF16", "AMX BF16"), True, True),
        ("Apple", ("NEON", "BF16"), False, False),  # measured on x86-64 alone
    ],
)
def test_what_a_cpu_multiplies(machine: Machine, vendor: str, sets: tuple[str, ...], wide: bool, halves: bool) -> None:
    cpu = replace(machine.cpu, vendor=vendor, instruction_sets=sets)
    assert (cpu.multiplies_512_bits, cpu.multiplies_bf16) == (wide, halves)


@pytest.mark.parametrize(
    ("engine", "requests", "tokens", "waits"),
    [
        ("llama.cpp", 4, 512, [3, 0, 0, 0]),
        ("vllm", 6, 1024, [5, 3, 3, 1, 1, 0]),
        ("vllm", 3, 4096, [2, 1, 0]),
        ("onnx-runtime", 4, 512, [1.5, 1, 0.5, 0]),
        ("transformers", 3, 256, [2, 1, 0]),
    ],
)
def test_whose_answer_waits_for_the_prompts_of_others(
    engine: str, requests: int, tokens: int, waits: list[float]
) -> None:
    """Together in batches of 2,048 tokens, of which the first goes alone, or in turns in parts of 256 or 512."""
    assert engines.get(engine)._waits(requests, tokens) == waits


def test_a_server_that_answers_one_after_the_other_decodes_each_as_if_alone(machine: Machine) -> None:
    speed = planning.estimate(
        "smollm2-135m-instruct", machine=machine, engine="transformers-serve", format="BF16", concurrency=4
    ).speed
    assert speed["throughput"].known() == pytest.approx(4 * speed["decode"].known())
