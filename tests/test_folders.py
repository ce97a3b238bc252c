"""Where files go."""

from __future__ import annotations

import stat
import threading
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest

from workbench import folders
from workbench.errors import UsageError

KINDS = {"cache": folders.cache, "state": folders.state, "data": folders.data}


@pytest.mark.parametrize("kind", KINDS)
def test_one_variable_moves_them_all(kind: str, home: Path) -> None:
    assert KINDS[kind]() == home / kind
    assert (home / kind).is_dir()
    assert KINDS[kind]() == home / kind  # twice changes nothing


def test_the_state_folder_is_private(home: Path) -> None:
    (home / "state").mkdir(parents=True, mode=0o755)
    assert stat.S_IMODE(folders.state().stat().st_mode) == 0o700


@pytest.mark.parametrize("folder", KINDS.values())
def test_a_home_that_cannot_be_is_one_sentence(
    folder: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("WORKBENCH_HOME", str(file))
    with pytest.raises(UsageError, match=r"cannot be created: .+\. Set WORKBENCH_HOME to a folder you can write to"):
        folder()


def test_a_home_may_be_relative_to_here_or_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("WORKBENCH_HOME", "here")
    assert folders.data() == tmp_path / "here" / "data"
    monkeypatch.setenv("WORKBENCH_HOME", "~/there")
    assert folders.data() == tmp_path / "user" / "there" / "data"


def test_without_it_the_platform_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    found = {kind: folder() for kind, folder in KINDS.items()}
    assert len(set(found.values())) == 3
    assert all(path.is_relative_to(tmp_path) and "open-model-workbench" in path.parts for path in found.values())


def test_who_waits_for_a_lock_can_give_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only before the wait: somebody loses patience while it lasts."""
    monkeypatch.setattr(folders, "WAITING_S", 0.01)
    asked, gave_up = [], threading.Event()

    def waiting() -> None:
        asked.append("still?")
        if len(asked) == 3:
            raise KeyboardInterrupt

    def work() -> None:
        with pytest.raises(KeyboardInterrupt), folders.alone(tmp_path / "lock", waiting):
            pytest.fail("it was not our turn")
        gave_up.set()

    with filelock.FileLock(tmp_path / "lock"):
        threading.Thread(target=work, daemon=True).start()
        assert gave_up.wait(10)
    with folders.alone(tmp_path / "lock", waiting):  # and nothing is held of it
        assert len(asked) == 3


def test_who_waits_gets_a_turn(tmp_path: Path) -> None:
    other = filelock.FileLock(tmp_path / "lock", thread_local=False)
    other.acquire()
    with folders.alone(tmp_path / "lock", other.release):
        assert not other.is_locked
