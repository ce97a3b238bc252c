"""LM Studio, through its REST API v1, which came with version 0.4.0.

Its official Python client speaks a protocol over web sockets that is not documented and that no recorded exchange can
check; the REST API does all that is needed here, load with a context and the progress of downloads included.
Its trap: a model that a request loads by itself ("just in time") gets the default context of its settings.
What it serves is a process of its own that does not end with the command that started it: it is attached to.

Source: lmstudio-ai/docs@c6854fb, 1_developer/2_rest and 3_cli; greeting: lmstudio-ai/lmstudio-python@2f245ae.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from workbench.engines.apps.contract import App, AppModel, Progress, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.errors import AppRefused, AssetUnavailable, EngineUnavailable, UsageError

POLL_S = 0.5
ENDED = ("completed", "already_downloaded")


class LMStudio(App):
    """The server that `lms server start`, or the developer page of its window, runs."""

    name = "lm-studio"
    program = "lms"
    key_variables = ("LM_STUDIO_API_KEY", "LM_API_TOKEN")  # the second is its documentation's

    def installed(self) -> str | None:
        home = Path.home() / ".lmstudio" / "bin" / "lms"
        return shutil.which(self.program) or (str(home) if home.exists() else None)

    def version(self) -> str:
        try:
            said = self.client.get("/lmstudio-greeting")
        except AppRefused as error:
            raise self.client.stranger() from error
        if not isinstance(said, dict) or said.get("lmstudio") is not True:
            raise self.client.stranger()
        return ""  # it does not tell

    def check(self) -> None:
        if self.client.listens():
            self._listed()

    def _listed(self) -> list[dict[str, Any]]:
        """Its models; an older LM Studio does not know the question, and says so with one status or another."""
        try:
            said = self.client.get("/api/v1/models")
        except AppRefused as error:
            if error.status != 404:
                raise
            said = None
        if not isinstance(said, dict) or "models" not in said:
            raise EngineUnavailable("The LM Studio that runs here is older than 0.4.0.", fix="Update it.")
        return [one for one in said["models"] if one["type"] == "llm"]

    # -- its models --------------------------------------------------------------------------------------------

    def models(self) -> tuple[AppModel, ...]:
        """One for each loaded instance, the largest context last; else one."""
        found = []
        for one in self._listed():
            common = {
                "name": one["key"], "bytes": one["size_bytes"], "most_context": one["max_context_length"],
                "architecture": one.get("architecture") or "",
                "quantization": (one.get("quantization") or {}).get("name") or "",
            }  # fmt: skip
            instances = sorted(one["loaded_instances"], key=lambda each: each["config"]["context_length"])
            found += [
                AppModel(**common, id=each["id"], loaded=True, context=each["config"]["context_length"])
                for each in instances
            ] or [AppModel(**common)]
        return tuple(found)

    def pull(self, name: str, progress: Progress) -> None:
        job = self.client.post("/api/v1/models/download", {"model": name})
        place = f"/api/v1/models/download/status/{job.get('job_id')}"
        while (status := job["status"]) not in ENDED:
            if status in ("failed", "paused"):
                raise AssetUnavailable(f"{name} did not arrive: LM Studio says {status}.", fix="Pull again.")
            done, total = job.get("downloaded_bytes"), job.get("total_size_bytes")
            progress(done / total if done and total else None, f"LM Studio: {status}")
            time.sleep(POLL_S)
            job = self.client.get(place)
        progress(1.0, f"LM Studio: {job['status']}")

    def add(self, name: str, path: Path) -> AppModel:
        """A symbolic link in its models folder, made by its own command."""
        if not (lms := self.installed()):
            return super().add(name, path)
        before = {model.name for model in self.models()}
        command = [lms, "import", str(path), "--user-repo", f"workbench/{name}", "--symbolic-link", "--yes"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        new = [model for model in self.models() if model.name not in before]
        if done.returncode or not new:
            raise UsageError(f"`{' '.join(command)}` brought no model: {(done.stderr or done.stdout).strip()[-300:]}")
        return new[0]

    # -- loading, and proof of it ------------------------------------------------------------------------------

    def load(self, model: AppModel, wanted: Wanted) -> str:
        body = {"model": model.name, "context_length": wanted.context, "echo_load_config": True}
        return str(self.client.post("/api/v1/models/load", body)["instance_id"])

    def unload(self, served: str, timeout_s: float) -> None:
        self.client.post("/api/v1/models/unload", {"instance_id": served}, timeout_s)

    def context_fix(self, context: int) -> str:
        return f"Unload it with `lms unload` and deploy again, or load it with `lms load --context-length {context}`."


def engine() -> AppEngine:
    """LM Studio as an engine."""
    return AppEngine(LMStudio())
