"""The same facts as plain text, for a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.costs import Comparison
from workbench.machine import Finding, Machine
from workbench.measurement import Measurement, Race
from workbench.measurement.code import Evaluation
from workbench.planning import Choices, Pick, Plan, Refusal
from workbench.planning.validation import Validation
from workbench.report import figures
from workbench.report.guided import Tour
from workbench.report.html import rows
from workbench.units import format_bytes, format_usd, format_value

if TYPE_CHECKING:
    from workbench.report.walkthrough import Guidance


def machine(found: Machine) -> str:
    """What this computer is, or what is stated of one that is described."""
    cpu, memory, disk = found.cpu, found.memory, found.disk
    lines = [
        f"CPU      {cpu.name}: {cpu.physical_cores} cores, {cpu.usable_cores:g} usable ({cpu.architecture})",
        f"         {', '.join(cpu.instruction_sets) or 'no instruction sets known'}",
        f"Memory   {format_bytes(memory.total_bytes)}, {format_bytes(memory.available_bytes)} available",
        *([f"Disk     {format_bytes(disk.free_bytes)} free"] if disk.total_bytes else []),
        f"System   {found.system}{f', Python {found.python}' if found.python else ''}",
    ]
    alike = Counter((card.vendor, card.name, card.memory_total_bytes, card.driver) for card in found.accelerators)
    notes = {card.name: card.note for card in found.accelerators}
    for (vendor, name, size, driver), count in alike.items():
        many, room = f"{count} × " if count > 1 else "", format_bytes(size) if size else "memory unknown"
        facts = [f"{many}{vendor} {name}", room, *([f"driver {driver}"] if driver else [])]
        lines.append(f"GPU      {', '.join(facts)} {notes[name]}".rstrip())
    if not found.accelerators:
        lines.append("GPU      none found")
    if calibration := found.calibration:
        bandwidth, matrix = calibration.read_bandwidth.value, calibration.matrix_throughput_one_core.value
        lines.append(f"Measured {bandwidth / 1e9:.3g} GB/s, {matrix / 1e9:.3g} GFLOP/s a core, {calibration.date[:10]}")
    elif found.disk.total_bytes:
        lines.append("Measured not yet: workbench machine --calibrate")
    return "\n".join([*lines, *(f"Note     {note}" for note in found.notes)])


def findings(found: Sequence[Finding]) -> str:
    """What was found about drivers and libraries: problems with their fix, and what nobody knows."""
    words = {"problem": "Problem ", "unknown": "Unknown ", "ok": "Checked "}
    return "\n".join(f"{words[one.level]} {one.what} {one.fix}".rstrip() for one in found)


def plan(made: Plan) -> str:
    """The plan: what runs, on what, and what is predicted."""
    s, m = made.settings, made.model
    place = where(made) or "the CPU"
    size = m.file_bytes if m.path and hasattr(m, "file_bytes") else m.weight_bytes
    context = f", context {s.context} tokens" if "decode" in made.speed else ""
    parts = f"{m.parameters / 1e6:,.0f} M parameters, {format_of(m)}, {format_bytes(size)}"
    lines = [
        machine(made.machine), "",
        f"Model    {m.name}: {parts}",
        f"Engine   {made.engine.title}{f' ({made.engine_version})' if made.engine_version else ''} on {place}"
        f"{context}", "",
        "Predicted (90 % interval)" + (", calibrated by measurements here" if made.calibrated else ""),
        *memory_lines(made),
        *speed_lines(made), "",
        *(f"Because {reason}." for reason in made.reasons),
        *(f"Refused {refusal.engine}: {refusal.reason} {refusal.fix}" for refusal in made.refused),
    ]  # fmt: skip
    return "\n".join(lines).rstrip()


def speed_lines(made: Plan) -> list[str]:
    """Every predicted quantity of speed, and below decode what memory allows of it where that is known."""
    lines = []
    for name, value in made.speed.items():
        lines.append(f"  {TITLES.get(name, name):<19} {value}")
        if name == "decode" and made.decode_bound.value is not None:
            lines.append(f"    {'memory allows':<17} {made.decode_bound}")
    return lines


def memory_lines(made: Plan) -> list[str]:
    """The memory of each device in parts, beside what is free there."""
    lines = []
    for breakdown, fit in zip(made.memory, made.fits, strict=True):
        name = "memory" if len(made.memory) == 1 else breakdown.device
        free = "" if fit.free_bytes is None else f" of {format_bytes(fit.free_bytes)} free: {fit.verdict}"
        lines.append(f"  {name:<19} {breakdown.total}{free}")
        lines += [f"    {name:<17} {part}" for name, part in breakdown.parts.items() if part.high != 0]
    return lines


def choices(found: Choices, rows_shown: int = 20) -> str:
    """The ranked plans as a table, then what was refused."""
    head = ("", "engine", "format", "on", "memory", *_speed_titles(found), "verdict", "memory allows")
    lines = [_choice(number, one) for number, one in enumerate(found.plans[:rows_shown], 1)]
    if found.here:
        head = (*head[:3], "here", *head[3:])
        lines = [(*line[:3], _here(found, one), *line[3:]) for line, one in zip(lines, found.plans, strict=False)]
    more = len(found.plans) - rows_shown
    text = [machine(found.machine), "", f"{found.model}: {found.rule}", "", columns(_told([head, *lines]))]
    text += [f"… and {more} more (--json has all)"] * (more > 0) + ["Nothing fits."] * (not lines)
    text += ["", "here: can be started at once, with what is on this computer"] * bool(found.here)
    return "\n".join([*text, "", *refusals(found.refused)]).rstrip()


def _speed_titles(found: Choices) -> list[str]:
    names = next((SPEEDS[name] for plan in found.plans for name in SPEEDS if name in plan.speed), [])
    return [TITLES.get(name, name) for name in names]


#: What each predicted quantity is called.
TITLES = {
    **figures.TITLES, "throughput": "all requests", "step": "denoising step", "image": "images of a request",
    "window": "30 s of speech", "real_time_factor": "real-time factor",
}  # fmt: skip
#: The quantities of a table of plans, by the one that every plan of that kind of model has.
SPEEDS = {
    "decode": ["decode", "prefill"],
    "image": ["image", "step"],
    "real_time_factor": ["real_time_factor", "window"],
}


def _choice(number: int, one: Plan) -> tuple[str, ...]:
    names = next(names for name, names in SPEEDS.items() if name in one.speed)
    speeds = [str(one.speed[name]) if one.speed[name].value is not None else "unknown" for name in names]
    total = one.memory[0].total
    memory = format_bytes(total.value) if total.value is not None else "unknown"
    allowed = "" if one.decode_bound.value is None else str(one.decode_bound)
    on = where(one) or "CPU"
    return (str(number), one.engine.title, format_of(one.model), on, memory, *speeds, one.verdict, allowed)


def _here(found: Choices, one: Plan) -> str:
    """Whether a plan can be started at once, and what its weights are written from where they are."""
    if one.id not in found.here:
        return ""
    return "yes" if one.model.path else f"from {format_of(one.model.made_from)}"


def _told(lines: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """A table without its last column, what memory allows, where no line has anything in it."""
    return list(lines) if any(line[-1] for line in lines[1:]) else [line[:-1] for line in lines]


def where(one: Plan) -> str:
    """The devices of a plan, and how many layers lie there if not all; nothing for the CPU."""
    names = Counter(card.name for card in one.settings.accelerators(one.machine))
    layers = one.settings.device_layers
    devices = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in names.items())
    return f"{devices}, {layers} layers" if layers is not None else devices


def format_of(model: Any) -> str:
    """The format a model is in."""
    return str(model.quantization)


def pick(found: Pick) -> str:
    """The candidates of a use, best first, and what was refused."""
    unit = {"latency": "one answer", "throughput": "all answers", "memory": "peak memory"}[found.use.goal]
    with_memory = found.use.goal != "memory"  # which is the number itself then
    head = ("", "engine, format", f"{unit} (90 % interval)", *["memory"] * with_memory, "threads for prompt, answer")
    lines = [
        (str(number), one.label, str(one.score), *[str(one.plan.memory[0].total)] * with_memory,
         f"{one.plan.settings.prefill_threads}, {one.plan.settings.threads}")
        for number, one in enumerate(found.candidates, 1)
    ]  # fmt: skip
    workload = f"{found.use.workload.prompt_tokens} tokens in, {found.use.workload.answer_tokens} out"
    what = f"For {found.use.name}: {workload}, {found.use.concurrency} at once"
    if not found.candidates:
        return "\n".join([what, "", "Nothing here can be started.", *refusals(found.refused)])
    start = ["", f"Start the first: {command(found.command)}"]
    table = columns([head, *lines])
    return "\n".join([what, "", table, "", f"Because {found.reason}", *refusals(found.refused), *start])


def refusals(found: Sequence[Refusal]) -> list[str]:
    """A line for each reason, with the engines and formats that it holds for."""
    grouped: dict[str, dict[str, dict[str, None]]] = {}  # a reason, the engines, and their formats once each
    for one in found:
        grouped.setdefault(f"{one.reason} {one.fix}".rstrip(), {}).setdefault(one.engine, {})[one.format] = None
    lines = []
    for why, those in grouped.items():
        names = "; ".join(f"{engine} {', '.join(formats)}" for engine, formats in those.items())
        lines.append(f"Refused {names}: {why}")
    return lines


def race(found: Race) -> str:
    """The laps of one use, beside what was predicted, and the regret of the pick."""
    unit = "B" if found.use.goal == "memory" else "s"
    head = (found.use.name, "predicted", "measured", "")
    best, lines = found.best, []
    for number, lap in enumerate(found.laps):
        marks = ["picked"] * (number == 0) + ["best"] * (lap == best) + ["disturbed by others"] * lap.disturbed
        numbers = ["unknown" if one is None else format_value(one, unit) for one in (lap.predicted, lap.measured)]
        lines.append((lap.label, *numbers, ", ".join([*marks, lap.failure[:80]]).strip(", ")))
    for one in found.skipped:
        predicted = "unknown" if one.predicted is None else format_value(one.predicted, unit)
        lines.append((one.label, predicted, "not run", one.why))
    return f"{columns([head, *lines])}\nRegret of the pick: {found.regret}."


def validation(found: Validation) -> str:
    """The groups of a validation as a table, and what was refused."""
    percent = "{:.1%}".format
    head = ("quantity", "engine", "backend", "scope", "rows", "devices", "mean", "per device", "median", "in interval")
    lines = [
        (g.quantity, g.engine, g.backend or "unknown", g.scope, f"{g.rows_used} of {g.rows_total}", str(g.devices),
         *(percent(v) if v is not None else "unknown"
           for v in (g.mean_error, g.mean_error_per_device, g.median_error, g.in_interval)))
        for g in found.groups
    ]  # fmt: skip
    refused: dict[str, int] = {}
    for group in found.groups:
        for reason, count in group.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    return "\n".join([columns([head, *lines]), *(f"Refused {n} rows: {reason}" for reason, n in refused.items())])


def comparison_table(measured: Measurement) -> str:
    """Predicted beside measured."""
    head = ("", "predicted (90 % interval)", "measured", "error", "what memory allows")
    return columns(_told([head, *((title, str(e), str(m), *words) for title, e, m, *words in rows(measured))]))


def evaluation(done: Evaluation) -> str:
    """What became of each problem, pass@1 with its interval, and what the sandbox guarded against."""
    lines = [("problem", "", "verdict", "")]
    for one in done.results:
        kinds = ", ".join(attempt.outcome.kind for attempt in one.attempts)
        first = next((attempt.outcome for attempt in one.attempts if not attempt.outcome.passed), None)
        why = f"{first.test}: {first.message}".removeprefix(": ") if first else ""
        lines.append((one.problem, one.difficulty, kinds, printable(why)[:100]))
    value, low, high = done.pass_at()
    return "\n".join(
        [
            columns(lines), "",
            f"pass@1    {value:.1%} of {len(done.results)} problems (90 % interval {low:.1%} to {high:.1%})",
            f"Written   {done.tokens or 'unknown'} tokens in {done.seconds:.0f} s, mode {done.mode}",
            *(f"Guarded   {text}" for text in done.protections.covered),
            *(f"Open      {text}" for text in done.protections.not_covered),
            f"Answers   {done.path}",
        ]
    )  # fmt: skip


def printable(text: str) -> str:
    """Text of a stranger on one line, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def columns(lines: Sequence[tuple[str, ...]]) -> str:
    """Lines of cells as aligned text."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def cost_table(comparison: Comparison) -> str:
    """USD per million tokens, here and at the APIs, and what was assumed."""
    here = comparison.output
    output = f"{format_usd(here.usd_per_mtok)} ({format_usd(here.low)} to {format_usd(here.high)})"
    lines = [
        ("USD per million tokens", "input", "output"),
        ("here, electricity only", format_usd(comparison.input.usd_per_mtok), output),
        *((f"{api.title}, {api.date or 'date unknown'}", format_usd(api.input_usd_per_mtok),
           format_usd(api.output_usd_per_mtok)) for api in comparison.apis),
    ]  # fmt: skip
    return "\n".join([columns(lines), *(f"  assumed {line}" for line in comparison.assumed)])


_SPEEDS = {"decode": "Decode", "real_time_factor": "Real time", "image": "Picture"}


def walkthrough(found: Guidance) -> str:
    """A walk-through as text: the model that fits, then each command of the guide and what it is today."""
    memory, speed = found.plan.memory[0].total, found.plan.speed
    name = next(one for one in _SPEEDS if one in speed)
    lines = [
        f"Walk-through {found.number}: {found.title}", f"({found.about}; {found.system}, checked {found.checked})", "",
        f"Model    {found.model}: {found.why}", f"Memory   {memory}: {found.plan.verdict}",
        f"{_SPEEDS[name]:<8} {speed[name]}",
    ]  # fmt: skip
    lines += [f"Bound    {bound}, what memory allows"] if (bound := found.plan.decode_bound).value is not None else []
    for number, step in enumerate(found.steps, 1):
        lines += ["", f"{number}. {step.guide or '(not in the guide)'}", f"   {step.status}: {step.why}"]
        lines += [f"   already installed: {step.installed}"] if step.installed else []
        lines += [f"     {one}" for one in step.commands]
    return "\n".join(lines)


def command(name: str) -> str:
    """How to type a command of the workbench here: with its path when it is not on PATH."""
    program = Path(sys.executable).with_name("workbench")
    if shutil.which("workbench") or not program.exists():
        return f"workbench {name}"
    return f"{os.path.relpath(program) if program.is_relative_to(Path.cwd()) else program} {name}"


def result(done: Tour) -> str:
    """How a tour ended: predicted beside measured, what tokens cost, and where to go on."""
    return "\n".join(
        [
            "\n" + comparison_table(done.measurement),
            "\n" + cost_table(done.comparison),
            f"\nReport      {done.report}",
            f"Dashboards  {command('dashboards')}",
        ]
    )
