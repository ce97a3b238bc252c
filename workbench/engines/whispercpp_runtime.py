"""whisper.cpp in this process, through pywhispercpp."""

from __future__ import annotations

from collections.abc import Generator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from workbench.engines.contract import Settings
from workbench.engines.pushed import Push, pushed
from workbench.engines.runtime import SAMPLE_RATE, Heard, Listening, Segment, SpeechRuntime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GREEDY, BEAM_SEARCH = 0, 1


class WhisperCppRuntime(SpeechRuntime):
    """Segments come by a callback as the windows are decoded; another one lets the work be given up."""

    def __init__(self, path: Path, settings: Settings) -> None:
        from pywhispercpp.model import Model

        search = BEAM_SEARCH if settings.beam > 1 else GREEDY
        where = {"use_gpu": False, "flash_attn": settings.flash_attention}
        wide: Any = {"beam_search": {"beam_size": settings.beam, "patience": -1.0}} if settings.beam > 1 else {}
        self._model = Model(str(path), params_sampling_strategy=search, context_params=cast(Any, where), **wide)
        self._threads = settings.prefill_threads
        self.languages = tuple(Model.available_languages()) if _is_multilingual(self._model) else ("en",)

    def transcribe(self, sound: NDArray[np.float32], asked: Listening) -> Generator[Segment | Heard, None, None]:
        return pushed(lambda push: self._run(sound, asked, push))

    def _run(self, sound: Any, asked: Listening, push: Push) -> None:
        import _pywhispercpp

        numbers, context = count(), cast(Any, self._model)._ctx

        def segment(one: Any) -> None:
            """Its text is asked for again: the bindings strip the space that keeps it from the one before."""
            text = _pywhispercpp.whisper_full_get_segment_text(context, next(numbers))
            if not push.stopped:
                push(Segment(one.t0 / 100, one.t1 / 100, text.decode("utf-8", "replace")))
                push(Heard(one.t1 / 100))

        language = asked.language or ("auto" if len(self.languages) > 1 else "en")
        self._model.transcribe(
            sound, n_threads=self._threads, language=language, translate=asked.translate,
            initial_prompt=asked.prompt, temperature=asked.temperature, print_progress=False, print_realtime=False,
            new_segment_callback=segment, abort_callback=lambda: push.stopped,
        )  # fmt: skip
        push(Heard(len(sound) / SAMPLE_RATE, None if language == "auto" else language))


def _is_multilingual(model: Any) -> bool:
    import _pywhispercpp

    return bool(_pywhispercpp.whisper_is_multilingual(model._ctx))
