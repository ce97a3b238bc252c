"""What is special about the other apps: what they are sent, and how they are started."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.engines.apps.conftest import Serve, app_of, wanted
from workbench import engines
from workbench.engines.apps.contract import Wanted
from workbench.engines.apps.holding import hold
from workbench.errors import AppRefused, EngineUnavailable

LOOPBACK = ("--listen-host", "127.0.0.1")


def program(folder: Path, name: str, text: str) -> Path:
    """A program on PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_of_several_instances_in_lm_studio_the_one_with_most_context_is_used(serve: Serve) -> None:
    app, _ = serve("lm-studio", "loaded_before")
    model = app.find("deepseek-r1")
    assert (model.id, model.context) == ("deepseek-r1", 32768)
    assert [one.name for one in app.models()] == ["deepseek-r1", "deepseek-r1"], "models for embeddings are left out"


def test_lm_studio_is_told_the_key_of_its_documentation_once_it_wants_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LM_API_TOKEN", "secret")
    app, replay = serve("lm-studio")
    refusal = {"method": "GET", "path": "/api/v1/models", "unless_key": "Bearer secret", "status": 401, "json": {}}
    replay.exchanges.insert(0, refusal)
    assert app.running_version() == ""
    assert app.models()
    assert replay.keys == [("/lmstudio-greeting", ""), ("/api/v1/models", ""), ("/api/v1/models", "Bearer secret")]


def test_an_installed_lm_studio_is_not_started_and_says_how_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "lms", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    available = engines.get("lm-studio").available()
    assert (available.ok, available.reason) == (False, "LM Studio does not run.")
    assert available.fix == "Start it: lms server start"


def test_lm_studio_is_given_a_file_by_its_own_command(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, replay = serve("lm-studio")
    program(tmp_path, "lms", f'echo "$@" > {tmp_path}/said')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    new = {"type": "llm", "key": "little", "size_bytes": 4, "max_context_length": 128, "loaded_instances": []}
    listed = replay.exchanges[1]["json"]["models"]
    monkeypatch.setattr("subprocess.run", _then(lambda: listed.append(new)))
    assert app.add("little", tmp_path / "little.gguf").name == "little"
    said = (tmp_path / "said").read_text().split()
    assert said[:2] == ["import", str(tmp_path / "little.gguf")]
    assert "--symbolic-link" in said, "the file itself must stay where it is"


def _then(happens: object) -> object:
    import subprocess

    run = subprocess.run

    def both(*args: object, **options: object) -> object:
        done = run(*args, **options)  # type: ignore[call-overload]
        happens()  # type: ignore[operator]
        return done

    return both


def test_localai_gets_its_context_before_the_load_and_the_old_one_back(serve: Serve) -> None:
    app, replay = serve("localai")
    hold(app, wanted("localai"), lambda _: None).give_back()
    place = "/api/models/config-json/my-llama-model"
    assert replay.bodies("PATCH", place) == [{"context_size": 8192}, {"context_size": 4096}]
    order = [path for method, path, _ in replay.asked if method in ("PATCH", "POST")]
    assert order == [place, "/backend/load", "/v1/chat/completions", "/backend/shutdown", place]


def test_a_context_that_was_not_configured_is_none_again_afterwards(serve: Serve) -> None:
    app, replay = serve("localai")
    place = "/api/models/config-json/my-llama-model"
    before = {"method": "GET", "path": place, "when": "idle", "json": {"name": "my-llama-model"}}
    back = {"method": "PATCH", "path": place, "body": {"context_size": None}, "then": "idle", "json": {"success": True}}
    replay.exchanges[:0] = [before]
    replay.exchanges.append(back)
    hold(app, wanted("localai"), lambda _: None).give_back()
    assert replay.bodies("PATCH", place) == [{"context_size": 8192}, {"context_size": None}]


def test_a_configuration_is_set_back_after_a_load_that_failed(serve: Serve) -> None:
    app, replay = serve("localai", "load_failed")
    with pytest.raises(AppRefused):
        hold(app, wanted("localai"), lambda _: None)
    assert [one["context_size"] for one in replay.bodies("PATCH", "/api/models/config-json/my-llama-model")] == [
        8192, 4096,
    ]  # fmt: skip


def test_a_configuration_that_a_killed_deployment_left_behind_is_set_back_by_the_next(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, replay = serve("localai")
    killed = hold(app, wanted("localai"), lambda _: None)
    assert killed.share is not None
    os.close(killed.share._file)  # as the system does it
    replay.state = "configured"  # and LocalAI let go of a model that nobody used
    hold(type(app)(replay.address), wanted("localai"), lambda _: None).give_back()
    assert replay.bodies("PATCH", "/api/models/config-json/my-llama-model")[-1] == {"context_size": 4096}
    assert replay.state == "idle"


def test_a_configuration_that_somebody_changed_meanwhile_is_theirs(serve: Serve) -> None:
    app, replay = serve("localai")
    held = hold(app, wanted("localai"), lambda _: None)
    place = "/api/models/config-json/my-llama-model"
    replay.exchanges.insert(0, {"method": "GET", "path": place, "json": {"context_size": 32768}})
    held.give_back()
    assert replay.bodies("PATCH", place) == [{"context_size": 8192}]


def test_localai_is_started_with_its_page_and_keeps_its_files_out_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its page it tells and sets no configuration."""
    program(tmp_path, "local-ai", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MODELS_PATH", "/mine")
    start = app_of("localai").start(Wanted("m", 8192), 12345, "key")
    assert start is not None
    assert start.argv == (str(tmp_path / "local-ai"), "run", "--address", "127.0.0.1:12345")
    assert start.env["LOCALAI_CONTEXT_SIZE"] == "8192"
    assert start.env["LOCALAI_DATA_PATH"] == str(Path.home() / ".localai" / "data")
    assert "LOCALAI_MODELS_PATH" not in start.env, "the user has said where they are"


def test_textgen_holds_nothing_while_the_server_behind_it_does_not_run(serve: Serve) -> None:
    """It goes on naming a model whose load failed: seen."""
    app, replay = serve("text-generation-webui")
    assert app.is_loaded("Qwen_Qwen3-0.6B-Q4_K_M.gguf") is False
    replay.state = "failed"  # it names the model, and the server behind it does not answer
    assert [model.loaded for model in app.models()] == [False, False]


def test_textgen_is_started_from_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_of("text-generation-webui")
    assert app.start(Wanted("x.gguf", 512), 1, "") is None
    python = tmp_path / "portable_env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "server.py").touch()
    monkeypatch.setenv("TEXT_GENERATION_WEBUI_FOLDER", str(tmp_path))
    start = app.start(Wanted("x.gguf", 512), 12345, "")
    assert start is not None
    assert start.folder == str(tmp_path)
    assert start.argv == (str(python), "server.py", "--api", "--nowebui", *LOOPBACK, "--api-port", "12345")


def test_textgen_that_would_be_opened_to_everybody_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / "server.py").touch()
    flags = tmp_path / "user_data" / "CMD_FLAGS.txt"
    flags.parent.mkdir()
    monkeypatch.setenv("TEXT_GENERATION_WEBUI_FOLDER", str(tmp_path))
    flags.write_text("# --public-api\n--listen\n")
    start = app_of("text-generation-webui").start(Wanted("x.gguf", 512), 12345, "")
    assert start is not None and start.argv[4:6] == LOOPBACK, "what --listen alone would open"
    flags.write_text("--listen\n--public-api\n")
    available = engines.get("text-generation-webui").available()
    assert not available.ok
    assert "--public-api" in available.reason


def test_jan_lists_and_serves_through_its_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jan-v3.gguf"
    file.touch()
    listed = [
        {"id": "jan-v3-4b", "engine": "llamacpp", "model_path": str(file), "size_bytes": 7, "embedding": False},
        {
            "id": "sentence-transformer-mini",
            "engine": "llamacpp",
            "model_path": "x",
            "size_bytes": 1,
            "embedding": True,
        },
    ]
    program(tmp_path, "jan", f"echo '{json.dumps(listed)}'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    app = app_of("jan")
    (model,) = app.models()
    assert (model.name, model.bytes, model.path, model.loaded) == ("jan-v3-4b", 7, file, False)
    start = app.start(Wanted("jan-v3-4b", 4096, concurrency=2, threads=3), 12345, "")
    assert start is not None
    assert start.argv[1:] == ("serve", "jan-v3-4b", "--port=12345", "--ctx-size=8192", "--threads=3")
    assert start.env["LLAMA_ARG_HOST"] == "127.0.0.1"


def test_a_command_line_of_jan_of_another_version_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "jan", "echo jan 0.9.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    available = engines.get("jan").available()
    assert available.ok
    assert available.reason == "Jan 0.9.1 is here; what is known of it is from 0.7.8, 0.7.9."


def test_a_command_line_of_jan_that_serves_no_models_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "jan", "echo \"error: unrecognized subcommand 'models'\" >&2; exit 2")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(EngineUnavailable, match=r"told no models") as caught:
        app_of("jan").models()
    assert "0.7.8" in caught.value.fix
