"""What an all-in-one app is to the workbench: found, started or installed; its models; loading, and proof of it.

Each app is a file beside this one that says how its own interface does these things. What an app cannot do raises
UsageError with what a person does instead. Nothing here starts a process or keeps anything.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from workbench import catalog
from workbench.catalog import AppEntry
from workbench.engines.apps.client import Client, loopback
from workbench.errors import ContextTooShort, UnknownName, UsageError

#: Called with the fraction done, None where the app does not say, and what is going on.
Progress = Callable[[float | None, str], None]
#: Time (s) for an app to let go of a model; LocalAI waits 30 s for one that is busy.
UNLOAD_S = 35.0


@dataclass(frozen=True, slots=True)
class AppModel:
    """A model as an app lists it; None and "" where the app does not say.

    id: what requests call it, where that is not its name; bytes: on disk; context: tokens in force, if it is loaded;
    most_context: tokens it was trained for; path: its file, where this user can read it.
    """

    name: str
    id: str = ""
    bytes: int | None = None
    loaded: bool = False
    context: int | None = None
    most_context: int | None = None
    architecture: str = ""
    quantization: str = ""
    path: Path | None = None

    @property
    def served_as(self) -> str:
        """What requests call it."""
        return self.id or self.name


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to be loaded: the name the app knows it by, tokens of context, requests at once, CPU threads.

    path: a file that may be given to the app if it does not know the name.
    """

    model: str
    context: int
    concurrency: int = 1
    threads: int = 1
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """How to start an app as a process of ours, and in which folder. serves_one: it is started with its model."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    serves_one: bool = False


class App(ABC):
    """One app on this computer, at one address.

    program: what it is called on PATH; holds_one: it keeps one model at a time, so loading another drops it;
    prefers_start: what we start ourselves can do more than what runs; names_ours: what it lists as loaded under the
    name that `load` or `join` returns was loaded for us; loads_again: with the context that was proven, at the next
    request, what it dropped; benchmark_options: as for an engine, none where it cannot be told to go on after the end
    of text. Where it listens and the key it may want are read from NAME_HOST and NAME_API_KEY of the environment
    (JAN_HOST …).
    """

    name: str
    program = ""
    holds_one = prefers_start = names_ours = loads_again = False
    benchmark_options: Mapping[str, object] = MappingProxyType({})

    def __init__(self, address: str = "", api_key: str = "") -> None:
        self._address, self._api_key = address, api_key

    @cached_property
    def entry(self) -> AppEntry:
        """What the catalog knows of it."""
        return catalog.apps()[self.name]

    @property
    def title(self) -> str:
        """Its name as people write it."""
        return self.entry.title

    @property
    def variable(self) -> str:
        """The environment variable that says where it listens."""
        return f"{self.name.upper().replace('-', '_')}_HOST"

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The environment variables that may hold its key; the first that is set counts."""
        return (f"{self.variable.removesuffix('HOST')}API_KEY",)

    @cached_property
    def client(self) -> Client:
        """Requests to it; raises UsageError when the environment names another computer."""
        written = self._address or os.environ.get(self.variable, "")
        key = self._api_key or next(filter(None, map(os.environ.get, self.key_variables)), "")
        return Client(self.title, loopback(written, self.variable, self.entry.port), key)

    @property
    def base_url(self) -> str:
        """Its OpenAI-compatible interface."""
        return f"http://{self.client.address}/v1"

    @property
    def api_key(self) -> str:
        """The key it has wanted so far; some text where it wants none, as clients insist on one."""
        return self.client.wanted_key or "none"

    # -- is it there -------------------------------------------------------------------------------------------

    def running_version(self) -> str | None:
        """Its version, "" where it does not tell; None if nobody listens. Raises PortTaken for a stranger."""
        return self.version() if self.client.listens() else None

    @abstractmethod
    def version(self) -> str:
        """The version the running app tells, "" if it tells none; PortTaken when it is something else."""

    def check(self) -> None:
        """Raise EngineUnavailable or MissingExtra if a running app, or we, lack what the rest of this class needs."""
        return

    def installed(self) -> str | None:
        """The program that starts it, None if it is not there."""
        return shutil.which(self.program) if self.program else None

    def installed_version(self) -> str:
        """The version that would be started, "" where only a running one tells."""
        return ""

    def install_hint(self) -> str:
        """How to install it on this system."""
        system = catalog.this_platform()
        how = self.entry.install.get(system)
        return f"Install it: {how}" if how else f"It does not run on {system}; see {self.entry.homepage}."

    def start(self, wanted: Wanted, port: int, api_key: str) -> Start | None:
        """How to start it on this port; None if it is not installed or cannot be a process of ours. Raises UsageError
        when its own settings would have other computers reach it."""
        return None

    # -- its models --------------------------------------------------------------------------------------------

    @abstractmethod
    def models(self) -> tuple[AppModel, ...]:
        """The language models it has, with those that are loaded marked."""

    def find(self, name: str) -> AppModel:
        """The model of this name; raises UnknownName with what brings it, as far as the app can."""
        found = {model.name: model for model in self.models()}
        if name in found:
            return found[name]
        error = UnknownName(f"model of {self.title}", name, found)
        error.fix += f" To get it: {self.entry.pull.replace('NAME', name)}" if self.entry.pull else ""
        raise error

    def pull(self, name: str, progress: Progress) -> None:
        """Bring a model into the app; raises AssetUnavailable when that fails or is cut off (what came is kept)."""
        raise UsageError(f"{self.title} gets models through its own window only.", fix=f"Look for {name} there.")

    def add(self, name: str, path: Path) -> AppModel:
        """Give the app a model file of ours under this name."""
        raise UsageError(
            f"{self.title} has no model {name}, and cannot be given a file over its interface.",
            fix=f"Put {path} into its models folder.",
        )

    # -- loading, and proof of it ------------------------------------------------------------------------------

    def full_name(self, name: str) -> str:
        """One name for all that mean the same model."""
        return name

    def served_as(self, wanted: Wanted) -> str:
        """What requests will call the model; asks nobody."""
        return wanted.model

    def prepare(self, model: AppModel, wanted: Wanted, changed: Mapping[str, Any]) -> Mapping[str, Any]:
        """What `load` or `join` will have changed in the app beside loading, read before they do; `restore` gets it.

        changed: what this said for deployments of ours that have not been undone.
        """
        return changed

    def restore(self, changed: Mapping[str, Any]) -> None:
        """Set back what was changed; the model is unloaded, or stays for somebody else."""
        return

    @abstractmethod
    def load(self, model: AppModel, wanted: Wanted) -> str:
        """Load a model that is not loaded, and return what requests call it."""

    def join(self, model: AppModel, wanted: Wanted) -> str:
        """Use a model that is loaded already, and return what requests call it."""
        return model.served_as

    @abstractmethod
    def unload(self, served: str, timeout_s: float) -> None:
        """Ask the app to unload what `load` loaded; it may take that long to answer."""

    def is_loaded(self, served: str) -> bool:
        """Whether the app holds it in memory."""
        return any(model.loaded and model.served_as == served for model in self.models())

    def context(self, served: str) -> int | None:
        """Tokens of context in force for one request, None where the app does not say."""
        return next((model.context for model in self.models() if model.loaded and model.served_as == served), None)

    def lost(self, served: str, wanted: Wanted) -> str:
        """Why requests are no longer answered as was proven when it was loaded; empty while they are."""
        if not self.is_loaded(served):
            again = "at the next request it may load it again, with a context that nobody has proven"
            return "" if self.loads_again else f"{self.title} no longer holds {served} in memory; {again}."
        try:
            self.check_context(self.context(served), wanted, lambda _: None)
        except ContextTooShort as error:
            return str(error)
        return ""

    def ask(self, served: str) -> Any:
        """One token through the interface that clients use: what that changes must show in `context`."""
        body = {"model": served, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        return self.client.post("/v1/chat/completions", body)

    def check_context(self, context: int | None, wanted: Wanted, say: Callable[[str], None]) -> None:
        """Raise ContextTooShort for less than was asked for; an unknown context is only told."""
        if context is None:
            say(f"warning: {self.title} does not say which context is in force; {wanted.context} tokens were asked for")
        elif context < wanted.context:
            raise ContextTooShort(
                f"{self.title} runs {wanted.model} with a context of {context} tokens; {wanted.context} were asked "
                "for, and what is longer it would cut without a word.",
                fix=self.context_fix(wanted.context),
            )

    def context_fix(self, context: int) -> str:
        """What a person changes to get this context."""
        return f"Load it in {self.title} with {context} tokens, or ask for less."


class FolderApp(App):
    """An app that is a folder with a Python of its own, and no program on PATH; NAME_FOLDER says where it is.

    script: what starts it; pythons: where its installers put that Python, the best first.
    """

    script: str
    pythons: tuple[str, ...]

    @property
    def folder_variable(self) -> str:
        """The environment variable that says where it is."""
        return f"{self.variable.removesuffix('HOST')}FOLDER"

    @property
    def folder(self) -> Path:
        """Where it is said to be."""
        return Path(os.environ.get(self.folder_variable, ""))

    def installed(self) -> str | None:
        found = [self.folder / name for name in self.pythons if (self.folder / name).exists()]
        return str(found[0].absolute()) if found and (self.folder / self.script).is_file() else None

    def install_hint(self) -> str:
        return f"{super().install_hint()}. If it is there, say where: {self.folder_variable}=/its/folder."
