"""What the engines for Whisper have in common: a library that the workbench's server hosts, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec

from workbench.engines.contract import Availability, Engine, Launch, Settings
from workbench.engines.runtime import Hosted
from workbench.errors import EngineUnavailable
from workbench.machine import Machine
from workbench.models.speech import SpeechModel

#: Import names of what the server itself needs, with the distributions they come in.
SERVER = {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client",
          "python_multipart": "python-multipart"}  # fmt: skip


class SpeechEngine(Engine[SpeechModel]):
    """An engine for Whisper. library: the package it is, by the name it is imported by and the one it is installed by;
    usual: the format to choose instead of one that it does not run."""

    capabilities = frozenset({"transcribe"})
    library: tuple[str, str]
    usual: str

    def available(self, machine: Machine | None = None) -> Availability:
        module, package = self.library
        needed = {module: package, "av": "av", **SERVER}
        if missing := [name for known, name in needed.items() if find_spec(known) is None]:
            return Availability(
                False, f"The package {missing[0]} is not installed.", f"Install it: pip install {' '.join(missing)}"
            )
        return Availability(True, version=f"{package} {version(package)}")

    def supports(self, model: SpeechModel) -> Availability:
        if model.format not in self.formats:
            return Availability(
                False, f"{self.title} does not run {model.name} in {model.format}.",
                f"Choose {self.usual}; it knows {', '.join(sorted(self.formats))}.",
            )  # fmt: skip
        return Availability(True)

    def launch(self, model: SpeechModel, settings: Settings, port: int, api_key: str) -> Launch:
        availability = self.available()
        if not availability.ok:
            raise EngineUnavailable(availability.reason, fix=availability.fix)
        if settings.devices:
            raise EngineUnavailable(
                f"The workbench starts {self.title} on the CPU alone; on accelerators it predicts.",
                fix="Plan it without a device.",
            )
        if model.path is None:
            raise EngineUnavailable(f"{model.name} is only described: there is no file of it.", fix="Name its file.")
        hosted = Hosted(self.name, str(model.path), self.served_model(model), settings, port)
        return hosted.launch(api_key, self.environment(settings))

    def environment(self, settings: Settings) -> Mapping[str, str]:
        """Variables that the library reads when it is imported: its threads."""
        return {"OMP_NUM_THREADS": str(settings.prefill_threads)}
