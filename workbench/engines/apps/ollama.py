"""Ollama, through its official client.

Its trap: the context of a request is `num_ctx`, which the OpenAI interface cannot say, so that every such request runs
with the server's default (4,096 tokens on most machines) and longer prompts lose their beginning; a model loaded with
more is even loaded again with less (server/sched.go, needsReload). What holds for every request is a parameter of the
model itself: the workbench makes a variant of the model, a few hundred bytes, whose `num_ctx` is the one asked for.

Source: ollama/ollama@fb30760, docs/api.md, docs/faq.mdx, docs/context-length.mdx, api/types.go, server/sched.go.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.engines.apps.contract import App, AppModel, Progress, Start, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.errors import AppRefused, AssetUnavailable, EngineUnavailable, MissingExtra

VARIANT = "workbench-"
FOREVER = -1


class Ollama(App):
    """The server that `ollama serve`, or its desktop app, runs."""

    name = "ollama"
    program = "ollama"

    def check(self) -> None:
        if not find_spec("ollama"):
            raise MissingExtra("ollama", "apps", "Speaking to Ollama")

    @cached_property
    def _ollama(self) -> Any:
        self.check()
        import ollama

        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else None
        return ollama.Client(host=f"http://{self.client.address}", headers=headers, trust_env=False)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Its client's errors as ours."""
        self.check()
        import httpx
        import ollama

        try:
            yield
        except ollama.ResponseError as error:
            raise AppRefused(f"Ollama says: {error.error}.", status=error.status_code) from error
        except (httpx.HTTPError, ConnectionError) as error:
            raise EngineUnavailable(f"Ollama does not answer at {self.client.address}: {error}.") from error

    def version(self) -> str:
        try:
            said = self.client.get("/api/version")
        except AppRefused as error:
            raise self.client.stranger() from error
        if not isinstance(said, dict) or not isinstance(said.get("version"), str):
            raise self.client.stranger()
        return str(said["version"])

    def start(self, wanted: Wanted, port: int, api_key: str) -> Start | None:
        if not (program := self.installed()):
            return None
        environment = {
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_CONTEXT_LENGTH": str(wanted.context),
            "OLLAMA_NUM_PARALLEL": str(wanted.concurrency),
            "OLLAMA_KEEP_ALIVE": str(FOREVER),
        }
        return Start((program, "serve"), environment)

    # -- its models --------------------------------------------------------------------------------------------

    def models(self) -> tuple[AppModel, ...]:
        with self._explained():
            listed, loaded = self._ollama.list().models, self._loaded()
        return tuple(
            AppModel(
                one.model, bytes=int(one.size or 0) or None, loaded=one.model in loaded,
                context=loaded.get(one.model), architecture=_of(one.details, "family"),
                quantization=_of(one.details, "quantization_level"),
            )
            for one in listed if VARIANT not in one.model
        )  # fmt: skip

    def _loaded(self) -> dict[str, int | None]:
        """The context in force by the name of each loaded model; a variant counts for its model too."""
        found = self._ollama.ps().models
        return {
            name: one.context_length for one in found for name in (one.model, one.model.partition(f"-{VARIANT}")[0])
        }

    def find(self, name: str) -> AppModel:
        """By its name, with or without the tag 'latest'; its file is named by its Modelfile."""
        full = name if ":" in name else f"{name}:latest"
        model = super().find(full)
        with self._explained():
            shown = self._ollama.show(full)
        most = next((v for k, v in (shown.modelinfo or {}).items() if k.endswith(".context_length")), None)
        return AppModel(
            full, bytes=model.bytes, loaded=model.loaded, context=model.context, most_context=most,
            architecture=model.architecture, quantization=model.quantization, path=_blob(shown.modelfile or ""),
        )  # fmt: skip

    def pull(self, name: str, progress: Progress) -> None:
        last = ""
        try:
            with self._explained():
                for step in self._ollama.pull(name, stream=True):
                    last = step.status or last
                    progress(step.completed / step.total if step.total and step.completed else None, last)
        except EngineUnavailable as error:
            raise AssetUnavailable(
                f"{name} did not arrive: {error.what}", fix="Pull again; it goes on there."
            ) from error
        if last != "success":
            raise AssetUnavailable(
                f"{name} did not arrive: the answer of Ollama ended at {last!r}.", fix="Pull again; it goes on there."
            )

    def add(self, name: str, path: Path) -> AppModel:
        with path.open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if self.client.status("HEAD", f"/api/blobs/{digest}") != 200:
            with self._explained():
                self._ollama.create_blob(path)
        with self._explained():
            self._ollama.create(model=name, files={path.name: digest})
        return self.find(name)

    # -- loading, and proof of it ------------------------------------------------------------------------------

    def served_as(self, wanted: Wanted) -> str:
        model, _, tag = wanted.model.partition(":")
        return f"{model}:{tag or 'latest'}-{VARIANT}{wanted.context}"

    def load(self, model: AppModel, wanted: Wanted) -> str:
        return self._variant(model, wanted, wanted.context)

    def join(self, model: AppModel, wanted: Wanted) -> str:
        """The variant has the very context in force, so that nothing is loaded again."""
        return self._variant(model, wanted, model.context or wanted.context)

    def _variant(self, model: AppModel, wanted: Wanted, context: int) -> str:
        served = self.served_as(wanted)
        with self._explained():
            self._ollama.create(model=served, from_=model.name, parameters={"num_ctx": context})
            self._ollama.generate(model=served, prompt="", keep_alive=FOREVER)
        return served

    def leave(self, served: str) -> None:
        with self._explained():
            self._ollama.delete(served)

    def unload(self, served: str) -> None:
        with self._explained():
            self._ollama.generate(model=served, prompt="", keep_alive=0)
        self.leave(served)

    def is_loaded(self, served: str) -> bool:
        with self._explained():
            return served in self._loaded()

    def context(self, served: str) -> int | None:
        with self._explained():
            return self._loaded().get(served)

    def keep(self, served: str) -> None:
        """Each request sets the time to stay back to the server's default, five minutes."""
        with self._explained():
            self._ollama.generate(model=served, prompt="", keep_alive=FOREVER)

    def context_fix(self, context: int) -> str:
        return f"Unload it with `ollama stop`, and deploy again; or start Ollama with OLLAMA_CONTEXT_LENGTH={context}."


def _of(details: Any, name: str) -> str:
    return str(getattr(details, name, None) or "")


def _blob(modelfile: str) -> Path | None:
    """The file a Modelfile starts from, if this user can read it."""
    found = re.search(r"^FROM (/.+|[A-Za-z]:\\.+)$", modelfile, re.MULTILINE)
    path = Path(found[1].strip()) if found else None
    return path if path and os.access(path, os.R_OK) else None


def engine() -> AppEngine:
    """Ollama as an engine."""
    return AppEngine(Ollama())
