"""An app as an engine: its models planned by llama.cpp's terms, its deployment a process that holds one of them.

All these apps run llama.cpp inside. Where an app's model can be read or described, its memory and speed on a CPU are
llama.cpp's, plus what the app itself takes; where the app decides how many layers go to an accelerator, and where it
does not say what a model is, they are unknown.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from workbench import catalog, models
from workbench.engines import llamacpp_memory, llamacpp_speed
from workbench.engines.apps.client import LOAD_S
from workbench.engines.apps.contract import UNLOAD_S, App, AppModel, Progress, Start, Wanted
from workbench.engines.contract import Availability, Launch, Settings, TextEngine
from workbench.errors import EngineUnavailable, UnknownName, UsageError, WorkbenchError
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model, gguf_file

API_KEY = "WORKBENCH_API_KEY"
#: From SIGTERM to SIGKILL (s): an app takes its time to unload a model, and is asked whether it did.
ENDS_WITHIN_S = UNLOAD_S + 5
#: An app may have to be started before it loads a model.
START_TIMEOUT_S = LOAD_S + 120
#: How far a described file may be from the size the app tells before it counts as another model.
SAME_SIZE = 0.1


@dataclass(frozen=True, slots=True)
class Listed:
    """A model of which the app says little more than its name. reason: why nothing can be predicted for it."""

    name: str
    reason: str
    file_bytes: int | None = None
    most_context: int | None = None
    quantization: str = "unknown"
    format: str = "gguf"
    path: Path | None = None
    source: str = "an app"


class InApp:
    """What engines that run inside `app` have in common: whether it is there."""

    app: App

    def available(self, machine: Machine | None = None) -> Availability:
        """Running, or installed and started by us; else what would help. Asks nobody who does not listen."""
        try:
            if self._attaches():
                version = self.app.running_version() or ""
                self.app.check()
                return Availability(
                    True, self._version_note(version), version=f"{version or 'running'} {self._where()}"
                )
            self.app.check()
            program = self.app.installed()
            if program and self.app.start(Wanted("", 0), 0, ""):
                version = self.app.installed_version()
                note, told = self._version_note(version), f"{version} installed" if version else "installed"
                return Availability(True, note, version=f"{told}, started when asked for ({program})")
        except WorkbenchError as error:
            move = f"Set {self.app.variable} to where {self.app.title} answers."
            return Availability(False, error.what, error.fix or move)
        if program:
            return Availability(False, f"{self.app.title} does not run.", f"Start it: {self.app.entry.start}")
        return Availability(False, f"{self.app.title} is not installed.", self.app.install_hint())

    def _attaches(self) -> bool:
        """Whether a deployment uses the app that runs, and not one that it starts."""
        started = self.app.prefers_start and self.app.installed()
        return not started and self.app.client.listens()

    def _where(self) -> str:
        return f"at {self.app.client.address}"

    def _version_note(self, version: str) -> str:
        known = self.app.entry.known_versions
        if not version or not known or any(version.startswith(one) for one in known):
            return ""
        return f"{self.app.title} {version} is here; what is known of it is from {', '.join(known)}."


class AppEngine(InApp, TextEngine):
    """Runs language models inside `app`."""

    formats = frozenset({"gguf"})
    capabilities = frozenset({"chat", "complete"})
    runtimes = frozenset({"cpu", "cuda", "rocm", "metal", "xpu"})

    keeps_models = True
    unload_s = UNLOAD_S
    start_timeout_s = START_TIMEOUT_S

    def __init__(self, app: App) -> None:
        self.app, self.name, self.title = app, app.name, app.title
        self.benchmark_options: Mapping[str, object] = app.benchmark_options

    def supports(self, model: Any) -> Availability:
        if model.format not in self.formats:
            return Availability(False, f"{self.title} opens GGUF files, not {model.format}.", "Choose a GGUF version.")
        return Availability(True)

    def named(self, name: str) -> Model | Listed:
        """The model the app knows by this name, or a model of the workbench that can be given to it.

        Raises UnknownName when neither knows it, EngineUnavailable when the app is not there.
        """
        if not (available := self.available()).ok:
            raise EngineUnavailable(available.reason, fix=available.fix)
        try:
            return self._described(self.app.find(name))
        except UnknownName as unknown:
            with suppress(UnknownName):
                return models.get_text(name)
            raise unknown from None
        except EngineUnavailable:
            if self._attaches():
                raise
        with suppress(UnknownName):
            return models.get_text(name)
        return Listed(name, f"{self.title} does not run and cannot be asked what {name} is")

    def _described(self, listed: AppModel) -> Model | Listed:
        if listed.path:
            return gguf_file.read(listed.path, name=listed.name, source=f"{self.title}, {listed.path}")
        with suppress(WorkbenchError):
            made = models.in_format(models.describe(catalog.model(listed.name).name), listed.quantization)
            if isinstance(made, Model) and abs(made.file_bytes - (listed.bytes or 0)) < SAME_SIZE * made.file_bytes:
                return replace(made, name=listed.name, source=f"{self.title}, described by the catalog")
        return Listed(
            listed.name, f"{self.title} does not say enough of {listed.name} to predict it", listed.bytes,
            listed.most_context, listed.quantization or "unknown", source=self.title,
        )  # fmt: skip

    # -- predictions -------------------------------------------------------------------------------------------

    def memory(self, model: Model | Listed, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        if reason := self._unknown(model, machine):
            return (Breakdown("RAM", {"engine": Estimate.unknown("B", reason)}),)
        assert isinstance(model, Model)  # noqa: S101 - what is not known has a reason
        (breakdown,) = llamacpp_memory.on_cpu(model, settings, machine, "llama-server")
        return (Breakdown(breakdown.device, {**breakdown.parts, "app": self._own_memory()}),)

    def _own_memory(self) -> Estimate:
        entry = self.app.entry
        if entry.memory_bytes is None:
            return Estimate.unknown("B", f"nobody has measured here what {self.title} takes itself")
        basis = Basis(f"{self.title} without a model, as measured", {}, entry.source)
        return Estimate.within(entry.memory_bytes, "B", basis, 0.2, 0.2)

    def prefill(
        self, model: Model | Listed, settings: Settings, machine: Machine, tokens: int, batch: int = 1
    ) -> Estimate:
        if reason := self._unknown(model, machine):
            return Estimate.unknown("s", reason)
        assert isinstance(model, Model)  # noqa: S101
        return llamacpp_speed.prefill(model, settings, machine, tokens, batch)

    def decode(
        self, model: Model | Listed, settings: Settings, machine: Machine, depth: int, batch: int = 1
    ) -> Estimate:
        if reason := self._unknown(model, machine):
            return Estimate.unknown("s", reason)
        assert isinstance(model, Model)  # noqa: S101
        return llamacpp_speed.decode(model, settings, machine, depth, batch)

    def _unknown(self, model: Model | Listed, machine: Machine) -> str:
        """Why nothing can be said, if so."""
        if isinstance(model, Listed):
            return model.reason
        if machine.accelerators:
            return f"{self.title} decides itself how many layers go to the {machine.accelerators[0].name}"
        return ""

    # -- launching ---------------------------------------------------------------------------------------------

    def launch(self, model: Model | Listed, settings: Settings, port: int, api_key: str) -> Launch:
        """The holder (`workbench.engines.apps.holder`) on this port, and the app's own address for the requests."""
        if not (available := self.available()).ok:
            raise EngineUnavailable(available.reason, fix=available.fix)
        wanted = Wanted(model.name, settings.context, settings.concurrency, settings.threads, model.path)
        served, start, address, key = self.app.served_as(wanted), None, "", ""
        if self._attaches():
            with suppress(UnknownName):
                listed = self.app.find(model.name)
                served = listed.served_as if listed.loaded and listed.id else served
            address, key = self.app.client.address, self.app.api_key  # which it has asked for by now, if it wants one
        else:
            key, address = api_key, f"127.0.0.1:{free_port()}"
            start = self.app.start(wanted, int(address.rpartition(":")[2]), api_key)
        orders = Orders(self.name, address, wanted, served, port, start, self.unload_s)
        argv = (sys.executable, "-P", "-m", "workbench.engines.apps.holder", orders.to_json())
        return Launch(
            argv, {**(start.env if start else {}), API_KEY: key},
            base_url=f"http://{address}/v1", api_key=key, served_model=served,
            app_port=int(address.rpartition(":")[2]), ends_within_s=ENDS_WITHIN_S,
        )  # fmt: skip


def models_of(name: str, *, pull: str | None = None, progress: Progress = lambda *_: None) -> tuple[AppModel, ...]:
    """The models of the app called `name`; pull: one that it brings first.

    Raises UsageError for an engine that is no app, EngineUnavailable for an app that is not there, and what it raises.
    """
    from workbench import engines

    engine = engines.get(name)
    if not isinstance(engine, InApp):
        apps = ", ".join((*engines.APPS, *engines.IMAGE_APPS))
        raise UsageError(f"{engine.title} is no app with models of its own.", fix=f"Apps: {apps}.")
    if not (available := engine.available()).ok:
        raise EngineUnavailable(available.reason, fix=available.fix)
    if pull:
        engine.app.pull(pull, progress)
    return engine.app.models()


@dataclass(frozen=True, slots=True)
class Orders:
    """What the holder is told: the app and where it is or shall be, the model, what requests will call it, the port
    of its own, how to start the app if it does not run, and how long it may take to unload (s)."""

    app: str
    address: str
    wanted: Wanted
    served: str
    port: int
    start: Start | None
    unload_s: float

    def to_json(self) -> str:
        """For the command line, so without the environment of `start`, where a key may be: the holder has it itself."""
        start = self.start and {**asdict(self.start), "env": {}}
        return json.dumps({**asdict(self), "start": start}, default=str)

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        wanted, start = fields["wanted"], fields["start"]
        path = Path(wanted["path"]) if wanted["path"] else None
        made = start and Start(**{**start, "argv": tuple(start["argv"])})
        return cls(**{**fields, "wanted": Wanted(**{**wanted, "path": path}), "start": made})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
