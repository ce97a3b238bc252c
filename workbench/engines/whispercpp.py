"""whisper.cpp: Whisper in ggml's formats, through its Python bindings, hosted by the workbench's server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.engines import whisper, whisper_memory
from workbench.engines.contract import Settings
from workbench.engines.runtime import SpeechRuntime
from workbench.engines.speech_engine import SpeechEngine
from workbench.engines.whisper import Habits
from workbench.engines.workload import Workload
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models.speech import SpeechModel
from workbench.units import MIB

#: Python with the workbench's server, which holds five minutes of a recording.
_SERVER = Basis("measured with tiny.en, less what whisper.cpp takes", {}, "x86-64 Linux, 2026-11-28")
SERVER = Estimate.within(135 * MIB, "B", _SERVER, 0.3, 0.5)


class WhisperCpp(SpeechEngine):
    """Predicts the memory and speed of whisper.cpp."""

    name = "whisper.cpp"
    title = "whisper.cpp"
    formats = frozenset({"F16", "Q8_0", "Q6_K", "Q5_0", "Q5_1", "Q5_K", "Q4_0", "Q4_1", "Q4_K"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})
    container = "ggml"
    library = ("pywhispercpp", "pywhispercpp")
    usual = "F16"

    def runtime(self, path: Path, settings: Settings) -> SpeechRuntime:
        from workbench.engines.whispercpp_runtime import WhisperCppRuntime

        return WhisperCppRuntime(path, settings)

    def memory(self, model: SpeechModel, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        found = whisper_memory.of_whispercpp(model, settings, machine)
        return found if settings.devices else (Breakdown("RAM", {**found[0].parts, "server": SERVER}),)

    def speed(
        self, model: SpeechModel, settings: Settings, machine: Machine, workload: Workload
    ) -> Mapping[str, Estimate]:
        return whisper.speeds(model, settings, machine, Habits(self.name, cpu_time=1.4, cpu_beam=0.7))
