"""Inference engines and all-in-one applications, as they are today: what they serve, where they run, how to reach them.

Facts only. What an engine costs in memory and time, and how it is started, is the business of `workbench.engines`.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from datetime import date
from functools import cache

from workbench.catalog.loader import load
from workbench.catalog.names import Names
from workbench.errors import UnknownName

#: The systems that something is installed on.
PLATFORMS = frozenset({"Linux", "macOS", "Windows"})
TASKS = frozenset({"chat", "complete", "embed", "transcribe", "speak", "imagine"})


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """A program or library that runs models. devices: cpu, cuda, rocm, metal, vulkan …; formats: of weights.

    server: the command that serves an HTTP API, empty for a library; port: its default. in_guide: the guide lists it.
    install: how it is installed on Linux, macOS and Windows.
    """

    name: str
    title: str
    licence: str
    homepage: str
    serves: tuple[str, ...]
    devices: tuple[str, ...]
    formats: tuple[str, ...]
    in_guide: bool
    source: str
    checked: date
    server: str = ""
    port: int | None = None
    install: dict[str, str] = field(default_factory=dict)
    note: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_tasks(self.serves)
        _check_platforms(self.install)


@dataclass(frozen=True, slots=True)
class AppEntry:
    """An all-in-one application. interface: desktop, web, command line, API; engines: what runs inside.

    api: which protocols it speaks; port: of its API by default; web_port: of its page, where that is another.
    install: how it is installed on Linux, macOS and Windows, a command or where to get it; start: the command that
    starts its API by hand; pull: the one that brings a model, with NAME for the model; known_versions: beginnings of
    the versions whose documentation was read; memory_bytes: what it was seen to take itself, without any model.
    """

    name: str
    title: str
    licence: str
    homepage: str
    platforms: tuple[str, ...]
    interface: tuple[str, ...]
    serves: tuple[str, ...]
    engines: tuple[str, ...]
    api: tuple[str, ...]
    port: int
    source: str
    checked: date
    web_port: int | None = None
    install: dict[str, str] = field(default_factory=dict)
    start: str = ""
    pull: str = ""
    known_versions: tuple[str, ...] = ()
    memory_bytes: int | None = None
    note: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_tasks(self.serves)
        _check_platforms(self.install)


def _check_tasks(serves: tuple[str, ...]) -> None:
    if unknown := set(serves) - TASKS:
        raise ValueError(f"serves {sorted(unknown)[0]!r}, expected some of {', '.join(sorted(TASKS))}")


def _check_platforms(install: dict[str, str]) -> None:
    if unknown := set(install) - PLATFORMS:
        raise ValueError(f"install names {sorted(unknown)[0]!r}, expected {', '.join(sorted(PLATFORMS))}")


def this_platform() -> str:
    """This computer's system, by the names that `install` uses."""
    return {"Darwin": "macOS"}.get(system := platform.system(), system)


@cache
def engines() -> dict[str, EngineEntry]:
    """Every recorded engine by its name."""
    return load("engines.yaml", EngineEntry)


@cache
def apps() -> dict[str, AppEntry]:
    """Every recorded application by its name."""
    return load("apps.yaml", AppEntry)


def engine(text: str) -> EngineEntry:
    """The engine that `text` names, with or without what follows its name: "vLLM 0.6.3", "llama.cpp build 1691"."""
    words = text.split()
    for end in range(len(words), 0, -1):
        if _engine_names().claims(name := " ".join(words[:end])):
            return engines()[_engine_names().find(name)]
    raise UnknownName("engine", text, engines())


def app(text: str) -> AppEntry:
    """The application that `text` names."""
    return apps()[_app_names().find(text)]


@cache
def _engine_names() -> Names:
    return Names("engine", {name: (one.title, *one.aliases) for name, one in engines().items()})


@cache
def _app_names() -> Names:
    return Names("application", {name: (one.title, *one.aliases) for name, one in apps().items()})
