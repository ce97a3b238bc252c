"""A transcript as subtitles, for players and editors of films."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.engines.runtime import Segment


def srt(segments: Sequence[Segment]) -> str:
    """SubRip's."""
    return "\n".join(
        f"{number}\n{_time(one.start_s, ',')} --> {_time(one.end_s, ',')}\n{_plain(one)}\n"
        for number, one in enumerate(segments, 1)
    )


def vtt(segments: Sequence[Segment]) -> str:
    """WebVTT's."""
    cues = (f"{_time(one.start_s, '.')} --> {_time(one.end_s, '.')}\n{_plain(one)}\n" for one in segments)
    return "\n".join(["WEBVTT\n", *cues])


def _time(seconds: float, comma: str) -> str:
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{thousandths // 1000:02}{comma}{thousandths % 1000:03}"


def _plain(one: Segment) -> str:
    """An arrow would end a cue's times; a blank line would end the cue."""
    return " ".join(one.text.replace("-->", "→").split())
