"""An environment of Python packages: made by `venv`, filled by the pip of the workbench's own Python.

First every package of the pins is downloaded, a few at a time, into a folder that a later try finds again; then pip
installs from there. Whatever index, proxy and certificates pip is configured with are pip's business.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.catalog.environments import PINS, Packages
from workbench.engines.environments.commands import Failed, Report, run

AT_ONCE = 8  # packages per run of pip while downloading: what a killed run may lose
DOWNLOADED, INSTALLED = 0.6, 0.97  # where these steps end, as fractions of the whole


def obstacle(title: str, how: Packages) -> str:
    """Why this Python cannot hold these packages; empty if it can."""
    first, too_new = how.python
    if not _version(first) <= sys.version_info[:2] < _version(too_new):
        return f"{title} needs Python {first} or newer, below {too_new}; this is {sys.version.split()[0]}."
    if missing := [name for name in ("pip", "venv") if find_spec(name) is None]:
        return f"{title} is installed by Python's {missing[0]}, which is missing (apt install python3-venv, or pip)."
    return ""


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split("."))


def pins(how: Packages) -> list[str]:
    """Every package of the environment as it was tried, such as torch==2.13.0; none where nobody tried it."""
    if not how.pins:
        return []
    lines = (PINS / how.pins).read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def make(how: Packages, folder: Path, work: Path, report: Report) -> None:
    """Fill the empty `folder`. What is downloaded lies in `work`, also for the next try if this one is cut short."""
    report(0.0, "making the environment")
    run_venv(folder)
    pip = Pip(folder, how.extra_index)
    try:
        _download(pip, how, work, report)
        _install(pip, how, folder, work, report)
        if how.unwanted:
            report(INSTALLED, "removing what does not fit")
            run(pip.command("uninstall", "--yes", *how.unwanted))
    except Failed as error:
        raise error.explained(report.title, "pip") from error


def run_venv(folder: Path) -> None:
    """An empty environment at `folder`, without a pip of its own."""
    run([sys.executable, "-I", "-m", "venv", "--without-pip", folder])


class Pip:
    """pip, working in an environment. The recipe's index is asked as well once the user's own does not have it all."""

    def __init__(self, folder: Path, extra_index: str) -> None:
        self.python = python(folder)
        self._further = ("--extra-index-url", extra_index) if extra_index else ()
        self._asked: tuple[str, ...] = ()

    def command(self, *words: str | Path) -> list[str | Path]:
        """A command line of pip."""
        options = ("--python", self.python, "--disable-pip-version-check", "--no-input")
        return [sys.executable, "-I", "-m", "pip", *options, *words]

    def fetch(self, *words: str | Path, on_line: Callable[[str], None] = lambda _line: None) -> None:
        """A command that asks the indexes; raises Failed."""
        try:
            run(self.command(*words, *self._asked), on_line)
        except Failed as error:
            if not error.missing or self._asked == self._further:
                raise
            self._asked = self._further
            run(self.command(*words, *self._asked), on_line)


def python(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _download(pip: Pip, how: Packages, work: Path, report: Report) -> None:
    """Bring the wheels of the pins into `work`; those that lie there whole are not fetched again."""
    for cut_short in [one for one in work.glob("*.whl") if not zipfile.is_zipfile(one)]:
        cut_short.unlink()
    wanted = pins(how)
    missing = [one for one in wanted if not _lies_in(work, one)]
    for some in _by(AT_ONCE, missing):
        done = len(wanted) - len(missing) + missing.index(some[0])
        report(DOWNLOADED * done / len(wanted), "downloading", f"{done} of {len(wanted)} packages, {_names(some)}")
        pip.fetch("download", "--no-deps", "--only-binary=:all:", "--progress-bar=off", "--dest", work, *some)


def _lies_in(work: Path, pin: str) -> bool:
    name, _, version = pin.partition("==")
    file = re.sub(r"[-_.]+", "_", name).lower()
    have = (one.name.lower().split("-") for one in work.glob("*.whl"))
    return any(re.sub(r"[-_.]+", "_", words[0]) == file and words[1] == version for words in have)


def _by(count: int, items: Sequence[str]) -> Iterator[Sequence[str]]:
    return (items[start : start + count] for start in range(0, len(items), count))


def _names(some: Sequence[str]) -> str:
    return ", ".join(one.partition("==")[0] for one in some[:3]) + (" …" if len(some) > 3 else "")


def _install(pip: Pip, how: Packages, folder: Path, work: Path, report: Report) -> None:
    """Let pip resolve and install, from `work` first; a finished package shows in the folder."""
    wanted, constraint = pins(how), ["--constraint", PINS / how.pins] if how.pins else []
    site = _site_packages(folder)

    def on_line(line: str) -> None:
        count = sum(1 for _ in site.glob("*.dist-info"))
        share = min(1.0, count / len(wanted)) if wanted else None
        fraction = None if share is None else DOWNLOADED + (INSTALLED - DOWNLOADED) * share
        report(fraction, "installing", _said(line))

    words: list[Any] = ["install", "--progress-bar=off", "--find-links", work, *constraint, *how.packages]
    report(DOWNLOADED, "installing")
    pip.fetch(*words, on_line=on_line)


def _site_packages(folder: Path) -> Path:
    if sys.platform == "win32":
        return folder / "Lib" / "site-packages"
    return folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _said(line: str) -> str:
    """What a line of pip means, shortly."""
    word, _, rest = line.strip().partition(" ")
    if word in ("Collecting", "Processing", "Downloading"):
        return f"reading {Path(rest.split(' ')[0]).name}"
    return ""
