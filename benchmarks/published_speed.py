"""The published rows of language-model speed, each with the work it asks, the device it ran on and the seconds it took.

Names are the catalog's business: a row whose device, model or format nobody there knows is left out and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workbench.catalog.accelerators import AcceleratorSpec, accelerator
from workbench.engines.roofline import Work, work_of
from workbench.errors import UsageError
from workbench.models import Model
from workbench.planning.validation import rows as validated

FILE = Path(__file__).with_name("published") / "llm_speed.csv"
#: Tokens generated where a row does not say; prompt and depth of an aggregate over several lengths.
UNSAID_TOKENS, AGGREGATE_TOKENS = 128, 512
#: A model that fills more of a card's memory than this may have been partly somewhere else, unless somebody says not.
FITS = 0.7

ENGINES = {
    "llama.cpp": "llama.cpp", "llamacpp": "llama.cpp", "llamafile (LocalScore)": "llamafile", "ollama": "llama.cpp",
    "Ollama / llama.cpp": "llama.cpp", "vLLM": "vLLM", "vllm": "vLLM", "SGLang": "SGLang", "HF ": "Transformers",
    "AutoGPTQ / Transformers": "Transformers", "gpt-fast": "torch.compile", "torchao": "torch.compile",
    "TensorRT-LLM": "TensorRT-LLM", "ExLlama": "ExLlama", "AutoAWQ": "AutoAWQ",
}  # fmt: skip
RUNTIMES = {"NVIDIA": "cuda", "AMD": "rocm", "Apple": "metal", "Intel": "xpu"}
#: Devices that a remark settles: an M3 Ultra with 512 GB is sold with 80 GPU cores only.
MEANT = {"Mac Studio (M3 Ultra 512GB)": "Apple M3 Ultra 80-core"}
#: Metrics that their source states per device.
PER_DEVICE = frozenset({"throughput (output tokens incl. prefill time)"})


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    what: 'decode' (seconds a step), 'prefill' (seconds a prompt) or 'request' (prompt and answer); group: how it is
    reported: 'decode', 'depth', 'batch', 'devices', 'prefill' or 'request'; headline: whether it counts for the
    headline figure; community: whether nobody says how llama.cpp was set up; flash: whether flash attention was on;
    tokens: of a prompt, after `start` tokens in the cache, in chunks of `chunk` (nought: the engine's own).
    """

    row: int
    engine: str
    runtime: str
    month: str
    source: str
    what: str
    group: str
    headline: bool
    community: bool
    device: AcceleratorSpec
    model: Model
    work: Work
    tokens: float
    start: float
    chunk: float
    answer: float
    batch: float
    devices: int
    flash: bool
    seconds: float


def device(text: str) -> AcceleratorSpec | None:
    """The accelerator that a row names; None when the catalog does not know it, or knows several."""
    try:
        return accelerator(MEANT.get(text, text))
    except UsageError:
        return None


def rows(
    device: Callable[[str], AcceleratorSpec | None], model: Callable[[str, str, str], Model | None], file: Path = FILE
) -> tuple[list[Row], dict[str, int]]:
    """The rows that can be used, and how many were left out for which reason.

    device: from a row's device; model: from a row's model, quantization and engine; None for what nobody knows.
    """
    left_out: Counter[str] = Counter()
    used = []
    for number, raw in enumerate(validated.read(file)[0], start=2):
        engine, what = _engine(raw), _what(raw)
        if not (engine and what) or raw["batch"] == "max" or raw["backend"].startswith("CPU"):
            left_out["not a speed of an engine on an accelerator"] += 1
        elif what != "decode" and not (raw["n_prompt"] or engine == "llamafile"):
            left_out["length of the prompt unknown"] += 1
        elif (spec := device(raw["device"])) is None:
            left_out["device unknown"] += 1
        elif (made := model(raw["model"], raw["quant"], raw["engine"])) is None:
            left_out["model or format unknown"] += 1
        elif not _runtime(raw, spec):
            left_out["runtime unknown"] += 1
        elif not _is_whole(row := _row(number, raw, engine, what, spec, made), raw):
            left_out["broken, or not all on the device"] += 1
        else:
            used.append(row)
    return used, dict(left_out)


def _row(number: int, raw: dict[str, str], engine: str, what: str, spec: AcceleratorSpec, model: Model) -> Row:  # noqa: PLR0917
    unsaid = AGGREGATE_TOKENS if engine == "llamafile" else 0
    answer, prompt = float(raw["n_gen"] or UNSAID_TOKENS), float(raw["n_prompt"] or unsaid)
    depth = prompt if what == "request" else float(raw["depth"] or unsaid)
    batch, devices = float(raw["batch"] or 1), int(raw["n_devices"] or 1)
    return Row(
        row=number,
        engine=engine,
        runtime=_runtime(raw, spec),
        month=_month(raw),
        source=raw["source"],
        what=what,
        group=_group(raw, what),
        headline=_group(raw, what) == "decode" and raw["backend"] in ("CUDA", "Metal") and raw["size_gib"] != "",
        community=engine == "llama.cpp" and raw["confidence"] != "high",
        device=spec,
        model=model,
        work=work_of(model, round(depth + answer / 2)),
        tokens=prompt,
        start=depth if "@" in raw["phase"] else 0.0,
        chunk=2048.0 if "n_ubatch 2048" in raw["notes"] else 0.0,
        answer=answer,
        batch=batch,
        devices=devices,
        flash=raw["flash_attn"] == "1",
        seconds=_seconds(raw, what, prompt, answer, batch) / (devices if raw["metric"] in PER_DEVICE else 1),
    )


def _engine(raw: dict[str, str]) -> str:
    return next((ours for theirs, ours in ENGINES.items() if raw["engine"].startswith(theirs)), "")


def _runtime(raw: dict[str, str], spec: AcceleratorSpec) -> str:
    """The runtime of a row; nothing where a card that has several ran on some 'GPU'."""
    if raw["backend"] == "Vulkan":
        return "vulkan"
    return "" if raw["backend"] == "GPU" and spec.vendor in ("AMD", "Intel") else RUNTIMES.get(spec.vendor, "")


def _what(raw: dict[str, str]) -> str:
    metric = raw["metric"]
    if metric in ("decode", "prefill"):
        return metric
    if metric == "first token latency":
        return "prefill"
    return "request" if metric.startswith(("total", "throughput")) else ""


def _seconds(raw: dict[str, str], what: str, prompt: float, answer: float, batch: float) -> float:
    value = float(raw["value"])
    if raw["metric"] == "first token latency":
        return value / 1000
    if what == "decode":
        return batch / value
    if what == "prefill":
        return prompt * batch / value
    counted = answer if raw["metric"].startswith("throughput") else prompt + answer
    return counted * batch / value


def _is_whole(row: Row, raw: dict[str, str]) -> bool:
    """Whether the row says something of its device: all of the model was there, and no more than its memory gives."""
    memory_bytes = (row.device.memory_bytes or 0) * row.devices
    if raw["confidence"] != "high" and memory_bytes and row.model.weight_bytes > FITS * memory_bytes:
        return False
    least_s = row.model.decode_read_bytes / (1.1 * row.device.bandwidth_bytes_per_s * row.devices)
    return row.what != "decode" or row.batch > 1 or row.seconds > least_s


def _group(raw: dict[str, str], what: str) -> str:
    if what != "decode":
        return what
    if (raw["n_devices"] or "1") != "1":
        return "devices"
    if (raw["batch"] or "1") != "1":
        return "batch"
    return "depth" if raw["depth"] not in ("", "0") else "decode"


def _month(raw: dict[str, str]) -> str:
    """The month of the build, or of the page it was read from."""
    text = raw["source_date"]
    return text[:7] if re.match(r"\d{4}-\d{2}", text) else text[:4]


# -- names ---------------------------------------------------------------------------------------------------------


def model(name: str, quantization: str, engine: str) -> Model | None:
    """The model of a row in its format; None when the catalog does not know both."""
    try:
        return validated.model(name, quantization, engine)
    except validated.Refused:
        return None
