"""Pictures over a scripted runtime: what goes wrong on the way is told where the answer goes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx2
import numpy as np

from tests.deployment.server.conftest import KEY, answering, events
from workbench.deployment.server.__main__ import slots_of
from workbench.deployment.server.app import make_app
from workbench.deployment.server.scheduler import Scheduler
from workbench.engines import ImageShape, Settings
from workbench.engines.runtime import ImageRuntime, Imagining, Picture, Step

MODEL = "brush"
SETTINGS = Settings(MODEL, "FP32", 0, image=ImageShape(8, 8, 2, 1), concurrency=4)


class Failing(ImageRuntime):
    """Fails after as many steps as the seed says."""

    multiple, schedulers = 8, ()

    def left_out(self, prompt: str) -> str:
        return ""

    def imagine(self, asked: Imagining) -> Generator[Step | Picture | None, None, None]:
        for number in range(asked.shape.steps):
            if number == asked.seed:
                raise MemoryError("CUDA out of memory")
            yield Step(number + 1, asked.shape.steps)
        yield Picture(np.zeros((8, 8, 3), np.uint8), asked.seed)


def test_an_error_is_an_answer_before_the_first_step_and_an_event_after_it() -> None:
    scheduler = Scheduler(Failing, 1)
    app = make_app(scheduler, MODEL, KEY, {"imagine"}, SETTINGS)
    with answering(app, scheduler) as (url, client):

        def ask(**more: Any) -> httpx2.Response:
            return client.post(f"{url}/v1/images/generations", json={"model": MODEL, "prompt": "a cat", **more})

        at_once = ask(seed=0, stream=True)
        assert at_once.status_code == 500 and "CUDA out of memory" in at_once.json()["error"]["message"]
        midway = events(ask(seed=1, stream=True))
        assert [one.get("type") for one in midway] == ["workbench.progress", None]
        assert "CUDA out of memory" in midway[-1]["error"]["message"]
        assert ask(seed=9).json()["data"][0]["seed"] == 9


def test_only_language_models_take_turns() -> None:
    assert slots_of(frozenset({"chat", "complete"}), SETTINGS) == 4
    assert slots_of(frozenset({"imagine"}), SETTINGS) == slots_of(frozenset({"transcribe"}), SETTINGS) == 1
