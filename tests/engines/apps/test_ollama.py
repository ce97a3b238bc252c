"""What is special about Ollama: the variant that carries the context, and files given to it."""

from __future__ import annotations

from pathlib import Path

import pytest

import workbench
from tests.engines.apps.conftest import Serve, app_of, wanted
from workbench.engines.apps.contract import Wanted
from workbench.engines.apps.holding import hold
from workbench.errors import AssetUnavailable, UsageError


def test_the_context_is_a_parameter_of_a_variant_because_the_openai_interface_cannot_say_it(serve: Serve) -> None:
    app, replay = serve("ollama")
    hold(app, wanted("ollama"), lambda _: None).give_back()
    (made,) = replay.bodies("POST", "/api/create")
    assert (made["from"], made["parameters"]) == ("llama3.2:latest", {"num_ctx": 8192})
    assert made["model"] == "llama3.2:latest-workbench-8192"
    assert replay.bodies("POST", "/v1/chat/completions")[0]["model"] == made["model"]
    assert replay.bodies("DELETE", "/api/delete") == [{"model": made["model"]}], "nothing of ours stays in its list"


def test_a_model_that_is_loaded_is_joined_with_its_own_context_so_that_it_is_not_loaded_again(serve: Serve) -> None:
    app, replay = serve("ollama", "loaded_before")
    hold(app, wanted("ollama"), lambda _: None).give_back()
    (made,) = replay.bodies("POST", "/api/create")
    assert made["parameters"] == {"num_ctx": 16384}
    assert replay.bodies("DELETE", "/api/delete") == [{"model": made["model"]}]


def test_a_model_that_is_loaded_is_neither_pinned_nor_unloaded(serve: Serve) -> None:
    """Only its own name is listed, also after a request for the variant."""
    app, replay = serve("ollama", "loaded_before")
    held = hold(app, wanted("ollama"), lambda _: None)
    assert held.context == 16384
    assert app.lost(held.served, wanted("ollama")) == ""
    held.give_back()
    assert not replay.bodies("POST", "/api/generate"), "how long it stays is up to whoever loaded it"


def test_what_somebody_loaded_meanwhile_of_the_same_weights_is_not_unloaded(serve: Serve) -> None:
    app, replay = serve("ollama")
    held = hold(app, wanted("ollama"), lambda _: None)
    theirs = {"name": "llama3.2:latest", "model": "llama3.2:latest", "context_length": 4096}
    replay.exchanges.insert(0, {"method": "GET", "path": "/api/ps", "json": {"models": [theirs]}})
    assert app.lost(held.served, wanted("ollama")) == "", "our next request has our context again"
    replay.asked.clear()
    held.give_back()
    assert not replay.bodies("POST", "/api/generate")
    assert replay.bodies("DELETE", "/api/delete") == [{"model": held.served}]


def test_a_variant_that_somebody_deleted_is_no_error(serve: Serve) -> None:
    app, replay = serve("ollama")
    held = hold(app, wanted("ollama"), lambda _: None)
    gone = {"method": "DELETE", "path": "/api/delete", "status": 404, "json": {"error": "model not found"}}
    replay.exchanges.insert(0, gone)
    held.give_back()


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "mine", "kimi-k2:cloud"])
def test_what_is_computed_in_its_cloud_is_refused_with_the_reason(name: str, serve: Serve) -> None:
    app, replay = serve("ollama")
    with pytest.raises(UsageError, match="every prompt would leave this computer"):
        app.find(name)
    with pytest.raises(UsageError, match="every prompt would leave this computer"):
        workbench.plan(name, engine="ollama")
    if "cloud" in name:
        with pytest.raises(UsageError, match="every prompt would leave this computer"):
            app.pull(name, lambda *_: None)
    assert not [one.name for one in app.models() if "gpt-oss" in one.name or "mine" in one.name]
    assert not replay.bodies("POST", "/api/create")


def test_variants_are_not_listed_as_models(serve: Serve) -> None:
    app, replay = serve("ollama")
    listed = replay.exchanges[1]["json"]["models"]
    listed.append({**listed[1], "name": "llama3.2:latest-workbench-8192", "model": "llama3.2:latest-workbench-8192"})
    assert [model.name for model in app.models()] == ["deepseek-r1:latest", "llama3.2:latest"]


def test_a_name_without_a_tag_means_latest(serve: Serve) -> None:
    app, _ = serve("ollama")
    model = app.find("llama3.2")
    assert (model.name, model.bytes, model.most_context) == ("llama3.2:latest", 2019393189, 131072)
    assert (model.architecture, model.quantization) == ("llama", "Q4_K_M")
    assert model.path is None, "a file that is not on this computer"


def test_the_file_of_a_model_is_read_from_its_modelfile(serve: Serve, tmp_path: Path) -> None:
    app, replay = serve("ollama")
    blob = tmp_path / "sha256-2007"
    blob.write_bytes(b"GGUF")
    shown = next(one for one in replay.exchanges if one["path"] == "/api/show")
    shown["json"]["modelfile"] = f"# FROM llava:latest\nFROM {blob}\nPARAMETER num_ctx 4096\n"
    assert app.find("llama3.2").path == blob


def test_a_file_is_sent_by_its_digest_and_made_a_model(serve: Serve, tmp_path: Path) -> None:
    app, replay = serve("ollama")
    replay.exchanges[1]["json"]["models"].append({"name": "little:latest", "model": "little:latest", "digest": "l"})
    path = tmp_path / "little.gguf"
    path.write_bytes(b"GGUF")
    digest = "sha256:a8dd3fed8a5e7b2b78f1f2d4b7f4f1f4e5e7b1c4d8c5c3a9a0f0d1e2f3a4b5c6"
    assert app.add("little", path).name == "little:latest"
    sent = [
        where.rpartition("/")[2] for method, where, _ in replay.asked if (method, where[:11]) == ("POST", "/api/blobs/")
    ]
    (made,) = [body for body in replay.bodies("POST", "/api/create") if body["model"] == "little"]
    assert sent == [made["files"]["little.gguf"]]
    assert len(sent[0]) == len(digest)


def test_an_error_inside_a_stream_is_what_ollama_said(serve: Serve) -> None:
    app, _ = serve("ollama")
    with pytest.raises(AssetUnavailable, match="pull model manifest: file does not exist"):
        app.pull("nothing", lambda *_: None)


def test_started_by_us_it_gets_its_context_and_stays_on_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    start = app_of("ollama").start(Wanted("llama3.2", 8192, concurrency=2), 12345, "key")
    assert start is not None
    assert start.argv == ("/usr/bin/ollama", "serve")
    assert start.env["OLLAMA_HOST"] == "127.0.0.1:12345"
    assert start.env["OLLAMA_CONTEXT_LENGTH"] == "8192"
    assert start.env["OLLAMA_NUM_PARALLEL"] == "2"
