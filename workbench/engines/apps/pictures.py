"""An app that makes pictures, as an engine: the workbench's server speaks OpenAI's API and passes requests on to it.

What such an app needs and how long it takes is unknown before it is measured: it decides itself what lies where.
"""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from collections.abc import Generator, Mapping
from contextlib import suppress
from pathlib import Path

from workbench.engines.apps.contract import UNLOAD_S, App, AppModel, Wanted
from workbench.engines.apps.engine import InApp, Listed, free_port
from workbench.engines.apps.holding import started
from workbench.engines.contract import Availability, Engine, Launch, Settings
from workbench.engines.runtime import Hosted, ImageRuntime, Imagining, Picture, Step, installed
from workbench.engines.workload import Workload
from workbench.errors import EngineUnavailable, WorkbenchError
from workbench.evidence import Breakdown, Estimate
from workbench.machine import Machine

START_S = 300.0


class ImageApp(App):
    """An app whose workflows make pictures, of its own nodes alone.

    multiple: what sides must be multiples of.
    """

    multiple = 8

    @abstractmethod
    def schedulers(self) -> tuple[str, ...]:
        """Names of the ways through the noise that it has."""

    @abstractmethod
    def draw(self, model: str, asked: Imagining) -> Generator[Step | Picture | None, None, None]:
        """Have it make pictures; closing the iterator interrupts it. Raises AppRefused with what it says."""

    def load(self, model: AppModel, wanted: Wanted) -> str:
        """Nothing yet: the first request loads."""
        return model.served_as


class ImageAppEngine(InApp, Engine[Listed]):
    """Makes pictures inside `app`."""

    formats = frozenset({"app"})
    capabilities = frozenset({"imagine"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})
    keeps_models = True
    start_timeout_s = START_S

    app: ImageApp

    def __init__(self, app: ImageApp) -> None:
        self.app, self.name, self.title = app, app.name, app.title

    def available(self, machine: Machine | None = None) -> Availability:
        found = super().available(machine)
        ours = installed({"PIL": "pillow"})
        return found if ours.ok or not found.ok else ours

    def supports(self, model: Listed) -> Availability:
        return Availability(True)

    def named(self, name: str) -> Listed:
        """The model the app knows by this name; raises UnknownName, and EngineUnavailable when it is not there."""
        if not (available := self.available()).ok:
            raise EngineUnavailable(available.reason, fix=available.fix)
        reason = f"{self.title} decides itself what lies where and in which precision"
        found = self.app.find(name) if self._attaches() else AppModel(name)
        return Listed(found.name, reason, found.bytes, format="app", source=self.title)

    def memory(self, model: Listed, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        return (Breakdown("RAM", {self.title: Estimate.unknown("B", model.reason)}),)

    def speed(self, model: Listed, settings: Settings, machine: Machine, workload: Workload) -> Mapping[str, Estimate]:
        return {name: Estimate.unknown("s", model.reason) for name in ("step", "image")}

    def launch(self, model: Listed, settings: Settings, port: int, api_key: str) -> Launch:
        if not (available := self.available()).ok:
            raise EngineUnavailable(available.reason, fix=available.fix)
        hosted = Hosted(self.name, model.name, model.name, settings, port).launch(api_key)
        where = int(self.app.client.address.rpartition(":")[2]) if self._attaches() else None
        return Launch(hosted.argv, hosted.env, app_port=where, ends_within_s=UNLOAD_S)

    def runtime(self, path: Path, settings: Settings) -> ImageRuntime:
        """path: what the app calls the model."""
        if self._attaches():
            return ImageAppRuntime(self.app, str(path), None)
        port = free_port()
        start = self.app.start(Wanted(str(path), 0), port, "")
        if start is None:
            raise EngineUnavailable(f"{self.title} is gone.", fix=f"Start it: {self.app.entry.start}")
        app = type(self.app)(f"127.0.0.1:{port}")
        child = started(app, start, START_S)  # dies with our whole tree
        app.find(str(path))
        return ImageAppRuntime(app, str(path), child)


class ImageAppRuntime(ImageRuntime):
    """Passes requests on to an app, one at a time. child: the app, where we started it."""

    def __init__(self, app: ImageApp, model: str, child: subprocess.Popen[bytes] | None) -> None:
        self._app, self._model, self._child = app, model, child
        self.multiple, self.schedulers = app.multiple, app.schedulers()

    def left_out(self, prompt: str) -> str:
        return ""  # these apps read long prompts in pieces

    def imagine(self, asked: Imagining) -> Generator[Step | Picture | None, None, None]:
        return self._app.draw(self._model, asked)

    def close(self) -> None:
        """Have the app give back the memory; an app of ours ends."""
        if self._child:
            self._child.terminate()
        else:
            with suppress(WorkbenchError):  # it may be gone
                self._app.unload(self._model, UNLOAD_S)
