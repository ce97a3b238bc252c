"""ComfyUI, through the API of its own page: a workflow of base nodes is posted, its progress comes over a websocket.

Custom nodes run code of strangers with the rights of whoever runs ComfyUI: no workflow of ours uses one. Pictures are
kept as previews, in its temporary folder, and not among the user's own.

Source: Comfy-Org/ComfyUI 0.8.0, server.py, nodes.py, execution.py, comfy_execution/progress.py; all of it was also seen
from that version run on 2026-11-28.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from workbench.engines.apps.contract import AppModel, FolderApp, Start, Wanted
from workbench.engines.apps.pictures import ImageApp, ImageAppEngine
from workbench.engines.contract import ImageShape
from workbench.engines.runtime import Imagining, Picture, Step
from workbench.errors import AppRefused, EngineUnavailable, MissingExtra

SAMPLER, SAVED, USUAL_GUIDANCE = "3", "9", 7.0
SILENCE_S = 600.0  # a step of a large picture on a CPU takes minutes


class ComfyUI(FolderApp, ImageApp):
    """A `main.py`, or the desktop program."""

    name = "comfyui"
    script = "main.py"
    pythons = ("venv/bin/python", ".venv/bin/python", "python_embeded/python.exe")

    def version(self) -> str:
        try:
            said = self.client.get("/system_stats")
        except AppRefused as error:
            raise self.client.stranger() from error
        version = said.get("system", {}).get("comfyui_version") if isinstance(said, dict) else None
        if not isinstance(version, str):
            raise self.client.stranger()
        return version

    def check(self) -> None:
        if find_spec("websocket") is None:
            raise MissingExtra("websocket-client", "apps", "Following ComfyUI's progress")

    def start(self, wanted: Wanted, port: int, api_key: str) -> Start | None:
        if not (python := self.installed()):
            return None
        argv = (python, self.script, "--listen", "127.0.0.1", "--port", str(port), "--disable-all-custom-nodes")
        return Start(argv, folder=str(self.folder))

    def models(self) -> tuple[AppModel, ...]:
        """Its checkpoints; which of them it holds in memory it does not tell."""
        return tuple(AppModel(name) for name in self.client.get("/models/checkpoints"))

    def schedulers(self) -> tuple[str, ...]:
        known = self.client.get("/object_info/KSampler")["KSampler"]["input"]["required"]["sampler_name"][0]
        return tuple(known)

    def unload(self, served: str, timeout_s: float) -> None:
        self.client.post("/free", {"unload_models": True, "free_memory": True}, timeout_s)

    # -- drawing -----------------------------------------------------------------------------------------------

    def draw(self, model: str, asked: Imagining) -> Generator[Step | Picture, None, None]:
        """A workflow for each picture: of several in one only the first could be made again by its seed."""
        count = asked.shape.images
        for place in range(count):
            for one in self._one(workflow(model, asked, asked.seed + place)):
                if isinstance(one, Step):
                    yield Step(one.number + place * asked.shape.steps, count * asked.shape.steps)
                else:
                    yield Picture(one, asked.seed + place)

    def _one(self, graph: dict[str, Any]) -> Generator[Any, None, None]:
        """The steps of a workflow, then its picture; closing ends it, wherever it is."""
        client_id = uuid.uuid4().hex
        with self._listening(client_id) as messages:
            prompt_id = self.client.post("/prompt", {"prompt": graph, "client_id": client_id})["prompt_id"]
            done = False
            try:
                yield from self._steps(messages, prompt_id)
                done = True
            finally:
                if not done:
                    with suppress(EngineUnavailable, AppRefused):
                        self.client.post("/queue", {"delete": [prompt_id]})
                        self.client.post("/interrupt", {"prompt_id": prompt_id})
        yield self._picture(prompt_id)

    def _steps(self, messages: Iterator[dict[str, Any]], prompt_id: str) -> Iterator[Step]:
        for said in messages:
            kind, data = said.get("type"), said.get("data", {})
            if data.get("prompt_id", prompt_id) != prompt_id:
                continue
            if kind == "progress" and data.get("node") == SAMPLER:
                yield Step(data["value"], data["max"])
            elif kind == "execution_error":
                raise AppRefused(f"ComfyUI failed in {data.get('node_type')}: {data.get('exception_message')}")
            elif kind == "execution_interrupted":
                raise AppRefused("Somebody interrupted this workflow in ComfyUI.")
            elif kind == "execution_success" or (kind == "executing" and data.get("node") is None):
                return
        raise EngineUnavailable("ComfyUI went away in the middle of a picture.", fix="Is it still running?")

    @contextmanager
    def _listening(self, client_id: str) -> Iterator[Iterator[dict[str, Any]]]:
        """Its messages to this client, from now on."""
        import websocket  # of the package websocket-client

        address = f"ws://{self.client.address}/ws?clientId={client_id}"
        try:
            connection = websocket.create_connection(address, timeout=SILENCE_S, http_no_proxy=["*"])
        except (OSError, websocket.WebSocketException) as error:
            raise EngineUnavailable(f"ComfyUI does not answer at {self.client.address}: {error}.") from error
        try:
            yield _messages(connection)
        finally:
            connection.close()

    def _picture(self, prompt_id: str) -> Any:
        import numpy as np
        from PIL import Image

        told = self.client.get(f"/history/{prompt_id}")[prompt_id]["outputs"][SAVED]["images"][0]
        file = self.client.bytes("/view", filename=told["filename"], subfolder=told["subfolder"], type=told["type"])
        with Image.open(io.BytesIO(file)) as image:
            return np.asarray(image.convert("RGB"))


def _messages(connection: Any) -> Iterator[dict[str, Any]]:
    import websocket

    with suppress(OSError, websocket.WebSocketException):  # whoever reads sees that they end too early
        while True:
            text = connection.recv()
            if isinstance(text, str) and text:  # bytes are previews
                yield json.loads(text)


def workflow(model: str, asked: Imagining, seed: int) -> dict[str, Any]:
    """A checkpoint's picture of a text, in ComfyUI's base nodes."""
    shape: ImageShape = asked.shape

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    return {
        SAMPLER: node(
            "KSampler", seed=seed, steps=shape.steps, cfg=USUAL_GUIDANCE if shape.guidance is None else shape.guidance,
            sampler_name=asked.scheduler or "euler", scheduler="normal", denoise=1.0, model=["4", 0],
            positive=["6", 0], negative=["7", 0], latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name=model),
        "5": node("EmptyLatentImage", width=shape.width, height=shape.height, batch_size=1),
        "6": node("CLIPTextEncode", text=asked.prompt, clip=["4", 1]),
        "7": node("CLIPTextEncode", text=asked.negative, clip=["4", 1]),
        "8": node("VAEDecode", samples=[SAMPLER, 0], vae=["4", 2]),
        SAVED: node("PreviewImage", images=["8", 0]),
    }  # fmt: skip


def engine() -> ImageAppEngine:
    """ComfyUI as an engine."""
    return ImageAppEngine(ComfyUI())
