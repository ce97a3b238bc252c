"""llama.cpp's own server from the `xllamacpp` package, in a process of its own.

Run by path with one JSON argument, so that nothing but llama.cpp is loaded here: every byte of this process counts
as the engine's. Its defaults do not suit a workbench and are set one by one (docs/decisions/0003).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Serve the model named in the options until told to stop."""
    import xllamacpp

    options = json.loads(sys.argv[1])
    server = xllamacpp.Server(parameters(options, os.environ.pop("LLAMA_API_KEY")))
    print(f"listening on {server.listening_address}", flush=True)  # noqa: T201 - the server's log
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    os._exit(0)  # the server's threads have nothing to save, and joining them can take a whole answer


def parameters(options: dict[str, Any], api_key: str) -> Any:
    """llama.cpp's parameters for these options."""
    import xllamacpp

    p = xllamacpp.CommonParams()
    p.model.path = options["model"]
    p.model_alias = {options["alias"]}
    p.hostnames = ["127.0.0.1"]
    p.port = options["port"]
    p.api_keys = [api_key]
    p.n_ctx = options["context"] * options["concurrency"]
    p.n_parallel = options["concurrency"]
    p.cpuparams.n_threads = options["threads"]
    p.cpuparams_batch.n_threads = options["prefill_threads"]
    p.flash_attn_type = (
        xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if options["flash_attention"]
        else xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    p.cache_type_k = p.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options['cache_type'].upper()}")
    p.cache_ram_mib = options["cache_ram_mib"]  # 0 unless asked for: it grows by tens of MiB per prompt, to 8 GiB
    p.fit_params = False  # the plan decides what fits; the server must not change it
    p.cors_origins = ""  # no web page may call this server
    p.ui = False
    p.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE  # all text in one field
    p.n_gpu_layers = 0  # predictions are for the CPU so far
    p.endpoint_metrics = True
    p.endpoint_slots = False
    return p


if __name__ == "__main__":
    # The block must be inherited by the server's threads, or one of them would die of the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
