"""What an engine is: what it can run here, what it costs in memory and time, and the command that starts it.

The contract never names an engine. One file per engine; the registry is in `workbench.engines`.
An engine predicts with the arithmetic of `workbench.models`; `workbench.planning` asks and compares.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model

#: Peak memory is predicted and measured over the longest prompt that leaves room for an answer of this many tokens.
PEAK_ANSWER_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine needs to know to run a model.

    context: tokens of prompt and answer together, per request; concurrency: requests served at once;
    threads / prefill_threads: CPU threads for decode and for prefill; cache_type: element type of the KV cache;
    prompt_cache_bytes: most memory for keeping earlier prompts, none by default.
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


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can run on this machine; if not, why, and what would change that."""

    ok: bool
    reason: str = ""
    fix: str = ""
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line and the environment variables it needs on top of the ones inherited."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a deployment answers: an OpenAI-compatible `base_url`, its key, and the model name it accepts."""

    base_url: str
    api_key: str
    served_model: str

    @property
    def root(self) -> str:
        """The server's address without the API's path."""
        return self.base_url.removesuffix("/v1")


class Engine(ABC):
    """One way of running models. Every method is pure but `available`, which may look at the machine."""

    name: str
    title: str
    formats: frozenset[str]
    capabilities: frozenset[str]
    health_path = "/health"
    #: Sent with each measured request: the same prompt must cost the same twice, and an answer must be full length.
    benchmark_options: Mapping[str, object] = MappingProxyType({})

    @abstractmethod
    def available(self, machine: Machine | None = None) -> Availability:
        """Say whether this engine can run here."""

    @abstractmethod
    def supports(self, model: Model) -> Availability:
        """Say whether this engine can run this model, by its format and architecture."""

    @abstractmethod
    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        """Predict the peak memory per device (bytes) over the longest prompt plus PEAK_ANSWER_TOKENS."""

    @abstractmethod
    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int) -> Estimate:
        """Predict the seconds it takes to process a prompt of `tokens` tokens, alone."""

    @abstractmethod
    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int) -> Estimate:
        """Predict the seconds per generated token with `depth` tokens already in the cache, alone."""

    @abstractmethod
    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        """The command that serves `model` on 127.0.0.1:`port`; the key goes through the environment, never argv."""

    def served_model(self, model: Model) -> str:
        """The model name the server answers to."""
        return model.name
