"""LocalAI, through its own API beside the OpenAI one.

Its trap: the context of a model is `context_size` in the model's configuration (4,096 tokens when nothing is said),
read when its backend starts; no request changes it. It is set there before the model is loaded, and set back after.
The context in force is what the configuration says of a model loaded since: its backends report none.

Source: mudler/LocalAI@82c191a, docs/content/operations/backend-monitor.md, docs/content/reference/system-info.md,
docs/content/features/model-gallery.md, core/http/routes/ui_api.go, core/services/galleryop/operation.go.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from urllib.parse import quote

from workbench.engines.apps.contract import App, AppModel, Progress, Start, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.errors import AppRefused, AssetUnavailable

POLL_S = 0.5


class LocalAI(App):
    """The server that `local-ai run`, or its container, is."""

    name = "localai"
    program = "local-ai"
    benchmark_options = MappingProxyType({"ignore_eos": True})

    def __init__(self, address: str = "", api_key: str = "") -> None:
        super().__init__(address, api_key)
        self._context_before: dict[str, int] = {}

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
        argv = (program, "run", "--address", f"127.0.0.1:{port}", "--disable-webui")
        return Start(argv, {"LOCALAI_API_KEY": api_key, "LOCALAI_CONTEXT_SIZE": str(wanted.context)})

    # -- its models --------------------------------------------------------------------------------------------

    def models(self) -> tuple[AppModel, ...]:
        names = [one["id"] for one in self.client.get("/v1/models")["data"]]
        loaded = {one["id"] for one in self.client.get("/system")["loaded_models"]}
        return tuple(
            AppModel(name, loaded=name in loaded, context=self._configured(name) if name in loaded else None)
            for name in names
        )

    def _configured(self, name: str) -> int | None:
        """`context_size` of its configuration, None where it has none (a bare file has no configuration)."""
        try:
            size = self.client.get(f"/api/models/config-json/{quote(name, safe='')}").get("context_size")
        except AppRefused as error:
            if error.status == 404:
                return None
            raise
        return size if isinstance(size, int) and size > 0 else None

    def pull(self, name: str, progress: Progress) -> None:
        job = self.client.post("/models/apply", {"id": name})["uuid"]
        while not (status := self.client.get(f"/models/jobs/{job}"))["processed"]:
            progress(status.get("progress", 0) / 100, status.get("message") or "LocalAI: downloading")
            time.sleep(POLL_S)
        if status.get("error") or status.get("cancelled"):
            raise AssetUnavailable(f"{name} did not arrive: {status.get('error') or 'cancelled'}.", fix="Pull again.")
        progress(1.0, "LocalAI: installed")

    # -- loading, and proof of it ------------------------------------------------------------------------------

    def load(self, model: AppModel, wanted: Wanted) -> str:
        before = self._configured(model.name)
        if before != wanted.context:
            self._configure(model.name, wanted.context)
            if before is not None:
                self._context_before[model.name] = before
        said = self.client.post("/backend/load", {"model": model.name})
        if model.name not in said.get("loaded", ()):
            raise AppRefused(f"LocalAI did not load {model.name}: {said.get('message', said)}.")
        return model.name

    def unload(self, served: str) -> None:
        self.client.post("/backend/shutdown", {"model": served})
        if before := self._context_before.pop(served, None):
            self._configure(served, before)

    def _configure(self, name: str, context: int) -> None:
        self.client.patch(f"/api/models/config-json/{quote(name, safe='')}", {"context_size": context})

    def context_fix(self, context: int) -> str:
        return f"Set context_size: {context} in the model's configuration and load it again."


def engine() -> AppEngine:
    """LocalAI as an engine."""
    return AppEngine(LocalAI())
