"""Writes a model's weights in another container, in a process of its own: PyTorch stays out of whoever asked.

Run by path with one JSON request on standard input, a line; progress comes as JSON lines on standard output. Once the
input is closed nobody wants the answer any more: whoever asked is gone, also after kill -9. The libraries that own the
formats do the work: Transformers unpacks GGUF files and writes safetensors, ONNX Runtime GenAI builds graphs, gguf
rewrites GGUF files, CTranslate2 reads Whisper models. No code from a model's folder is run.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

TORCH_TYPES = {"FP32": "float32", "FP16": "float16", "BF16": "bfloat16"}

Report = Callable[[int, int], None]


def main() -> None:
    """Answer one request: what (a name in WAYS), source, target, and what that way needs."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is not the answer

    def report(done: int, total: int) -> None:
        print(json.dumps({"done": done, "total": total}), file=said, flush=True)

    request = json.loads(sys.stdin.readline())
    with suppress(OSError):  # Linux: be the first to go when memory runs out, before the notebook that asked
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with_who_asked, daemon=True).start()
    WAYS[request["what"]](request, report)


def _end_with_who_asked() -> None:
    os.read(0, 1)  # nothing more comes but the end; sys.stdin would hold a lock that the end of the program needs
    os._exit(1)


# -- safetensors -----------------------------------------------------------------------------------------------


def to_safetensors(request: dict[str, Any], report: Report) -> None:
    """A folder as Transformers reads it: config, weights in one type, tokenizer with its chat template."""
    torch, transformers = import_module("torch"), import_module("transformers")
    source, target = Path(request["source"]), Path(request["target"])
    folder, options = (source, {}) if source.is_dir() else (source.parent, {"gguf_file": source.name})
    report(0, 3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    report(1, 3)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, TORCH_TYPES[request["format"]]), trust_remote_code=False, **options
    )
    report(2, 3)
    _forget_quantization(model)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _forget_quantization(model: Any) -> None:
    """The weights were unpacked: what is written is not quantized, whatever the file was."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


# -- ONNX ------------------------------------------------------------------------------------------------------


def to_onnx(request: dict[str, Any], report: Report) -> None:
    """A folder as ONNX Runtime GenAI reads it, of a folder of safetensors: its model builder, as from a terminal."""
    report(0, 1)
    with tempfile.TemporaryDirectory() as cache:
        sys.argv = ["builder", "-i", request["source"], "-o", request["target"], "-p", request["precision"],
                    "-e", "cpu", "-c", cache, *request["options"]]  # fmt: skip
        runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__")
    report(1, 1)


# -- Whisper ---------------------------------------------------------------------------------------------------


def to_ctranslate(request: dict[str, Any], report: Report) -> None:
    """A folder for CTranslate2, of a Whisper as Transformers stores it: its own converter, weights as they are.

    faster-whisper takes 80 bands for granted, and fetches another model's tokenizer, where these two files are missing.
    """
    converters, transformers = import_module("ctranslate2.converters"), import_module("transformers")
    source, target = request["source"], Path(request["target"])
    report(0, 2)
    converters.TransformersConverter(source, load_as_float16=request["half"], trust_remote_code=False).convert(target)
    report(1, 2)
    (target / "preprocessor_config.json").write_text(json.dumps({"feature_size": request["mels"]}))
    if (Path(source) / "tokenizer.json").is_file():
        shutil.copy(Path(source) / "tokenizer.json", target)
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"))


# -- GGUF ------------------------------------------------------------------------------------------------------


def to_gguf(request: dict[str, Any], report: Report) -> None:
    """The same GGUF file with each tensor in the type named for it; everything else is copied."""
    gguf = import_module("gguf")
    reader = gguf.GGUFReader(request["source"])
    writer = gguf.GGUFWriter(request["target"], reader.get_field("general.architecture").contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            kind = field.types[0]
            writer.add_key_value(name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    writer.add_file_type(gguf.LlamaFileType[request["file_type"]])
    for tensor, data, kind in _requantized(gguf, reader, request["types"], report):
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _requantized(gguf: Any, reader: Any, types: dict[str, str], report: Report) -> Iterator[tuple[Any, Any, Any]]:
    for done, tensor in enumerate(reader.tensors):
        report(done, len(reader.tensors))
        kind = gguf.GGMLQuantizationType[types[tensor.name]]
        if kind == tensor.tensor_type:
            yield tensor, tensor.data, kind
        else:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            yield tensor, gguf.quants.quantize(values, kind), kind


WAYS = {"safetensors": to_safetensors, "onnx": to_onnx, "gguf": to_gguf, "ctranslate2": to_ctranslate}


if __name__ == "__main__":
    main()
