"""`workbench engines`: what there is, and the environments of those that need one of their own."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from workbench.cli.output import Status, print_json, print_table
from workbench.errors import UsageError
from workbench.units import format_bytes

if TYPE_CHECKING:
    from workbench.engines.table import Row


def add_actions(parser: argparse.ArgumentParser) -> None:
    """`install NAME` and `remove NAME`; without either the engines are listed."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    for name, run, text in (
        ("install", install, "Give an engine an environment of its own; an interrupted one goes on."),
        ("remove", remove, "Delete an engine's environment."),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("name", help="an engine, or a recipe of the catalog")
        # SUPPRESS: said before the action, it stays said
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
        action.add_argument("--yes", action="store_true", help="do not ask")
        action.set_defaults(run=run)


def engines(options: argparse.Namespace) -> None:
    from workbench.engines import table

    found = table.rows()
    if not options.json:
        print_table([("engine", "tasks", "formats", "runs here", "version", "own environment", "last tested")],
                    [_row(one) for one in found])  # fmt: skip
        print()
        for one in found:
            if not one.ok:
                print(f"{one.name}: {one.reason} {one.fix}".rstrip())
    print_json(options, [asdict(one) for one in found])


def _row(one: Row) -> tuple[str, ...]:
    return (
        one.name, ", ".join(one.tasks), _shortened(one.formats), "yes" if one.ok else "no", one.version or "",
        one.environment, one.last_tested or "never",
    )  # fmt: skip


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def install(options: argparse.Namespace) -> None:
    from workbench import machine
    from workbench.engines import environments

    here = machine.probe()
    recipe = environments.find(options.name, here)
    if (environments.installed(recipe.name) is None and not environments.obstacle(recipe, here)
            and not (options.yes or options.json)):  # fmt: skip
        _ask(f"{recipe.title} {recipe.version}: {environments.size(recipe)}. {recipe.note}".strip())
    with Status() as status:
        made = environments.install(recipe.name, machine=here, progress=status)
    if not options.json:
        print(f"{recipe.title} {recipe.version} lies in {made.folder} ({format_bytes(made.bytes)}).")
    print_json(options, {
        "recipe": recipe.name, "engine": recipe.engine, "version": recipe.version, "folder": str(made.folder),
        "bytes": made.bytes, "created": made.created,
    })  # fmt: skip


def _ask(what: str) -> None:
    print(what)
    if not sys.stdin.isatty():
        raise UsageError("Nobody is there to agree to the installation.", fix="Say --yes.")
    if input("Install it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was installed.")


def remove(options: argparse.Namespace) -> None:
    from workbench import machine
    from workbench.engines import environments

    recipe = environments.find(options.name, machine.probe())
    freed = environments.remove(options.name)
    if not options.json:
        print(f"{recipe.title}: {format_bytes(freed)} freed" if freed else f"{recipe.title} was not installed")
    print_json(options, {"recipe": recipe.name, "engine": recipe.engine, "freed_bytes": freed})
