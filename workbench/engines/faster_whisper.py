"""faster-whisper: Whisper on CTranslate2. It predicts; the workbench cannot start it yet.

Windows of one recording can be transcribed together: `Settings.concurrency` says how many.
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


class FasterWhisper(Engine[SpeechModel]):
    """Predicts the memory and speed of faster-whisper."""

    name = "faster-whisper"
    title = "faster-whisper"
    formats = frozenset({"FP32", "FP16", "BF16", "INT8"})
    capabilities = frozenset({"transcribe"})
    runtimes = frozenset({"cpu", "cuda"})

    starts = False

    def available(self, machine: Machine | None = None) -> Availability:
        return prediction_only(self.title, "faster-whisper")

    def supports(self, model: SpeechModel) -> Availability:
        if model.format not in self.formats:
            return Availability(False, f"faster-whisper does not run {model.format}.", "Choose FP16 or INT8.")
        return Availability(True)

    def memory(self, model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return whisper_memory.of_ctranslate(model, settings, machine)

    def speed(
        self, model: SpeechModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        doubled = not settings.devices and model.format in ("FP16", "BF16")  # a CPU computes in 32 bits
        return whisper.speeds(model, settings, machine, Habits(self.name, 2.0 if doubled else 1.0, batches=True))
