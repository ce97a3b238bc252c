"""Recordings whose words are known, for measuring what engines make of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.loader import load
from workbench.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of sound in the folder of an asset, and what is said in it."""

    name: str
    title: str
    asset: str
    file: str
    text: str
    language: str
    licence: str
    source: str
    checked: date


@cache
def recordings() -> dict[str, Recording]:
    """Every recording by its name."""
    return load("recordings.yaml", Recording)


def recording(name: str) -> Recording:
    """The recording of this name; raises UnknownName."""
    if name not in recordings():
        raise UnknownName("recording", name, recordings())
    return recordings()[name]
