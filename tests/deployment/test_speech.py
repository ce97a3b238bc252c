"""The embedded speech model on three engines: the same words, the same behaviour, from one source of weights."""

from __future__ import annotations

import random
import re
import wave
from pathlib import Path
from typing import Any

import pytest

import workbench
from tests.deployment.conftest import survivors
from workbench import models, planning
from workbench.errors import UsageError, WorkbenchError
from workbench.machine import Machine
from workbench.measurement.quality.speech import normalized
from workbench.measurement.speech import _join
from workbench.models import SpeechModel

ENGINES = ("faster-whisper", "whisper.cpp", "openai-whisper")


def plan(speech_model: SpeechModel, machine: Machine, engine: str, **options: Any) -> planning.Plan:
    return planning.plan(speech_model, machine=machine, engine=engine, **options)


def _noise(folder: Path) -> Path:
    """Three seconds of white noise, loud."""
    path = folder / "noise.wav"
    with wave.open(str(path), "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(16_000)
        made.writeframes(random.Random(0).randbytes(2 * 3 * 16_000))
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_said(
    engine: str, speech_model: SpeechModel, machine: Machine, clips: list[Path], tmp_path: Path
) -> None:
    told: list[float | None] = []
    with workbench.deploy(plan(speech_model, machine, engine), share=False) as running:
        found = running.transcribe(clips[0], progress=lambda fraction, text: told.append(fraction))
        assert "John Dashwood had then leisure to consider" in found.text
        assert found.duration_s == pytest.approx(7.1, abs=0.1) and found.language == "en" and not found.cut_short
        assert found.segments and found.segments[-1].end_s <= found.duration_s + 0.01
        assert "".join(one.text for one in found.segments).strip() == found.text
        assert told and told[-1] == pytest.approx(1.0)
        with pytest.raises(UsageError, match=r"no sound in it|does not know what it is"):
            running.transcribe(Path(__file__))
        with pytest.raises(UsageError, match="English alone"):
            running.transcribe(clips[0], language="de")
        assert isinstance(running.transcribe(_noise(tmp_path)).text, str)  # whatever it hears in it
        assert running.transcribe(clips[1]).text  # it goes on
    assert survivors(running.id) == []


@pytest.mark.slow
def test_one_source_of_weights_one_text(
    speech_model: SpeechModel, machine: Machine, clips: list[Path], tmp_path: Path
) -> None:
    """Greedy, on five clips: the same letters on every engine, after Whisper's own normalizer.

    whisper.cpp multiplies in 16 bits and writes one hyphen less: coldhearted for cold-hearted.
    """
    said, joined = {}, tmp_path / "all.wav"
    _join(clips, joined)
    for engine in ENGINES:
        with workbench.deploy(plan(speech_model, machine, engine), share=False) as running:
            said[engine] = [normalized(running.transcribe(clip).text).replace(" ", "") for clip in clips]
            whole = running.transcribe(joined).text
            assert not re.search(r"[a-z][.,;?!][A-Za-z]", whole), whole  # segments are words apart
    assert said["faster-whisper"] == said["whisper.cpp"] == said["openai-whisper"]
    assert len(set(said["faster-whisper"])) == len(clips)


def test_cancelling_ends_the_work(
    speech_model: SpeechModel, machine: Machine, clips: list[Path], tmp_path: Path
) -> None:
    long = tmp_path / "long.wav"
    with wave.open(str(clips[0])) as short, wave.open(str(long), "wb") as made:
        made.setparams(short.getparams())
        made.writeframes(short.readframes(short.getnframes()) * 40)

    def give_up(fraction: float | None, text: str) -> None:
        if fraction:
            raise KeyboardInterrupt

    with workbench.deploy(plan(speech_model, machine, "openai-whisper"), share=False) as running:
        with pytest.raises(KeyboardInterrupt):
            running.transcribe(long, progress=give_up)
        assert running.transcribe(clips[1]).text


def test_a_model_of_the_wrong_kind_is_named(speech_model: SpeechModel, machine: Machine) -> None:
    with pytest.raises(UsageError, match=r"model for speech, and llama\.cpp does not transcribe"):
        planning.plan(speech_model, machine=machine, engine="llama.cpp")
    with pytest.raises(UsageError, match="is a model for speech"):
        models.get_text(str(speech_model.path))
    with pytest.raises(WorkbenchError, match="does not run"):
        planning.plan(speech_model, machine=machine, engine="whisper.cpp", format="INT8")


def test_a_missing_file_is_named(speech_model: SpeechModel, machine: Machine) -> None:
    with (
        workbench.deploy(plan(speech_model, machine, "faster-whisper"), share=False) as running,
        pytest.raises(UsageError, match="There is no file"),
    ):
        running.transcribe("nowhere.wav")
