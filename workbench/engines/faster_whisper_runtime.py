"""faster-whisper in this process: a folder as CTranslate2 writes it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.engines.contract import Settings
from workbench.engines.runtime import SAMPLE_RATE, Heard, Listening, Segment, SpeechRuntime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: How CTranslate2 names what it computes in.
COMPUTE = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16", "INT8": "int8"}


class FasterWhisperRuntime(SpeechRuntime):
    """Segments come as the windows are decoded."""

    def __init__(self, path: Path, settings: Settings) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(path), device="cpu", compute_type=_on_cpu(settings.format), cpu_threads=settings.prefill_threads,
            local_files_only=True,
        )  # fmt: skip
        self._beam = settings.beam
        self.languages = tuple(self._model.supported_languages)

    def transcribe(self, sound: NDArray[np.float32], asked: Listening) -> Generator[Segment | Heard, None, None]:
        found, about = self._model.transcribe(
            sound, language=asked.language, beam_size=self._beam, best_of=5, initial_prompt=asked.prompt or None,
            task="translate" if asked.translate else "transcribe", temperature=asked.temperatures,
        )  # fmt: skip
        yield Heard(0.0, about.language)
        for one in found:
            yield Segment(one.start, one.end, one.text)
            yield Heard(one.end)
        yield Heard(len(sound) / SAMPLE_RATE, about.language)


def _on_cpu(format_name: str) -> str:
    """A CPU multiplies in 32 bits or in 8, whatever the file has."""
    return COMPUTE[format_name] if format_name in ("FP32", "INT8") else "float32"
