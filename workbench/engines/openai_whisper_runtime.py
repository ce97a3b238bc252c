"""OpenAI's Whisper in this process, from a file of safetensors: no pickle is opened."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.engines.contract import Settings
from workbench.engines.pushed import Push, pushed
from workbench.engines.runtime import SAMPLE_RATE, Heard, Listening, Segment, SpeechRuntime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenAIWhisperRuntime(SpeechRuntime):
    """The library's own `transcribe`, with its fallbacks; progress comes from every window that it decodes."""

    def __init__(self, path: Path, settings: Settings) -> None:
        import torch
        import whisper
        from safetensors import safe_open
        from safetensors.torch import load_file
        from whisper.tokenizer import LANGUAGES

        from workbench.engines.torch_device import torch_device

        torch.set_num_threads(settings.prefill_threads)
        with safe_open(path, "pt") as file:
            dimensions = {name: int(value) for name, value in file.metadata().items()}
        model = whisper.model.Whisper(whisper.model.ModelDimensions(**dimensions))
        model.load_state_dict(load_file(path), assign=True)
        self._model, self._beam = model.eval().to(torch_device(settings)), settings.beam
        self._is_half = bool(settings.devices) and settings.format == "FP16"
        self.languages = tuple(LANGUAGES) if model.is_multilingual else ("en",)

    def transcribe(self, sound: NDArray[np.float32], asked: Listening) -> Generator[Segment | Heard, None, None]:
        return pushed(lambda push: self._run(sound, asked, push))

    def _run(self, sound: Any, asked: Listening, push: Push) -> None:
        import whisper

        windows, decode = 0, type(self._model).decode

        def counted(mel: Any, options: Any) -> Any:
            nonlocal windows
            windows += options.temperature == asked.temperature  # the first try at a window
            push(Heard(min((windows - 1) * whisper.audio.CHUNK_LENGTH, len(sound) / SAMPLE_RATE)))
            return decode(self._model, mel, options)

        self._model.decode = counted
        try:
            found = whisper.transcribe(
                self._model, sound, fp16=self._is_half, verbose=None, language=asked.language,
                initial_prompt=asked.prompt or None, task="translate" if asked.translate else "transcribe",
                temperature=asked.temperatures, beam_size=self._beam if self._beam > 1 else None,
            )  # fmt: skip
        finally:
            del self._model.decode
        for one in found["segments"]:
            push(Segment(one["start"], one["end"], one["text"]))
        push(Heard(len(sound) / SAMPLE_RATE, found["language"]))
