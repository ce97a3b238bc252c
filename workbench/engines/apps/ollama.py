"""Ollama, through its official client.

Its trap: the context of a request is `num_ctx`, which the OpenAI interface cannot say, so that every such request runs
with the server's default (4,096 tokens on most machines) and longer prompts lose their beginning; a model loaded with
more is even loaded again with less (server/sched.go, needsReload). What holds for every request is a parameter of the
model itself: the workbench makes a variant of the model, a few hundred bytes, whose `num_ctx` is the one asked for.
A file of weights is in memory once, listed under the name that loaded it: a model under a variant's name is ours, under
its own name somebody else's. A request for a variant loads it with its own context, whatever was done meanwhile.
Its cloud models are listed like the others, and every prompt to one leaves the computer: they are left out.

Source: ollama/ollama@fb30760, docs/api.md, docs/faq.mdx, docs/context-length.mdx, docs/cloud.mdx, api/types.go,
server/routes.go (PsHandler, GenerateHandler), server/sched.go (schedulerModelKey, needsReload, useLoadedRunner).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.engines.apps.contract import App, AppModel, Progress, Start, Wanted
from workbench.engines.apps.engine import AppEngine
from workbench.errors import AppRefused, AssetUnavailable, EngineUnavailable, MissingExtra, UsageError

VARIANT = "-workbench-"
FOREVER = -1
CLOUD = (":cloud", "-cloud")


class Ollama(App):
    """The server that `ollama serve`, or its desktop app, runs."""

    name = "ollama"
    program = "ollama"
    names_ours = loads_again = True
    key_variables = ()  # it wants none; OLLAMA_API_KEY is the one for its cloud

    def check(self) -> None:
        if not find_spec("ollama"):
            raise MissingExtra("ollama", "apps", "Speaking to Ollama")

    @cached_property
    def _ollama(self) -> Any:
        self.check()
        import ollama

        no_key = {"Authorization": "none"}  # or it sends the one for the cloud
        return ollama.Client(host=f"http://{self.client.address}", headers=no_key, trust_env=False)

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
            loaded = {_base(name): context for name, context in self._loaded().items()}
        local = [one for one in self._listed() if VARIANT not in one["model"] and not one.get("remote_host")]
        return tuple(
            AppModel(
                one["model"], bytes=one.get("size") or None, loaded=one["model"] in loaded,
                context=loaded.get(one["model"]), architecture=details.get("family") or "",
                quantization=details.get("quantization_level") or "",
            )
            for one in local for details in [one.get("details") or {}]
        )  # fmt: skip

    def _listed(self) -> list[dict[str, Any]]:
        """What its official client drops of the list says where a model computes."""
        found: list[dict[str, Any]] = self.client.get("/api/tags")["models"]
        return found

    def _loaded(self) -> dict[str, int | None]:
        """The context in force, by the name under which each file of weights was loaded."""
        return {one.model: one.context_length for one in self._ollama.ps().models}

    def full_name(self, name: str) -> str:
        return name if ":" in name else f"{name}:latest"

    def find(self, name: str) -> AppModel:
        """By its name, with or without the tag 'latest'; its file is named by its Modelfile."""
        full = self.full_name(name)
        self._check_local(full, {one["model"] for one in self._listed() if one.get("remote_host")})
        model = super().find(full)
        with self._explained():
            shown = self._ollama.show(full)
        most = next((v for k, v in (shown.modelinfo or {}).items() if k.endswith(".context_length")), None)
        return AppModel(
            full, bytes=model.bytes, loaded=model.loaded, context=model.context, most_context=most,
            architecture=model.architecture, quantization=model.quantization, path=_blob(shown.modelfile or ""),
        )  # fmt: skip

    def _check_local(self, name: str, remote: set[str]) -> None:
        if name in remote or name.endswith(CLOUD):
            raise UsageError(
                f"{name} is computed in Ollama's cloud: every prompt would leave this computer.",
                fix="Choose a model that Ollama runs here: `ollama list` shows a size for those.",
            )

    def pull(self, name: str, progress: Progress) -> None:
        self._check_local(name, set())
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
        return f"{self.full_name(wanted.model)}{VARIANT}{wanted.context}"

    def prepare(self, model: AppModel, wanted: Wanted, changed: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"variants": sorted({*changed.get("variants", ()), self.served_as(wanted)})}

    def restore(self, changed: Mapping[str, Any]) -> None:
        for variant in changed.get("variants", ()):
            try:
                with self._explained():
                    self._ollama.delete(variant)
            except AppRefused as error:
                if error.status != 404:  # somebody else tidied up
                    raise

    def load(self, model: AppModel, wanted: Wanted) -> str:
        served = self._variant(model, wanted, wanted.context)
        with self._explained():
            self._ollama.generate(model=served, prompt="", keep_alive=FOREVER)
        return served

    def join(self, model: AppModel, wanted: Wanted) -> str:
        """The variant has the very context in force, so that nothing is loaded again; how long it stays is up to
        whoever loaded it."""
        return self._variant(model, wanted, model.context or wanted.context)

    def _variant(self, model: AppModel, wanted: Wanted, context: int) -> str:
        served = self.served_as(wanted)
        with self._explained():
            self._ollama.create(model=served, from_=model.name, parameters={"num_ctx": context})
        return served

    def unload(self, served: str, timeout_s: float) -> None:
        """Throws out whatever is loaded of these weights; so nothing that is not `is_loaded`."""
        self.client.post("/api/generate", {"model": served, "prompt": "", "keep_alive": 0}, timeout_s)

    def is_loaded(self, served: str) -> bool:
        """For us: under the name of this variant, or of another one of its model."""
        with self._explained():
            return any(VARIANT in name and _base(name) == _base(served) for name in self._loaded())

    def context(self, served: str) -> int | None:
        """Of its weights, whoever loaded them."""
        with self._explained():
            return next((size for name, size in self._loaded().items() if _base(name) == _base(served)), None)

    def context_fix(self, context: int) -> str:
        return f"Unload it with `ollama stop`, and deploy again; or start Ollama with OLLAMA_CONTEXT_LENGTH={context}."


def _base(name: str) -> str:
    """The model that a variant was made of; other names as they are."""
    return name.partition(VARIANT)[0]


def _blob(modelfile: str) -> Path | None:
    """The file a Modelfile starts from, if this user can read it."""
    found = re.search(r"^FROM (/.+|[A-Za-z]:\\.+)$", modelfile, re.MULTILINE)
    path = Path(found[1].strip()) if found else None
    return path if path and os.access(path, os.R_OK) else None


def engine() -> AppEngine:
    """Ollama as an engine."""
    return AppEngine(Ollama())
