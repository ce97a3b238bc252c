"""Running a tool that takes minutes: its lines are watched and kept, its end is explained."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from workbench.errors import AssetUnavailable, EngineUnavailable, NoSpace, WorkbenchError
from workbench.secrets import private_environment

KEPT_LINES, TICK_S, END_S = 40, 1.0, 5.0
#: What tools say when they cannot reach what they want.
_OFFLINE = re.compile(
    r"(Temporary failure in name resolution|Name or service not known|Failed to establish a new connection|"
    r"Network is unreachable|Connection (?:refused|reset|aborted)|timed out|Max retries exceeded|"
    r"Remote end closed connection|ProxyError|Could not resolve host)",
    re.IGNORECASE,
)
_FULL = re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE)
_MISSING = re.compile(r"No matching distribution found for (?P<what>\S+)")


Progress = Callable[[float | None, str], None]


@dataclass(frozen=True, slots=True)
class Report:
    """Says which step of making the thing called `title` goes on, and what fraction is done where anybody knows."""

    title: str
    progress: Progress | None = None

    def __call__(self, fraction: float | None, step: str, detail: str = "") -> None:
        if self.progress:  # what comes before a colon changes with the step alone
            self.progress(fraction, f"{self.title}, {step}" + (f": {detail}" if detail else ""))


class Failed(Exception):
    """A tool ended with an error; `lines` are the last ones it wrote."""

    def __init__(self, status: int, lines: Sequence[str]) -> None:
        super().__init__(f"status {status}")
        self.status, self.lines = status, tuple(lines)

    @property
    def missing(self) -> str:
        """The distribution that no index has; empty if that is not what went wrong."""
        return next((found["what"] for line in self.lines if (found := _MISSING.search(line))), "")

    def explained(self, title: str, tool: str) -> WorkbenchError:
        """What the user is told, in one sentence, and what to do."""
        text = "\n".join(self.lines)
        if _FULL.search(text):
            return NoSpace(
                f"The disk was full before {title} was installed.",
                fix="Free some space, or set WORKBENCH_HOME to a folder on another disk, and install again.",
                details=text,
            )
        if found := _OFFLINE.search(text):
            return AssetUnavailable(
                f"{title} cannot be downloaded: the package index cannot be reached ({found[0]}).",
                fix="Check the connection and install again: what has been downloaded is kept.", details=text,
            )  # fmt: skip
        if self.missing:
            return AssetUnavailable(
                f"{title} cannot be downloaded: no package index that pip is configured with has {self.missing} for "
                "this computer.",
                fix="`pip config list` shows the indexes.", details=text,
            )  # fmt: skip
        errors = [line for line in self.lines if "error" in line.lower()]
        said = (errors or list(self.lines) or [""])[-1]
        return EngineUnavailable(
            f"{title} could not be installed: {tool} ended with status {self.status}"
            + (f" and said: {said.strip()[:300]}" if said else "."),
            fix="Install again; what has been done so far is kept.", details=text,
        )  # fmt: skip


def run(
    argv: Sequence[str | Path],
    on_line: Callable[[str], None] = lambda _line: None,
    *,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a tool to its end; raises Failed. It sees no secrets of the shell, and none of this process's packages.

    on_line hears every line, and the last one again whenever the tool was silent for a second. When this process is
    interrupted, so is the tool, with all that it started.
    """
    inherited = {name: value for name, value in private_environment(os.environ).items() if name != "PYTHONPATH"}
    lines: deque[str] = deque(maxlen=KEPT_LINES)
    with subprocess.Popen(
        [os.fspath(word) for word in argv], env={**inherited, **(env or {})}, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0,
    ) as tool:  # fmt: skip
        try:
            for line in _lines(tool):
                if line is not None:
                    lines.append(line.rstrip())
                on_line(lines[-1] if lines else "")
        except BaseException:
            _end(tool)
            raise
    if tool.returncode:
        raise Failed(tool.returncode, lines)


def _end(tool: subprocess.Popen[str]) -> None:
    """With its whole group: cmake ends at once, and ninja below it would go on to the end, with our end of the pipe."""
    if sys.platform == "win32":
        return tool.terminate()
    deadline = time.monotonic() + END_S
    with suppress(ProcessLookupError):  # nobody is left
        os.killpg(tool.pid, signal.SIGTERM)
        while time.monotonic() < deadline:  # ninja ends compilers that are groups of their own
            tool.poll()
            os.killpg(tool.pid, 0)
            time.sleep(0.02)
        os.killpg(tool.pid, signal.SIGKILL)
    return None


def _lines(tool: subprocess.Popen[str]) -> Iterator[str | None]:
    """Each line as it comes, and None after a second without one."""
    assert tool.stdout is not None  # noqa: S101 - whoever starts the tool asks for a pipe
    queue: Queue[str | None] = Queue()
    output = tool.stdout

    def read() -> None:
        for line in output:
            queue.put(line)
        queue.put(None)

    reader = Thread(target=read, daemon=True)
    reader.start()
    while True:
        try:
            line = queue.get(timeout=TICK_S)
        except Empty:
            yield None
            continue
        if line is None:
            reader.join()
            return
        yield line
