"""Which engines a panel offers, in which formats, and why some cannot run here. No widget is known here.

A choice is written 'llama.cpp', 'transformers:BF16', or 'auto' for the first engine that runs here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from workbench import engines, models, planning
from workbench.engines import Availability, Engine
from workbench.errors import UnknownName, UsageError, WorkbenchError
from workbench.models import Model, formats
from workbench.planning import Plan

AUTO: Final = "auto"
TEST_ONLY: Final = "fake"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that can be chosen. formats: those that can be asked for, most bits first; none where a file has its
    own. available: None until somebody looked."""

    name: str
    title: str
    formats: tuple[str, ...] = ()
    available: Availability | None = None

    @property
    def refused(self) -> bool:
        """Whether somebody looked and it cannot run here."""
        return self.available is not None and not self.available.ok


def listed(capability: str = "chat", *, also: Iterable[str] = ()) -> tuple[Choice, ...]:
    """Every engine and app of the registry that can do this; also: choices already made, whose engines are listed
    anyway."""
    wanted = {engine_of(one) for one in also}
    names = [name for name in (*engines.ENGINES, *engines.APPS) if name != TEST_ONLY or name in wanted]
    found = [(name, engines.get(name)) for name in names]
    return tuple(Choice(name, one.title, _formats(one)) for name, one in found if capability in one.capabilities)


def looked_at(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The same, each with whether it can run here."""
    return tuple(
        Choice(one.name, one.title, one.formats, engines.get(one.name).available()) for one in choices
    )  # fmt: skip


def plans(model: str, chosen: Sequence[str], **settings: Any) -> list[Plan]:
    """A plan of each choice, and where there is only one, of the next engine that could run the model here too; apps
    are only used when asked for by name.

    settings: those of `workbench.plan`, which says what it raises for a choice that cannot run.
    """
    found = model if all(map(has_own_models, chosen)) else models.get_text(model)
    made = [planning.plan(model if has_own_models(one) else found, **options(one), **settings) for one in chosen]
    if len(made) == 1:
        others = (one.name for one in listed() if one.name != made[0].engine.name and not has_own_models(one.name))
        made += islice(_possible(found, others, settings), 1)
    return made


def _possible(model: str | Model, names: Iterable[str], settings: Mapping[str, Any]) -> Iterator[Plan]:
    for name in names:
        with suppress(WorkbenchError):
            yield planning.plan(model, engine=name, **settings)


def engine_of(choice: str) -> str:
    """The engine's name in a choice."""
    return choice.partition(":")[0].strip()


def has_own_models(choice: str) -> bool:
    """Whether the engine has its models itself, by names of its own: it gets the name, and not a file."""
    try:
        return engines.get(engine_of(choice)).keeps_models
    except UnknownName:  # 'auto', or one that nobody knows, which the plan says
        return False


def options(choice: str) -> dict[str, Any]:
    """A choice as options of `workbench.plan`: the engine, and the format where one is asked for."""
    engine, _, wanted = (part.strip() for part in choice.partition(":"))
    if not engine:
        raise UsageError("No engine is named.", fix="Choose one, or 'auto'.")
    if engine == AUTO and wanted:
        raise UsageError(f"The format {wanted} was asked for, and no engine.", fix="Choose an engine that runs it.")
    return {"engine": engine, "format": wanted} if wanted else {"engine": engine}


def _formats(engine: Engine[Any]) -> tuple[str, ...]:
    """The formats of an engine by the bits of a weight; a container alone is no format that could be asked for."""
    named = {one.name: one.bits_per_weight for one in formats.known()}
    return tuple(sorted((name for name in engine.formats if name in named), key=lambda name: (-named[name], name)))
