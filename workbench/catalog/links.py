"""Links: what carries data between devices, and between a device and main memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from workbench.catalog.loader import load
from workbench.catalog.names import Names


@dataclass(frozen=True, slots=True)
class Link:
    """One kind of link, one direction of it.

    gb_per_s: nominal, in 10⁹ bytes per second and device, after line coding; usable: the fraction of it that large
    copies from pinned memory reach; hop_us: what one step of a small collective costs; start_us: what starting a
    collective costs, both in microseconds as the vendor's library assumes, None where nobody says;
    host: it reaches main memory, not only other devices.
    """

    name: str
    title: str
    gb_per_s: float
    usable: float
    host: bool
    source: str
    checked: date
    hop_us: float | None = None
    start_us: float | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.gb_per_s > 0 and 0 < self.usable <= 1):
            raise ValueError(f"{self.gb_per_s} GB/s of which {self.usable} are usable: expected some, and at most 1")

    @property
    def bytes_per_s(self) -> float:
        """What a large copy reaches."""
        return self.gb_per_s * 1e9 * self.usable


@cache
def links() -> dict[str, Link]:
    """Every recorded link by its name."""
    return load("links.yaml", Link)


def link(text: str) -> Link:
    """The link called `text`, by name or alias; raises UnknownName or AmbiguousName."""
    return links()[_names().find(text)]


@cache
def _names() -> Names:
    return Names("link", {name: (one.title, *one.aliases) for name, one in links().items()})
