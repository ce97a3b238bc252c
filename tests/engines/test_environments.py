"""Environments on demand: made, cut short and resumed, used and removed; with packages and sources of our own."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import filelock
import psutil
import pytest

from workbench import catalog
from workbench.catalog import Packages, Recipe, Sources
from workbench.engines import environments
from workbench.engines.environments import commands, packages, this_platform
from workbench.engines.environments.commands import Failed
from workbench.errors import AssetUnavailable, EngineUnavailable, NoSpace, UnknownName, UsageError
from workbench.machine import Machine
from workbench.units import MIB

PINNED = ["tiny-engine==1.0", "tiny.extra==2.0"]


def write_wheel(folder: Path, name: str, version: str, requires: str = "") -> None:
    """A wheel with one module and, if it is the engine, one program."""
    module = name.replace("-", "_").replace(".", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": "def main():\n    print('serving')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {module}:main\n",
    }
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD")))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip and the workbench may look: a folder with two wheels and an archive of sources."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder, "tiny-engine", "1.0", "Requires-Dist: tiny.extra\n")
    write_wheel(folder, "tiny.extra", "2.0")
    write_sources(folder / "tiny_sources-1.0.tar.gz")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


def write_sources(path: Path) -> None:
    files = {
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.5)\nproject(tiny CXX)\n"
        "set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)\nadd_executable(tiny-server main.cpp)\n",
        "main.cpp": "int main() { return WORD; }\n",
        "LICENSE": "MIT\n",
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {**{f"tiny_sources-1.0/vendor/{n}": t for n, t in files.items()}, "../evil": "x"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


@pytest.fixture
def recipes(tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Recipe]:
    """A catalog with one environment of packages and one program to compile."""
    (tmp_path / "pins.txt").write_text("\n".join(["# as tried", *PINNED]))
    archive = index / "tiny_sources-1.0.tar.gz"
    of_packages = Packages(("tiny-engine==1.0",), ("3.11", "4.0"), str(tmp_path / "pins.txt"), unwanted=("tiny.extra",))
    of_sources = Sources(
        "tiny-sources", "1.0", archive.name, archive.stat().st_size, hashlib.sha256(archive.read_bytes()).hexdigest(),
        "tiny_sources-1.0/vendor", ("-DCMAKE_CXX_FLAGS=-DWORD=7",), "tiny-server", 10 * MIB,
    )  # fmt: skip
    common = {"licence": "MIT", "source": "test", "checked": date(2026, 1, 1), "tried": date(2026, 1, 1),
              "download_bytes": MIB, "installed_bytes": 20 * MIB, "platforms": (this_platform(),)}  # fmt: skip
    found = {
        "tiny-cpu": Recipe("tiny-cpu", "Tiny", "tiny", "1.0", "cpu", program="bin/tiny-engine", made_from=of_packages,
                           **common),  # type: ignore[arg-type]
        "tiny-cuda": Recipe("tiny-cuda", "Tiny for CUDA", "tiny", "1.0", "cuda", program="bin/tiny-engine",
                            made_from=of_packages, **common),  # type: ignore[arg-type]
        "small": Recipe("small", "Small", "small", "1.0", "cpu", program="bin/tiny-server", made_from=of_sources,
                        **common),  # type: ignore[arg-type]
    }  # fmt: skip
    monkeypatch.setattr(catalog, "environments", lambda: found)
    return found


needs_compiler = pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="no C++ compiler here")


# -- packages --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recipes")
def test_an_environment_from_a_cut_short_try_to_its_removal(index: Path, machine: Machine) -> None:
    heard: list[tuple[float | None, str]] = []

    def cut_short(fraction: float | None, text: str) -> None:
        heard.append((fraction, text))
        if text == "Tiny, installing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.install("tiny", machine=machine, progress=cut_short)
    assert environments.installed("tiny") is None  # half of one is none
    assert heard[1] == (0.0, "Tiny, downloading: 0 of 2 packages, tiny-engine, tiny.extra")

    for wheel in index.glob("*.whl"):  # what was downloaded is kept: nothing has to be had again
        wheel.unlink()
    made = environments.install("tiny", machine=machine, progress=lambda fraction, text: heard.append((fraction, text)))
    assert environments.installed("tiny") == environments.installed("tiny-cpu") == made
    assert subprocess.run([made.program], capture_output=True, text=True, check=True).stdout == "serving\n"
    assert made.bytes == pytest.approx(environments.folder_bytes(made.folder), rel=0.01)
    site = next(made.folder.glob("lib/*/site-packages"))
    assert (site / "tiny_engine.py").exists()
    assert not (site / "tiny_extra.py").exists()  # the recipe does not want it
    assert [path.name for path in made.folder.parent.iterdir() if path.is_dir()] == [made.folder.name]

    heard.clear()
    assert environments.install("tiny-cpu", progress=lambda *said: heard.append(said)) == made
    assert heard == []  # there is nothing to do

    with subprocess.Popen([environments.python(made.folder), "-c", "import time; time.sleep(60)"]) as user:
        with pytest.raises(UsageError, match=rf"in use: process {user.pid} runs from it.*workbench stop"):
            environments.remove("tiny")
        user.kill()
    assert environments.remove("tiny") >= made.bytes
    assert environments.installed("tiny") is None
    assert environments.remove("tiny") == 0


def test_other_pins_are_another_environment(recipes: dict[str, Recipe]) -> None:
    recipe = recipes["tiny-cpu"]
    how = recipe.made_from
    assert isinstance(how, Packages)
    before = environments._key(recipe)
    assert environments._key(replace(recipe, version="1.1")) != before
    Path(how.pins).write_text("tiny-engine==1.0")
    assert environments._key(recipe) != before


def test_a_half_made_environment_is_cleared_away(recipes: dict[str, Recipe]) -> None:
    half = environments._root() / f"{environments._key(recipes['tiny-cpu'])}-dead"
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "tiny-engine").touch()
    assert environments.installed("tiny") is None
    environments._clear(recipes["tiny-cpu"])
    assert not half.exists()


def test_only_what_is_missing_or_cut_short_is_downloaded(
    tmp_path: Path, recipes: dict[str, Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, how, asked = tmp_path / "work", recipes["tiny-cpu"].made_from, []
    assert isinstance(how, Packages)
    work.mkdir()
    write_wheel(work, "tiny-engine", "1.0")
    (work / "tiny_extra-2.0-py3-none-any.whl").write_bytes(b"PK half of it")
    monkeypatch.setattr(packages, "run", lambda argv, *_: asked.append(argv))
    packages._download(packages.Pip(tmp_path, ""), how, work, commands.Report("Tiny"))
    (command,) = asked
    assert command[-1] == "tiny.extra==2.0"
    assert "tiny-engine==1.0" not in command
    assert not (work / "tiny_extra-2.0-py3-none-any.whl").exists()


def test_the_further_index_is_asked_once_the_users_own_has_not_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], *_: object) -> None:
        asked.append(argv)
        if "--extra-index-url" not in argv:
            raise Failed(1, ["ERROR: No matching distribution found for torch==2.13.0+cpu"])

    monkeypatch.setattr(packages, "run", run)
    pip = packages.Pip(tmp_path, "https://example.org/whl")
    pip.fetch("download", "torch==2.13.0+cpu")
    pip.fetch("install", "torch")
    assert [argv[-2:] == ["--extra-index-url", "https://example.org/whl"] for argv in asked] == [False, True, True]
    with pytest.raises(Failed):
        packages.Pip(tmp_path, "").fetch("download", "torch==2.13.0+cpu")


# -- programs --------------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.usefixtures("recipes")
def test_a_program_is_compiled_once(index: Path) -> None:
    heard: list[str] = []

    def cut_short(_fraction: float | None, text: str) -> None:
        if "configuring" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        environments.install("small", progress=cut_short)
    (index / "tiny_sources-1.0.tar.gz").unlink()
    made = environments.install("small", progress=lambda _fraction, text: heard.append(text))
    assert subprocess.run([made.program], check=False).returncode == 7  # the recipe's own option
    assert (made.folder / "LICENSE").read_text() == "MIT\n"
    assert any("compiling for this processor: 2 of 2 steps" in text for text in heard)
    assert not list(made.folder.parent.glob("*.work"))  # sources and objects are gone
    assert not list(made.folder.parent.parent.rglob("evil"))
    assert environments.remove("small") > 0


@pytest.mark.usefixtures("recipes")
def test_without_a_compiler_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineUnavailable, match=r"no C\+\+ compiler was found \(on Debian.*apt install g\+\+"):
        environments.install("small")


def test_an_archive_with_another_content_is_refused(index: Path, recipes: dict[str, Recipe]) -> None:
    (index / "tiny_sources-1.0.tar.gz").write_bytes(b"\0" * recipes["small"].made_from.archive_bytes)  # type: ignore[union-attr]
    with pytest.raises(AssetUnavailable, match="SHA-256 is not the recorded one"):
        environments.install("small")


# -- what speaks against it ------------------------------------------------------------------------------------


def test_what_cannot_be_here_says_why(recipes: dict[str, Recipe], machine: Machine) -> None:
    tiny = recipes["tiny-cpu"]
    how = tiny.made_from
    assert isinstance(how, Packages)
    assert environments.obstacle(tiny, machine) == ""
    assert "this is linux" in environments.obstacle(replace(tiny, platforms=("beos-m68k",)))
    assert "needs an NVIDIA GPU" in environments.obstacle(recipes["tiny-cuda"], machine)
    assert "needs Python 2.6 or newer, below 2.8" in environments.obstacle(
        replace(tiny, made_from=replace(how, python=("2.6", "2.8")))
    )


@pytest.mark.usefixtures("recipes")
def test_too_full_a_disk_is_seen_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, MIB))  # type: ignore[attr-defined]
    with pytest.raises(NoSpace, match=r"Tiny needs .* WORKBENCH_HOME"):
        environments.install("tiny")
    assert not list(environments._root().glob("tiny-cpu-*[!k]/"))


@pytest.mark.usefixtures("recipes")
def test_an_unknown_name_meets_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean small"):
        environments.find("smal")
    with pytest.raises(UnknownName):
        environments.remove("nothing-like-it")


@pytest.mark.usefixtures("recipes")
def test_two_at_once_wait_for_each_other(machine: Machine) -> None:
    """Whoever comes second hears why it waits, and goes on when the first is done."""
    heard, done = threading.Event(), threading.Event()

    def second() -> None:
        with environments._alone(environments.find("tiny"), commands.Report("Tiny", lambda *_: heard.set())):
            done.set()

    environments._root().mkdir(parents=True)
    with filelock.FileLock(environments._root() / "tiny-cpu.lock"):
        waiting = threading.Thread(target=second)
        waiting.start()
        assert heard.wait(10)
        assert not done.is_set()
    waiting.join(10)
    assert done.is_set()


@pytest.mark.parametrize(
    ("lines", "kind", "words"),
    [
        (["ERROR: Could not install: [Errno 28] No space left on device"], NoSpace, "The disk was full"),
        (["WARNING: Retrying: Temporary failure in name resolution", "ERROR: No matching distribution found for x==1"],
         AssetUnavailable, "cannot be reached (Temporary failure in name resolution)"),
        (["ERROR: No matching distribution found for torch==2.13.0+cpu"], AssetUnavailable, "torch==2.13.0+cpu"),
        (["working", "ERROR: it broke", "hint"], EngineUnavailable, "ended with status 3 and said: ERROR: it broke"),
        ([], EngineUnavailable, "pip ended with status 3."),
    ],
)  # fmt: skip
def test_why_a_tool_failed(lines: list[str], kind: type[Exception], words: str) -> None:
    error = Failed(3, lines).explained("Tiny", "pip")
    assert type(error) is kind
    assert words in str(error)
    assert error.fix


def test_a_tool_sees_no_secrets_and_none_of_our_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    lines: list[str] = []
    commands.run(["env"], lines.append, env={"WORD": "given"})
    assert not any("sk-secret" in line or line.startswith("PYTHONPATH=") for line in lines)
    assert "WORD=given" in lines
    with pytest.raises(Failed) as caught:
        commands.run(["sh", "-c", "echo last words; exit 3"])
    assert (caught.value.status, caught.value.lines) == (3, ("last words",))


def test_an_interrupted_tool_ends() -> None:
    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run(["sh", "-c", "echo begun; exec sleep 60"], interrupt)


def test_an_interrupted_tool_ends_with_all_it_started() -> None:
    """As cmake, which starts ninja, which starts compilers, and writes where we read."""
    pids = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        commands.run(["sh", "-c", "sleep 30 & echo $!; wait"], interrupt)
    assert time.monotonic() - begin < 10
    assert not psutil.pid_exists(pids[0]) or psutil.Process(pids[0]).status() == psutil.STATUS_ZOMBIE


# -- the catalog -----------------------------------------------------------------------------------------------


def test_every_recipe_is_for_an_engine_of_the_registry() -> None:
    from workbench.engines import ENGINES

    for recipe in catalog.environments().values():
        assert recipe.engine in ENGINES
        assert recipe.tried or "not tried" in recipe.note


def test_pins_name_a_version_each_and_what_was_asked_for() -> None:
    for recipe in catalog.environments().values():
        if isinstance(recipe.made_from, Packages) and recipe.made_from.pins:
            pinned = packages.pins(recipe.made_from)
            assert all(line.count("==") == 1 for line in pinned)
            assert set(recipe.made_from.packages) <= set(pinned)
            assert len({line.partition("==")[0] for line in pinned}) == len(pinned)


@pytest.mark.parametrize("names", [("vllm", "vllm-cpu"), ("llama.cpp", "llama.cpp-native")])
def test_an_engine_finds_its_recipe(names: tuple[str, str], machine: Machine) -> None:
    assert environments.find(names[0], machine).name == environments.find(names[1]).name == names[1]


def test_a_card_of_nvidias_chooses_cuda(machine: Machine) -> None:
    from workbench.machine import Accelerator

    with_card = replace(machine, accelerators=(Accelerator("NVIDIA", "H100", 0, 80 * 2**30),))
    assert environments.find("vllm", with_card).name == "vllm-cuda"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "abacus"}, "expected cpu or cuda"),
        ({"tried": None}, "says why"),
        ({"installed_bytes": None}, "measured sizes"),
    ],
)
def test_a_wrong_recipe_is_refused(recipes: dict[str, Recipe], changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(recipes["tiny-cpu"], **changes)  # type: ignore[arg-type]


def test_packages_are_pinned() -> None:
    with pytest.raises(ValueError, match="'vllm' is not pinned"):
        Packages(("vllm",), ("3.11", "3.15"))
