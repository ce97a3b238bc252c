"""Measure a deployment that transcribes: a recording several times over, then five minutes for peak memory.

The recording is one of LibriVox's, 26 s of a novel read in English, unless another one is named.
"""

from __future__ import annotations

import math
import time
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from workbench import folders
from workbench.deployment import Deployment
from workbench.evidence import Measured
from workbench.machine import PeakSampler
from workbench.models import assets
from workbench.models.speech import WINDOW_S

CLIPS = "librivox-clips"
PAUSE_S = 0.4  # between two clips
PEAK_S = 300.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One transcription: seconds it took, seconds of sound, and the words that were written down."""

    took_s: float
    sound_s: float
    words: int


def readings(
    deployment: Deployment, recording: Path, repeats: int, report: Callable[[float | None, str], None]
) -> list[Reading]:
    """After one warm-up, `repeats` transcriptions of the same recording."""
    report(0.0, "warm-up")
    deployment.transcribe(recording)
    found = []
    for index in range(repeats):
        report(0.1 + 0.6 * index / repeats, f"transcription {index + 1} of {repeats}")
        begin = time.perf_counter()
        said = deployment.transcribe(recording)
        found.append(Reading(time.perf_counter() - begin, said.duration_s, len(said.text.split())))
    return found


def values(found: list[Reading]) -> dict[str, Measured]:
    """real_time_factor (seconds of work for a second of sound), window (s for 30 s of sound) and words_per_s."""

    def each(read: Callable[[Reading], float], unit: str, method: str) -> Measured:
        return Measured(tuple(read(one) for one in found), unit, method)

    return {
        "real_time_factor": each(lambda r: r.took_s / r.sound_s, "ratio", "time ÷ length of the recording"),
        "window": each(lambda r: r.took_s / math.ceil(r.sound_s / WINDOW_S), "s", "time ÷ windows of 30 s, begun ones"),
        "words_per_s": each(lambda r: r.words / r.took_s, "words/s", "words written down ÷ time"),
    }


def peak_memory(deployment: Deployment, recording: Path) -> Measured | None:
    """The peak over five minutes of sound: the recording again and again; None where nobody may look at the server."""
    with TemporaryDirectory() as folder:
        long = Path(folder) / "long.wav"
        _repeat(recording, PEAK_S, long)
        with PeakSampler(deployment.state.root_pid()) as sampler:
            deployment.transcribe(long)
    method = f"peak {sampler.method} of the server's process tree over {PEAK_S:g} s, {sampler.samples} readings"
    return None if sampler.peak_bytes is None else Measured((float(sampler.peak_bytes),), "B", method)


def sample() -> Path:
    """The clips of LibriVox in one recording with pauses, made once."""
    path = folders.cache() / "librivox.wav"
    if not path.exists():
        clips = sorted(assets.fetch(CLIPS).glob("*.wav"))
        part = path.with_suffix(".part")
        _join(clips, part)
        part.replace(path)
    return path


def _join(clips: list[Path], target: Path) -> None:
    with wave.open(str(target), "wb") as made:
        for number, clip in enumerate(clips):
            with wave.open(str(clip)) as one:
                if number == 0:
                    made.setparams(one.getparams())
                else:
                    made.writeframes(bytes(2 * int(PAUSE_S * one.getframerate())))
                made.writeframes(one.readframes(one.getnframes()))


def _repeat(recording: Path, seconds: float, target: Path) -> None:
    """At least `seconds` of it; what is no WAV file is taken as it is."""
    try:
        with wave.open(str(recording)) as one, wave.open(str(target), "wb") as made:
            made.setparams(one.getparams())
            frames = one.readframes(one.getnframes())
            for _ in range(math.ceil(seconds * one.getframerate() / max(1, one.getnframes()))):
                made.writeframes(frames)
    except wave.Error:
        target.unlink(missing_ok=True)
        target.symlink_to(recording.resolve())
