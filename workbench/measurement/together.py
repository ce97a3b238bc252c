"""Requests sent at once: how long all of them take, and how fast they decode together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from workbench.deployment import Deployment
from workbench.engines.workload import Workload
from workbench.errors import NotMeasurable
from workbench.evidence import Measured
from workbench.measurement.requests import Sample, run_request


@dataclass(frozen=True, slots=True)
class Batch:
    """`samples` of requests that were sent at once, and the seconds from the first sent to the last token of all."""

    samples: tuple[Sample, ...]
    seconds: float

    @property
    def tok_per_s(self) -> float:
        """Tokens per second of all, each counted while it decodes."""
        return sum(1 / sample.tpot_s for sample in self.samples)


def run_batch(
    deployment: Deployment, workload: Workload, letters: int, count: int, *, seed: int, options: Mapping[str, object]
) -> Batch:
    """Send `count` different prompts of `letters` letters at once and wait for all answers."""

    def one(number: int) -> Sample:
        return run_request(deployment, letters, workload.answer_tokens, seed=seed + number, options=options)

    begin = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        samples = tuple(pool.map(one, range(count)))
    return Batch(samples, time.perf_counter() - begin)


def full(batch: Batch, asked: int) -> Batch:
    """The batch; raises NotMeasurable where an answer ended early: how long all would have taken, nobody knows.

    Whoever goes on meanwhile has the machine for himself. asked: tokens that each answer should have.
    """
    short = [sample.answer_tokens for sample in batch.samples if sample.answer_tokens < asked]
    if short:
        raise NotMeasurable(
            f"{len(short)} of {len(batch.samples)} answers at once ended early, one after {min(short)} of {asked} "
            "tokens: the time of all says nothing.",
            fix="Measure one request at a time, or an engine that can be told to go on, such as llama.cpp.",
        )
    return batch


def measured(batches: list[Batch]) -> Mapping[str, Measured]:
    """throughput (tok/s) and batch (s), under the names their predictions have."""

    def each(read: Callable[[Batch], float], unit: str, method: str) -> Measured:
        return Measured(tuple(read(batch) for batch in batches), unit, method)

    count = len(batches[0].samples)
    return {
        "throughput": each(lambda b: b.tok_per_s, "tok/s", f"sum of the decode rates of {count} requests at once"),
        "batch": each(lambda b: b.seconds, "s", f"{count} requests sent at once, until the last token of all"),
    }
