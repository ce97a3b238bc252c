"""The same recording on several engines: what each wrote down, how wrong it is, how long it took, and its memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.deployment import Deployment
from workbench.deployment.transcripts import Transcript
from workbench.machine import PeakSampler
from workbench.measurement.compared import OfPlan
from workbench.measurement.quality.speech import WordErrors, word_errors
from workbench.models.speech import WINDOW_S
from workbench.planning import Plan


@dataclass(frozen=True, slots=True)
class Listened(OfPlan):
    """One engine's transcript. took_s: seconds of work; peak_bytes: of the server's memory meanwhile, None where nobody
    may look; errors: beside what is really said, None where nobody knows."""

    transcript: Transcript
    took_s: float
    peak_bytes: int | None
    errors: WordErrors | None = None

    @property
    def measured(self) -> Mapping[str, float]:
        """The same quantities as they came out; a window that was only begun costs the encoder all the same."""
        windows = math.ceil(self.transcript.duration_s / WINDOW_S)
        found = {"window": self.took_s / windows, self.memory_name: self.peak_bytes}
        return {name: float(value) for name, value in found.items() if value is not None}

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of sound."""
        return self.took_s / self.transcript.duration_s


def listen(
    deployment: Deployment, plan: Plan, recording: str | Path, wanted: str = "", *, language: str | None = None,
    progress: Callable[[float | None, str], None] | None = None,
) -> Listened:  # fmt: skip
    """Transcribe once and count; wanted: what is really said, where it is known."""
    options = {"language": language} if language else {}
    with PeakSampler(deployment.state.root_pid()) as sampler:
        begin = time.perf_counter()
        found = deployment.transcribe(recording, progress=progress, **options)
        took = time.perf_counter() - begin
    errors = word_errors(wanted, found.text) if wanted.strip() else None
    return Listened(plan, found, took, sampler.peak_bytes, errors)
