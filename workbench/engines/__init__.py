"""The engines the workbench knows, each in a file of its own, resolved when asked for.

Adding one is a file beside these and a line here.
"""

from __future__ import annotations

from importlib import import_module

from workbench.engines.contract import Availability, Endpoint, Engine, Launch, Settings
from workbench.errors import UnknownName

__all__ = ["ENGINES", "Availability", "Endpoint", "Engine", "Launch", "Settings", "get"]

#: name → "module:Class", in the order in which they are tried when the user lets the workbench choose.
ENGINES = {
    "llama.cpp": "workbench.engines.llamacpp:LlamaCpp",
    "fake": "workbench.engines.fake:FakeEngine",
}


def get(name: str) -> Engine:
    """The engine called `name`; raises UnknownName with the nearest names."""
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine = getattr(import_module(module), attribute)()
    return engine
