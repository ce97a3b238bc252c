"""Help, JSON and exit status: 0 for success, 1 for a plain failure, 2 for wrong use; never a traceback."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Done
from workbench import cli, engines, models
from workbench.cli import running
from workbench.machine import Machine


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command by name."""
    (group,) = (action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(group.choices)


@pytest.mark.parametrize("name", commands())
def test_every_command_explains_itself(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"usage: workbench {name}")
    assert commands()[name].description in " ".join(done.out.split())
    assert "--json" in done.out


def test_the_help_names_every_command(command: Command) -> None:
    done = command("--help")
    assert done.status == 0
    assert all(f"    {name} " in done.out or f"    {name}\n" in done.out for name in commands())


# -- what is here ----------------------------------------------------------------------------------------------


def test_models(command: Command) -> None:
    done = command("models", "--json")
    assert [entry["name"] for entry in done.json] == [entry.name for entry in models.known()]
    assert {tuple(entry) for entry in done.json} == {("name", "title", "task", "licence")}
    shown = command("models")
    assert (done.status, shown.status) == (0, 0)
    assert "smollm2-135m-instruct" in shown.out
    assert "Apache-2.0" in shown.out


def test_engines(command: Command) -> None:
    done = command("engines", "--json")
    known = [name for name in (*engines.ENGINES, *engines.APPS, *engines.IMAGE_APPS) if name != "fake"]
    assert [entry["name"] for entry in done.json] == known
    assert {tuple(entry) for entry in done.json} == {(
        "name", "ok", "version", "reason", "fix", "title", "tasks", "formats", "starts", "environment", "last_tested",
    )}  # fmt: skip
    shown = command("engines").out
    assert "llama.cpp" in shown
    assert "tensorrt-llm: TensorRT-LLM needs an NVIDIA GPU, and none was found here." in shown
    assert "vllm: vLLM for CPUs is not installed" in shown


def test_an_environment_is_installed_only_when_the_user_agrees(command: Command) -> None:
    done = command("engines", "install", "vllm")
    assert done.status == 2
    assert "to download" in done.out  # the size comes first
    assert "Say --yes" in done.err
    done = command("engines", "install", "tensorrt-llm", "--yes")
    assert (done.status, done.out) == (1, "")
    assert "needs an NVIDIA GPU" in done.err
    assert command("engines", "remove", "vllm").out == "vLLM for CPUs was not installed\n"
    assert command("engines", "remove", "vllm", "--json").json == {
        "recipe": "vllm-cpu", "engine": "vllm", "freed_bytes": 0,
    }  # fmt: skip
    assert "no environment called 'vlm'" in command("engines", "remove", "vlm").err


def test_machine(command: Command) -> None:
    done = command("machine", "--json")
    assert done.json["calibration"] is None  # looking measures nothing
    assert {"fingerprint", "hardware_class", "cpu", "memory", "disk", "accelerators"} <= set(done.json)
    assert "Measured not yet" in command("machine").out
    assert "/proc/cpuinfo" in command("machine", "--raw").json


def test_estimate(command: Command, tiny: Path, calm: Machine) -> None:
    done = command("estimate", tiny, "--engine", "fake", "--json")
    assert done.status == 0
    assert list(done.json) == [
        "id", "created", "model", "model_path", "quantization", "engine", "engine_version", "hardware", "machine",
        "devices", "settings", "workload", "memory", "calibrated_by_ledger", "verdict", "fits",
        "predictions", "decode_bound", "reasons", "refused",
    ]  # fmt: skip
    assert (done.json["model"], done.json["engine"], done.json["settings"]["context"]) == ("Tiny", "fake", 128)
    shown = command("estimate", tiny, "--engine", "fake")
    assert f"Test CPU: {calm.cpu.physical_cores} cores" in shown.out
    assert "Predicted (90 % interval)" in shown.out
    assert "    memory allows " in shown.out


@pytest.mark.usefixtures("calm")
def test_estimate_takes_its_options(command: Command, tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    model = write_gguf(tmp_path / "roomy.gguf", keys={"context_length": 512})
    settings = command("estimate", model, "--engine", "fake", "--context", 200, "--concurrency", 3, "--json").json[
        "settings"
    ]
    assert (settings["context"], settings["concurrency"]) == (200, 3)


@pytest.fixture
def kept_here(monkeypatch: pytest.MonkeyPatch, embedded_model_path: Path) -> str:
    """The name of a model whose file is in the cache of this computer."""
    monkeypatch.setattr("workbench.models.assets.cached", lambda asset: embedded_model_path)
    return "smollm2-135m-instruct"


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize(
    ("words", "format_name"),
    [
        ((), "Q4_1"),
        (("--engine", "onnx-runtime"), "FP32"),
        (("--engine", "transformers"), "BF16"),
        (("--format", "Q4_K_M"), "Q4_K_M"),
        (("--device", "RTX 3090"), "Q4_K_M"),
    ],
)
def test_estimate_predicts_the_file_that_would_be_started(
    command: Command, kept_here: str, words: tuple[str, ...], format_name: str
) -> None:
    found = command("estimate", kept_here, *words, "--json").json
    assert found["quantization"] == format_name
    if words[:1] != ("--device",) and format_name != "Q4_K_M":
        options = cli._parsed(["deploy", kept_here, *words])
        assert running.make_plan(options).model.quantization == format_name


@pytest.mark.usefixtures("calm")
def test_plan_marks_what_can_be_started_at_once(command: Command, kept_here: str) -> None:
    plans = command("plan", kept_here, "--json").json["plans"]
    here = {(plan["engine"], plan["quantization"]) for plan in plans if plan["here"]}
    assert ("llama.cpp", "Q4_1") in here and ("llama.cpp", "Q8_0") not in here
    shown = command("plan", kept_here, "--engine", "llama.cpp").out
    assert " here " in shown and "here: can be started at once" in shown
    away = command("plan", kept_here, "--device", "RTX 3090", "--engine", "llama.cpp")
    assert " here " not in away.out


def test_plan_ranks_what_runs_and_refuses_the_rest(command: Command, calm: Machine) -> None:
    assert calm
    done = command("plan", "llama-3.1-8b", "--device", "RTX 3060", "--engine", "llama.cpp", "--json")
    assert list(done.json) == ["model", "rule", "plans", "refused"]
    fits = {plan["settings"]["devices"] == [0] and plan["verdict"] for plan in done.json["plans"]}
    assert "fits" in fits
    shown = command("plan", "llama-3.1-8b", "--device", "RTX 3060", "--engine", "llama.cpp").out
    assert "GeForce RTX 3060" in shown
    assert "tok/s" in shown
    assert "  memory allows\n" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--device", "RTX 4099"), "There is no device or instance called 'RTX 4099'. Did you mean"),
        (("--device", "A100"), "'A100' can be more than one accelerator"),
        (("--device", "RTX 3090", "--count", "0"), "0 devices were asked for"),
        (("--count", "2"), "Say which with --device"),
        (("--device", "RTX 3090", "--format", "Q4_K_X"), "no format called 'Q4_K_X'"),
        (("--device", "RTX 3090", "--context", "9999999"), "too large"),
        (("--device", "M3 Max 40-core"), "shares the main memory"),
    ],
)
def test_a_machine_that_cannot_be(command: Command, calm: Machine, words: tuple[str, ...], said: str) -> None:
    assert calm
    for name in ("plan", "estimate"):
        done = command(name, "llama-3.1-8b", *words)
        assert (done.status, done.out) == (2, "")
        assert said in done.err


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lossy",), "--lossy goes with --for"),
        (("--for", "chat", "--device", "X"), "Leave out --device."),
        (("--for", "chat", "--concurrency", "0"), "Leave out --concurrency."),
        (("--for", "chat", "--format", "BF16", "--count", "2"), "Leave out --count, --format."),
        (("--for", "chat", "--engine", "nope"), "There is no engine called 'nope'."),
        (("--for", "chat", "--context", "-3"), "A context of -3 tokens is too small"),
        (("--for", "tea"), "There is no use called 'tea'."),
        (("--concurrency", "0"), "A concurrency of 0 was asked for."),
    ],
)
def test_an_option_of_a_plan_without_effect(command: Command, tiny: Path, words: tuple[str, ...], said: str) -> None:
    done = command("plan", tiny, *words)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


@pytest.mark.usefixtures("calm")
def test_a_setting_of_one_engine_is_refused_for_others(command: Command, tiny: Path) -> None:
    for words in (("--cache-type", "bf16"), ("--no-flash-attention",)):
        done = command("deploy", tiny, "--engine", "fake", *words)
        assert done.status == 2
        assert "are settings of llama.cpp, and Fake engine" in done.err


def test_settings_of_attention_reach_the_plan(calm: Machine, embedded_model_path: Path) -> None:
    words = [
        "deploy",
        str(embedded_model_path),
        "--engine",
        "llama.cpp",
        "--cache-type",
        "bf16",
        "--no-flash-attention",
    ]
    settings = running.make_plan(cli._parsed(words)).settings
    assert (settings.cache_type, settings.flash_attention) == ("bf16", False)


@pytest.mark.parametrize("size", ["nan", "-1", "0", "much"])
def test_a_memory_that_cannot_be(command: Command, size: str) -> None:
    done = command("estimate", "llama-3.1-8b", "--device", "RTX 3090", f"--memory-gib={size}")
    assert (done.status, "is no size" in done.err) == (2, True)


@pytest.mark.usefixtures("calm")
def test_a_model_trained_for_too_little(command: Command, tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    model = write_gguf(tmp_path / "short.gguf", keys={"context_length": 127})
    done = command("plan", model, "--engine", "fake")
    assert (done.status, done.out) == (1, "")
    assert "Tiny has a context of 127 tokens. At least 128 are needed." in done.err


# -- which version ---------------------------------------------------------------------------------------------

VERSION = f"workbench {metadata.version('open-model-workbench')}\n"


def test_version(command: Command) -> None:
    assert command("--version") == Done(0, VERSION, "")


def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "workbench", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")


# -- wrong use -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["", "plann", "plan", "logs", "plan x --context many", "tour --x"])
def test_words_that_are_no_command(command: Command, words: str) -> None:
    done = command(*words.split())
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("usage: workbench")


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("run", "little", "--engine", "fake", "Say hi"), "prompt", "Say hi"),
        (("run", "little", "Say hi", "--engine", "fake"), "prompt", "Say hi"),
        (("tour", "--json", "little"), "model", "little"),
        (("stop", "--json", "one"), "deployment", "one"),
    ],
)
def test_the_last_argument_may_follow_options(words: tuple[str, ...], name: str, value: str) -> None:
    """argparse does not look for one that may be left out once it has seen an option."""
    assert getattr(cli._parsed(words), name) == value


@pytest.mark.parametrize("words", ["run m hi --engine fake ho", "run m --engine fake Say hi", "run m --frob", "ps one"])
def test_what_no_command_takes_is_refused_with_the_usage_of_this_one(command: Command, words: str) -> None:
    name, *rest = words.split()
    done = command(name, *rest)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"usage: workbench {name} ")
    assert "error: unrecognized arguments: " in done.err


@pytest.mark.parametrize("name", ["plan", "run", "deploy", "measure", "tour"])
def test_an_unknown_model_meets_the_nearest_name(command: Command, calm: Machine, name: str) -> None:
    assert calm
    done = command(name, "smollm3-135m-instruct", *(["hello"] if name == "run" else []), "--json")
    assert (done.status, done.out) == (2, "")
    assert "There is no model called 'smollm3-135m-instruct'. Did you mean smollm2-135m-instruct" in done.err


@pytest.mark.usefixtures("calm")
def test_a_folder_as_a_model(command: Command, tiny: Path) -> None:
    done = command("plan", tiny.parent, "--json")
    assert (done.status, done.out) == (2, "")
    assert f"{tiny.parent} is a folder. Give one of the files inside: tiny.gguf." in done.err


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--context", "129", "129 tokens is too large; Tiny was trained for 128"),
        ("--context", "127", "Ask for 128."),
        ("--concurrency", "0", "concurrency of 0"),
        ("--engine", "fakr", "Did you mean fake?"),
    ],
)
def test_a_value_that_cannot_be(command: Command, tiny: Path, option: str, value: str, words: str) -> None:
    done = command("plan", tiny, *([] if option == "--engine" else ["--engine", "fake"]), option, value)
    assert (done.status, done.out) == (2, "")
    assert words in done.err


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("threads", ["0", "99"])
def test_threads_that_cannot_be(command: Command, tiny: Path, threads: str) -> None:
    done = command("measure", tiny, "--engine", "fake", "--threads", threads)
    assert (done.status, done.out) == (2, "")
    assert f"{threads} threads were asked for" in done.err


@pytest.mark.usefixtures("calm")
def test_a_conversation_is_not_json(command: Command, tiny: Path, home: Path) -> None:
    done = command("run", tiny, "--engine", "fake", "--json")
    assert (done.status, done.out) == (2, "")
    assert done.err == "workbench: --json needs a prompt. Give one, or leave --json out to chat.\n"
    assert not (home / "data" / "ledger.sqlite").exists()  # nothing was started


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((" ", "--max-tokens", 0), "max_tokens is 0. Choose a number between 1 and"),
        (("hi", "--temperature", 99), "temperature is 99.0. Choose a number between 0 and 2."),
        (("",), "no message has any text. Ask something."),
        (("--top-p", 2), "top_p is 2.0"),
    ],
)
def test_a_question_that_cannot_be_asked_starts_nothing(
    command: Command, tiny: Path, home: Path, words: tuple[object, ...], said: str
) -> None:
    done = command("run", tiny, *words, "--engine", "fake")
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert not (home / "data" / "ledger.sqlite").exists()


@pytest.mark.usefixtures("calm")
@pytest.mark.parametrize("words", [("transcribe", __file__, "--model"), ("imagine", "a cat", "--model")])
def test_a_model_of_another_kind_starts_nothing(
    command: Command, tiny: Path, home: Path, words: tuple[str, ...]
) -> None:
    done = command(*words, tiny, "--engine", "fake")
    assert (done.status, done.out) == (2, "")
    assert "Tiny answers in text. Use `workbench run Tiny QUESTION`, in Python `chat`." in done.err
    assert not (home / "data" / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [(("run", "whisper-tiny.en", "Hi"), "whisper-tiny.en transcribes."),
     (("run", "icons", "Hi"), "icons makes pictures."),
     (("imagine", "a cat", "--model", "smollm2-135m-instruct"), "answers in text."),
     (("evaluate", "icons", "--run-generated-code"), "icons makes pictures.")],
)  # fmt: skip
def test_a_known_model_of_another_kind_is_not_even_fetched(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("workbench.models.get", lambda *_, **__: pytest.fail("fetched"))
    done = command(*words)
    assert (done.status, done.out) == (2, "")
    assert said in done.err


def test_stop_wants_to_know_what(command: Command) -> None:
    for argv in (["stop"], ["stop", "one", "--all"]):
        done = command(*argv)
        assert (done.status, done.out) == (2, "")
        assert "Name one deployment, or say --all. `workbench ps` lists them." in done.err


@pytest.mark.parametrize("name", ["stop", "logs"])
def test_a_deployment_that_does_not_run(command: Command, name: str) -> None:
    done = command(name, "nobody")
    assert (done.status, done.out) == (2, "")
    assert "'nobody'" in done.err
    assert "Known: ." not in done.err


# -- plain failures --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("calm")
def test_a_damaged_file(command: Command, tiny: Path) -> None:
    os.truncate(tiny, tiny.stat().st_size // 2)
    done = command("plan", tiny)
    assert (done.status, done.out) == (1, "")
    assert "not a sound GGUF file" in done.err


def test_a_model_that_does_not_fit(
    command: Command, calm: Machine, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    full = replace(calm, memory=replace(calm.memory, available_bytes=1000))
    monkeypatch.setattr("workbench.planning.language.calibrate", lambda _: full)
    done = command("run", tiny, "hello", "--engine", "fake")
    assert (done.status, done.out) == (1, "")
    assert "1000 B of memory are available" in done.err
    assert command("ps", "--json").json == []


def test_an_interrupted_command(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "known", interrupt)
    done = command("models")
    assert (done.status, done.out) == (130, "")
    assert "interrupted" in done.err


def test_a_reader_that_goes_away() -> None:
    """`workbench models | head -0`: no complaint."""
    running = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout
    running.stdout.close()
    assert running.stderr
    complaint = running.stderr.read()
    running.stderr.close()
    assert running.wait() in (0, 1)
    assert complaint == ""


def test_a_home_that_cannot_be_used(command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(tiny))  # a file
    for argv in (["ps"], ["ledger"], ["machine"]):
        done = command(*argv)
        assert (done.status, done.out) == (2, "")
        assert "WORKBENCH_HOME" in done.err
    monkeypatch.undo()


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http"])
@pytest.mark.parametrize("name", ["deploy", "dashboards"])
def test_a_port_that_cannot_be(name: str, port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([name, *(["little"] if name == "deploy" else []), f"--port={port}"])
    assert caught.value.code == 2
    assert "is no port; ports are 1 to 65535" in capsys.readouterr().err
