"""Pictures as they come from a server: each step with its time, previews, the files, and how to end it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.deployment import failures, stream
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.deployment.deployment import Deployment

#: What `imagine` passes on beside OpenAI's own fields; None and "" are left out.
OPTIONS = ("negative_prompt", "steps", "guidance", "seed", "scheduler")


@dataclass(frozen=True, slots=True)
class Made:
    """A finished picture: a PNG file that also says how it was made, and the seed that makes it again."""

    png: bytes
    seed: int

    def save(self, path: str | Path) -> Path:
        """Write the file; its folder must be there."""
        target = Path(path).expanduser()
        try:
            target.write_bytes(self.png)
        except OSError as error:
            raise UsageError(f"{target} cannot be written: {error.strerror}.", fix="Name another file.") from error
        return target

    def _repr_png_(self) -> bytes:
        return self.png


@dataclass(frozen=True, slots=True)
class Imagined:
    """All pictures of one request. took_s: from sending it to the last picture; steps_s: when each step was done,
    counted from there too; left_out: the end of a prompt that the model did not read."""

    pictures: tuple[Made, ...]
    took_s: float
    steps_s: tuple[float, ...]
    left_out: str = ""

    @property
    def first_step_s(self) -> float | None:
        """Seconds to the first step."""
        return self.steps_s[0] if self.steps_s else None

    @property
    def step_s(self) -> float | None:
        """Mean seconds of a step after the first, None of a single one."""
        return (self.steps_s[-1] - self.steps_s[0]) / (len(self.steps_s) - 1) if len(self.steps_s) > 1 else None


def imagine(
    deployment: Deployment, prompt: str, *, size: tuple[int, int] | None = None, images: int = 1,
    on_preview: Callable[[int, bytes], None] | None = None,
    progress: Callable[[float | None, str], None] | None = None, **options: Any,
) -> Imagined:  # fmt: skip
    """See `Deployment.imagine`."""
    if unknown := set(options) - set(OPTIONS):
        raise UsageError(f"There is no option {min(unknown)!r} for pictures.", fix=f"Known: {', '.join(OPTIONS)}.")
    more = {name: value for name, value in options.items() if value not in (None, "")}
    asked = {"n": images, **({"size": f"{size[0]}x{size[1]}"} if size else {})}
    begin, steps, pictures, left_out = time.perf_counter(), [], [], None
    fields = {"prompt": prompt, **asked, **more, "previews": on_preview is not None}
    with closing(stream.events_of(deployment.state, "images/generations", fields)) as events:
        for one in events:
            if one["type"] == "workbench.progress":
                steps.append(time.perf_counter() - begin)
                if progress:
                    progress(one["step"] / one["steps"], f"step {one['step']} of {one['steps']}")
            elif one["type"] == "image_generation.partial_image" and on_preview:
                on_preview(one["index"], base64.b64decode(one["b64_json"]))
            elif one["type"] == "image_generation.completed":
                pictures.append(Made(base64.b64decode(one["b64_json"]), one["seed"]))
            elif one["type"] == "workbench.done":
                left_out = one["left_out"]
    if left_out is None:
        raise failures.cut_short(deployment.state)
    return Imagined(tuple(pictures), time.perf_counter() - begin, tuple(steps), left_out)
