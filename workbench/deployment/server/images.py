"""Pictures over an `ImageRuntime`: OpenAI's images API, base64 alone, with the fields that diffusion models need.

Beyond OpenAI's: negative_prompt, steps, guidance, seed and scheduler. With stream=true there is an event of type
workbench.progress after every step, and with previews=true now and then the pictures as they are.
"""

from __future__ import annotations

import base64
import io
import re
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import Response

from workbench.deployment.server.refusals import SHOWN, Refused, as_json
from workbench.deployment.server.requests import MOST_SEED, Text
from workbench.deployment.server.running import ClientGone, EventStream, events_of
from workbench.deployment.server.served import check_model, event
from workbench.engines.contract import ImageShape
from workbench.engines.diffusion import MOST_IMAGES, MOST_STEPS, check_shape
from workbench.engines.runtime import ImageRuntime, Imagining, Picture, Step

router = APIRouter(prefix="/v1/images")
LONGEST_PROMPT, MOST_GUIDANCE = 10_000, 100.0
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class Asked(BaseModel):
    """The fields of a request for pictures; unknown ones are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    model: str
    prompt: Text = Field(max_length=LONGEST_PROMPT)
    n: int | None = Field(None, ge=1, le=MOST_IMAGES)
    size: str | None = None
    response_format: Literal["b64_json"] | None = None
    output_format: Literal["png"] | None = None
    stream: bool | None = None
    user: str | None = None
    negative_prompt: Text = Field("", max_length=LONGEST_PROMPT)
    steps: int | None = Field(None, ge=1, le=MOST_STEPS)
    guidance: float | None = Field(None, ge=0, le=MOST_GUIDANCE)
    seed: int | None = Field(None, ge=0, le=MOST_SEED - MOST_IMAGES)
    scheduler: str = Field("", max_length=SHOWN)
    previews: bool | None = None

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("the prompt is empty. Say what is to be seen.")
        return prompt

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: str | None) -> str | None:
        if size not in (None, "auto") and not _SIZE.fullmatch(size):
            raise ValueError(f"{size[:SHOWN]!r} is no size. Write WIDTHxHEIGHT in pixels, such as 512x512.")
        return size

    def imagining(self, usual: ImageShape) -> Imagining:
        """What the runtime is told; what was not said is as planned."""
        size = _SIZE.fullmatch(self.size or "")
        width, height = (int(size[1]), int(size[2])) if size else (usual.width, usual.height)
        guidance = usual.guidance if self.guidance is None else self.guidance
        shape = ImageShape(width, height, self.steps or usual.steps, self.n or 1, guidance)
        previews = bool(self.previews and self.stream)
        return Imagining(self.prompt, shape, self.negative_prompt, self.seed or 0, self.scheduler, previews)


@router.post("/generations")
async def generate(asked: Asked, request: Request) -> Response:
    """Make pictures of a text."""
    check_model(request, asked.model)
    planned: ImageShape = request.app.state.image
    imagining = asked.imagining(planned)
    events = events_of(request, lambda runtime: imagined(runtime, imagining, planned))
    if asked.stream:
        return EventStream(_lines(events, imagining, asked.model))
    pictures, left_out = [], ""
    async with aclosing(events):
        async for one in events:
            if isinstance(one, Picture):
                pictures.append(_finished(one, imagining, asked.model))
            elif isinstance(one, str):
                left_out = one
    return as_json({"created": int(time.time()), "data": pictures, "output_format": "png", "left_out": left_out})


# -- in the engine's thread ------------------------------------------------------------------------------------


def imagined(
    runtime: ImageRuntime, asked: Imagining, planned: ImageShape
) -> Generator[Step | Picture | str | None, None, None]:
    """What of the prompt is not read, then what the runtime yields; refused is what does not divide or was not planned
    for: nobody said that it fits."""
    check_shape(asked.shape, runtime.multiple, "This model")
    _check_planned(asked.shape, planned)
    left_out = runtime.left_out(asked.prompt)
    if left_out == asked.prompt.strip():
        raise Refused("The model reads nothing of this prompt.", param="prompt")
    yield left_out
    with closing(runtime.imagine(asked)) as events:
        yield from events


def _check_planned(shape: ImageShape, planned: ImageShape) -> None:
    most = planned.width * planned.height * planned.images
    if (pixels := shape.width * shape.height * shape.images) > most:
        raise Refused(
            f"{shape.images} of {shape.width}x{shape.height} are {pixels} pixels at once; this deployment was planned "
            f"for {most} ({planned.images} of {planned.width}x{planned.height}). Deploy it for more, or ask for less.",
            param="size",
        )


# -- in the loop -----------------------------------------------------------------------------------------------


async def _lines(events: AsyncGenerator[Any, None], asked: Imagining, model: str) -> AsyncGenerator[bytes, None]:
    """Progress after every step, pictures as OpenAI sends them, and what was left out of the prompt last."""
    left_out, started = "", False
    try:
        async with aclosing(events):
            async for one in events:
                started = started or isinstance(one, Step | Picture)
                if isinstance(one, Step):
                    yield event({"type": "workbench.progress", "step": one.number, "steps": one.of})
                    for place, pixels in enumerate([] if one.preview is None else one.preview):
                        partial = {"partial_image_index": one.number - 1, "index": place, "b64_json": _png(pixels, {})}
                        yield event({"type": "image_generation.partial_image", **partial})
                elif isinstance(one, Picture):
                    yield event({"type": "image_generation.completed", **_finished(one, asked, model)})
                elif isinstance(one, str):
                    left_out = one
    except ClientGone:
        return
    except Refused as refused:
        if not started:
            raise
        yield event(refused.body)
        return
    yield event({"type": "workbench.done", "left_out": left_out})


def _finished(picture: Picture, asked: Imagining, model: str) -> dict[str, Any]:
    """The picture with what makes it again, which is inside the file too."""
    again = replace(asked.shape, images=1)
    told = {
        "model": model, "prompt": asked.prompt, "negative_prompt": asked.negative, "seed": str(picture.seed),
        "steps": str(again.steps), "guidance": "" if again.guidance is None else f"{again.guidance:g}",
        "size": f"{again.width}x{again.height}", "scheduler": asked.scheduler,
    }  # fmt: skip
    return {"b64_json": _png(picture.pixels, told), "seed": picture.seed}


def _png(pixels: Any, told: dict[str, str]) -> str:
    from PIL import Image, PngImagePlugin

    about = PngImagePlugin.PngInfo()
    for name, value in told.items():
        if value:
            about.add_itxt(name, value)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", pnginfo=about)
    return base64.b64encode(file.getvalue()).decode()
