"""The contract of the all-in-one apps against the real ones that run or are installed here, on the embedded model.

An app is attached to where NAME_HOST says, or started where it can be (see `workbench.engines.apps`). What it cannot
say of itself is written down from WORKBENCH_APP_NOTE: which version, built how.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import workbench
from workbench import engines, models
from workbench.engines.apps.contract import App, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.engines.apps.holding import hold
from workbench.errors import StartFailed, UsageError, WorkbenchError
from workbench.machine import listener, memory_bytes
from workbench.machine.processes import descendants

MODEL, CONTEXTS, REPEATS = "smollm2-135m-instruct", (512, 2048), 3


def run() -> dict[str, Any]:
    """Every app that is here; raises UsageError when none is."""
    found = {name: engine for name in engines.APPS if (engine := _app(name)).available().ok}
    if not found:
        raise UsageError("No all-in-one app runs or is installed here.", fix="Start one, and say where: NAME_HOST.")
    return {
        "note": os.environ.get("WORKBENCH_APP_NOTE", ""),
        "not_here": {name: _app(name).available().reason for name in engines.APPS if name not in found},
        "apps": {name: _one(engine) for name, engine in found.items()},
    }


def _app(name: str) -> AppEngine:
    engine = engines.get(name)
    assert isinstance(engine, AppEngine)  # noqa: S101 - what the registry of apps holds
    return engine


def _one(engine: AppEngine) -> dict[str, Any]:
    attached = engine.app.client.listens()
    result: dict[str, Any] = {
        "available": engine.available().version,
        "attached": attached,
        "deployments": [_deployment(engine, context) for context in CONTEXTS],
    }
    if attached:
        result |= {"traps": _traps(engine.app), "own_memory_bytes": _own_memory(engine.app)}
    return result


def _deployment(engine: AppEngine, context: int) -> dict[str, Any]:
    """Deploy, ask, measure, stop, and look whether it is gone."""
    begin = time.perf_counter()
    with workbench.deploy(MODEL, engine=engine.name, context=context, share=False) as deployment:
        ready_s = time.perf_counter() - begin
        answer = "".join(deployment.chat("Why is the sky blue?", max_tokens=16, temperature=0))
        measured = workbench.measure(deployment, repeats=REPEATS)
        served, log = deployment.endpoint.served_model, deployment.logs()
        predicted = {name: one.value for name, one in deployment.predictions.items()}
        begin = time.perf_counter()
    return {
        "context_asked": context, "served_model": served, "log": log.splitlines()[-1], "ready_s": round(ready_s, 2),
        "answer": answer, "predicted": predicted,
        "measured": {name: one.value for name, one in measured.values.items()},
        "released_s": round(time.perf_counter() - begin, 2),
        "still_loaded": engine.app.client.listens() and engine.app.is_loaded(served),
    }  # fmt: skip


def _traps(app: App) -> dict[str, str]:
    """What is said when less context is in force than asked for, and when a file cannot be loaded."""
    said: list[str] = []
    path = models.get(MODEL).path
    held = hold(app, Wanted(MODEL, CONTEXTS[0], path=path), said.append)
    try:
        workbench.deploy(MODEL, engine=app.name, context=CONTEXTS[1])
        short = "deployed all the same"
    except StartFailed as error:
        short = error.details.splitlines()[-1]
    left_alone = app.is_loaded(held.served)
    held.give_back()
    return {"less_context": short, "left_alone": str(left_alone), "broken_file": _broken(app)}


def _broken(app: App) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "broken.gguf"
        path.write_bytes(b"GGUF" + bytes(64))
        try:
            hold(app, Wanted("broken", CONTEXTS[0], path=path), lambda _: None).give_back()
        except WorkbenchError as error:
            return str(error)
    return "loaded all the same"


def _own_memory(app: App) -> int | None:
    """Of the app without a model (bytes); None for one of another user."""
    root = listener(int(app.client.address.rpartition(":")[2])) or 0
    found = memory_bytes(process.pid for process in descendants(root))
    return found.bytes if found else None
