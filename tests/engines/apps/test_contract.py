"""What every app does, checked against recorded exchanges of each: the ordinary way, and the traps."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from threading import Timer

import pytest

from tests.engines.apps.conftest import Serve, app_of, wanted
from tests.engines.apps.replay import fixture, load, serving
from workbench import engines
from workbench.engines.apps.holding import hold
from workbench.errors import (
    AppRefused,
    AssetUnavailable,
    ContextTooShort,
    EngineUnavailable,
    PortTaken,
    StopFailed,
    UnknownName,
    UsageError,
    WorkbenchError,
)

APPS = list(engines.APPS)
LOADING = [name for name in APPS if name != "jan"]  # its window loads nothing for others


def with_trap(trap: str) -> list[str]:
    """The apps of which this was recorded."""
    return [name for name in APPS if trap in fixture(name)["traps"]]


def said() -> tuple[list[str], object]:
    """A log, and what writes to it."""
    lines: list[str] = []
    return lines, lines.append


# -- is it there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", APPS)
def test_a_fixture_says_where_it_is_from(name: str) -> None:
    assert "@" in fixture(name)["source"]


@pytest.mark.parametrize("name", APPS)
def test_a_running_app_is_found_with_its_version_and_address(name: str, serve: Serve) -> None:
    app, replay = serve(name)
    assert app.running_version() == fixture(name)["version"]
    available = engines.get(name).available()
    assert available.ok
    assert replay.address in (available.version or "")
    assert available.reason == ""


@pytest.mark.parametrize("name", APPS)
def test_an_app_that_is_not_there_names_what_installs_it_and_takes_no_time(name: str) -> None:
    engine = engines.get(name)
    begin = time.process_time()
    available = engine.available()
    assert time.process_time() - begin < 0.5
    assert not available.ok
    assert "is not installed" in available.reason
    assert app_of(name).entry.install["Linux"] in available.fix


@pytest.mark.parametrize("name", with_trap("other_version"))
def test_another_version_than_the_known_ones_is_said(name: str, serve: Serve) -> None:
    serve(name, "other_version")
    available = engines.get(name).available()
    if name == "lm-studio":  # too old to be spoken to
        assert not available.ok
        assert "older than 0.4.0" in available.reason
    else:
        assert available.ok
        assert fixture(name)["traps"]["other_version"][0]["json"]["version"] in available.reason
        assert app_of(name).entry.known_versions[0] in available.reason


@pytest.mark.parametrize("name", APPS)
def test_a_port_that_something_else_has_is_not_the_app(name: str, serve: Serve) -> None:
    app, replay = serve(name, "stranger")
    with pytest.raises(PortTaken, match=f"Something that is not .* answers at {replay.address}"):
        app.running_version()
    available = engines.get(name).available()
    assert not available.ok
    assert app.variable in available.fix


@pytest.mark.parametrize("name", APPS)
def test_an_app_on_another_computer_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(name)
    monkeypatch.setenv(app.variable, "10.0.0.7:11434")
    with pytest.raises(UsageError, match="another computer"):
        app.running_version()
    assert not engines.get(name).available().ok


# -- its models ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", APPS)
def test_models_are_listed(name: str, serve: Serve) -> None:
    app, _ = serve(name)
    assert fixture(name)["model"] in [model.name for model in app.models()]


@pytest.mark.parametrize("name", APPS)
def test_a_missing_model_is_named_with_the_nearest_and_what_brings_it(name: str, serve: Serve) -> None:
    app, _ = serve(name)
    with pytest.raises(UnknownName, match="no model of") as caught:
        app.find(fixture(name)["model"][:-1] + "x")
    assert fixture(name)["model"] in caught.value.fix
    assert app.entry.pull.split(" NAME")[0] in caught.value.fix


@pytest.mark.parametrize("name", with_trap("pull_interrupted"))
def test_a_pull_tells_its_progress_and_an_interrupted_one_what_to_do(name: str, serve: Serve) -> None:
    model = "llama3.2" if name == "ollama" else fixture(name)["model"]
    steps: list[tuple[float | None, str]] = []
    app, _ = serve(name)
    app.pull(model, lambda fraction, text: steps.append((fraction, text)))
    fractions = [fraction for fraction, _ in steps if fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(set(fractions)) > 1
    app, _ = serve(name, "pull_interrupted")
    with pytest.raises(AssetUnavailable, match="did not arrive") as caught:
        app.pull(model, lambda *_: None)
    assert "again" in caught.value.fix


@pytest.mark.parametrize("name", sorted(set(APPS) - set(with_trap("pull_interrupted"))))
def test_an_app_that_brings_no_models_says_where_to_get_them(name: str, serve: Serve) -> None:
    app, _ = serve(name)
    with pytest.raises(UsageError, match="its own window"):
        app.pull("llama3.2", lambda *_: None)


# -- holding a model -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", APPS)
def test_a_model_is_held_with_its_context_proven_and_given_back(name: str, serve: Serve) -> None:
    app, replay = serve(name)
    lines, say = said()
    held = hold(app, wanted(name), say)  # type: ignore[arg-type]
    recorded = fixture(name)
    assert held.served == recorded["served"]
    assert replay.bodies("POST", "/v1/chat/completions"), "the context was read without a request of a client's kind"
    if name == "jan":  # its window tells no context and unloads nothing
        assert (held.served, held.context) == (recorded["served"], None)
        assert any("does not say which context" in line and "8192" in line for line in lines)
        return held.give_back()
    assert held.context == recorded["context"]
    assert app.is_loaded(held.served)
    held.give_back()
    assert not app.is_loaded(held.served)
    return None


@pytest.mark.parametrize("name", with_trap("short_context"))
def test_less_context_than_asked_for_is_an_error_with_both_numbers_and_a_fix(name: str, serve: Serve) -> None:
    app, replay = serve(name, "short_context")
    asked = wanted(name)
    with pytest.raises(ContextTooShort) as caught:
        hold(app, asked, lambda _: None)
    numbers = {"ollama": "4096", "lm-studio": "4096", "text-generation-webui": "8192", "localai": "4096", "jan": "4096"}
    assert numbers[name] in caught.value.what
    assert str(asked.context) in caught.value.what
    assert str(asked.context) in caught.value.fix
    assert replay.state == "idle", "what was loaded for nothing stayed loaded"


@pytest.mark.parametrize("name", with_trap("loaded_before"))
def test_what_somebody_else_loaded_is_used_and_left_alone(name: str, serve: Serve) -> None:
    app, replay = serve(name, "loaded_before")
    held = hold(app, wanted(name), lambda _: None)
    assert (held.context or 0) > wanted(name).context
    held.give_back()
    unloading = ("unload", "shutdown")
    assert not [path for _, path, _ in replay.asked if any(word in path for word in unloading)]
    assert not replay.bodies("POST", "/api/generate"), "nor does it stay longer than whoever loaded it wants"


@pytest.mark.parametrize("name", with_trap("loaded_before_short"))
def test_what_somebody_else_loaded_with_less_context_is_not_loaded_again(name: str, serve: Serve) -> None:
    app, replay = serve(name, "loaded_before_short")
    with pytest.raises(ContextTooShort, match=str(wanted(name).context)):
        hold(app, wanted(name), lambda _: None)
    assert not [path for method, path, _ in replay.asked if method == "POST" and path != "/api/show"]


@pytest.mark.parametrize("name", with_trap("still_loaded"))
def test_an_unload_that_is_not_confirmed_is_an_error(name: str, serve: Serve) -> None:
    app, _ = serve(name, "still_loaded")
    held = hold(app, wanted(name), lambda _: None)
    with pytest.raises(StopFailed, match=r"still holds .* in memory 0\.2 s after"):
        held.give_back(timeout_s=0.2)


@pytest.mark.parametrize("name", with_trap("load_failed"))
def test_a_load_that_failed_is_an_error_whatever_the_answer_was(name: str, serve: Serve) -> None:
    app, _ = serve(name, "load_failed")
    with pytest.raises(EngineUnavailable, match=r"load|No running session"):
        hold(app, wanted(name), lambda _: None)


@pytest.mark.parametrize("name", with_trap("another_loaded"))
def test_an_app_with_room_for_one_does_not_drop_what_somebody_uses(name: str, serve: Serve) -> None:
    app, replay = serve(name, "another_loaded")
    with pytest.raises(UsageError, match=r"one model at a time and has SmolLM2-135M-Instruct\.Q4_1\.gguf loaded"):
        hold(app, wanted(name), lambda _: None)
    assert not [method for method, _, _ in replay.asked if method == "POST"]


@pytest.mark.parametrize("name", APPS)
def test_an_app_that_went_away_is_named(name: str) -> None:
    with serving(load(name)) as replay:
        app = type(app_of(name))(replay.address)
    with pytest.raises(WorkbenchError, match="does not answer"):
        app.models()


def test_a_key_is_sent_once_it_is_wanted_and_not_before(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    app, replay = serve("jan", "wants_key")
    with pytest.raises(AppRefused, match="Missing authorization header") as caught:
        app.running_version()
    assert "key" in caught.value.fix
    monkeypatch.setenv("JAN_API_KEY", "secret")
    app, replay = serve("jan", "wants_key")
    assert app.running_version() == ""
    assert replay.keys == [("/v1/models", ""), ("/v1/models", "Bearer secret")]
    assert app.api_key == "secret"


@pytest.mark.parametrize("name", APPS)
def test_an_app_that_wants_no_key_is_told_none(name: str, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LM_API_TOKEN", *(f"{one.upper().replace('-', '_')}_API_KEY" for one in APPS)):
        monkeypatch.setenv(variable, "secret")
    app, replay = serve(name)
    assert engines.get(name).available().ok
    hold(app, wanted(name), lambda _: None).give_back()
    assert replay.keys
    assert not [key for _, key in replay.keys if "secret" in key]
    assert app.api_key == "none"


# -- several deployments, and other people ---------------------------------------------------------------------


@pytest.mark.parametrize("name", LOADING)
def test_the_last_of_our_deployments_gives_the_model_back_whoever_loaded_it(name: str, serve: Serve) -> None:
    app, replay = serve(name)
    first = hold(app, wanted(name), lambda _: None)
    second = hold(type(app)(replay.address), wanted(name), lambda _: None)
    first.give_back()
    assert second.app.is_loaded(second.served)
    assert not replay.bodies("DELETE", "/api/delete"), "a variant that is still used"
    assert second.app.lost(second.served, wanted(name)) == ""
    second.give_back()
    assert not app.is_loaded(first.served)


@pytest.mark.parametrize("name", LOADING)
def test_what_is_not_loaded_any_more_is_not_unloaded_and_everything_else_is_set_back(name: str, serve: Serve) -> None:
    """It was evicted, and what is there in its place is somebody else's."""
    app, replay = serve(name)
    held = hold(app, wanted(name), lambda _: None)
    replay.state = "configured" if name == "localai" else "idle"
    replay.asked.clear()
    held.give_back()
    assert not [path for method, path, _ in replay.asked if method == "POST"]
    if name == "localai":
        assert replay.state == "idle", "its configuration"
    if name == "ollama":
        assert replay.bodies("DELETE", "/api/delete") == [{"model": held.served}]


@pytest.mark.parametrize("name", LOADING)
def test_a_load_that_is_interrupted_is_undone(name: str, serve: Serve) -> None:
    app, replay = serve(name)
    loads = {"ollama": "/api/generate", "lm-studio": "/api/v1/models/load", "localai": "/backend/load"}
    loading = next(one for one in replay.exchanges if one["path"] == loads.get(name, "/v1/internal/model/load"))
    loading["after_s"] = 0.4
    Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        hold(app, wanted(name), lambda _: None)
    assert replay.state == "idle"
    assert not app.is_loaded(fixture(name)["served"])


def test_a_load_that_cannot_be_waited_for_is_said(serve: Serve) -> None:
    app, replay = serve("lm-studio")
    next(one for one in replay.exchanges if one["path"] == "/api/v1/models/load")["after_s"] = 2.0
    Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(StopFailed, match="LM Studio was still loading deepseek-r1"):
        hold(app, wanted("lm-studio"), lambda _: None, unload_s=0.1)


@pytest.mark.parametrize("name", LOADING)
def test_what_is_no_longer_in_force_is_said(name: str, serve: Serve) -> None:
    app, replay = serve(name)
    asked = wanted(name)
    held = hold(app, asked, lambda _: None)
    assert app.lost(held.served, asked) == ""
    less = replace(asked, context=2 * asked.context)  # as if it had fallen to half
    assert f"{asked.context} tokens; {less.context} were asked for" in app.lost(held.served, less)
    replay.state = "configured" if name == "localai" else "idle"
    lost = app.lost(held.served, asked)
    if name in ("ollama", "localai"):
        assert lost == "", "the next request loads it again with the same context"
    else:
        assert f"no longer holds {held.served}" in lost
    held.give_back()
