"""LocalAI, through its own API beside the OpenAI one.

Its trap: the context of a model is `context_size` in the model's configuration (4,096 tokens when nothing is said),
read when its backend starts; no request changes it. It is set there before the model is loaded, and set back after.
The context in force is what the configuration says of a model loaded since: its backends report none. A bare file has
no configuration, and the context of the server's start. Configurations are told and set by the interface of its page
only, so one of ours is started with that.

Source: mudler/LocalAI@82c191a, docs/content/operations/backend-monitor.md, docs/content/reference/system-info.md,
docs/content/features/model-gallery.md, core/http/app.go, core/http/routes/ui_api.go, core/cli/run.go,
core/services/modeladmin/config.go, core/services/galleryop/operation.go; where its files lie from
cmd/launcher/internal/launcher.go.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from workbench.engines.apps.contract import App, AppModel, Progress, Start, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.errors import AppRefused, AssetUnavailable

POLL_S = 0.5
#: Where its launcher has its files; its command has them wherever it is started.
FOLDERS = MappingProxyType({
    "LOCALAI_MODELS_PATH": "models", "LOCALAI_BACKENDS_PATH": "backends", "LOCALAI_DATA_PATH": "data",
    "LOCALAI_CONFIG_DIR": "configuration", "LOCALAI_GENERATED_CONTENT_PATH": "generated",
    "LOCALAI_UPLOAD_PATH": "uploads",
})  # fmt: skip


class LocalAI(App):
    """The server that `local-ai run`, or its container, is."""

    name = "localai"
    program = "local-ai"
    loads_again = True
    benchmark_options = MappingProxyType({"ignore_eos": True})

    def version(self) -> str:
        try:
            said = self.client.get("/version")
        except AppRefused as error:
            if error.status == 401:
                raise
            raise self.client.stranger() from error
        if not isinstance(said, dict) or not isinstance(said.get("version"), str):
            raise self.client.stranger()
        return str(said["version"])

    def start(self, wanted: Wanted, port: int, api_key: str) -> Start | None:
        if not (program := self.installed()):
            return None
        files = {
            name: str(Path.home() / ".localai" / folder) for name, folder in FOLDERS.items()
            if not {name, name.removeprefix("LOCALAI_")} & os.environ.keys()
        }  # fmt: skip
        environment = {"LOCALAI_API_KEY": api_key, "LOCALAI_CONTEXT_SIZE": str(wanted.context), **files}
        return Start((program, "run", "--address", f"127.0.0.1:{port}"), environment)

    # -- its models --------------------------------------------------------------------------------------------

    def models(self) -> tuple[AppModel, ...]:
        names = [one["id"] for one in self.client.get("/v1/models")["data"]]
        loaded = {one["id"] for one in self.client.get("/system")["loaded_models"]}
        return tuple(
            AppModel(name, loaded=name in loaded, context=self._configured(name) if name in loaded else None)
            for name in names
        )

    def _configured(self, name: str) -> int | None:
        """`context_size` of its configuration, None where it has none."""
        size = (self._configuration(name) or {}).get("context_size")
        return size if isinstance(size, int) and size > 0 else None

    def _configuration(self, name: str) -> dict[str, Any] | None:
        """None for a bare file."""
        try:
            found: dict[str, Any] = self.client.get(_place(name))
        except AppRefused as error:
            if error.status == 404:
                return None
            raise
        return found

    def pull(self, name: str, progress: Progress) -> None:
        job = self.client.post("/models/apply", {"id": name})["uuid"]
        while not (status := self.client.get(f"/models/jobs/{job}"))["processed"]:
            progress(status.get("progress", 0) / 100, status.get("message") or "LocalAI: downloading")
            time.sleep(POLL_S)
        if status.get("error") or status.get("cancelled"):
            raise AssetUnavailable(f"{name} did not arrive: {status.get('error') or 'cancelled'}.", fix="Pull again.")
        progress(1.0, "LocalAI: installed")

    # -- loading, and proof of it ------------------------------------------------------------------------------

    def prepare(self, model: AppModel, wanted: Wanted, changed: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the configuration says, unless that is what we had it say."""
        configuration = self._configuration(model.name)
        if model.loaded or configuration is None:
            return changed
        said = configuration.get("context_size")
        before = changed["before"] if changed and said == changed["now"] else said
        return {"model": model.name, "before": before, "now": wanted.context}

    def restore(self, changed: Mapping[str, Any]) -> None:
        if changed and self._configured(changed["model"]) == changed["now"] != changed["before"]:
            self._configure(changed["model"], changed["before"])

    def load(self, model: AppModel, wanted: Wanted) -> str:
        configuration = self._configuration(model.name)
        if configuration is not None and configuration.get("context_size") != wanted.context:
            self._configure(model.name, wanted.context)
        said = self.client.post("/backend/load", {"model": model.name})
        if model.name not in said.get("loaded", ()):
            raise AppRefused(f"LocalAI did not load {model.name}: {said.get('message', said)}.")
        return model.name

    def unload(self, served: str, timeout_s: float) -> None:
        self.client.post("/backend/shutdown", {"model": served}, timeout_s)

    def _configure(self, name: str, context: int | None) -> None:
        self.client.patch(_place(name), {"context_size": context})

    def context_fix(self, context: int) -> str:
        return f"Set context_size: {context} in the model's configuration and load it again."


def _place(name: str) -> str:
    """Where the configuration of a model is."""
    return f"/api/models/config-json/{quote(name, safe='')}"


def engine() -> AppEngine:
    """LocalAI as an engine."""
    return AppEngine(LocalAI())
