"""Apps deployed like every engine: real processes of the workbench, recorded exchanges of the app."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import workbench
from tests.deployment.conftest import nothing_left, wait_until  # noqa: F401 - a fixture
from tests.engines.apps import replay as replays
from tests.engines.apps.conftest import Serve, wanted
from tests.engines.apps.replay import Replay, fixture
from workbench.deployment import state as states
from workbench.engines.apps import holder
from workbench.engines.apps.engine import AppEngine, Listed, Orders
from workbench.engines.apps.holding import hold
from workbench.errors import EngineUnavailable, ServerDied, StartFailed, StopFailed, UnknownName, UsageError
from workbench.machine import Machine, MemoryReading
from workbench.planning import Plan

Leftovers = Callable[[], list[str]]
DEPLOYED = ["ollama", "lm-studio", "localai", "jan"]  # textgen's proof hangs on a child process: the real one's test


@pytest.fixture
def served() -> list[Replay]:
    """The replays behind the plans of `planned`."""
    return []


@pytest.fixture
def planned(
    serve: Serve, served: list[Replay], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Plan]:
    """planned("ollama", traps…) → a plan for the model of its fixture, on a described machine."""
    monkeypatch.setattr("workbench.planning.threads.busy_cores", lambda *_: 0.0)

    def make(name: str, *traps: str, context: int | None = None) -> Plan:
        served.append(serve(name, *traps)[1])
        recorded = fixture(name)
        return workbench.plan(recorded["model"], engine=name, machine=machine, context=context or recorded["context"])

    return make


@pytest.mark.parametrize("name", DEPLOYED)
def test_a_model_of_an_app_is_deployed_asked_and_given_back(
    name: str,
    planned: Callable[..., Plan],
    nothing_left: Leftovers,  # noqa: F811
) -> None:
    with workbench.deploy(planned(name), share=False) as deployment:
        recorded = fixture(name)
        assert deployment.endpoint.base_url == f"http://{os.environ[name.upper().replace('-', '_') + '_HOST']}/v1"
        assert deployment.endpoint.served_model == recorded["served"]
        assert "".join(deployment.chat("Why?")) == "Because"
        assert deployment.pids()[0] == os.getpid(), "the process that listens is the app: here, this one"
        assert ("unknown" if name == "jan" else str(recorded["context"])) in deployment.logs()
    assert nothing_left() == []


def test_what_an_app_lists_is_planned_without_invented_numbers(planned: Callable[..., Plan]) -> None:
    plan = planned("lm-studio")
    assert isinstance(plan.model, Listed)
    assert (plan.model.file_bytes, plan.model.quantization) == (40492610355, "Q4_K_M")
    assert plan.memory[0].total.value is None
    assert "does not say enough" in plan.decode.reason
    assert plan.verdict == "unknown"
    plan.check_fits()
    with pytest.raises(UsageError, match="trained for 131072"):
        planned("lm-studio", context=200_000)


def test_a_model_nobody_knows_is_named_with_those_the_app_has(planned: Callable[..., Plan], serve: Serve) -> None:
    serve("ollama")
    with pytest.raises(UnknownName, match=r"no model of Ollama called 'lama3\.2:latest'") as caught:
        workbench.plan("lama3.2", engine="ollama")
    assert "llama3.2:latest" in caught.value.fix
    assert "ollama pull" in caught.value.fix


def test_an_app_that_is_not_there_is_no_engine() -> None:
    with pytest.raises(EngineUnavailable, match="Ollama is not installed"):
        workbench.plan("llama3.2", engine="ollama")


def test_a_context_that_is_not_in_force_ends_the_start_with_both_numbers(
    planned: Callable[..., Plan],
    nothing_left: Leftovers,  # noqa: F811
) -> None:
    with pytest.raises(StartFailed, match="context of 4096 tokens; 8192 were asked for"):
        workbench.deploy(planned("ollama", "short_context"))
    assert [name for name in nothing_left() if not name.endswith(".log")] == []


def test_a_model_the_app_does_not_give_back_is_said_by_whoever_stops_it(
    planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AppEngine, "unload_s", 0.2)
    deployment = workbench.deploy(planned("localai", "still_loaded"))
    with pytest.raises(StopFailed, match="LocalAI still holds my-llama-model in memory"):
        deployment.stop()
    assert workbench.deployments() == []


def test_two_deployments_of_one_model_outlive_each_other(
    planned: Callable[..., Plan], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that was kept, and `workbench measure`."""
    plan = planned("ollama")
    with workbench.deploy(plan, share=False) as kept:
        with workbench.deploy(plan, share=False) as measured:
            assert measured.endpoint == kept.endpoint
        assert "".join(kept.chat("Still there?")) == "Because"
        assert kept.state.status == states.READY


def test_a_load_that_takes_too_long_is_undone(
    planned: Callable[..., Plan],
    served: list[Replay],
    nothing_left: Leftovers,  # noqa: F811
) -> None:
    plan = planned("lm-studio")
    loading = next(one for one in served[0].exchanges if one["path"] == "/api/v1/models/load")
    loading["after_s"] = 2.0
    with pytest.raises(StartFailed, match="did not answer within 1 s"):
        workbench.deploy(plan, start_timeout_s=1.0)
    assert served[0].bodies("POST", "/api/v1/models/unload") == [{"instance_id": "deepseek-r1"}]
    assert served[0].state == "idle"
    assert [name for name in nothing_left() if not name.endswith(".log")] == []


@pytest.mark.parametrize(("unload_s", "error"), [(10.0, KeyboardInterrupt), (0.2, StopFailed)])
def test_an_interrupted_load_is_undone_or_said(
    unload_s: float,
    error: type[BaseException],
    planned: Callable[..., Plan],
    served: list[Replay],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(AppEngine, "unload_s", unload_s)
    plan = planned("lm-studio")
    next(one for one in served[0].exchanges if one["path"] == "/api/v1/models/load")["after_s"] = 2.0

    def interrupt(_fraction: float | None, _text: str) -> None:
        if served[0].bodies("POST", "/api/v1/models/load"):
            raise KeyboardInterrupt

    with pytest.raises(error) as caught:
        workbench.deploy(plan, progress=interrupt)
    assert error is KeyboardInterrupt or "was still loading deepseek-r1" in str(caught.value)
    assert bool(served[0].bodies("POST", "/api/v1/models/unload")) is (error is KeyboardInterrupt)


def test_a_holder_that_must_be_killed_while_it_unloads_is_reported(
    planned: Callable[..., Plan], served: list[Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.engines.apps.engine.ENDS_WITHIN_S", 0.3)
    deployment = workbench.deploy(planned("lm-studio"))
    next(one for one in served[0].exchanges if one["path"] == "/api/v1/models/unload")["after_s"] = 5.0
    with pytest.raises(StopFailed, match="deepseek-r1 was killed: see in lm-studio whether it is still loaded"):
        deployment.stop()
    assert deployment._state.log_path.exists(), "for whoever looks into it"


def test_a_holder_that_somebody_killed_says_what_may_be_left(planned: Callable[..., Plan]) -> None:
    with pytest.raises(StopFailed, match="see in lm-studio whether it is still loaded"):  # noqa: SIM117
        with workbench.deploy(planned("lm-studio")) as deployment:
            os.kill(deployment.state.server_pid, signal.SIGKILL)
            assert wait_until(lambda: deployment.state.status == states.DIED, 10)
            assert "deepseek-r1 was killed" in deployment.logs()


def test_a_watchdog_that_is_killed_leaves_nothing_loaded(
    planned: Callable[..., Plan], served: list[Replay], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = workbench.deploy(planned("lm-studio"), keep=True)
    os.kill(deployment.state.watchdog_pid, signal.SIGKILL)
    assert wait_until(lambda: served[0].state == "idle", 10)
    assert [one.status for one in workbench.deployments()] == ["died"]  # a record, since it was to stay
    deployment.stop()
    assert workbench.deployments() == []


def test_a_watchdog_that_is_killed_leaves_no_app_of_ours_behind(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, "ollama")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    deployment = workbench.deploy("llama3.2:latest", engine="ollama", machine=machine, context=8192)
    app, holder = psutil.Process(deployment.state.root_pid()), psutil.Process(deployment.state.server_pid)
    os.kill(deployment.state.watchdog_pid, signal.SIGKILL)
    assert wait_until(lambda: not app.is_running() and not holder.is_running(), 10)
    assert workbench.deployments() == []
    deployment.release()


def test_an_app_that_nobody_may_look_at_has_no_memory_rather_than_none(
    planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells whose port it is to the app's own user only; and what is only called like it is not it."""
    with workbench.deploy(planned("lm-studio")) as deployment:
        assert (deployment.memory() or MemoryReading(0, "")).bytes > 0
        monkeypatch.setattr("workbench.machine.listener", lambda _: None)
        assert (deployment.memory(), deployment.pids(), deployment.state.root_pid()) == (None, [], 0)


def test_an_app_that_would_be_reached_from_elsewhere_is_not_started(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, "ollama", "--everywhere")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(StartFailed, match=r"Ollama listens at 0\.0\.0\.0:\d+, where other computers reach it"):
        workbench.deploy("llama3.2:latest", engine="ollama", machine=machine, context=8192)


@pytest.mark.parametrize("name", ["lm-studio", "text-generation-webui"])
def test_a_deployment_ends_when_what_was_proven_is_no_longer_so(
    name: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holder, "LOOK_S", 0.01)
    monkeypatch.setattr(holder, "PROVE_S", 0.0)
    app, replay = serve(name)
    held = hold(app, wanted(name), lambda _: None)
    orders = Orders(name, replay.address, wanted(name), held.served, 0, None, 1.0)
    replay.state = "idle"  # somebody unloaded it
    with pytest.raises(ServerDied, match=f"no longer holds {held.served}"):
        holder._watch(held, orders, None, None)  # type: ignore[arg-type]


def test_an_app_that_goes_away_takes_its_deployment_with_it(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, "ollama")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with workbench.deploy("llama3.2:latest", engine="ollama", machine=machine, context=8192) as deployment:
        psutil.Process(deployment.state.root_pid()).kill()
        assert wait_until(lambda: deployment.state.status == states.DIED, 10)
        with pytest.raises(ServerDied, match="Ollama is gone from"):
            list(deployment.chat("anybody?"))


def test_an_app_of_ours_is_started_in_the_deployment_and_ends_with_it(
    tmp_path: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    nothing_left: Leftovers,  # noqa: F811
) -> None:
    _stand_in(tmp_path, "ollama")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with workbench.deploy("llama3.2:latest", engine="ollama", machine=machine, context=8192) as deployment:
        assert "".join(deployment.chat("Why?")) == "Because"
        app = psutil.Process(deployment.state.root_pid())
        assert "replay.py" in " ".join(app.cmdline())
        assert app.pid in [process.pid for process in states.marked_processes(deployment.id)]
    assert not app.is_running()
    assert nothing_left() == []


def test_localai_of_ours_has_its_configuration_back_before_it_ends(
    tmp_path: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    nothing_left: Leftovers,  # noqa: F811
) -> None:
    program = tmp_path / "local-ai"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P {replays.__file__} localai "${{3##*:}}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with workbench.deploy("my-llama-model", engine="localai", machine=machine, context=8192) as deployment:
        assert "".join(deployment.chat("Why?")) == "Because"
        assert "context 8192" in deployment.logs()
    assert nothing_left() == [], "what is to be set back is noted until it has been"


def test_killing_the_holder_leaves_no_app_of_ours_behind(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, "ollama")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with workbench.deploy("llama3.2:latest", engine="ollama", machine=machine, context=8192) as deployment:
        app = psutil.Process(deployment.state.root_pid())
        os.kill(deployment.state.server_pid, signal.SIGKILL)
        assert wait_until(lambda: not app.is_running() or app.status() == psutil.STATUS_ZOMBIE, 10)


def test_jan_serves_a_model_in_a_process_of_ours_whose_context_is_read_back(
    tmp_path: Path,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    nothing_left: Leftovers,  # noqa: F811
) -> None:
    listed = '[{"id": "jan-v3-4b-base-instruct", "engine": "llamacpp", "model_path": "llamacpp/models/x.gguf"}]'
    program = tmp_path / "jan"
    program.write_text(
        f"""#!/bin/sh
[ "$1" = models ] && echo '{listed}' && exit
for word; do case $word in --port=*) port=${{word#--port=}};; esac; done
exec {sys.executable} -P {replays.__file__} jan "$port" served_by_llama_cpp
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with workbench.deploy("jan-v3-4b-base-instruct", engine="jan", machine=machine, context=8192) as deployment:
        assert "context 8192" in deployment.logs()
        assert "".join(deployment.chat("Why?")) == "Because"
    with pytest.raises(StartFailed, match="context of 8192 tokens; 16384 were asked for"):
        workbench.deploy("jan-v3-4b-base-instruct", engine="jan", machine=machine, context=16384)
    assert [name for name in nothing_left() if not name.endswith(".log")] == []


def _stand_in(folder: Path, name: str, *words: str) -> None:
    """A program called as the app's, that serves its recorded exchanges where OLLAMA_HOST says."""
    program = folder / name
    script = f'exec {sys.executable} -P {replays.__file__} {name} "${{OLLAMA_HOST##*:}}" {" ".join(words)}'
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
