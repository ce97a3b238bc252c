"""Running one solution that a model wrote, in a process that may do nothing but compute, and judging what it gives.

The values that tests expect stay here and never enter that process, so no trick inside it can fake a pass: not ending
early, not an `==` that is always true, not a rewritten harness. The process itself is `confined`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from workbench.errors import EngineUnavailable, StartFailed
from workbench.measurement.code.problems import Check
from workbench.units import MIB, format_bytes

Kind = Literal["passed", "failed", "error", "timeout", "memory", "refused"]
PROGRAM = Path(__file__).with_name("confined.py")
OPTIONS = ("-s", "-P", "-S", "-B")  # no site packages of any kind, no current folder on the path, nothing written
ENVIRONMENT = {"PYTHONHASHSEED": "0"}  # the same answer gets the same verdict, whatever the order of its sets
FILES_STAY_WHOLE = 3  # the version of Landlock that refuses to cut files, too
MOST_RESULT_BYTES = 4 * MIB  # of all results of one run
LONGEST_SHOWN, LONGEST_ERROR = 120, 400  # characters of a value and of an exception in a message


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use: seconds of the processor and on the clock, bytes of memory."""

    cpu_s: int = 4
    wall_s: float = 12.0
    memory_bytes: int = 256 * MIB


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. test: the test that did not pass, if it came to that; message: what happened, in a sentence.

    passed: every test; failed: a test gave something else; error: it could not be run, or ended itself; timeout,
    memory: it needed more than its limits; refused: it tried what the sandbox forbids.
    """

    kind: Kind
    message: str = ""
    test: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return self.kind == "passed"


@dataclass(frozen=True, slots=True)
class Protections:
    """What the sandbox guards against on this computer and what it does not, each as 'kind: what'."""

    covered: tuple[str, ...]
    not_covered: tuple[str, ...]


def run(source: str, checks: Sequence[Check], limits: Limits | None = None, *, audit: bool = True) -> Outcome:
    """Run `source` in the sandbox and judge it by its tests.

    audit: False leaves out the sandbox's last layer, Python's own; tests of the others need that.
    Raises EngineUnavailable where there is no sandbox, StartFailed when it does not come up.
    """
    limits = limits or Limits()
    begin = time.monotonic()
    done = _start(source, [check.call for check in checks], limits, audit=audit)
    kind, message, test = _judge(done, checks, limits)
    return Outcome(kind, message, test, time.monotonic() - begin)


@cache
def protections(limits: Limits | None = None) -> Protections:
    """What holds on this computer: asked of the sandbox itself, once."""
    limits = limits or Limits()
    layers = _start("", [], limits, audit=True).layers
    files, whole, calls = layers["landlock"] > 0, layers["landlock"] >= FILES_STAY_WHOLE, bool(layers["seccomp"])
    guarded = [
        (True, f"time: more than {limits.cpu_s} s of the processor, or {limits.wall_s:g} s on the clock"),
        (bool(layers["memory"]), f"memory: more than {format_bytes(limits.memory_bytes)}"),
        (files, f"files: reading anything but Python's own library; {_by(files)}"),
        (True, "disk: writing a single byte to any file; an empty folder is the current one"),
        (whole, f"disk: emptying a file; {_by(whole)}"),
        (files and calls, f"disk: deleting or renaming a file, or changing its rights; {_by(files and calls)}"),
        (calls, f"network: connections of any kind; {_by(calls)}"),
        (calls, f"processes: starting one, or a thread, and signals to others; {_by(calls)}"),
        (True, "secrets: your environment, and the values that tests expect; neither is in the process"),
        (files, f"secrets: the same on the disk and in other processes, to be read there; {_by(files)}"),
    ]
    open_anyway = (
        "names: asking whether a file exists and how large it is",
        "flaws: those of the kernel and the processor",
    )
    return Protections(
        tuple(text for covered, text in guarded if covered),
        (*(text for covered, text in guarded if not covered), *open_anyway),
    )


def _by(kernel: bool) -> str:
    return "the kernel refuses it" if kernel else "only Python's audit hook refuses it, which code can get around"


# -- the process -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Done:
    """What a run left: the layers in force (Landlock by its version), its results in order, and how it ended (None: it
    was stopped)."""

    layers: Mapping[str, int]
    results: tuple[Any, ...]
    exit_code: int | None
    flooded: bool


def _start(source: str, calls: list[str], limits: Limits, *, audit: bool) -> _Done:
    if sys.platform == "win32":
        raise EngineUnavailable("There is no sandbox for generated code on Windows.", fix="Use Linux, WSL or macOS.")
    job = {
        "source": source, "calls": calls, "audit": audit,
        "cpu_s": limits.cpu_s, "memory_bytes": limits.memory_bytes,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="workbench-run-") as empty, _process(empty) as process:
        try:
            data, in_time, flooded = _exchange(process, json.dumps(job).encode(), limits.wall_s)
            exit_code = _exit_code(process, limits.wall_s) if in_time and not flooded else None
        finally:  # also when the user interrupts
            with suppress(ProcessLookupError, PermissionError):  # nobody is left of the group
                os.killpg(process.pid, signal.SIGKILL)
    layers, *results = [*_lines(data)] or [None]
    if not isinstance(layers, dict):
        raise StartFailed(
            "The sandbox for generated code did not start.", fix=f"Try: {sys.executable} {PROGRAM}",
            details=f"exit code {exit_code}, output {data[:400]!r}",
        )  # fmt: skip
    return _Done(layers, tuple(results), exit_code, flooded)


def _process(folder: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *OPTIONS, str(PROGRAM)], cwd=folder, env=ENVIRONMENT, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _exit_code(process: subprocess.Popen[bytes], wall_s: float) -> int | None:
    """How it ended; None for one that says no more and stays."""
    try:
        return process.wait(wall_s)
    except subprocess.TimeoutExpired:
        return None


def _exchange(process: subprocess.Popen[bytes], job: bytes, wall_s: float) -> tuple[bytes, bool, bool]:
    """Hand over the job and read the results; whether they ended in time, and whether they were too many."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
    deadline, data = time.monotonic() + wall_s, b""
    try:
        process.stdin.write(job)
        process.stdin.close()
    except BrokenPipeError:
        return data, True, False
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and selector.select(left):
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk or len(data) > MOST_RESULT_BYTES:
                return data, True, bool(chunk)
            data += chunk
    return data, False, False


def _lines(data: bytes) -> Iterator[Any]:
    """The results, until one is not what the program writes."""
    for line in data.splitlines():
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            return


# -- judging ---------------------------------------------------------------------------------------------------


def _judge(done: _Done, checks: Sequence[Check], limits: Limits) -> tuple[Kind, str, str]:
    """Kind of outcome, message, and the test that decided."""
    for result, check in zip(done.results, (None, *checks), strict=False):
        found = _defined(result) if check is None else _tested(result, check)
        if found:
            return *found, check.text if check else ""
    answered = len(done.results) - 1  # the first result is the definition
    if answered >= len(checks):
        return "passed", "", ""
    test = checks[answered].text if answered >= 0 else ""
    return *_ended(done, limits), test


def _defined(result: Any) -> tuple[Kind, str] | None:
    """What is wrong with running the solution itself."""
    match result:
        case {"value": None}:
            return None
        case {"raised": [*names], "text": text}:
            return _kind_of(names) or "error", _error(names, text)
    return "error", "it wrote something that is no result"


def _tested(result: Any, check: Check) -> tuple[Kind, str] | None:
    """What is wrong with the result of one test."""
    match result:
        case {"raised": [*names], "text": _} if check.raises and check.raises in names:
            return None
        case {"raised": [*names], "text": text}:
            return _kind_of(names) or "failed", _error(names, text)
        case {"value": value}:
            return _compared(value, check)
    return "error", "it wrote something that is no result"


def _compared(encoded: Any, check: Check) -> tuple[Kind, str] | None:
    try:
        value = _decoded(encoded)
        if not check.raises and value == check.gives:
            return None
        shown = repr(value)
    except (TypeError, ValueError, KeyError, RecursionError):
        shown = str(encoded.get("other")) if isinstance(encoded, dict) else "something that is no value"
    shown = shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + "…"
    return "failed", f"it gave {shown}"


def _decoded(encoded: Any) -> Any:
    """The value that `confined.plain` wrote; raises KeyError, TypeError or ValueError for anything else."""
    if not isinstance(encoded, dict):
        return encoded
    ((name, items),) = encoded.items()
    if name == "dict":
        return {_decoded(key): _decoded(item) for key, item in items}
    return {"list": list, "tuple": tuple, "set": set}[name](_decoded(item) for item in items)


def _kind_of(names: Sequence[str]) -> Kind | None:
    return "memory" if "MemoryError" in names else "refused" if "PermissionError" in names else None


def _error(names: Sequence[Any], text: Any) -> str:
    return f"{names[0] if names else 'error'}: {text}"[:LONGEST_ERROR].rstrip(": ")


def _ended(done: _Done, limits: Limits) -> tuple[Kind, str]:
    """Why there are fewer results than tests."""
    if done.flooded:
        return "error", "it wrote more results than tests can have"
    if done.exit_code is None:
        return "timeout", f"it took longer than {limits.wall_s:g} s"
    if done.exit_code == -signal.SIGXCPU:
        return "timeout", f"it computed for more than {limits.cpu_s} s"
    if done.exit_code < 0:
        return "error", f"it was ended by {signal.Signals(-done.exit_code).name}"
    return "error", f"it ended itself with exit code {done.exit_code}"
