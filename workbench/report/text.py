"""The same facts as plain text, for a terminal."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.costs import Comparison
from workbench.machine import Machine
from workbench.measurement import Measurement
from workbench.planning import Plan
from workbench.report.guided import Tour
from workbench.report.html import rows
from workbench.units import format_bytes, format_usd


def machine(found: Machine) -> str:
    """What this computer is."""
    cpu, memory = found.cpu, found.memory
    lines = [
        f"CPU      {cpu.name}: {cpu.physical_cores} cores, {cpu.usable_cores:g} usable ({cpu.architecture})",
        f"         {', '.join(cpu.instruction_sets) or 'no instruction sets known'}",
        f"Memory   {format_bytes(memory.total_bytes)}, {format_bytes(memory.available_bytes)} available",
        f"Disk     {format_bytes(found.disk.free_bytes)} free",
        f"System   {found.system}, Python {found.python}",
    ]
    for card in found.accelerators:
        size = format_bytes(card.memory_total_bytes) if card.memory_total_bytes else "memory unknown"
        lines.append(
            f"GPU      {card.vendor} {card.name}, {size}, driver {card.driver or 'unknown'} {card.note}".rstrip()
        )
    if not found.accelerators:
        lines.append("GPU      none found")
    if calibration := found.calibration:
        bandwidth, matrix = calibration.read_bandwidth.value, calibration.matrix_throughput_one_core.value
        lines.append(f"Measured {bandwidth / 1e9:.3g} GB/s, {matrix / 1e9:.3g} GFLOP/s a core, {calibration.date[:10]}")
    else:
        lines.append("Measured not yet: workbench machine --calibrate")
    return "\n".join([*lines, *(f"Note     {note}" for note in found.notes)])


def plan(made: Plan) -> str:
    """The plan: what runs, on what, and what is predicted."""
    s, m = made.settings, made.model
    lines = [
        machine(made.machine), "",
        f"Model    {m.name}: {m.parameters / 1e6:,.0f} M parameters, {m.quantization}, {format_bytes(m.file_bytes)}",
        f"Engine   {made.engine.title} ({made.engine_version}), context {s.context} tokens", "",
        "Predicted (90 % interval)",
        f"  memory              {made.memory[0].total}",
        *(f"    {name:<17} {part}" for name, part in made.memory[0].parts.items() if part.high != 0),
        f"  prefill             {made.prefill}",
        f"  decode              {made.decode}",
        f"  time to first token {made.ttft}", "",
        *(f"Because {reason}." for reason in made.reasons),
        *(f"Refused {refusal.engine}: {refusal.reason} {refusal.fix}" for refusal in made.refused),
    ]  # fmt: skip
    return "\n".join(lines)


def comparison_table(measured: Measurement) -> str:
    """Predicted beside measured."""
    head = ("", "predicted (90 % interval)", "measured", "error")
    return columns([head, *((title, str(e), str(m), error) for title, e, m, error in rows(measured))])


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
