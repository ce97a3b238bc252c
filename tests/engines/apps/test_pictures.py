"""Apps that make pictures, checked against recorded exchanges: found, drawn with, interrupted, asked to let go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import workbench
from tests.engines.apps.replay import Replay, fixture, load, serving
from workbench import engines, planning
from workbench.engines import ImageShape
from workbench.engines.apps import comfyui, invokeai
from workbench.engines.apps.pictures import ImageApp, ImageAppEngine
from workbench.engines.runtime import Imagining, Picture, Step
from workbench.errors import AppRefused, EngineUnavailable, PortTaken, UnknownName, UsageError
from workbench.machine import Machine

APPS = list(engines.IMAGE_APPS)
ASKED = Imagining("a red apple", ImageShape(64, 64, 2, guidance=3.0), "a house", seed=7)


@pytest.fixture(autouse=True)
def _no_apps_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in APPS:
        monkeypatch.setenv(f"{name.upper()}_HOST", "127.0.0.1:9")  # nobody listens there
        monkeypatch.delenv(f"{name.upper()}_FOLDER", raising=False)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """serve("comfyui", "endless") → the app at a replay of its exchanges, and the replay."""
    opened: list[Any] = []
    replays: list[Replay] = []

    def start(name: str, *traps: str) -> tuple[ImageApp, Replay]:
        opened.append(serving(load(name, *traps)))
        replays.append(opened[-1].__enter__())
        monkeypatch.setenv(f"{name.upper()}_HOST", replays[-1].address)
        return app(name), replays[-1]

    yield start
    for one in opened:
        one.__exit__(None, None, None)
    assert [one for replay in replays for one in replay.unknown] == []


def app(name: str) -> ImageApp:
    engine = engines.get(name)
    assert isinstance(engine, ImageAppEngine)
    return engine.app


@pytest.mark.parametrize("name", APPS)
def test_found_with_its_version_models_and_samplers(name: str, serve: Any) -> None:
    found, replay = serve(name)
    assert found.running_version() == fixture(name)["version"]
    available = engines.get(name).available()
    assert available.ok and replay.address in (available.version or "") and available.reason == ""
    assert [one.name for one in found.models()] == [fixture(name)["model"]]
    assert "euler" in found.schedulers()
    with pytest.raises(UnknownName, match="no model of"):
        found.find("flux")


@pytest.mark.parametrize("name", APPS)
def test_not_there_another_version_and_a_stranger_are_sentences(name: str, serve: Any) -> None:
    missing = engines.get(name).available()
    assert not missing.ok and "is not installed" in missing.reason and missing.fix
    serve(name, "other_version")
    assert "what is known of it is from" in engines.get(name).available().reason
    found, _ = serve(name, "stranger")
    with pytest.raises(PortTaken, match="Something that is not"):
        found.running_version()


@pytest.mark.parametrize("name", APPS)
def test_pictures_come_with_their_seeds(name: str, serve: Any) -> None:
    found, replay = serve(name)
    events = list(found.draw(fixture(name)["model"], ASKED))
    assert events[-1].seed == 7 and events[-1].pixels.shape == (8, 8, 3) and events[-1].pixels[0, 0, 0] == 200
    steps = [(one.number, one.of) for one in events if isinstance(one, Step)]
    assert steps == ([(1, 2), (2, 2)] if name == "comfyui" else [])
    found.unload(fixture(name)["model"], 1.0)
    assert replay.asked[-1][1] in ("/free", "/api/v2/models/empty_model_cache")


def test_several_pictures_are_workflows_of_their_own(serve: Any) -> None:
    found, replay = serve("comfyui")
    two = Imagining("a cat", ImageShape(64, 64, 2, 2), seed=1)
    events = list(found.draw("random-sd15.safetensors", two))
    assert [(one.number, one.of) for one in events if isinstance(one, Step)] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [one.seed for one in events if isinstance(one, Picture)] == [1, 2]
    seeds = [body["prompt"]["3"]["inputs"]["seed"] for body in replay.bodies("POST", "/prompt")]
    assert seeds == [1, 2]


def test_comfyuis_workflow_has_base_nodes_and_what_was_asked_for() -> None:
    nodes = comfyui.workflow("m.safetensors", ASKED, 7)
    assert {one["class_type"] for one in nodes.values()} == {
        "KSampler", "CheckpointLoaderSimple", "EmptyLatentImage", "CLIPTextEncode", "VAEDecode", "PreviewImage",
    }  # fmt: skip
    asked = nodes["3"]["inputs"]
    assert (asked["seed"], asked["steps"], asked["cfg"], asked["sampler_name"]) == (7, 2, 3.0, "euler")
    assert nodes["6"]["inputs"]["text"] == "a red apple" and nodes["7"]["inputs"]["text"] == "a house"


def test_invokeais_graph_joins_every_node(serve: Any) -> None:
    record = {"key": "k", "hash": "h", "name": "xl", "base": "sdxl", "type": "main"}
    made = invokeai.graph(record, ASKED, 7)
    assert made["nodes"]["model"]["type"] == "sdxl_model_loader" and made["nodes"]["noise"]["seed"] == 7
    joined = {edge[end]["node_id"] for edge in made["edges"] for end in ("source", "destination")}
    assert joined == set(made["nodes"])
    with pytest.raises(UsageError, match="is a flux model"):
        invokeai.graph({**record, "base": "flux"}, ASKED, 7)


def test_closing_interrupts_comfyui(serve: Any) -> None:
    found, replay = serve("comfyui", "endless")
    events = found.draw("random-sd15.safetensors", ASKED)
    assert isinstance(next(events), Step)
    events.close()
    (asked,) = replay.bodies("POST", "/interrupt")
    assert asked["prompt_id"] == replay.bodies("POST", "/queue")[0]["delete"][0]


def test_closing_cancels_invokeais_item(serve: Any) -> None:
    found, replay = serve("invokeai")
    waiting = found.draw("sd-1-5", Imagining("a", ImageShape(64, 64, 2, 2)))
    assert next(waiting) is None  # it is in progress
    waiting.close()
    assert len(replay.bodies("POST", "/api/v1/queue/default/enqueue_batch")) == 1
    assert len(replay.bodies("PUT", "/api/v1/queue/default/i/7/cancel")) == 1


@pytest.mark.parametrize(
    ("name", "trap", "said"),
    [
        ("comfyui", "refused", "Value not in list: ckpt_name: .nope"), ("comfyui", "failed", "in KSampler: mat1"),
        ("comfyui", "interrupted", "interrupted this workflow"), ("invokeai", "refused", "no such node"),
        ("invokeai", "failed", "failed this picture: CUDA out of memory"),
    ],
)  # fmt: skip
def test_what_goes_wrong_there_is_said(name: str, trap: str, said: str, serve: Any) -> None:
    found, _ = serve(name, trap)
    with pytest.raises(AppRefused, match=said):
        list(found.draw(fixture(name)["model"], ASKED))


def test_an_app_that_goes_away_in_the_middle(serve: Any) -> None:
    found, _ = serve("comfyui", "gone")
    with pytest.raises(EngineUnavailable, match="went away in the middle"):
        list(found.draw("random-sd15.safetensors", ASKED))


@pytest.mark.parametrize("name", APPS)
def test_a_deployment_is_like_any_other(name: str, serve: Any, machine: Machine, tmp_path: Path) -> None:
    """Planned without invented numbers, behind OpenAI's API, and the app is asked to let go at the end."""
    _, replay = serve(name)
    plan = planning.plan(fixture(name)["model"], engine=name, machine=machine, image=ImageShape(64, 64, 2))
    assert plan.verdict == "unknown" and plan.predictions["step"].value is None
    with workbench.deploy(plan, share=False) as running:
        found = running.imagine("a red apple", seed=3)
        assert found.pictures[0].png.startswith(b"\x89PNG") and found.pictures[0].seed == 3
        with pytest.raises(UsageError, match="multiple of 8"):
            running.imagine("a red apple", size=(60, 64))
    assert replay.asked[-1][1] in ("/free", "/api/v2/models/empty_model_cache")
