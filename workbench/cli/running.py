"""Commands that start, use, measure and end deployments, and those that show what came of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from workbench import units
from workbench.cli.output import Status, print_json, print_table
from workbench.errors import UsageError


def tour(options: argparse.Namespace) -> None:
    from workbench import report
    from workbench.report import text

    question = options.question or report.QUESTION
    asking = f"\nAsking for at most {report.ANSWER_TOKENS} tokens: {question}\n"
    with Status(quiet=options.json) as status:
        result = report.tour(
            options.model or report.MODEL, question=question, context=options.context,
            repeats=options.repeats, engine=options.engine, power_w=options.power_w, usd_per_kwh=options.usd_per_kwh,
            progress=status, on_plan=lambda plan: status.say(text.plan(plan) + "\n" + asking), on_text=status.stream,
        )  # fmt: skip
        status.say("\n" + text.result(result))
    print_json(options, result.to_dict())


def run(options: argparse.Namespace) -> None:
    from workbench import deployment
    from workbench.deployment import limits

    if options.json and options.prompt is None:
        raise UsageError("--json needs a prompt.", fix="Give one, or leave --json out to chat.")
    asked = {} if options.prompt is None else {"messages": _messages(options, options.prompt)}
    limits.check({**asked, **_sampling(options)})
    with (
        Status(quiet=options.json) as status,
        deployment.deploy(_plan_to(options, status, "chat"), progress=status) as running,
    ):
        if options.prompt is None:
            return _converse(running, options, status)
        with running.stream(_messages(options, options.prompt), **_sampling(options)) as stream:
            answer = _say(stream, status)
    return print_json(options, {"answer": answer})


def _converse(running: Any, options: argparse.Namespace, status: Status) -> None:
    """Questions from standard input until it ends; an empty line asks nothing, Ctrl-C ends one answer."""
    messages = _messages(options)
    status.clear()
    print("Ask; Ctrl-C stops an answer, Ctrl-D ends.", file=sys.stderr)
    for line in _questions():
        asked = [*messages, {"role": "user", "content": line}]
        try:
            with running.stream(asked, **_sampling(options)) as stream:
                answer = _say(stream, status, interruptible=True)
        except UsageError as error:  # too long for the context, most likely: what was said before still stands
            status.note(f"workbench: {error}")
            continue
        if answer:
            messages = [*asked, {"role": "assistant", "content": answer}]


def _questions() -> Iterable[str]:
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if line.strip():
            yield line


def _messages(options: argparse.Namespace, *questions: str) -> list[dict[str, str]]:
    system = [{"role": "system", "content": options.system}] if options.system else []
    return system + [{"role": "user", "content": question} for question in questions]


def _sampling(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for; the server's own choice of the rest."""
    names = ("max_tokens", "temperature", "top_p", "seed")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def _say(stream: Any, status: Status, *, interruptible: bool = False) -> str:
    """The answer while it comes, and then how fast it came. Ctrl-C leaves what there is, if the rest can go on."""
    from workbench.measurement import Answer, answers

    answer, shown = Answer(), 0
    try:
        for answer in answers(stream):
            status.stream("".join(answer.pieces[shown:]))
            shown = len(answer.pieces)
    except KeyboardInterrupt:
        if not interruptible:
            raise
        stream.close()
    status.note(_speed(answer))
    if stream.warning:
        status.note(f"workbench: {stream.warning}")
    return answer.text


def _speed(answer: Any) -> str:
    """'[48 tokens, the first after 0.12 s, then 62 tok/s]': of a stopped answer only the pieces were counted."""
    count = f"{len(answer.pieces)} pieces" if answer.tokens is None else f"{answer.tokens} tokens"
    rate = answer.tok_per_s or answer.pieces_per_s
    unit = "pieces/s" if answer.tok_per_s is None else "tok/s"
    parts = [count]
    parts += [f"the first after {units.format_value(answer.ttft_s, 's')}"] if answer.ttft_s is not None else []
    parts += [f"then {units.format_value(rate, unit)}"] if rate else []
    how = {None: ", stopped", "length": ", cut"}.get(answer.finish_reason, "")
    return f"[{', '.join(parts)}{how}]"


def transcribe(options: argparse.Namespace) -> None:
    from workbench import deployment
    from workbench.deployment.transcripts import checked

    checked(options.recording)  # before a model is fetched for nothing
    with (
        Status(quiet=options.json) as status,
        deployment.deploy(_plan_to(options, status, "transcribe"), progress=status) as running,
    ):
        asked = {name: getattr(options, name) for name in ("language", "prompt") if getattr(options, name)}
        found = running.transcribe(options.recording, progress=status, **asked)
        if found.cut_short:
            status.note(f"workbench: the recording could not be read to its end: {found.cut_short}")
    if not options.json:
        print({"text": found.text, "srt": found.srt, "vtt": found.vtt}[options.form])
    print_json(options, found.to_dict())


def imagine(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from workbench import deployment

    files = _files(options.output, options.images)
    with (
        Status(quiet=options.json) as status,
        deployment.deploy(_plan_to(options, status, "imagine"), progress=status) as running,
    ):
        asked = {name: getattr(options, name) for name in ("negative_prompt", "steps", "guidance", "seed", "scheduler")}
        found = running.imagine(options.prompt, size=options.size, images=options.images, progress=status, **asked)
        if found.left_out:
            status.note(f"workbench: the model does not read so long a prompt; left out: {found.left_out[:200]}")
    for file, picture in zip(files, found.pictures, strict=True):
        picture.save(file)
    if not options.json:
        print("\n".join(str(file) for file in files))
    told = asdict(found)
    told["pictures"] = [{"file": str(f), "seed": p.seed} for f, p in zip(files, found.pictures, strict=True)]
    print_json(options, told)


def _files(output: Path, count: int) -> list[Path]:
    """Where pictures go: beside one another, with a number each where there are several."""
    if not output.expanduser().parent.is_dir():
        raise UsageError(f"There is no folder {output.parent}.", fix="Name a file in a folder that is there.")
    return [output] if count == 1 else [output.with_stem(f"{output.stem}-{n}") for n in range(1, count + 1)]


def deploy(options: argparse.Namespace) -> None:
    from workbench import deployment
    from workbench.report import text

    with Status() as status:
        running = deployment.deploy(make_plan(options, status), keep=True, port=options.port, progress=status)
    running.release()
    endpoint, state = running.endpoint, running.state
    if not options.json:
        what = f"{running.id} ({state.engine}, {state.format})"
        print(f"{what} answers at {endpoint.base_url} as {endpoint.served_model}\n")
        print(f"export OPENAI_BASE_URL={endpoint.base_url}\nexport OPENAI_API_KEY={endpoint.api_key}\n")
        print(f"It runs until: {text.command('stop')} {running.id}")
    print_json(options, {
        "id": running.id, "base_url": endpoint.base_url, "api_key": endpoint.api_key, "model": endpoint.served_model,
        "engine": state.engine, "format": state.format,
    })  # fmt: skip


def ps(options: argparse.Namespace) -> None:
    from workbench import deployment, machine
    from workbench.deployment import failures

    running = deployment.deployments()
    found = {state.id: machine.memory_bytes(state.server_pids()) for state in running}
    memory = {name: one.bytes if one else None for name, one in found.items()}  # None: nobody may look at it
    if not options.json:
        rows = [
            (s.id, s.engine, s.format, f"died: {failures.death(s)}" if s.failure else s.status, s.base_url,
             "none" if s.failure else _memory(memory[s.id]), s.created) for s in running
        ]  # fmt: skip
        print_table([("id", "engine", "format", "status", "address", "memory", "since")], rows)
    fields = ("id", "model", "engine", "format", "status", "base_url", "created", "keep")
    print_json(options, [
        {**{f: getattr(s, f) for f in fields}, "memory_bytes": memory[s.id], "reason": failures.death(s)}
        for s in running
    ])  # fmt: skip


def _memory(size: int | None) -> str:
    return "unknown" if size is None else units.format_bytes(size)


def logs(options: argparse.Namespace) -> None:
    from workbench import deployment

    text = deployment.logs(options.deployment, options.lines)
    if not options.json:
        print(text)
    print_json(options, {"lines": text.splitlines()})


def stop(options: argparse.Namespace) -> None:
    from workbench import deployment

    if bool(options.deployment) == options.all:
        raise UsageError("Name one deployment, or say --all.", fix="`workbench ps` lists them.")
    stopped = deployment.stop_all() if options.all else [deployment.stop(options.deployment).id]
    if not options.json:
        print("\n".join(f"{name} stopped" for name in stopped) or "nothing was running")
    print_json(options, {"stopped": stopped})


def measure(options: argparse.Namespace) -> None:
    from workbench import deployment, measurement
    from workbench.report import text

    measurement.check_repeats(options.repeats)
    with Status() as status:
        plan = make_plan(options, status)
        with deployment.deploy(plan, share=False, progress=status) as running:
            result = measurement.measure(running, repeats=options.repeats, progress=status)
    if not options.json:
        print(text.comparison_table(result))
    print_json(options, {"plan": plan.to_dict(), "measurement": result.to_dict()})


def evaluate(options: argparse.Namespace) -> None:
    from workbench import deployment
    from workbench.measurement import code
    from workbench.report import text

    chosen, allowed = code.first(options.problems), options.run_generated_code
    asked = {"samples": options.samples, "temperature": options.temperature, "mode": options.mode}
    code.check(chosen, **asked, run_generated_code=allowed)
    with Status() as status, deployment.deploy(_plan_to(options, status, options.mode), progress=status) as running:
        result = code.evaluate(running, chosen, **asked, run_generated_code=allowed, progress=status)
    if not options.json:
        print(text.evaluation(result))
    print_json(options, result.to_dict())


def race(options: argparse.Namespace) -> None:
    from workbench import measurement
    from workbench.report import text

    uses, engines = (tuple(one for one in given.split(",") if one) for given in (options.uses, options.engines))
    with Status(quiet=options.json) as status:
        found = measurement.race(
            options.model, uses, engines=engines, repeats=options.repeats, lossy=options.lossy, progress=status
        )
    if not options.json:
        print("\n\n".join(text.race(one) for one in found))
    print_json(options, [one.to_dict() for one in found])


def ledger(options: argparse.Namespace) -> None:
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
        print_table(head, rows)
    print_json(options, [asdict(error) for error in errors])


def dashboards(options: argparse.Namespace) -> None:
    from workbench.ui import dashboards

    dashboards.serve(options.notebook, port=options.port, open_browser=not options.no_browser)


def _plan_to(options: argparse.Namespace, status: Status, wanted: str) -> Any:
    """The plan, of a model that can do what is wanted: chat, complete, transcribe or imagine."""
    from workbench import catalog
    from workbench.deployment import limits

    if entry := catalog.find_model(options.model):  # before its file is fetched for nothing
        does = {entry.task} if entry.task in ("transcribe", "imagine") else {"chat", "complete"}
        limits.check_use(entry.name, does, wanted)
    plan = make_plan(options, status)
    limits.check_use(plan.model.name, plan.engine.capabilities, wanted)
    return plan


def make_plan(options: argparse.Namespace, progress: Callable[[float | None, str], None] | None = None) -> Any:
    from workbench import engines, models, planning

    def fetched(done: int, total: int | None, what: str) -> None:
        if progress:
            progress(done / total if total else None, what)

    # an app knows its models by names of its own
    in_app = options.engine in (*engines.APPS, *engines.IMAGE_APPS)
    model = options.model if in_app else models.get(options.model, progress=fetched)
    return planning.plan(
        model, engine=options.engine, format=options.format, context=options.context,
        concurrency=options.concurrency, threads=options.threads, image=_shape(model, options),
        cache_type=options.cache_type, flash_attention=options.flash_attention, devices=options.devices,
    )  # fmt: skip


def _shape(model: Any, options: argparse.Namespace) -> Any:
    """The pictures that a deployment is to serve; None for models of other kinds."""
    from workbench.engines import ImageShape
    from workbench.models import ImageModel
    from workbench.planning.listed import USUAL_IMAGE

    if not isinstance(model, ImageModel) and not hasattr(options, "images"):
        return None
    usual = model if isinstance(model, ImageModel) else USUAL_IMAGE
    width, height = getattr(options, "size", None) or (usual.width, usual.height)
    steps, images = getattr(options, "steps", None) or usual.steps, getattr(options, "images", 1)
    return ImageShape(width, height, steps, images, usual.guidance)
