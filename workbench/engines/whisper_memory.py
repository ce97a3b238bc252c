"""The memory that engines for Whisper take, each with its own habits.

whisper.cpp: read from its own log (models tiny, base and turbo, 2024 to 2026): caches padded to 256 frames or tokens,
one compute buffer for each of its four graphs. CTranslate2 and PyTorch: weights and caches by arithmetic, the rest
from the peaks that faster-whisper's README compares.
"""

from __future__ import annotations

from workbench.engines.contract import Settings
from workbench.engines.device_memory import driver_context
from workbench.engines.runtime import PIECE_S
from workbench.engines.whisper import checked_beams
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.speech import SpeechModel, in_format
from workbench.units import MIB

PAD = 256
LOGS = "whisper.cpp's own logs for tiny, base and turbo (issues 89, 317 and 137 of their repositories)"
README = "peaks in the README of faster-whisper (November 2024): RTX 3070 Ti and Core i7-12700K, beam 5"
#: whisper.cpp, a search with beams: caches of so many more sequences than beams, against fragmentation.
SPARE_CACHES = 2
#: whisper.cpp's graphs in bytes per channel: convolutions, encoder without its scores, cross cache, decoder; and fixed.
CONVOLUTION_BYTES, ENCODER_BYTES, CROSS_BYTES, DECODER_BYTES = 30e3, 26e3, 5e3, 3.2e3
FIXED_BYTES = 5.3e6
WHISPERCPP_PROGRAM_BYTES = 30 * MIB
#: What CTranslate2 takes beside weights and sequences, and a sequence's share in caches of its sound.
CTRANSLATE_BYTES, SEQUENCE_ON_DEVICE, SEQUENCE_ON_CPU = 950 * MIB, 1.0, 2.75
#: On a CPU the first grows with the width of the model, as tiny.en (measured here) and small (that README) show.
CPU_FIXED_BYTES, CPU_CHANNEL_BYTES = 51e6, 1.206e6
#: Interpreters with their libraries: Python with CTranslate2, PyTorch with openai-whisper and the server.
PYTHON_BYTES, PYTORCH_PROGRAM_BYTES = 400 * MIB, 435 * MIB
#: A second of sound in openai-whisper: its samples, and its spectrogram with what it is made from.
SOUND_BYTES_PER_S = 0.9e6
MEASURED = "measured with PyTorch 2.13 on x86-64 Linux, 2026-11-28"
#: Tokens in the caches of a window while it is transcribed, on average.
USED_TOKENS = 150


def of_whispercpp(model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
    """Weights, caches and compute buffers in one place; the program in main memory."""
    beams = checked_beams(settings)
    caches = beams + SPARE_CACHES if beams > 1 else 1
    tokens, frames = _padded(model.text_context), _padded(model.audio_context)
    own = model.self_cache_bytes(tokens)
    cross = model.cross_cache_bytes(frames=frames) + 4 * frames * model.audio_state
    inputs = {"caches of tokens": f"{caches}", "tokens, frames": f"{tokens}, {frames}"}
    basis = Basis("caches of tokens, one for each beam and some to spare, and of the sound", inputs, LOGS)
    program = Basis("program, libraries and recording", {}, LOGS)
    parts = {
        "weights": _weights(model),
        "KV cache": Estimate(caches * own + cross, own + cross, caches * own + cross, "B", basis),
        "compute buffer": _graphs(model, settings),
    }
    return _placed(
        parts, {"engine": Estimate.within(WHISPERCPP_PROGRAM_BYTES, "B", program, 0.5, 2.0)}, settings, machine
    )


def _graphs(model: SpeechModel, settings: Settings) -> Estimate:
    """The buffers of whisper.cpp's four graphs; without fused attention the scores of a layer are among them."""
    scores = 0 if settings.flash_attention else 4 * model.audio_heads * model.audio_context**2
    width = CONVOLUTION_BYTES + ENCODER_BYTES + CROSS_BYTES
    logits = 4 * model.vocabulary * model.text_context
    count = width * model.audio_state + DECODER_BYTES * model.text_state + scores + logits + FIXED_BYTES
    inputs = {"logits": f"{logits / 1e6:.4g} MB", "attention scores": f"{scores / 1e6:.4g} MB"}
    basis = Basis("bytes per channel × channels + scores + logits", inputs, LOGS)
    return Estimate.within(count, "B", basis, 0.1, 0.2)


def of_ctranslate(model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
    """faster-whisper: weights, a working set, and a share for every window that is transcribed at once."""
    checked_beams(settings)
    on_device = bool(settings.devices)
    held = model if on_device or model.format not in ("FP16", "BF16") else in_format(model, "FP32")
    share = SEQUENCE_ON_DEVICE if on_device else SEQUENCE_ON_CPU
    each = share * model.cross_cache_bytes(2.0 if on_device else 4.0)
    working_set = CTRANSLATE_BYTES if on_device else CPU_FIXED_BYTES + CPU_CHANNEL_BYTES * model.audio_state
    inputs = {"a window": f"{each / 1e6:.4g} MB", "windows at once": f"{settings.concurrency}"}
    windows = Basis("caches and activations of every window", inputs, README)
    work = Basis("libraries, workspace and the recording", {}, README)
    program = Basis("the interpreter with its libraries", {}, "assumption: Python with PyAV and a detector of speech")
    parts = {
        "weights": _weights(held),
        "KV cache": Estimate.within(each * settings.concurrency, "B", windows, 0.3, 0.6),
        "workspace": Estimate.within(working_set, "B", work, 0.45, 0.3),
    }
    host = {"engine": Estimate.within(PYTHON_BYTES, "B", program, 0.5, 0.7)} if on_device else {}
    return _placed(parts, host, settings, machine)


def of_pytorch(model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
    """openai-whisper: weights are held in 32 bits, the checkpoint beside them while they are loaded; every beam has
    caches of its own, for the sound too, and with several they are copied whenever beams change places. Who casts the
    weights to 16 bits needs half: the interval says so."""
    beams, value_bytes, count = checked_beams(settings), 2.0 if settings.devices else 4.0, model.parameters
    cache = beams * (model.cross_cache_bytes(value_bytes) + model.self_cache_bytes(USED_TOKENS, value_bytes))
    copies = 1 if beams == 1 else 2
    checkpoint = 2 * count if settings.devices else 0
    held = Basis("parameters × 4 B; 2 B when cast", {"parameters": f"{count / 1e6:.4g} M"}, "openai-whisper's code")
    inputs = {"caches": f"{copies} × {cache / 1e6:.4g} MB", "checkpoint": f"{checkpoint / 1e6:.4g} MB"}
    rest = Basis("the larger of the checkpoint, while loading, and the caches of all beams", inputs, README)
    program = Basis("the interpreter with its libraries", {}, MEASURED)
    sound = Basis("what is worked on at once: samples and spectrogram", {"sound": f"{PIECE_S:g} s"}, MEASURED)
    more = max(copies * cache, checkpoint)
    parts = {
        "weights": Estimate(4 * count, (2 if settings.devices else 4) * count, 4 * count, "B", held),
        "KV cache or checkpoint": Estimate(more, min(cache, more), 1.3 * more, "B", rest),
    }
    host = {
        "engine": Estimate.within(PYTORCH_PROGRAM_BYTES, "B", program, 0.2, 0.4),
        "recording": Estimate.within(SOUND_BYTES_PER_S * PIECE_S, "B", sound, 0.9, 0.3),
    }
    return _placed(parts, host, settings, machine)


def _weights(model: SpeechModel) -> Estimate:
    basis = Basis("bytes of all tensors", {"format": model.format}, "exact by architecture")
    return Estimate.within(model.weight_bytes, "B", basis, 0.0, 0.02)


def _padded(count: int) -> int:
    return -(-count // PAD) * PAD


def _placed(
    parts: dict[str, Estimate], host: dict[str, Estimate], settings: Settings, machine: Machine
) -> tuple[Breakdown, ...]:
    """On the first device, with the driver's context; in main memory where there is none, or where both are one."""
    if not settings.devices:
        return (Breakdown("RAM", {**parts, **host}),)
    card, *others = settings.accelerators(machine)
    device = {**parts, "driver": driver_context(card)}
    if card.unified:
        return (Breakdown(card.name, {**device, **host}),)
    empty = (Breakdown(other.name, {}) for other in others)
    return (Breakdown(card.name, device), *empty, Breakdown("RAM", host))
