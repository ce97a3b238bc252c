"""TensorRT-LLM: NVIDIA's engine for its own cards, in an environment of its own.

It gives nine tenths of what is free once the model is loaded to the KV cache, in blocks of 32 tokens. Its server asks
for no key and calls a model by the name of its folder; it listens on the loopback interface alone. The project has not
run it: it predicts, says what is missing, and knows the command.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from workbench.engines import activations, environments, kv_pool
from workbench.engines.contract import Availability, Launch, Settings
from workbench.engines.device_memory import ON_A_CARD, Needs, capacity_bytes, driver_context, label, visible
from workbench.engines.llamacpp_memory import RECURRENT, is_recurrent
from workbench.engines.predicted_engine import PredictedEngine
from workbench.engines.tensor_split import refusal, shard
from workbench.engines.transformers_memory import CUDA_PROGRAM_BYTES, CUDA_PROGRAM_SOURCE
from workbench.errors import EngineUnavailable, UsageError
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Machine, probe
from workbench.models import Model
from workbench.models.architecture import kv_bytes
from workbench.units import GIB, MIB

_NVIDIA = frozenset({"cuda"})
#: Where each format runs.
# Source, 2026-11-24: documentation of TensorRT-LLM 1.3: supported hardware (Ampere to Blackwell), quantization.
NEEDS = {
    "FP32": Needs(_NVIDIA, 8.0),
    "FP16": Needs(_NVIDIA, 8.0),
    "BF16": Needs(_NVIDIA, 8.0),
    "FP8": Needs(_NVIDIA, 8.9),
    "FP8-tensor": Needs(_NVIDIA, 8.9),
    "MXFP4": Needs(_NVIDIA, 9.0),
    "AWQ-Int4": Needs(_NVIDIA, 8.0),
    "GPTQ-Int4": Needs(_NVIDIA, 8.0),
}
#: Architectures with a model definition on its PyTorch backend, by llama.cpp's names.
# Source, 2026-11-24: "Supported Models" in the documentation of TensorRT-LLM 1.0 and later.
ARCHITECTURES = frozenset({
    "llama", "llama4", "qwen2", "qwen3", "qwen3moe", "mistral", "mistral3", "deepseek2", "gemma3", "gpt-oss", "glm4moe",
    "phi3", "nemotron", "exaone4", "minimax-m2", "deci",
})  # fmt: skip
FREE_FRACTION, BLOCK_TOKENS = 0.9, 32  # KvCacheConfig's defaults, documentation of 1.3
MAX_TOKENS, MAX_REQUESTS = 8192, 2048  # max_num_tokens and max_batch_size, defaults
CACHE_BYTES = {"f16": 2.0, "bf16": 2.0, "fp8": 1.0}
#: CUDA libraries, collectives and graphs: usual, least, most; nobody has published them part by part.
RUNTIME_BYTES = (GIB, 300 * MIB, 3 * GIB)
SOURCE = "documentation of TensorRT-LLM 1.3; no published startup log was found, hence the wide intervals"


class TensorRTLLM(PredictedEngine):
    """Starts TensorRT-LLM's server and predicts what it takes and holds."""

    name = "tensorrt-llm"
    title = "TensorRT-LLM"
    formats = frozenset(NEEDS)
    capabilities = frozenset({"chat", "complete"})
    runtimes = _NVIDIA
    package = "tensorrt-llm"
    published_as = "TensorRT-LLM"
    needs = NEEDS
    splits_layers = True
    starts = True
    start_timeout_s = 900.0

    def __init__(self) -> None:
        self.command, self.version = _command()  # looked for once: a plan and its launch must agree

    # -- what runs here ----------------------------------------------------------------------------------------

    def available(self, machine: Machine | None = None) -> Availability:
        if reason := environments.no_card(self.title, machine or probe()):
            return Availability(False, reason, environments.ELSEWHERE)
        if self.command:
            return Availability(True, version=self.version)
        return environments.missing(self.name, machine)

    def uses(self, card: Accelerator | None, machine: Machine) -> bool:
        return card is not None and card.runtime in self.runtimes

    def supports(self, model: Model) -> Availability:
        able, name = super().supports(model), model.architecture.name
        if able.ok and name not in ARCHITECTURES:
            return Availability(
                False, f"TensorRT-LLM has no model definition for {name!r}, the architecture of {model.name}.",
                "Choose vLLM or Transformers.",
            )  # fmt: skip
        return able

    def runs_on(self, model: Model, settings: Settings, machine: Machine) -> Availability:
        """Say whether these devices can run this format, can be split over, and hold the cache of these settings."""
        able, cards = super().runs_on(model, settings, machine), settings.accelerators(machine)
        if not able.ok:
            return able
        if reason := refusal(model.architecture, len(cards)):
            return Availability(False, reason, "Choose another number of devices.")
        left = self.pool(model, settings, machine)
        if left.value is not None and left.value < self._cache(model, settings):
            return Availability(
                False, f"The cache of {settings.context} tokens does not fit beside the weights.",
                "Ask for a shorter context, or for more devices.",
            )  # fmt: skip
        return Availability(True)

    # -- memory ------------------------------------------------------------------------------------------------

    def pool(self, model: Model, settings: Settings, machine: Machine) -> Estimate:
        """Bytes of KV pool on the device that has least."""
        if is_recurrent(model.architecture):
            return Estimate.unknown("B", RECURRENT)
        cards = settings.accelerators(machine)
        unknown = [card.name for card in cards if capacity_bytes(card) is None]
        if unknown or not cards:
            return Estimate.unknown("B", f"the memory of {unknown[0] if cards else 'no device'} is not known")
        return min((self._left(model, card, len(cards)) for card in cards), key=lambda one: one.value or 0)

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        cards = settings.accelerators(machine)
        if not cards:
            return (Breakdown("RAM", {"weights": Estimate.unknown("B", "the plan names no card")}),)
        left, found = self.pool(model, settings, machine), []
        for card in cards:
            held = self._held(model, card, len(cards))
            spare = (1 - FREE_FRACTION) * max(0.0, (left.value or 0) / FREE_FRACTION)
            parts = kv_pool.parts(card, held, left, self._cache(model, settings), spare)
            found.append(Breakdown(label(card, len(cards)), parts))
        program = Estimate(*CUDA_PROGRAM_BYTES, "B", Basis("Python and PyTorch with CUDA", {}, CUDA_PROGRAM_SOURCE))
        return (*found, Breakdown("RAM", {"program": program}))

    def _held(self, model: Model, card: Accelerator, devices: int) -> dict[str, Estimate]:
        """What lies beside the pool on one of the devices."""
        widest = 2 * MAX_TOKENS * activations.widest_layer(model, devices)
        logits = 4 * MAX_REQUESTS * model.architecture.vocabulary
        peak, inputs = widest + logits, {"batch": f"{MAX_TOKENS} tokens, {MAX_REQUESTS} requests"}
        weights = Basis("bytes of the tensors that lie here", {}, "exact by architecture")
        largest = Basis("the widest layer, and logits in 32 bits", inputs, SOURCE)
        return {
            "weights": Estimate.within(shard(model, devices).weight_bytes, "B", weights, 0.0, 0.02),
            "activations": Estimate.within(peak, "B", largest, 0.5, 1.0),
            "runtime": Estimate(*RUNTIME_BYTES, "B", Basis("libraries, collectives and graphs", {}, SOURCE)),
        }

    def _left(self, model: Model, card: Accelerator, devices: int) -> Estimate:
        held = Breakdown("", {**self._held(model, card, devices), "driver": driver_context(card)}).total
        total = capacity_bytes(card) or 0
        value, low, high = (FREE_FRACTION * (total - (bound or 0)) for bound in (held.value, held.high, held.low))
        inputs = {"memory": f"{total / GIB:.2f} GiB", "held": str(held)}
        return Estimate(value, low, high, "B", Basis("0.9 × what is free once the model is loaded", inputs, SOURCE))

    def _cache(self, model: Model, settings: Settings) -> float:
        """Bytes of the cache that these settings ask for, on each device."""
        if settings.cache_type not in CACHE_BYTES:
            known = ", ".join(CACHE_BYTES)
            raise UsageError(f"TensorRT-LLM has no cache of type {settings.cache_type!r}.", fix=f"Known: {known}.")
        piece, blocks = shard(model, max(1, len(settings.devices))), -(-settings.context // BLOCK_TOKENS)
        per_value = CACHE_BYTES[settings.cache_type]
        return settings.concurrency * kv_bytes(piece.architecture, blocks * BLOCK_TOKENS, per_value)

    # -- launching ---------------------------------------------------------------------------------------------

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        """The key is not used: the server knows none."""
        if not self.command:
            found = self.available()
            raise EngineUnavailable(found.reason, fix=found.fix)
        if not settings.devices:
            raise EngineUnavailable("TensorRT-LLM runs on cards alone; this plan names none.", fix=ON_A_CARD)
        if settings.cache_type not in ("f16", "bf16"):
            raise UsageError(
                f"A cache of type {settings.cache_type} is set in a file that the workbench does not write.",
                fix="Ask for f16, the model's own 16 bits.",
            )
        argv = (
            *self.command, str(model.path), "--host", "127.0.0.1", "--port", str(port), "--backend", "pytorch",
            "--max_seq_len", str(settings.context), "--max_num_tokens", str(MAX_TOKENS),
            "--max_batch_size", str(MAX_REQUESTS), "--tp_size", str(len(settings.devices)),
            "--kv_cache_free_gpu_memory_fraction", str(FREE_FRACTION),
        )  # fmt: skip
        return Launch(argv, {**_QUIET, **visible(settings.devices)})

    def served_model(self, model: Any) -> str:
        """The name of the folder."""
        return Path(model.path).name if model.path else str(model.name)


#: Nothing is asked of the Hub and nothing is reported.
_QUIET = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "TRTLLM_NO_USAGE_STATS": "1"}


def _command() -> tuple[tuple[str, ...], str]:
    """What starts its server, up to the model, and its version: from an environment of ours, else what is on PATH."""
    if found := environments.installed("tensorrt-llm"):
        python, program = str(environments.python(found.folder)), str(found.program)
        return (python, "-I", program, "serve"), f"{found.recipe.name} {found.recipe.version}"
    binary = shutil.which("trtllm-serve")
    return ((binary, "serve"), "trtllm-serve on PATH") if binary else ((), "")
