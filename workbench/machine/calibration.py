"""Measure how fast this computer reads memory and multiplies matrices, in under four seconds, and remember it.

The measuring itself happens in `kernels`, run as processes of their own. What others disturb is tried again, a few
times at once and later. The result is kept in the cache folder under the machine's fingerprint. Accelerators are not
measured here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench import folders
from workbench.errors import UsageError, WorkbenchError
from workbench.evidence import Measured
from workbench.machine import parse
from workbench.machine.description import BUSY_CORES, Calibration, Machine
from workbench.machine.probing import probe
from workbench.machine.processes import BusyMeter, busy_cores
from workbench.units import MIB, format_bytes, now

METHOD_VERSION = "2"  # raise it when the numbers would no longer mean the same: old ones are then measured again

_ARRAY_BYTES, _LARGEST_ARRAY_BYTES = 512 * MIB, 2048 * MIB
_TIMES_CACHE = 4  # an array of that many last-level caches is read from memory
_MATRIX_SIZES = (4096, 2048, 1024, 512)
_SECONDS_EACH = 0.4  # for each of the four quantities
_TIMEOUT_S = 120
_TRIES = 3  # at once, until one is not disturbed
_REST_S = 600  # then the quietest of them serves so long at least: some machines are never quiet
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Progress = Callable[[float, str], None]


def calibrate(machine: Machine, *, force: bool = False, progress: Progress | None = None) -> Machine:
    """The machine with its calibration: the one kept from before, or a new one (`force` asks for a new one).

    One that others disturbed is measured again when nothing is at work here, no measurement and no busy process; until
    then it serves. `progress(fraction, what)` is called before each step. Raises UsageError for a machine that is not
    this one and WorkbenchError when the measuring fails.
    """
    from filelock import FileLock, Timeout

    report = progress or (lambda _fraction, _what: None)
    store, key = _store(machine)
    with folders.alone(store.with_suffix(".lock"), partial(report, 0.0, "waiting for another calibration to end")):
        found = None if force else _kept(store, key)
        if found is None:
            _require_here(machine)
            with alone(partial(report, 0.0)):
                found = _keep(store, key, _quietest(machine, report))
        elif found.disturbed and _is_rested(store) and _is_here(machine):
            with suppress(Timeout), FileLock(_measuring_lock()).acquire(blocking=False):
                if busy_cores() <= BUSY_CORES:
                    found = _keep(store, key, _quietest(machine, report, found))
    return replace(machine, calibration=found)


def kept(machine: Machine) -> Machine:
    """The machine with the calibration kept from before, if there is one; measures nothing."""
    return replace(machine, calibration=_kept(*_store(machine)))


def alone(waiting: Callable[[str], object]) -> AbstractContextManager[None]:
    """One measurement at a time on this computer: two would measure each other.

    `waiting` hears again and again when it takes turns; whatever it raises ends the wait.
    """
    return folders.alone(_measuring_lock(), partial(waiting, "waiting for another measurement to end"))


def _measuring_lock() -> Path:
    return folders.cache() / "measuring.lock"


def _store(machine: Machine) -> tuple[Path, str]:
    """The file that keeps calibrations, and the key under which this machine's lies."""
    key = f"{machine.fingerprint()}/{METHOD_VERSION}/{machine.cpu.usable_cores:g}"
    return folders.cache() / "calibration.json", key


def _is_rested(store: Path) -> bool:
    """Whether the last try is so long ago that another may be worth its seconds: what is kept is written after each."""
    return time.time() - store.stat().st_mtime > _REST_S


def _is_here(machine: Machine) -> bool:
    return machine.fingerprint() == probe().fingerprint()


def _require_here(machine: Machine) -> None:
    if not _is_here(machine):
        raise UsageError(
            f"The machine described as {machine.cpu.name!r} is not this computer, so it cannot be measured here.",
            fix="Calibrate on that computer, or pass the machine that probe() returns.",
        )


def _quietest(machine: Machine, report: Progress, *before: Calibration) -> Calibration:
    """The first of a few tries that nobody disturbs; where there is none the quietest, also of those `before`."""
    found = list(before)
    for number in range(_TRIES):
        found.append(_measure(machine, partial(_report_try, report, number)))
        if not found[-1].disturbed:
            break
    report(1.0, "done")
    return min(found, key=lambda one: one.busy_cores)


def _report_try(report: Progress, number: int, fraction: float, what: str) -> None:
    again = f", try {number + 1} of {_TRIES}: others were busy" if number else ""
    report((number + fraction) / _TRIES, what + again)


def _measure(machine: Machine, progress: Progress) -> Calibration:
    threads = max(1, int(min(machine.cpu.usable_cores, machine.cpu.physical_cores)))
    array_bytes, notes = _array_bytes(machine)
    reading = {"array_bytes": array_bytes, "threads": threads, "seconds": _SECONDS_EACH}
    product = {"sizes": _MATRIX_SIZES, "seconds": _SECONDS_EACH}
    meter = BusyMeter()
    progress(0.0, "reading memory, and multiplying matrices on one core")
    single = _run({"bandwidth": reading, "matrix": product}, threads=1)
    progress(0.6, f"multiplying matrices on {threads} cores")
    expected_rate = threads * max(single["matrix"]["rates"])
    many = _run({"matrix": {**product, "expected_rate": expected_rate}}, threads=threads)
    busy = meter.cores()
    if busy > BUSY_CORES:
        notes.append(
            f"Other processes, or other guests of its host, used {busy:.1f} cores while this computer's speed was "
            f"measured: it is faster than predictions say. It is measured again when it is quiet; "
            f"workbench machine --calibrate does so now."
        )
    how = f"dot product over {format_bytes(array_bytes)} of float32"
    return Calibration(
        read_bandwidth=Measured(tuple(single["bandwidth"]["all"]), "B/s", f"{how}, {threads} threads"),
        read_bandwidth_one_core=Measured(tuple(single["bandwidth"]["one"]), "B/s", f"{how}, 1 thread"),
        matrix_throughput=_product(many, threads),
        matrix_throughput_one_core=_product(single, 1),
        date=now(),
        threads=threads,
        busy_cores=round(busy, 2),
        versions={"method": METHOD_VERSION, **single["versions"]},
        notes=tuple(notes),
    )


def _product(answer: dict[str, Any], threads: int) -> Measured:
    size, rates = answer["matrix"]["size"], answer["matrix"]["rates"]
    return Measured(tuple(rates), "FLOP/s", f"float32 product of {size} × {size} matrices, threads: {threads}")


def _array_bytes(machine: Machine) -> tuple[int, list[str]]:
    """Size of the array to read: several times the last-level cache, at most a quarter of the memory that is free."""
    cache = _last_level_cache_bytes()
    wanted = min(max(_ARRAY_BYTES, _TIMES_CACHE * (cache or 0)), _LARGEST_ARRAY_BYTES)
    size = max(min(wanted, machine.memory.available_bytes // 4), MIB)
    if cache is None:
        return size, []
    short = size < _TIMES_CACHE * cache
    note = (
        f"The array of {format_bytes(size)} is small beside a cache of {format_bytes(cache)}: bandwidth is flattered."
    )
    return size, [note] if short else []


def _last_level_cache_bytes() -> int | None:
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with suppress(OSError):
            sizes.append(parse.cache_bytes(file.read_text()) or 0)
    return max(sizes, default=0) or None


def _run(order: dict[str, Any], *, threads: int) -> dict[str, Any]:
    """Run `kernels` in a process whose linear algebra uses `threads` threads, and return its answer."""
    kernels = Path(__file__).with_name("kernels.py")
    # -P: the modules beside the script must not stand in front of the standard library's.
    command = [sys.executable, "-P", str(kernels), json.dumps(order)]
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        raise _failure(f"status {error.returncode}", error.stderr) from error
    except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        raise _failure(str(error), "") from error
    return answer


def _failure(reason: str, details: str) -> WorkbenchError:
    return WorkbenchError(
        f"The calibration of this computer did not finish ({reason}).",
        fix="Check that numpy can be imported and that memory is free, then calibrate again.",
        details=details,
    )


def _kept(store: Path, key: str) -> Calibration | None:
    """The calibration kept under this key; None if there is none or what is there cannot be understood."""
    entry = _entries(store).get(key)
    if not isinstance(entry, dict):
        return None
    try:
        return Calibration.from_dict(entry)
    except (KeyError, TypeError, ValueError, AttributeError):  # damaged, or of another version: measure again
        return None


def _entries(store: Path) -> dict[str, Any]:
    try:
        entries = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _keep(store: Path, key: str, calibration: Calibration) -> Calibration:
    """Write the calibration beside the others, so that a reader sees the old file or the new one, never a half."""
    entries = {**_entries(store), key: calibration.to_dict()}
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=store.parent, delete=False) as temporary:
        json.dump(entries, temporary, indent=1)
    Path(temporary.name).replace(store)
    return calibration
