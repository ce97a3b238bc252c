"""Deploying a plan and using it: start or join the supervised server, talk to it, and let go of it."""

from __future__ import annotations

import hashlib
import inspect
import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from workbench import engines, folders, models, planning
from workbench.deployment import failures, limits, registry
from workbench.deployment import lease as leases
from workbench.deployment import state as states
from workbench.deployment.state import State
from workbench.deployment.stream import Stream
from workbench.deployment.watchdog import TERMINATE_S, Orders
from workbench.engines import Endpoint, Engine
from workbench.engines.apps.engine import Listed
from workbench.errors import BadModelFile, PortTaken, ServerDied, UsageError, WorkbenchError
from workbench.evidence import Estimate
from workbench.evidence.ledger import Ledger
from workbench.machine import MemoryReading, memory_bytes
from workbench.models.infill import Infill, infill
from workbench.planning import Plan
from workbench.units import now

if TYPE_CHECKING:
    import openai

    from workbench.deployment.pictures import Imagined
    from workbench.deployment.transcripts import Transcript

PORT_ATTEMPTS = 4
#: CUDA numbers cards by their speed unless told otherwise; nvidia-smi, and with it a plan, by their place on the bus.
CARDS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

Progress = Callable[[float | None, str], None]


class Deployment:
    """A running model. Use it in a `with` block: leaving it gives up this user's lease, and the last one ends it."""

    def __init__(self, state: State, lease: leases.Lease) -> None:
        self.id, self.plan_dict = state.id, state.plan
        self.endpoint = Endpoint(state.base_url, state.api_key, state.served_model)
        self._state, self._lease = state, lease

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    @property
    def state(self) -> State:
        """What the watchdog last wrote; the state at the start if it is gone."""
        return states.load(self._state.path) or self._state

    @cached_property
    def client(self) -> openai.OpenAI:
        """The official OpenAI client, pointed at this deployment. It does not retry: failures are shown."""
        import openai  # half a second; not every user of a deployment talks to it

        return openai.OpenAI(base_url=self.endpoint.base_url, api_key=self.endpoint.api_key, max_retries=0)

    def chat(self, prompt: str | Sequence[dict[str, str]], **options: Any) -> Iterator[str]:
        """Ask, and yield the answer piece by piece; prompt and options are those of `stream`."""
        return iter(self.stream(prompt, **options))

    def stream(
        self,
        prompt: str | Sequence[dict[str, str]],
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **options: Any,
    ) -> Stream:
        """Ask, and get the answer as a stream that can be closed, and that knows how it ended.

        prompt: a question, or a list of messages with role and content. Further options go to the API as they are.
        Raises UsageError for what cannot be asked and for a prompt that does not fit the context, ServerBusy and
        RequestFailed for what the server answers instead, ServerDied when it goes away. Apps do not refuse what does
        not fit: Ollama and text-generation-webui leave out the oldest messages without a word.
        """
        self._check_use("chat")
        if isinstance(prompt, Mapping) or not isinstance(prompt, Iterable):
            raise UsageError(f"The prompt is {prompt!r}.", fix="Give a text, or messages with role and content.")
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if system:
            messages.insert(0, {"role": "system", "content": system})
        given = {"messages": messages, "max_tokens": max_tokens, "temperature": temperature, **options}
        return Stream(self._state, {name: value for name, value in given.items() if value is not None})

    def complete(self, prompt: str, suffix: str | None = None, **options: Any) -> Iterator[str]:
        """Continue a text, and yield what follows piece by piece; the arguments are those of `completion`."""
        return iter(self.completion(prompt, suffix, **options))

    def completion(
        self,
        prompt: str,
        suffix: str | None = None,
        *,
        max_tokens: int = limits.COMPLETION_TOKENS,
        temperature: float | None = None,
        **options: Any,
    ) -> Stream:
        """Continue a text as it stands, without a chat template; a stream like that of `stream`.

        max_tokens: by default as few as in OpenAI's API, since a base model does not end by itself.
        suffix: what comes after the gap, for models that can fill one in (`infill`). Raises UsageError when this one
        cannot, and what `stream` raises.
        """
        self._check_use("complete")
        if not isinstance(prompt, str | list):
            raise UsageError(f"The prompt is {prompt!r}.", fix="Give a text to be continued.")
        if suffix is not None:
            prompt = self._infill_prompt(prompt, suffix)
        given = {"prompt": prompt, "max_tokens": max_tokens, "temperature": temperature, **options}
        return Stream(self._state, {name: value for name, value in given.items() if value is not None})

    def transcribe(self, recording: str | Path, *, progress: Progress | None = None, **options: Any) -> Transcript:
        """Write down what is said in a recording, in any format that FFmpeg opens.

        options: language ('en'), prompt, temperature. `progress` hears how far it is, and may raise to end the work.
        Raises UsageError for what cannot be transcribed, ServerDied when the server goes away.
        """
        from workbench.deployment import transcripts

        self._check_use("transcribe")
        return transcripts.transcribe(self, recording, progress=progress, **options)

    def imagine(
        self,
        prompt: str,
        *,
        size: tuple[int, int] | None = None,
        images: int = 1,
        on_preview: Callable[[int, bytes], None] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Imagined:
        """Make pictures of a text; several at once have one seed after the other.

        size: width and height in pixels, as planned when not given; options: negative_prompt, steps, guidance, seed,
        scheduler. `on_preview` gets the number of a picture and a PNG of it now and then, which costs time;
        `progress` hears every step, and may raise to end the work within one.
        Raises UsageError for what cannot be made, ServerDied when the server goes away.
        """
        from workbench.deployment import pictures

        self._check_use("imagine")
        asked: dict[str, Any] = {"size": size, "images": images, "on_preview": on_preview, "progress": progress}
        return pictures.imagine(self, prompt, **asked, **options)

    @cached_property
    def _capabilities(self) -> frozenset[str]:
        return engines.get(self._state.engine).capabilities

    def _check_use(self, wanted: str) -> None:
        limits.check_use(self._state.model, self._capabilities, wanted)

    @property
    def infill(self) -> Infill | None:
        """The tokens with which this model fills in the middle of a text; None where its vocabulary has none."""
        path = self.plan_dict.get("model_path")
        return infill(Path(path)) if path else None

    def _infill_prompt(self, prefix: str, suffix: str) -> str:
        tokens = self.infill
        if tokens is None:
            raise UsageError(
                f"{self._state.model} cannot fill in the middle of a text: its vocabulary has no tokens for it.",
                fix="Leave the suffix out, or take a model made for code.",
            )
        return tokens.prompt(prefix, suffix)

    def memory(self) -> MemoryReading | None:
        """Memory of the server's process tree now, without the watchdog; None where nobody may look at it."""
        return memory_bytes(self.pids())

    def pids(self) -> list[int]:
        """The processes of the server."""
        return self.state.server_pids()

    @property
    def predictions(self) -> dict[str, Estimate]:
        """What was predicted for this deployment before it ran, also when another process planned it."""
        return {name: Estimate.from_dict(data) for name, data in self.plan_dict["predictions"].items()}

    def logs(self, lines: int = 50) -> str:
        """The last lines the server wrote."""
        return failures.log_tail(self._state.log_path, lines)

    def release(self) -> None:
        """Give up this user's lease; if it was the last one, return when everything is gone."""
        self._close_client()
        self._lease.leave()

    def stop(self) -> None:
        """End the deployment for all its users and return when everything is gone."""
        self._close_client()
        try:
            leases.stop(self._state)
        finally:
            self._lease.leave()

    def _close_client(self) -> None:
        if client := self.__dict__.pop("client", None):
            client.close()

    def __repr__(self) -> str:
        state = self._state
        return f"<Deployment {self.id} of {state.model} ({state.format}) on {state.engine} at {state.base_url}>"


def attach(name: str, *, grace_s: float = 0.0) -> Deployment:
    """Use a deployment that already runs, by its id or its model's name.

    Raises UnknownName, UsageError where several deployments of the model run, and ServerDied for one that died.
    """
    state = registry.find(name)
    if state.failure:
        raise failures.gone(state)
    return Deployment(state, leases.Lease(state, grace_s=grace_s))


def deploy(
    model: str | Plan,
    *,
    engine: str | Engine[Any] = "auto",
    keep: bool = False,
    grace_s: float = 0.0,
    port: int | None = None,
    share: bool = True,
    start_timeout_s: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Deployment:
    """Serve a model, or a plan made before, and return when it answers.

    A deployment of the same model with the same settings that already runs is joined, unless `share` is False.
    keep: it stays until `workbench stop`, whoever goes; grace_s: it stays that long after its last user is gone;
    port: the port on 127.0.0.1, a free one by default; start_timeout_s: how long the server may take until it answers,
    by default what its engine needs; options: those of `workbench.plan`.
    Raises DoesNotFit, EngineUnavailable, StartFailed and what `workbench.plan` raises.
    """
    _check_asked(model, options)
    plan = model if isinstance(model, Plan) else planning.plan(model, engine=engine, **options)
    terms = _Terms(keep, grace_s, port, start_timeout_s or plan.engine.start_timeout_s)
    key = _share_key(plan, port)
    with FileLock(states.folder() / f"{key}.lock"):
        if share and (running := _join(key, terms)):
            return running
        plan.check_fits()
        plan = _with_weights(plan, progress)
        if keep:
            registry.forget_dead(key)
        for _ in range(0 if port else PORT_ATTEMPTS - 1):  # a free port may be taken a moment later
            with suppress(PortTaken):
                return _start(plan, key, terms, progress)
        return _start(plan, key, terms, progress)


def _check_asked(model: object, options: Mapping[str, Any]) -> None:
    """Raise UsageError for what `deploy` cannot mean."""
    if not isinstance(model, str | Plan | models.Model | models.SpeechModel | models.ImageModel | Listed):
        raise UsageError(f"The model is {model!r}.", fix="Give a name, a path as text, or a plan.")
    known = inspect.signature(planning.plan).parameters
    for name in options:
        if name not in known:
            raise UsageError(f"deploy has no option {name!r}.", fix=f"Known: {', '.join(known)}.")
    for name in ("context", "concurrency"):
        if not isinstance(options.get(name), int | None):
            raise UsageError(f"{name} is {options[name]!r}.", fix="Give a whole number.")


@dataclass(frozen=True, slots=True)
class _Terms:
    """How long a deployment lives and where it answers; see `deploy`."""

    keep: bool
    grace_s: float
    port: int | None
    start_timeout_s: float


def _share_key(plan: Plan, port: int | None) -> str:
    """Equal for plans that one server can serve; threads are left out, they depend on the moment."""
    settings = {k: v for k, v in asdict(plan.settings).items() if "threads" not in k}
    identity = [plan.model.name, *_file_identity(plan), plan.engine.name, plan.engine_version, port]
    return hashlib.sha256(json.dumps([settings, identity], sort_keys=True).encode()).hexdigest()[:16]


def _file_identity(plan: Plan) -> list[Any]:
    """What tells one model file from another; nothing for a model that an app keeps where we cannot look."""
    path = plan.model.path or _source_path(plan)
    if path is None:
        return []
    try:
        return [str(path), models.identity(path)]
    except OSError as error:
        raise BadModelFile(f"{path} cannot be read: {error.strerror}.", fix="Plan again.") from error


def _source_path(plan: Plan) -> Path | None:
    """The file that the weights are made of."""
    source = getattr(plan.model, "made_from", None)
    return source.path if source else None


def _with_weights(plan: Plan, progress: Progress | None) -> Plan:
    """The plan with the file or folder that its engine opens, written first where it is not there."""
    if plan.model.path or plan.engine.keeps_models:
        return plan

    def report(done: int, total: int, what: str) -> None:
        if progress:
            progress(done / total if total else None, what)

    stored = plan.engine.stored_format(plan.settings.format)
    path = models.convert(plan.model, plan.engine.container, stored, progress=report)
    return replace(plan, model=replace(plan.model, path=path))


def _join(key: str, terms: _Terms) -> Deployment | None:
    for state in _that_serve(key):
        with suppress(ServerDied):  # it is just ending: start another one
            return Deployment(state, leases.Lease(state, keep=terms.keep, grace_s=terms.grace_s))
    return None


def _that_serve(key: str) -> list[State]:
    return [state for state in registry.deployments() if state.share_key == key and state.status == states.READY]


def is_running(plan: Plan) -> bool:
    """Whether `deploy` would join a deployment that already runs."""
    return plan.model.path is not None and bool(_that_serve(_share_key(plan, None)))


def _start(plan: Plan, key: str, terms: _Terms, progress: Progress | None) -> Deployment:
    orders = _orders(plan, key, terms)
    Ledger().predict(orders.state["plan"], plan.predictions)
    state = State(**orders.state)
    with state.log_path.open("ab") as log:
        watchdog = subprocess.Popen(
            # -P: whatever lies in the current folder is not ours to import
            [sys.executable, "-P", "-m", "workbench.deployment.watchdog"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
        )  # fmt: skip
    assert watchdog.stdin is not None  # noqa: S101 - asked for with PIPE, one line above
    lease = None
    try:
        with watchdog.stdin as starting_lease:  # held until the real one is; the system closes it if this process dies
            starting_lease.write(orders.to_line())
            starting_lease.flush()
            state = _wait_until_ready(state, watchdog, progress)
            lease = leases.Lease(state, keep=terms.keep, grace_s=terms.grace_s)
    except BaseException as error:  # also when the user interrupts: nothing may be left when this returns
        if lease:
            leases.stop(state)
        watchdog.wait()
        if not isinstance(error, WorkbenchError) and state.log_path.exists():  # it says what is left all the same
            raise failures.left_behind(state) from error
        raise
    threading.Thread(target=watchdog.wait, daemon=True).start()  # or it would stay behind as a zombie
    return Deployment(state, lease)


def _wait_until_ready(state: State, watchdog: subprocess.Popen[bytes], progress: Progress | None) -> State:
    started = time.monotonic()
    while True:
        current = states.load(state.path)
        if current and current.status == states.READY:
            return current
        if current and current.failure:
            raise failures.from_state(current)
        if watchdog.poll() is not None:
            raise failures.watchdog_lost(state)
        if progress:
            waited = time.monotonic() - started
            progress(None, f"starting {state.model} ({state.format}) on {state.engine}: {waited:.0f} s")
        time.sleep(0.02)


def _orders(plan: Plan, key: str, terms: _Terms) -> Orders:
    port, api_key = terms.port or _free_port(), secrets.token_urlsafe(24)
    launch = plan.engine.launch(plan.model, plan.settings, port, api_key)
    state = State(
        id=f"{folders.file_name(plan.model.name)[:24]}-{secrets.token_hex(3)}",
        model=plan.model.name, engine=plan.engine.name,
        served_model=launch.served_model or plan.engine.served_model(plan.model),
        status=states.STARTING, created=now(), host=states.this_host(), share_key=key, keep=terms.keep,
        base_url=launch.base_url or f"http://127.0.0.1:{port}/v1", api_key=launch.api_key or api_key,
        app_port=launch.app_port or 0, tokenizer=str(launch.tokenizer or ""), plan=plan.to_dict(),
    )  # fmt: skip
    return Orders(
        state=asdict(state), argv=list(launch.argv), env={**CARDS, **launch.env}, port=port,
        health_path=plan.engine.health_path, start_timeout_s=terms.start_timeout_s, grace_s=terms.grace_s,
        terminate_s=launch.ends_within_s or TERMINATE_S,
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
