"""Jan: its command line serves a model with llama.cpp's server; its window's API is only spoken through.

`jan serve`, since 0.7.8, starts llama.cpp's server with a context on a port of ours, and that server tells the context
in force. The window's API (port 1337) neither loads nor unloads nor tells: what runs there is used as it is, and its
context is logged as unknown. Nightly builds of the command line serve no local models any more.

Source: janhq/jan@0315e11, docs/src/pages/docs/desktop/cli.mdx and api-preference.mdx; the fields of `jan models list`
from the command line's source of that time; what the window's API lists from src-tauri/src/core/server/proxy.rs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from workbench.engines.apps.contract import App, AppModel, Start, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.errors import AppRefused, EngineUnavailable, UsageError


class Jan(App):
    """The window's API, or a server of `jan serve`."""

    name = "jan"
    program = "jan"
    prefers_start = True
    benchmark_options = MappingProxyType({"ignore_eos": True, "cache_prompt": False})

    def installed(self) -> str | None:
        home = Path.home() / ".local" / "bin" / "jan"
        return shutil.which(self.program) or (str(home) if home.exists() else None)

    def installed_version(self) -> str:
        """As its command line tells, "jan 0.7.9"; some of its nightly builds heed neither context nor key."""
        with suppress(OSError, subprocess.SubprocessError):
            if (program := self.installed()) and (found := re.search(r"\d+\.\d+\.\d+", _said(program, "--version"))):
                return found[0]
        return ""

    def install_hint(self) -> str:
        return f"{super().install_hint()}. Its window installs the command `jan` when it is first opened."

    def version(self) -> str:
        try:
            said = self.client.get("/v1/models")
        except AppRefused as error:
            if error.status == 401:
                raise
            raise self.client.stranger() from error
        if not isinstance(said, dict) or not isinstance(said.get("data"), list):
            raise self.client.stranger()
        return ""  # it does not tell

    def start(self, wanted: Wanted, port: int, api_key: str) -> Start | None:
        if not (program := self.installed()):
            return None
        file = (f"--model-path={wanted.path}",) if wanted.path else ()
        size, threads = wanted.context * wanted.concurrency, wanted.threads
        argv = (program, "serve", wanted.model, *file, f"--port={port}", f"--ctx-size={size}", f"--threads={threads}")
        environment = {
            "LLAMA_ARG_N_PARALLEL": str(wanted.concurrency),
            "LLAMA_ARG_HOST": "127.0.0.1",  # llama.cpp's server would heed what the shell says
            "LLAMA_API_KEY": api_key,
        }
        return Start(argv, environment, serves_one=True)

    # -- its models --------------------------------------------------------------------------------------------

    def models(self) -> tuple[AppModel, ...]:
        """Those installed, by its command line; without that, those that run, by the window's API."""
        if program := self.installed():
            return tuple(
                AppModel(one["id"], bytes=one.get("size_bytes"), path=_file(one.get("model_path")))
                for one in _listed(program) if not one.get("embedding")
            )  # fmt: skip
        return tuple(AppModel(one["id"], loaded=True) for one in self.client.get("/v1/models")["data"])

    # -- loading, and proof of it ------------------------------------------------------------------------------

    def load(self, model: AppModel, wanted: Wanted) -> str:
        raise UsageError(f"Jan's API does not load {model.name}.", fix="Start it in Jan's window.")

    def unload(self, served: str, timeout_s: float) -> None:
        raise UsageError(f"Jan's API does not unload {served}.", fix="Stop it in Jan's window.")

    def context(self, served: str) -> int | None:
        """As llama.cpp's server says; the window's API passes the question on to nobody."""
        try:
            said: dict[str, Any] = self.client.get("/props")
        except EngineUnavailable:
            return None
        size = said.get("default_generation_settings", {}).get("n_ctx")
        return int(size) if size else None

    def context_fix(self, context: int) -> str:
        return f"Set its context size to {context} in Jan's model settings, or use `jan serve --ctx-size {context}`."


def _listed(program: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(_said(program, "models", "list"))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EngineUnavailable(
            f"`jan models list` told no models: {error}.", fix="A command line of 0.7.8 to 0.7.9 is known to."
        ) from error
    return found


def _said(program: str, *words: str) -> str:
    return subprocess.run(
        [program, *words], capture_output=True, text=True, timeout=20, check=True, stdin=subprocess.DEVNULL
    ).stdout


def _file(text: Any) -> Path | None:
    """A model's file, if its path is written in full and is there."""
    path = Path(str(text or ""))
    return path if path.is_absolute() and path.is_file() else None


def engine() -> AppEngine:
    """Jan as an engine."""
    return AppEngine(Jan())
