"""Vosk: speech recognition on small Kaldi models, on CPUs alone. The guide names it; the workbench does not start it.

Its models are of a kind of their own (an acoustic model and a graph of words), which nothing here describes, so what
they need is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.engines.contract import Availability, Engine, Settings
from workbench.engines.device_memory import prediction_only
from workbench.engines.workload import Workload
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.speech import SpeechModel

UNKNOWN = "the workbench does not describe Kaldi's models"


class Vosk(Engine[SpeechModel]):
    """Knows that it runs no Whisper."""

    name = "vosk"
    title = "Vosk"
    formats = frozenset({"kaldi"})
    capabilities = frozenset({"transcribe"})
    container = "kaldi"
    starts = False

    def available(self, machine: Machine | None = None) -> Availability:
        return prediction_only(self.title, "vosk")

    def supports(self, model: SpeechModel) -> Availability:
        return Availability(
            False, f"Vosk runs models of its own, made with Kaldi, and not {model.name}.",
            "Choose faster-whisper; Vosk itself is `pip install vosk`, its models are at https://alphacephei.com/vosk/models.",
        )  # fmt: skip

    def memory(self, model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return (Breakdown("RAM", {"model": Estimate.unknown("B", UNKNOWN)}),)

    def speed(
        self, model: SpeechModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        return {"window": Estimate.unknown("s", UNKNOWN), "real_time_factor": Estimate.unknown("ratio", UNKNOWN)}
