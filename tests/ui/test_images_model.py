"""The model of chapter 5's panel, without widgets, browser or engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workbench.catalog.image_components import image_component
from workbench.deployment.pictures import Imagined, Made
from workbench.engines import ImageShape
from workbench.errors import ServerDied, UsageError
from workbench.measurement.images import Drawn
from workbench.models.image import ImageModel, Part
from workbench.ui.images_model import ImagesModel, Shown, Steps

MODEL = ImageModel(
    "paint", (Part(image_component("clip-l")),), Part(image_component("sd1-unet")), Part(image_component("sd-vae")),
    width=512, height=512, steps=50, guided=True, source="made up for tests", guidance=7.5, path=Path("/paint"),
)  # fmt: skip


class World:
    """Stands for the package: remembers what was asked, and lets a server fail."""

    def __init__(self, *, broken: bool = False, model: Any = MODEL) -> None:
        self.broken, self.model = broken, model
        self.shape: ImageShape | None = None
        self.asked: dict[str, Any] = {}
        self.seen: list[list[Shown]] = []

    def steps(self) -> Steps:
        return Steps(
            machine=lambda progress: "machine", get_model=lambda name, progress: self.model, plan=self.plan,
            deploy=self.deploy, draw=self.draw,
        )  # fmt: skip

    def plan(self, model: Any, *, machine: Any, image: ImageShape) -> Any:
        self.shape = image
        return SimpleNamespace(settings=SimpleNamespace(image=image))

    @contextmanager
    def deploy(self, plan: Any, **_: Any) -> Iterator[Any]:
        if self.broken:
            raise ServerDied("gone")
        yield plan

    def draw(self, running: Any, plan: Any, prompt: str, **asked: Any) -> Drawn:
        self.asked = {"prompt": prompt, **asked}
        asked["progress"](0.5, "step 1 of 2")
        for place in range(asked["images"]):
            asked["on_preview"](place, b"half")
        made = tuple(Made(b"whole", asked["seed"] + place) for place in range(asked["images"]))
        return Drawn(plan, Imagined(made, 1.0, (0.5, 0.9)), 10**8)


def run(world: World, **choices: Any) -> ImagesModel:
    state = ImagesModel(world.steps(), **{"prompt": "a cat", **choices})
    state.observe(lambda change: world.seen.append(change["new"]), "shown")
    state.draw()
    assert state.join(10)
    return state


def test_what_is_left_to_the_model_is_the_models() -> None:
    world = World()
    state = run(world)
    assert world.shape == ImageShape(512, 512, 50, 1, 7.5) and state.error is None
    assert world.asked["size"] == (512, 512) and world.asked["seed"] == 0
    assert state.shown == [Shown(b"whole", 0)] and state.drawn is not None


def test_choices_reach_the_plan_and_the_request() -> None:
    world = World()
    state = run(
        world, width=64, height=128, steps=4, images=3, guidance=0.0, seed=7, negative="dogs", scheduler="euler"
    )
    assert world.shape == ImageShape(64, 128, 4, 3, 0.0)
    assert {"negative_prompt": "dogs", "scheduler": "euler", "guidance": 0.0}.items() <= world.asked.items()
    assert [one.seed for one in state.shown] == [7, 8, 9]


def test_previews_come_before_pictures() -> None:
    world = World()
    run(world, images=2)
    assert [Shown(b"half"), Shown(b"half")] in world.seen or world.seen[-1] == [Shown(b"whole", 0), Shown(b"whole", 1)]
    assert all(one.seed is None for shown in world.seen[:-1] for one in shown)


def test_what_fails_leaves_nothing_half_done() -> None:
    state = run(World(broken=True))
    assert isinstance(state.error, ServerDied) and state.shown == [] and state.drawn is None and not state.busy


def test_a_model_of_another_kind_is_named() -> None:
    state = run(World(model="words"))
    assert isinstance(state.error, UsageError) and "makes no pictures" in str(state.error)


def test_without_a_prompt_nothing_starts() -> None:
    with pytest.raises(UsageError, match="no prompt"):
        ImagesModel(World().steps(), prompt=" ").draw()
