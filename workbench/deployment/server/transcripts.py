"""A transcript in the formats of OpenAI's API: json, text, srt, vtt, verbose_json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.responses import PlainTextResponse, Response

from workbench.deployment.server.refusals import as_json
from workbench.deployment.subtitles import srt, vtt
from workbench.engines.runtime import Segment


def text_of(segments: Sequence[Segment]) -> str:
    """All of it in one line."""
    return "".join(one.text for one in segments).strip()


def verbose(segments: Sequence[Segment], duration_s: float, language: str | None, task: str) -> dict[str, Any]:
    """Segments with their times (s); only what every engine knows."""
    return {
        "task": task, "language": language, "duration": duration_s, "text": text_of(segments),
        "segments": [segment(number, one) for number, one in enumerate(segments)],
    }  # fmt: skip


def segment(number: int, one: Segment) -> dict[str, Any]:
    """One segment as JSON."""
    return {"id": number, "start": round(one.start_s, 3), "end": round(one.end_s, 3), "text": one.text}


#: By the API's names: from segments, duration, language and task to the answer.
FORMATS: dict[str, Callable[[Sequence[Segment], float, str | None, str], Response]] = {
    "json": lambda segments, *_: as_json({"text": text_of(segments)}),
    "text": lambda segments, *_: PlainTextResponse(text_of(segments) + "\n"),
    "srt": lambda segments, *_: PlainTextResponse(srt(segments)),
    "vtt": lambda segments, *_: PlainTextResponse(vtt(segments), media_type="text/vtt"),
    "verbose_json": lambda *about: as_json(verbose(*about)),
}
