"""Tokens per second through `deploy(...).chat` against raw HTTP to the same server, alternating, as a median ratio."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from typing import Any
from urllib.parse import urlsplit

import workbench
from workbench.deployment import Deployment

PAIRS, TOKENS = 25, 96
QUESTION = "Tell me a long story about a lighthouse."


def run() -> dict[str, Any]:
    """Ratios above 1 mean that the deployment was the faster one of a pair."""
    with workbench.deploy("smollm2-135m-instruct") as deployment:
        _ours(deployment), _raw(deployment)  # warm-up
        pairs = [(_ours(deployment), _raw(deployment)) for _ in range(PAIRS)]
    ratios = [ours / raw for ours, raw in pairs]
    return {
        "tokens": TOKENS,
        "median_ratio": statistics.median(ratios),
        "quartiles": statistics.quantiles(ratios, n=4),
        "deployment_tok_per_s": [ours for ours, _ in pairs],
        "raw_http_tok_per_s": [raw for _, raw in pairs],
    }


def _options() -> dict[str, Any]:
    return {"max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, "cache_prompt": False}


def _ours(deployment: Deployment) -> float:
    options = _options()
    extra = {name: options.pop(name) for name in ("ignore_eos", "cache_prompt")}
    begin = time.perf_counter()
    for _ in deployment.chat(QUESTION, extra_body=extra, **options):
        pass
    return TOKENS / (time.perf_counter() - begin)


def _raw(deployment: Deployment) -> float:
    """As little client as possible: read the lines of the stream and count them."""
    address = urlsplit(deployment.endpoint.base_url)
    body = {"model": deployment.endpoint.served_model, "messages": [{"role": "user", "content": QUESTION}]}
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    headers = {"Authorization": f"Bearer {deployment.endpoint.api_key}", "Content-Type": "application/json"}
    begin = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps({**body, **_options(), "stream": True}), headers)
    response = connection.getresponse()
    for _ in iter(response.readline, b""):
        pass
    elapsed = time.perf_counter() - begin
    connection.close()
    return TOKENS / elapsed
