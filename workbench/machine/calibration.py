"""Measure how fast this computer reads memory and multiplies matrices, in under four seconds, and remember it.

The measuring itself happens in `kernels`, run as processes of their own. The result is kept in the cache folder
under the machine's fingerprint. Accelerators are not measured here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench import folders
from workbench.errors import UsageError, WorkbenchError
from workbench.evidence import Measured
from workbench.machine import parse
from workbench.machine.description import Calibration, Machine
from workbench.machine.probing import probe
from workbench.machine.processes import BusyMeter
from workbench.units import MIB, format_bytes, now

METHOD_VERSION = "1"  # raise it when the numbers would no longer mean the same: old ones are then measured again

_ARRAY_BYTES, _LARGEST_ARRAY_BYTES = 512 * MIB, 2048 * MIB
_TIMES_CACHE = 4  # an array of that many last-level caches is read from memory
_MATRIX_SIZES = (4096, 2048, 1024, 512)
_SECONDS_EACH = 0.4  # for each of the four quantities
_TIMEOUT_S = 120
BUSY_CORES = 0.2  # above that the numbers are too low, and the calibration says so
_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Progress = Callable[[float, str], None]


def calibrate(machine: Machine, *, force: bool = False, progress: Progress | None = None) -> Machine:
    """The machine with its calibration: the one kept from before, or a new one (`force` asks for a new one).

    `progress(fraction, what)` is called before each step. Raises UsageError for a machine that is not this one and
    WorkbenchError when the measuring fails.
    """
    from filelock import FileLock  # two calibrations at once would each measure half a computer

    store, key = _store(machine)
    with FileLock(store.with_suffix(".lock")):
        found = None if force else _kept(store, key)
        if found is None:
            _require_here(machine)
            found = _measure(machine, progress or (lambda _fraction, _what: None))
            _keep(store, key, found)
    return replace(machine, calibration=found)


def kept(machine: Machine) -> Machine:
    """The machine with the calibration kept from before, if there is one; measures nothing."""
    return replace(machine, calibration=_kept(*_store(machine)))


def _store(machine: Machine) -> tuple[Path, str]:
    """The file that keeps calibrations, and the key under which this machine's lies."""
    key = f"{machine.fingerprint()}/{METHOD_VERSION}/{machine.cpu.usable_cores:g}"
    return folders.cache() / "calibration.json", key


def _require_here(machine: Machine) -> None:
    if machine.fingerprint() != probe().fingerprint():
        raise UsageError(
            f"The machine described as {machine.cpu.name!r} is not this computer, so it cannot be measured here.",
            fix="Calibrate on that computer, or pass the machine that probe() returns.",
        )


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
    progress(1.0, "done")
    busy = meter.cores()
    if busy > BUSY_CORES:
        notes.append(
            f"Other processes used {busy:.1f} cores while this computer's speed was measured: it is faster than "
            f"predictions say. Measure it again when it is quiet: workbench machine --calibrate."
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


def _keep(store: Path, key: str, calibration: Calibration) -> None:
    """Write the calibration beside the others, so that a reader sees the old file or the new one, never a half."""
    entries = {**_entries(store), key: calibration.to_dict()}
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=store.parent, delete=False) as temporary:
        json.dump(entries, temporary, indent=1)
    Path(temporary.name).replace(store)
