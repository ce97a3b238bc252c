"""What an engine is: what it can run here, what it costs in memory and time, and the command that starts it.

The contract never names an engine. One file per engine; the registry is in `workbench.engines`.
An engine predicts with the arithmetic of `workbench.models`; `workbench.planning` asks and compares.
An engine that the workbench cannot start yet predicts all the same, and says so in `available`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from workbench.engines.workload import Workload
from workbench.errors import EngineUnavailable
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models import Model

if TYPE_CHECKING:
    from workbench.engines.runtime import ImageRuntime, SpeechRuntime, TextRuntime

AnyModel = TypeVar("AnyModel")

#: Peak memory is predicted and measured over the longest prompt that leaves room for an answer of this many tokens.
PEAK_ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True)
class ImageShape:
    """One request for images: size in pixels, denoising steps, images made at once; guidance: how strongly the text is
    followed, the pipeline's own choice when None."""

    width: int
    height: int
    steps: int
    images: int = 1
    guidance: float | None = None


@dataclass(frozen=True, slots=True)
class Tricks:
    """Ways of needing less memory for images: decode picture by picture, or tile by tile; move every layer to the
    device only while it works."""

    sliced: bool = False
    tiled: bool = False
    sequential: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine needs to know to run a model.

    format: the format of the weights, as `workbench.models.formats` names it, or 'gguf' for a file as it is;
    context: tokens of prompt and answer together, per request; concurrency: requests served at once;
    threads / prefill_threads: CPU threads for decode and for prefill; cache_type: element type of the KV cache;
    prompt_cache_bytes: most memory for keeping earlier prompts, none by default.
    devices: which of the machine's accelerators, by their place in `Machine.accelerators`; none means the CPU;
    device_layers: how many layers lie on them, all when None; tensor_parallel: whether each layer is split over the
    devices, or whole layers are dealt out; offload: move parts to the device only while they work (images).
    image, tricks, beam: only for engines that make images or transcribe.
    """

    model: str
    format: str
    context: int
    concurrency: int = 1
    threads: int = 1
    prefill_threads: int = 1
    cache_type: str = "f16"
    flash_attention: bool = True
    prompt_cache_bytes: int = 0
    devices: tuple[int, ...] = ()
    device_layers: int | None = None
    tensor_parallel: bool = False
    offload: bool = False
    image: ImageShape | None = None
    tricks: Tricks = Tricks()
    beam: int = 1

    def accelerators(self, machine: Machine) -> tuple[Accelerator, ...]:
        """The devices themselves."""
        return tuple(machine.accelerators[index] for index in self.devices)


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can run on this machine; if not, why, and what would change that."""

    ok: bool
    reason: str = ""
    fix: str = ""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line and the environment variables it needs on top of the ones inherited.

    base_url, api_key, served_model: where requests go, with which key and for which model, if not to this command's own
    port; app_port: of the app that serves them, whose memory is the deployment's; ends_within_s: from SIGTERM to
    SIGKILL. None: as for every server. tokenizer: the tokenizer.json by which requests are held to the context before
    they are sent, for a server that does not do so itself.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    base_url: str | None = None
    api_key: str | None = None
    served_model: str | None = None
    app_port: int | None = None
    ends_within_s: float | None = None
    tokenizer: Path | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a deployment answers: an OpenAI-compatible `base_url`, its key, and the model name it accepts."""

    base_url: str
    api_key: str = field(repr=False)
    served_model: str

    @property
    def root(self) -> str:
        """The server's address without the API's path."""
        return self.base_url.removesuffix("/v1")


class Engine(ABC, Generic[AnyModel]):
    """One way of running models. Every method is pure but `available` and `uses`, which may look at the machine.

    formats: the formats of weights it runs, as `workbench.models.formats` names them; runtimes: the kinds of devices it
    runs on ('cpu', 'cuda', 'rocm', 'metal', 'xpu'); capabilities: chat, complete, transcribe, imagine; container: the
    kind of file or folder it opens ('gguf', 'safetensors', 'onnx'); starts: False where the workbench predicts it and
    cannot start it yet; keeps_models: it has its models itself, so that no file is written for it; spans_devices: it
    can use several at once; splits_layers: it divides every layer over them, where others give each whole layers;
    deals_layers: it can leave layers in main memory too.
    """

    name: str
    title: str
    formats: frozenset[str]
    capabilities: frozenset[str]
    runtimes: frozenset[str] = frozenset({"cpu"})
    container = "gguf"
    starts = True
    keeps_models = False
    spans_devices = splits_layers = deals_layers = False
    health_path = "/health"
    start_timeout_s = 180.0  # how long it may take until it answers
    #: Sent with each measured request: the same prompt must cost the same twice, and an answer must be full length.
    benchmark_options: Mapping[str, object] = MappingProxyType({})

    @abstractmethod
    def available(self, machine: Machine | None = None) -> Availability:
        """Say whether the workbench can start this engine here."""

    def uses(self, card: Accelerator | None, machine: Machine) -> bool:
        """Whether what is installed of it here runs on this accelerator of the machine, or without one on the CPU, as
        far as anybody knows."""
        return card is None

    @abstractmethod
    def supports(self, model: AnyModel) -> Availability:
        """Say whether this engine can run this model, by its format and architecture."""

    def runs_on(self, model: AnyModel, settings: Settings, machine: Machine) -> Availability:
        """Say whether the devices of these settings can run this model."""
        return self.supports(model)

    @abstractmethod
    def memory(self, model: AnyModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        """Predict the peak memory (bytes): first the device that matters most, then the others, then 'RAM'.

        For text the peak is that of the longest prompt plus PEAK_ANSWER_TOKENS.
        """

    @abstractmethod
    def speed(
        self, model: AnyModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        """Predict every quantity of speed by name: see TextEngine for text; 'step' and 'image' (s) for images;
        'window' (s) and 'real_time_factor' for speech."""

    def launch(self, model: AnyModel, settings: Settings, port: int, api_key: str) -> Launch:
        """The command that serves `model` on 127.0.0.1:`port`; the key goes through the environment, never argv."""
        raise EngineUnavailable(
            f"The workbench cannot start {self.title} yet.",
            fix="Choose another engine: `workbench engines` lists them.",
        )

    def variants(self, model: AnyModel, settings: Settings) -> Iterator[Settings]:
        """These settings, and others worth comparing whose answers nobody could tell apart.

        Decode on every free core: faster where nobody else wants one, and much slower where somebody does.
        """
        yield settings
        if settings.threads < settings.prefill_threads:
            yield replace(settings, threads=settings.prefill_threads)

    def stored_format(self, format_name: str) -> str:
        """The format that the weights have on disk when they run in `format_name`; another one where the engine
        quantizes while it loads."""
        return format_name

    def runtime(self, path: Path, settings: Settings) -> TextRuntime | SpeechRuntime | ImageRuntime:
        """Load the model into this process: for engines that `workbench.deployment.server` hosts, and only there."""
        raise NotImplementedError(f"{self.title} is a server of its own")

    def named(self, name: str) -> Any:
        """The model that this engine knows by a name of its own; None for engines that run the workbench's models."""
        return None

    def served_model(self, model: Any) -> str:
        """The model name the server answers to."""
        return str(model.name)


class TextEngine(Engine[Model]):
    """An engine for language models: it predicts one prompt and one step, and the rest follows.

    batch_tokens: of prompts that are worked on together; part_tokens: of a prompt, after which another request gets its
    turn, where they are not.
    """

    batch_tokens = 2048  # what llama.cpp and vLLM do unless told otherwise
    part_tokens: int | None = None

    @abstractmethod
    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        """Predict the seconds it takes to process `batch` prompts of `tokens` tokens each, together."""

    @abstractmethod
    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        """Predict the seconds of one step: a token for each of `batch` requests, each `depth` tokens deep."""

    def speed(self, model: Model, settings: Settings, machine: Machine, workload: Workload) -> Mapping[str, Estimate]:
        """prefill, decode (tok/s, one request alone), ttft (s); for `concurrency` requests at once also throughput
        (tok/s, the sum of their decode rates) and batch (s, from sending all to the last token)."""
        ttft = self.prefill(model, settings, machine, workload.prompt_tokens)
        step = self.decode(model, settings, machine, workload.decode_depth)
        speeds = {"prefill": ttft.rate(workload.prompt_tokens), "decode": step.rate(1), "ttft": ttft}
        if (together := settings.concurrency) > 1:
            many = self.decode(model, settings, machine, workload.decode_depth, together)
            prompts = self.prefill(model, settings, machine, workload.prompt_tokens, together)
            speeds["throughput"] = self._decode_rates(prompts, many, together, workload)
            speeds["batch"] = prompts.plus(many, workload.answer_tokens)
        return speeds

    def _decode_rates(self, prompts: Estimate, step: Estimate, requests: int, workload: Workload) -> Estimate:
        """tok/s of requests sent at once, each from its first token on, while prompts of others are worked on."""
        alone = step.plus(step, workload.answer_tokens - 1)
        waits = self._waits(requests, workload.prompt_tokens)
        total = reduce(
            Estimate.plus, (alone.plus(prompts, wait / requests).rate(workload.answer_tokens) for wait in waits)
        )
        inputs = {
            "all prompts": str(prompts), "step": str(step), "answer": f"{workload.answer_tokens} tokens",
            "prompts still to come": ", ".join(f"{wait:g}" for wait in waits[:8]) + ", …" * (requests > 8),
        }  # fmt: skip
        basis = Basis("sum over requests: answer ÷ (prompts still to come + answer × step)", inputs, step.basis.source)
        return total if total.value is None else replace(total, basis=basis)

    def _waits(self, requests: int, prompt_tokens: int) -> list[float]:
        """How many prompts of others each request waits for after its own. Where prompts are worked on together, the
        first goes alone and the others, come meanwhile, in groups; where they take turns, each waits for those after
        it, as far as they are not through theirs."""
        if self.part_tokens is not None:
            parts = math.ceil(prompt_tokens / self.part_tokens)
            return [later / parts for later in reversed(range(requests))]
        group = max(1, self.batch_tokens // prompt_tokens)
        done = (math.ceil(number / group) * group for number in range(requests))
        return [float(max(0, requests - 1 - one)) for one in done]
