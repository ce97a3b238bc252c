"""Predicted against measured memory of Transformers on a GPU, models with random weights.

    python benchmarks/transformers_memory_gpu.py --predict [FILE]     writes the predictions: needs the workbench
    python benchmarks/transformers_memory_gpu.py --measure [FILE]     measures them: needs only PyTorch and Transformers

Predictions are committed before anything is measured. Each case runs in a process of its own, as a model would be
used: the model is made on the device in BF16, a prompt is answered once. What PyTorch's own counter shows at its peak
is compared with the prediction without the driver's context; what nvidia-smi shows is recorded beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PREDICTIONS = HERE / "predictions" / "transformers_memory_gpu.json"
RECORD = HERE.parent / "workbench" / "catalog" / "records" / "transformers_memory_gpu.json"
GIB = 2**30

_LLAMA = {"model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 131072}
_QWEN2 = {"model_type": "qwen2", "hidden_act": "silu", "rms_norm_eps": 1e-6, "max_position_embeddings": 32768}


_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
          "vocab_size")  # fmt: skip


def _shape(*sizes: int) -> dict[str, int]:
    return dict(zip(_SIZES, sizes, strict=True))


#: name, config.json, prompt tokens, requests at once. Fields as in the models' own config.json.
CASES: tuple[tuple[str, dict[str, Any], int, int], ...] = (
    ("Llama-3.2-1B", {**_LLAMA, **_shape(2048, 8192, 16, 32, 8, 128256), "head_dim": 64, "tie_word_embeddings": True},
     16384, 1),
    ("Qwen2.5-1.5B", {**_QWEN2, **_shape(1536, 8960, 28, 12, 2, 151936), "tie_word_embeddings": True}, 4096, 4),
    ("Qwen2.5-3B", {**_QWEN2, **_shape(2048, 11008, 36, 16, 2, 151936), "tie_word_embeddings": True}, 8192, 1),
    ("Qwen3-4B", {**_QWEN2, "model_type": "qwen3", **_shape(2560, 9728, 36, 32, 8, 151936), "head_dim": 128,
                  "tie_word_embeddings": True}, 2048, 1),
    ("Qwen2.5-7B", {**_QWEN2, **_shape(3584, 18944, 28, 28, 4, 152064), "tie_word_embeddings": False}, 16384, 1),
    ("Llama-3.1-8B", {**_LLAMA, **_shape(4096, 14336, 32, 32, 8, 128256), "tie_word_embeddings": False}, 8192, 1),
    ("Mistral-7B-v0.1", {**_LLAMA, "model_type": "mistral", **_shape(4096, 14336, 32, 32, 8, 32000),
                         "sliding_window": 4096, "tie_word_embeddings": False}, 12288, 1),
    ("OLMoE-1B-7B", {**_LLAMA, "model_type": "olmoe", **_shape(2048, 1024, 16, 16, 16, 50304), "num_experts": 64,
                     "num_experts_per_tok": 8, "tie_word_embeddings": False}, 4032, 1),
)  # fmt: skip


# -- predicting ------------------------------------------------------------------------------------------------


def predict(path: Path) -> None:
    """Write what the workbench predicts for every case."""
    from workbench.engines.contract import PEAK_ANSWER_TOKENS

    cases = [_predicted(*case, PEAK_ANSWER_TOKENS) for case in CASES]
    about = {"what": "predictions for benchmarks/transformers_memory_gpu.py, written before any measurement",
             "date": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**about, "cases": cases}, indent=1) + "\n")


def _predicted(name: str, config: dict[str, Any], prompt: int, batch: int, answer: int) -> dict[str, Any]:
    from workbench.engines.contract import Settings
    from workbench.engines.transformers_memory import Load, torch_parts
    from workbench.evidence import Breakdown
    from workbench.models.config import from_config

    model = from_config(config, name=name, source="benchmarks/transformers_memory_gpu.py")
    settings = Settings(name, "BF16", prompt + answer, concurrency=batch, devices=(0,))
    parts = torch_parts(model, Load(prompt, answer, batch), settings)[0]
    total = Breakdown("device", parts).total
    return {
        "name": name, "config": config, "prompt_tokens": prompt, "answer_tokens": answer, "requests": batch,
        "parameters": model.parameters, "parts_bytes": {name: part.value for name, part in parts.items()},
        "predicted_bytes": total.known(), "low_bytes": total.low, "high_bytes": total.high,
    }  # fmt: skip


# -- measuring: nothing of the workbench from here on ----------------------------------------------------------


def measure(path: Path, record: Path, device: str) -> None:
    """Measure every case of a file of predictions in a process of its own and write the record."""
    cases = json.loads(path.read_text())["cases"]
    results = [_compared(case, _in_child(case, device)) for case in cases]
    about = {"record": "transformers_memory_gpu", "date": datetime.now(UTC).isoformat(timespec="seconds")}
    record.write_text(json.dumps({**about, **_machine(device), "result": results}, indent=1) + "\n")
    for result in results:
        print(_line(result), flush=True)


def _in_child(case: dict[str, Any], device: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--one", json.dumps(case), "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def answer_once(case: dict[str, Any], device: str) -> dict[str, Any]:
    """Make the model with random weights, answer one prompt, and read the counters."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**case["config"])
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    loaded = _allocated(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # making random numbers is no part of using a model
    prompt = torch.randint(0, config.vocab_size, (case["requests"], case["prompt_tokens"]), device=device)
    with torch.inference_mode():
        model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=case["answer_tokens"],
            min_new_tokens=case["answer_tokens"], do_sample=False, pad_token_id=0,
        )  # fmt: skip
    return {
        "loaded_bytes": loaded, "peak_bytes": _allocated(device), "reserved_bytes": _reserved(device),
        "process_bytes_nvidia_smi": _nvidia_smi() if device == "cuda" else None,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }  # fmt: skip


def _allocated(device: str) -> int:
    """The peak of PyTorch's counter; on a CPU, which has none, of the process."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def _reserved(device: str) -> int | None:
    if device != "cuda":
        return None
    import torch

    return torch.cuda.max_memory_reserved()


def _nvidia_smi() -> int | None:
    """What the driver says this process holds, its context included; in a container, all that is used."""
    for query in ("--query-compute-apps=pid,used_memory", "--query-gpu=index,memory.used"):
        command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            number, _, used = (word.strip() for word in line.partition(","))
            if used.isdigit() and (number == str(os.getpid()) or "gpu" in query):
                return int(used) * 2**20
    return None


def _machine(device: str) -> dict[str, Any]:
    import torch
    import transformers

    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    return {"device": name, "packages": {"torch": torch.__version__, "transformers": transformers.__version__}}


def _compared(case: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in case.items() if key != "config"}
    if "failed" in found:
        return {**kept, **found}
    error = case["predicted_bytes"] / found["peak_bytes"] - 1
    inside = case["low_bytes"] <= found["peak_bytes"] <= case["high_bytes"]
    return {**kept, "measured": found, "error": error, "inside_interval": inside}


def _line(result: dict[str, Any]) -> str:
    if "failed" in result:
        return f"{result['name']}: {result['failed']}"
    predicted, measured = result["predicted_bytes"] / GIB, result["measured"]["peak_bytes"] / GIB
    return f"{result['name']}: predicted {predicted:.2f} GiB, measured {measured:.2f} GiB, {result['error']:+.1%}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predict", nargs="?", type=Path, const=PREDICTIONS)
    parser.add_argument("--measure", nargs="?", type=Path, const=PREDICTIONS)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(answer_once(json.loads(chosen.one), chosen.device)))
    elif chosen.predict:
        predict(chosen.predict)
    elif chosen.measure:
        measure(chosen.measure, chosen.record, chosen.device)
    else:
        parser.error("say --predict or --measure")


if __name__ == "__main__":
    main()
