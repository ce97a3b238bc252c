"""The environment that a process of ours gets: everything but the secrets of the shell it was started from."""

from __future__ import annotations

from collections.abc import Mapping

_SECRET_NAMES = ("_API_KEY", "_TOKEN", "_SECRET", "_PASSWORD", "_ACCESS_KEY", "_CREDENTIALS")


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without variables whose names say that they hold a key, a token or a password."""
    return {name: value for name, value in environment.items() if not name.upper().endswith(_SECRET_NAMES)}
