"""faster-whisper in this process: a folder as CTranslate2 writes it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctranslate2

from workbench.engines.contract import Settings
from workbench.engines.runtime import SAMPLE_RATE, Heard, Listening, Segment, SpeechRuntime
from workbench.errors import EngineUnavailable

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
            str(path), **_place(settings), cpu_threads=settings.prefill_threads, local_files_only=True
        )
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


def _place(settings: Settings) -> dict[str, Any]:
    """Where it works and in what: a CPU multiplies in 32 bits or in 8, whatever the file has."""
    if settings.devices:
        if not ctranslate2.get_cuda_device_count():
            raise EngineUnavailable(
                f"CTranslate2 {ctranslate2.__version__} sees no CUDA device here.",
                fix="Install NVIDIA's driver, CUDA 12 and cuDNN 9, or plan without devices.",
            )
        return {"device": "cuda", "device_index": settings.devices[0], "compute_type": COMPUTE[settings.format]}
    is_own = settings.format in ("FP32", "INT8")
    return {"device": "cpu", "compute_type": COMPUTE[settings.format] if is_own else "float32"}
