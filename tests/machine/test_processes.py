"""Memory, CPU and sockets of real child processes. Every wait is a handshake, never a duration."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from workbench.machine import (
    PeakSampler,
    busy_cores,
    cpu_seconds,
    descendants,
    exposed_addresses,
    listener,
    listening_ports,
    memory_bytes,
    shared_bytes,
)
from workbench.machine import processes as room
from workbench.units import MIB

# Allocates 64 MiB at the first line it reads, frees it at the second.
HOLDER = """
import sys
print("ready", flush=True)
sys.stdin.readline()
block = bytearray(b"x") * (64 << 20)
print("allocated", flush=True)
sys.stdin.readline()
del block
print("freed", flush=True)
sys.stdin.readline()
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {HOLDER!r}])
child.wait()
"""
# Maps the file it is given and touches every page of it.
MAPPER = """
import mmap, sys
with open(sys.argv[1], "rb") as file:
    pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
total = sum(pages[::4096])
print("ready", flush=True)
sys.stdin.readline()
"""


class Child:
    def __init__(self, code: str, *arguments: str) -> None:
        command = [sys.executable, "-c", code, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def read(self) -> str:
        return self.process.stdout.readline().strip()

    def tell(self) -> str:
        """Send a line and return the answer."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.read()


@contextmanager
def running(code: str, *arguments: str) -> Iterator[Child]:
    child = Child(code, *arguments)
    try:
        yield child
    finally:
        for process in descendants(child.pid):
            process.kill()
        child.process.communicate()


@pytest.fixture
def gone() -> int:
    """The pid of a process that has ended and been waited for."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_memory_of_a_child_that_allocates(gone):
    with running(HOLDER) as child:
        child.read()
        before = memory_bytes([child.pid])
        assert child.tell() == "allocated"
        after = memory_bytes([child.pid, gone])
        assert after.bytes - before.bytes == pytest.approx(64 * MIB, abs=2 * MIB)
        assert after.method == ("PSS" if sys.platform == "linux" else "USS")


def test_memory_falls_back_to_rss_and_says_so(monkeypatch):
    monkeypatch.setattr(room.parse, "pss_bytes", lambda _text: None)
    reading = memory_bytes([os.getpid()])
    assert reading.bytes > 0
    assert reading.method == "RSS"


def test_memory_of_nobody(gone):
    assert memory_bytes([gone]) is None, "unknown, and not 0"
    assert memory_bytes([]) is None


def test_descendants_include_the_root_and_grandchildren(gone):
    with running(PARENT) as child:
        assert child.read() == "ready"
        tree = [process.pid for process in descendants(child.pid)]
        assert tree[0] == child.pid
        assert len(tree) == 2
    assert descendants(gone) == []


def test_the_peak_of_a_grandchild_is_caught_though_it_passes():
    with running(PARENT) as child:
        child.read()
        before = memory_bytes([process.pid for process in descendants(child.pid)])
        with PeakSampler(child.pid) as sampler:
            assert child.tell() == "allocated"
            seen = sampler.samples
            while sampler.samples < seen + 2:
                room.time.sleep(0.005)
            assert child.tell() == "freed"
        now = memory_bytes([process.pid for process in descendants(child.pid)])
    assert sampler.peak_bytes - before.bytes > 60 * MIB
    assert now.bytes - before.bytes < 8 * MIB
    assert sampler.samples >= 4
    assert sampler.method


def test_the_sampler_survives_the_end_of_its_process(gone):
    with PeakSampler(gone) as sampler:
        pass
    assert (sampler.peak_bytes, sampler.samples) == (None, 2)


def test_cpu_seconds_grow_with_work(gone):
    before = cpu_seconds([os.getpid(), gone])
    while cpu_seconds([os.getpid()]) < before + 0.02:
        sum(range(10_000))
    assert cpu_seconds([gone]) == 0


def test_busy_cores_leave_us_and_whom_we_name_out(monkeypatch):
    assert busy_cores(0.01) >= 0
    clock = iter([10.0, 12.0])
    system = iter([100.0, 107.0])
    own = iter([50.0, 51.0])
    monkeypatch.setattr(room.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(room, "_system_busy_s", lambda: next(system))
    monkeypatch.setattr(room.BusyMeter, "_own_s", lambda _self: next(own))
    assert busy_cores(0) == pytest.approx(3.0)


def test_what_the_host_takes_away_is_used_by_others(monkeypatch):
    times = iter([{"user": 10.0, "idle": 5.0, "steal": 1.0}, {"user": 10.5, "idle": 5.0, "steal": 3.5}])
    monkeypatch.setattr(room.psutil, "cpu_times", lambda: SimpleNamespace(**next(times)))
    before = room._system_busy_s()
    assert room._system_busy_s() - before == pytest.approx(3.0)


def test_a_file_that_a_stranger_maps_too_is_counted_in_full(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(8 * MIB))
    with running(MAPPER, str(file)) as one:
        one.read()
        alone = memory_bytes([one.pid]).bytes
        assert shared_bytes([one.pid], file) == 0
        with running(MAPPER, str(file)) as stranger:
            stranger.read()
            shared = shared_bytes([one.pid], file)
            assert shared == 4 * MIB
            assert (
                abs(memory_bytes([one.pid]).bytes + shared - alone) < 4 * MIB
            )  # their interpreters are shared as well
            assert shared_bytes([one.pid, stranger.pid], file) == 0  # one tree: its own sharing is no loss
    assert shared_bytes([one.pid], file) == 0


def test_whoever_listens_is_found_by_the_port() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert listener(port) is None, "bound, and nobody listens yet"
        server.listen()
        assert listener(port) == os.getpid()
        assert port in listening_ports(os.getpid())
    assert listener(port) is None
    assert listening_ports(2**22 + 1) == []


@pytest.mark.parametrize(("address", "seen"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104 - what is found
def test_what_listens_for_other_computers_is_found(address: str, seen: bool) -> None:
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen()
        found = exposed_addresses(os.getpid())
        assert (f"{address}:{server.getsockname()[1]}" in found) is seen
