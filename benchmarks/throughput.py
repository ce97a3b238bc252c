"""Tokens per second and first token through `deploy(...).chat` against raw HTTP to the same server, engine by engine.

Runs alternate, and so does which is first; figures are medians over pairs. `library_overhead` compares with engines
that are only a library, called in process.
"""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import workbench
from workbench import engines
from workbench.deployment import Deployment

PAIRS, TOKENS = 15, 96
QUESTION = "Tell me a long story about a lighthouse."
#: Engine and format; those that are not here are left out by name.
CASES = (("llama.cpp", None), ("transformers", "BF16"), ("onnx-runtime", "ONNX-int4"), ("transformers-serve", "BF16"),
         ("vllm", "BF16"))  # fmt: skip

One = TypeVar("One")
Run = tuple[float, float]  # tok/s of the whole answer, seconds to the first token


def run() -> dict[str, Any]:
    """Ratios above 1 mean that the deployment was the faster one of a pair."""
    return {engine: compared(engine, form) for engine, form in CASES if engines.get(engine).available().ok}


def compared(engine: str, format_name: str | None) -> dict[str, Any]:
    """One engine: the ratio of throughput and the difference of the first token, deployment to raw HTTP."""
    with workbench.deploy("smollm2-135m-instruct", engine=engine, format=format_name, context=512) as deployment:
        options = {"max_tokens": TOKENS, "temperature": 0}
        extra = dict(engines.get(engine).benchmark_options)
        _ours(deployment, options, extra), _raw(deployment, options, extra)  # warm-up
        sides = [partial(side, deployment, options, extra) for side in (_ours, _raw)]
        pairs = [pair(number, *sides) for number in range(PAIRS)]
    ratios = [ours[0] / raw[0] for ours, raw in pairs]
    later = [ours[1] - raw[1] for ours, raw in pairs]
    found = {
        "tokens": TOKENS, "pairs": PAIRS, "median_ratio": statistics.median(ratios),
        "quartiles": statistics.quantiles(ratios, n=4), "median_first_token_later_s": statistics.median(later),
        "deployment_tok_per_s": [ours[0] for ours, _ in pairs], "raw_http_tok_per_s": [raw[0] for _, raw in pairs],
    }  # fmt: skip
    ratio, first = found["median_ratio"], found["median_first_token_later_s"]
    print(f"  {engine}: {ratio:.3f} of raw HTTP, first token {first * 1e3:+.2f} ms", flush=True)
    return found


def pair(number: int, ours: Callable[[], One], other: Callable[[], One]) -> tuple[One, One]:
    """Both, each first in every other pair: what the second run owes to the first cancels out."""
    if number % 2:
        second, first = other(), ours()
    else:
        first, second = ours(), other()
    return first, second


def _ours(deployment: Deployment, options: dict[str, Any], extra: dict[str, Any]) -> Run:
    begin, first = time.perf_counter(), 0.0
    for _ in deployment.chat(QUESTION, extra_body=extra, **options):
        first = first or time.perf_counter() - begin
    return TOKENS / (time.perf_counter() - begin), first


def _raw(deployment: Deployment, options: dict[str, Any], extra: dict[str, Any]) -> Run:
    """As little client as possible: read the lines of the stream; the second event has the first text."""
    address = urlsplit(deployment.endpoint.base_url)
    body = {"model": deployment.endpoint.served_model, "messages": [{"role": "user", "content": QUESTION}]}
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    headers = {"Authorization": f"Bearer {deployment.endpoint.api_key}", "Content-Type": "application/json"}
    sent = json.dumps({**body, **options, **extra, "stream": True, "stream_options": {"include_usage": True}})
    begin, first = time.perf_counter(), 0.0
    connection.request("POST", "/v1/chat/completions", sent, headers)
    response = connection.getresponse()
    for line in iter(response.readline, b""):
        if not first and b'"content":"' in line.replace(b'": "', b'":"') and b'"content":""' not in line:
            first = time.perf_counter() - begin
    elapsed = time.perf_counter() - begin
    connection.close()
    return TOKENS / elapsed, first
