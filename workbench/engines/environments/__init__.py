"""Environments on demand: engines whose dependencies clash with the workbench's, each in a folder of its own.

    install("vllm")      makes what the recipe of the catalog says, with progress; goes on where an earlier try ended
    installed("vllm")    the finished environment, or None
    remove("vllm")       deletes it, unless something runs from it

An environment is made in a new folder and counts only once its note has been written, the last step: what was cut
short is never used and cleared away at the next try. What has been downloaded or compiled by then is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from workbench import catalog, folders
from workbench.catalog import Packages, Recipe
from workbench.engines.contract import Availability
from workbench.engines.environments import building, packages
from workbench.engines.environments.commands import Progress, Report
from workbench.engines.environments.packages import python
from workbench.errors import EngineUnavailable, UnknownName, UsageError
from workbench.machine import Machine, probe
from workbench.models.download import require_space
from workbench.units import format_bytes, now

__all__ = [
    "ELSEWHERE",
    "Environment",
    "all_installed",
    "find",
    "folder_bytes",
    "install",
    "installed",
    "missing",
    "no_card",
    "obstacle",
    "python",
    "recipe_for",
    "remove",
    "size",
    "users",
]  # fmt: skip

NOTE = "environment.json"
ELSEWHERE = "Choose another engine; `workbench plan MODEL --device CARD` says what it would do on a card."


@dataclass(frozen=True, slots=True)
class Environment:
    """A finished environment."""

    recipe: Recipe
    folder: Path
    created: str
    bytes: int

    @property
    def program(self) -> Path:
        """What the recipe was made for."""
        return self.folder / self.recipe.program


# -- which recipe ----------------------------------------------------------------------------------------------


def find(name: str, machine: Machine | None = None) -> Recipe:
    """The recipe called `name`, or the one that gives the engine `name` an environment on this machine.

    Raises UnknownName.
    """
    recipes = catalog.environments()
    if name in recipes:
        return recipes[name]
    if recipe := recipe_for(name, machine):
        return recipe
    raise UnknownName("environment", name, {*recipes, *(one.engine for one in recipes.values())})


def recipe_for(engine: str, machine: Machine | None = None) -> Recipe | None:
    """The recipe of an engine: the one for CUDA where the machine has a card of NVIDIA's, if there are two."""
    has_cuda = machine is not None and any(card.vendor == "NVIDIA" for card in machine.accelerators)
    found = [one for one in catalog.environments().values() if one.engine == engine]
    return min(found, key=lambda one: one.device != ("cuda" if has_cuda else "cpu"), default=None)


def obstacle(recipe: Recipe, machine: Machine | None = None) -> str:
    """Why this recipe cannot be made on this computer; empty if nothing speaks against it."""
    here = this_platform()
    if here not in recipe.platforms:
        return f"{recipe.title} runs on {', '.join(recipe.platforms)}; this is {here}."
    if reason := no_card(recipe.title, machine) if recipe.device == "cuda" and machine else "":
        return reason
    if isinstance(recipe.made_from, Packages):
        return packages.obstacle(recipe.title, recipe.made_from)
    return building.obstacle(recipe.title)


def no_card(title: str, machine: Machine) -> str:
    """Why what needs an NVIDIA card cannot run on this machine; empty if it has one."""
    if any(card.vendor == "NVIDIA" for card in machine.accelerators):
        return ""
    return f"{title} needs an NVIDIA GPU, and none was found here."


def size(recipe: Recipe) -> str:
    """What installing it takes, in words."""
    if recipe.download_bytes is None or recipe.installed_bytes is None:
        return "size not measured"
    return f"{format_bytes(recipe.download_bytes)} to download, {format_bytes(recipe.installed_bytes)} on the disk"


def missing(engine: str, machine: Machine | None = None) -> Availability:
    """What `available` answers for an engine that has no environment yet: why, and what to do."""
    machine = machine or probe()
    recipe = find(engine, machine)
    if reason := obstacle(recipe, machine):
        return Availability(False, reason, ELSEWHERE)
    return Availability(
        False,
        f"{recipe.title} is not installed; it gets an environment of its own ({size(recipe)}).",
        f"Install it: workbench engines install {engine}",
    )


def this_platform() -> str:
    """System and processor, such as linux-x86_64."""
    return f"{sys.platform}-{platform.machine()}"


# -- which environments ----------------------------------------------------------------------------------------


def installed(name: str) -> Environment | None:
    """The finished environment of this engine or recipe, as its recipe says today; None if there is none."""
    wanted = [one for one in catalog.environments().values() if name in (one.name, one.engine)]
    return next((found for recipe in wanted for found in _finished(recipe)), None)


def all_installed() -> list[Environment]:
    """Every finished environment."""
    return [found for recipe in catalog.environments().values() for found in _finished(recipe)]


def _finished(recipe: Recipe) -> Iterator[Environment]:
    for note in sorted(_root().glob(f"{_key(recipe)}-*/{NOTE}")):
        with suppress(OSError, ValueError, KeyError):  # a note of another kind, or just being removed
            said = json.loads(note.read_text("utf-8"))
            found = Environment(recipe, note.parent, str(said["created"]), int(said["bytes"]))
            if found.program.exists():
                yield found


def _root() -> Path:
    """Without links in it: processes that run from an environment are found by its path."""
    return (folders.cache() / "environments").resolve()


def _key(recipe: Recipe) -> str:
    """Another one for every change of the recipe: an environment of older pins is not taken for today's."""
    said: dict[str, Any] = {"version": recipe.version, "made_from": asdict(recipe.made_from)}
    if isinstance(recipe.made_from, Packages):
        said["pins"] = packages.pins(recipe.made_from)
    return f"{recipe.name}-{hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]}"


# -- making ----------------------------------------------------------------------------------------------------


def install(name: str, *, machine: Machine | None = None, progress: Progress | None = None) -> Environment:
    """Make the environment of an engine or recipe, or find it made; what earlier tries brought is used.

    progress: called with the fraction done, None where nobody knows, and what is going on. Raises UnknownName,
    EngineUnavailable (not for this computer, or it could not be made), AssetUnavailable (no network), NoSpace.
    """
    recipe = find(name, machine)
    report = Report(recipe.title, progress)
    with _alone(recipe, report):
        if found := installed(recipe.name):
            return found
        if reason := obstacle(recipe, machine):
            raise EngineUnavailable(reason, fix="Choose another engine: `workbench engines` lists them.")
        _clear(recipe)
        _make(recipe, report)
        found = installed(recipe.name)
    if found is None:
        raise EngineUnavailable(
            f"{recipe.title} was installed, and {recipe.program} is not there.", fix="Report it: its recipe is wrong."
        )
    return found


def _make(recipe: Recipe, report: Report) -> None:
    folder, work = _root() / f"{_key(recipe)}-{uuid.uuid4().hex[:8]}", _root() / f"{_key(recipe)}.work"
    work.mkdir(parents=True, exist_ok=True)
    how = recipe.made_from
    if recipe.installed_bytes and recipe.download_bytes:
        meanwhile = recipe.download_bytes if isinstance(how, Packages) else how.peak_bytes
        require_space(_root(), recipe.installed_bytes + meanwhile - folder_bytes(work), recipe.title)
    folder.mkdir()
    if isinstance(how, Packages):
        packages.make(how, folder, work, report)
    else:
        building.make(how, folder / recipe.program, work, report)
    note = {"recipe": recipe.name, "version": recipe.version, "created": now(), "bytes": folder_bytes(folder)}
    fresh = folder / f".{NOTE}"
    fresh.write_text(json.dumps(note, indent=1) + "\n", "utf-8")
    fresh.replace(folder / NOTE)
    shutil.rmtree(work, ignore_errors=True)


def _alone(recipe: Recipe, report: Report) -> AbstractContextManager[None]:
    """One process at a time."""
    _root().mkdir(parents=True, exist_ok=True)
    waiting = partial(report, None, "waiting for another process that installs or removes it")
    return folders.alone(_root() / f"{recipe.name}.lock", waiting)


def _clear(recipe: Recipe) -> None:
    """What tries that were cut short left behind, and what other pins need no longer, unless it is in use."""
    keep = f"{_key(recipe)}.work"
    for folder in _folders(recipe):
        if folder.name != keep and not users(folder):
            _delete(folder)


# -- removing --------------------------------------------------------------------------------------------------


def remove(name: str, *, machine: Machine | None = None) -> int:
    """Delete every environment of this engine or recipe, finished or not; returns the bytes that were freed.

    Raises UnknownName, and UsageError while something runs from one of them.
    """
    chosen = find(name, machine)
    is_recipe = name in catalog.environments()
    recipes = [chosen] if is_recipe else [one for one in catalog.environments().values() if one.engine == name]
    freed = 0
    for recipe in recipes:
        with _alone(recipe, Report(recipe.title)):
            for folder in _folders(recipe):
                if running := users(folder):
                    raise UsageError(
                        f"{recipe.title} is in use: process {', '.join(map(str, running))} runs from it.",
                        fix="End what uses it: `workbench ps` lists deployments, `workbench stop` ends them.",
                    )
                freed += folder_bytes(folder)
                _delete(folder)
    return freed


def _delete(folder: Path) -> None:
    """The note goes first: whoever looks meanwhile sees no environment, never half of one."""
    (folder / NOTE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _folders(recipe: Recipe) -> list[Path]:
    names = catalog.environments()
    longer = tuple(f"{name}-" for name in names if name.startswith(f"{recipe.name}-"))  # vllm-cpu is not one of vllm's
    found = (one for one in _root().glob(f"{recipe.name}-*") if one.is_dir())
    return sorted(one for one in found if not one.name.startswith(longer or ("\0",)))


def users(folder: Path) -> list[int]:
    """Processes that run from this folder: their command names it, or they have a file of it in memory."""
    import psutil

    inside, found = f"{folder}{os.sep}", []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # gone, or another user's
            if any(word.startswith(inside) for word in process.cmdline()) or _maps(process, inside):
                found.append(process.pid)
    return found


def _maps(process: Any, inside: str) -> bool:
    """Whether a process has a file below `inside` in memory; some systems do not tell."""
    maps = getattr(process, "memory_maps", None)
    return maps is not None and any(one.path.startswith(inside) for one in maps())


def folder_bytes(folder: Path) -> int:
    """Bytes that the files below a folder take; links count for themselves."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).lstat().st_size
    return total
