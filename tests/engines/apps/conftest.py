"""Apps that are recorded exchanges behind a port, and nothing else of this computer's apps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.engines.apps.replay import Replay, fixture, load, serving
from workbench import engines
from workbench.engines.apps.contract import App, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.engines.apps.text_generation_webui import TextGenerationWebui

Serve = Callable[..., tuple[App, Replay]]


@pytest.fixture(autouse=True)
def _no_apps_of_this_computer(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Neither what runs here nor what is installed here plays a part; a person's settings do not either."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LM_API_TOKEN", raising=False)
    for name in engines.APPS:
        variable = name.upper().replace("-", "_")
        monkeypatch.setenv(f"{variable}_HOST", "127.0.0.1:9")  # nobody listens there
        monkeypatch.delenv(f"{variable}_API_KEY", raising=False)
        monkeypatch.delenv(f"{variable}_FOLDER", raising=False)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """serve("ollama", "short_context", …) → the app at a replay of its exchanges, and the replay.

    Nothing may be asked that nobody recorded.
    """
    replays: list[Replay] = []
    with ExitStack() as stack:

        def start(name: str, *traps: str) -> tuple[App, Replay]:
            replay = stack.enter_context(serving(load(name, *traps)))
            replays.append(replay)
            # llama.cpp's server behind it: a child of the real app, the same replay here
            monkeypatch.setattr(TextGenerationWebui, "_backends", lambda _: [replay.address])
            monkeypatch.setenv(f"{name.upper().replace('-', '_')}_HOST", replay.address)
            return type(app_of(name))(), replay

        yield start
    assert [one for replay in replays for one in replay.unknown] == []


def app_of(name: str) -> App:
    """An app of the registry."""
    engine = engines.get(name)
    assert isinstance(engine, AppEngine)
    return engine.app


def wanted(name: str, context: int | None = None) -> Wanted:
    """The model of a fixture, with the context it was recorded with."""
    recorded = fixture(name)
    return Wanted(recorded["model"], context or recorded["context"])
