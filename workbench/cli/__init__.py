"""The command `workbench`: a thin door to the functions of the package.

Every command takes --json (stable keys, units in their names) and exits with 0 on success, 1 on a plain failure and
2 on wrong use. Progress goes to standard error, results to standard output.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from workbench.cli import environments, planning, running
from workbench.errors import WorkbenchError

USES = "chat, long-prompt, batch, memory"  # of workbench.planning.USES, which would take a second to import


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parsed(argv)
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


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command; its last argument may also come after options, where argparse does not look for it."""
    options, left = parser().parse_known_args(argv)
    late = options.late
    if len(left) == 1 and late and getattr(options, late) is None and not left[0].startswith("-"):
        setattr(options, late, left[0])
    elif left:
        options.parser.error(f"unrecognized arguments: {' '.join(left)}")
    return options


def parser() -> argparse.ArgumentParser:
    """The command line; its help texts are the documentation of the commands."""
    top = argparse.ArgumentParser(prog="workbench", description="Run open AI models yourself, and know what it takes.")
    top.add_argument("--version", action="version", version=f"%(prog)s {metadata.version('open-model-workbench')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print JSON")
        sub.set_defaults(run=run, parser=sub, late="")
        return sub

    _add_tour(command)
    _add_lists(command)
    _add_predicting(command)
    _add_running(command)
    _add_media(command)
    _add_measuring(command)
    _add_dashboards(command)
    return top


def _add_tour(command: Callable[..., argparse.ArgumentParser]) -> None:
    tour = command(
        "tour", running.tour, "The main job from end to end: plan, deploy, ask, measure, compare costs, report."
    )
    tour.add_argument("model", nargs="?", help="model name or path (default: the embedded one)")
    tour.set_defaults(late="model")
    tour.add_argument("--question", help="what to ask")
    tour.add_argument("--repeats", type=int, default=5, help="measured requests (default: 5)")
    _add_plan_options(tour, brief=True)
    _add_cost_options(tour)


def _add_running(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Deployments."""
    run = command("run", running.run, "Ask a model once, or chat with it when no prompt is given.")
    run.add_argument("model")
    run.add_argument("prompt", nargs="?")
    run.set_defaults(late="prompt")
    run.add_argument("--system", help="system prompt")
    _add_sampling_options(run)
    _add_plan_options(run)

    deploy = command("deploy", running.deploy, "Serve a model in the background until `workbench stop`.")
    deploy.add_argument("model")
    deploy.add_argument("--port", type=_port, help="port on 127.0.0.1 (default: a free one)")
    _add_plan_options(deploy)

    command("ps", running.ps, "The deployments that run, and how those ended that were to stay and died.")
    logs = command("logs", running.logs, "The last lines a deployment's server wrote.")
    logs.add_argument("deployment", help="id or model name")
    logs.add_argument("--lines", type=int, default=50)
    stop = command("stop", running.stop, "End a deployment for all its users.")
    stop.add_argument("deployment", nargs="?", help="id or model name")
    stop.set_defaults(late="deployment")
    stop.add_argument("--all", action="store_true", help="end every deployment")


def _add_media(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Recordings and pictures."""
    heard = command("transcribe", running.transcribe, "Write down what is said in a recording.")
    heard.add_argument("recording", help="a file in any format that FFmpeg opens")
    heard.add_argument("--model", default="whisper-tiny.en", help="a speech model (default: the embedded one)")
    heard.add_argument("--as", dest="form", choices=("text", "srt", "vtt"), default="text", help="how to print it")
    heard.add_argument("--language", help="what is spoken, such as en; found out where the model knows several")
    heard.add_argument("--prompt", help="text that comes before, with names as they are written")
    _add_engine_options(heard)
    heard.set_defaults(context=None, concurrency=1, cache_type="f16", flash_attention=True)

    seen = command("imagine", running.imagine, "Make pictures of a text.")
    seen.add_argument("prompt", help="what is to be seen")
    seen.add_argument("--model", default="icons", help="an image model or its folder (default: the embedded one)")
    seen.add_argument("--output", type=Path, default=Path("picture.png"), help="the file (default: picture.png)")
    seen.add_argument("--negative-prompt", default="", help="what is not to be seen")
    seen.add_argument("--size", type=_size, metavar="WIDTHxHEIGHT", help="in pixels (default: the model's own)")
    seen.add_argument("--steps", type=int, help="denoising steps (default: the model's own)")
    seen.add_argument("--guidance", type=float, help="how strongly the text is followed")
    seen.add_argument("--seed", type=int, help="the same seed makes the same picture (default: 0)")
    seen.add_argument("--images", type=int, default=1, help="how many at once (default: 1)")
    seen.add_argument("--scheduler", default="", help="ddim, dpm++, euler, euler-ancestral, heun, lcm, pndm, unipc")
    _add_engine_options(seen)
    seen.set_defaults(context=None, concurrency=1, cache_type="f16", flash_attention=True)


def _add_measuring(command: Callable[..., argparse.ArgumentParser]) -> None:
    """What writes to the ledger, and the ledger."""
    measure = command("measure", running.measure, "Measure a model here, in a deployment of its own.")
    measure.add_argument("model")
    measure.add_argument("--repeats", type=int, default=5, help="measured requests (default: 5)")
    _add_plan_options(measure)
    _add_race(command)
    _add_evaluate(command)
    ledger = command("ledger", running.ledger, "How far predictions lay from measurements so far.")
    ledger.add_argument("--export", type=Path, metavar="FILE", help="write every pair to a .csv or .json file")


def _add_dashboards(command: Callable[..., argparse.ArgumentParser]) -> None:
    boards = command(
        "dashboards", running.dashboards, "Open the notebooks as dashboards (Voilà, on this computer only)."
    )
    boards.add_argument("notebook", nargs="?", help="one notebook, such as 00_start_here (default: the list)")
    boards.set_defaults(late="notebook")
    boards.add_argument("--port", type=_port, help="port on 127.0.0.1")
    boards.add_argument("--no-browser", action="store_true", help="print the address and do not open it")


def _add_lists(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that list what there is."""
    machine = command("machine", planning.machine, "What this computer is.")
    machine.add_argument("--calibrate", action="store_true", help="measure its speed again (a few seconds)")
    machine.add_argument("--raw", action="store_true", help="what the probes read, for a bug report")
    models = command("models", planning.models, "The models known by name, or those of an all-in-one app.")
    models.add_argument("--app", help="list what this app has: ollama, lm-studio, text-generation-webui, localai, jan")
    models.add_argument("--pull", metavar="NAME", help="have the app bring this model first")
    listed = command("engines", environments.engines, "The engines and whether they can run here; install, remove.")
    environments.add_actions(listed)


def _add_predicting(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that predict."""
    plan = command("plan", planning.plan, "Every engine and format for a model on a machine, ranked, with reasons.")
    estimate = command("estimate", planning.estimate, "Predict memory and speed of one configuration of a model.")
    for sub in (plan, estimate):
        sub.add_argument("model", help="name, .gguf file, config.json, or owner/name on the Hub")
        _add_where_options(sub)
    plan.add_argument("--for", dest="use", metavar="USE", help="what can be started here, ranked for one of: " + USES)
    plan.add_argument("--lossy", action="store_true", help="with --for: also formats that round the file's weights")
    validate = command("validate", planning.validate, "Score the predictions on a table of measurements.")
    validate.add_argument("file", type=Path, metavar="FILE.csv", help="columns as in benchmarks/published")
    walk = command("walkthrough", planning.walkthrough, "A step-by-step example of the guide, as it works here today.")
    walk.add_argument("number", help="its number in the guide: 1")
    _add_machine_options(walk)
    walk.add_argument("--context", type=int, help="tokens of prompt and answer together (default: 2048)")
    about = "leave out what the ledger has measured on this machine"
    estimate.add_argument("--no-ledger", action="store_true", help=about)


def _add_race(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The command that measures the candidates of a use."""
    sub = command("race", running.race, "Measure all that can be started here, and what the pick beforehand cost.")
    sub.add_argument("model")
    sub.add_argument("--uses", default="chat,long-prompt,batch", help="of " + USES + " (default: %(default)s)")
    sub.add_argument("--engines", default="", help="only these, with commas (default: all that can)")
    sub.add_argument("--repeats", type=int, default=3, help="measured requests of each (default: 3)")
    sub.add_argument("--lossy", action="store_true", help="also formats that round the file's weights")


def _add_evaluate(command: Callable[..., argparse.ArgumentParser]) -> None:
    """The command that measures what a model's code does."""
    sub = command("evaluate", running.evaluate, "Let a model solve small programming problems, and run their tests.")
    sub.add_argument("model")
    about = "run what the model writes, in a sandbox: nothing is evaluated without this"
    sub.add_argument("--run-generated-code", action="store_true", help=about)
    sub.add_argument("--problems", type=int, metavar="N", help="only the first N problems (default: all)")
    sub.add_argument("--samples", type=int, default=1, help="answers for each problem (default: 1)")
    sub.add_argument("--temperature", type=float, default=0.0, help="randomness of the answers (default: 0, none)")
    sub.add_argument("--mode", default="chat", help="chat (default), or complete: the text of the function goes on")
    _add_plan_options(sub)


def _port(text: str) -> int:
    """The type of a port number on the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; ports are 1 to 65535")
    return int(text)


def _devices(text: str) -> tuple[int, ...]:
    """The type of this machine's accelerators on the command line."""
    places = [] if text == "none" else text.split(",")
    if not all(one.isdecimal() for one in places):
        raise argparse.ArgumentTypeError(f"{text!r} names no accelerators; write them like 0,1, or none for the CPU")
    return tuple(map(int, places))


def _size(text: str) -> tuple[int, int]:
    """The type of a picture's size on the command line."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 512x512")
    return int(width), int(height)


def _add_machine_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--device", help="an accelerator or a cloud instance of the catalog (default: this computer)")
    sub.add_argument("--count", type=int, default=1, help="how many of them (default: 1)")
    sub.add_argument("--memory-gib", type=_gib, help="main memory of the machine, GiB (default: this computer's)")


def _add_where_options(sub: argparse.ArgumentParser) -> None:
    _add_machine_options(sub)
    sub.add_argument("--format", help="format of the weights, such as Q4_K_M, BF16 or NF4")
    sub.add_argument("--engine", default="auto", help="engine to use (default: all that can)")
    sub.add_argument("--context", type=int, help="tokens of prompt and answer together (default: 2048)")
    sub.add_argument("--concurrency", type=int, help="requests served at once (default: 1, or what a use has)")


def _gib(text: str) -> float:
    """The type of a size in GiB on the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; say it in GiB, such as 32")
    return value


def _add_plan_options(sub: argparse.ArgumentParser, *, brief: bool = False) -> None:
    _add_engine_options(sub, brief=brief, note="; `workbench plan MODEL --for USE` says which is the fastest")
    sub.add_argument("--context", type=int, help="tokens of prompt and answer together (default: 2048)")
    if not brief:
        sub.add_argument("--concurrency", type=int, default=1, help="requests served at once (default: 1)")
        sub.add_argument("--cache-type", default="f16", help="element type of llama.cpp's KV cache (default: f16)")
        about = "have llama.cpp compute attention in plain steps"
        sub.add_argument("--no-flash-attention", dest="flash_attention", action="store_false", help=about)


def _add_engine_options(sub: argparse.ArgumentParser, *, brief: bool = False, note: str = "") -> None:
    sub.add_argument("--engine", default="auto", help=f"engine to use (default: the first that can{note})")
    if not brief:
        sub.add_argument("--format", help="format of the weights, such as BF16 or NF4 (default: the file's own)")
        sub.add_argument("--threads", type=int, help="CPU threads (default: chosen by what else runs)")
        about = "accelerators, counted from 0, such as 0,1, or none for the CPU (default: the fewest on which it fits)"
        sub.add_argument("--devices", type=_devices, help=about)


def _add_sampling_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--max-tokens", type=int, help="longest answer, tokens")
    sub.add_argument("--temperature", type=float, help="0 for the likeliest words (default: the server's)")
    sub.add_argument("--top-p", type=float, help="draw from the likeliest words of this probability together")
    sub.add_argument("--seed", type=int, help="the same number draws the same answer again")


def _add_cost_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--power-w", type=float, help="what this machine draws under load, in watts (default: assumed)")
    sub.add_argument("--usd-per-kwh", type=float, help="price of electricity (default: assumed)")
