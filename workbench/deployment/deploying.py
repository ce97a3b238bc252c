"""Deploying a plan: join the supervised server that already runs, or start one, and hand it to its first user."""

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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from workbench import folders, models, planning
from workbench.deployment import failures, registry
from workbench.deployment import lease as leases
from workbench.deployment import state as states
from workbench.deployment.deployment import Deployment, Progress
from workbench.deployment.state import State
from workbench.deployment.watchdog import TERMINATE_S, Orders
from workbench.engines import Engine
from workbench.engines.apps.engine import Listed
from workbench.errors import BadModelFile, PortTaken, ServerDied, UsageError, WorkbenchError
from workbench.evidence.ledger import Ledger
from workbench.planning import Plan
from workbench.units import now

PORT_ATTEMPTS = 4
#: CUDA numbers cards by their speed unless told otherwise; nvidia-smi, and with it a plan, by their place on the bus.
CARDS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
_PLACEMENT = {"devices", "device_layers", "tensor_parallel", "offload"}


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


@dataclass(frozen=True, slots=True)
class _Terms:
    """How long a deployment lives and where it answers; see `deploy`."""

    keep: bool
    grace_s: float
    port: int | None
    start_timeout_s: float


def _share_key(plan: Plan, port: int | None) -> str:
    """Equal for plans that one server can serve. What depends on the moment is left out: threads, and devices that were
    chosen because they had room, which the running server itself has taken."""
    moment = {"threads", "prefill_threads"} | (set() if plan.devices_asked else _PLACEMENT)
    settings = {k: v for k, v in asdict(plan.settings).items() if k not in moment}
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
