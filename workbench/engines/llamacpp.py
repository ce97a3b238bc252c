"""llama.cpp: GGUF models, as `llama-server` where there is one, else the server inside the `xllamacpp` package.

A `llama-server` on PATH comes first, then the one that `workbench engines install llama.cpp` compiled for this
processor. All are the same program with the same settings; what differs is how they were compiled. It predicts for
CPUs and for accelerators. A plan for devices needs a `llama-server` that was compiled for them. Its memory terms are in
`llamacpp_memory`, its speed in `llamacpp_speed`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from workbench.engines import environments
from workbench.engines import llamacpp_memory as memory
from workbench.engines import llamacpp_speed as speed
from workbench.engines.contract import Availability, Launch, Settings, TextEngine
from workbench.errors import EngineUnavailable
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.units import MIB

#: Architectures of the gguf library that make no text.
NOT_GENERATIVE = frozenset({
    "clip", "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3",
    "eurobert", "t5encoder", "wavtokenizer-dec", "gemma-embedding",
})  # fmt: skip
CACHE_BLOCK_VALUES = 32  # values in a block of a quantized cache
_COMPILE = (
    "Put a llama-server on PATH that is compiled for your accelerator (llama.cpp's docs/build.md), or plan for the CPU."
)
#: What llama.cpp calls the devices of each kind; those of Vulkan may be of any.
_KINDS = {"CUDA": "cuda", "ROCm": "rocm", "HIP": "rocm", "MTL": "metal", "Metal": "metal", "SYCL": "xpu"}
#: On an abort, no debugger: its talk would bury the reason, which is the last line of the log.
_QUIET_ABORT = {"GGML_NO_BACKTRACE": "1"}


class LlamaCpp(TextEngine):
    """Starts llama.cpp's server and predicts its memory and speed on a CPU."""

    name = "llama.cpp"
    title = "llama.cpp"
    formats = frozenset({"gguf"})
    capabilities = frozenset({"chat", "complete"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})
    spans_devices = deals_layers = True
    benchmark_options = MappingProxyType({"ignore_eos": True, "cache_prompt": False})

    def __init__(self) -> None:
        self.binary = _binary()  # looked for once: a plan and its launch must agree

    # -- what runs here ----------------------------------------------------------------------------------------

    def available(self, machine: Machine | None = None) -> Availability:
        if self.binary:
            return Availability(True, version=f"llama-server {_version(self.binary)}")
        try:
            return Availability(True, version=f"xllamacpp {metadata.version('xllamacpp')}")
        except metadata.PackageNotFoundError:
            return Availability(
                False,
                "Neither llama-server is on PATH nor is the package xllamacpp installed.",
                "Install it: pip install xllamacpp",
            )

    def uses(self, card: Accelerator | None, machine: Machine) -> bool:
        """What the program lists by itself; the server inside xllamacpp uses the CPU alone."""
        return card is None or card.runtime in self._kinds

    @cached_property
    def _kinds(self) -> frozenset[str]:
        seen = _devices(self.binary) if self.binary else []
        return frozenset(_KINDS[name] for one in seen if (name := one.rstrip("0123456789")) in _KINDS)

    def supports(self, model: Model) -> Availability:
        from gguf.constants import MODEL_ARCH_NAMES

        name = model.architecture.name
        if model.format not in self.formats:
            return Availability(False, f"llama.cpp opens GGUF files, not {model.format}.", "Choose a GGUF version.")
        if name not in MODEL_ARCH_NAMES.values():
            return Availability(
                False,
                f"llama.cpp does not know the architecture {name!r} of {model.name}.",
                "Update with: pip install --upgrade gguf xllamacpp. If it is still unknown, convert another model.",
            )
        if name in NOT_GENERATIVE:
            return Availability(
                False, f"{model.name} is a {name} model: it makes embeddings or features, not text.",
                "Choose a language model; `workbench models` lists some.",
            )  # fmt: skip
        return Availability(True)

    def variants(self, model: Model, settings: Settings) -> Iterator[Settings]:
        """Flash attention costs decode at depth on a CPU; a cache of 8 bits is half as large."""
        for one in super().variants(model, settings):
            yield one
            yield replace(one, flash_attention=False)
        lengths = (model.architecture.key_length, model.architecture.value_length)
        if all(length % CACHE_BLOCK_VALUES == 0 for length in lengths):
            yield replace(settings, cache_type="q8_0")

    # -- memory ------------------------------------------------------------------------------------------------

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        form = "llama-server" if self.binary else "xllamacpp"
        where = memory.on_devices if settings.devices else memory.on_cpu
        return where(model, settings, machine, form)

    # -- speed -------------------------------------------------------------------------------------------------

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        return speed.prefill(model, settings, machine, tokens, batch)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        return speed.decode(model, settings, machine, depth, batch)

    # -- launching ---------------------------------------------------------------------------------------------

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        availability = self.available()
        if not availability.ok:
            raise EngineUnavailable(availability.reason, fix=availability.fix)
        if self.binary:
            return _llama_server(self.binary, model, settings, port, api_key)
        if settings.devices:
            raise EngineUnavailable("The server inside xllamacpp runs on the CPU alone.", fix=_COMPILE)
        options = {
            "model": str(model.path), "alias": model.name, "port": port, "context": settings.context,
            "concurrency": settings.concurrency, "threads": settings.threads,
            "prefill_threads": settings.prefill_threads, "cache_type": settings.cache_type,
            "flash_attention": settings.flash_attention, "cache_ram_mib": settings.prompt_cache_bytes // MIB,
        }  # fmt: skip
        program = Path(__file__).with_name("xllamacpp_server.py")
        environment = {**_QUIET_ABORT, "LLAMA_API_KEY": api_key}
        return Launch((sys.executable, "-I", str(program), json.dumps(options)), environment)


def _binary() -> str | None:
    """The program of llama.cpp's server: the user's own, or the one compiled for this processor."""
    if found := shutil.which("llama-server"):
        return found
    compiled = environments.installed("llama.cpp")
    return str(compiled.program) if compiled else None


def _llama_server(binary: str, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
    """Settings go through the environment, which older builds ignore where they do not know a name."""
    environment = {
        **_QUIET_ABORT,
        "LLAMA_API_KEY": api_key,
        "LLAMA_ARG_MODEL": str(model.path),
        "LLAMA_ARG_ALIAS": model.name,
        "LLAMA_ARG_HOST": "127.0.0.1",
        "LLAMA_ARG_PORT": str(port),
        "LLAMA_ARG_CTX_SIZE": str(settings.context * settings.concurrency),
        "LLAMA_ARG_N_PARALLEL": str(settings.concurrency),
        "LLAMA_ARG_FLASH_ATTN": "on" if settings.flash_attention else "off",
        "LLAMA_ARG_CACHE_TYPE_K": settings.cache_type,
        "LLAMA_ARG_CACHE_TYPE_V": settings.cache_type,
        "LLAMA_ARG_CACHE_RAM": str(settings.prompt_cache_bytes // MIB),
        "LLAMA_ARG_FIT": "off",
        "LLAMA_ARG_THINK": "none",  # the reasoning format: all text in one field
        "LLAMA_ARG_CORS_ORIGINS": "",
        "LLAMA_ARG_UI": "0",
        "LLAMA_ARG_NO_WEBUI": "1",
        "LLAMA_ARG_ENDPOINT_METRICS": "1",
        "LLAMA_ARG_NO_ENDPOINT_SLOTS": "1",
        **_placement(binary, model, settings),
    }
    threads = ("--threads", str(settings.threads), "--threads-batch", str(settings.prefill_threads))
    return Launch((binary, *threads), environment)


def _placement(binary: str, model: Model, settings: Settings) -> dict[str, str]:
    """The devices, and how many layers lie there: the last ones, in shares of free memory, as it does by itself.

    Without layers it would still send the multiplications of long prompts to a card.
    """
    if not settings.devices:
        return {"LLAMA_ARG_DEVICE": "none", "LLAMA_ARG_N_GPU_LAYERS": "0"}
    names, last = _devices(binary), max(settings.devices)
    if last >= len(names):
        seen = f"{len(names)} accelerators" if names else "no accelerator"
        raise EngineUnavailable(f"{binary} sees {seen} here; the plan is for number {last}, from 0.", fix=_COMPILE)
    chosen = ",".join(names[place] for place in settings.devices)
    layers = model.architecture.layers + 1 if settings.device_layers is None else settings.device_layers
    return {"LLAMA_ARG_DEVICE": chosen, "LLAMA_ARG_N_GPU_LAYERS": str(layers)}  # the output counts as a layer


def _devices(binary: str) -> list[str]:
    """llama.cpp's names of the devices it sees, such as CUDA0, in their order on the bus."""
    order = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    try:
        done = subprocess.run(
            [binary, "--list-devices"], capture_output=True, text=True, timeout=60, check=False, env=order
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return re.findall(r"^  (\w+): ", done.stdout, re.MULTILINE)


@cache
def _version(binary: str) -> str:
    """What `llama-server --version` says, such as '8121 (a1b2c3d)'; 'unknown' when it says nothing of the kind."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"version: (.+)", done.stderr + done.stdout)
    return found[1].strip() if found else "unknown"
