"""Transcription over a scripted runtime: formats, long recordings in pieces, and every bad file a sentence."""

from __future__ import annotations

import io
import json
import struct
import wave
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.deployment.conftest import wait_until
from tests.deployment.server.conftest import KEY, answering, events
from workbench.deployment.server import speech
from workbench.deployment.server.app import make_app
from workbench.deployment.server.scheduler import Scheduler
from workbench.engines import Settings
from workbench.engines.runtime import SAMPLE_RATE, Heard, Listening, Segment, SpeechRuntime

MODEL = "ears"
pytest.importorskip("av")


class Counting(SpeechRuntime):
    """Says one word for every second of sound, and remembers what it was given."""

    languages = ("en", "de")

    def __init__(self) -> None:
        self.given: list[tuple[float, Listening]] = []
        self.open = 0

    def transcribe(self, sound: Any, asked: Listening) -> Generator[Segment | Heard, None, None]:
        seconds = len(sound) / SAMPLE_RATE
        self.given.append((seconds, asked))
        self.open += 1
        try:
            yield Heard(0.0, asked.language or "en")
            for second in range(int(seconds)):
                yield Segment(second, second + 1.0, f" word{second}")
                yield Heard(second + 1.0)
        finally:
            self.open -= 1


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Counting, httpx2.Client]]:
    runtime = Counting()
    scheduler = Scheduler(lambda: runtime, 1, 4)
    app = make_app(scheduler, MODEL, KEY, {"transcribe"}, Settings(MODEL, "FP16", 448))
    with answering(app, scheduler) as (url, client):
        client.base_url = httpx2.URL(f"{url}/v1/audio")
        yield runtime, client


@pytest.fixture
def runtime(served: tuple[Counting, httpx2.Client]) -> Counting:
    served[0].given.clear()
    return served[0]


@pytest.fixture
def client(served: tuple[Counting, httpx2.Client]) -> httpx2.Client:
    return served[1]


def tone(seconds: float, rate: int = SAMPLE_RATE, channels: int = 1, level: float = 0.3) -> bytes:
    """A WAV file with a sine in it."""
    times = np.arange(int(seconds * rate)) / rate
    samples = (np.sin(times * 2 * np.pi * 440) * level * 32767).astype("<i2")
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.repeat(samples, channels).tobytes())
    return made.getvalue()


def send(client: httpx2.Client, content: bytes, name: str = "talk.wav", path: str = "/transcriptions",
         **fields: Any) -> httpx2.Response:  # fmt: skip
    return client.post(path, files={"file": (name, content)}, data={"model": MODEL, **fields})


def refused(response: httpx2.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["error"]["message"])


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (8_000, 1), (44_100, 2), (48_000, 8), (96_000, 1)])
def test_every_rate_and_channel_becomes_the_same_seconds(
    runtime: Counting, client: httpx2.Client, rate: int, channels: int
) -> None:
    found = send(client, tone(2.5, rate, channels), response_format="verbose_json").json()
    assert found["duration"] == pytest.approx(2.5, abs=0.01)
    assert found["text"] == "word0 word1" and found["language"] == "en" and found["task"] == "transcribe"
    assert [(one["id"], one["start"], one["end"]) for one in found["segments"]] == [(0, 0.0, 1.0), (1, 1.0, 2.0)]
    assert runtime.given[0][0] == pytest.approx(2.5, abs=0.01)


def test_formats(client: httpx2.Client) -> None:
    sound = tone(2)
    assert send(client, sound).json() == {"text": "word0 word1"}
    assert send(client, sound, response_format="text").text == "word0 word1\n"
    assert send(client, sound, response_format="srt").text == (
        "1\n00:00:00,000 --> 00:00:01,000\nword0\n\n2\n00:00:01,000 --> 00:00:02,000\nword1\n"
    )
    vtt = send(client, sound, response_format="vtt")
    assert vtt.text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nword0\n")
    assert vtt.headers["content-type"].startswith("text/vtt")


def test_a_stream_has_progress_and_ends_with_the_whole(client: httpx2.Client) -> None:
    found = events(send(client, tone(3), stream="true"))
    assert [one["delta"] for one in found if one["type"] == "transcript.text.delta"] == [" word0", " word1", " word2"]
    heard = [one["heard_s"] for one in found if one["type"] == "workbench.progress"]
    assert heard == sorted(heard) and heard[-1] == 3.0
    assert found[-1]["type"] == "transcript.text.done" and found[-1]["text"] == "word0 word1 word2"


def test_a_stream_names_its_task(client: httpx2.Client) -> None:
    for path, task in (("/transcriptions", "transcribe"), ("/translations", "translate")):
        assert events(send(client, tone(1), path=path, stream="true", language="de"))[-1]["task"] == task


def test_long_recordings_come_in_pieces(
    runtime: Counting, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last segment of a piece belongs to the next one, which is told what was said before."""
    monkeypatch.setattr(speech, "PIECE_S", 4.0)
    found = send(client, tone(9.5), response_format="verbose_json").json()
    begins = [one["start"] for one in found["segments"]]
    assert begins == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert [round(seconds, 1) for seconds, _ in runtime.given] == [4.0, 4.0, 3.5]
    assert runtime.given[1][1].prompt == "word0 word1 word2"
    runtime.given.clear()
    names = "Ada Lovelace, " * 40
    send(client, tone(9.5), prompt=names)
    assert [asked.prompt.startswith(names.strip()) for _, asked in runtime.given] == [True] * 3
    assert runtime.given[1][1].prompt.endswith(" word0 word1 word2")
    assert max(one["end"] for one in found["segments"]) <= found["duration"]


def test_an_error_in_mid_stream_is_an_event(
    runtime: Counting, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(sound: Any, asked: Listening) -> Generator[Heard, None, None]:
        yield Heard(0.0, "en")
        raise RuntimeError("libcudnn is missing")

    monkeypatch.setattr(runtime, "transcribe", fails)
    found = events(send(client, tone(1), stream="true"))
    assert found[0]["type"] == "workbench.progress" and "libcudnn is missing" in found[-1]["error"]["message"]


def test_a_recording_may_change_its_channels_midway(client: httpx2.Client) -> None:
    """As broadcasts do: two seconds in mono, two in stereo at another rate, in one MPEG stream."""
    found = send(
        client, mpeg(2, "mono", 44_100) + mpeg(2, "stereo", 48_000), "radio.mp3", response_format="verbose_json"
    )
    assert found.json()["duration"] == pytest.approx(4, abs=0.3)


def mpeg(seconds: float, layout: str, rate: int) -> bytes:
    import av

    made = io.BytesIO()
    with av.open(made, "w", format="mp2") as file:
        stream = file.add_stream("mp2", rate=rate, layout=layout)
        channels = {"mono": 1, "stereo": 2}[layout]
        samples = (np.sin(np.arange(int(seconds * rate)) / rate * 2 * np.pi * 440) * 9000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None], "s16", layout)
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    return made.getvalue()


def test_silence_is_not_given_to_the_engine(runtime: Counting, client: httpx2.Client) -> None:
    assert send(client, tone(3, level=0.0)).json() == {"text": ""}
    assert runtime.given == []


def test_options_reach_the_engine(runtime: Counting, client: httpx2.Client) -> None:
    send(client, tone(1), language="DE", prompt="Frau Müller", temperature="0.4")
    send(client, tone(1), path="/translations", language="de")
    assert [asked for _, asked in runtime.given] == [
        Listening("de", "Frau Müller", 0.4), Listening("de", translate=True)
    ]  # fmt: skip


def picture() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(made, "PNG")
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b"hello, I am no sound" * 50, "FFmpeg does not know what it is", id="text"),
        pytest.param(picture(), "there is no sound in it: it holds video", id="picture"),
        pytest.param(tone(0.05), "it lasts 0.050 s", id="short"),
        pytest.param(tone(1)[:30], "cannot be transcribed", id="header"),
    ],
)
def test_what_is_no_recording_is_said(client: httpx2.Client, content: bytes, said: str) -> None:
    message = refused(send(client, content, name="../../etc/talk.bin"))
    assert message.startswith("talk.bin cannot be transcribed: ") and said in message


def test_what_can_be_read_of_a_cut_file_is_transcribed(client: httpx2.Client) -> None:
    whole = tone(4)
    found = events(send(client, whole[: len(whole) // 2], stream="true"))
    assert found[-1]["text"] == "word0" and found[-1]["duration"] == pytest.approx(2.0, abs=0.01)


def test_a_header_that_lies_about_its_length_costs_no_memory(client: httpx2.Client) -> None:
    lying = bytearray(tone(2))
    lying[40:44] = struct.pack("<I", 0xFFFFFFF0)
    assert send(client, bytes(lying)).json() == {"text": "word0 word1"}


@pytest.mark.parametrize(
    ("fields", "said", "status"),
    [
        ({"model": "other"}, "no model 'other' here", 404),
        ({"language": "klingon"}, "no language 'klingon'; this model knows 2 languages", 400),
        ({"response_format": "docx"}, "response_format", 400),
        ({"temperature": "hot"}, "temperature", 400),
        ({"temperature": "-1"}, "temperature", 400),
        ({"prompt": "x" * 5000}, "prompt", 400),
        ({"nonsense": "1"}, "nonsense", 400),
    ],
)
def test_bad_fields(client: httpx2.Client, fields: dict[str, str], said: str, status: int) -> None:
    assert said in refused(send(client, tone(1), **fields), status)


def test_a_form_without_a_file(client: httpx2.Client) -> None:
    assert "file" in refused(client.post("/transcriptions", data={"model": MODEL}))
    assert refused(client.post("/transcriptions", content=json.dumps({"model": MODEL})))


def test_a_client_that_leaves_frees_the_engine(runtime: Counting, client: httpx2.Client) -> None:
    with client.stream("POST", "/transcriptions", files={"file": ("a.wav", tone(200))},
                       data={"model": MODEL, "stream": "true"}) as response:  # fmt: skip
        next(response.iter_lines())
    assert wait_until(lambda: runtime.open == 0, 5)
    assert send(client, tone(1)).json() == {"text": "word0"}


def test_hours_are_heard_in_pieces(served: tuple[Counting, httpx2.Client], tmp_path: Path) -> None:
    """Two hours: no piece is longer than five minutes, and no second is lost."""
    hours, rate, (runtime, client) = 2, 8000, served
    runtime.given.clear()
    path, tone = tmp_path / "long.wav", bytes(128 + 40 * (n % 20 < 10) for n in range(rate))
    with wave.open(str(path), "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(1)
        made.setframerate(rate)
        for _ in range(hours * 3600):
            made.writeframes(tone)
    with path.open("rb") as file:
        said = client.post("/transcriptions", data={"model": MODEL}, files={"file": file}, timeout=120).json()["text"]
    assert max(seconds for seconds, _ in runtime.given) <= speech.PIECE_S
    assert len(runtime.given) >= hours * 3600 / speech.PIECE_S and len(said.split()) >= hours * 3600
