"""Pictures from a real pipeline with random weights: the same as without us, step by step, and every bad request."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import workbench
from tests.conftest import described
from tests.deployment.conftest import survivors, wait_until
from workbench import models, planning
from workbench.deployment import Deployment
from workbench.engines import ImageShape
from workbench.errors import EngineUnavailable, UsageError
from workbench.machine import Machine

diffusers = pytest.importorskip("diffusers")
STEPS = 4


@pytest.fixture(scope="module")
def running(pipeline_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One deployment for all of these tests: what one leaves behind the next one meets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(tmp_path_factory.mktemp("home")))
        plan = planning.plan(models.get(pipeline_path), machine=described(), image=ImageShape(32, 32, STEPS, 3))
        running = workbench.deploy(plan, share=False)
    yield running
    running.release()
    assert survivors(running.id) == []


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_same_picture_as_the_pipeline_makes_itself(running: Deployment, pipeline_path: Path) -> None:
    """Bit for bit, one and several at once, with the threads that the plan chose."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(running.plan_dict["settings"]["prefill_threads"])
    try:
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(pipeline_path, safety_checker=None)
        for count in (1, 3):
            noise = [torch.Generator().manual_seed(7 + n) for n in range(count)]
            wanted = pipe(
                "a red apple", num_inference_steps=STEPS, generator=noise, width=32, height=32, guidance_scale=3.0,
                num_images_per_prompt=count, negative_prompt="a house", output_type="np",
            ).images  # fmt: skip
            found = running.imagine("a red apple", seed=7, guidance=3.0, images=count, negative_prompt="a house")
            assert [one.seed for one in found.pictures] == list(range(7, 7 + count))
            for one, other in zip(found.pictures, wanted, strict=True):
                assert np.array_equal(pixels(one.png), (other * 255).round().astype(np.uint8))
    finally:
        torch.set_num_threads(before)


def test_steps_previews_and_what_the_file_says(running: Deployment, tmp_path: Path) -> None:
    told: list[float | None] = []
    seen: list[tuple[int, bytes]] = []
    found = running.imagine(
        "a red apple", seed=1, progress=lambda fraction, _: told.append(fraction),
        on_preview=lambda place, png: seen.append((place, png)),
    )  # fmt: skip
    assert told == [(n + 1) / STEPS for n in range(STEPS)] and len(found.steps_s) == STEPS
    assert 2 <= len(seen) <= STEPS and {place for place, _ in seen} == {0}  # after the first step, and the last
    last = pixels(seen[-1][1])
    assert last.shape == (32, 32, 3) and np.array_equal(last, pixels(found.pictures[0].png))
    assert found.first_step_s and found.step_s and found.took_s > found.steps_s[-1] > found.first_step_s
    with Image.open(found.pictures[0].save(tmp_path / "apple.png")) as file:
        about = file.info
    assert about["prompt"] == "a red apple" and about["seed"] == "1" and about["steps"] == str(STEPS)
    assert about["size"] == "32x32" and about["model"] == "tiny-pictures"
    again = running.imagine("a red apple", seed=1)
    assert again.pictures[0].png == found.pictures[0].png
    assert running.imagine("a red apple", seed=2).pictures[0].png != found.pictures[0].png


def test_the_official_client_needs_nothing_of_ours(running: Deployment) -> None:
    made = running.client.images.generate(model="tiny-pictures", prompt="a cat", size="32x32", n=2)
    assert made.data and len(made.data) == 2 and all(one.b64_json for one in made.data)


def test_ten_cancelled_pictures_leave_nothing(running: Deployment) -> None:
    """Each stops within a step, and the next request is answered."""
    running.imagine("a red apple")
    before = running.memory().bytes

    class Enough(Exception):
        pass

    for _ in range(10):
        steps: list[str] = []

        def give_up(fraction: float | None, text: str, steps: list[str] = steps) -> None:
            steps.append(text)
            if len(steps) == 2:
                raise Enough

        with pytest.raises(Enough):
            running.imagine("a red apple", steps=1000, progress=give_up)
        assert wait_until(lambda: _running(running) == 0, 5)
    assert running.imagine("a red apple").pictures
    assert running.memory().bytes < 1.05 * before


def _running(running: Deployment) -> float:
    import httpx2

    headers = {"Authorization": f"Bearer {running.endpoint.api_key}"}
    text = httpx2.get(f"{running.endpoint.root}/metrics", headers=headers).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("workbench_requests_running"))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": " \n"}, "the prompt is empty"),
    ({"prompt": "word " * 10_000}, "at most 10000 characters"),
    ({"size": (30, 32)}, r"A width of 30 pixels.*multiple of 4.*ask for 32"),
    ({"size": (32, 0)}, "A height of 0 pixels"),
    ({"size": (64, 64)}, r"4096 pixels at once.*planned for 3072"),
    ({"images": 4}, r"planned for 3072 \(3 of 32x32\)"),
    ({"images": 0}, "greater than or equal to 1, got 0"),
    ({"steps": 0}, "greater than or equal to 1, got 0"),
    ({"steps": 10_000}, "less than or equal to 1000, got 10000"),
    ({"guidance": -1.0}, "greater than or equal to 0"),
    ({"seed": -1}, "greater than or equal to 0"),
    ({"scheduler": "magic"}, r"no scheduler 'magic'.*ddim"),
    ({"colour": "red"}, r"no option 'colour'.*guidance"),
]


def test_bad_requests_are_sentences(running: Deployment) -> None:
    for wrong, said in REFUSED:
        with pytest.raises(UsageError, match=said):
            running.imagine(**{"prompt": "a red apple", **wrong})
    assert running.imagine("a red apple", scheduler="euler").pictures


def test_the_end_of_a_long_prompt_is_named(running: Deployment) -> None:
    found = running.imagine("a red apple and " * 4 + "the house")
    assert found.left_out.endswith("the house")
    assert running.imagine("a red apple").left_out == ""


def test_plans_for_images(pipeline: Path, machine: Machine) -> None:
    model = models.get(pipeline)
    plan = planning.plan(model, machine=machine)
    assert plan.engine.name == "diffusers" and plan.settings.image == ImageShape(32, 32, 50, guidance=7.5)
    assert plan.verdict == "fits" and plan.predictions["step"].known() > 0
    with pytest.raises(UsageError, match=r"a model for images, and llama\.cpp makes none"):
        planning.plan(model, machine=machine, engine="llama.cpp")
    with pytest.raises(UsageError, match="multiple of 4"):
        planning.plan(model, machine=machine, image=ImageShape(30, 32, 4))
    with pytest.raises(EngineUnavailable, match="does not start it so"):
        workbench.deploy(planning.plan(model, machine=machine, format="NF4"))
