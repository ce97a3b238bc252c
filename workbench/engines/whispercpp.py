"""whisper.cpp: Whisper in ggml's formats, as `whisper-server` or through its bindings.

It predicts; the workbench cannot start it yet.
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


class WhisperCpp(Engine[SpeechModel]):
    """Predicts the memory and speed of whisper.cpp."""

    name = "whisper.cpp"
    title = "whisper.cpp"
    formats = frozenset({"F16", "Q8_0", "Q6_K", "Q5_0", "Q5_1", "Q5_K", "Q4_0", "Q4_1", "Q4_K"})
    capabilities = frozenset({"transcribe"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})

    starts = False

    def available(self, machine: Machine | None = None) -> Availability:
        return prediction_only(self.title, "pywhispercpp")

    def supports(self, model: SpeechModel) -> Availability:
        if model.format not in self.formats:
            return Availability(False, f"whisper.cpp runs ggml's formats, not {model.format}.", "Choose F16 or Q5_0.")
        return Availability(True)

    def memory(self, model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return whisper_memory.of_whispercpp(model, settings, machine)

    def speed(
        self, model: SpeechModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        return whisper.speeds(model, settings, machine, Habits(self.name))
