"""Measure a deployment: a warm-up, `repeats` equal requests, then the longest prompt for peak memory.

What is asked of models that transcribe is in `speech`, of those that make pictures in `images`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from workbench import engines
from workbench.deployment import Deployment, failures
from workbench.engines.contract import PEAK_ANSWER_TOKENS
from workbench.engines.workload import Workload
from workbench.errors import UsageError
from workbench.evidence import Estimate, Measured
from workbench.evidence.ledger import Ledger
from workbench.machine import BusyMeter, PeakSampler, alone, cpu_seconds, kept, probe, shared_bytes
from workbench.measurement import images, speech
from workbench.measurement.compared import memory_name
from workbench.measurement.requests import Sample, long_enough, run_request, template_overhead
from workbench.measurement.together import Batch, full, measured, run_batch
from workbench.models import weight_files
from workbench.units import now

Progress = Callable[[float | None, str], None]
#: In the environment of a measurement: cores' worth of CPU that others had meanwhile.
OTHERS: Final = "others_busy_cores"

NO_BOUND: Final = Estimate.unknown("tok/s", "it was planned by a version that did not compute it")


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured on one deployment, beside what was predicted for it before it ran.

    Keys of `values` are those of `predictions`, and more: memory_peak (B), prefill, decode (tok/s), ttft, tpot (s),
    cpu (cores). decode_bound: what memory allows of decode, whatever the engine.
    """

    prediction: str
    model: str
    engine: str
    workload: Workload
    predictions: Mapping[str, Estimate]
    values: Mapping[str, Measured]
    samples: tuple[Any, ...]
    environment: Mapping[str, Any]
    created: str
    number: int
    decode_bound: Estimate = NO_BOUND

    def to_dict(self) -> dict[str, Any]:
        """Stable keys for --json and the report."""
        return {
            "prediction": self.prediction,
            "number": self.number,
            "model": self.model,
            "engine": self.engine,
            "created": self.created,
            "workload": asdict(self.workload),
            "values": {
                name: {"value": m.value, "unit": m.unit, "samples": list(m.samples), "method": m.method, "date": m.date}
                for name, m in self.values.items()
            },
            "decode_bound_tok_per_s": self.decode_bound.value,
            "requests": [asdict(sample) for sample in self.samples],
            "environment": dict(self.environment),
        }


def measure(
    deployment: Deployment,
    *,
    repeats: int = 5,
    peak_memory: bool = True,
    recording: str | Path | None = None,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
) -> Measurement:
    """Measure a deployment with the workload of its plan and store the result in the ledger beside the prediction.

    peak_memory: also over the longest prompts, which may take longer than all the rest; recording: what a speech model
    transcribes, one of LibriVox's by default.
    Raises UsageError for fewer than one repeat, ServerDied when the server goes away meanwhile.
    """
    check_repeats(repeats)
    report = progress or (lambda fraction, text: None)
    plan = deployment.plan_dict
    workload, engine = Workload(**plan["workload"]), engines.get(plan["engine"])
    with alone(partial(report, None)), failures.explained(deployment.state):
        pids = deployment.pids()
        others = BusyMeter(pids)
        if "transcribe" in engine.capabilities:
            samples, values = _speech(deployment, recording, repeats, peak_memory, report)
        elif "imagine" in engine.capabilities:
            samples, values = _images(deployment, repeats, peak_memory, report)
        else:
            samples, values = _text(deployment, repeats, peak_memory, report)
    report(1.0, "measured")
    environment, created = environment_of(plan), now()
    if pids:  # else the server counts as another, and nobody can say what others used
        environment[OTHERS] = round(others.cores(), 2)
    ledger = ledger or Ledger()
    ledger.predict(plan, deployment.predictions)  # it is there already, unless the ledger was moved since
    number = ledger.measure(plan["id"], created, environment, values)
    return Measurement(
        plan["id"], plan["model"], plan["engine"], workload, deployment.predictions, values, tuple(samples),
        environment, created, number, _bound(plan),
    )  # fmt: skip


def _bound(plan: Mapping[str, Any]) -> Estimate:
    known = plan.get("decode_bound")
    return Estimate.from_dict(known) if known else NO_BOUND


def _text(
    deployment: Deployment, repeats: int, peak_memory: bool, report: Progress
) -> tuple[list[Any], dict[str, Measured]]:
    plan = deployment.plan_dict
    workload, context = Workload(**plan["workload"]), int(plan["settings"]["context"])
    options = engines.get(plan["engine"]).benchmark_options
    samples, cpu_cores = _latency(deployment, workload, repeats, options, report)
    batches = _batches(deployment, workload, repeats, options, report)
    values = {**_values(samples, workload.answer_tokens, cpu_cores), **(measured(batches) if batches else {})}
    if peak_memory:
        report(0.8, f"longest prompt: {context - PEAK_ANSWER_TOKENS} tokens")
        values = {**_named(deployment, _peak_memory(deployment, context, options)), **values}
    return samples, values


def _speech(
    deployment: Deployment, recording: str | Path | None, repeats: int, peak_memory: bool, report: Progress
) -> tuple[list[Any], dict[str, Measured]]:
    path = Path(recording).expanduser() if recording else speech.sample()
    samples = speech.readings(deployment, path, repeats, report)
    values = speech.values(samples)
    if peak_memory:
        report(0.7, f"{speech.PEAK_S:g} s of sound")
        values = {**_named(deployment, speech.peak_memory(deployment, path)), **values}
    return samples, values


def _images(
    deployment: Deployment, repeats: int, peak_memory: bool, report: Progress
) -> tuple[list[Any], dict[str, Measured]]:
    samples = images.sittings(deployment, repeats, report)
    values = images.values(samples)
    if peak_memory:
        report(0.8, "peak memory")
        values = {**_named(deployment, images.peak_memory(deployment)), **values}
    return samples, values


def _named(deployment: Deployment, peak: Measured | None) -> dict[str, Measured]:
    """The peak of memory under the name of its prediction; nothing where nobody may look at the server."""
    return {memory_name(deployment.predictions): peak} if peak else {}


def check_repeats(repeats: int) -> None:
    """Raise UsageError for a number of repeats that cannot be measured."""
    if not isinstance(repeats, int) or repeats < 1:
        raise UsageError(f"{repeats!r} repeats were asked for.", fix="Ask for at least 1; 5 show how much they vary.")


def _latency(
    deployment: Deployment, workload: Workload, repeats: int, options: Mapping[str, object], report: Progress
) -> tuple[list[Sample], float | None]:
    """The samples after one warm-up, and the cores that the server kept busy meanwhile; None where nobody may look."""
    report(0.0, "warm-up")
    letters = workload.prompt_tokens - template_overhead(deployment)
    run_request(deployment, letters, workload.answer_tokens, seed=1, options=options)
    samples: list[Sample] = []
    pids = deployment.pids()
    begin, cpu_begin = time.perf_counter(), cpu_seconds(pids)
    for index in range(repeats):
        report(0.1 + 0.7 * index / repeats, f"request {index + 1} of {repeats}")
        sample = run_request(deployment, letters, workload.answer_tokens, seed=index + 2, options=options)
        samples.append(long_enough(sample, workload.answer_tokens))
    return samples, (cpu_seconds(pids) - cpu_begin) / (time.perf_counter() - begin) if pids else None


def _batches(
    deployment: Deployment, workload: Workload, repeats: int, options: Mapping[str, object], report: Progress
) -> list[Batch]:
    """Requests at once, as many as the deployment was made for; none for one at a time."""
    count = int(deployment.plan_dict["settings"]["concurrency"])
    if count == 1:
        return []
    letters, found = workload.prompt_tokens - template_overhead(deployment), []
    for number in range(min(repeats, 3)):
        report(None, f"{count} requests at once, {number + 1} of {min(repeats, 3)}")
        batch = run_batch(deployment, workload, letters, count, seed=100 * (number + 1), options=options)
        found.append(full(batch, workload.answer_tokens))
    return found


def _peak_memory(deployment: Deployment, context: int, options: Mapping[str, object]) -> Measured | None:
    """The peak of as many of the longest prompts at once as the deployment was made for.

    The pages of the model's file are counted in full even where other servers map the same file.
    """
    longest = context - PEAK_ANSWER_TOKENS - template_overhead(deployment)
    count = int(deployment.plan_dict["settings"]["concurrency"])
    file = deployment.plan_dict["model_path"]
    with PeakSampler(deployment.state.root_pid()) as sampler:
        run_batch(deployment, Workload(longest, PEAK_ANSWER_TOKENS), longest, count, seed=1, options=options)
        files = weight_files(Path(file)) if file else []
        shared = sum(shared_bytes(deployment.pids(), one) for one in files)
    if sampler.peak_bytes is None:
        return None
    method = (
        f"peak {sampler.method} of the server's process tree over the longest prompt and {PEAK_ANSWER_TOKENS} tokens"
        f"{f', {count} at once' if count > 1 else ''}, "
        f"{sampler.samples} readings; pages of the model's file that others map too are counted in full"
    )
    return Measured((float(sampler.peak_bytes + shared),), "B", method)


def _values(samples: list[Sample], asked: int, cpu_cores: float | None) -> dict[str, Measured]:
    least = min(sample.answer_tokens for sample in samples)
    ended = f"; the model ended an answer after {least} of {asked} tokens" if least < asked else ""

    def each(read: Callable[[Sample], float], unit: str, method: str) -> Measured:
        return Measured(tuple(read(sample) for sample in samples), unit, method)

    cpu = "CPU time of the server ÷ wall time of all measured requests"
    return {
        "prefill": each(lambda s: s.prefill_tok_per_s, "tok/s", "prompt tokens ÷ time to first token, at the client"),
        "decode": each(lambda s: 1 / s.tpot_s, "tok/s", f"tokens after the first ÷ their time, at the client{ended}"),
        "ttft": each(lambda s: s.ttft_s, "s", "request sent to first token received"),
        "tpot": each(lambda s: s.tpot_s, "s", f"mean time per output token after the first{ended}"),
        **({} if cpu_cores is None else {"cpu": Measured((cpu_cores,), "cores", cpu)}),
    }  # fmt: skip


def environment_of(plan: Mapping[str, Any]) -> dict[str, Any]:
    machine = kept(probe())
    return {**machine.to_dict(), "fingerprint": machine.fingerprint(), "engine_version": plan["engine_version"]}
