"""Tokens per second through `deploy(...).chat` against the library itself, called in a process without a server.

One thread for both, so that neither takes the other's core; runs alternate, and so does which is first. Where the pages
of a process happen to lie makes up to 8 % of difference for as long as it lives, so both sides begin anew in every
round. Figures are medians over all pairs.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import workbench
from benchmarks.throughput import QUESTION, pair
from workbench import engines, models

MODEL, ROUNDS, PAIRS, TOKENS = "smollm2-135m-instruct", 4, 4, 96
MESSAGES = [{"role": "user", "content": QUESTION}]


def run() -> dict[str, Any]:
    """Ratios above 1 mean that the deployment was the faster one of a pair."""
    return {f"{engine} {form}": compared(engine, form) for engine, form in CASES}


def compared(engine: str, form: str) -> dict[str, Any]:
    """One engine and format: the ratio of throughput of a whole answer, prompt included."""
    pairs = [pair for _ in range(ROUNDS) for pair in _round(engine, form)]
    ratios = [a / b for a, b in pairs]
    found = {"tokens": TOKENS, "rounds": ROUNDS, "pairs": len(pairs), "median_ratio": statistics.median(ratios),
             "deployment_tok_per_s": [a for a, _ in pairs], "library_tok_per_s": [b for _, b in pairs]}  # fmt: skip
    print(f"  {engine} {form}: {found['median_ratio']:.3f} of the library in process", flush=True)
    return found


def _round(engine: str, form: str) -> list[tuple[float, float]]:
    """A few pairs of a fresh deployment and a fresh process of the library."""
    plan = workbench.plan(MODEL, engine=engine, format=form, context=512, threads=1)
    folder = models.convert(plan.model, plan.engine.container, plan.engine.stored_format(form))
    command = [sys.executable, "-m", "benchmarks.library_overhead", engine, str(folder)]
    extra = dict(engines.get(engine).benchmark_options)
    with (
        workbench.deploy(plan, share=False) as deployment,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as alone,
    ):

        def ours() -> int:
            stream = deployment.stream(QUESTION, max_tokens=TOKENS, temperature=0, extra_body=extra)
            list(stream)
            return stream.usage.completion_tokens if stream.usage else 0

        def library() -> int:
            assert alone.stdin and alone.stdout  # noqa: S101 - asked for with PIPE
            alone.stdin.write("go\n")
            alone.stdin.flush()
            return int(alone.stdout.readline())

        rates = partial(_rate, ours), partial(_rate, library)
        found = [pair(number, *rates) for number in range(PAIRS + 1)][1:]  # the first warms up
        assert alone.stdin  # noqa: S101
        alone.stdin.close()
    return found


def _rate(work: Callable[[], int]) -> float:
    begin = time.perf_counter()
    return work() / (time.perf_counter() - begin)


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


LIBRARIES = {"transformers": _transformers, "onnx-runtime": _onnx}
CASES = (("transformers", "BF16"), ("onnx-runtime", "FP32"), ("onnx-runtime", "ONNX-int4"))

if __name__ == "__main__":
    answer_ = LIBRARIES[sys.argv[1]](Path(sys.argv[2]))
    for _ in sys.stdin:
        print(answer_(), flush=True)
