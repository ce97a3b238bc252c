"""Tokens per second through `deploy(...).chat` against the library itself, called in this process.

One thread for both, so that neither takes the other's core; runs alternate, and so does which is first. Figures are
medians over pairs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workbench
from benchmarks.throughput import QUESTION
from workbench import engines, models
from workbench.planning import Plan

MODEL, PAIRS, TOKENS = "smollm2-135m-instruct", 12, 96
MESSAGES = [{"role": "user", "content": QUESTION}]


def run() -> dict[str, Any]:
    """Ratios above 1 mean that the deployment was the faster one of a pair."""
    return {f"{engine} {form}": compared(engine, form, library) for engine, form, library in CASES}


def compared(engine: str, form: str, library: Callable[[Path], Callable[[], int]]) -> dict[str, Any]:
    """One engine and format: the ratio of throughput of a whole answer, prompt included."""
    plan = workbench.plan(MODEL, engine=engine, format=form, context=512, threads=1)
    alone = library(_path(plan))
    with workbench.deploy(plan, share=False) as deployment:
        extra = dict(engines.get(engine).benchmark_options)

        def ours() -> int:
            stream = deployment.stream(QUESTION, max_tokens=TOKENS, temperature=0, extra_body=extra)
            list(stream)
            return stream.usage.completion_tokens if stream.usage else 0

        pairs = [_pair(number, ours, alone) for number in range(PAIRS + 1)][1:]  # the first warms up
    ratios = [a / b for a, b in pairs]
    found = {"tokens": TOKENS, "pairs": PAIRS, "median_ratio": statistics.median(ratios),
             "deployment_tok_per_s": [a for a, _ in pairs], "library_tok_per_s": [b for _, b in pairs]}  # fmt: skip
    print(f"  {engine} {form}: {found['median_ratio']:.3f} of the library in process", flush=True)
    return found


def _pair(number: int, ours: Callable[[], int], alone: Callable[[], int]) -> tuple[float, float]:
    if number % 2:
        second, first = _rate(alone), _rate(ours)
    else:
        first, second = _rate(ours), _rate(alone)
    return first, second


def _rate(work: Callable[[], int]) -> float:
    begin = time.perf_counter()
    return work() / (time.perf_counter() - begin)


def _path(plan: Plan) -> Path:
    return models.convert(plan.model, plan.engine.container, plan.engine.stored_format(plan.settings.format))


def _transformers(folder: Path) -> Callable[[], int]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder, dtype="auto")

    def answer() -> int:
        asked = tokenizer.apply_chat_template(
            MESSAGES, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )  # fmt: skip
        made = model.generate(**asked, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
        tokenizer.decode(made[0])
        return int(made.shape[1] - asked["input_ids"].shape[1])

    return answer


def _onnx(folder: Path) -> Callable[[], int]:
    import json

    import onnxruntime_genai as og

    config = og.Config(str(folder))
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}))
    model = og.Model(config)
    tokenizer = og.Tokenizer(model)

    def answer() -> int:
        asked = tokenizer.encode(tokenizer.apply_chat_template(json.dumps(MESSAGES), add_generation_prompt=True))
        parameters = og.GeneratorParams(model)
        parameters.set_search_options(max_length=len(asked) + TOKENS, min_length=len(asked) + TOKENS, do_sample=False)
        generator, stream = og.Generator(model, parameters), tokenizer.create_stream()
        generator.append_tokens(asked)
        count = 0
        while not generator.is_done():
            generator.generate_next_token()
            stream.decode(generator.get_next_tokens()[0])
            count += 1
        return count

    return answer


CASES = (("transformers", "BF16", _transformers), ("transformers", "FP32", _transformers),
         ("onnx-runtime", "FP32", _onnx), ("onnx-runtime", "ONNX-int4", _onnx))  # fmt: skip
