"""Published outputs, computers put together from them, and a home of its own for every test."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from workbench.machine import Machine, from_raw

FIXTURES = Path(__file__).with_name("fixtures")

#: The name of a folder of fixtures → under what `from_raw` looks for such a text.
KEYS = {
    "nvidia-smi-L": "nvidia-smi -L",
    "windows-adapters": "Win32_VideoController",
    "windows-registry": "display class registry",
    "torch": "torch/version.py",
}
BASE = {
    "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU\nvendor_id\t: Some vendor\ncore id\t: 0\nflags\t: avx2\n",
    "/proc/meminfo": "MemTotal: 33554432 kB\nMemAvailable: 25165824 kB\n",  # 32 and 24 GiB
    "platform": "system: Linux\nrelease: 6.8.0\nmachine: x86_64\nlogical_cores: 8\n",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    return tmp_path


def text_of(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_bytes().decode("utf-8")


def texts_of(*names: str) -> dict[str, str]:
    """The texts of these fixtures as a dump; a fixture in sections ('==> key <==') holds several."""
    texts = {}
    for name in names:
        parts = re.split(r"^==> (.+) <==\n", text_of(name), flags=re.MULTILINE)
        folder = name.partition("/")[0]
        texts |= dict(zip(parts[1::2], parts[2::2], strict=True)) or {KEYS.get(folder, folder): parts[0]}
    return texts


@pytest.fixture
def captured() -> Callable[[str], str]:
    return text_of


@pytest.fixture
def machine() -> Callable[..., Machine]:
    """A computer that printed these fixtures, and the texts given by key; an ordinary one for the rest."""

    def made(*names: str, **texts: str) -> Machine:
        return from_raw({**BASE, **texts_of(*names), **texts})

    return made
