"""OpenAI's own Whisper on PyTorch. It predicts; the workbench cannot start it yet.

It holds the weights in 32 bits and casts them, layer by layer, every time they are used.
"""

from __future__ import annotations

from collections.abc import Mapping

from workbench.engines import whisper, whisper_memory
from workbench.engines.contract import Availability, Engine, Settings
from workbench.engines.device_memory import prediction_only
from workbench.engines.whisper import Habits
from workbench.engines.workload import Workload
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.speech import SpeechModel


class OpenAIWhisper(Engine[SpeechModel]):
    """Predicts the memory and speed of openai-whisper."""

    name = "openai-whisper"
    title = "OpenAI Whisper"
    formats = frozenset({"FP16", "FP32"})
    capabilities = frozenset({"transcribe"})
    runtimes = frozenset({"cpu", "cuda"})

    starts = False

    def available(self, machine: Machine | None = None) -> Availability:
        return prediction_only(self.title, "openai-whisper")

    def supports(self, model: SpeechModel) -> Availability:
        if model.format not in self.formats:
            return Availability(False, f"openai-whisper runs FP16 and FP32, not {model.format}.", "Choose FP16.")
        return Availability(True)

    def memory(self, model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return whisper_memory.of_pytorch(model, settings, machine)

    def speed(
        self, model: SpeechModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        moved = (8.0 if settings.devices else 4.0) * model.parameters  # read in 32 bits, written and read in 16
        return whisper.speeds(model, settings, machine, Habits(self.name, moved / model.weight_bytes))
