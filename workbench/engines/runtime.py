"""What an engine that is only a library gives to the server that hosts it, in a process of its own.

The server (`workbench.deployment.server`) speaks HTTP, queues, counts, cuts at stop sequences and at the most tokens
asked for; a runtime only turns prompts into tokens and tokens into more of them. Only one thread ever uses it.
"""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.engines.contract import Availability, Engine, ImageShape, Launch, Settings, Tricks
from workbench.errors import EngineUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

API_KEY = "WORKBENCH_API_KEY"
#: Import names of what the hosting server needs, with the distributions they come in.
SERVER = {"fastapi": "fastapi", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}


def installed(packages: Mapping[str, str]) -> Availability:
    """Whether a library and the server that hosts it are installed; packages: import names with their distributions,
    the library's own first, whose version is named."""
    needed = {**packages, **SERVER}
    if missing := [package for module, package in needed.items() if find_spec(module) is None]:
        return Availability(
            False, f"The package {missing[0]} is not installed.", f"Install it: pip install {' '.join(missing)}"
        )
    library = next(iter(packages.values()))
    return Availability(True, version=f"{library} {version(library)}")


def check_starts(engine: Engine[Any], settings: Settings, *, on_devices: bool = False) -> None:
    """Raise EngineUnavailable for a library that is not installed, or that is not hosted on devices."""
    availability = engine.available()
    if not availability.ok:
        raise EngineUnavailable(availability.reason, fix=availability.fix)
    if settings.devices and not on_devices:
        raise EngineUnavailable(
            f"The workbench starts {engine.title} on the CPU alone; on accelerators it predicts.",
            fix="Plan without devices, or choose another engine.",
        )


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. temperature: 0 takes the likeliest; top_k: 0 for all; ignore_eos: go on at the
    end of text, for measurements.

    The defaults are llama.cpp's. OpenAI's, a temperature of 1 and no bounds, make nonsense of small models.
    """

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 40
    seed: int | None = None
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token, and the text that became certain with it ("" in the middle of a character)."""

    id: int
    text: str


class TextRuntime(ABC):
    """A language model in this process. context: the most tokens of prompt and answer together; vocabulary: how many
    tokens there are."""

    context: int
    vocabulary: int

    @abstractmethod
    def chat_tokens(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The tokens of a conversation in the model's own chat template, ready for the answer.

        Raises UsageError where the model has no template or the template refuses these messages.
        """

    @abstractmethod
    def text_tokens(self, text: str) -> list[int]:
        """The tokens of a text to be continued."""

    @abstractmethod
    def generate(
        self, prompt: Sequence[int], sampling: Sampling, max_tokens: int
    ) -> Generator[Token | None, None, None]:
        """Token after token until the model ends, `max_tokens` at most; prompt and they fit the context together.

        None comes between the parts of a long prompt, so that others get their turn and the request can be cancelled.
        Closing the iterator frees what it holds. Several may be advanced in turns; each has its own cache.
        """


#: Samples per second of the sound that every model here listens to.
SAMPLE_RATE = 16_000
#: So much of a recording is given to an engine at once; it bounds the memory of hours.
PIECE_S = 300.0


@dataclass(frozen=True, slots=True)
class Listening:
    """How a recording is transcribed. language: its code ('en'), found out by the model when None; prompt: text that
    comes before; temperature: 0 takes the likeliest, and more where that fails; translate: into English."""

    language: str | None = None
    prompt: str = ""
    temperature: float = 0.0
    translate: bool = False

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Those to try one after the other: Whisper's own ladder of fallbacks where nothing else was asked for."""
        return (0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if self.temperature == 0 else (self.temperature,)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a transcript: where it begins and ends, in seconds of the recording, and its text."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Heard:
    """How far the work has come, in seconds of the recording; language: the one that is spoken, once it is known."""

    until_s: float
    language: str | None = None


class SpeechRuntime(ABC):
    """A model that transcribes, in this process. languages: codes of those it knows, one for an English-only model."""

    languages: tuple[str, ...]

    @abstractmethod
    def transcribe(self, sound: NDArray[np.float32], asked: Listening) -> Generator[Segment | Heard, None, None]:
        """Segments in order, and in between how far it is; sound: mono, SAMPLE_RATE samples a second, -1 to 1.

        Closing the iterator ends the work within one window of 30 s.
        """


@dataclass(frozen=True, slots=True)
class Imagining:
    """What is to be seen. shape: size, steps, pictures and guidance; negative: what is not to be seen; seed: of the
    first picture, each further one has the next; scheduler: one of the runtime's, its own when ""; preview: decode the
    pictures on the way, after the first step, the last one, and now and then between, where that moves no weights."""

    prompt: str
    shape: ImageShape
    negative: str = ""
    seed: int = 0
    scheduler: str = ""
    preview: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A denoising step is done. preview: (pictures, height, width, 3), where there is one."""

    number: int
    of: int
    preview: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture, (height, width, 3), and the seed that makes it again."""

    pixels: NDArray[np.uint8]
    seed: int


class ImageRuntime(ABC):
    """A model that makes pictures, in this process. multiple: what sides must be multiples of; schedulers: names of
    those it knows."""

    multiple: int
    schedulers: tuple[str, ...]

    @abstractmethod
    def left_out(self, prompt: str) -> str:
        """The end of a prompt that is longer than the model reads; "" where it reads all."""

    @abstractmethod
    def imagine(self, asked: Imagining) -> Generator[Step | Picture | None, None, None]:
        """Every step, and then the pictures; None where nothing is known yet, so that the request can be cancelled.

        Closing the iterator ends the work after the step that is under way.
        """

    def close(self) -> None:
        """Give back what is held outside this process, which is about to end."""
        return


@dataclass(frozen=True, slots=True)
class Hosted:
    """What the hosting server is told: which engine, the file or folder of the model, its name, settings and port."""

    engine: str
    path: str
    served_model: str
    settings: Settings
    port: int

    def launch(self, api_key: str, env: Mapping[str, str] | None = None) -> Launch:
        """The command that starts the server; the key goes through the environment. -P: nothing of the current folder
        is ours to import."""
        argv = (sys.executable, "-P", "-m", "workbench.deployment.server", json.dumps(asdict(self)))
        return Launch(argv, {**(env or {}), API_KEY: api_key})

    @classmethod
    def from_json(cls, text: str) -> Hosted:
        """Read what `launch` wrote."""
        fields = json.loads(text)
        settings = fields["settings"]
        image = settings["image"] and ImageShape(**settings["image"])
        parts = {"devices": tuple(settings["devices"]), "image": image, "tricks": Tricks(**settings["tricks"])}
        made = Settings(**{**settings, **parts})
        return cls(**{**fields, "settings": made})

    @property
    def model(self) -> Path:
        """Where the model lies."""
        return Path(self.path)
