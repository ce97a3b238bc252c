"""OpenAI's own Whisper on PyTorch, hosted by the workbench's server; what is loaded is in `openai_whisper_runtime`.

It holds the weights in 32 bits and casts them, layer by layer, every time they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.engines import whisper, whisper_memory
from workbench.engines.contract import Settings
from workbench.engines.device_memory import pytorch_uses
from workbench.engines.runtime import SpeechRuntime
from workbench.engines.speech_engine import SpeechEngine
from workbench.engines.whisper import Habits
from workbench.engines.workload import Workload
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Accelerator, Machine
from workbench.models.speech import SpeechModel


class OpenAIWhisper(SpeechEngine):
    """Predicts the memory and speed of openai-whisper."""

    name = "openai-whisper"
    title = "OpenAI Whisper"
    formats = frozenset({"FP16", "FP32"})
    runtimes = frozenset({"cpu", "cuda"})
    container = "whisper"
    library = ("whisper", "openai-whisper")
    usual = "FP32"
    on_devices = True

    def uses(self, card: Accelerator | None, machine: Machine) -> bool:
        return pytorch_uses(card, machine) and (card is None or card.runtime in self.runtimes)

    def stored_format(self, format_name: str) -> str:
        """It holds 32 bits whatever it computes in."""
        return "FP32"

    def runtime(self, path: Path, settings: Settings) -> SpeechRuntime:
        from workbench.engines.openai_whisper_runtime import OpenAIWhisperRuntime

        return OpenAIWhisperRuntime(path, settings)

    def memory(self, model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return whisper_memory.of_pytorch(model, settings, machine)

    def speed(
        self, model: SpeechModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        moved = (8.0 if settings.devices else 4.0) * model.parameters  # read in 32 bits, written and read in 16
        return whisper.speeds(model, settings, machine, Habits(self.name, moved / model.weight_bytes, cpu_beam=2.4))
