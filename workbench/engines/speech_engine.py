"""What the engines for Whisper have in common: a library that the workbench's server hosts."""

from __future__ import annotations

from workbench.engines.contract import Availability, Engine, Launch, Settings
from workbench.engines.runtime import Hosted, check_starts, installed
from workbench.errors import EngineUnavailable
from workbench.machine import Machine
from workbench.models.speech import SpeechModel


class SpeechEngine(Engine[SpeechModel]):
    """An engine for Whisper. library: the package it is, by the name it is imported by and the one it is installed by;
    usual: the format to choose instead of one that it does not run; on_devices: whether the workbench starts it on an
    accelerator, too."""

    capabilities = frozenset({"transcribe"})
    library: tuple[str, str]
    usual: str
    on_devices = False

    def available(self, machine: Machine | None = None) -> Availability:
        module, package = self.library
        return installed({module: package, "av": "av", "python_multipart": "python-multipart"})

    def supports(self, model: SpeechModel) -> Availability:
        if model.format not in self.formats:
            return Availability(
                False, f"{self.title} does not run {model.name} in {model.format}.",
                f"Choose {self.usual}; it knows {', '.join(sorted(self.formats))}.",
            )  # fmt: skip
        return Availability(True)

    def launch(self, model: SpeechModel, settings: Settings, port: int, api_key: str) -> Launch:
        check_starts(self, settings, on_devices=self.on_devices)
        if settings.concurrency != 1:
            raise EngineUnavailable(
                f"{settings.concurrency} windows at once are predicted and not started.", fix="Plan with one at a time."
            )
        if model.path is None:
            raise EngineUnavailable(f"{model.name} is only described: there is no file of it.", fix="Name its file.")
        hosted = Hosted(self.name, str(model.path), self.served_model(model), settings, port)
        return hosted.launch(api_key, {"OMP_NUM_THREADS": str(settings.prefill_threads)})  # read at import
