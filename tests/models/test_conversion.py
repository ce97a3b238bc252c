"""Weights in another container: the same numbers, kept by what they were made of, never half of a file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import models
from workbench.errors import DoesNotFit, MissingExtra, NoSpace, UnsupportedModel, UsageError
from workbench.models import conversion, conversion_process, store

Writer = Callable[..., Path]


def _values(path: Path) -> dict[str, Any]:
    import gguf

    reader = gguf.GGUFReader(path)
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0"])
def test_a_file_in_another_type_holds_the_same_numbers(tiny: Path, name: str) -> None:
    model = models.get(tiny)
    made = models.get(models.convert(model, "gguf", name))
    assert (made.quantization, made.parameters, made.architecture) == (name, model.parameters, model.architecture)
    assert made.weight_bytes == models.in_format(model, name).weight_bytes
    assert (made.chat_template, made.licence) == (model.chat_template, model.licence)
    before, after = _values(tiny), _values(made.path)
    assert before.keys() == after.keys()
    loss = {"F32": 0.0, "F16": 1e-3, "BF16": 1e-2, "Q8_0": 0.0}[name]
    for tensor, values in before.items():
        np.testing.assert_allclose(after[tensor], values, rtol=loss, atol=loss)


def test_what_is_there_already_is_not_made_again(tiny: Path) -> None:
    model = models.get(tiny)
    said: list[str] = []
    first = models.convert(model, "gguf", "F16", progress=lambda done, total, what: said.append(what))
    assert said and set(said) == {"writing Tiny as gguf F16"}
    said.clear()
    assert models.convert(model, "gguf", "F16", progress=lambda *told: said.append(told[2])) == first
    assert said == []


def test_another_file_under_the_same_name_is_another_model(tiny: Path, write_gguf: Writer) -> None:
    before = models.convert(models.get(tiny), "gguf", "F16")
    write_gguf(tiny, layers=3)
    after = models.convert(models.get(tiny), "gguf", "F16")
    assert before != after
    assert models.get(after).architecture.layers == 3


def test_a_model_in_the_wanted_format_is_its_own_file(tiny: Path) -> None:
    model = models.get(tiny)
    assert models.convert(model, "gguf", "Q8_0") == tiny
    assert models.convert(models.in_format(model, "Q8_0"), "gguf", "Q8_0") == tiny


def test_cancelling_leaves_nothing(tiny: Path) -> None:
    def cancel(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        models.convert(models.get(tiny), "gguf", "F16", progress=cancel)
    left = [one for one in (conversion.folders.cache() / "converted").iterdir() if not one.name.endswith(".lock")]
    assert left == []
    assert models.convert(models.get(tiny), "gguf", "F16").is_file()


def test_a_process_that_the_system_ended_is_no_fault_of_the_model(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\nread request\necho 'Writing model shards: 0%' >&2\nkill -9 $$\n")
    worker.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(worker))
    numbers = r"ended by SIGKILL.* memory runs out: [\d.]+ KiB of weights, [\d.]+ GiB free now\. Close other programs"
    with pytest.raises(DoesNotFit, match=rf"Writing Tiny as gguf F16 failed: its process was {numbers}"):
        models.convert(models.get(tiny), "gguf", "F16")


def test_a_worker_ends_with_whoever_asked(tmp_path: Path) -> None:
    """It would load Transformers, and then complain of a folder that is not there."""
    asked = {"what": "safetensors", "source": str(tmp_path / "none"), "target": str(tmp_path / "made"), "format": "F"}
    program = Path(conversion_process.__file__).with_name("conversion_worker.py")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-I", str(program)], stdin=pipe, stdout=pipe, stderr=pipe) as worker:
        said, complaint = worker.communicate(json.dumps(asked).encode() + b"\n", timeout=20)  # and closes its input
    assert (worker.returncode, said, complaint) == (1, b"", b"")


def test_what_killed_attempts_left_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("made", "other"):
        (tmp_path / f".part-{name}-x1y2").mkdir()
        (tmp_path / f".part-{name}-x1y2" / "half").write_text("half")
    assert store.made_once(tmp_path / "made", lambda path: path.write_text("whole")).read_text() == "whole"
    assert sorted(one.name for one in tmp_path.iterdir()) == [".made.lock", ".part-other-x1y2", "made"]
    store.made_once(tmp_path / "made", lambda path: pytest.fail("it is there"))


def test_what_no_library_can_open_is_said_in_one_sentence(tiny: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"Writing Tiny as safetensors FP32 failed: .+") as caught:
        models.convert(models.get(tiny), "safetensors", "FP32")  # no attention keys: not even a small llama
    assert caught.value.fix and caught.value.details


def test_what_cannot_be_written_is_refused_with_what_can(tiny: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"cannot be written as gguf Q4_K_M.*F32, F16"):
        models.convert(models.get(tiny), "gguf", "Q4_K_M")
    with pytest.raises(UnsupportedModel, match="nothing"):
        models.convert(models.get(tiny), "clay", "FP32")
    with pytest.raises(UsageError, match="only described"):
        models.convert(models.describe("llama-3.1-8b"), "safetensors", "BF16")  # type: ignore[arg-type]


def test_a_missing_package_and_a_full_disk(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install"):
        models.convert(models.get(tiny), "gguf", "F32")
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(NoSpace, match="10 bytes"):
        models.convert(models.get(tiny), "gguf", "F32")
