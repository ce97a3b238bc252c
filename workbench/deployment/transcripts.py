"""A transcript as it comes from a server: segments with their times, progress, and how to end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.deployment import failures, subtitles
from workbench.engines.runtime import Segment
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.deployment.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Transcript:
    """What was said. duration_s: of the recording; language: its code, None where the engine did not say; cut_short:
    why the recording could not be read to its end, "" where it could."""

    text: str
    segments: tuple[Segment, ...]
    duration_s: float
    language: str | None = None
    cut_short: str = ""

    @property
    def srt(self) -> str:
        """Subtitles as SubRip writes them."""
        return subtitles.srt(self.segments)

    @property
    def vtt(self) -> str:
        """Subtitles as WebVTT."""
        return subtitles.vtt(self.segments)

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json."""
        return asdict(self)


def transcribe(
    deployment: Deployment, recording: str | Path, *, progress: Callable[[float | None, str], None] | None = None,
    **options: Any,
) -> Transcript:  # fmt: skip
    """See `Deployment.transcribe`."""
    path = checked(recording)
    done: Any = None
    segments: list[Segment] = []
    for event in _events(deployment, path, options):
        if event.type == "transcript.text.segment":
            segments.append(Segment(event.start, event.end, event.text))
        elif event.type == "workbench.progress" and progress:
            progress(event.heard_s / event.duration_s, f"{event.heard_s:.0f} of {event.duration_s:.0f} s heard")
        elif event.type == "transcript.text.done":
            done = event
    if done is None:
        raise failures.cut_short(deployment.state)
    return Transcript(done.text, tuple(segments), done.duration, done.language, done.cut_short)


def checked(recording: str | Path) -> Path:
    """The path of a recording; raises UsageError where no file is."""
    path = Path(recording).expanduser()
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", fix="Check the path of the recording.")
    return path


def _events(deployment: Deployment, path: Path, options: dict[str, Any]) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from failures.explained_events(deployment.state, lambda: deployment.client.audio.transcriptions.create(
            file=(path.name, file), model=deployment.endpoint.served_model, stream=True, **options
        ))  # fmt: skip
