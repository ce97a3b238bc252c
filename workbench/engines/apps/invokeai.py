"""InvokeAI, through the API of its own page: a graph of its nodes is put into its queue, and the queue is asked.

How far a graph is comes over Socket.IO only, which is not spoken here: there are no steps, just the pictures.

Source: invoke-ai/InvokeAI@8e71a8a, invokeai/app/api/routers/app_info.py, model_manager.py, session_queue.py, images.py,
services/session_queue/session_queue_common.py, invocations/model.py, compel.py, sdxl.py, denoise_latents.py.
"""

from __future__ import annotations

import io
import time
from collections.abc import Generator
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from workbench.engines.apps.contract import AppModel
from workbench.engines.apps.pictures import ImageApp, ImageAppEngine
from workbench.engines.runtime import Imagining, Picture, Step
from workbench.errors import AppRefused, EngineUnavailable, UsageError

POLL_S, USUAL_GUIDANCE = 0.3, 7.5
QUEUE = "/api/v1/queue/default"
#: The nodes that load and read the text of each family of models.
FAMILIES = MappingProxyType({
    "sd-1": ("main_model_loader", "compel"), "sd-2": ("main_model_loader", "compel"),
    "sdxl": ("sdxl_model_loader", "sdxl_compel_prompt"),
})  # fmt: skip
SCHEDULERS = ("ddim", "dpmpp_2m", "euler", "euler_a", "heun", "lcm", "pndm", "unipc")


class InvokeAI(ImageApp):
    """An `invokeai-web`."""

    name = "invokeai"
    program = "invokeai-web"

    def version(self) -> str:
        try:
            said = self.client.get("/api/v1/app/version")
        except AppRefused as error:
            raise self.client.stranger() from error
        if not isinstance(said, dict) or not isinstance(said.get("version"), str):
            raise self.client.stranger()
        return str(said["version"])

    def models(self) -> tuple[AppModel, ...]:
        return tuple(AppModel(one["name"], bytes=one.get("file_size")) for one in self._records())

    def _records(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/api/v2/models/", model_type="main")["models"]
        return found

    def schedulers(self) -> tuple[str, ...]:
        return SCHEDULERS

    def unload(self, served: str, timeout_s: float) -> None:
        self.client.post("/api/v2/models/empty_model_cache", timeout_s=timeout_s)

    # -- drawing -----------------------------------------------------------------------------------------------

    def draw(self, model: str, asked: Imagining) -> Generator[Step | Picture | None, None, None]:
        record = next((one for one in self._records() if one["name"] == model), None)
        if record is None:
            raise AppRefused(f"InvokeAI has no model {model} any more.")
        for place in range(asked.shape.images):
            seed = asked.seed + place
            body = {"batch": {"graph": graph(record, asked, seed), "runs": 1, "origin": "workbench"}, "prepend": False}
            item = self.client.post(f"{QUEUE}/enqueue_batch", body)["item_ids"][0]
            yield Picture(self._picture((yield from self._finished(item))), seed)

    def _finished(self, item: int) -> Generator[None, None, dict[str, Any]]:
        """The results of an item of the queue once it is done; cancelled when nobody waits any more, which can be told
        at each None."""
        done = False
        try:
            while (said := self.client.get(f"{QUEUE}/i/{item}"))["status"] not in ("completed", "failed", "canceled"):
                yield
                time.sleep(POLL_S)
            done = True
        finally:
            if not done:
                with suppress(EngineUnavailable, AppRefused):
                    self.client.put(f"{QUEUE}/i/{item}/cancel")
        if said["status"] != "completed":
            raise AppRefused(
                f"InvokeAI {said['status']} this picture: {said.get('error_message') or 'no reason given'}"
            )
        found: dict[str, Any] = said["session"]["results"]
        return found

    def _picture(self, results: dict[str, Any]) -> Any:
        import numpy as np
        from PIL import Image

        name = next(one["image"]["image_name"] for one in results.values() if one["type"] == "image_output")
        with Image.open(io.BytesIO(self.client.bytes(f"/api/v1/images/i/{name}/full"))) as image:
            return np.asarray(image.convert("RGB"))


def graph(record: dict[str, Any], asked: Imagining, seed: int) -> dict[str, Any]:
    """A model's picture of a text, in InvokeAI's nodes; raises UsageError for a family whose nodes are not known."""
    if record["base"] not in FAMILIES:
        raise UsageError(
            f"{record['name']} is a {record['base']} model, whose nodes in InvokeAI are not known here.",
            fix=f"Known: {', '.join(FAMILIES)}.",
        )
    shape, (loader, reader) = asked.shape, FAMILIES[record["base"]]
    identity = {key: record[key] for key in ("key", "hash", "name", "base", "type")}
    guidance = USUAL_GUIDANCE if shape.guidance is None else shape.guidance
    nodes: dict[str, dict[str, Any]] = {
        "model": {"type": loader, "model": identity},
        "positive": {"type": reader, "prompt": asked.prompt},
        "negative": {"type": reader, "prompt": asked.negative},
        "noise": {"type": "noise", "seed": seed, "width": shape.width, "height": shape.height, "use_cpu": True},
        "denoise": {"type": "denoise_latents", "steps": shape.steps, "cfg_scale": guidance,
                    "scheduler": asked.scheduler or "euler", "denoising_start": 0, "denoising_end": 1},
        "picture": {"type": "l2i"},
    }  # fmt: skip
    clips = ("clip", "clip2") if record["base"] == "sdxl" else ("clip",)
    edges = [
        *(("model", clip, which, clip) for which in ("positive", "negative") for clip in clips),
        ("model", "unet", "denoise", "unet"), ("model", "vae", "picture", "vae"),
        ("positive", "conditioning", "denoise", "positive_conditioning"),
        ("negative", "conditioning", "denoise", "negative_conditioning"),
        ("noise", "noise", "denoise", "noise"), ("denoise", "latents", "picture", "latents"),
    ]  # fmt: skip
    return {
        "id": "workbench", "nodes": {name: {"id": name, "is_intermediate": True, **one} for name, one in nodes.items()},
        "edges": [{"source": {"node_id": a, "field": b}, "destination": {"node_id": c, "field": d}}
                  for a, b, c, d in edges],
    }  # fmt: skip


def engine() -> ImageAppEngine:
    """InvokeAI as an engine."""
    return ImageAppEngine(InvokeAI())
