"""Hugging Face Transformers: language models on PyTorch, hosted by the workbench's server or as `transformers serve`.

Both run the same code of the library. The workbench's own server has keys, metrics, limits and turns, which the
library's server lacks (docs/decisions/0010); what is loaded is in `transformers_runtime`. Its memory terms are in
`transformers_memory`; its speed comes from `device_speed`, on a CPU from the machine's calibration.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from workbench import folders
from workbench.engines import cpu_speed
from workbench.engines import transformers_memory as memory
from workbench.engines.contract import Availability, Launch, Settings
from workbench.engines.device_memory import Needs, pytorch_uses, visible, weight_format
from workbench.engines.llamacpp_memory import RECURRENT, is_recurrent
from workbench.engines.predicted_engine import PredictedEngine
from workbench.engines.runtime import Hosted, TextRuntime, installed
from workbench.engines.workload import Workload
from workbench.errors import EngineUnavailable
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Model
from workbench.models.architecture import kv_bytes

_ALL = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})
#: Where each format runs.
# Sources, 2026-11-24: Transformers' table of quantization methods; bitsandbytes 0.50's installation guide (which has
# Apple's GPUs since 0.50; compute capability 7.5 for LLM.int8, 6.0 for 4 bits); Transformers 5.23 unpacks FP8 to BF16
# below compute capability 8.9 and on what is neither NVIDIA's nor Intel's.
NEEDS = {
    "FP32": Needs(_ALL),
    "FP16": Needs(_ALL),
    "BF16": Needs(_ALL),
    "FP8": Needs(frozenset({"cuda", "xpu"}), 8.9),
    "LLM.int8": Needs(_ALL, 7.5),
    "NF4": Needs(_ALL, 6.0),
    "NF4-DQ": Needs(_ALL, 6.0),
    "FP4": Needs(_ALL, 6.0),
    "MXFP4": Needs(frozenset({"cuda"}), 7.5),
    "GPTQ-Int8": Needs(_ALL),
    "GPTQ-Int4": Needs(_ALL),
    "GPTQ-Int4-g32": Needs(_ALL),
    "GPTQ-Int3": Needs(_ALL),
    "AWQ-Int4": Needs(_ALL - {"metal"}),
    "int8wo": Needs(frozenset({"cpu", "cuda", "xpu"})),
    "int4wo-32": Needs(frozenset({"cpu", "cuda", "xpu"}), 8.0),
    "int4wo-64": Needs(frozenset({"cpu", "cuda", "xpu"}), 8.0),
    "int4wo-128": Needs(frozenset({"cpu", "cuda", "xpu"}), 8.0),
}


#: Formats that `transformers serve` has options for.
SERVED = {name: NEEDS[name] for name in ("FP32", "FP16", "BF16", "NF4-DQ", "LLM.int8")}
SPEED_SOURCE = "fitted to a llama model of 134 million parameters on two x86-64 machines (2 cores each), 2026-11-29"
_THREE_SIZES = (
    "fitted to llama models of 20, 134 and 300 million parameters on one x86-64 machine (2 cores), 2026-11-28; "
    "seen to hold on another"
)
#: Shares of a CPU's speed by format. Beside its weights a step takes the library's own work for every layer.
SHARES = {
    "FP32": cpu_speed.Shares(
        prefill=0.69, decode=0.97, attention=0.17, source=_THREE_SIZES, layer_s=1.3e-3, layer_parallel=0.63,
        prompt_s=0.012,
    ),
    "BF16": cpu_speed.Shares(
        prefill=0.27, decode=0.4, attention=0.04, source=SPEED_SOURCE, layer_s=1.05e-3,
        prefill_interval=cpu_speed.SIXTEEN_BITS,
    ),
    "NF4": cpu_speed.Shares(
        prefill=0.25, decode=0.8, vector=0.0153, attention=0.04, source=SPEED_SOURCE, layer_s=1.05e-3,
        prefill_interval=cpu_speed.SIXTEEN_BITS,
    ),
    "LLM.int8": cpu_speed.Shares(
        prefill=0.32, decode=0.8, vector=0.023, attention=0.04, source=SPEED_SOURCE, layer_s=1.05e-3,
    ),
}  # fmt: skip
#: The same where the CPU multiplies BF16.
SHARES_BF16 = SHARES | {
    "BF16": replace(SHARES["BF16"], prefill=1.23),
    "NF4": replace(SHARES["NF4"], prefill=0.92, vector=None),
    "LLM.int8": replace(SHARES["LLM.int8"], prefill=0.61, vector=0.049),
}
_ALIKE = {"NF4-DQ": "NF4", "FP4": "NF4"}


class Transformers(PredictedEngine):
    """One step of the model at a time, several answers in turns."""

    name = "transformers"
    title = "Hugging Face Transformers"
    formats = frozenset(NEEDS)
    capabilities = frozenset({"chat", "complete"})
    runtimes = _ALL
    package = "transformers"
    published_as = "Transformers"
    needs = NEEDS
    starts = True
    part_tokens = memory.PART_TOKENS
    benchmark_options: Mapping[str, object] = MappingProxyType({"ignore_eos": True})
    serving = memory.HOSTED
    #: Formats that the workbench can start; the others are predicted.
    started = frozenset({"FP32", "FP16", "BF16"}) | memory.BITSANDBYTES

    # -- what runs here ----------------------------------------------------------------------------------------

    def available(self, machine: Machine | None = None) -> Availability:
        found = installed({name: name for name in ("transformers", "torch", "accelerate")})
        return replace(found, version=f"{found.version}, torch {version('torch')}") if found.ok else found

    def uses(self, card: Accelerator | None, machine: Machine) -> bool:
        return pytorch_uses(card, machine)

    def supports(self, model: Model) -> Availability:
        if model.format == "gguf":
            return Availability(
                False, f"Transformers would unpack the GGUF file of {model.name} to 16 or 32 bits.",
                "Choose BF16, or NF4 to need less.",
            )  # fmt: skip
        return super().supports(model)

    def stored_format(self, format_name: str) -> str:
        """bitsandbytes quantizes 16-bit weights."""
        return "BF16" if format_name in memory.BITSANDBYTES else format_name

    # -- predictions -------------------------------------------------------------------------------------------

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        if settings.devices:
            return memory.on_devices(model, settings, machine, self.serving)
        return memory.on_cpu(model, settings, self.serving)

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        """On a CPU prompts are worked on in turns."""
        if settings.devices:
            return super().prefill(model, settings, machine, tokens, batch)
        return cpu_speed.prefill(_shares(model, machine), model, settings, machine, tokens=tokens, batch=batch)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        """On a CPU a token for each of `batch` requests is `batch` steps: they take turns."""
        if settings.devices:
            return super().decode(model, settings, machine, depth, batch)
        if is_recurrent(model.architecture):
            return Estimate.unknown("s", RECURRENT)
        cache = kv_bytes(model.architecture, depth, 4.0 if weight_format(model) == "FP32" else 2.0)
        step = cpu_speed.decode(
            _shares(model, machine), model, settings, machine, depth=depth, batch=1, cache_bytes=cache
        )
        return step.plus(step, times=batch - 1)

    # -- launching ---------------------------------------------------------------------------------------------

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        self._check_started(settings)
        seen = replace(settings, devices=tuple(range(len(settings.devices))))  # as those that it sees are numbered
        return Hosted(self.name, str(model.path), model.name, seen, port).launch(api_key, _environment(settings))

    def runtime(self, path: Path, settings: Settings) -> TextRuntime:
        """Load the folder with PyTorch."""
        from workbench.engines.transformers_runtime import TransformersRuntime

        return TransformersRuntime(path, settings)

    def _check_started(self, settings: Settings) -> None:
        if settings.format in NEEDS and settings.format not in self.started:
            raise EngineUnavailable(
                f"The workbench predicts {settings.format} in {self.title} and cannot start it yet.",
                fix=f"Choose one of {', '.join(sorted(self.started))}.",
            )
        if settings.device_layers is not None:
            raise EngineUnavailable(
                f"The workbench predicts {self.title} with {settings.device_layers} layers on devices and the others "
                "in memory, and does not start it so.",
                fix="Plan for more devices or for none, or choose llama.cpp.",
            )


class TransformersServe(Transformers):
    """The library's own server. It has no keys: whoever can reach this computer's loopback can use it."""

    name = "transformers-serve"
    title = "transformers serve"
    formats = started = frozenset(SERVED)
    serving = memory.LIBRARY
    needs = SERVED
    #: No `ignore_eos` there, but a whole generation config: whatever is not in it comes from the model's own, such as
    #: the end of text, which is put off.
    benchmark_options = MappingProxyType(
        {"generation_config": '{"do_sample": false, "use_cache": true, "min_new_tokens": 1000000}'}
    )
    quantizations: Mapping[str, str] = MappingProxyType({"NF4-DQ": "bnb-4bit", "LLM.int8": "bnb-8bit"})

    def _decode_rates(self, prompts: Estimate, step: Estimate, requests: int, workload: Workload) -> Estimate:
        """It answers one request after the other, each as fast as if it were alone: a step of all is one of each."""
        return step.rate(requests**2)

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        """It has one number of threads for prompts and answers."""
        alike = replace(settings, prefill_threads=settings.threads)
        return super().prefill(model, alike, machine, tokens, batch)

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        self._check_started(settings)
        device = "auto" if settings.devices else "cpu"
        argv = [sys.executable, "-P", "-m", "transformers.cli.transformers", "serve", str(model.path),
                "--host", "127.0.0.1", "--port", str(port), "--device", device]  # fmt: skip
        if quantized := self.quantizations.get(settings.format):
            argv += ["--quantization", quantized]
        # Its list of models fails where the Hub's cache does not exist; ours is empty and stays so.
        hub = folders.cache() / "no-hub"
        hub.mkdir(exist_ok=True)
        environment = {**_environment(settings), "HF_HUB_CACHE": str(hub)}
        # It knows no context: a prompt goes through the layers however long it is, an answer grows until it ends.
        return Launch(tuple(argv), environment, tokenizer=model.path and model.path / "tokenizer.json")

    def served_model(self, model: Model) -> str:
        """It answers to nothing but the folder it was given."""
        return str(model.path)


def _shares(model: Model, machine: Machine) -> cpu_speed.Shares:
    kind = weight_format(model)
    return cpu_speed.of_format(_ALIKE.get(kind, kind), SHARES, SHARES_BF16, machine)


def _environment(settings: Settings) -> Mapping[str, str]:
    """Offline, quiet, and with the devices and threads of the plan."""
    return {
        **visible(settings.devices),
        **({"ZE_AFFINITY_MASK": ",".join(map(str, settings.devices))} if settings.devices else {}),  # Intel's cards
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(settings.threads),
    }
