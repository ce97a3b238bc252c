"""Starting, sharing and ending deployments, on the fake engine: real processes, scripted answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

import workbench
from tests.deployment.conftest import survivors, wait_until
from workbench.deployment import failures
from workbench.deployment import state as states
from workbench.errors import DoesNotFit, ServerDied, StartFailed, StopFailed, UnknownName, UsageError
from workbench.planning import Plan

MakePlan = Callable[..., Plan]
Leftovers = Callable[[], list[str]]


def test_a_deployment_answers_and_leaves_nothing(fake_plan: MakePlan, nothing_left: Leftovers) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        assert "".join(deployment.chat("hello", max_tokens=4)) == "The quick brown fox "
        assert deployment.memory().bytes > 0
        assert "fake engine" in deployment.logs()
        pids = deployment.pids()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert nothing_left() == []
    assert workbench.deployments() == []


def test_cards_are_numbered_as_the_plan_numbers_them(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        assert psutil.Process(deployment.state.server_pid).environ()["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's choice of whom to end is Linux's")
def test_the_server_goes_first_when_memory_runs_out(fake_plan: MakePlan) -> None:
    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    with workbench.deploy(fake_plan()) as deployment:
        assert score(deployment.state.server_pid) == 1000
        assert score(deployment.state.watchdog_pid) == score(os.getpid())


def test_the_key_is_needed(fake_plan: MakePlan) -> None:
    import openai

    with (
        workbench.deploy(fake_plan()) as deployment,
        openai.OpenAI(base_url=deployment.endpoint.base_url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.chat.completions.create(model="fake", messages=[{"role": "user", "content": "hi"}])


def test_the_key_is_in_no_command_line(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        lines = [" ".join(process.cmdline()) for process in survivors(deployment.id)]
        assert lines
        assert not any(deployment.endpoint.api_key in line for line in lines)


def test_what_is_shown_of_a_deployment_names_engine_and_format_and_not_the_key(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        shown = [repr(one) for one in (deployment, workbench.deployments(), deployment.endpoint)]
        assert not any(deployment.endpoint.api_key in one for one in shown)
        quantization = deployment.plan_dict["quantization"]
        assert f"little ({quantization}) on fake at " in shown[0]
        assert f"{deployment.id}: fake, {quantization}, ready at {deployment.endpoint.base_url}" in shown[1]


def test_state_is_private(fake_plan: MakePlan, home: Path) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        path = home / "state" / "deployments" / f"{deployment.id}.json"
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0


def test_the_same_plan_is_shared_and_another_is_not(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as first:
        with workbench.deploy(fake_plan()) as second, workbench.deploy(fake_plan(context=256)) as other:
            assert second.id == first.id
            assert other.id != first.id
        assert "".join(first.chat("still here?", max_tokens=1)) == "The "


def test_stop_ends_it_for_everybody(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as first, workbench.deploy(fake_plan()) as second:
        second.stop()
        assert survivors(first.id) == []
        with pytest.raises(ServerDied, match="is gone"):
            list(first.chat("anybody?"))


def test_keep_outlives_its_maker_until_stopped(fake_plan: MakePlan, nothing_left: Leftovers) -> None:
    workbench.deploy(fake_plan(), keep=True).release()
    with workbench.attach("little") as again:
        assert "".join(again.chat("hi", max_tokens=1)) == "The "
    assert [state.model for state in workbench.deployments()] == ["little"]
    workbench.stop("little")
    assert nothing_left() == []


def test_grace_lets_a_page_come_back(fake_plan: MakePlan) -> None:
    first = workbench.deploy(fake_plan(), grace_s=30)
    first.release()
    with workbench.deploy(fake_plan(), grace_s=30) as second:
        assert second.id == first.id
    workbench.stop(first.id)


def test_stopping_what_does_not_run_names_what_does(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()), pytest.raises(UnknownName, match="little"):
        workbench.stop("litle")


def test_a_plan_that_does_not_fit_starts_nothing(fake_plan: MakePlan, nothing_left: Leftovers) -> None:
    from dataclasses import replace

    plan = fake_plan()
    full = replace(plan.machine, memory=replace(plan.machine.memory, available_bytes=1000))
    with pytest.raises(DoesNotFit, match="1000 B of memory are available"):
        workbench.deploy(replace(plan, machine=full))
    assert nothing_left() == []


# -- servers that fail -----------------------------------------------------------------------------------------


def test_dying_while_loading(fake_plan: MakePlan) -> None:
    plan = fake_plan(load_s=60, exit_after_s=0.3)
    with pytest.raises(StartFailed, match=r"ended while it was starting \(exit code 3\)\."):
        workbench.deploy(plan)
    assert workbench.deployments() == []


def test_never_answering(fake_plan: MakePlan, nothing_left: Leftovers) -> None:
    with pytest.raises(StartFailed, match="did not answer within 1 s") as caught:
        workbench.deploy(fake_plan(listens=False, tree_depth=2), start_timeout_s=1)
    log = caught.value.fix.removeprefix("The whole log: ")
    assert nothing_left() == [Path(log).name]  # what the error points at stays


def test_dying_after_loading(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(exit_after_s=1.0, tree_depth=2)) as deployment:
        assert wait_until(lambda: deployment.state.status == states.DIED, 5)
        assert survivors(deployment.id) == []
        with pytest.raises(ServerDied, match="exit code 3"):
            list(deployment.chat("hello"))


def test_what_was_to_stay_and_died_is_never_joined_and_gives_way_to_the_next(fake_plan: MakePlan) -> None:
    first = workbench.deploy(fake_plan(), keep=True)
    os.kill(first.state.server_pid, signal.SIGKILL)
    assert wait_until(lambda: first.state.status == states.DIED, 5)
    assert first.pids() == []
    first.release()
    assert [state.status for state in workbench.deployments()] == [states.DIED]
    with workbench.deploy(fake_plan(), keep=True) as second:
        assert second.id != first.id
        assert [state.id for state in workbench.deployments()] == [second.id]
        second.stop()
    assert workbench.deployments() == []


def test_dying_in_mid_stream_keeps_what_came(fake_plan: MakePlan) -> None:
    received = []
    with workbench.deploy(fake_plan(die_after_tokens=3)) as deployment:
        with pytest.raises(ServerDied, match=r"exit code 3.*Deploy again"):
            received.extend(deployment.chat("hello", max_tokens=10))  # extend keeps what came before the error
        pieces = []
        with pytest.raises(ServerDied):
            for piece in deployment.chat("hello", max_tokens=10):
                pieces.append(piece)
    assert survivors(deployment.id) == []


def test_a_stranger_on_the_port_is_never_taken_for_ours(fake_plan: MakePlan) -> None:
    with stranger() as port:
        with pytest.raises(UsageError, match=f"Port {port} is in use"):
            workbench.deploy(fake_plan(), port=port)
        assert workbench.deployments() == []


def test_a_stranger_that_comes_between_is_never_taken_for_ours(
    fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is free when it is looked at, then taken by somebody who says 200 to everything."""
    ports: list[int] = []
    real = sys.modules["workbench.deployment.deploying"]._free_port
    with stranger() as taken:
        monkeypatch.setattr("workbench.deployment.deploying._free_port", lambda: ports.append(1) or (
            taken if len(ports) == 1 else real()
        ))  # fmt: skip
        with workbench.deploy(fake_plan()) as deployment:
            assert str(taken) not in deployment.endpoint.base_url
    assert len(ports) == 2


STRANGER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def stranger() -> Iterator[int]:
    """The port of a server of somebody else's that answers 200 to everything."""
    process = subprocess.Popen([sys.executable, "-c", STRANGER], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield int(process.stdout.readline())
    finally:
        kill(process)


# -- users that die --------------------------------------------------------------------------------------------

USER = """
import sys, time, json, pickle
import workbench
plan = pickle.load(open(sys.argv[1], "rb"))
d = workbench.deploy(plan)
print(json.dumps({"id": d.id, "pid": d.state.server_pid}), flush=True)
time.sleep(600)
"""


def start_user(plan: Plan, tmp_path: Path, program: str = "") -> tuple[subprocess.Popen[str], dict[str, object]]:
    """Another kernel that deploys this plan and holds on to it."""
    import pickle

    path = tmp_path / "plan.pickle"
    path.write_bytes(pickle.dumps(plan))
    user = subprocess.Popen([sys.executable, "-c", program or USER, str(path)], stdout=subprocess.PIPE, text=True)
    assert user.stdout
    return user, json.loads(user.stdout.readline())


def kill(user: subprocess.Popen[str]) -> None:
    """kill -9, and reap."""
    user.kill()
    user.wait()
    assert user.stdout
    user.stdout.close()


def test_two_kernels_share_one_is_killed_the_other_goes_on(fake_plan: MakePlan, tmp_path: Path) -> None:
    plan = fake_plan(tree_depth=3)
    first, one = start_user(plan, tmp_path)
    second, two = start_user(plan, tmp_path)
    assert one == two
    kill(first)
    with workbench.attach(str(one["id"])) as here:
        assert "".join(here.chat("hi", max_tokens=1)) == "The "
    kill(second)
    assert wait_until(lambda: survivors(str(one["id"])) == [], 2)
    assert wait_until(lambda: workbench.deployments() == [], 2)


@pytest.mark.parametrize("ignore_sigterm", [False, True])
def test_ten_killed_kernels_leave_no_survivors(fake_plan: MakePlan, tmp_path: Path, ignore_sigterm: bool) -> None:
    kill_kernels(fake_plan(tree_depth=3, ignore_sigterm=ignore_sigterm), tmp_path, 5)


def kill_kernels(plan: Plan, tmp_path: Path, count: int, least: int = 5) -> None:
    """Kill a kernel while its deployment runs, `count` times; nothing may survive two seconds."""
    for _ in range(count):
        kill_kernel(plan, tmp_path, least)


def kill_kernel(plan: Plan, tmp_path: Path, least: int) -> None:
    """Once: at least `least` processes run, the kernel is killed, and none is left."""
    user, running = start_user(plan, tmp_path)
    name = str(running["id"])
    assert wait_until(lambda: len(survivors(name)) >= least, 5)  # the server, two below it, a sleeper, an orphan
    kill(user)
    assert wait_until(lambda: survivors(name) == [], 2), survivors(name)


def test_a_kernel_killed_while_it_deploys_leaves_nothing(fake_plan: MakePlan, tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "plan.pickle"
    path.write_bytes(pickle.dumps(fake_plan(load_s=60, tree_depth=2)))
    user = subprocess.Popen([sys.executable, "-c", USER, str(path)], stdout=subprocess.PIPE, text=True)
    assert wait_until(lambda: any(state.server_pid for state in states.all_states()), 10)
    (state,) = states.all_states()
    kill(user)
    assert wait_until(lambda: survivors(state.id) == [] and not state.path.exists(), 2)


def test_a_killed_watchdog_takes_the_server_along_and_strays_are_swept(fake_plan: MakePlan) -> None:
    deployment = workbench.deploy(fake_plan(tree_depth=2))
    state = deployment.state
    os.kill(state.watchdog_pid, signal.SIGKILL)
    assert wait_until(lambda: not psutil.pid_exists(state.server_pid), 2)
    assert workbench.deployments() == []  # looking also sweeps
    assert wait_until(lambda: survivors(state.id) == [], 2)
    deployment.release()


def test_a_deployment_that_was_to_stay_leaves_a_record_when_its_watchdog_is_killed(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan(), keep=True) as deployment:
        state = deployment.state
        os.kill(state.watchdog_pid, signal.SIGKILL)
        assert wait_until(lambda: not psutil.pid_exists(state.server_pid), 2)
        for _ in range(2):  # looked at again it is still there
            (record,) = workbench.deployments()
            assert (record.id, record.status) == (state.id, states.DIED)
            assert failures.death(record).startswith("its supervisor was killed at 20")
        with pytest.raises(ServerDied, match=r"is gone \(its supervisor was killed\)"):
            workbench.attach(state.id)
        with pytest.raises(ServerDied, match=r"is gone \(its supervisor was killed\)"):
            "".join(deployment.chat("hi"))
    workbench.stop(state.id)
    assert workbench.deployments() == []
    assert not Path(state.control).parent.exists()


def test_twenty_cycles_leave_everything_as_it_was(fake_plan: MakePlan, nothing_left: Leftovers) -> None:
    run_cycles(fake_plan(), 20)
    assert nothing_left() == []


def run_cycles(plan: Plan, count: int) -> None:
    """Start and stop `count` times; processes, descriptors, threads and sockets end where they began."""
    workbench.deploy(plan).release()  # imports and pools are made once
    before = footprint()
    for _ in range(count):
        with workbench.deploy(plan) as deployment:
            assert "".join(deployment.chat("hi", max_tokens=1)) == "The "
    assert wait_until(lambda: footprint() == before, 5), (before, footprint())


def footprint() -> tuple[int, int, int, int]:
    """Children, open descriptors, threads and listening or connected sockets of this process."""
    me = psutil.Process()
    return len(me.children(recursive=True)), me.num_fds(), threading.active_count(), len(me.net_connections())


def test_nothing_listens_beyond_loopback(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        pids = [deployment.state.watchdog_pid, *deployment.pids()]
        listening = [c.laddr.ip for pid in pids for c in psutil.Process(pid).net_connections() if c.status == "LISTEN"]
        assert listening == ["127.0.0.1"]  # the server; the watchdog's socket is a file that only its user can reach
        assert Path(deployment.state.control).parent.stat().st_mode & 0o077 == 0
    assert not Path(deployment.state.control).parent.exists()


@pytest.mark.parametrize("nonsense", [b"\n", b"{}\n", b"[" * 4000, b'{"op": "lease"}\n', b"\xff\xfe", b"leave\n", b""])
def test_nonsense_on_the_control_socket_ends_nothing(fake_plan: MakePlan, nonsense: bytes) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(deployment.state.control)
            client.sendall(nonsense)
        assert "".join(deployment.chat("hi", max_tokens=1)) == "The "
        with workbench.attach(deployment.id):
            pass


def test_no_secret_of_the_shell_reaches_the_server(fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with workbench.deploy(fake_plan()) as deployment:
        environment = psutil.Process(deployment.state.server_pid).environ()
    assert "HF_TOKEN" not in environment
    assert "OPENAI_API_KEY" not in environment


def test_engines_are_told_not_to_report_home(fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")  # what somebody has chosen stays
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    with workbench.deploy(fake_plan()) as deployment:
        environment = psutil.Process(deployment.state.server_pid).environ()
    assert (environment["DO_NOT_TRACK"], environment["ORT_DISABLE_TELEMETRY"]) == ("1", "0")


def test_what_lies_in_the_current_folder_is_not_executed(
    fake_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "psutil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    with workbench.deploy(fake_plan()):
        assert not (tmp_path / "executed").exists()


class _Interrupt(Exception):
    """What a user does while a server starts."""


@pytest.mark.parametrize("terms", [{"keep": True}, {"grace_s": 60.0}])
def test_an_interrupted_start_leaves_nothing_whatever_its_terms(
    fake_plan: MakePlan, nothing_left: Leftovers, terms: dict[str, Any]
) -> None:
    def interrupt(_fraction: float | None, _text: str) -> None:
        if any(state.server_pid for state in states.all_states()):
            raise _Interrupt

    with pytest.raises(_Interrupt):
        workbench.deploy(fake_plan(load_s=60, tree_depth=2), progress=interrupt, **terms)
    assert nothing_left() == []


def test_joining_with_keep_keeps(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as first:
        workbench.deploy(fake_plan(), keep=True).release()
    assert [state.id for state in workbench.deployments()] == [first.id]
    workbench.stop(first.id)


def test_a_full_disk_leaves_no_survivors(fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """The state folder becomes unwritable while the deployment runs: as root by being replaced with a file."""
    deployment = workbench.deploy(fake_plan(tree_depth=2))
    folder = home / "state" / "deployments"
    folder.rename(home / "elsewhere")
    folder.write_text("not a folder")
    deployment.release()
    assert survivors(deployment.id) == []


def test_a_stranger_that_takes_the_port_gets_neither_prompt_nor_key(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        port = int(deployment.endpoint.root.rpartition(":")[2])
        os.kill(deployment.state.server_pid, signal.SIGKILL)
        assert wait_until(lambda: deployment.state.status == states.DIED, 5)
        with socket.create_server(("127.0.0.1", port)) as stranger:
            stranger.settimeout(0.3)
            numbers = (
                r"from outside; memory was not short: 14 MiB predicted, [\d.]+ GiB free before, [\d.]+ GiB free now"
            )
            with pytest.raises(ServerDied, match=rf"ended by SIGKILL {numbers}"):
                list(deployment.chat("my secret"))
            with pytest.raises(TimeoutError):
                stranger.accept()


def test_a_fork_of_the_kernel_holds_no_lease(fake_plan: MakePlan, tmp_path: Path) -> None:
    user, running = start_user(fake_plan(), tmp_path, FORKING_USER)
    kill(user)
    assert wait_until(lambda: survivors(str(running["id"])) == [], 2)
    os.kill(int(str(running["child"])), signal.SIGKILL)


FORKING_USER = """
import os, sys, time, json, pickle
import workbench
d = workbench.deploy(pickle.load(open(sys.argv[1], "rb")))
child = os.fork()
if child == 0:
    os.closerange(0, 3)
    time.sleep(60)
    os._exit(0)
print(json.dumps({"id": d.id, "child": child}), flush=True)
time.sleep(600)
"""


def test_deployments_of_another_system_are_left_alone(fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(states, "this_host", lambda: "another one")
            assert workbench.deployments() == []
        assert [state.id for state in workbench.deployments()] == [deployment.id]
        assert "".join(deployment.chat("hi", max_tokens=1)) == "The "


def test_a_supervisor_that_hangs_is_not_called_stopped(fake_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.deployment.lease.STOP_TIMEOUT_S", 0.3)
    with workbench.deploy(fake_plan()) as deployment:
        os.kill(deployment.state.watchdog_pid, signal.SIGSTOP)
        with pytest.raises(StopFailed, match=r"has not ended within 0 s.*kill them"):
            workbench.stop(deployment.id)
        os.kill(deployment.state.watchdog_pid, signal.SIGCONT)


def test_a_state_of_a_newer_version_can_be_read(fake_plan: MakePlan) -> None:
    with workbench.deploy(fake_plan()) as deployment:
        path = deployment.state.path
        path.write_text(json.dumps({**json.loads(path.read_text()), "a_field_of_tomorrow": 1}))
        assert [state.id for state in workbench.deployments()] == [deployment.id]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_killed_kernels_leave_no_survivors(fake_plan: MakePlan, tmp_path: Path) -> None:
    kill_kernels(fake_plan(tree_depth=3), tmp_path, 100)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_cycles_leave_everything_as_it_was(fake_plan: MakePlan, nothing_left: Leftovers) -> None:
    run_cycles(fake_plan(), 200)
    assert nothing_left() == []
