"""faster-whisper: Whisper on CTranslate2, hosted by the workbench's server.

On paper windows of one recording can be transcribed together: `Settings.concurrency` says how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.engines import whisper, whisper_memory
from workbench.engines.contract import Launch, Settings
from workbench.engines.runtime import SpeechRuntime
from workbench.engines.speech_engine import SpeechEngine
from workbench.engines.whisper import Habits
from workbench.engines.workload import Workload
from workbench.errors import EngineUnavailable
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.speech import SpeechModel


class FasterWhisper(SpeechEngine):
    """Predicts the memory and speed of faster-whisper."""

    name = "faster-whisper"
    title = "faster-whisper"
    formats = frozenset({"FP32", "FP16", "BF16", "INT8"})
    runtimes = frozenset({"cpu", "cuda"})
    container = "ctranslate2"
    library = ("faster_whisper", "faster-whisper")
    usual = "FP16"
    on_devices = True

    def runtime(self, path: Path, settings: Settings) -> SpeechRuntime:
        from workbench.engines.faster_whisper_runtime import FasterWhisperRuntime

        return FasterWhisperRuntime(path, settings)

    def launch(self, model: SpeechModel, settings: Settings, port: int, api_key: str) -> Launch:
        """As the others; it would fetch the tokenizer of another model where the folder has none."""
        if model.path and model.path.is_dir() and not (model.path / "tokenizer.json").is_file():
            raise EngineUnavailable(
                f"{model.path} has no tokenizer.json.", fix="Put the one of its repository on the Hub there."
            )
        return super().launch(model, settings, port, api_key)

    def memory(self, model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return whisper_memory.of_ctranslate(model, settings, machine)

    def speed(
        self, model: SpeechModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        doubled = not settings.devices and model.format in ("FP16", "BF16")  # a CPU computes in 32 bits
        reads = 2.0 if doubled else 1.0
        return whisper.speeds(model, settings, machine, Habits(self.name, reads, True, cpu_time=0.8, cpu_beam=0.3))
