"""What Transformers offers to decode faster on a CPU, beside what reading the weights alone would take.

In process, the embedded model, greedy, on one core and on all. `step` calls the model once for each token as our server
does; the rest is the library's own `generate`. Runs alternate; figures are medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from workbench import machine, models

MODEL, TOKENS, REPEATS, COMPILED_REPEATS, REQUESTS = "smollm2-135m-instruct", 32, 3, 2, 8
PROMPT = "The quick brown fox jumps over the lazy dog. " * 6
LOOKUP_TOKENS = 4
FORMATS = ("FP32", "BF16")

Run = Callable[[], float]  # tokens per second


def run() -> dict[str, Any]:
    """Tokens per second by option, threads and format; of eight requests together; and the bound by bandwidth."""
    import torch

    here = machine.calibrate(machine.probe())
    loaded = {name: _load(name) for name in FORMATS}
    threads = sorted({1, here.cpu.physical_cores})
    cases = {
        f"{name}, {count} threads, {option}": _on(count, one)
        for name, (model, ids) in loaded.items() for count in threads for option, one in _options(model, ids).items()
    }  # fmt: skip
    found = _alternated(cases, REPEATS)
    together = {
        f"{name}, {threads[-1]} threads, {option}": one
        for name, (model, ids) in loaded.items() for option, one in _together(model, ids).items()
    }  # fmt: skip
    torch.set_num_threads(threads[-1])
    batches = _alternated(together, COMPILED_REPEATS)
    compiled = {"FP32": _compiled(*loaded["FP32"])}  # minutes each
    return {"model": MODEL, "tokens": TOKENS, "prompt_tokens": int(loaded["FP32"][1].shape[1]),
            "bound_tok_per_s": _bounds(here, loaded), "tok_per_s": found, "eight_requests_tok_per_s": batches,
            "compiled": compiled}  # fmt: skip


def _load(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = models.convert(models.get(MODEL), "safetensors", name)
    ids = AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt")["input_ids"]
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto"), ids


def _bounds(here: Any, loaded: dict[str, Any]) -> dict[str, float]:
    """As fast as memory was ever read: all weights once for each token."""
    speed = here.calibration
    sizes = {name: sum(p.numel() * p.element_size() for p in model.parameters()) for name, (model, _) in loaded.items()}
    return {
        f"{name}, {cores}": bandwidth / size
        for name, size in sizes.items()
        for cores, bandwidth in (("one core", speed.read_bandwidth_one_core.high),
                                 ("all cores", speed.fastest_read))
    }  # fmt: skip


def _options(model: Any, ids: Any) -> dict[str, Run]:
    from transformers import DynamicCache, StaticCache

    return {
        "step, growing cache": lambda: _steps(model, ids, DynamicCache(config=model.config)),
        "step, static cache": lambda: _steps(model, ids, StaticCache(config=model.config, max_cache_len=256)),
        "generate": lambda: _generated(model, ids),
        "generate, prompt lookup": lambda: _generated(model, ids, prompt_lookup_num_tokens=LOOKUP_TOKENS),
    }


def _on(threads: int, one: Run) -> Run:
    def run_() -> float:
        import torch

        torch.set_num_threads(threads)
        return one()

    return run_


def _alternated(cases: dict[str, Run], repeats: int) -> dict[str, Any]:
    runs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats + 1):  # the first round warms up
        for name, one in cases.items():
            runs[name].append(one())
    for name, values in runs.items():
        print(f"  {name}: {statistics.median(values[1:]):.1f} tok/s", flush=True)
    return {name: {"median": statistics.median(values[1:]), "runs": values[1:]} for name, values in runs.items()}


def _steps(model: Any, ids: Any, cache: Any) -> float:
    import torch

    times = []
    with torch.inference_mode():
        out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        for _ in range(TOKENS):
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            begin = time.perf_counter()
            out = model(token, past_key_values=cache, use_cache=True, logits_to_keep=1)
            times.append(time.perf_counter() - begin)
    return 1 / statistics.median(times)


def _generated(model: Any, ids: Any, requests: int = 1, **options: Any) -> float:
    begin = time.perf_counter()
    model.generate(
        ids.expand(requests, -1), max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0,
        **options,
    )  # fmt: skip
    return requests * TOKENS / (time.perf_counter() - begin)


def _together(model: Any, ids: Any) -> dict[str, Run]:
    """Eight equal requests: one after the other, as a batch that starts and ends together, and batched continuously."""
    return {
        "one after the other": lambda: _one_by_one(model, ids),
        "one batch": lambda: _generated(model, ids, REQUESTS),
        "continuous batching": lambda: _continuous(model, ids),
    }


def _one_by_one(model: Any, ids: Any) -> float:
    return statistics.median(_generated(model, ids) for _ in range(3))


def _continuous(model: Any, ids: Any) -> float:
    from transformers import GenerationConfig

    begin = time.perf_counter()
    asked = GenerationConfig(max_new_tokens=TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0)
    found = model.generate_batch([ids[0].tolist()] * REQUESTS, generation_config=asked, progress_bar=False)
    made = sum(len(one.generated_tokens) for one in found.values())
    return made / (time.perf_counter() - begin)


def _compiled(model: Any, ids: Any) -> dict[str, float]:
    """The forward pass through torch.compile with a static cache: seconds to compile, and tok/s afterwards."""
    import torch
    from transformers import StaticCache

    forward = torch.compile(model.forward, dynamic=False)

    def cache() -> Any:
        return StaticCache(config=model.config, max_cache_len=256)

    def faster(*args: Any, **options: Any) -> Any:
        return forward(*args, **options)

    begin = time.perf_counter()
    _steps(faster, ids, cache())
    spent = time.perf_counter() - begin
    found = {"first_run_s": spent, "tok_per_s": statistics.median(_steps(faster, ids, cache()) for _ in range(REPEATS))}
    print(f"  compiled: {found}", flush=True)
    return found
