"""Measuring a deployment: latency, throughput, CPU and peak memory, with raw samples and the environment kept."""

from workbench.measurement.answers import Answer, answers, ask
from workbench.measurement.compared import Compared, ask_each, departures, label
from workbench.measurement.differences import Terms, reasons, terms
from workbench.measurement.race import Lap, Race, race
from workbench.measurement.requests import Sample, run_request
from workbench.measurement.text import Measurement, check_repeats, measure

__all__ = [
    "Answer", "Compared", "Lap", "Measurement", "Race", "Sample", "Terms", "answers", "ask", "ask_each",
    "check_repeats", "departures", "label", "measure", "race", "reasons", "run_request", "terms",
]  # fmt: skip
