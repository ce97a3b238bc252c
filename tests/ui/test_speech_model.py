"""The model of chapter 6's panel, without widgets, browser or engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.errors import ServerDied, UsageError
from workbench.ui.speech_model import MOST_UPLOAD_BYTES, SpeechModel, Steps


class World:
    """Stands for the package: remembers what was asked, and lets an engine fail."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.heard: list[tuple[str, Path, str, str | None]] = []

    def steps(self) -> Steps:
        return Steps(
            machine=lambda progress: "machine", get_model=lambda name, progress: name,
            plan=lambda model, machine, engine: SimpleNamespace(engine=SimpleNamespace(title=engine)),
            deploy=self.deploy, listen=self.listen, fetch=lambda name, progress: Path("/clips"),
        )  # fmt: skip

    @contextmanager
    def deploy(self, plan: Any, **_: Any) -> Iterator[Any]:
        if plan.engine.title == self.broken:
            raise ServerDied("gone")
        yield plan

    def listen(self, running: Any, plan: Any, path: Path, wanted: str, *, language: str | None, progress: Any) -> Any:
        progress(0.5, "half")
        self.heard.append((plan.engine.title, path, wanted, language))
        return plan.engine.title


def panel(world: World, **choices: Any) -> SpeechModel:
    return SpeechModel(world.steps(), engines=["one", "two"], **choices)


def run(state: SpeechModel) -> SpeechModel:
    state.transcribe()
    assert state.join(10)
    return state


def test_every_engine_hears_the_same_recording() -> None:
    world = World()
    state = run(panel(world))
    assert state.heard == ["one", "two"] and state.error is None
    (_, path, wanted, language), _ = world.heard
    assert path == Path("/clips/sense_and_sensibility_01_austen_64kb-0870.wav")
    assert wanted.startswith("And Mr John Dashwood") and language is None


def test_a_recording_of_ones_own(tmp_path: Path) -> None:
    world = World()
    run(panel(world, sample="", path=" /home/talk.mp3 ", wanted="Hello", language="de"))
    assert world.heard[0] == ("one", Path("/home/talk.mp3"), "Hello", "de")


def test_what_was_heard_stays_when_an_engine_fails() -> None:
    state = run(panel(World(broken="two")))
    assert state.heard == ["one"] and isinstance(state.error, ServerDied) and not state.busy


def test_an_upload_is_kept_under_a_name_of_its_own() -> None:
    state = panel(World())
    state.keep("../../talk one.mp3", b"sound")
    assert state.sample == "" and Path(state.path).read_bytes() == b"sound"
    assert Path(state.path).name == "talk-one.mp3"
    with pytest.raises(UsageError, match="a page takes 10 MB"):
        state.keep("big.wav", bytes(MOST_UPLOAD_BYTES + 1))


@pytest.mark.parametrize(
    ("choices", "said"), [({"engines": []}, "No engine"), ({"sample": "", "path": " "}, "No recording")]
)
def test_what_is_missing_is_said(choices: dict[str, Any], said: str) -> None:
    state = SpeechModel(World().steps(), **{"engines": ["one"], **choices})
    with pytest.raises(UsageError, match=said):
        state.transcribe()
