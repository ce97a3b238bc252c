"""Recordings as samples: whatever FFmpeg's libraries open, as 16 kHz mono on the disk, so that hours need no memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from workbench.deployment.server.refusals import Refused
from workbench.engines.runtime import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_S = 0.1  # less is no word, and engines fail on it
_SAMPLE_BYTES = 2
_FULL_SCALE = 32768.0
#: Root mean square below which there is nothing to hear: models invent words for silence. -66 dB of full scale.
SILENT = 0.0005


@dataclass(frozen=True, slots=True)
class Sound:
    """A decoded recording in an open file without a name. cut_short: what ended the decoding before its end."""

    file: IO[bytes]
    samples: int
    cut_short: str = ""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.samples / SAMPLE_RATE

    def part(self, start_s: float, length_s: float) -> NDArray[np.float32]:
        """Samples of -1 to 1."""
        import numpy as np

        self.file.seek(int(start_s * SAMPLE_RATE) * _SAMPLE_BYTES)
        found = np.frombuffer(self.file.read(int(length_s * SAMPLE_RATE) * _SAMPLE_BYTES), np.int16)
        return found.astype(np.float32) / _FULL_SCALE


def decoded(recording: IO[bytes], name: str) -> Sound:
    """The recording's first track of sound; raises Refused where there is none.

    Decoding goes to a temporary file, 32 kB for each second.
    """
    av = _ffmpeg()
    recording.seek(0, 2)
    if recording.tell() == 0:
        raise _cannot(name, "it is empty")
    recording.seek(0)
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the Sound does
    try:
        cut_short = _decode(av, recording, name, kept)
    except BaseException:
        kept.close()
        raise
    sound = Sound(kept, kept.tell() // _SAMPLE_BYTES, cut_short)
    if sound.seconds < LEAST_S:
        kept.close()
        raise _cannot(name, cut_short or f"it lasts {sound.seconds:.3f} s, and {LEAST_S:g} s are needed")
    return sound


def is_silent(samples: NDArray[np.float32]) -> bool:
    """Whether there is nothing to hear."""
    import numpy as np

    return bool(np.sqrt(np.mean(np.square(samples))) < SILENT) if len(samples) else True


def _decode(av: Any, recording: IO[bytes], name: str, kept: IO[bytes]) -> str:
    """Write all samples; returns why it ended early, where it did."""
    try:
        container = av.open(recording, "r", metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        raise _cannot(name, f"FFmpeg does not know what it is ({_reason(error)})") from None
    with container:
        if not container.streams.audio:
            kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
            raise _cannot(name, f"there is no sound in it: it holds {', '.join(kinds)} ({container.format.name})")
        try:
            for samples in _resampled(av, container):
                kept.write(samples)
        except av.FFmpegError as error:
            return _reason(error)
    return ""


def _resampled(av: Any, container: Any) -> Iterator[bytes]:
    """Damaged packets in the middle are left out, as FFmpeg does; a recording may change its rate and channels."""
    resampler = _resampler(av)
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            continue
        for frame in frames:
            try:
                found = resampler.resample(frame)
            except ValueError:  # made for another rate or number of channels
                yield from map(_bytes, resampler.resample(None))
                resampler = _resampler(av)
                found = resampler.resample(frame)
            yield from map(_bytes, found)
    yield from map(_bytes, resampler.resample(None))


def _resampler(av: Any) -> Any:
    return av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _bytes(frame: Any) -> bytes:
    made: bytes = frame.to_ndarray().tobytes()
    return made


def _ffmpeg() -> Any:
    try:
        import av
    except ImportError:
        raise Refused(
            "FFmpeg is missing: recordings are opened with its libraries, which the package av brings. "
            "Install it: pip install av", status=501, code="ffmpeg_missing",
        ) from None  # fmt: skip
    av.logging.set_level(av.logging.PANIC)  # what is wrong with a file is told to who sent it
    return av


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _cannot(name: str, why: str) -> Refused:
    return Refused(
        f"{Path(name).name or 'The recording'} cannot be transcribed: {why}.", param="file", code="bad_audio"
    )
