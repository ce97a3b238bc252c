"""text-generation-webui, now called TextGen, through the internal part of its API, and llama.cpp's server behind it.

Its traps: it answers "OK" to a load that failed, and goes on naming a model that it has not (both seen with ed888c7),
and it says nothing of the context in force. llama.cpp's server, which it runs as a child, says both: that server is
looked for below the process that listens, and asked. Models of its other loaders are taken at its word.

Source: oobabooga/textgen@ed888c7, docs/12 - OpenAI API.md, modules/api/script.py, modules/shared.py,
modules/llama_cpp_server.py.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from workbench.engines.apps.client import Client
from workbench.engines.apps.contract import AppModel, FolderApp, Start, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.errors import AppRefused, EngineUnavailable, UnknownName, UsageError
from workbench.machine import listener, listening_ports

LLAMA_CPP = "llama.cpp"


class TextGenerationWebui(FolderApp):
    """A `server.py --api`."""

    name = "text-generation-webui"
    script = "server.py"
    pythons = ("portable_env/bin/python", "installer_files/env/bin/python", "venv/bin/python", ".venv/bin/python")
    holds_one = True
    benchmark_options = MappingProxyType({"ban_eos_token": True})

    def version(self) -> str:
        try:
            said = self.client.get("/v1/internal/health")
        except AppRefused as error:
            if error.status == 401:
                raise
            raise self.client.stranger() from error
        if said != {"status": "ok"}:
            raise self.client.stranger()
        return ""  # it does not tell

    def start(self, wanted: Wanted, port: int, api_key: str) -> Start | None:
        if not (python := self.installed()):
            return None
        self._check_flags()
        argv = (python, self.script, "--api", "--nowebui", "--listen-host", "127.0.0.1", "--api-port", str(port))
        return Start(argv, folder=str(self.folder))

    def _check_flags(self) -> None:
        """A file of its own has words that count before those of its command line. What --listen opens, --listen-host
        closes; nothing takes --public-api back."""
        path = self.folder / "user_data" / "CMD_FLAGS.txt"
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        if "--public-api" in " ".join(line for line in lines if not line.strip().startswith("#")).split():
            raise UsageError(
                f"{path} has --public-api, which opens a way to it from everywhere.", fix="Take it out of that file."
            )

    # -- its models --------------------------------------------------------------------------------------------

    def models(self) -> tuple[AppModel, ...]:
        names = self.client.get("/v1/internal/model/list")["model_names"]
        info = self.client.get("/v1/internal/model/info")
        loaded, context = info["model_name"], None
        if info.get("loader") == LLAMA_CPP:
            props = self._props()
            context = props.get("default_generation_settings", {}).get("n_ctx")
            loaded = loaded if props else None
        folder = self._models_folder()
        return tuple(
            AppModel(
                name, loaded=name == loaded, context=context if name == loaded else None,
                path=folder / name if folder and (folder / name).is_file() else None,
            )
            for name in names
        )  # fmt: skip

    def find(self, name: str) -> AppModel:
        """By the name of its file, with or without its ending."""
        try:
            return super().find(name)
        except UnknownName:
            with suppress(UnknownName):
                return super().find(f"{name}.gguf")
            raise

    def add(self, name: str, path: Path) -> AppModel:
        folder = self._models_folder()
        if folder is None:
            return super().add(name, path)
        (folder / f"{name}.gguf").symlink_to(path.resolve())
        return self.find(name)

    def _process(self) -> psutil.Process | None:
        pid = listener(int(self.client.address.rpartition(":")[2]))
        return psutil.Process(pid) if pid else None

    def _models_folder(self) -> Path | None:
        """From the command line of the process that listens; None where that is another user's."""
        with suppress(psutil.Error):
            if process := self._process():
                words, cwd = process.cmdline(), Path(process.cwd())
                given = [after for word, after in pairwise(words) if word == "--model-dir"]
                folder = cwd / (given[-1] if given else "user_data/models")
                return folder if folder.is_dir() else None
        return None

    # -- loading, and proof of it ------------------------------------------------------------------------------

    def served_as(self, wanted: Wanted) -> str:
        return wanted.model if wanted.path is None or wanted.model.endswith(".gguf") else f"{wanted.model}.gguf"

    def load(self, model: AppModel, wanted: Wanted) -> str:
        arguments = {
            "ctx_size": wanted.context * wanted.concurrency, "parallel": wanted.concurrency, "threads": wanted.threads,
        }  # fmt: skip
        self.client.post("/v1/internal/model/load", {"model_name": model.name, "args": arguments})
        if not self.is_loaded(model.name):
            raise EngineUnavailable(
                f"{self.title} answered OK and did not load {model.name}.", fix="Its own log says why."
            )
        return model.name

    def unload(self, served: str, timeout_s: float) -> None:
        """Whatever is loaded: it has no names for this."""
        self.client.post("/v1/internal/model/unload", timeout_s=timeout_s)

    def _props(self) -> dict[str, Any]:
        """What llama.cpp's server behind it says of itself; nothing if there is none."""
        for address in self._backends():
            with suppress(EngineUnavailable):
                said: dict[str, Any] = Client("llama.cpp's server", address).get("/props")
                return said
        return {}

    def _backends(self) -> list[str]:
        """Where the children of the process that listens answer."""
        process = self._process()
        with suppress(psutil.Error):
            children = process.children(recursive=True) if process else []
            return [f"127.0.0.1:{port}" for child in children for port in listening_ports(child.pid)]
        return []

    def context_fix(self, context: int) -> str:
        return f"Load it with ctx_size {context}, in its Model tab or at its start with --ctx-size {context}."


def engine() -> AppEngine:
    """text-generation-webui as an engine."""
    return AppEngine(TextGenerationWebui())
