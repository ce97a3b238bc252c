"""Commands that predict: what this computer is, what could run on it or on another, and how well that is known."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from workbench.cli.output import Status, print_json, print_table
from workbench.errors import UsageError
from workbench.units import GIB, format_bytes

if TYPE_CHECKING:
    from workbench.machine import Machine


def machine(options: argparse.Namespace) -> None:
    from workbench import machine
    from workbench.report import text

    if options.raw:
        return print_json(argparse.Namespace(json=True), machine.raw())
    found = machine.probe()
    with Status() as status:
        found = machine.calibrate(found, force=True, progress=status) if options.calibrate else machine.kept(found)
    findings = machine.judge(found)
    if not options.json:
        print(text.machine(found))
        print(text.findings(findings))
    return print_json(options, {**found.to_dict(), "compatibility": [asdict(finding) for finding in findings]})


def models(options: argparse.Namespace) -> None:
    from workbench import models

    if options.app or options.pull:
        return _app_models(options)
    entries = models.known()
    if not options.json:
        print_table([("name", "what it is", "licence")], [(e.name, e.title, e.licence) for e in entries])
        print("\nAny .gguf file works too: a path, or hf:owner/repository/file.gguf.")
    return print_json(
        options, [{"name": e.name, "title": e.title, "task": e.task, "licence": e.licence} for e in entries]
    )


def _app_models(options: argparse.Namespace) -> None:
    from workbench.engines.apps import engine

    if not options.app:
        raise UsageError("--pull needs an app to bring the model.", fix="Name it with --app.")
    with Status(quiet=options.json) as status:
        found = engine.models_of(options.app, pull=options.pull, progress=status)
    if not options.json:
        head = [("name", "on disk", "format", "loaded", "context in force")]
        print_table(head, [
            (m.name, format_bytes(m.bytes) if m.bytes else "unknown", m.quantization or "unknown",
             "yes" if m.loaded else "no", str(m.context or "unknown") if m.loaded else "") for m in found
        ])  # fmt: skip
    print_json(options, [{**asdict(m), "path": str(m.path) if m.path else None} for m in found])


def plan(options: argparse.Namespace) -> None:
    from workbench import models, planning
    from workbench.report import text

    if options.use:
        return _pick(options)
    if options.lossy:
        raise UsageError("--lossy goes with --for; without it every format is listed.", fix="Leave it out.")
    with Status(quiet=options.json) as status:
        file = None if options.device else models.at_hand(options.model)
        described, asked = models.describe(options.model), _wanted(options)
        found = planning.choices(described, machine=_machine(options, status), file=file, **asked)
    if not options.json:
        print(text.choices(found))
    return print_json(options, found.to_dict())


def _pick(options: argparse.Namespace) -> None:
    from workbench import engines, models, planning
    from workbench.evidence.ledger import Ledger
    from workbench.report import text

    names = ("device", "count", "memory_gib", "format", "concurrency")
    given = [
        f"--{name.replace('_', '-')}" for name in names if getattr(options, name) != (1 if name == "count" else None)
    ]
    if given:
        why = "--for ranks what can be started here, in every format, with as many requests at once as the use has."
        raise UsageError(why, fix=f"Leave out {', '.join(given)}.")
    wanted = () if options.engine == "auto" else (engines.get(options.engine).name,)
    with Status(quiet=options.json) as status:
        found = planning.pick(
            models.get_text(options.model), options.use, machine=_machine(options, status), pairs=Ledger().pairs(),
            context=options.context, lossy=options.lossy, engines=wanted,
        )  # fmt: skip
    found = replace(found, model=options.model)  # as it was typed
    if not options.json:
        print(text.pick(found))
    print_json(options, found.to_dict())


def estimate(options: argparse.Namespace) -> None:
    from workbench import models, planning
    from workbench.evidence.ledger import Ledger
    from workbench.report import text

    with Status(quiet=options.json) as status:
        file = None if options.device or options.format else models.at_hand(options.model)
        model = file or models.describe(options.model)
        made = planning.estimate(model, machine=_machine(options, status), **_wanted(options))
    if not options.no_ledger:
        made = planning.calibrated(made, Ledger().pairs())
    if not options.json:
        print(text.plan(made))
    print_json(options, made.to_dict())


def validate(options: argparse.Namespace) -> None:
    from workbench.planning import validation
    from workbench.report import text

    found = validation.validate(options.file)
    if not options.json:
        print(text.validation(found))
    print_json(options, found.to_dict())


def walkthrough(options: argparse.Namespace) -> None:
    from workbench import report
    from workbench.report import text

    with Status(quiet=options.json) as status:
        found = report.walkthrough(options.number, machine=_machine(options, status), context=options.context)
    if not options.json:
        print(text.walkthrough(found))
    print_json(options, found.to_dict())


def _wanted(options: argparse.Namespace) -> dict[str, Any]:
    asked = {name: getattr(options, name) for name in ("engine", "format", "context", "concurrency")}
    return {name: value for name, value in asked.items() if value is not None}


def _machine(options: argparse.Namespace, status: Status) -> Machine:
    """The machine that is described, with this computer around the cards; or this computer, measured once."""
    from workbench import machine

    here = machine.probe()
    if options.device is None:
        if options.count != 1 or options.memory_gib:
            raise UsageError("--count and --memory-gib describe a machine.", fix="Say which with --device.")
        return machine.calibrate(here, progress=status)
    memory_bytes = None if options.memory_gib is None else int(options.memory_gib * GIB)
    return machine.describe(options.device, count=options.count, memory_bytes=memory_bytes, host=machine.kept(here))
