"""The README's table of how far predictions were from measurements, from the committed records alone."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.record import read

#: What is to be said of predictions whose coefficients rest on the model and the kind of machine they are scored on.
SEEN = ": the fit has seen this model and machine"
UNSEEN = ": before the fit had seen this machine"
HEAD = ("prediction", "measured on", "median error", "largest or p95", "record")


def table() -> str:
    """One row for each record, as Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), _deployments(), *_engines(), *_media(), *_speed(), _video_memory()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _deployments() -> tuple[str, ...]:
    record = read("deployments")
    return _summary_row(record, "peak memory of llama.cpp, before it starts", record["result"]["summary"])


def _summary_row(record: dict[str, Any], title: str, found: dict[str, Any], fit: str = "") -> tuple[str, ...]:
    measured = f"{found['deployments']} deployments, {record['cpu']['name']}{fit}"
    largest = f"{_percent(found['largest_error'])} (largest)"
    return title, measured, _percent(found["median_error"]), largest, _named(record)


def _engines() -> list[tuple[str, ...]]:
    seen, unseen = read("engine_deployments"), read("engine_deployments_unseen")
    names = {"memory_peak": "peak memory on every engine that runs here", "decode": "decode of one request, the same",
             "prefill": "prefill, the same", "batch": "requests at once, the same"}  # fmt: skip
    return [
        _engine_row(record, fit, title, name)
        for record, fit in ((seen, SEEN), (unseen, UNSEEN)) for name, title in names.items()
    ]  # fmt: skip


def _engine_row(record: dict[str, Any], fit: str, title: str, name: str) -> tuple[str, ...]:
    cases = record["result"]["cases"]
    pairs = [case["quantities"][name] for case in cases if name in case.get("quantities", {})]
    sizes = [abs(pair["error"]) for pair in pairs if pair["error"] is not None]
    measured = f"{len(sizes)} deployments, {record['cpu']['name']}{fit}"
    return (
        title, measured, _percent(statistics.median(sizes)), f"{_percent(max(sizes))} (largest)", _named(record)
    )  # fmt: skip


def _media() -> list[tuple[str, ...]]:
    seen, unseen = read("media_deployments"), read("media_deployments_unseen")
    titles = {
        ("icons", "memory_peak"): "peak memory of Diffusers on a CPU", ("icons", "step"): "a denoising step, the same",
        ("whisper-tiny.en", "memory_peak"): "peak memory of three engines for Whisper on a CPU",
        ("whisper-tiny.en", "real_time_factor"): "real-time factor, the same",
    }  # fmt: skip
    return [
        _summary_row(record, title, record["result"]["summary"][model][name], fit)
        for record, fit in ((seen, SEEN), (unseen, UNSEEN))
        for (model, name), title in titles.items()
    ]


def _speed() -> list[tuple[str, ...]]:
    record = read("fit_speed")
    names = {
        "headline": "decode on accelerators, each device left out of the fit in turn",
        "headline_sources_left_out": "the same, each source left out in turn",
    }
    return [_speed_row(record, title, record["result"][name]) for name, title in names.items()]


def _speed_row(record: dict[str, Any], title: str, found: dict[str, Any]) -> tuple[str, ...]:
    measured = f"{found['rows']} published rows, {found['devices']} devices"
    median = f"{_percent(found['median_over_rows'])} (mean over devices {_percent(found['mean_over_devices'])})"
    return title, measured, median, f"{_percent(found['p95_over_rows'])} (p95)", _named(record)


def _video_memory() -> tuple[str, ...]:
    record = read("validation")
    wanted = ("peak_vram", "Transformers")
    (found,) = (one for one in record["result"]["groups"] if (one["quantity"], one["engine"]) == wanted)
    return (
        f"peak GPU memory of {found['engine']}, rows the fit has seen",
        f"{found['rows_used']} published rows, {found['devices']} devices",
        _percent(found["median_error"]), f"{_percent(found['p95_error'])} (p95)", _named(record),
    )  # fmt: skip


def _named(record: dict[str, Any]) -> str:
    name = record["record"]
    return f"[{record['date'][:10]}](workbench/catalog/records/{name}.json)"


def _percent(fraction: float) -> str:
    return f"{fraction:.1%}".replace("%", " %")
