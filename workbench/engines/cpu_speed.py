"""How fast an engine is on a CPU: what the machine's own calibration says it can do, times the share an engine reaches.

A prompt is bound by multiplying; a step of decode by reading (weights once, then keys and values) and by unpacking the
weights. What an engine reads of its cache, and whether it serves requests together or in turns, it says itself.
See docs/decisions/0016-speed-on-cpus.md for the two machines that this rests on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.engines.contract import Settings
from workbench.evidence import Basis, Estimate
from workbench.machine import Calibration, Machine
from workbench.machine.description import UNCALIBRATED
from workbench.models import Model

Interval = tuple[float, float]

#: What kernels of 256 bits, and those for integers, reach of a matrix throughput that was measured with 512 at once.
NARROW = 0.5
#: Of prompts in 16 bits: processors may have units for them (AMX, those of ARM) that are many times as fast.
SIXTEEN_BITS: Interval = (0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Shares:
    """What one engine reaches of a CPU's speed, fitted to measurements that `source` names.

    prefill: of the matrix throughput of the threads; decode: of the bandwidth, reading weights; vector: of the matrix
    throughput, unpacking the weights and multiplying them with one vector (None: hidden behind reading them);
    attention: of the bandwidth, reading keys and values; layer_s: overhead of one layer in one step, of which threads
    share layer_parallel; prompt_s: overhead of a prompt; together: of the matrix throughput, in a step for several
    requests (that of a prompt where it is not given). Intervals: how far below and above, as fractions.
    """

    prefill: float
    decode: float
    attention: float
    source: str
    vector: float | None = None
    layer_s: float = 0.0
    layer_parallel: float = 0.0
    prompt_s: float = 0.0
    together: float | None = None
    prefill_interval: Interval = (0.5, 1.0)
    decode_interval: Interval = (0.5, 1.0)


def prefill(shares: Shares, model: Model, settings: Settings, machine: Machine, *, tokens: int, batch: int) -> Estimate:
    """Seconds to process `batch` prompts of `tokens` tokens each, with `settings.prefill_threads`."""
    if machine.calibration is None:
        return Estimate.unknown("s", UNCALIBRATED)
    one_core = machine.calibration.matrix_throughput_one_core.value
    operations = batch * operations_of_prompt(model, tokens)
    basis = Basis(
        "floating-point operations of prompt and causal attention ÷ (matrix throughput × efficiency)"
        + (" + overhead" if shares.prompt_s else ""),
        {
            "operations": f"{operations / 1e9:.3g} GFLOP for {batch * tokens} tokens",
            "matrix throughput": f"{one_core / 1e9:.3g} GFLOP/s a core × {settings.prefill_threads} threads",
            "efficiency": f"{shares.prefill}",
            **({"overhead": f"{shares.prompt_s * 1e3:.3g} ms"} if shares.prompt_s else {}),
        },
        shares.source,
    )
    seconds = operations / (one_core * shares.prefill * settings.prefill_threads) + shares.prompt_s
    return Estimate.within(seconds, "s", basis, *shares.prefill_interval)


def decode(
    shares: Shares, model: Model, settings: Settings, machine: Machine, *, depth: int, batch: int, cache_bytes: float
) -> Estimate:
    """Seconds of one step: a token for each of `batch` requests together, each `depth` tokens deep.

    cache_bytes: what is read, and written, of the caches of all these requests.
    """
    if machine.calibration is None:
        return Estimate.unknown("s", UNCALIBRATED)
    bandwidth, one_core = _bandwidth(machine.calibration, settings.threads)
    matrix = machine.calibration.matrix_throughput_one_core.value * settings.threads
    multiply_s = 2 * model.active_parameters / matrix
    weights_s = model.decode_read_bytes / (bandwidth * shares.decode) + multiply_s / (shares.vector or math.inf)
    cache_s = cache_bytes / (one_core * settings.threads * shares.attention)
    basis = Basis(
        "weights read ÷ (bandwidth × e) + cache read ÷ (bandwidth × e_attention) + layers × overhead"
        + (" + operations of one vector ÷ (matrix throughput × e_vector)" if shares.vector else "")
        + (" + operations of further requests ÷ matrix throughput" if batch > 1 else ""),
        {
            "weights read": f"{model.decode_read_bytes / 1e6:.4g} MB a token",
            "bandwidth": f"{bandwidth / 1e9:.3g} GB/s with {settings.threads} threads",
            "depth": f"{depth} tokens, requests: {batch}",
            "e, e_attention, overhead": f"{shares.decode}, {shares.attention}, {shares.layer_s * 1e6:.0f} µs",
            **({"e_vector": f"{shares.vector} of {matrix / 1e9:.3g} GFLOP/s"} if shares.vector else {}),
        },
        shares.source,
    )
    apart = 1 - shares.layer_parallel * (1 - 1 / settings.threads)
    overhead_s = model.architecture.layers * shares.layer_s * apart
    total = weights_s + cache_s + overhead_s + (batch - 1) * multiply_s / (shares.together or shares.prefill)
    return Estimate.within(total, "s", basis, *shares.decode_interval)


def operations_of_prompt(model: Model, tokens: int) -> float:
    """FLOP of a prompt. Its tokens only look the embedding up; a tied head is used for the last token alone."""
    a = model.architecture
    looked_up = a.vocabulary * a.hidden if any(t.is_looked_up for t in model.tensors) else 0
    dense = 2 * (model.active_parameters - looked_up) * tokens
    return dense + 2 * a.layers * a.heads * (a.key_length + a.value_length) * tokens**2 / 2


def of_format(kind: str, plain: Mapping[str, Shares], with_bf16: Mapping[str, Shares], machine: Machine) -> Shares:
    """Those of a format; of one that nobody measured on a CPU, those of 16 bits that it has no instructions for."""
    known = with_bf16 if machine.cpu.multiplies_bf16 else plain
    return known.get(kind, plain["BF16"])


def narrowed(share: float, machine: Machine) -> float:
    """The share of the matrix throughput that kernels reach which gain nothing from 512 bits."""
    return share * NARROW if machine.cpu.multiplies_512_bits else share


def _bandwidth(calibration: Calibration, threads: int) -> tuple[float, float]:
    """B/s that these threads read together from memory, and that one core reads."""
    one_core = calibration.read_bandwidth_one_core.value
    return min(calibration.read_bandwidth.value, one_core * threads), one_core
