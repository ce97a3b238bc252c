"""The guide's step-by-step examples as they are today: each of its commands, whether it works, and what replaces it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.loader import load
from workbench.errors import UnknownName

#: new: a step the guide lacks.
STATUSES = ("works", "renamed", "outdated", "new")


@dataclass(frozen=True, slots=True)
class WalkthroughModel:
    """A model to choose. describe: its name in the catalog; names: what the app calls it, by format, most bits first;
    repository: on the Hub, for tools that fetch files from there."""

    describe: str
    names: dict[str, str]
    repository: str = ""


@dataclass(frozen=True, slots=True)
class WalkthroughStep:
    """A command of the guide. now: what to type today; now_macos, now_windows: the
    same there, where it is another; tool: what the step installs."""

    guide: str
    status: str
    now: tuple[str, ...]
    why: str
    source: str
    now_macos: tuple[str, ...] = ()
    now_windows: tuple[str, ...] = ()
    tool: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, expected one of {', '.join(STATUSES)}")


@dataclass(frozen=True, slots=True)
class Walkthrough:
    """One example. task: what its models do; tools: what it installs, with the program that tells that it is there;
    models: the best first; engine: whose predictions choose among them."""

    name: str
    title: str
    about: str
    task: str
    tools: dict[str, str]
    models: tuple[WalkthroughModel, ...]
    steps: tuple[WalkthroughStep, ...]
    source: str
    checked: date
    engine: str = "llama.cpp"


@cache
def walkthroughs() -> dict[str, Walkthrough]:
    """Every recorded walk-through by its number in the guide."""
    return load("walkthroughs.yaml", Walkthrough)


def walkthrough(number: int | str) -> Walkthrough:
    """The walk-through of this number; raises UnknownName."""
    if str(number) not in walkthroughs():
        raise UnknownName("walk-through", str(number), walkthroughs())
    return walkthroughs()[str(number)]
