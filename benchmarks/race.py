"""The race of everything that can be started here, and the regret of what was picked beforehand, use by use.

The ledger that the pick may look at is the user's own: what earlier measurements on this machine taught it.
"""

from __future__ import annotations

from typing import Any

from workbench.measurement import race


def run() -> list[dict[str, Any]]:
    """One race for each use, with every lap."""
    told = [""]

    def progress(_: float | None, text: str) -> None:
        if text != told[0]:
            told[0] = text
            print(f"  {text}", flush=True)

    return [one.to_dict() for one in race("smollm2-135m-instruct", repeats=3, progress=progress)]
