"""llama.cpp: GGUF models on CPU, as `llama-server` when it is on PATH, else the server inside the `xllamacpp` package.

Both are the same program with the same settings; what differs is how they were compiled. Only the CPU is used so far.

Memory terms, read from llama.cpp's own log (build of October 2026) and from the kernel's count of touched pages:
weights are mapped from the file; the KV cache is zeroed at the start, so all of it is resident; the compute buffer
holds one batch of `n_ubatch` tokens; the vocabulary is kept in hash maps; the rest is the program itself.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from workbench.engines.contract import PEAK_ANSWER_TOKENS, Availability, Engine, Launch, Settings
from workbench.errors import EngineUnavailable
from workbench.evidence import Basis, Breakdown, Estimate
from workbench.machine import Machine
from workbench.models import Architecture, Model
from workbench.models.architecture import bytes_per_element, kv_bytes, kv_bytes_per_token, kv_heads_by_layer
from workbench.units import MIB

UBATCH_TOKENS = 512  # llama.cpp's n_ubatch, left at its default
CACHE_BLOCK_TOKENS = 256
REPACKED_TYPES = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
#: Architectures of the gguf library that make no text.
NOT_GENERATIVE = frozenset({
    "clip", "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3",
    "eurobert", "t5encoder", "wavtokenizer-dec", "gemma-embedding",
})  # fmt: skip
RECORD = "records of the embedded model at contexts 512, 2,048 and 8,192 (x86-64 Linux, xllamacpp 2026.10)"


class LlamaCpp(Engine):
    """Starts llama.cpp's server and predicts its memory and speed on a CPU."""

    name = "llama.cpp"
    title = "llama.cpp"
    formats = frozenset({"gguf"})
    capabilities = frozenset({"chat", "complete"})
    benchmark_options = MappingProxyType({"ignore_eos": True, "cache_prompt": False})

    def __init__(self) -> None:
        self.binary = shutil.which("llama-server")  # looked for once: a plan and its launch must agree

    # -- what runs here ----------------------------------------------------------------------------------------

    def available(self, machine: Machine | None = None) -> Availability:
        if self.binary:
            return Availability(True, version=f"llama-server {_version(self.binary)}")
        try:
            return Availability(True, version=f"xllamacpp {metadata.version('xllamacpp')}")
        except metadata.PackageNotFoundError:
            return Availability(
                False,
                "Neither llama-server is on PATH nor is the package xllamacpp installed.",
                "Install it: pip install xllamacpp",
            )

    def supports(self, model: Model) -> Availability:
        from gguf.constants import MODEL_ARCH_NAMES

        name = model.architecture.name
        if model.format not in self.formats:
            return Availability(False, f"llama.cpp opens GGUF files, not {model.format}.", "Choose a GGUF version.")
        if name not in MODEL_ARCH_NAMES.values():
            return Availability(
                False,
                f"llama.cpp does not know the architecture {name!r} of {model.name}.",
                "Update with: pip install --upgrade gguf xllamacpp. If it is still unknown, convert another model.",
            )
        if name in NOT_GENERATIVE:
            return Availability(
                False, f"{model.name} is a {name} model: it makes embeddings or features, not text.",
                "Choose a language model; `workbench models` lists some.",
            )  # fmt: skip
        return Availability(True)

    # -- memory ------------------------------------------------------------------------------------------------

    def memory(self, model: Model, settings: Settings, machine: Machine) -> tuple[Breakdown, ...]:
        parts = {
            "weights": _weights(model),
            "repacked weights": _repacked(model, machine),
            "KV cache": _kv_cache(model.architecture, settings),
            "compute buffer": _compute_buffer(model.architecture, settings),
            "prompt cache": _prompt_cache(settings),
            "vocabulary": _vocabulary(model.architecture),
            "engine": _program("llama-server" if self.binary else "xllamacpp"),
        }
        return (Breakdown("RAM", parts),)

    # -- speed -------------------------------------------------------------------------------------------------

    def prefill(self, model: Model, settings: Settings, machine: Machine, tokens: int) -> Estimate:
        if machine.calibration is None:
            return Estimate.unknown("s", UNCALIBRATED)
        one_core = machine.calibration.matrix_throughput_one_core.value
        rate = one_core * PREFILL_EFFICIENCY * settings.prefill_threads
        a = model.architecture
        dense = 2 * (model.active_parameters - _lookup_parameters(model)) * tokens
        attention = 2 * a.layers * a.heads * (a.key_length + a.value_length) * tokens**2 / 2
        basis = Basis(
            "floating-point operations of prompt and causal attention ÷ (matrix throughput × efficiency)",
            {
                "operations": f"{(dense + attention) / 1e9:.3g} GFLOP for {tokens} tokens",
                "matrix throughput": f"{one_core / 1e9:.3g} GFLOP/s a core × {settings.prefill_threads} threads",
                "efficiency": f"{PREFILL_EFFICIENCY}",
            },
            SPEED_SOURCE,
        )
        return Estimate.within((dense + attention) / rate, "s", basis, *PREFILL_INTERVAL)

    def decode(self, model: Model, settings: Settings, machine: Machine, depth: int) -> Estimate:
        if machine.calibration is None:
            return Estimate.unknown("s", UNCALIBRATED)
        if _is_recurrent(model.architecture):
            return Estimate.unknown("s", RECURRENT)
        one_core = machine.calibration.read_bandwidth_one_core.value
        bandwidth = min(machine.calibration.read_bandwidth.value, one_core * settings.threads)
        a = model.architecture
        weights_s = model.decode_read_bytes / (bandwidth * DECODE_EFFICIENCY)
        # Flash attention on a CPU reads the keys and values once per query head, not once per KV head.
        heads = a.heads if settings.flash_attention else a.kv_heads
        per_token = kv_bytes_per_token(a, bytes_per_element(settings.cache_type)) * heads / a.kv_heads
        cache_s = depth * per_token / (one_core * settings.threads * ATTENTION_EFFICIENCY)
        basis = Basis(
            "weights read ÷ (bandwidth × e) + cache read ÷ (bandwidth × e_attention) + layers × overhead",
            {
                "weights read": f"{model.decode_read_bytes / 1e6:.4g} MB a token",
                "bandwidth": f"{bandwidth / 1e9:.3g} GB/s with {settings.threads} threads",
                "depth": f"{depth} tokens",
                "e, e_attention, overhead": f"{DECODE_EFFICIENCY}, {ATTENTION_EFFICIENCY}, {LAYER_S * 1e6:.0f} µs",
            },
            SPEED_SOURCE,
        )
        return Estimate.within(weights_s + cache_s + a.layers * LAYER_S, "s", basis, *DECODE_INTERVAL)

    # -- launching ---------------------------------------------------------------------------------------------

    def launch(self, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
        availability = self.available()
        if not availability.ok:
            raise EngineUnavailable(availability.reason, fix=availability.fix)
        if self.binary:
            return _llama_server(self.binary, model, settings, port, api_key)
        options = {
            "model": str(model.path), "alias": model.name, "port": port, "context": settings.context,
            "concurrency": settings.concurrency, "threads": settings.threads,
            "prefill_threads": settings.prefill_threads, "cache_type": settings.cache_type,
            "flash_attention": settings.flash_attention, "cache_ram_mib": settings.prompt_cache_bytes // MIB,
        }  # fmt: skip
        program = Path(__file__).with_name("xllamacpp_server.py")
        return Launch((sys.executable, "-I", str(program), json.dumps(options)), {"LLAMA_API_KEY": api_key})


def _llama_server(binary: str, model: Model, settings: Settings, port: int, api_key: str) -> Launch:
    """Settings go through the environment, which older builds ignore where they do not know a name."""
    environment = {
        "LLAMA_API_KEY": api_key,
        "LLAMA_ARG_MODEL": str(model.path),
        "LLAMA_ARG_ALIAS": model.name,
        "LLAMA_ARG_HOST": "127.0.0.1",
        "LLAMA_ARG_PORT": str(port),
        "LLAMA_ARG_CTX_SIZE": str(settings.context * settings.concurrency),
        "LLAMA_ARG_N_PARALLEL": str(settings.concurrency),
        "LLAMA_ARG_FLASH_ATTN": "on" if settings.flash_attention else "off",
        "LLAMA_ARG_CACHE_TYPE_K": settings.cache_type,
        "LLAMA_ARG_CACHE_TYPE_V": settings.cache_type,
        "LLAMA_ARG_CACHE_RAM": str(settings.prompt_cache_bytes // MIB),
        "LLAMA_ARG_FIT": "off",
        "LLAMA_ARG_THINK": "none",  # the reasoning format: all text in one field
        "LLAMA_ARG_CORS_ORIGINS": "",
        "LLAMA_ARG_UI": "0",
        "LLAMA_ARG_NO_WEBUI": "1",
        "LLAMA_ARG_ENDPOINT_METRICS": "1",
        "LLAMA_ARG_NO_ENDPOINT_SLOTS": "1",
        "LLAMA_ARG_N_GPU_LAYERS": "0",
    }
    threads = ("--threads", str(settings.threads), "--threads-batch", str(settings.prefill_threads))
    return Launch((binary, *threads), environment)


def _weights(model: Model) -> Estimate:
    basis = Basis("bytes of all tensors in the file, mapped", {"file": str(model.path)}, "the file's own header")
    return Estimate.within(model.weight_bytes, "B", basis, 0.0, 0.01)


def _repacked(model: Model, machine: Machine) -> Estimate:
    """Copies of matrices in an order that suits the processor's vector instructions; the mapped ones stay as well."""
    tensors = [t for t in model.tensors if len(t.shape) > 1 and t.type in REPACKED_TYPES]
    read_as_matrix = [t for t in tensors if not t.is_looked_up or model.architecture.tied_embeddings]
    count = sum(tensor.bytes for tensor in read_as_matrix)
    known = "AVX2" in machine.cpu.instruction_sets
    basis = Basis(
        "bytes of all matrices of the types that are repacked" + ("" if known else "; other processors may not"),
        {"types": ", ".join(sorted(REPACKED_TYPES))},
        "llama.cpp's own log for sixteen types on x86-64 with AVX2, 2026-11-23",
    )
    return Estimate(count, 0.97 * count if known else 0, count, "B", basis)


def _cells(settings: Settings) -> int:
    """Tokens the cache has room for: llama.cpp rounds the context of each request up to a multiple of 256."""
    return -(-settings.context // CACHE_BLOCK_TOKENS) * CACHE_BLOCK_TOKENS * settings.concurrency


def _is_recurrent(architecture: Architecture) -> bool:
    """Whether some layer keeps a state instead of keys and values (Mamba, RWKV and hybrids of them)."""
    return 0 in kv_heads_by_layer(architecture)


def _kv_cache(architecture: Architecture, settings: Settings) -> Estimate:
    if _is_recurrent(architecture):
        return Estimate.unknown("B", RECURRENT)
    element_bytes = bytes_per_element(settings.cache_type)
    per_token = kv_bytes_per_token(architecture, element_bytes)
    # A sliding layer keeps its window and the batch that is being worked on.
    window = architecture.sliding_window and architecture.sliding_window + UBATCH_TOKENS
    cells = _cells(settings)
    one = kv_bytes(architecture, cells // settings.concurrency, element_bytes, window_tokens=window)
    basis = Basis(
        "2 × layers × KV heads × head length × bytes per element × tokens",
        {"a token": f"{per_token:.0f} B", "tokens": f"{cells}", "type": settings.cache_type},
        "exact by architecture",
    )
    return Estimate.within(one * settings.concurrency, "B", basis, 0.0, 0.01)


def _prompt_cache(settings: Settings) -> Estimate:
    most = settings.prompt_cache_bytes
    basis = Basis("the most it may take; nothing until prompts have been answered", {"limit": f"{most} B"}, "a setting")
    return Estimate(most, 0, most, "B", basis)


def _compute_buffer(architecture: Architecture, settings: Settings) -> Estimate:
    """One batch of activations and the attention mask; without flash attention also the scores of every head."""
    a, cells = architecture, _cells(settings)
    # Of a batch that no prompt fills, only what is touched takes memory.
    batch = min(UBATCH_TOKENS, settings.context - PEAK_ANSWER_TOKENS)
    hidden = 4 * (3 * a.feed_forward + 5 * a.hidden + 8)
    queries, keys = a.heads * a.key_length, a.kv_heads * a.key_length
    scores = 4 * (cells * (a.heads + 1) + 3 * a.hidden + 3 * queries + 2 * keys + 5)
    per_token = hidden + 2 * cells if settings.flash_attention else max(hidden, scores)
    basis = Basis(
        "batch × 4 B × (3 feed-forward + 5 hidden) + mask; without flash attention the scores of all heads",
        {"batch": f"{batch} tokens", "cells": f"{cells}"},
        "llama.cpp's own log for models of nine shapes, 2026-11-23",
    )
    return Estimate.within(batch * per_token, "B", basis, 0.15, 0.15)


def _vocabulary(architecture: Architecture) -> Estimate:
    tokens, merges = architecture.vocabulary, architecture.merges
    basis = Basis(
        f"tokens × {TOKEN_BYTES} B + merges × {MERGE_BYTES} B", {"tokens": f"{tokens}", "merges": f"{merges}"},
        "fitted to five vocabularies, 2026-11-23",
    )  # fmt: skip
    return Estimate.within(tokens * TOKEN_BYTES + merges * MERGE_BYTES, "B", basis, 0.1, 0.1)


def _program(form: str) -> Estimate:
    """The two forms differ: one carries a Python interpreter."""
    basis = Basis("program, libraries and the server's own buffers", {"form": form}, f"measured; {RECORD}")
    return Estimate.within(PROGRAM_BYTES[form], "B", basis, 0.25, 0.25)


@cache
def _version(binary: str) -> str:
    """What `llama-server --version` says, such as '8121 (a1b2c3d)'; 'unknown' when it says nothing of the kind."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    found = re.search(r"version: (.+)", done.stderr + done.stdout)
    return found[1].strip() if found else "unknown"


def _lookup_parameters(model: Model) -> int:
    """Parameters that a prompt's tokens only look up: the embedding; a tied head is used for the last token alone."""
    return model.architecture.vocabulary * model.architecture.hidden


UNCALIBRATED = "this machine has not been calibrated: run `workbench machine --calibrate`"
RECURRENT = "the state of recurrent layers is not modelled yet"
TOKEN_BYTES, MERGE_BYTES = 236, 197
PROGRAM_BYTES = {"xllamacpp": int(32.25 * MIB), "llama-server": int(14.25 * MIB)}
# Speed coefficients: one machine, two cores; the intervals say how little that is until the ledger has more.
SPEED_SOURCE = "fitted to the embedded model on one x86-64 machine (2 cores); wide until the ledger has this machine"
PREFILL_EFFICIENCY, PREFILL_INTERVAL = 0.44, (0.5, 1.0)
DECODE_EFFICIENCY, ATTENTION_EFFICIENCY, LAYER_S = 0.45, 0.19, 20e-6
DECODE_INTERVAL = (0.5, 1.0)
