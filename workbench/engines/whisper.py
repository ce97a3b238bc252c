"""How long Whisper takes for a window of 30 s, whatever engine runs it: encoder, then one decoder step after another.

The encoder multiplies for all frames at once; a step of the decoder streams the weights, reads the caches of every
beam, and pays for each layer. `encoder_seconds` and `step_seconds` are this arithmetic on plain numbers; `python -m
benchmarks fit_media` fits the coefficients by the same functions. How much is said in a window is not known before:
TOKENS_PER_S is an assumption, and the interval of a window covers slow and fast speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.coefficients import Spread
from workbench.catalog.media_coefficients import SpeechCoefficients, speech_coefficients
from workbench.engines.contract import Settings
from workbench.engines.device_memory import runtime
from workbench.errors import UsageError
from workbench.evidence import Basis, Estimate
from workbench.machine import Machine
from workbench.machine.description import UNCALIBRATED
from workbench.models.speech import WINDOW_S, SpeechModel

#: Tokens written per second of speech, timestamps and second attempts included: usual, least, most.
# 3 to 4 in English; three engines' times for the recording in faster-whisper's README ask for 8 to 9.
TOKENS_PER_S, LEAST_TOKENS_PER_S, MOST_TOKENS_PER_S = 5.0, 2.5, 10.0
#: Tokens in the cache of a step, on average: half of a window's.
DEPTH = 128
#: Shares of a CPU's measured matrix throughput and bandwidth, time per layer, and how far a time may be off.
CPU_UTILISATION, CPU_BANDWIDTH, CPU_LAYER_S, CPU_SPREAD = 0.7, 0.75, 1e-4, Spread(0.5, 2.5)
CPU_SOURCE = (
    "openai-whisper with random weights (tiny to small), and tiny.en on each engine, on one x86-64 machine (2 cores), "
    "2026-11-28"
)
MOST_BEAMS = 20


@dataclass(frozen=True, slots=True)
class Habits:
    """How an engine runs the decoder: bytes it moves per byte of weights, and whether windows that are transcribed at
    once go through the decoder together. On a CPU: its time, and that of a further beam, in terms of openai-whisper's
    arithmetic."""

    engine: str
    weight_reads: float = 1.0
    batches: bool = False
    cpu_time: float = 1.0
    cpu_beam: float = 1.0


def matrix_flops(device: AcceleratorSpec) -> float | None:
    """FLOP/s with which a device multiplies 16-bit matrices; Apple's GPUs do so at their FP32 rate."""
    return device.fp32_flops if device.vendor == "Apple" else device.fp16_tensor_flops or device.fp32_flops


def encoder_seconds(model: SpeechModel, device: AcceleratorSpec, c: SpeechCoefficients, *, fused: bool = True) -> float:
    """Seconds to encode one window on a device whose matrix rate is known."""
    multiply = model.encoder_flops / (c.utilisation * (matrix_flops(device) or 0))
    moved = c.frame_bytes * model.audio_layers * model.audio_context * model.audio_state
    moved += 0 if fused else c.score_bytes * model.encoder_scores
    return multiply + moved / device.bandwidth_bytes_per_s + model.audio_layers * c.encoder_layer_s + c.encoder_s


def step_seconds(
    model: SpeechModel, device: AcceleratorSpec, c: SpeechCoefficients, beams: int = 1, windows: int = 1, *,
    fused: bool = True, weight_reads: float = 1.0,
) -> float:  # fmt: skip
    """Seconds of one step of the decoder for `beams` beams of each of `windows` windows."""
    weights = model.decode_read_bytes * weight_reads / (c.bandwidth_efficiency * device.bandwidth_bytes_per_s)
    sound = model.cross_cache_bytes() * (1 + c.shared_sound * (beams - 1))
    cache = windows * (sound + beams * model.self_cache_bytes(DEPTH)) * (1.0 if fused else c.unfused_cache)
    per_layer = c.decoder_layer_s + (c.batch_layer_s if beams * windows > 1 else 0.0)
    reading = cache / (c.cache_efficiency * device.bandwidth_bytes_per_s)
    return weights + reading + model.text_layers * per_layer + c.step_s


# -- estimates -------------------------------------------------------------------------------------------------


def checked_beams(settings: Settings) -> int:
    """Beams of the search; raises UsageError when nobody can search so wide."""
    if not isinstance(settings.beam, int) or isinstance(settings.beam, bool) or not 1 <= settings.beam <= MOST_BEAMS:
        raise UsageError(f"A beam of {settings.beam} was asked for.", fix=f"Ask for 1 to {MOST_BEAMS} beams.")
    return settings.beam


def encoder(model: SpeechModel, device: AcceleratorSpec, c: SpeechCoefficients, *, fused: bool = True) -> Estimate:
    """Seconds to encode one window."""
    rate = matrix_flops(device)
    inputs = {
        "operations": f"{model.encoder_flops / 1e12:.3g} TFLOP",
        "matrix rate": f"{(rate or 0) / 1e12:.3g} TFLOP/s × {c.utilisation:.2f} reached",
    }
    basis = Basis("operations ÷ rate + bytes ÷ bandwidth + layers × overhead", inputs, source_of(c))
    return _within(encoder_seconds(model, device, c, fused=fused), c.spreads["encoder"], basis)


def step(
    model: SpeechModel, device: AcceleratorSpec, c: SpeechCoefficients, beams: int = 1, windows: int = 1, *,
    fused: bool = True, weight_reads: float = 1.0,
) -> Estimate:  # fmt: skip
    """Seconds of one step of the decoder: a token for each beam of each window."""
    inputs = {
        "weights read": f"{model.decode_read_bytes * weight_reads / 1e6:.4g} MB",
        "cache of the sound": f"{windows} × {model.cross_cache_bytes() / 1e6:.4g} MB, {beams} beams",
        "bandwidth": f"{device.bandwidth_bytes_per_s / 1e9:.4g} GB/s × {c.bandwidth_efficiency:.2f} reached",
        "layers": f"{model.text_layers} × {c.decoder_layer_s * 1e6:.0f} µs",
    }
    basis = Basis("weights and caches ÷ bandwidth + layers × overhead", inputs, source_of(c))
    value = step_seconds(model, device, c, beams, windows, fused=fused, weight_reads=weight_reads)
    return _within(value, c.spreads["batch" if beams * windows > 1 else "step"], basis)


def speeds(model: SpeechModel, settings: Settings, machine: Machine, habits: Habits) -> Mapping[str, Estimate]:
    """'window': seconds from a window's sound to its text; 'real_time_factor': seconds of work per second of sound."""
    checked_beams(settings)
    windows = settings.concurrency if habits.batches else 1
    where = _on_device if settings.devices else _on_cpu
    parts = where(model, settings, machine, windows, habits)
    if isinstance(parts, str):
        return {"window": Estimate.unknown("s", parts), "real_time_factor": Estimate.unknown("ratio", parts)}
    window = _window(*parts, windows)
    factor = windows * WINDOW_S
    value, low, high = (bound / factor for bound in (window.known(), window.low or 0.0, window.high or 0.0))
    return {"window": window, "real_time_factor": Estimate(value, low, high, "ratio", window.basis)}


def _window(encode: Estimate, one: Estimate, windows: int) -> Estimate:
    """Windows are encoded one after another and decoded together."""
    inputs = {
        "encoder": str(encode), "a step": str(one), "windows at once": f"{windows}",
        "tokens": f"{TOKENS_PER_S:g} a second of speech ({LEAST_TOKENS_PER_S:g} to {MOST_TOKENS_PER_S:g}), assumed",
    }  # fmt: skip
    basis = Basis("encoder + tokens × step", inputs, one.basis.source)
    value = windows * encode.known() + TOKENS_PER_S * WINDOW_S * one.known()
    low = windows * (encode.low or 0.0) + LEAST_TOKENS_PER_S * WINDOW_S * (one.low or 0.0)
    high = windows * (encode.high or 0.0) + MOST_TOKENS_PER_S * WINDOW_S * (one.high or 0.0)
    return Estimate(value, low, high, "s", basis)


def _on_device(
    model: SpeechModel, settings: Settings, machine: Machine, windows: int, habits: Habits
) -> tuple[Estimate, Estimate] | str:
    """Encoder and step on the first device; a text says why nobody knows."""
    card, fused = settings.accelerators(machine)[0], settings.flash_attention
    if card.spec is None:
        return f"nothing is known of {card.name}: its name is not in the catalog"
    name = f"{habits.engine} on {runtime(card)}"
    if name not in speech_coefficients() or matrix_flops(card.spec) is None:
        return f"no published measurement of {habits.engine} on {card.spec.vendor} devices is known"
    c = speech_coefficients()[name]
    one = step(model, card.spec, c, settings.beam, windows, fused=fused, weight_reads=habits.weight_reads)
    return encoder(model, card.spec, c, fused=fused), one


def _on_cpu(
    model: SpeechModel, settings: Settings, machine: Machine, windows: int, habits: Habits
) -> tuple[Estimate, Estimate] | str:
    """The same from the measured matrix throughput and bandwidth."""
    if machine.calibration is None:
        return UNCALIBRATED
    rate = machine.calibration.matrix_throughput_one_core.value * settings.prefill_threads * CPU_UTILISATION
    one_core = machine.calibration.read_bandwidth_one_core.value
    bandwidth = min(machine.calibration.read_bandwidth.value, one_core * settings.threads) * CPU_BANDWIDTH
    basis = Basis(
        "operations ÷ (matrix throughput × utilisation); weights and caches ÷ (bandwidth × utilisation)",
        {
            "rate": f"{rate / 1e9:.3g} GFLOP/s reached",
            "bandwidth": f"{bandwidth / 1e9:.3g} GB/s reached",
            habits.engine: f"{habits.cpu_time:g} of that time, {habits.cpu_beam:g} of it for a further beam",
        },
        CPU_SOURCE,
    )
    together = windows * (1 + (settings.beam - 1) * habits.cpu_beam)
    cache = model.cross_cache_bytes(4) + model.self_cache_bytes(DEPTH, 4)
    reading = (model.decode_read_bytes * habits.weight_reads + together * cache) / bandwidth
    one = reading + together * model.decoder_flops / rate + model.text_layers * CPU_LAYER_S
    encode = model.encoder_flops / rate
    return _within(habits.cpu_time * encode, CPU_SPREAD, basis), _within(habits.cpu_time * one, CPU_SPREAD, basis)


def _within(value: float, spread: Spread, basis: Basis) -> Estimate:
    return Estimate(value, value * spread.low, value * spread.high, "s", basis)


def source_of(c: SpeechCoefficients) -> str:
    """Where a record comes from, and how well it did on devices it had not seen."""
    if c.error is None:
        return c.source
    return (
        f"fitted to {c.rows} published rows of {c.fitted_devices} devices, {c.checked}; "
        f"mean error on devices left out {c.error:.0%}"
    )
