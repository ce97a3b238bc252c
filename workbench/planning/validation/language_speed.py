"""Published speeds of language models: decode and prefill of one request, of batches, at depth, on several devices."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workbench.catalog.accelerators import AcceleratorSpec
from workbench.catalog.coefficients import coefficients
from workbench.engines import device_speed, roofline
from workbench.errors import UnknownName
from workbench.evidence import Basis, Estimate
from workbench.machine.description import RUNTIMES
from workbench.models import Model
from workbench.planning.validation import rows
from workbench.planning.validation.rows import Measured, Refused, Row

COLUMNS = {"model", "quant", "size_gib", "device", "n_devices", "backend", "engine", "metric", "n_prompt", "n_gen",
           "depth", "batch", "flash_attn", "value", "unit", "phase"}  # fmt: skip
#: Tokens generated where a row does not say.
UNSAID_TOKENS = 128
#: Prompt and depth of an aggregate over several lengths.
AGGREGATE_TOKENS = 512
QUANTITIES = {
    "decode": "decode", "prefill": "prefill", "first token latency": "prefill", "total (prompt+gen)/time": "request",
    "throughput (output tokens incl. prefill time)": "request",
}  # fmt: skip
#: Most layers split unasked: the others split every layer.
LAYERS_SPLIT = frozenset({"llama.cpp", "Transformers", "AutoAWQ", "ExLlama"})


def score(row: Row) -> Measured:
    """One row beside its prediction; raises Refused."""
    quantity = quantity_of(row)
    if row["metric"] not in QUANTITIES:
        raise Refused(f"not predicted: {row['metric']}")
    engine = rows.engine_of(row)
    spec, named = rows.device(row["device"])
    run = _run(row, engine, max(int(rows.number(row, "n_devices", 1)), named))
    made = rows.model(row["model"], row["quant"], row["engine"])
    rows.check_size(row, made)
    device_and_coefficients = _known(row, engine, runtime_of(row, spec), spec)
    seconds = _seconds(row, quantity, run)
    if quantity == "decode" and run.batch == 1 and seconds < _least_s(made, spec, run.devices):
        raise Refused("broken row: faster than the device's memory can be read")
    predicted = _predicted(quantity, device_and_coefficients, made, run)
    if predicted.value is None:
        raise Refused(predicted.reason)
    return Measured(quantity, engine, row["backend"], scope(row), spec.key, predicted, seconds)


def quantity_of(row: Row) -> str:
    """What a row measures, as it is predicted; its own word for anything else."""
    return QUANTITIES.get(row["metric"], row["metric"])


def runtime_of(row: Row, spec: AcceleratorSpec) -> str:
    """What drove the device: a row says so, or its maker has one way only."""
    backend = row["backend"].lower()
    if backend.startswith("cpu"):
        raise Refused("ran on the CPU: its speed is predicted from the machine's own calibration only")
    if backend == "vulkan":
        return "vulkan"
    if backend in ("gpu", "") and spec.vendor in ("AMD", "Intel"):
        raise Refused(f"backend not named for {spec.title}")
    return RUNTIMES.get(spec.vendor, "")


def scope(row: Row) -> str:
    """The group of a row: devices, batch and depth before anything else; the headline is what remains of it."""
    if row["n_devices"] not in ("", "1"):
        return "devices"
    if row["batch"] not in ("", "1"):
        return "batch"
    if row["depth"] not in ("", "0"):
        return "depth"
    eligible = rows.engine_of(row) == "llama.cpp" and row["backend"] in ("CUDA", "Metal") and row["size_gib"]
    return "headline" if eligible and row["metric"] == "decode" else "other"


@dataclass(frozen=True, slots=True)
class _Run:
    """What was run: prompts of so many tokens, after `start` others, answers, sequences and devices; chunk: tokens of a
    prompt processed at once (0: the engine's own)."""

    prompt: int
    start: int
    depth: float
    answer: float
    batch: int
    devices: int
    split: str
    chunk: float


def _run(row: Row, engine: str, devices: int) -> _Run:
    if row["batch"] == "max":
        raise Refused("batch is not stated")
    unsaid = AGGREGATE_TOKENS if row["engine"].startswith("llamafile") else 0
    prompt, depth = rows.number(row, "n_prompt", unsaid), rows.number(row, "depth", unsaid)
    quantity = quantity_of(row)
    if quantity != "decode" and not prompt:
        raise Refused("length of the prompt is not stated")
    return _Run(
        prompt=int(prompt), start=int(depth) if "@" in row["phase"] else 0,
        depth=prompt if quantity == "request" else depth, answer=rows.number(row, "n_gen", UNSAID_TOKENS),
        batch=int(rows.number(row, "batch", 1)) or 1, devices=devices or 1,
        split="layer" if engine in LAYERS_SPLIT else "tensor",
        chunk=2048.0 if "n_ubatch 2048" in row.get("notes", "") else 0.0,
    )  # fmt: skip


def _known(row: Row, engine: str, runtime: str, spec: AcceleratorSpec) -> device_speed.Known:
    published = "llamafile" if row["engine"].startswith("llamafile") else engine
    try:
        return spec, coefficients(published, runtime, rows.month(row))
    except UnknownName:
        raise Refused(f"no published coefficients for {engine} on {row['backend'] or runtime}") from None


def _predicted(quantity: str, known: device_speed.Known, made: Model, run: _Run) -> Estimate:
    """Seconds of a step, of a prompt, or of a whole request."""
    prompt = _prompt(known, made, run) if quantity != "decode" else None
    if quantity == "prefill" and prompt:
        return prompt
    # What is generated into an empty cache finds, on average, half of itself there.
    depth = round(run.depth + run.answer / 2)
    step = device_speed.decode(known, made, "f16", depth, batch=run.batch, devices=run.devices, split=run.split)
    if prompt is None or prompt.value is None or step.value is None:
        return step if prompt is None or prompt.value is not None else prompt
    value, low, high = (
        (getattr(prompt, bound) or 0.0) + run.answer * (getattr(step, bound) or 0.0)
        for bound in ("value", "low", "high")
    )
    return Estimate(value, low, high, "s", Basis("prompt + answer × step", {"prompt": str(prompt), "step": str(step)}))


def _prompt(known: device_speed.Known, made: Model, run: _Run) -> Estimate:
    spec, c = known
    c = replace(c, chunk_tokens=run.chunk or c.chunk_tokens)
    return roofline.prefill(
        roofline.work_of(made), spec, c, run.prompt, run.batch, start=run.start, devices=run.devices, split=run.split
    )


def _least_s(made: Model, spec: AcceleratorSpec, devices: int) -> float:
    """Seconds to read all weights once, a tenth faster than the memory's stated bandwidth."""
    return made.decode_read_bytes / (1.1 * spec.bandwidth_bytes_per_s * devices)


def _seconds(row: Row, quantity: str, run: _Run) -> float:
    value = rows.measured(row)
    if row["unit"] == "ms":
        return value / 1000
    if quantity == "decode":
        return run.batch / value
    if quantity == "prefill":
        return run.prompt * run.batch / value
    counted = run.answer if row["metric"].startswith("throughput") else run.prompt + run.answer
    per_device = run.devices if row["metric"].startswith("throughput") else 1
    return counted * run.batch / value / per_device
