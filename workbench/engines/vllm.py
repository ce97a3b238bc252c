"""vLLM: language models on servers, many requests at once, in an environment of its own.

On a device it takes a fixed share whatever the model needs, so that the question is not what it takes but what the
share can hold: see `capacity`. On a CPU it is given the cache that the settings need. Its memory terms are in
`vllm_memory`. Some of its routes ask for no key: it listens on the loopback interface alone.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib import metadata
from types import MappingProxyType

from workbench import folders
from workbench.engines import cpu_speed, environments
from workbench.engines import vllm_memory as memory
from workbench.engines.contract import Availability, Launch, Settings
from workbench.engines.device_memory import ON_A_CARD, Needs, visible, weight_format
from workbench.engines.predicted_engine import PredictedEngine
from workbench.engines.tensor_split import refusal, shard
from workbench.errors import EngineUnavailable, UsageError
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.units import format_bytes

_ALL = frozenset({"cpu", "cuda", "rocm", "xpu"})
_NVIDIA = frozenset({"cuda"})
#: Where each format runs.
# Source, 2026-11-24: the hardware tables of quantization in the documentation of vLLM 0.11 to 0.15; FP8 runs on Ampere
# with 16-bit activations (Marlin). vLLM needs compute capability 7.0.
NEEDS = {
    "FP32": Needs(_ALL, 7.0),
    "FP16": Needs(_ALL, 7.0),
    "BF16": Needs(_ALL, 8.0),
    "FP8": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "FP8-row": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "FP8-tensor": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "MXFP4": Needs(frozenset({"cuda", "rocm"}), 8.0),
    "GPTQ-Int8": Needs(_ALL - {"rocm"}, 7.0),
    "GPTQ-Int4": Needs(_ALL - {"rocm"}, 7.0),
    "GPTQ-Int4-g32": Needs(_ALL - {"rocm"}, 7.0),
    "AWQ-Int4": Needs(_ALL - {"rocm"}, 7.5),
    "LLM.int8": Needs(_NVIDIA, 7.5),
    "NF4": Needs(_NVIDIA, 7.0),
    "NF4-DQ": Needs(_NVIDIA, 7.0),
    "FP4": Needs(_NVIDIA, 7.0),
    "int8wo": Needs(_NVIDIA, 8.0),
    "int4wo-128": Needs(_NVIDIA, 8.0),
}


#: What vLLM calls the number types; the formats of quantized weights say theirs in the model's own config.
DTYPES = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16"}
#: 'f16' is the workbench's word for the model's own 16 bits.
CACHE_TYPES = {"f16": "auto", "bf16": "bfloat16"}
_SPEED_SOURCE = "a llama model of 134 million parameters on two x86-64 machines (2 cores each), 2026-11-29"
#: Shares of a CPU's speed by format, one thread. Without instructions for BF16 each further request of a step takes
#: more than twice as long as a token of a prompt.
CPU_SHARES = {
    "FP32": cpu_speed.Shares(
        prefill=1.0, decode=0.7, attention=0.2, layer_s=400e-6, together=0.8, source=_SPEED_SOURCE
    ),
    "BF16": cpu_speed.Shares(
        prefill=0.35, decode=0.7, attention=0.2, layer_s=400e-6, together=0.14, source=_SPEED_SOURCE,
        prefill_interval=cpu_speed.SIXTEEN_BITS,
    ),
}  # fmt: skip
#: The same where the CPU multiplies BF16.
CPU_SHARES_BF16 = CPU_SHARES | {"BF16": replace(CPU_SHARES["BF16"], prefill=1.7, together=2.3)}


class VLLM(PredictedEngine):
    """Starts vLLM's server and predicts what it takes and holds.

    version: the release to predict, the one installed or the newest known when not given; utilization: the share of
    each device, the release's own when not given.
    """

    name = "vllm"
    title = "vLLM"
    formats = frozenset(NEEDS)
    capabilities = frozenset({"chat", "complete"})
    runtimes = _ALL
    package = "vllm"
    published_as = "vLLM"
    needs = NEEDS
    splits_layers = True
    starts = True
    start_timeout_s = 900.0  # it compiles its kernels at the first start, minutes on a small CPU
    benchmark_options = MappingProxyType({"ignore_eos": True})

    def __init__(self, *, version: str = "", utilization: float | None = None) -> None:
        self.release = memory.release(version or _installed())
        self.utilization = self.release.utilization if utilization is None else utilization
        if not 0 < self.utilization <= 1:
            raise UsageError(f"A share of {utilization} was asked for.", fix="Ask for more than 0, and 1 at most.")
        self.command, self.version, self.built_for = _command()  # looked for once: a plan and its launch must agree

    # -- what runs here ----------------------------------------------------------------------------------------

    def available(self, machine: Machine | None = None) -> Availability:
        if self.command:
            return Availability(True, version=self.version)
        return environments.missing(self.name, machine)

    def uses(self, card: Accelerator | None, machine: Machine) -> bool:
        """One build runs on one kind of device; of what is on PATH, nobody knows which it is."""
        kind = card.runtime if card else "cpu"
        return kind == self.built_for if self.built_for else kind in self.runtimes

    def runs_on(self, model: Model, settings: Settings, machine: Machine) -> Availability:
        """Say whether these devices can run this format, can be split over, and hold the cache of one request."""
        able, cards = super().runs_on(model, settings, machine), settings.accelerators(machine)
        if not able.ok or not cards:
            return able
        if reason := refusal(model.architecture, len(cards)):
            return Availability(False, reason, "Choose another number of devices.")
        left = memory.pool(model, settings, machine, self.release, self.utilization)
        needed = memory.cache_bytes(shard(model, len(cards)), settings, settings.context)
        if left.value is not None and left.value < needed:
            return self._too_long(model, settings, machine, left.value, needed)
        return Availability(True)

    def _too_long(self, model: Model, settings: Settings, machine: Machine, left: float, needed: float) -> Availability:
        most = self.longest_context(model, settings, machine)
        return Availability(
            False,
            f"vLLM would not start: {settings.context} tokens need {format_bytes(needed)} of cache, and "
            f"{format_bytes(max(left, 0))} are left at --gpu-memory-utilization {self.utilization}.",
            f"Try --max-model-len {most}, or a larger share."
            if most
            else "The weights do not leave room for any cache.",
        )

    def capacity(self, model: Model, settings: Settings, machine: Machine) -> tuple[Estimate, Estimate]:
        """Bytes of KV pool on each device (the one with least), and tokens that all requests together may hold.

        Raises UsageError without devices: on a CPU the pool is what VLLM_CPU_KVCACHE_SPACE says.
        """
        if not settings.devices:
            raise UsageError("On a CPU the cache is what VLLM_CPU_KVCACHE_SPACE says.", fix="Name devices.")
        left = memory.pool(model, settings, machine, self.release, self.utilization)
        if left.value is None or left.low is None or left.high is None:
            return left, Estimate.unknown("tokens", left.reason)
        piece = shard(model, len(settings.devices))
        # Sliding layers hold no more than their window per request: longer requests share the pool better.
        per_token = memory.cache_bytes(piece, settings, settings.context) / settings.context
        value, low, high = (max(0, bound) / per_token for bound in (left.value, left.low, left.high))
        inputs = {"pool": str(left), "a token": f"{per_token:.0f} B in requests of {settings.context} tokens"}
        basis = Basis("KV pool ÷ bytes per token", inputs, left.basis.source)
        return left, Estimate(value, low, high, "tokens", basis)

    def longest_context(self, model: Model, settings: Settings, machine: Machine) -> int:
        """The longest --max-model-len that starts, in whole pages; 0 where none does or nobody can say."""
        left = memory.pool(model, settings, machine, self.release, self.utilization).value
        if left is None or left <= 0:
            return 0
        piece, most = shard(model, len(settings.devices)), model.architecture.context_length
        low, high = 0, most // memory.PAGE_TOKENS
        while low < high:
            middle = (low + high + 1) // 2
            fits = memory.cache_bytes(piece, settings, middle * memory.PAGE_TOKENS) <= left
            low, high = (middle, high) if fits else (low, middle - 1)
        return low * memory.PAGE_TOKENS

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        if not settings.devices:
            return memory.on_cpu(model, settings)
        return memory.on_devices(model, settings, machine, self.release, self.utilization)

    # -- speed -------------------------------------------------------------------------------------------------

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        if settings.devices:
            return super().prefill(model, settings, machine, tokens, batch)
        same = replace(settings, prefill_threads=settings.threads)  # it knows one number of threads
        return cpu_speed.prefill(_shares(model, machine), model, same, machine, tokens=tokens, batch=batch)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        if settings.devices:
            return super().decode(model, settings, machine, depth, batch)
        cache = batch * memory.cache_bytes(model, settings, depth)
        return cpu_speed.decode(
            _shares(model, machine), model, settings, machine, depth=depth, batch=batch, cache_bytes=cache
        )

    # -- launching ---------------------------------------------------------------------------------------------

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        if not self.command:
            found = self.available()
            raise EngineUnavailable(found.reason, fix=found.fix)
        self._check_build(settings)
        limits = self._on_devices(settings) if settings.devices else _on_cpu(model, settings)
        argv = (
            *self.command, str(model.path), "--served-model-name", model.name, "--host", "127.0.0.1",
            "--port", str(port), "--dtype", DTYPES.get(settings.format, "auto"),
            "--max-model-len", str(settings.context), "--max-num-seqs", str(settings.concurrency),
            "--kv-cache-dtype", CACHE_TYPES.get(settings.cache_type, settings.cache_type),
            "--generation-config", "vllm",  # the API's own defaults, not those of the model's folder
            *(() if settings.prompt_cache_bytes else ("--no-enable-prefix-caching",)),
            "--no-enable-log-requests", "--disable-uvicorn-access-log", "--disable-fastapi-docs", *limits,
        )  # fmt: skip
        return Launch(argv, {**_QUIET, "VLLM_API_KEY": api_key, **_environment(settings)})

    def _check_build(self, settings: Settings) -> None:
        """One build runs on cards, the other on the CPU, whatever the plan says."""
        if self.built_for == "cuda" and not settings.devices:
            raise EngineUnavailable(
                f"{self.version} is built for CUDA and would run on a card; this plan is for the CPU.",
                fix=ON_A_CARD,
            )
        if self.built_for == "cpu" and settings.devices:
            raise EngineUnavailable(
                f"{self.version} is built for the CPU; this plan is for a card.", fix="Plan without devices."
            )

    def _on_devices(self, settings: Settings) -> tuple[str, ...]:
        count = ("--tensor-parallel-size", str(len(settings.devices)))
        return ("--gpu-memory-utilization", str(self.utilization), *count)


def _shares(model: Model, machine: Machine) -> cpu_speed.Shares:
    return cpu_speed.of_format(weight_format(model), CPU_SHARES, CPU_SHARES_BF16, machine)


#: Nothing is asked of the Hub and nothing is reported.
_QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_MODULE = "vllm.entrypoints.openai.api_server"


def _on_cpu(model: Model, settings: Settings) -> tuple[str, ...]:
    """The cache in bytes: left alone, vLLM would take nine tenths of the machine's memory. Without a compiler nothing
    can be compiled."""
    compiles = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
    eager = () if compiles else ("--enforce-eager",)
    return ("--kv-cache-memory-bytes", str(memory.cpu_cache_bytes(model, settings)), *eager)


def _environment(settings: Settings) -> dict[str, str]:
    """Where compiled kernels are kept; devices; threads."""
    kept = {"VLLM_CACHE_ROOT": str(folders.cache() / "vllm"), **visible(settings.devices)}
    if settings.devices:
        return kept
    # The number of threads is ours to choose, the core they run on the system's: other programs run here too. It is
    # that of decode: two threads that waited for each other on two busy cores made a token in ten seconds.
    return {**kept, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(settings.threads)}


def _command() -> tuple[tuple[str, ...], str, str]:
    """What starts its server, up to the model, its version, and what it is built for ("" where nobody says): from an
    environment of ours, else what is on PATH."""
    if found := environments.installed("vllm"):
        python, program = str(environments.python(found.folder)), str(found.program)
        version = f"{found.recipe.name} {found.recipe.version}"
        if found.program.name == "vllm":
            return (python, "-I", program, "serve"), version, found.recipe.device
        return (python, "-I", "-m", _MODULE, "--model"), version, found.recipe.device
    if binary := shutil.which("vllm"):
        return (binary, "serve"), f"vllm {_installed() or 'on PATH'}", ""
    return (), "", ""


def _installed() -> str:
    """The version in this interpreter; empty if there is none."""
    try:
        return metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return ""
