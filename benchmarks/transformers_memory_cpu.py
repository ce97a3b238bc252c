"""Predicted against measured peak memory of Transformers on this CPU: small models with random weights, from files.

Each case runs in a process of its own, as a model would be used: the weights are loaded from a file in BF16, the
longest prompt is answered once, and the kernel's own count of the most that was resident is read. PSS, sampled from
outside, misses what lasts a few milliseconds, and is recorded beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workbench.engines.contract import PEAK_ANSWER_TOKENS, Settings
from workbench.engines.transformers import Transformers
from workbench.machine import PeakSampler, probe
from workbench.models.config import from_config
from workbench.models.formats import in_format

_LLAMA = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 8192}
SMALL = {**_LLAMA, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
         "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": True}  # fmt: skip
MIDDLE = {**_LLAMA, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16, "num_attention_heads": 16,
          "num_key_value_heads": 8, "vocab_size": 32000, "tie_word_embeddings": False}  # fmt: skip
QWEN = {**MIDDLE, "model_type": "qwen3", "head_dim": 128, "hidden_size": 896, "vocab_size": 64000,
        "tie_word_embeddings": True}  # fmt: skip
TINY = {**SMALL, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4,
        "vocab_size": 256}  # fmt: skip
#: config.json, type of the weights in use, prompt tokens, requests at once, attention.
CASES = {
    "Llama-like 0.05 M, BF16: the program alone": (TINY, "BF16", 64, 1, "sdpa"),
    "Llama-like 85 M, BF16": (SMALL, "BF16", 1024, 1, "sdpa"),
    "Llama-like 85 M, FP32 from a file in BF16": (SMALL, "FP32", 1024, 1, "sdpa"),
    "Llama-like 254 M, BF16": (MIDDLE, "BF16", 2048, 1, "sdpa"),
    "Llama-like 254 M, BF16, scores kept": (MIDDLE, "BF16", 1024, 1, "eager"),
    "Qwen3-like 277 M, BF16, four requests": (QWEN, "BF16", 512, 4, "sdpa"),
}


def run() -> dict[str, Any]:
    """Per case: predicted and measured bytes and the signed error as a fraction of the measured."""
    return {name: _case(*case) for name, case in CASES.items()}


def _case(config: dict[str, Any], kind: str, prompt: int, batch: int, attention: str) -> dict[str, Any]:
    model = in_format(from_config(config, name="random", source=__name__), kind)
    settings = Settings("random", kind, prompt + PEAK_ANSWER_TOKENS, batch, flash_attention=attention != "eager")
    predicted = Transformers().memory(model, settings, probe())[0]
    total = predicted.total
    with TemporaryDirectory() as folder:
        spec = {"folder": folder, "kind": kind, "prompt": prompt, "batch": batch, "attention": attention}
        _child("--save", {"folder": folder, "config": config})
        peak, sampler = _child("--answer", spec)
    return {
        "parameters": model.parameters, "prompt_tokens": prompt, "requests": batch, "attention": attention,
        "parts_bytes": {name: part.value for name, part in predicted.parts.items()},
        "predicted_bytes": total.known(), "low_bytes": total.low, "high_bytes": total.high,
        "measured_bytes": peak, "method": "peak RSS (VmHWM) of the process",
        "sampled_bytes": sampler.peak_bytes, "sampled": f"{sampler.method}, {sampler.samples} readings",
        "error": total.known() / peak - 1, "inside_interval": total.contains(peak),
    }  # fmt: skip


def _child(what: str, spec: dict[str, Any]) -> tuple[int, PeakSampler]:
    """Run this module in a process of its own; what it says it took, and what was seen from outside."""
    command = [sys.executable, "-m", "benchmarks.transformers_memory_cpu", what, json.dumps(spec)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with PeakSampler(child.pid, interval_s=0.005) as sampler:
        said, errors = child.communicate()
    if child.returncode:
        raise RuntimeError(errors[-2000:])
    return int(said.split()[-1]), sampler


def _save(spec: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**spec["config"])
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(Path(spec["folder"]))


def _answer(spec: dict[str, Any]) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if spec["kind"] == "BF16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(spec["folder"], dtype=dtype, attn_implementation=spec["attention"])
    prompt = torch.randint(0, model.config.vocab_size, (spec["batch"], spec["prompt"]))
    with torch.inference_mode():
        model.eval().generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=PEAK_ANSWER_TOKENS,
            min_new_tokens=PEAK_ANSWER_TOKENS, do_sample=False, pad_token_id=0,
        )  # fmt: skip


if __name__ == "__main__":
    {"--save": _save, "--answer": _answer}[sys.argv[1]](json.loads(sys.argv[2]))
    # Not ru_maxrss, which a child takes over from the process that started it.
    print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
