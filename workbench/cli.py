"""The command `workbench`: a thin door to the functions of the package.

Every command takes --json (stable keys, units in their names) and exits with 0 on success, 1 on a plain failure and
2 on wrong use. Progress goes to standard error, results to standard output.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench import units
from workbench.errors import UsageError, WorkbenchError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parser().parse_args(argv)
    try:
        options.run(options)
    except WorkbenchError as error:
        print(f"workbench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("\nworkbench: interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, and Python would complain when it flushes
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line; its help texts are the documentation of the commands."""
    top = argparse.ArgumentParser(prog="workbench", description="Run open AI models yourself, and know what it takes.")
    top.add_argument("--version", action="version", version=f"%(prog)s {metadata.version('open-model-workbench')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.set_defaults(run=run)
        return sub

    tour = command("tour", _tour, "The main job from end to end: plan, deploy, ask, measure, compare costs, report.")
    tour.add_argument("model", nargs="?", help="model name or path (default: the embedded one)")
    tour.add_argument("--question", help="what to ask")
    tour.add_argument("--repeats", type=int, default=5, help="measured requests (default: 5)")
    _add_plan_options(tour, brief=True)
    _add_cost_options(tour)

    machine = command("machine", _machine, "What this computer is.")
    machine.add_argument("--calibrate", action="store_true", help="measure its speed again (a few seconds)")
    machine.add_argument("--raw", action="store_true", help="what the probes read, for a bug report")

    command("models", _models, "The models known by name.")
    command("engines", _engines, "The engines and whether they can run here.")

    plan = command("plan", _plan, "Predict memory and speed of a model here, with reasons.")
    plan.add_argument("model")
    _add_plan_options(plan)

    run = command("run", _run, "Ask a model once, or chat with it when no prompt is given.")
    run.add_argument("model")
    run.add_argument("prompt", nargs="?")
    run.add_argument("--max-tokens", type=int, help="longest answer, tokens")
    _add_plan_options(run)

    deploy = command("deploy", _deploy, "Serve a model in the background until `workbench stop`.")
    deploy.add_argument("model")
    deploy.add_argument("--port", type=_port, help="port on 127.0.0.1 (default: a free one)")
    _add_plan_options(deploy)

    command("ps", _ps, "The deployments that run.")
    logs = command("logs", _logs, "The last lines a deployment's server wrote.")
    logs.add_argument("deployment", help="id or model name")
    logs.add_argument("--lines", type=int, default=50)
    stop = command("stop", _stop, "End a deployment for all its users.")
    stop.add_argument("deployment", nargs="?", help="id or model name")
    stop.add_argument("--all", action="store_true", help="end every deployment")

    measure = command("measure", _measure, "Measure a model here, in a deployment of its own.")
    measure.add_argument("model")
    measure.add_argument("--repeats", type=int, default=5, help="measured requests (default: 5)")
    _add_plan_options(measure)

    ledger = command("ledger", _ledger, "How far predictions lay from measurements so far.")
    ledger.add_argument("--export", type=Path, metavar="FILE", help="write every pair to a .csv or .json file")

    boards = command("dashboards", _dashboards, "Open the notebooks as dashboards (Voilà, on this computer only).")
    boards.add_argument("notebook", nargs="?", help="one notebook, such as 00_start_here (default: the list)")
    boards.add_argument("--port", type=_port, help="port on 127.0.0.1")
    boards.add_argument("--no-browser", action="store_true", help="print the address and do not open it")
    return top


def _port(text: str) -> int:
    """The type of a port number on the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; ports are 1 to 65535")
    return int(text)


def _add_plan_options(sub: argparse.ArgumentParser, *, brief: bool = False) -> None:
    sub.add_argument("--engine", default="auto", help="engine to use (default: the first that can)")
    sub.add_argument("--context", type=int, help="tokens of prompt and answer together (default: 2048)")
    if not brief:
        sub.add_argument("--concurrency", type=int, default=1, help="requests served at once (default: 1)")
        sub.add_argument("--threads", type=int, help="CPU threads (default: chosen by what else runs)")


def _add_cost_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--power-w", type=float, help="what this machine draws under load, in watts (default: assumed)")
    sub.add_argument("--usd-per-kwh", type=float, help="price of electricity (default: assumed)")


# -- commands --------------------------------------------------------------------------------------------------


def _tour(options: argparse.Namespace) -> None:
    from workbench import report
    from workbench.report import text

    question = options.question or report.QUESTION
    asking = f"\nAsking for at most {report.ANSWER_TOKENS} tokens: {question}\n"
    with _Status(quiet=options.json) as status:
        result = report.tour(
            options.model or report.MODEL, question=question, context=options.context,
            repeats=options.repeats, engine=options.engine, power_w=options.power_w, usd_per_kwh=options.usd_per_kwh,
            progress=status, on_plan=lambda plan: status.say(text.plan(plan) + "\n" + asking), on_text=status.stream,
        )  # fmt: skip
        status.say("\n" + text.result(result))
    _print_json(options, result.to_dict())


def _machine(options: argparse.Namespace) -> None:
    from workbench import machine
    from workbench.report import text

    if options.raw:
        return _print_json(argparse.Namespace(json=True), machine.raw())
    found = machine.probe()
    with _Status() as status:
        found = machine.calibrate(found, force=True, progress=status) if options.calibrate else machine.kept(found)
    if not options.json:
        print(text.machine(found))
    return _print_json(options, found.to_dict())


def _models(options: argparse.Namespace) -> None:
    from workbench import models

    entries = models.known()
    if not options.json:
        _print_table([("name", "what it is", "licence")], [(e.name, e.title, e.licence) for e in entries])
        print("\nAny .gguf file works too: a path, or hf:owner/repository/file.gguf.")
    _print_json(options, [{"name": e.name, "title": e.title, "task": e.task, "licence": e.licence} for e in entries])


def _engines(options: argparse.Namespace) -> None:
    from workbench import engines

    names = [name for name in engines.ENGINES if name != "fake"]  # that one is for tests
    found = {name: engines.get(name).available() for name in names}
    if not options.json:
        rows = [(name, "yes" if a.ok else "no", a.version or f"{a.reason} {a.fix}") for name, a in found.items()]
        _print_table([("engine", "runs here", "version, or why not")], rows)
    fields = ("ok", "version", "reason", "fix")
    _print_json(options, [{"name": n, **{field: getattr(a, field) for field in fields}} for n, a in found.items()])


def _plan(options: argparse.Namespace) -> None:
    from workbench.report import text

    plan = _make_plan(options)
    if not options.json:
        print(text.plan(plan))
    _print_json(options, plan.to_dict())


def _run(options: argparse.Namespace) -> None:
    from workbench import deployment

    if options.json and options.prompt is None:
        raise UsageError("--json needs a prompt.", fix="Give one, or leave --json out to chat.")
    with (
        _Status(quiet=options.json) as status,
        deployment.deploy(_make_plan(options, status), progress=status) as running,
    ):
        if options.prompt is None:
            return _converse(running, options, status)
        answer = _say(running.chat(options.prompt, max_tokens=options.max_tokens), status)
    return _print_json(options, {"answer": answer})


def _converse(running: Any, options: argparse.Namespace, status: _Status) -> None:
    """Questions from standard input until it ends; an empty line asks nothing."""
    messages: list[dict[str, str]] = []
    status.clear()
    print("Ask; Ctrl-D ends.", file=sys.stderr)
    for line in _questions():
        messages.append({"role": "user", "content": line})
        answer = _say(running.chat(messages, max_tokens=options.max_tokens), status)
        messages.append({"role": "assistant", "content": answer})


def _questions() -> Iterable[str]:
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if line.strip():
            yield line


def _say(pieces: Iterable[str], status: _Status) -> str:
    answer = ""
    for piece in pieces:
        answer += piece
        status.stream(piece)
    status.clear()
    return answer


def _deploy(options: argparse.Namespace) -> None:
    from workbench import deployment
    from workbench.report import text

    with _Status() as status:
        running = deployment.deploy(_make_plan(options, status), keep=True, port=options.port, progress=status)
    running.release()
    endpoint = running.endpoint
    if not options.json:
        print(f"{running.id} answers at {endpoint.base_url} as {endpoint.served_model}\n")
        print(f"export OPENAI_BASE_URL={endpoint.base_url}\nexport OPENAI_API_KEY={endpoint.api_key}\n")
        print(f"It runs until: {text.command('stop')} {running.id}")
    _print_json(options, {
        "id": running.id, "base_url": endpoint.base_url, "api_key": endpoint.api_key, "model": endpoint.served_model,
    })  # fmt: skip


def _ps(options: argparse.Namespace) -> None:
    from workbench import deployment, machine

    running = deployment.deployments()
    memory = {state.id: machine.memory_bytes(state.server_pids()).bytes for state in running}
    if not options.json:
        rows = [(s.id, s.engine, s.status, s.base_url, units.format_bytes(memory[s.id]), s.created) for s in running]
        _print_table([("id", "engine", "status", "address", "memory", "since")], rows)
    fields = ("id", "model", "engine", "status", "base_url", "created", "keep")
    _print_json(options, [{**{f: getattr(s, f) for f in fields}, "memory_bytes": memory[s.id]} for s in running])


def _logs(options: argparse.Namespace) -> None:
    from workbench import deployment

    text = deployment.logs(options.deployment, options.lines)
    if not options.json:
        print(text)
    _print_json(options, {"lines": text.splitlines()})


def _stop(options: argparse.Namespace) -> None:
    from workbench import deployment

    if bool(options.deployment) == options.all:
        raise UsageError("Name one deployment, or say --all.", fix="`workbench ps` lists them.")
    stopped = deployment.stop_all() if options.all else [deployment.stop(options.deployment).id]
    if not options.json:
        print("\n".join(f"{name} stopped" for name in stopped) or "nothing was running")
    _print_json(options, {"stopped": stopped})


def _measure(options: argparse.Namespace) -> None:
    from workbench import deployment, measurement
    from workbench.report import text

    measurement.check_repeats(options.repeats)
    with _Status() as status:
        plan = _make_plan(options, status)
        with deployment.deploy(plan, share=False, progress=status) as running:
            result = measurement.measure(running, repeats=options.repeats, progress=status)
    if not options.json:
        print(text.comparison_table(result))
    _print_json(options, {"plan": plan.to_dict(), "measurement": result.to_dict()})


def _ledger(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from workbench.evidence.ledger import Ledger

    ledger = Ledger()
    if options.export:
        print(f"{ledger.export(options.export)} pairs written to {options.export}", file=sys.stderr)
    errors = ledger.errors()
    if not options.json:
        head = [("engine", "hardware", "quantity", "pairs", "median error", "worst", "inside interval")]
        rows = [
            (e.engine, e.hardware, e.quantity, str(e.count), f"{e.median_error:.1%}", f"{e.worst_error:.1%}",
             f"{e.in_interval:.0%}") for e in errors
        ]  # fmt: skip
        _print_table(head, rows)
    _print_json(options, [asdict(error) for error in errors])


def _dashboards(options: argparse.Namespace) -> None:
    from workbench.ui import dashboards

    dashboards.serve(options.notebook, port=options.port, open_browser=not options.no_browser)


# -- shared ----------------------------------------------------------------------------------------------------


def _make_plan(options: argparse.Namespace, progress: Callable[[float | None, str], None] | None = None) -> Any:
    from workbench import models, planning

    def fetched(done: int, total: int | None, what: str) -> None:
        if progress:
            progress(done / total if total else None, what)

    return planning.plan(
        models.get(options.model, progress=fetched), engine=options.engine, context=options.context,
        concurrency=options.concurrency, threads=options.threads,
    )  # fmt: skip


def _print_json(options: argparse.Namespace, value: Any) -> None:
    if options.json:
        print(json.dumps(value, indent=1))


def _print_table(head: Sequence[tuple[str, ...]], rows: Sequence[tuple[str, ...]]) -> None:
    from workbench.report import text

    print(text.columns([*head, *rows]))
    if not rows:
        print("(none)")


class _Status:
    """The two streams of a command: progress on standard error, results and answers on standard output.

    On a terminal progress is one line that changes; elsewhere it is a line per step. An answer that grows is never
    overwritten: whatever comes next begins on a line of its own.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._terminal, self._shown, self._open, self._quiet = sys.stderr.isatty(), "", False, quiet

    def __call__(self, fraction: float | None, text: str) -> None:
        if self._terminal:
            percent = "" if fraction is None else f" {fraction:4.0%}"
            self.clear()
            print(f"{text}{percent}", end="", file=sys.stderr, flush=True)
        elif (step := text.partition(":")[0]) != self._shown:
            self.clear()
            print(step, file=sys.stderr, flush=True)
            self._shown = step

    def say(self, text: str) -> None:
        """A finished piece of output."""
        self.clear()
        if not self._quiet:
            print(text, flush=True)

    def stream(self, piece: str) -> None:
        """A piece of an answer that grows."""
        if not self._open:
            self.clear()
        if not self._quiet:
            print(piece, end="", flush=True)
            self._open = True

    def clear(self) -> None:
        """Make room for a line of output."""
        if self._open:
            print(flush=True)
            self._open = False
        elif self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Status:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


if __name__ == "__main__":
    sys.exit(main())
