"""Transcription over a `SpeechRuntime`: recordings of any length, a few minutes at a time.

Beyond OpenAI's: with stream=true there are events of type workbench.progress, in seconds of the recording.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from workbench.deployment.server import transcripts
from workbench.deployment.server.refusals import Refused
from workbench.deployment.server.running import ClientGone, EventStream, events_of
from workbench.deployment.server.served import check_model, event
from workbench.deployment.server.sound import Sound, decoded, is_silent
from workbench.engines.runtime import PIECE_S, Heard, Listening, Segment, SpeechRuntime

router = APIRouter(prefix="/v1/audio")
PROMPT_CHARACTERS = 200  # of the text so far, which tells the next piece how names are written
LONGEST_PROMPT = 2000


class Asked(BaseModel):
    """The fields of a transcription; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile
    model: str
    language: str | None = None
    prompt: str = Field("", max_length=LONGEST_PROMPT)
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json"] = "json"
    temperature: float = Field(0.0, ge=0, le=1)
    stream: bool = False

    def listening(self, *, translate: bool = False) -> Listening:
        """What the engine is told."""
        return Listening((self.language or "").lower() or None, self.prompt, self.temperature, translate)


@router.post("/transcriptions")
async def transcribe(asked: Annotated[Asked, Form()], request: Request) -> Response:
    """Write down what is said."""
    return await _answer(request, asked, "transcribe")


@router.post("/translations")
async def translate(asked: Annotated[Asked, Form()], request: Request) -> Response:
    """Write down what is said, in English."""
    return await _answer(request, asked, "translate")


async def _answer(request: Request, asked: Asked, task: str) -> Response:
    check_model(request, asked.model)
    sound = await asyncio.to_thread(decoded, asked.file.file, asked.file.filename or "")
    listening = asked.listening(translate=task == "translate")
    events = events_of(request, lambda runtime: heard(runtime, sound, listening))
    if asked.stream:
        return EventStream(_lines(events, sound, task))
    segments, language = [], None
    with sound.file:
        async with aclosing(events):
            async for one in events:
                if isinstance(one, Segment):
                    segments.append(one)
                elif one is not None:
                    language = one.language or language
    return transcripts.FORMATS[asked.response_format](segments, sound.seconds, language, task)


# -- in the engine's thread ------------------------------------------------------------------------------------


def heard(runtime: SpeechRuntime, sound: Sound, asked: Listening) -> Generator[Segment | Heard, None, None]:
    """Segments in order, their times those of the whole recording.

    A piece most often ends in the middle of a sentence: its last segment is left to the next one.
    """
    _check_language(runtime, asked)
    at, said, prompt = 0.0, "", asked.prompt
    while sound.seconds - at > 0.01:
        is_last = sound.seconds - at <= PIECE_S
        piece = sound.part(at, PIECE_S)
        held: Segment | None = None
        begin, at = at, at + PIECE_S
        if is_silent(piece):
            yield Heard(min(at, sound.seconds))
            continue
        with closing(runtime.transcribe(piece, replace(asked, prompt=prompt))) as events:
            for one in events:
                if isinstance(one, Heard):
                    yield replace(one, until_s=min(begin + one.until_s, sound.seconds))
                    continue
                if held:
                    said += held.text
                    yield held
                held = Segment(begin + one.start_s, min(begin + one.end_s, sound.seconds), one.text)
        if held and not is_last and held.start_s > begin:
            at = held.start_s
        elif held:
            said += held.text
            yield held
        prompt = f"{asked.prompt} {said[-PROMPT_CHARACTERS:]}".strip()


def _check_language(runtime: SpeechRuntime, asked: Listening) -> None:
    known = runtime.languages
    if asked.language and asked.language not in known:
        what = "English alone" if known == ("en",) else f"{len(known)} languages, by codes such as en, de and zh"
        raise Refused(f"There is no language {asked.language!r}; this model knows {what}.", param="language")
    if asked.translate and known == ("en",):
        raise Refused("This model knows English alone: there is nothing to translate.", param="model")


# -- in the loop -----------------------------------------------------------------------------------------------


async def _lines(events: AsyncGenerator[Any, None], sound: Sound, task: str) -> AsyncGenerator[bytes, None]:
    """Deltas as OpenAI sends them, segments and progress beside them, and the whole text last."""
    segments: list[Segment] = []
    language, started = None, False
    with sound.file:
        try:
            async with aclosing(events):
                async for one in events:
                    started = started or one is not None
                    if isinstance(one, Segment):
                        yield event({"type": "transcript.text.delta", "delta": one.text})
                        told = transcripts.segment(len(segments), one)
                        yield event({"type": "transcript.text.segment", **told, "id": f"seg_{told['id']}"})
                        segments.append(one)
                    elif one is not None:
                        language = one.language or language
                        yield event({"type": "workbench.progress", "heard_s": one.until_s, "duration_s": sound.seconds})
        except ClientGone:
            return
        except Refused as refused:
            if not started:
                raise
            yield event(refused.body)
            return
    whole = transcripts.verbose(segments, sound.seconds, language, task)
    yield event({"type": "transcript.text.done", **whole, "cut_short": sound.cut_short})
