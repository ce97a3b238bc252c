"""Memory and CPU of process trees, read from outside while they run.

A process may vanish at any moment: it then counts for nothing, and nothing here raises because of it.
Device memory is not counted here.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from workbench.machine import parse


@dataclass(frozen=True, slots=True)
class MemoryReading:
    """Memory of some processes together, in bytes, and how it was read: 'PSS', 'USS' or 'RSS', mixed when it must be.

    PSS shares a page among its users and so can be summed; RSS counts it for each of them.
    """

    bytes: int
    method: str


def descendants(pid: int) -> list[psutil.Process]:
    """The process and everything below it; empty if it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    except psutil.AccessDenied:
        return [root]


def listener(port: int) -> int | None:
    """The process that listens on this port of this computer; None if nobody does, or it is another user's."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:  # macOS tells all of them to the administrator only
        return next((p.pid for p in psutil.process_iter() if port in listening_ports(p.pid)), None)
    return next((c.pid for c in connections if _port(c) == port), None)


def listening_ports(pid: int) -> list[int]:
    """The TCP ports on which a process listens; none if it is gone or another user's."""
    with suppress(psutil.Error):
        return [port for c in psutil.Process(pid).net_connections("tcp") if (port := _port(c))]
    return []


def exposed_addresses(pid: int) -> list[str]:
    """Where a process, or one below it, listens for other computers: address and port."""
    found = []
    for process in descendants(pid):
        with suppress(psutil.Error):
            listening = [c.laddr for c in process.net_connections("tcp") if _port(c)]
            found += [f"{ip}:{port}" for ip, port in listening if not _is_loopback(ip)]
    return found


def _is_loopback(ip: str) -> bool:
    return ip_address(ip.removeprefix("::ffff:").partition("%")[0]).is_loopback


def _port(connection: Any) -> int | None:
    """The port of a connection that listens."""
    return int(connection.laddr.port) if connection.status == psutil.CONN_LISTEN else None


def memory_bytes(pids: Iterable[int]) -> MemoryReading | None:
    """Sum the memory of these processes: PSS on Linux, USS elsewhere, RSS where that is refused.

    None if there are none of which anything can be read: that is unknown, and not 0.
    """
    readings = [reading for pid in pids if (reading := _memory_of(pid))]
    if not readings:
        return None
    methods = sorted({reading.method for reading in readings})
    return MemoryReading(sum(reading.bytes for reading in readings), " + ".join(methods))


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time (user and system, s) that these processes have used so far; one that is gone counts 0."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            total += times.user + times.system
    return total


def busy_cores(interval_s: float = 0.3, *, without: Iterable[int] = ()) -> float:
    """How many cores' worth of CPU others use, watched for `interval_s`.

    Ourselves and the processes in `without` are left out. In a container this counts the whole host; in a virtual
    machine also what its host gave to others while we wanted it.
    """
    meter = BusyMeter(without)
    time.sleep(interval_s)
    return meter.cores()


class BusyMeter:
    """Cores' worth of CPU that others had since the meter was made: other processes, and other guests of our host.

    Left out are ourselves, children of ours that have ended meanwhile, and the processes in `without`.
    """

    def __init__(self, without: Iterable[int] = ()) -> None:
        self._without = tuple(without)
        self._start = time.monotonic(), _system_busy_s(), self._own_s()

    def cores(self) -> float:
        """The mean since the start; never negative, though the clocks of the system are coarse."""
        moment, system_s, own_s = self._start
        elapsed_s = max(time.monotonic() - moment, 1e-3)
        others_s = (_system_busy_s() - system_s) - (self._own_s() - own_s)
        return max(0.0, others_s / elapsed_s)

    def _own_s(self) -> float:
        times = psutil.Process().cpu_times()
        ours = times.user + times.system + times.children_user + times.children_system
        return ours + cpu_seconds(self._without)


def shared_bytes(pids: Iterable[int], file: Path) -> int:
    """Bytes of a mapped file that PSS leaves out because strangers map them too; 0 where nobody can tell."""
    resident, proportional = [0], [0]
    for pid in pids:
        with suppress(OSError):  # gone, or a system without /proc
            rss, pss = parse.mapped_bytes(Path(f"/proc/{pid}/smaps").read_text(), str(file.resolve()))
            resident.append(rss)
            proportional.append(pss)
    return max(0, max(resident) - sum(proportional))


class PeakSampler:
    """Sample the memory of a process tree in the background and keep its peak.

        with PeakSampler(pid) as sampler:
            ...
        sampler.peak_bytes, sampler.samples, sampler.method

    A sample is taken on entry, every `interval_s` (20 ms), and on exit. Reading the memory of a large process takes
    milliseconds and holds its page tables, so the sampler rests four times as long as a sample took: at most a
    fifth of one core goes into watching. New processes of the tree are seen at every fifth sample.
    """

    _TREE_EVERY = 5

    def __init__(self, pid: int, interval_s: float = 0.02) -> None:
        self.pid, self.interval_s = pid, interval_s
        self.peak_bytes: int | None = None  # as long as nothing could be read
        self.samples, self.method = 0, ""
        self._pids: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"memory of {pid}", daemon=True)

    def __enter__(self) -> PeakSampler:
        self._sample(look_for_children=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample(look_for_children=True)

    def _run(self) -> None:
        spent_s = 0.0
        while not self._stop.wait(max(self.interval_s - spent_s, 4 * spent_s)):
            begin = time.perf_counter()
            self._sample(look_for_children=self.samples % self._TREE_EVERY == 0)
            spent_s = time.perf_counter() - begin

    def _sample(self, *, look_for_children: bool) -> None:
        if look_for_children:
            self._pids = [process.pid for process in descendants(self.pid)]
        reading = memory_bytes(self._pids)
        if reading and reading.bytes >= (self.peak_bytes or 0):
            self.peak_bytes, self.method = reading.bytes, reading.method
        self.samples += 1


def _memory_of(pid: int) -> MemoryReading | None:
    """PSS, else USS, else RSS of one process; None if it is gone or nothing about it may be read."""
    if sys.platform == "linux":
        with suppress(OSError):
            pss = parse.pss_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text())
            if pss is not None:
                return MemoryReading(pss, "PSS")
    else:
        with suppress(psutil.Error):
            return MemoryReading(psutil.Process(pid).memory_full_info().uss, "USS")
    with suppress(psutil.Error):
        return MemoryReading(psutil.Process(pid).memory_info().rss, "RSS")
    return None


def _system_busy_s() -> float:
    """CPU time (s) that was not to be had on any core since boot: used, or taken by the host of a virtual machine."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal")))
