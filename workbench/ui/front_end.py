"""Which front end shows a notebook, as far as a panel has to behave differently. Reads the environment only."""

from __future__ import annotations

import os
from collections.abc import Mapping


def is_dashboard(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the kernel serves a page of Voilà, where nobody can run a cell."""
    # A preheated kernel lacks SERVER_SOFTWARE; a server extension sets the base address too.
    return any(name in environment for name in ("VOILA_BASE_URL", "VOILA_PREHEAT")) or environment.get(
        "SERVER_SOFTWARE", ""
    ).startswith("voila")


def shows_updates_from_threads(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether widgets changed by a thread are redrawn. Colab does not; jobs run in the foreground there."""
    return "COLAB_RELEASE_TAG" not in environment
