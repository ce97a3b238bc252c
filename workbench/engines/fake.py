"""The fake engine: serves tests of this project's own logic and lets every page run without a model.

It never backs a claim about an engine. Its predictions come from its script, so that they can be checked exactly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.engines.contract import Availability, Launch, Settings, TextEngine
from workbench.engines.fake_server import Script
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Model
from workbench.units import MIB

if TYPE_CHECKING:
    from workbench.engines.runtime import TextRuntime

INTERPRETER_BYTES = 14 * MIB  # CPython with http.server, seen on Linux


class FakeEngine(TextEngine):
    """Runs `fake_server.py` with a `Script`."""

    name = "fake"
    title = "Fake engine (scripted)"
    formats = frozenset({"gguf"})
    capabilities = frozenset({"chat", "complete"})

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()

    def available(self, machine: Machine | None = None) -> Availability:
        return Availability(True, version="0")

    def supports(self, model: Model) -> Availability:
        return Availability(True)

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        interpreter = Estimate.within(INTERPRETER_BYTES, "B", Basis("the interpreter of the fake server"), 0.5, 0.5)
        return (Breakdown("RAM", {"engine": interpreter}),)

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int, batch: int = 1) -> Estimate:
        return Estimate.within(0.005, "s", Basis("the fake server answers at once"), 0.9, 9)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int, batch: int = 1) -> Estimate:
        return Estimate.within(self.script.token_s + 0.0005, "s", Basis("seconds per token in the script"), 0.9, 9)

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        return Launch(self.script.launch_argv(port), {"WORKBENCH_API_KEY": api_key})

    def runtime(self, path: Path, settings: Settings) -> TextRuntime:
        """The fake engine as a library. path: a file with the fields of a `Script` as JSON."""
        from workbench.engines.fake_runtime import FakeRuntime

        return FakeRuntime(Script(**json.loads(path.read_text())), settings.context)

    def served_model(self, model: Model) -> str:
        return "fake"
